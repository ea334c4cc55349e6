// SPDX-License-Identifier: MIT
// The parameters of a model as its layers hold them. For src/model/ and src/train/.
#ifndef CLF_MODEL_PARTS_H
#define CLF_MODEL_PARTS_H

#include "model/model.h"

// y = x . weight + bias
typedef struct clf_linear_part {
    clf_weight weight;
    clf_tensor bias; // may be absent
} clf_linear_part;

typedef struct clf_norm_part {
    clf_tensor scale, bias; // bias may be absent
} clf_norm_part;

typedef struct clf_layer {
    clf_linear_part self_qkv, self_out;
    clf_norm_part self_norm;
    clf_linear_part cross_q, cross_kv, cross_out; // decoder only
    clf_norm_part cross_norm;
    clf_linear_part ffn_in, ffn_out;
    clf_norm_part ffn_norm;
} clf_layer;

typedef struct clf_stack {
    clf_weight embedding;
    clf_tensor positions; // may be absent
    clf_norm_part embedding_norm, final_norm;
    clf_layer *layers;
} clf_stack;

// Two flat arenas (device/memory.h) hold all that is trained.
typedef enum clf_group {
    CLF_MATRICES, // weights and embeddings: what weight decay is for
    CLF_VECTORS,  // biases, norms, learned positions
    CLF_GROUPS
} clf_group;

struct clf_model {
    clf_device *device;
    clf_config config;
    clf_arena *groups[CLF_GROUPS];
    clf_arena *computed; // sinusoidal positions
    clf_stack stacks[2]; // by clf_side
    clf_linear_part output;
    int64_t parameters;
};

// The place of a parameter in the model: a clf_weight if it is a matrix, else a clf_tensor.
void *clf_model_place(clf_model *model, const clf_param *param);

#endif
