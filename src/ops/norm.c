// SPDX-License-Identifier: MIT
#include "ops/ops.h"
#include "ops/shape.h"

void clf_op_norm(clf_run *run, clf_tensor y, clf_tensor x, clf_norm norm) {
    const int rows = y.rows, width = y.cols;
    if (!clf_shape_is_real(run, "norm", "y", y, rows, width) ||
        !clf_shape_is(run, "norm", "x", x, rows, width, y.dtype) ||
        !clf_shape_is(run, "norm", "scale", norm.scale, 1, width, CLF_F32) ||
        !clf_shape_is_or_absent(run, "norm", "bias", norm.bias, 1, width, CLF_F32) ||
        !clf_shape_is_or_absent(run, "norm", "residual", norm.residual, rows, width, y.dtype) ||
        !clf_shape_is_or_absent(run, "norm", "sum", norm.sum, rows, width, y.dtype) ||
        !clf_shape_is_or_absent(run, "norm", "stats", norm.stats, rows, 2, CLF_F32)) {
        return;
    }
    const bool dropout = norm.dropout.rate > 0, training = dropout || norm.stats.chunk;
    const clf_kernel_spec spec = {.file = "norm",
                                  .kernel = "norm",
                                  .defines = {{"LAYER", norm.kind == CLF_NORM_LAYER},
                                              {"TRAINING", training},
                                              {"DROPOUT", dropout},
                                              {"HALF", clf_is_half(y)},
                                              {"VW", clf_row_vector(run->device)}}};
    const clf_arg arguments[] = {
        CLF_ARG_MATRIX(y),
        CLF_ARG_MATRIX(x),
        CLF_ARG_MATRIX(norm.residual),
        CLF_ARG_MATRIX(norm.sum),
        clf_arg_tensor(norm.scale),
        clf_arg_tensor(norm.bias),
        clf_arg_int(rows),
        clf_arg_int(width),
        clf_arg_float(norm.epsilon),
        CLF_ARG_MATRIX(norm.stats),
        CLF_ARG_DROPOUT(norm.dropout),
    };
    const int only_training = 8; // the last arguments, of stats and dropout
    const double passes = 2 + (norm.residual.chunk != NULL) + (norm.sum.chunk != NULL);
    const clf_cost cost = {.bytes = clf_dtype_size(y.dtype) * passes * rows * width,
                           .flops = 8.0 * rows * width};
    clf_launch(run, &spec, clf_row_range(run->device, rows), cost, arguments,
               CLF_COUNT(arguments) - (training ? 0 : only_training));
}
