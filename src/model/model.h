// SPDX-License-Identifier: MIT
// An encoder-decoder Transformer on a device ("Attention Is All You Need", section 3): parameters,
// the encoder, the decoder over whole targets and the decoder step by step.
// A model is immutable once created; the functions below use the device, whose lock the caller
// holds.
#ifndef CLF_MODEL_MODEL_H
#define CLF_MODEL_MODEL_H

#include "model/params.h"

typedef struct clf_model clf_model;

// Loads all parameters onto the device, matrices rounded to `weights` (CLF_F32, CLF_F16, CLF_I8;
// see clf_weight), of which only CLF_F32 can be trained. `positions` is the length of the
// sinusoidal table (0: the configuration's max_positions); longer sequences repeat its last row.
clf_status clf_model_create(clf_device *device, const clf_config *config, clf_param_source source,
                            int positions, clf_dtype weights, clf_model **model);
// A model of the same layout whose parameters are all zero: gradients, moments, averages. It shares
// computed positions with `model`, which must outlive it.
clf_status clf_model_create_like(const clf_model *model, clf_model **like);
// The same model with its matrices in half, for training passes (train/pass.h): zero until
// clf_model_round copies them. It shares the other parameters with `model`, which must outlive it.
clf_status clf_model_create_half(const clf_model *model, clf_model **half);
void clf_model_round(clf_run *run, clf_model *half, const clf_model *model);
void clf_model_destroy(clf_model *model); // NULL is allowed

const clf_config *clf_model_config(const clf_model *model);
clf_device *clf_model_device(const clf_model *model);
uint64_t clf_model_device_bytes(const clf_model *model);
int64_t clf_model_parameters(const clf_model *model);
// The values of a parameter as files have them, (rows, cols) row-major, on the host, and back.
// `staging` is rewound.
void clf_model_read(clf_run *run, clf_model *model, const clf_param *param, float *data,
                    clf_arena *staging);
void clf_model_write(clf_run *run, clf_model *model, const clf_param *param, const float *data,
                     clf_arena *staging);
// Index into the position table of the token at position t (0 is the first).
int clf_model_position(const clf_model *model, int t);

// A batch of packed sequences (see ops/ops.h): all int32 tensors of one row.
typedef struct clf_sequences {
    clf_tensor ids, where;      // (1, R): token ids and their clf_model_position
    clf_tensor starts, lengths; // (1, B)
    int rows, count;            // R, B
    int longest;                // of the lengths
} clf_sequences;

// Encodes a batch; returns the memory (R, C), taken from `arena` together with scratch space.
clf_tensor clf_model_encode(clf_run *run, const clf_model *model, clf_arena *arena,
                            const clf_sequences *source);

// Keys and values of the memory for the cross-attention of each decoder layer: kv[layer] is
// (R, 2HD), keys first, taken from `arena`. `kv` has decoder.layers entries.
void clf_model_cross(clf_run *run, const clf_model *model, clf_arena *arena, clf_tensor memory,
                     clf_tensor *kv);

// The decoder over whole target sequences, each position seeing only those before it; returns the
// hidden states (T, C) before the output projection.
clf_tensor clf_model_decode(clf_run *run, const clf_model *model, clf_arena *arena,
                            const clf_sequences *target, const clf_sequences *source,
                            const clf_tensor *cross);

// Columns of a layer's key/value cache: keys and values, 2HD; in front of them queries where a
// product cannot leave them out, since HD is not a multiple of 16.
int clf_model_cache_width(const clf_config *config);

// One step of the decoder for R hypotheses.
typedef struct clf_step {
    clf_tensor ids, where, sentence; // int32 (1, R)
    clf_tensor origin;               // int32 (R, >= position + 1), see clf_op_attention_step
    clf_tensor starts, lengths;      // of the source sentences, int32 (1, B)
    const clf_tensor *cross;         // from clf_model_cross
    const clf_tensor *cache;         // per layer ((positions * slots), clf_model_cache_width)
    int position, slots;
} clf_step;
clf_tensor clf_model_step(clf_run *run, const clf_model *model, clf_arena *arena,
                          const clf_step *step);

// The best tokens of each row: clf_op_topk of the logits, of which only slices are computed at a
// time. With a screen of the output projection only the very best, and no log-probabilities:
// clf_op_linear_topk.
void clf_model_best(clf_run *run, const clf_model *model, clf_tensor values, clf_tensor ids,
                    clf_tensor hidden, clf_screen screen, clf_topk topk);
// clf_op_screen of the output projection, none if that has fewer bytes than `least`.
clf_screen clf_model_screen(clf_run *run, const clf_model *model, clf_arena *arena, size_t least);

// Logits (R, V) = hidden . output + bias, taken from `arena`.
clf_tensor clf_model_logits(clf_run *run, const clf_model *model, clf_arena *arena,
                            clf_tensor hidden);

#endif
