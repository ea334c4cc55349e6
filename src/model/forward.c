// SPDX-License-Identifier: MIT
// The forward pass: "Attention Is All You Need", section 3, in order.
//
// R rows of packed tokens, C width, H heads of width D, F feed-forward width. `x` is the residual
// stream (R, C) and is updated in place by every sublayer:
//     pre-norm    x = x + sub(norm(x))
//     post-norm   x = norm(x + sub(x))
#include "model/model.h"

#include "model/parts.h"

// Buffers that all layers of a pass share.
typedef struct pass {
    clf_run *run;
    clf_arena *arena; // lends scratch memory
    const clf_config *config;
    clf_stack_config size;
    clf_tensor x;      // (R, C) the residual stream
    clf_tensor normed; // (R, C) a sublayer's input, if norms come first
    clf_tensor qkv;    // (R, 3HD) projections
    clf_tensor heads;  // (R, HD) what attention gives
    clf_tensor inner;  // (R, F), or (R, 2F) if gated
    clf_tensor gated;  // (R, F) if gated
} pass;

static pass begin_pass(clf_run *run, const clf_model *model, clf_arena *arena, clf_side side,
                       int rows) {
    const clf_config *config = &model->config;
    clf_stack_config size = side == CLF_ENCODER ? config->encoder : config->decoder;
    int inner = size.heads * size.head_width;
    pass p = {.run = run, .arena = arena, .config = config, .size = size};
    p.x = clf_arena_take(run, arena, rows, config->width, CLF_F32);
    if (config->pre_norm) p.normed = clf_arena_take(run, arena, rows, config->width, CLF_F32);
    p.qkv = clf_arena_take(run, arena, rows, 3 * inner, CLF_F32);
    p.heads = clf_arena_take(run, arena, rows, inner, CLF_F32);
    p.inner = clf_arena_take(run, arena, rows, config->gated ? 2 * size.ffn : size.ffn, CLF_F32);
    if (config->gated) p.gated = clf_arena_take(run, arena, rows, size.ffn, CLF_F32);
    return p;
}

static void norm(const pass *p, clf_tensor y, clf_tensor x, const clf_norm_part *part) {
    clf_op_norm(p->run, y, x,
                (clf_norm){.kind = p->config->norm,
                           .epsilon = p->config->norm_epsilon,
                           .scale = part->scale,
                           .bias = part->bias});
}

static void project(const pass *p, clf_tensor y, clf_tensor x, const clf_linear_part *part) {
    clf_op_linear(p->run, y, x, part->weight,
                  (clf_linear){.bias = part->bias, .scratch = p->arena});
}

// The same with the first `cut` columns in one tensor and the others in another.
static void project_in_two(const pass *p, clf_tensor y, clf_tensor z, clf_tensor x,
                           const clf_linear_part *part, int cut) {
    const clf_weight w = part->weight;
    const clf_arena_mark mark = clf_arena_get_mark(p->arena);
    clf_linear with = {.quantized = clf_op_quantize(p->run, p->arena, x, w), .scratch = p->arena};
    if (part->bias.chunk) with.bias = clf_tensor_cols(part->bias, 0, cut);
    clf_op_linear(p->run, y, x, clf_weight_cols(w, 0, cut), with);
    if (part->bias.chunk) with.bias = clf_tensor_cols(part->bias, cut, w.n - cut);
    clf_op_linear(p->run, z, x, clf_weight_cols(w, cut, w.n - cut), with);
    clf_arena_rewind(p->arena, mark);
}

// The input of a sublayer.
static clf_tensor enter(const pass *p, const clf_norm_part *part) {
    if (!p->config->pre_norm) return p->x;
    norm(p, p->normed, p->x, part);
    return p->normed;
}

// Adds a sublayer's last projection to the residual stream.
static void leave(const pass *p, clf_tensor y, const clf_linear_part *out,
                  const clf_norm_part *part) {
    clf_op_linear(p->run, p->x, y, out->weight,
                  (clf_linear){.bias = out->bias, .residual = p->x, .scratch = p->arena});
    if (!p->config->pre_norm) norm(p, p->x, p->x, part);
}

static void embed(const pass *p, const clf_stack *stack, clf_tensor ids, clf_tensor where) {
    clf_op_embed(p->run, p->x, stack->embedding, ids, stack->positions, where,
                 p->config->embedding_scale);
    if (p->config->embedding_norm) norm(p, p->x, p->x, &stack->embedding_norm);
}

