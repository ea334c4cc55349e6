// SPDX-License-Identifier: MIT
#include "ops/backward.h"
#include "ops/shape.h"

#define OP "norm_backward"

static bool same_place(clf_tensor a, clf_tensor b) {
    return a.chunk == b.chunk && a.offset == b.offset;
}

static bool shapes_fit(clf_run *run, clf_norm norm, clf_norm_gradient g) {
    const int rows = g.dy.rows, width = g.dy.cols;
    return clf_shape_is_real(run, OP, "dy", g.dy, rows, width) &&
           clf_shape_is(run, OP, "scale", norm.scale, 1, width, CLF_F32) &&
           clf_shape_is(run, OP, "sum", norm.sum, rows, width, g.dy.dtype) &&
           clf_shape_is(run, OP, "stats", norm.stats, rows, 2, CLF_F32) &&
           clf_shape_is_or_absent(run, OP, "extra", g.extra, rows, width, g.dy.dtype) &&
           clf_shape_is(run, OP, "dsum", g.dsum, rows, width, g.dy.dtype) &&
           clf_shape_is_or_absent(run, OP, "dx", g.dx, rows, width, g.dy.dtype) &&
           clf_shape_is(run, OP, "dscale", g.dscale, 1, width, CLF_F32) &&
           clf_shape_is_or_absent(run, OP, "dbias", g.dbias, 1, width, CLF_F32) &&
           clf_shape_require(run,
                             norm.dropout.rate == 0 || !g.dx.chunk || !same_place(g.dx, g.dsum), OP,
                             "dx is dsum although there is dropout");
}

static void add_parameters(clf_run *run, clf_kernel_spec spec, clf_norm_gradient g,
                           clf_tensor partial) {
    const int width = g.dscale.cols;
    const clf_profile *profile = clf_device_profile(run->device);
    spec.kernel = "norm_parameters";
    clf_range range = {.local = {1, 1, 1}};
    if (profile->lanes == 1) {
        range.groups[0] = (size_t)clf_ceil_divide(width, clf_row_vector(run->device));
    } else {
        const size_t most = (size_t)clf_device_caps(run->device)->max_group;
        while (range.local[0] < 16 && 2 * range.local[0] <= most) range.local[0] *= 2;
        while (range.local[1] < 16 && 2 * range.local[1] * range.local[0] <= most)
            range.local[1] *= 2;
        range.groups[0] = (size_t)clf_ceil_divide(width, (int)range.local[0]);
    }
    const clf_arg arguments[] = {
        clf_arg_tensor(g.dscale),  clf_arg_tensor(g.dbias), CLF_ARG_MATRIX(partial),
        clf_arg_int(partial.rows), clf_arg_int(width),
    };
    const clf_cost cost = {.bytes = 4.0 * partial.rows * partial.cols};
    clf_launch(run, &spec, range, cost, arguments, CLF_COUNT(arguments));
}

void clf_op_norm_backward(clf_run *run, clf_norm norm, clf_norm_gradient g) {
    if (!shapes_fit(run, norm, g) || g.dy.rows == 0) return;
    const int rows = g.dy.rows, width = g.dy.cols;
    // A group for several rows: each leaves a row of partial sums behind.
    const int most = 16 * clf_device_caps(run->device)->compute_units;
    const int wanted = clf_ceil_divide(rows, 8), groups = wanted < most ? wanted : most;
    const clf_arena_mark mark = clf_arena_get_mark(g.scratch);
    const clf_tensor partial =
        clf_arena_take(run, g.scratch, groups, g.dbias.chunk ? 2 * width : width, CLF_F32);
    const clf_kernel_spec spec = {.file = "norm_backward",
                                  .kernel = "norm_backward",
                                  .defines = {{"LAYER", norm.kind == CLF_NORM_LAYER},
                                              {"BIAS", !!g.dbias.chunk},
                                              {"DROPOUT", g.dx.chunk && norm.dropout.rate > 0},
                                              {"HALF", clf_is_half(g.dy)},
                                              {"VW", clf_row_vector(run->device)}}};
    clf_range range = clf_row_range(run->device, rows);
    range.groups[0] = (size_t)groups;
    const clf_arg arguments[] = {
        CLF_ARG_MATRIX(g.dsum),     CLF_ARG_MATRIX(g.dx),          CLF_ARG_MATRIX(g.dy),
        CLF_ARG_MATRIX(g.extra),    CLF_ARG_MATRIX(norm.sum),      CLF_ARG_MATRIX(norm.stats),
        clf_arg_tensor(norm.scale), CLF_ARG_MATRIX(partial),       clf_arg_int(rows),
        clf_arg_int(width),         CLF_ARG_DROPOUT(norm.dropout),
    };
    const double passes = 3 + (g.extra.chunk != NULL) + (g.dx.chunk != NULL);
    const clf_cost cost = {.bytes = clf_dtype_size(g.dy.dtype) * passes * rows * width,
                           .flops = 16.0 * rows * width};
    clf_launch(run, &spec, range, cost, arguments, CLF_COUNT(arguments));
    add_parameters(run, spec, g, partial);
    clf_arena_rewind(g.scratch, mark);
}
