// SPDX-License-Identifier: MIT
// Translating and scoring text with a model directory.
#ifndef CLFORMER_TRANSLATE_H
#define CLFORMER_TRANSLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <clformer/device.h>
#include <clformer/status.h>

#ifdef __cplusplus
extern "C" {
#endif

// A model loaded onto a device, its tokenizer and its search.
// Thread-safe: calls from several threads run one after another (they share the device's lock).
// clf_translator_close must be the last call; the device must outlive the translator.
typedef struct clf_translator clf_translator;

// How matrices are kept on the device. Sums are in float, or exact integers, whatever it is.
typedef enum clf_weights {
    CLF_WEIGHTS_MODEL, // int8 if the model's files have that, else float
    CLF_WEIGHTS_F32,
    CLF_WEIGHTS_F16, // half the memory
    CLF_WEIGHTS_INT8 // a quarter, each output with a scale of its own; inputs of products are
                     // rounded to int8 too where the device has fast products of int8
} clf_weights;

// Zero means default everywhere.
typedef struct clf_translator_options {
    int max_positions; // longest source or target planned for; default: the model's own, or 512
    clf_weights weights;
} clf_translator_options;

// Opens a Hugging Face Marian / OPUS-MT directory or a CTranslate2 directory.
CLF_API clf_status clf_translator_open(clf_device *device, const char *model_directory,
                                       const clf_translator_options *options,
                                       clf_translator **translator);
CLF_API void clf_translator_close(clf_translator *translator); // NULL is allowed

typedef struct clf_model_info {
    char family[32]; // "marian", "ctranslate2"
    int width, encoder_layers, decoder_layers, encoder_heads, decoder_heads, ffn;
    int source_vocabulary, target_vocabulary;
    int default_beam, default_max_length;
    int64_t parameters;    // numbers, each counted once
    uint64_t device_bytes; // device memory that the parameters take
} clf_model_info;

CLF_API void clf_translator_get_info(const clf_translator *translator, clf_model_info *info);

// When a sentence's search ends (Hugging Face's `early_stopping`).
typedef enum clf_early_stopping {
    CLF_STOP_MODEL,     // what the model's generation config says, else CLF_STOP_HEURISTIC
    CLF_STOP_HEURISTIC, // false: when the best running beam, at its current length, cannot win
    CLF_STOP_EARLY,     // true: as soon as `beam` hypotheses are finished
    CLF_STOP_NEVER      // "never": only when no running beam can win at any length
} clf_early_stopping;

// Called between steps with sentences and tokens done so far in this call; a non-zero result
// cancels the call, which then returns CLF_ERROR_CANCELLED.
typedef int clf_progress_function(void *user, size_t sentences_done, size_t sentences_total,
                                  uint64_t source_tokens, uint64_t target_tokens);

// Meanings are those of Hugging Face `generate`. Zero means the model's own generation config, and
// where that is silent the default of the library named there.
typedef struct clf_translate_options {
    int beam;                // beams per sentence; 1 is greedy
    int nbest;               // translations returned per line, at most `beam`; default 1
    bool set_length_penalty; // take length_penalty from here
    float length_penalty;    // score = sum of log-probabilities / length^length_penalty
    clf_early_stopping early_stopping;
    int max_length;              // tokens per sentence, the start token included
    int min_length;              // likewise
    const int *suppress;         // token ids that must not be produced, besides the model's own
    int suppress_count;          //
    const char *prefix;          // every translation begins with this text
    const char *const *prefixes; // one per line, instead of `prefix`; NULL entries: none
    int batch_tokens;            // budget of a batch: source tokens, and 8 a sentence, times beams
    bool no_split;               // do not split long lines into sentences
    int split_tokens;            // lines with more source tokens than this are split; default 128
    bool no_scores;              // all scores are 0; greedy translation is faster then
    clf_progress_function *progress;
    void *user;
} clf_translate_options;

// Translations of an array of lines, in the order of the lines. Immutable, so thread-safe.
typedef struct clf_translations clf_translations;

// Translates `count` lines of UTF-8 (no line breaks inside; invalid bytes count as U+FFFD). An
// empty or blank line gives an empty translation with score 0. `*translations` is freed with
// clf_translations_free.
CLF_API clf_status clf_translate(clf_translator *translator, const char *const *lines, size_t count,
                                 const clf_translate_options *options,
                                 clf_translations **translations);

CLF_API size_t clf_translations_count(const clf_translations *translations);
// Number of translations of a line, at least 1.
CLF_API int clf_translations_nbest(const clf_translations *translations, size_t line);
// Text and score of translation `rank` (0 is the best); the text lives as long as `translations`.
CLF_API const char *clf_translations_text(const clf_translations *translations, size_t line,
                                          int rank);
// Sum of log-probabilities / length^length_penalty; of a split line the sum over its sentences. 0
// with no_scores.
CLF_API float clf_translations_score(const clf_translations *translations, size_t line, int rank);
// Tokens read and produced by the call (the end tokens included, the start tokens not).
CLF_API void clf_translations_tokens(const clf_translations *translations, uint64_t *source,
                                     uint64_t *target);
CLF_API void clf_translations_free(clf_translations *translations); // NULL is allowed

typedef struct clf_score_options {
    int batch_tokens; // as in clf_translate_options
    clf_progress_function *progress;
    void *user;
} clf_score_options;

// Log-probabilities of given translations. Immutable, so thread-safe.
typedef struct clf_scores clf_scores;

// Scores `count` pairs: log P(target | source), the end token included.
CLF_API clf_status clf_score(clf_translator *translator, const char *const *sources,
                             const char *const *targets, size_t count,
                             const clf_score_options *options, clf_scores **scores);

CLF_API float clf_scores_total(const clf_scores *scores, size_t pair); // sum of log-probabilities
CLF_API int clf_scores_length(const clf_scores *scores, size_t pair);  // tokens, end included
CLF_API float clf_scores_token(const clf_scores *scores, size_t pair, int index);
CLF_API const char *clf_scores_token_text(const clf_scores *scores, size_t pair, int index);
CLF_API void clf_scores_free(clf_scores *scores); // NULL is allowed

#ifdef __cplusplus
}
#endif
#endif
