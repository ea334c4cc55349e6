// SPDX-License-Identifier: MIT
// Training translation models, and the vocabularies they need.
#ifndef CLFORMER_TRAIN_H
#define CLFORMER_TRAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <clformer/device.h>
#include <clformer/status.h>

#ifdef __cplusplus
extern "C" {
#endif

// ---- vocabularies -------------------------------------------------------------------------------

// Zero means default everywhere.
typedef struct clf_vocabulary_options {
    const char *const *source_files, *const *target_files; // text, a sentence a line
    int source_count, target_count;
    int size;                 // pieces, </s> and <unk> included; default 8000
    bool separate;            // a vocabulary for each side; default: one for both
    bool segmented;           // text is segmented already: pieces are what stands between blanks
    const char *model_type;   // SentencePiece's "unigram" (default), "bpe", "char", "word"
    float character_coverage; // default 0.9995
    // At most so many, drawn at random, train SentencePiece; default 2,000,000. They are in memory.
    int64_t sentences;
    uint64_t seed;
} clf_vocabulary_options;

// Writes source.spm, target.spm (not if the text is segmented), vocab.json (and, if separate,
// target_vocab.json) and tokenizer_config.json into `directory`, which is made if it is absent:
// what Hugging Face's MarianTokenizer reads. The ids are </s>, <unk>, the pieces, and <pad>
// besides. A smaller vocabulary is made, with a warning, where the text has not enough pieces. The
// same texts and options give the same files.
CLF_API clf_status clf_vocabulary_train(const char *directory,
                                        const clf_vocabulary_options *options);

// ---- training -----------------------------------------------------------------------------------

typedef enum clf_train_schedule {
    CLF_TRAIN_INVERSE_SQRT, // warm-up, then peak * sqrt(warmup / update)
    CLF_TRAIN_LINEAR,       // warm-up, then linearly to 0 at the last update
    CLF_TRAIN_COSINE,       // warm-up, then a half cosine to 0 at the last update
    CLF_TRAIN_CONSTANT      // warm-up, then the peak
} clf_train_schedule;

typedef enum clf_train_decay { // of the probability that a decoder input is the true token
    CLF_SAMPLING_NONE,         // always the true token
    CLF_SAMPLING_LINEAR,       // max(floor, 1 - c i)
    CLF_SAMPLING_EXPONENTIAL,  // c^i
    CLF_SAMPLING_SIGMOID       // c / (c + e^(i / c))
} clf_train_decay;

// The model's shape; a preset first, then every number that is not zero.
typedef struct clf_train_shape {
    const char *preset; // "tiny", "small" (default), "base", "big"
    int width, encoder_layers, decoder_layers, encoder_heads, decoder_heads;
    int encoder_ffn, decoder_ffn;
    const char *activation;   // "relu", "gelu", "swish"; default: the preset's
    bool pre_norm;            // x + sub(norm(x)) with a last norm; default: norm(x + sub(x))
    bool learned_positions;   // default: sinusoidal
    bool untied_output;       // an output matrix of its own; default: the target embedding
    bool separate_embeddings; // even where both sides have the same vocabulary
    int max_positions;        // default 512
} clf_train_shape;

// Zero means default everywhere; where zero is a value of its own, -1 says so.
typedef struct clf_train_options {
    // What is read and written.
    const char *source, *target;             // the training text, line by line
    const char *valid_source, *valid_target; // the validation text; NULL: none
    const char
        *vocabulary;    // directory with source.spm, target.spm, vocab.json (clf_vocabulary_train)
    const char *output; // the model's directory; checkpoints/ in it hold the training's state
    const char *init;   // a model directory to start from, whose shape counts; NULL: random weights
    bool resume;        // go on from the last checkpoint in `output`
    bool overwrite;     // a training that is in `output` already is thrown away
    clf_train_shape shape;

    // The recipe.
    float dropout;            // default 0.1
    float attention_dropout;  // default 0
    float activation_dropout; // default 0
    float label_smoothing;    // default 0.1
    clf_train_schedule schedule;
    double learning_rate;     // the peak; default: 7e-4, and 5e-4 for widths above 512
    int warmup;               // updates; default 4000, but at most a tenth of a shorter training
    float beta1, beta2;       // default 0.9 and 0.98
    float adam_epsilon;       // default 1e-9
    float weight_decay;       // of matrices; default 0
    float clip_norm;          // default 0: none
    float average_decay;      // of the exponential moving average, e.g. 0.999; default 0: none
    int average_checkpoints;  // the model is the mean of the last so many checkpoints; default 1
    clf_train_decay sampling; // scheduled sampling (Mihaylova, Martins 2019)
    double sampling_constant; // c above; i counts updates
    double sampling_floor;
    float token_noise; // share of decoder inputs that are replaced by random tokens; default 0
    uint64_t seed;     // default 1

    // Batches and duration.
    int batch_tokens; // source + target tokens of a micro-batch; default: what fits, at most 8192
    int batch_sentences;    // pairs of a micro-batch; default: no limit
    int accumulate;         // micro-batches of an update (on each device); default 1
    int max_length;         // longer pairs are left out; tokens, default 128
    int64_t max_updates;    // default: by epochs
    int max_epochs;         // default: 20 if max_updates is not given
    int64_t validate_every; // updates; default: each epoch
    int64_t save_every;     // updates between checkpoints; default: at each validation
    int keep;               // checkpoints that are kept; default 2, at least average_checkpoints
    int patience;           // validations without progress that end the training; default: never
    bool best_by_bleu;      // progress is higher BLEU; default: lower validation loss

    // Memory.
    bool half;        // weights' copies and activations in half, float master weights, loss scaling
    float loss_scale; // of half, at first; default 4096
    bool recompute;   // keep less for the backward pass and compute it twice
} clf_train_options;

// What is known before the first update.
typedef struct clf_train_plan {
    int64_t parameters;
    uint64_t pairs, source_tokens, target_tokens; // of the training text
    uint64_t too_long, empty;                     // pairs left out
    uint64_t updates;                             // of the whole training
    uint64_t state_bytes;      // device memory: parameters, gradients, moments, average
    uint64_t activation_bytes; // device memory of the largest micro-batch
    uint64_t device_bytes;     // that the device has
    int batch_tokens;          // as it was given or chosen
    int ranks;                 // devices that train together
} clf_train_plan;

typedef struct clf_train_progress {
    uint64_t update, updates; // done; of the whole training
    uint64_t epoch;           // from 1
    double epoch_share;       // of the epoch that is done
    double loss;              // smoothed, per target token, since the last report
    double nll;               // plain negative log-likelihood, likewise; e^nll is the perplexity
    double learning_rate, gradient_norm;
    double tokens_per_second;              // source + target
    double seconds, seconds_left;          // since the start or resumption
    uint64_t source_tokens, target_tokens; // of the whole training so far
    uint64_t skipped_updates;              // because of numbers out of range
} clf_train_progress;

typedef struct clf_train_validation {
    uint64_t update, epoch;
    double loss, nll; // per target token, of the model as it would be saved (averaged)
    double bleu;      // what `score` said; NaN: nothing
    bool best;
} clf_train_validation;

// Any of them may be NULL. A non-zero result of `progress` ends the training with a checkpoint and
// CLF_ERROR_CANCELLED.
typedef struct clf_train_events {
    void *user;
    // Texts are being read; the share that is done.
    int (*reading)(void *user, double share);
    // Called once before the first update; `updates_done` is not 0 after a resumption.
    void (*plan)(void *user, const clf_train_plan *plan, uint64_t updates_done);
    // After each update, and each that was skipped: `update` has not grown then.
    int (*progress)(void *user, const clf_train_progress *progress);
    // Translates the validation text with the model in `directory` and returns its BLEU; NaN: no
    // opinion. Needed for best_by_bleu. The device is not locked during the call.
    double (*score)(void *user, const char *directory);
    void (*validation)(void *user, const clf_train_validation *validation);
    void (*saved)(void *user, uint64_t update, const char *path); // a checkpoint is complete
} clf_train_events;

// Trains until the end of the recipe. At the end, `output` is a Hugging Face Marian directory (one
// in CTranslate2's format if the model is pre-norm or has learned positions, which Marian's format
// cannot say) with the best model of the validations, or the last one if there were none. The
// device's lock is held between events. In a program started by mpirun (and a library built with
// MPI) each rank calls this with a device of its own; rank 0 alone writes files and has events
// other than `progress`, whose result counts on any rank.
CLF_API clf_status clf_train(clf_device *device, const clf_train_options *options,
                             const clf_train_events *events);

// Under mpirun: this process's number among all and on its machine; 0 of 1 else. Call it before the
// device is opened, so that ranks of a machine take different devices.
typedef struct clf_train_rank {
    int rank, count;
    int local_rank;
} clf_train_rank;
CLF_API clf_status clf_train_get_rank(clf_train_rank *rank);

#ifdef __cplusplus
}
#endif
#endif
