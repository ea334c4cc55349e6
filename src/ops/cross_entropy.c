// SPDX-License-Identifier: MIT
#include "ops/backward.h"
#include "ops/shape.h"

void clf_op_cross_entropy(clf_run *run, clf_tensor losses, clf_tensor logits, clf_tensor labels,
                          int banned, float smoothing, float factor) {
    static const char op[] = "cross_entropy";
    const int rows = logits.rows, columns = logits.cols;
    if (!clf_shape_is(run, op, "logits", logits, CLF_ANY, CLF_ANY, CLF_F32) ||
        !clf_shape_is(run, op, "losses", losses, rows, 2, CLF_F32) ||
        !clf_shape_is(run, op, "labels", labels, 1, rows, CLF_I32) ||
        !clf_shape_require(run, banned >= -1 && banned < columns, op,
                           "the banned column is not one of the logits'") ||
        !clf_shape_require(run, smoothing >= 0 && smoothing < 1, op,
                           "label smoothing must be in [0, 1)")) {
        return;
    }
    const clf_kernel_spec spec = {.file = "cross_entropy",
                                  .kernel = "cross_entropy",
                                  .defines = {{"VW", clf_row_vector(run->device)}}};
    const clf_arg arguments[] = {CLF_ARG_MATRIX(losses),   CLF_ARG_MATRIX(logits),
                                 clf_arg_tensor(labels),   clf_arg_int(rows),
                                 clf_arg_int(columns),     clf_arg_int(banned),
                                 clf_arg_float(smoothing), clf_arg_float(factor)};
    const clf_cost cost = {.bytes = 8.0 * rows * columns, .flops = 22.0 * rows * columns};
    clf_launch(run, &spec, clf_row_range(run->device, rows), cost, arguments, CLF_COUNT(arguments));
}
