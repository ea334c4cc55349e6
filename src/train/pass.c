// SPDX-License-Identifier: MIT
#include "train/pass.h"

#include <stdlib.h>

#include "base/fail.h"
#include "train/graph.h"

enum {
    SLICE_BYTES = 64 << 20, // of logits that stand in memory at once ...
    LEAST_ROWS = 64,        // ... but so many rows, or products become slow
    ROW_UNIT = 256,         // and multiples of this: products cut their rows so
    TERMS = 2048            // of a sum of a product, so that what is read again stays in a cache
};

// Both stacks of one pass.
typedef struct graph {
    clf_side_pass encoder, decoder;
} graph;

// What the hand-written gradients cover: the models that training makes.
static bool is_trainable(const clf_config *c) {
    return !c->gated && !c->embedding_norm && c->pre_norm == c->final_norm;
}

static clf_side_pass make_side(clf_run *run, const clf_model *model, clf_arena *arena,
                               const clf_train_batch *batch, const clf_pass_options *options,
                               clf_side side) {
    const clf_config *config = &model->config;
    const bool encodes = side == CLF_ENCODER;
    return (clf_side_pass){.run = run,
                           .model = model,
                           .options = options,
                           .arena = arena,
                           .dtype = model->output.weight.data.dtype,
                           .side = side,
                           .size = encodes ? config->encoder : config->decoder,
                           .stack = &model->stacks[side],
                           .own = encodes ? &batch->source : &batch->target,
                           .source = &batch->source};
}

// Runs both stacks; returns the decoder's result (T, C).
static clf_tensor forward(graph *g, clf_run *run, const clf_model *model, clf_arena *arena,
                          const clf_train_batch *batch, const clf_pass_options *options,
                          bool keep_all) {
    g->encoder = make_side(run, model, arena, batch, options, CLF_ENCODER);
    g->decoder = make_side(run, model, arena, batch, options, CLF_DECODER);
    const int layers = g->encoder.size.layers + g->decoder.size.layers;
    g->encoder.kept = calloc((size_t)layers, sizeof(clf_kept));
    if (!g->encoder.kept) {
        clf_run_fail(run, clf_fail_memory());
        return (clf_tensor){0};
    }
    g->decoder.kept = g->encoder.kept + g->encoder.size.layers;
    g->decoder.memory = clf_side_forward(&g->encoder, keep_all);
    return clf_side_forward(&g->decoder, keep_all);
}

// ---- the loss, a slice of rows at a time: no (T, V) matrix ever stands in memory ----

typedef struct head {
    clf_run *run;
    const clf_model *model;
    clf_arena *arena;
    clf_tensor logits; // (slice, V), rows padded for aligned vectors
} head;

static head make_head(clf_run *run, const clf_model *model, clf_arena *arena, int rows) {
    const int vocabulary = model->config.target_vocabulary, padded = (vocabulary + 15) / 16 * 16;
    int slice = SLICE_BYTES / (int)sizeof(float) / padded;
    if (slice < LEAST_ROWS) slice = LEAST_ROWS;
    if (slice > ROW_UNIT) slice -= slice % ROW_UNIT;
    if (slice > rows) slice = rows;
    const clf_tensor logits = clf_arena_take(run, arena, slice, padded, CLF_F32);
    return (head){run, model, arena, clf_tensor_cols(logits, 0, vocabulary)};
}

// Logits of rows from `first` on, as many as a slice holds.
static clf_tensor compute_logits(const head *h, clf_tensor hidden, int first) {
    const clf_linear_part *output = &h->model->output;
    const int left = hidden.rows - first;
    const int rows = left < h->logits.rows ? left : h->logits.rows;
    const clf_tensor logits = clf_tensor_rows(h->logits, 0, rows);
    clf_op_linear(h->run, logits, clf_tensor_rows(hidden, first, rows), output->weight,
                  (clf_linear){.bias = output->bias, .scratch = h->arena, .coarse = true});
    return logits;
}

// y (R, C) = x (R, V) . w, a slice of V at a time unless y is too coarse to add slices up in it.
static void multiply_long(const head *h, clf_tensor y, clf_tensor x, clf_weight w) {
    const int most = y.dtype == CLF_F32 ? TERMS : x.cols;
    for (int first = 0; first < x.cols; first += most) {
        const int count = x.cols - first < most ? x.cols - first : most;
        clf_weight part = w;
        part.data.offset += w.row_stride * (uint64_t)first;
        part.k = count;
        clf_op_linear(h->run, y, clf_tensor_cols(x, first, count), part,
                      (clf_linear){.residual = first > 0 ? y : (clf_tensor){0},
                                   .scratch = h->arena,
                                   .coarse = true});
    }
}

