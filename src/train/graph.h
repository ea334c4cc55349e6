// SPDX-License-Identifier: MIT
// What a training pass keeps between forward and backward. Private to src/train/.
//
// Sublayers are chained by joins:
//     sum = residual + dropout(sublayer's output)        y = norm(sum)
// Post-norm: y is both the next sublayer's input and the next join's residual, the norm belongs to
// the sublayer before it. Pre-norm: y is the next sublayer's input, sum the next join's residual,
// the norm belongs to the sublayer behind it (or is the stack's last norm).
#ifndef CLF_TRAIN_GRAPH_H
#define CLF_TRAIN_GRAPH_H

#include "model/parts.h"
#include "train/pass.h"

typedef struct clf_join {
    clf_tensor sum, stats, y; // (R, C), (R, 2), (R, C)
} clf_join;

// A layer's tensors. R rows of this side, S rows of the source.
typedef struct clf_kept {
    clf_tensor qkv, heads, lse; // (R, 3HD), (R, HD), (R, H)
    clf_join self;
    clf_tensor q, kv, cross_heads, cross_lse; // (R, HD), (S, 2HD), (R, HD), (R, H); decoder only
    clf_join cross;
    clf_tensor inner, active; // (R, F) before and after the activation; one tensor for ReLU
    clf_join ffn;             // the layer's result
    clf_tensor out;           // (R, C) a sublayer's output; shared by all layers
} clf_kept;

// One stack's pass.
typedef struct clf_side_pass {
    clf_run *run;
    const clf_model *model;
    const clf_pass_options *options;
    clf_arena *arena;
    clf_dtype dtype; // of activations and their gradients
    clf_side side;
    clf_stack_config size;
    const clf_stack *stack;
    const clf_sequences *own, *source; // own: of this side
    clf_tensor memory;                 // (S, C) the encoder's result; decoder only
    clf_join enter;                    // behind the embedding
    clf_kept *kept;                    // by layer
} clf_side_pass;

// Places of dropout; those inside layers count from CLF_SITE_LAYER on, CLF_SITES_PER_LAYER each.
enum {
    CLF_SITE_EMBEDDING,
    CLF_SITE_LAYER,
    CLF_SITE_SELF_WEIGHTS = 0,
    CLF_SITE_SELF,
    CLF_SITE_CROSS_WEIGHTS,
    CLF_SITE_CROSS,
    CLF_SITE_ACTIVATION,
    CLF_SITE_FFN,
    CLF_SITES_PER_LAYER
};

clf_dropout clf_pass_dropout(const clf_side_pass *p, float rate, int layer, int site);

// The norm of a join: of the embedding (layer -1), or behind a sublayer of a layer. NULL if there
// is none (behind the embedding of a post-norm model).
typedef enum clf_sublayer { CLF_SUB_SELF, CLF_SUB_CROSS, CLF_SUB_FFN } clf_sublayer;
const clf_norm_part *clf_join_norm(const clf_stack *stack, const clf_config *config, clf_side side,
                                   int layer, clf_sublayer sub);
// Arguments of clf_op_norm and its gradient for a join.
clf_norm clf_join_op(const clf_side_pass *p, const clf_join *join, const clf_norm_part *part,
                     clf_dropout dropout);
clf_attention clf_self_attention(const clf_side_pass *p, const clf_kept *kept, int layer);
clf_attention clf_cross_attention(const clf_side_pass *p, const clf_kept *kept, int layer);

// What the sublayers of a layer read: the result of the layer before, or of the embedding.
static inline const clf_join *clf_layer_input(const clf_side_pass *p, int layer) {
    return layer > 0 ? &p->kept[layer - 1].ffn : &p->enter;
}

// Runs a stack and keeps what its gradient needs; returns its result (R, C). p->kept has room for
// all layers; tensors come from p->arena. `keep_all` false: layers share what can be computed again
// by clf_layer_forward.
clf_tensor clf_side_forward(clf_side_pass *p, bool keep_all);
void clf_layer_forward(const clf_side_pass *p, int layer);

// Adds the gradients of a stack's parameters, given that of its result, d (R, C), which is
// overwritten; returns the gradient of the embedded tokens (R, C). The decoder adds the gradient of
// the memory to dmemory (S, C).
clf_tensor clf_side_backward(const clf_side_pass *p, clf_model *gradients, clf_tensor d,
                             clf_tensor dmemory, bool recompute);
// The end of it: the gradients of embedding and learned positions.
void clf_embedding_backward(const clf_side_pass *p, clf_model *gradients, clf_tensor d,
                            clf_index ids, clf_index where);

#endif
