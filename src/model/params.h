// SPDX-License-Identifier: MIT
// The one table of a model's parameters: from a configuration follow names, shapes and kinds.
// Loading, sizes and (for training) initialisation and weight decay derive from it.
#ifndef CLF_MODEL_PARAMS_H
#define CLF_MODEL_PARAMS_H

#include "model/config.h"

typedef enum clf_side { CLF_ENCODER, CLF_DECODER } clf_side;

// Shapes are (rows, cols) = (outputs, inputs) as files store them.
typedef enum clf_param_kind {
    CLF_PARAM_EMBEDDING,      // (V, C) of a side; with share_embeddings only the encoder's
    CLF_PARAM_POSITIONS,      // learned positions (P, C) of a side
    CLF_PARAM_EMBEDDING_NORM, // norms: scale (1, C); the bias is the next kind
    CLF_PARAM_EMBEDDING_NORM_BIAS,
    CLF_PARAM_SELF_QKV, // (3HD, C): queries, keys, values below one another
    CLF_PARAM_SELF_QKV_BIAS,
    CLF_PARAM_SELF_OUT, // (C, HD)
    CLF_PARAM_SELF_OUT_BIAS,
    CLF_PARAM_SELF_NORM,
    CLF_PARAM_SELF_NORM_BIAS,
    CLF_PARAM_CROSS_Q, // (HD, C)
    CLF_PARAM_CROSS_Q_BIAS,
    CLF_PARAM_CROSS_KV, // (2HD, C): keys, values
    CLF_PARAM_CROSS_KV_BIAS,
    CLF_PARAM_CROSS_OUT,
    CLF_PARAM_CROSS_OUT_BIAS,
    CLF_PARAM_CROSS_NORM,
    CLF_PARAM_CROSS_NORM_BIAS,
    CLF_PARAM_FFN_IN, // (F, C); gated: (2F, C), the activated half first
    CLF_PARAM_FFN_IN_BIAS,
    CLF_PARAM_FFN_OUT, // (C, F)
    CLF_PARAM_FFN_OUT_BIAS,
    CLF_PARAM_FFN_NORM,
    CLF_PARAM_FFN_NORM_BIAS,
    CLF_PARAM_FINAL_NORM,
    CLF_PARAM_FINAL_NORM_BIAS,
    CLF_PARAM_OUTPUT, // (V, C); absent with tie_output
    CLF_PARAM_OUTPUT_BIAS,
    CLF_PARAM_KINDS
} clf_param_kind;

typedef struct clf_param {
    clf_param_kind kind;
    clf_side side;
    int layer; // 0 for what stands outside the layers
    int rows, cols;
    bool matrix;   // the right-hand side of a product or an embedding; else a vector or table
    char name[64]; // "decoder.layers.2.cross.kv.weight"
} clf_param;

// All parameters that a model of this configuration has, in a fixed order. `*params` is freed with
// free().
clf_status clf_params_list(const clf_config *config, clf_param **params, int *count);

// Where a loader finds parameters: implemented by each file format (formats/format.h).
// Fills `pieces` and `*count`. Stacked below one another the pieces make up a matrix's rows; those
// of a vector, (1, n) each, follow one another. A parameter that the file may omit (a zero bias)
// gives *count = 0, which means zeros.
#define CLF_MAX_PIECES 4
typedef struct clf_param_source {
    void *self;
    clf_status (*find)(void *self, const clf_param *param, clf_piece pieces[CLF_MAX_PIECES],
                       int *count);
    // Rows of a piece, or all of it, were uploaded; their pages may leave memory.
    void (*release)(void *self, const clf_piece *piece);
} clf_param_source;

#endif
