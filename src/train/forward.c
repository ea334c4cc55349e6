// SPDX-License-Identifier: MIT
// The forward half of a training pass.
#include "train/graph.h"

clf_dropout clf_pass_dropout(const clf_side_pass *p, float rate, int layer, int site) {
    if (layer >= 0) site += CLF_SITE_LAYER + layer * CLF_SITES_PER_LAYER;
    return (clf_dropout){.rate = rate,
                         .site = 2 * (uint32_t)site + (uint32_t)p->side,
                         .step = p->options->step,
                         .seed = p->options->seed};
}

const clf_norm_part *clf_join_norm(const clf_stack *stack, const clf_config *config, clf_side side,
                                   int layer, clf_sublayer sub) {
    const clf_layer *own = layer >= 0 ? &stack->layers[layer] : NULL;
    const int layers = side == CLF_ENCODER ? config->encoder.layers : config->decoder.layers;
    if (!config->pre_norm) {
        if (!own) return NULL;
        return sub == CLF_SUB_SELF    ? &own->self_norm
               : sub == CLF_SUB_CROSS ? &own->cross_norm
                                      : &own->ffn_norm;
    }
    if (!own || sub == CLF_SUB_FFN) {
        return layer + 1 < layers ? &stack->layers[layer + 1].self_norm : &stack->final_norm;
    }
    return sub == CLF_SUB_SELF && side == CLF_DECODER ? &own->cross_norm : &own->ffn_norm;
}

clf_norm clf_join_op(const clf_side_pass *p, const clf_join *join, const clf_norm_part *part,
                     clf_dropout dropout) {
    return (clf_norm){.kind = p->model->config.norm,
                      .epsilon = p->model->config.norm_epsilon,
                      .scale = part->scale,
                      .bias = part->bias,
                      .sum = join->sum,
                      .stats = join->stats,
                      .dropout = dropout};
}

static clf_tensor take(const clf_side_pass *p, int rows, int cols) {
    return clf_arena_take(p->run, p->arena, rows, cols, p->dtype);
}

static clf_tensor take_float(const clf_side_pass *p, int rows, int cols) {
    return clf_arena_take(p->run, p->arena, rows, cols, CLF_F32);
}

static clf_join take_join(const clf_side_pass *p) {
    const int rows = p->own->rows, width = p->model->config.width;
    return (clf_join){
        .sum = take(p, rows, width), .stats = take_float(p, rows, 2), .y = take(p, rows, width)};
}

// Whether the slope shows in the result, even behind dropout, so that what stood before it can go.
static bool in_place(clf_activation activation) {
    return activation == CLF_ACT_RELU;
}

static clf_kept take_layer(const clf_side_pass *p) {
    const int rows = p->own->rows, inner = p->size.heads * p->size.head_width;
    clf_kept k = {.qkv = take(p, rows, 3 * inner),
                  .heads = take(p, rows, inner),
                  .lse = take_float(p, rows, p->size.heads),
                  .self = take_join(p),
                  .inner = take(p, rows, p->size.ffn)};
    k.active = in_place(p->model->config.activation) ? k.inner : take(p, rows, p->size.ffn);
    if (p->side == CLF_DECODER) {
        k.q = take(p, rows, inner);
        k.kv = take(p, p->source->rows, 2 * inner);
        k.cross_heads = take(p, rows, inner);
        k.cross_lse = take_float(p, rows, p->size.heads);
        k.cross = take_join(p);
    }
    return k;
}

static void linear_activated(const clf_side_pass *p, clf_tensor y, clf_tensor x,
                             const clf_linear_part *part, clf_activation activation) {
    clf_op_linear(
        p->run, y, x, part->weight,
        (clf_linear){
            .bias = part->bias, .activation = activation, .scratch = p->arena, .coarse = true});
}

static void linear(const clf_side_pass *p, clf_tensor y, clf_tensor x,
                   const clf_linear_part *part) {
    linear_activated(p, y, x, part, CLF_ACT_NONE);
}

// The feed-forward layer up to its activation, which the product itself applies if it can.
static void expand(const clf_side_pass *p, const clf_kept *k, clf_tensor x, int layer) {
    const clf_linear_part *part = &p->stack->layers[layer].ffn_in;
    const clf_activation activation = p->model->config.activation;
    const clf_dropout dropout =
        clf_pass_dropout(p, p->options->activation_dropout, layer, CLF_SITE_ACTIVATION);
    const bool joined = in_place(activation) && dropout.rate == 0;
    linear_activated(p, k->inner, x, part, joined ? activation : CLF_ACT_NONE);
    if (!joined) clf_op_activate(p->run, k->active, k->inner, activation, dropout);
}

// The join behind a sublayer whose output is in kept.out.
static void join(const clf_side_pass *p, int layer, clf_sublayer sub, int site,
                 const clf_join *before, const clf_join *to) {
    const clf_config *config = &p->model->config;
    const clf_norm_part *part = clf_join_norm(p->stack, config, p->side, layer, sub);
    clf_norm norm = clf_join_op(p, to, part, clf_pass_dropout(p, p->options->dropout, layer, site));
    norm.residual = config->pre_norm ? before->sum : before->y;
    clf_op_norm(p->run, to->y, p->kept[layer].out, norm);
}

