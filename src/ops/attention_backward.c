// SPDX-License-Identifier: MIT
#include "ops/attention.h"
#include "ops/backward.h"

static clf_kernel_spec spec_of(const char *file, const char *kernel, clf_tiling t, int head_width,
                               clf_dropout dropout, bool of_keys, bool half) {
    return (clf_kernel_spec){.file = file,
                             .kernel = kernel,
                             .defines = {{"D", head_width},
                                         {"VW", t.vector},
                                         {"TQ", t.queries},
                                         {"TK", t.keys},
                                         {"SPLIT", t.split},
                                         {"DROPOUT", dropout.rate > 0},
                                         {"OF_KEYS", of_keys},
                                         {"HALF", half}}};
}

// All three gradients at once, a work-group for each head of a sequence.
static void backward_on_cpu(clf_run *run, clf_tensor dq, clf_tensor dk, clf_tensor dv,
                            clf_tensor dy, clf_tensor y, clf_attention a, clf_cost cost) {
    const int head_width = y.cols / a.heads;
    const clf_tiling t = clf_tile_for_cpu(run->device, head_width, true);
    const clf_kernel_spec spec = spec_of("attention_tile", "attention_backward", t, head_width,
                                         a.dropout, false, clf_is_half(y));
    const clf_arg arguments[] = {
        CLF_ARG_MATRIX(dq),          CLF_ARG_MATRIX(dk),          CLF_ARG_MATRIX(dv),
        CLF_ARG_MATRIX(dy),          CLF_ARG_MATRIX(y),           CLF_ARG_MATRIX(a.q),
        CLF_ARG_MATRIX(a.k),         CLF_ARG_MATRIX(a.v),         clf_arg_tensor(a.q_starts),
        clf_arg_tensor(a.q_lengths), clf_arg_tensor(a.kv_starts), clf_arg_tensor(a.kv_lengths),
        clf_arg_float(a.scale),      clf_arg_int(a.causal),       CLF_ARG_MATRIX(a.lse),
        CLF_ARG_DROPOUT(a.dropout),
    };
    const clf_range range = {.groups = {(size_t)a.heads, (size_t)a.q_starts.cols}};
    clf_launch(run, &spec, range, cost, arguments, CLF_COUNT(arguments));
}

// One side of the gradient on a GPU: of x, and of g if that is a side of its own.
typedef struct side {
    clf_tensor dx, dg, x, g, starts, lengths;
} side;

static void backward_of(clf_run *run, side own, side other, bool of_keys, clf_tensor delta,
                        clf_attention a, clf_tiling t, clf_cost cost) {
    const clf_kernel_spec spec =
        spec_of("attention_group", "attention_backward", t, own.x.cols / a.heads, a.dropout,
                of_keys, clf_is_half(own.x));
    const clf_arg arguments[] = {
        CLF_ARG_MATRIX(own.dx),        CLF_ARG_MATRIX(own.dg),      CLF_ARG_MATRIX(own.x),
        CLF_ARG_MATRIX(own.g),         CLF_ARG_MATRIX(other.x),     CLF_ARG_MATRIX(other.g),
        clf_arg_tensor(own.starts),    clf_arg_tensor(own.lengths), clf_arg_tensor(other.starts),
        clf_arg_tensor(other.lengths), clf_arg_float(a.scale),      clf_arg_int(a.causal),
        CLF_ARG_MATRIX(a.lse),         CLF_ARG_MATRIX(delta),       CLF_ARG_DROPOUT(a.dropout),
    };
    // Groups walk on where a sequence has more keys than queries.
    const int blocks = clf_ceil_divide(a.max_q_length, t.queries);
    const clf_range range = {
        .groups = {blocks > 0 ? (size_t)blocks : 1, (size_t)a.heads, (size_t)a.q_starts.cols},
        .local = {(size_t)t.queries, (size_t)t.split}};
    clf_launch(run, &spec, range, cost, arguments, CLF_COUNT(arguments));
}

static void backward_on_gpu(clf_run *run, clf_tensor dq, clf_tensor dk, clf_tensor dv,
                            clf_tensor dy, clf_tensor y, clf_attention a, clf_cost cost,
                            clf_arena *scratch) {
    const int head_width = y.cols / a.heads, max_group = clf_device_caps(run->device)->max_group;
    const clf_tiling t =
        clf_tile_for_gpu(clf_device_profile(run->device), max_group, head_width, true);
    const clf_arena_mark mark = clf_arena_get_mark(scratch);
    const clf_tensor delta = clf_arena_take(run, scratch, y.rows, a.heads, CLF_F32);
    const clf_kernel_spec spec = spec_of("attention_group", "attention_delta", t, head_width,
                                         a.dropout, false, clf_is_half(y));
    const clf_arg arguments[] = {CLF_ARG_MATRIX(delta), CLF_ARG_MATRIX(dy), CLF_ARG_MATRIX(y),
                                 clf_arg_int(y.rows), clf_arg_int(a.heads)};
    const int group = t.queries * t.split;
    const clf_range range = {.groups = {(size_t)clf_ceil_divide(y.rows * a.heads, group)},
                             .local = {(size_t)group}};
    clf_launch(run, &spec, range,
               (clf_cost){.bytes = 8.0 * y.rows * y.cols, .flops = 2.0 * y.rows * y.cols},
               arguments, CLF_COUNT(arguments));

    const side queries = {
        .dx = dq, .x = a.q, .g = dy, .starts = a.q_starts, .lengths = a.q_lengths};
    const side keys = {
        .dx = dk, .dg = dv, .x = a.k, .g = a.v, .starts = a.kv_starts, .lengths = a.kv_lengths};
    cost.bytes /= 2, cost.flops /= 2;
    backward_of(run, queries, keys, false, delta, a, t, cost);
    backward_of(run, keys, queries, true, delta, a, t, cost);
    clf_arena_rewind(scratch, mark);
}

void clf_op_attention_backward(clf_run *run, clf_tensor dq, clf_tensor dk, clf_tensor dv,
                               clf_tensor dy, clf_tensor y, clf_attention a, clf_arena *scratch) {
    const char *op = "attention_backward";
    const int batch = a.q_starts.cols;
    if (!clf_attention_fits(run, op, y, a) ||
        !clf_shape_is(run, op, "lse", a.lse, y.rows, a.heads, CLF_F32) ||
        !clf_shape_is(run, op, "dy", dy, y.rows, y.cols, y.dtype) ||
        !clf_shape_is(run, op, "dq", dq, y.rows, y.cols, y.dtype) ||
        !clf_shape_is(run, op, "dk", dk, a.k.rows, y.cols, y.dtype) ||
        !clf_shape_is(run, op, "dv", dv, a.k.rows, y.cols, y.dtype) || batch == 0) {
        return;
    }
    const double pairs = (double)a.k.rows / batch * y.rows * (a.causal ? 0.5 : 1);
    const clf_cost cost = {.bytes = 16.0 * y.cols * ((double)y.rows + a.k.rows),
                           .flops = 10 * pairs * y.cols};
    if (clf_device_profile(run->device)->lanes == 1)
        backward_on_cpu(run, dq, dk, dv, dy, y, a, cost);
    else
        backward_on_gpu(run, dq, dk, dv, dy, y, a, cost, scratch);
}