static void feed_forward(const pass *p, const clf_layer *layer) {
    clf_tensor in = enter(p, &layer->ffn_norm), out = p->inner;
    clf_linear first = {.bias = layer->ffn_in.bias, .scratch = p->arena};
    if (!p->config->gated) first.activation = p->config->activation;
    clf_op_linear(p->run, p->inner, in, layer->ffn_in.weight, first);
    if (p->config->gated) {
        clf_op_gate(p->run, p->gated, p->inner, p->config->activation);
        out = p->gated;
    }
    leave(p, out, &layer->ffn_out, &layer->ffn_norm);
}

// Queries, keys or values of a fused projection: part 0, 1 or 2.
static clf_tensor part_of(const pass *p, clf_tensor fused, int part) {
    int inner = p->size.heads * p->size.head_width;
    return clf_tensor_cols(fused, part * inner, inner);
}

static void self_attention(const pass *p, const clf_layer *layer, const clf_sequences *sequences,
                           bool causal) {
    project(p, p->qkv, enter(p, &layer->self_norm), &layer->self_qkv);
    clf_op_attention(p->run, p->heads,
                     (clf_attention){.q = part_of(p, p->qkv, 0),
                                     .k = part_of(p, p->qkv, 1),
                                     .v = part_of(p, p->qkv, 2),
                                     .q_starts = sequences->starts,
                                     .q_lengths = sequences->lengths,
                                     .kv_starts = sequences->starts,
                                     .kv_lengths = sequences->lengths,
                                     .max_q_length = sequences->longest,
                                     .heads = p->size.heads,
                                     .scale = p->size.attention_scale,
                                     .causal = causal});
    leave(p, p->heads, &layer->self_out, &layer->self_norm);
}

static void cross_attention(const pass *p, const clf_layer *layer, const clf_sequences *target,
                            const clf_sequences *source, clf_tensor kv) {
    clf_tensor q = part_of(p, p->qkv, 0);
    project(p, q, enter(p, &layer->cross_norm), &layer->cross_q);
    clf_op_attention(p->run, p->heads,
                     (clf_attention){.q = q,
                                     .k = part_of(p, kv, 0),
                                     .v = part_of(p, kv, 1),
                                     .q_starts = target->starts,
                                     .q_lengths = target->lengths,
                                     .kv_starts = source->starts,
                                     .kv_lengths = source->lengths,
                                     .max_q_length = target->longest,
                                     .heads = p->size.heads,
                                     .scale = p->size.attention_scale});
    leave(p, p->heads, &layer->cross_out, &layer->cross_norm);
}

clf_tensor clf_model_encode(clf_run *run, const clf_model *model, clf_arena *arena,
                            const clf_sequences *source) {
    const clf_stack *stack = &model->stacks[CLF_ENCODER];
    pass p = begin_pass(run, model, arena, CLF_ENCODER, source->rows);
    embed(&p, stack, source->ids, source->where);
    for (int i = 0; i < p.size.layers; i++) {
        self_attention(&p, &stack->layers[i], source, false);
        feed_forward(&p, &stack->layers[i]);
    }
    if (p.config->final_norm) norm(&p, p.x, p.x, &stack->final_norm);
    return p.x;
}

void clf_model_cross(clf_run *run, const clf_model *model, clf_arena *arena, clf_tensor memory,
                     clf_tensor *kv) {
    const clf_config *config = &model->config;
    int inner = config->decoder.heads * config->decoder.head_width;
    for (int i = 0; i < config->decoder.layers; i++) {
        const clf_linear_part *part = &model->stacks[CLF_DECODER].layers[i].cross_kv;
        kv[i] = clf_arena_take(run, arena, memory.rows, 2 * inner, CLF_F32);
        clf_op_linear(run, kv[i], memory, part->weight,
                      (clf_linear){.bias = part->bias, .scratch = arena});
    }
}

clf_tensor clf_model_decode(clf_run *run, const clf_model *model, clf_arena *arena,
                            const clf_sequences *target, const clf_sequences *source,
                            const clf_tensor *cross) {
    const clf_stack *stack = &model->stacks[CLF_DECODER];
    pass p = begin_pass(run, model, arena, CLF_DECODER, target->rows);
    embed(&p, stack, target->ids, target->where);
    for (int i = 0; i < p.size.layers; i++) {
        self_attention(&p, &stack->layers[i], target, true);
        cross_attention(&p, &stack->layers[i], target, source, cross[i]);
        feed_forward(&p, &stack->layers[i]);
    }
    if (p.config->final_norm) norm(&p, p.x, p.x, &stack->final_norm);
    return p.x;
}

