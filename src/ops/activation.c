// SPDX-License-Identifier: MIT
#include "ops/backward.h"
#include "ops/shape.h"

static clf_kernel_spec make_spec(const clf_device *device, const char *kernel,
                                 clf_activation activation, clf_dropout dropout, clf_tensor y) {
    return (clf_kernel_spec){.file = "activation",
                             .kernel = kernel,
                             .defines = {{"ACT", activation},
                                         {"DROPOUT", dropout.rate > 0},
                                         {"HALF", clf_is_half(y)},
                                         {"VW", clf_row_vector(device)}}};
}

void clf_op_activate(clf_run *run, clf_tensor y, clf_tensor x, clf_activation activation,
                     clf_dropout dropout) {
    const int rows = y.rows, width = y.cols;
    if (!clf_shape_is_real(run, "activate", "y", y, rows, width) ||
        !clf_shape_is(run, "activate", "x", x, rows, width, y.dtype)) {
        return;
    }
    const clf_kernel_spec spec = make_spec(run->device, "activate", activation, dropout, y);
    const clf_arg arguments[] = {
        CLF_ARG_MATRIX(y),  CLF_ARG_MATRIX(x),        clf_arg_int(rows),
        clf_arg_int(width), CLF_ARG_DROPOUT(dropout),
    };
    const clf_cost cost = {.bytes = 2.0 * clf_dtype_size(y.dtype) * rows * width};
    clf_launch(run, &spec, clf_row_range(run->device, rows), cost, arguments, CLF_COUNT(arguments));
}

void clf_op_activate_backward(clf_run *run, clf_tensor dx, clf_tensor dy, clf_tensor x,
                              clf_activation activation, clf_dropout dropout) {
    const int rows = dx.rows, width = dx.cols;
    if (!clf_shape_is_real(run, "activate_backward", "dx", dx, rows, width) ||
        !clf_shape_is(run, "activate_backward", "dy", dy, rows, width, dx.dtype) ||
        !clf_shape_is(run, "activate_backward", "x", x, rows, width, dx.dtype)) {
        return;
    }
    const clf_kernel_spec spec =
        make_spec(run->device, "activate_backward", activation, dropout, dx);
    const clf_arg arguments[] = {
        CLF_ARG_MATRIX(dx), CLF_ARG_MATRIX(dy), CLF_ARG_MATRIX(x),
        clf_arg_int(rows),  clf_arg_int(width), CLF_ARG_DROPOUT(dropout),
    };
    const clf_cost cost = {.bytes = 3.0 * clf_dtype_size(dx.dtype) * rows * width};
    clf_launch(run, &spec, clf_row_range(run->device, rows), cost, arguments, CLF_COUNT(arguments));
}
