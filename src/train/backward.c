// SPDX-License-Identifier: MIT
// The backward half of a training pass: the forward half read from its end. `d` is the gradient of
// the stream between sublayers, of `sum` behind a pre-norm join and of `y` behind a post-norm one.
#include "train/graph.h"

// Buffers that all layers of a side share.
typedef struct backward {
    const clf_side_pass *p;
    clf_tensor d, next; // (R, C) the stream's gradient, and where the next one is made
    clf_tensor dout;    // (R, C) of a sublayer's output
    clf_tensor din;     // (R, C) of a sublayer's input, if norms come first
    clf_tensor wide;    // (R, max(F, 3HD))
    clf_tensor dheads;  // (R, HD)
    clf_tensor dkv;     // (S, 2HD); decoder only
    clf_tensor dmemory; // (S, C); decoder only
} backward;

static clf_tensor take(const clf_side_pass *p, int rows, int cols) {
    return clf_arena_take(p->run, p->arena, rows, cols, p->dtype);
}

// y = x . w + b backward: the parameters' gradients from x and dy, then dx (may be absent) = dy .
// w^T + residual.
static void linear_backward(const clf_side_pass *p, const clf_linear_part *part,
                            clf_linear_part *gradient, clf_tensor dx, clf_tensor x, clf_tensor dy,
                            clf_tensor residual) {
    clf_op_linear_backward(p->run, gradient->weight, gradient->bias, x, dy, p->arena);
    const clf_arena_mark mark = clf_arena_get_mark(p->arena);
    const clf_weight transposed = clf_weight_take_transposed(p->run, p->arena, part->weight);
    clf_op_transpose(p->run, transposed, part->weight);
    clf_op_linear(p->run, dx, dy, transposed,
                  (clf_linear){.residual = residual, .scratch = p->arena, .coarse = true});
    clf_arena_rewind(p->arena, mark);
}

// Where a sublayer's input gradient goes, and what it is added to: the stream itself in a post-norm
// model, a buffer that the norm's gradient takes up in a pre-norm one.
static clf_tensor input_gradient(const backward *b) {
    return b->din.chunk ? b->din : b->d;
}

static clf_tensor input_residual(const backward *b) {
    return b->din.chunk ? (clf_tensor){0} : b->d;
}

// Through a join: b->d becomes the gradient of its residual, b->dout that of the sublayer's output.
static void join_backward(backward *b, clf_model *gradients, int layer, clf_sublayer sub, int site,
                          const clf_join *join) {
    const clf_side_pass *p = b->p;
    const clf_config *config = &p->model->config;
    const clf_dropout dropout = clf_pass_dropout(p, p->options->dropout, layer, site);
    const clf_norm_part *part = clf_join_norm(p->stack, config, p->side, layer, sub);
    const clf_norm_part *gradient =
        clf_join_norm(&gradients->stacks[p->side], config, p->side, layer, sub);
    clf_op_norm_backward(p->run, clf_join_op(p, join, part, dropout),
                         (clf_norm_gradient){.dy = config->pre_norm ? b->din : b->d,
                                             .extra = config->pre_norm ? b->d : (clf_tensor){0},
                                             .dsum = b->next,
                                             .dx = b->dout,
                                             .dscale = gradient->scale,
                                             .dbias = gradient->bias,
                                             .scratch = p->arena});
    const clf_tensor swap = b->d;
    b->d = b->next;
    b->next = swap;
}

static void ffn_backward(backward *b, clf_layer *gradient, int i, const clf_join *input) {
    const clf_side_pass *p = b->p;
    const clf_layer *layer = &p->stack->layers[i];
    const clf_kept *k = &p->kept[i];
    const clf_tensor wide = clf_tensor_cols(b->wide, 0, p->size.ffn);
    linear_backward(p, &layer->ffn_out, &gradient->ffn_out, wide, k->active, b->dout,
                    (clf_tensor){0});
    clf_op_activate_backward(
        p->run, wide, wide, k->inner, p->model->config.activation,
        clf_pass_dropout(p, p->options->activation_dropout, i, CLF_SITE_ACTIVATION));
    linear_backward(p, &layer->ffn_in, &gradient->ffn_in, input_gradient(b), input->y, wide,
                    input_residual(b));
}

static void cross_backward(backward *b, clf_layer *gradient, int i, const clf_join *input) {
    const clf_side_pass *p = b->p;
    const clf_layer *layer = &p->stack->layers[i];
    const clf_kept *k = &p->kept[i];
    const int inner = p->size.heads * p->size.head_width;
    const clf_tensor dq = clf_tensor_cols(b->wide, 0, inner);
    linear_backward(p, &layer->cross_out, &gradient->cross_out, b->dheads, k->cross_heads, b->dout,
                    (clf_tensor){0});
    clf_op_attention_backward(p->run, dq, clf_tensor_cols(b->dkv, 0, inner),
                              clf_tensor_cols(b->dkv, inner, inner), b->dheads, k->cross_heads,
                              clf_cross_attention(p, k, i), p->arena);
    linear_backward(p, &layer->cross_kv, &gradient->cross_kv, b->dmemory, p->memory, b->dkv,
                    b->dmemory);
    linear_backward(p, &layer->cross_q, &gradient->cross_q, input_gradient(b), input->y, dq,
                    input_residual(b));
}

