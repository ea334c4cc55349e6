// SPDX-License-Identifier: MIT
// One training pass: the forward computation with teacher forcing, the loss, and the backward
// computation of everything, "Attention Is All You Need", sections 3 and 5.
#ifndef CLF_TRAIN_PASS_H
#define CLF_TRAIN_PASS_H

#include "model/model.h"
#include "ops/backward.h"

// One batch on the device. The decoder reads `target` (start token first) and shall predict
// `labels`, int32 (1, T), -1 where nothing is asked.
typedef struct clf_train_batch {
    clf_sequences source, target;
    clf_tensor labels;
    // Rows by token id and by position, for the gradients of embeddings (those of padding tokens
    // left out) and of learned positions (absent if there are none).
    clf_index source_ids, target_ids, source_where, target_where;
} clf_train_batch;

typedef struct clf_pass_options {
    float dropout;            // of embeddings and of each sublayer's output (section 5.4)
    float attention_dropout;  // of attention weights
    float activation_dropout; // inside the feed-forward layer
    float label_smoothing;
    float loss_scale; // multiplies all gradients, so that small ones are no zeros in half; 0: 1
    uint64_t seed;    // of dropout
    uint32_t step;    // another one for each pass that shall draw other masks
    bool recompute; // keep each layer's input only and compute the layer again before its gradient
    // Called, unless NULL, when all is queued that adds to the gradients of a layer's parameters;
    // with layer -1, to those of this side that stand outside its layers (clf_param.side). In the
    // order in which the pass completes them: the decoder's last layer first.
    void (*ready)(void *user, clf_run *run, clf_side side, int layer);
    void *user;
} clf_pass_options;

// Runs the pass. losses (T, 2) receives what clf_op_cross_entropy gives for each target row. The
// gradient of the sum of smoothed losses is added to `gradients` (clf_model_create_like of `model`)
// unless it is NULL: then only the losses are computed. With a model of clf_model_create_half
// activations and their gradients are half as well; logits and `gradients` are float. Memory comes
// from `arena`, which is rewound.
void clf_train_pass(clf_run *run, const clf_model *model, clf_model *gradients, clf_arena *arena,
                    const clf_train_batch *batch, const clf_pass_options *options,
                    clf_tensor losses);

// The most probable token of each target position, int32 (T, 1), by a forward pass as above: the
// first pass of scheduled sampling.
void clf_train_predict(clf_run *run, const clf_model *model, clf_arena *arena,
                       const clf_train_batch *batch, const clf_pass_options *options,
                       clf_tensor predictions);

#endif