// Losses of all rows; with gradients also those of the output projection, and of `hidden` in
// dhidden (T, C).
static void loss(const head *h, clf_model *gradients, clf_tensor dhidden, clf_tensor hidden,
                 const clf_train_batch *batch, const clf_pass_options *options, clf_tensor losses) {
    clf_run *run = h->run;
    clf_weight transposed = {0};
    if (gradients) {
        transposed = clf_weight_take_transposed(run, h->arena, h->model->output.weight);
        clf_op_transpose(run, transposed, h->model->output.weight);
    }
    for (int first = 0; first < hidden.rows && run->status == CLF_OK; first += h->logits.rows) {
        const clf_tensor logits = compute_logits(h, hidden, first);
        const int rows = logits.rows;
        clf_op_cross_entropy(run, clf_tensor_rows(losses, first, rows), logits,
                             clf_tensor_cols(batch->labels, first, rows),
                             h->model->config.pad_token, options->label_smoothing,
                             options->loss_scale > 0 ? options->loss_scale : 1);
        if (!gradients) continue;
        clf_op_linear_backward(run, gradients->output.weight, gradients->output.bias,
                               clf_tensor_rows(hidden, first, rows), logits, h->arena);
        multiply_long(h, clf_tensor_rows(dhidden, first, rows), logits, transposed);
    }
}

// ---- passes ----

static void backward(const graph *g, clf_model *gradients, clf_tensor d,
                     const clf_train_batch *batch, bool recompute) {
    clf_run *run = g->encoder.run;
    clf_arena *arena = g->encoder.arena;
    const clf_tensor dmemory = clf_arena_take(run, arena, batch->source.rows,
                                              g->encoder.model->config.width, g->encoder.dtype);
    clf_fill_zero(run, dmemory);
    clf_arena_mark mark = clf_arena_get_mark(arena);
    d = clf_side_backward(&g->decoder, gradients, d, dmemory, recompute);
    clf_embedding_backward(&g->decoder, gradients, d, batch->target_ids, batch->target_where);
    clf_arena_rewind(arena, mark);
    d = clf_side_backward(&g->encoder, gradients, dmemory, (clf_tensor){0}, recompute);
    clf_embedding_backward(&g->encoder, gradients, d, batch->source_ids, batch->source_where);
}

void clf_train_pass(clf_run *run, const clf_model *model, clf_model *gradients, clf_arena *arena,
                    const clf_train_batch *batch, const clf_pass_options *options,
                    clf_tensor losses) {
    if (!is_trainable(&model->config)) {
        clf_run_fail(run, clf_fail(CLF_ERROR_UNSUPPORTED,
                                   "training covers models with norms behind each sublayer, or "
                                   "before each and a last one, without gates"));
        return;
    }
    const clf_arena_mark mark = clf_arena_get_mark(arena);
    graph g = {0};
    const bool keep_all = gradients && !options->recompute;
    const clf_tensor hidden = forward(&g, run, model, arena, batch, options, keep_all);
    clf_tensor dhidden = {0};
    if (gradients) dhidden = clf_arena_take(run, arena, hidden.rows, hidden.cols, hidden.dtype);
    const clf_arena_mark before_loss = clf_arena_get_mark(arena);
    const head h = make_head(run, model, arena, hidden.rows);
    loss(&h, gradients, dhidden, hidden, batch, options, losses);
    clf_arena_rewind(arena, before_loss);
    if (gradients) backward(&g, gradients, dhidden, batch, options->recompute);
    free(g.encoder.kept);
    clf_arena_rewind(arena, mark);
}

void clf_train_predict(clf_run *run, const clf_model *model, clf_arena *arena,
                       const clf_train_batch *batch, const clf_pass_options *options,
                       clf_tensor predictions) {
    const clf_arena_mark mark = clf_arena_get_mark(arena);
    graph g = {0};
    const clf_tensor hidden = forward(&g, run, model, arena, batch, options, false);
    const clf_tensor values = clf_arena_take(run, arena, hidden.rows, 1, CLF_F32);
    const clf_tensor banned = clf_arena_take(run, arena, 1, 1, CLF_I32);
    const int32_t pad = model->config.pad_token;
    if (pad >= 0) clf_write(run, banned, &pad);
    const head h = make_head(run, model, arena, hidden.rows);
    for (int first = 0; first < hidden.rows && run->status == CLF_OK; first += h.logits.rows) {
        const clf_tensor logits = compute_logits(&h, hidden, first);
        clf_op_topk(
            run, clf_tensor_rows(values, first, logits.rows),
            clf_tensor_rows(predictions, first, logits.rows), logits,
            (clf_topk){.banned = pad >= 0 ? banned : (clf_tensor){0}, .k = 1, .scratch = arena});
    }
    free(g.encoder.kept);
    clf_arena_rewind(arena, mark);
}