static void self_backward(backward *b, clf_layer *gradient, int i, const clf_join *input) {
    const clf_side_pass *p = b->p;
    const clf_layer *layer = &p->stack->layers[i];
    const clf_kept *k = &p->kept[i];
    const int inner = p->size.heads * p->size.head_width;
    const clf_tensor dqkv = clf_tensor_cols(b->wide, 0, 3 * inner);
    linear_backward(p, &layer->self_out, &gradient->self_out, b->dheads, k->heads, b->dout,
                    (clf_tensor){0});
    clf_op_attention_backward(p->run, clf_tensor_cols(dqkv, 0, inner),
                              clf_tensor_cols(dqkv, inner, inner),
                              clf_tensor_cols(dqkv, 2 * inner, inner), b->dheads, k->heads,
                              clf_self_attention(p, k, i), p->arena);
    linear_backward(p, &layer->self_qkv, &gradient->self_qkv, input_gradient(b), input->y, dqkv,
                    input_residual(b));
}

static void layer_backward(backward *b, clf_model *gradients, int i) {
    const clf_side_pass *p = b->p;
    const clf_kept *k = &p->kept[i];
    clf_layer *gradient = &gradients->stacks[p->side].layers[i];
    const clf_join *attended = p->side == CLF_DECODER ? &k->cross : &k->self;

    join_backward(b, gradients, i, CLF_SUB_FFN, CLF_SITE_FFN, &k->ffn);
    ffn_backward(b, gradient, i, attended);
    if (p->side == CLF_DECODER) {
        join_backward(b, gradients, i, CLF_SUB_CROSS, CLF_SITE_CROSS, &k->cross);
        cross_backward(b, gradient, i, &k->self);
    }
    join_backward(b, gradients, i, CLF_SUB_SELF, CLF_SITE_SELF, &k->self);
    self_backward(b, gradient, i, clf_layer_input(p, i));
}

static void tell_ready(const clf_side_pass *p, int layer) {
    if (p->options->ready && layer < p->size.layers)
        p->options->ready(p->options->user, p->run, p->side, layer);
}

clf_tensor clf_side_backward(const clf_side_pass *p, clf_model *gradients, clf_tensor d,
                             clf_tensor dmemory, bool recompute) {
    const int rows = p->own->rows, width = p->model->config.width;
    const int inner = p->size.heads * p->size.head_width;
    backward b = {.p = p,
                  .d = d,
                  .next = take(p, rows, width),
                  .dout = take(p, rows, width),
                  .wide = take(p, rows, p->size.ffn > 3 * inner ? p->size.ffn : 3 * inner),
                  .dheads = take(p, rows, inner),
                  .dmemory = dmemory};
    if (p->side == CLF_DECODER) b.dkv = take(p, p->source->rows, 2 * inner);
    if (p->model->config.pre_norm) {
        // The result is the last norm's: its gradient enters there, and nothing else does.
        b.din = d;
        b.d = take(p, rows, width);
        clf_fill_zero(p->run, b.d);
    }
    for (int i = p->size.layers - 1; i >= 0; i--) {
        if (recompute && i < p->size.layers - 1) clf_layer_forward(p, i);
        layer_backward(&b, gradients, i);
        // A pre-norm layer's first norm belongs to the join before it.
        tell_ready(p, p->model->config.pre_norm ? i + 1 : i);
    }
    if (!p->model->config.pre_norm) return b.d;
    join_backward(&b, gradients, -1, CLF_SUB_FFN, CLF_SITE_EMBEDDING, &p->enter);
    tell_ready(p, 0);
    return b.dout;
}

void clf_embedding_backward(const clf_side_pass *p, clf_model *gradients, clf_tensor d,
                            clf_index ids, clf_index where) {
    const clf_config *config = &p->model->config;
    clf_stack *gradient = &gradients->stacks[p->side];
    const clf_dropout dropout = clf_pass_dropout(p, p->options->dropout, -1, CLF_SITE_EMBEDDING);
    // The gradient of a pre-norm model passed the dropout with its first join.
    if (!config->pre_norm && dropout.rate > 0)
        clf_op_activate_backward(p->run, d, d, d, CLF_ACT_NONE, dropout);
    clf_op_embed_backward(p->run, gradient->embedding, d, ids, config->embedding_scale);
    if (where.rows.chunk) clf_op_positions_backward(p->run, gradient->positions, d, where);
    tell_ready(p, -1);
}
