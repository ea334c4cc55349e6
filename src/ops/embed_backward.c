// SPDX-License-Identifier: MIT
#include "ops/backward.h"
#include "ops/shape.h"

// A tensor of `keys` vectors of C elements, laid out as cl/embed_backward.cl says.
typedef struct target {
    clf_tensor data;
    uint64_t panel_stride, key_stride, row_stride;
    int keys;
} target;

static void add_rows(clf_run *run, const char *op, target to, clf_tensor dy, clf_index index,
                     float scale) {
    const int count = index.keys.cols;
    if (!clf_shape_is_real(run, op, "dy", dy, CLF_ANY, CLF_ANY) ||
        !clf_shape_is(run, op, "the index's rows", index.rows, 1, CLF_ANY, CLF_I32) ||
        !clf_shape_is(run, op, "the index's keys", index.keys, 1, CLF_ANY, CLF_I32) ||
        !clf_shape_is(run, op, "the index's first", index.first, 1, count + 1, CLF_I32)) {
        return;
    }
    const clf_kernel_spec spec = {.file = "embed_backward",
                                  .kernel = "embed_backward",
                                  .defines = {{"HALF", clf_is_half(dy)}}};
    const clf_arg arguments[] = {
        clf_arg_tensor(to.data),
        clf_arg_long((int64_t)to.panel_stride),
        clf_arg_long((int64_t)to.key_stride),
        clf_arg_long((int64_t)to.row_stride),
        clf_arg_int(to.keys),
        CLF_ARG_MATRIX(dy),
        clf_arg_tensor(index.rows),
        clf_arg_tensor(index.keys),
        clf_arg_tensor(index.first),
        clf_arg_int(count),
        clf_arg_int(dy.cols),
        clf_arg_float(scale),
    };
    const clf_cost cost = {.bytes = 4.0 * dy.cols * (index.rows.cols + 2.0 * count)};
    clf_launch(run, &spec, clf_row_range(run->device, count), cost, arguments,
               CLF_COUNT(arguments));
}

void clf_op_embed_backward(clf_run *run, clf_weight dtable, clf_tensor dy, clf_index index,
                           float scale) {
    static const char op[] = "embed_backward";
    if (!clf_shape_is(run, op, "dtable", dtable.data, CLF_ANY, CLF_ANY, CLF_F32) ||
        !clf_shape_is_real(run, op, "dy", dy, CLF_ANY, dtable.k)) {
        return;
    }
    const target to = {.data = dtable.data,
                       .panel_stride = dtable.panel_stride,
                       .key_stride = 1,
                       .row_stride = dtable.row_stride,
                       .keys = dtable.n};
    add_rows(run, op, to, dy, index, scale);
}

void clf_op_positions_backward(clf_run *run, clf_tensor dpositions, clf_tensor dy,
                               clf_index index) {
    static const char op[] = "positions_backward";
    if (!clf_shape_is(run, op, "dpositions", dpositions, CLF_ANY, dy.cols, CLF_F32)) return;
    const target to = {.data = dpositions,
                       .panel_stride = 16 * dpositions.stride,
                       .key_stride = dpositions.stride,
                       .row_stride = 1,
                       .keys = dpositions.rows};
    add_rows(run, op, to, dy, index, 1);
}
