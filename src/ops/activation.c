// SPDX-License-Identifier: MIT
#include "ops/backward.h"
#include "ops/shape.h"

static clf_kernel_spec make_spec(const char *kernel, clf_activation activation,
                                 clf_dropout dropout) {
    return (clf_kernel_spec){.file = "activation",
                             .kernel = kernel,
                             .defines = {{"ACT", activation}, {"DROPOUT", dropout.rate > 0}}};
}

void clf_op_activate(clf_run *run, clf_tensor y, clf_tensor x, clf_activation activation,
                     clf_dropout dropout) {
    const int rows = y.rows, width = y.cols;
    if (!clf_shape_is(run, "activate", "y", y, rows, width, CLF_F32) ||
        !clf_shape_is(run, "activate", "x", x, rows, width, CLF_F32)) {
        return;
    }
    const clf_kernel_spec spec = make_spec("activate", activation, dropout);
    const clf_arg arguments[] = {
        CLF_ARG_MATRIX(y),  CLF_ARG_MATRIX(x),        clf_arg_int(rows),
        clf_arg_int(width), CLF_ARG_DROPOUT(dropout),
    };
    const clf_cost cost = {.bytes = 8.0 * rows * width};
    clf_launch(run, &spec, clf_row_range(run->device, rows), cost, arguments, CLF_COUNT(arguments));
}

void clf_op_activate_backward(clf_run *run, clf_tensor dx, clf_tensor dy, clf_tensor x,
                              clf_activation activation, clf_dropout dropout) {
    const int rows = dx.rows, width = dx.cols;
    if (!clf_shape_is(run, "activate_backward", "dx", dx, rows, width, CLF_F32) ||
        !clf_shape_is(run, "activate_backward", "dy", dy, rows, width, CLF_F32) ||
        !clf_shape_is(run, "activate_backward", "x", x, rows, width, CLF_F32)) {
        return;
    }
    const clf_kernel_spec spec = make_spec("activate_backward", activation, dropout);
    const clf_arg arguments[] = {
        CLF_ARG_MATRIX(dx), CLF_ARG_MATRIX(dy), CLF_ARG_MATRIX(x),
        clf_arg_int(rows),  clf_arg_int(width), CLF_ARG_DROPOUT(dropout),
    };
    const clf_cost cost = {.bytes = 12.0 * rows * width};
    clf_launch(run, &spec, clf_row_range(run->device, rows), cost, arguments, CLF_COUNT(arguments));
}