int clf_model_cache_width(const clf_config *config) {
    const int inner = config->decoder.heads * config->decoder.head_width;
    return (inner % 16 == 0 ? 2 : 3) * inner;
}

// The newest position of every hypothesis attends to its own past. Its keys and values (and
// queries, see clf_model_cache_width) are written straight into the cache.
static void self_attention_step(const pass *p, const clf_layer *layer, const clf_step *step,
                                clf_tensor cache) {
    int rows = p->x.rows;
    clf_tensor now = clf_tensor_rows(cache, step->position * step->slots, rows);
    clf_tensor past = clf_tensor_rows(cache, 0, step->position * step->slots + rows);
    const int inner = p->size.heads * p->size.head_width, queries = cache.cols / inner - 2;
    const clf_tensor x = enter(p, &layer->self_norm), q = part_of(p, queries ? now : p->qkv, 0);
    if (queries)
        project(p, now, x, &layer->self_qkv);
    else
        project_in_two(p, q, now, x, &layer->self_qkv, inner);
    clf_op_attention_step(p->run, p->heads,
                          (clf_attention_step){.q = q,
                                               .k = part_of(p, past, queries),
                                               .v = part_of(p, past, queries + 1),
                                               .origin = step->origin,
                                               .slots = step->slots,
                                               .steps = step->position + 1,
                                               .heads = p->size.heads,
                                               .scale = p->size.attention_scale});
    leave(p, p->heads, &layer->self_out, &layer->self_norm);
}

static void cross_attention_step(const pass *p, const clf_layer *layer, const clf_step *step,
                                 clf_tensor kv) {
    clf_tensor q = part_of(p, p->qkv, 0);
    project(p, q, enter(p, &layer->cross_norm), &layer->cross_q);
    clf_op_attention_cross(p->run, p->heads,
                           (clf_attention_cross){.q = q,
                                                 .k = part_of(p, kv, 0),
                                                 .v = part_of(p, kv, 1),
                                                 .sentence = step->sentence,
                                                 .starts = step->starts,
                                                 .lengths = step->lengths,
                                                 .heads = p->size.heads,
                                                 .scale = p->size.attention_scale});
    leave(p, p->heads, &layer->cross_out, &layer->cross_norm);
}

clf_tensor clf_model_step(clf_run *run, const clf_model *model, clf_arena *arena,
                          const clf_step *step) {
    const clf_stack *stack = &model->stacks[CLF_DECODER];
    pass p = begin_pass(run, model, arena, CLF_DECODER, step->ids.cols);
    embed(&p, stack, step->ids, step->where);
    for (int i = 0; i < p.size.layers; i++) {
        self_attention_step(&p, &stack->layers[i], step, step->cache[i]);
        cross_attention_step(&p, &stack->layers[i], step, step->cross[i]);
        feed_forward(&p, &stack->layers[i]);
    }
    if (p.config->final_norm) norm(&p, p.x, p.x, &stack->final_norm);
    return p.x;
}

clf_tensor clf_model_logits(clf_run *run, const clf_model *model, clf_arena *arena,
                            clf_tensor hidden) {
    clf_tensor logits =
        clf_arena_take(run, arena, hidden.rows, model->config.target_vocabulary, CLF_F32);
    clf_op_linear(run, logits, hidden, model->output.weight,
                  (clf_linear){.bias = model->output.bias, .scratch = arena});
    return logits;
}

void clf_model_best(clf_run *run, const clf_model *model, clf_tensor values, clf_tensor ids,
                    clf_tensor hidden, clf_screen screen, clf_topk topk) {
    clf_op_linear_topk(run, values, ids, hidden, model->output.weight, model->output.bias, screen,
                       topk);
}

clf_screen clf_model_screen(clf_run *run, const clf_model *model, clf_arena *arena, size_t least) {
    const clf_weight w = model->output.weight;
    const size_t bytes = (size_t)clf_dtype_size(w.data.dtype) * (size_t)w.k * (size_t)w.n;
    return bytes < least ? (clf_screen){0} : clf_op_screen(run, arena, w);
}