// Queries, keys or values of a fused projection: part 0, 1 or 2.
static clf_tensor part_of(const clf_side_pass *p, clf_tensor fused, int part) {
    const int inner = p->size.heads * p->size.head_width;
    return clf_tensor_cols(fused, part * inner, inner);
}

clf_attention clf_self_attention(const clf_side_pass *p, const clf_kept *kept, int layer) {
    return (clf_attention){.q = part_of(p, kept->qkv, 0),
                           .k = part_of(p, kept->qkv, 1),
                           .v = part_of(p, kept->qkv, 2),
                           .q_starts = p->own->starts,
                           .q_lengths = p->own->lengths,
                           .kv_starts = p->own->starts,
                           .kv_lengths = p->own->lengths,
                           .max_q_length = p->own->longest,
                           .heads = p->size.heads,
                           .scale = p->size.attention_scale,
                           .causal = p->side == CLF_DECODER,
                           .lse = kept->lse,
                           .dropout = clf_pass_dropout(p, p->options->attention_dropout, layer,
                                                       CLF_SITE_SELF_WEIGHTS)};
}

clf_attention clf_cross_attention(const clf_side_pass *p, const clf_kept *kept, int layer) {
    return (clf_attention){.q = kept->q,
                           .k = part_of(p, kept->kv, 0),
                           .v = part_of(p, kept->kv, 1),
                           .q_starts = p->own->starts,
                           .q_lengths = p->own->lengths,
                           .kv_starts = p->source->starts,
                           .kv_lengths = p->source->lengths,
                           .max_q_length = p->own->longest,
                           .heads = p->size.heads,
                           .scale = p->size.attention_scale,
                           .lse = kept->cross_lse,
                           .dropout = clf_pass_dropout(p, p->options->attention_dropout, layer,
                                                       CLF_SITE_CROSS_WEIGHTS)};
}

void clf_layer_forward(const clf_side_pass *p, int i) {
    const clf_layer *layer = &p->stack->layers[i];
    const clf_kept *k = &p->kept[i];
    const clf_join *before = clf_layer_input(p, i);

    linear(p, k->qkv, before->y, &layer->self_qkv);
    clf_op_attention(p->run, k->heads, clf_self_attention(p, k, i));
    linear(p, k->out, k->heads, &layer->self_out);
    join(p, i, CLF_SUB_SELF, CLF_SITE_SELF, before, &k->self);
    before = &k->self;

    if (p->side == CLF_DECODER) {
        linear(p, k->q, before->y, &layer->cross_q);
        linear(p, k->kv, p->memory, &layer->cross_kv);
        clf_op_attention(p->run, k->cross_heads, clf_cross_attention(p, k, i));
        linear(p, k->out, k->cross_heads, &layer->cross_out);
        join(p, i, CLF_SUB_CROSS, CLF_SITE_CROSS, before, &k->cross);
        before = &k->cross;
    }

    expand(p, k, before->y, i);
    linear(p, k->out, k->active, &layer->ffn_out);
    join(p, i, CLF_SUB_FFN, CLF_SITE_FFN, before, &k->ffn);
}

// The embedding, its dropout and, if norms come first, the first layer's norm.
static void enter(clf_side_pass *p) {
    const clf_config *config = &p->model->config;
    const clf_dropout dropout = clf_pass_dropout(p, p->options->dropout, -1, CLF_SITE_EMBEDDING);
    const clf_tensor embedded = take(p, p->own->rows, config->width);
    clf_op_embed(p->run, embedded, p->stack->embedding, p->own->ids, p->stack->positions,
                 p->own->where, config->embedding_scale);
    if (!config->pre_norm) {
        p->enter = (clf_join){.y = embedded};
        if (dropout.rate > 0) clf_op_activate(p->run, embedded, embedded, CLF_ACT_NONE, dropout);
        return;
    }
    p->enter = (clf_join){.sum = embedded,
                          .stats = take_float(p, p->own->rows, 2),
                          .y = take(p, p->own->rows, config->width)};
    clf_op_norm(p->run, p->enter.y, embedded,
                clf_join_op(p, &p->enter, clf_join_norm(p->stack, config, p->side, -1, CLF_SUB_FFN),
                            dropout));
}

clf_tensor clf_side_forward(clf_side_pass *p, bool keep_all) {
    enter(p);
    const clf_tensor out = take(p, p->own->rows, p->model->config.width);
    for (int i = 0; i < p->size.layers; i++) {
        p->kept[i] = keep_all || i == 0 ? take_layer(p) : p->kept[0];
        p->kept[i].ffn = take_join(p);
        p->kept[i].out = out;
        clf_layer_forward(p, i);
    }
    return p->kept[p->size.layers - 1].ffn.y;
}
