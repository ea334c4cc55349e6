// SPDX-License-Identifier: MIT
#include "ops/ops.h"
#include "ops/shape.h"

void clf_op_compact(clf_run *run, clf_tensor to, clf_tensor from, clf_tensor origin, int slots,
                    int steps) {
    const char *op = "compact";
    const int rows = origin.rows;
    if (!clf_shape_is(run, op, "origin", origin, CLF_ANY, CLF_ANY, CLF_I32) ||
        !clf_shape_is(run, op, "from", from, CLF_ANY, CLF_ANY, CLF_F32) ||
        !clf_shape_is(run, op, "to", to, CLF_ANY, from.cols, CLF_F32) ||
        !clf_shape_require(run, steps >= 0 && steps <= origin.cols, op,
                           "more steps than origin has columns") ||
        !clf_shape_require(run,
                           (int64_t)steps * rows <= to.rows && (int64_t)steps * slots <= from.rows,
                           op, "more positions than a cache has")) {
        return;
    }
    const clf_kernel_spec spec = {.file = "cache", .kernel = "compact"};
    const clf_arg arguments[] = {CLF_ARG_MATRIX(to),  CLF_ARG_MATRIX(from), CLF_ARG_MATRIX(origin),
                                 clf_arg_int(slots),  clf_arg_int(steps),   clf_arg_int(rows),
                                 clf_arg_int(to.cols)};
    const clf_cost cost = {.bytes = 8.0 * steps * rows * to.cols};
    clf_launch(run, &spec, clf_row_range(run->device, steps * rows), cost, arguments,
               CLF_COUNT(arguments));
}

void clf_op_reorder(clf_run *run, clf_tensor to, clf_tensor from, clf_tensor parent, int steps) {
    const char *op = "reorder";
    if (!clf_shape_is(run, op, "to", to, CLF_ANY, CLF_ANY, CLF_I32) ||
        !clf_shape_is(run, op, "from", from, CLF_ANY, to.cols, CLF_I32) ||
        !clf_shape_is(run, op, "parent", parent, 1, to.rows, CLF_I32) ||
        !clf_shape_require(run, steps >= 0 && steps < to.cols, op, "more steps than columns")) {
        return;
    }
    const clf_kernel_spec spec = {.file = "cache", .kernel = "reorder"};
    const clf_arg arguments[] = {CLF_ARG_MATRIX(to), CLF_ARG_MATRIX(from), clf_arg_tensor(parent),
                                 clf_arg_int(to.rows), clf_arg_int(steps)};
    const clf_cost cost = {.bytes = 8.0 * to.rows * steps};
    clf_launch(run, &spec, clf_row_range(run->device, to.rows), cost, arguments,
               CLF_COUNT(arguments));
}
