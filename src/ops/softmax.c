// SPDX-License-Identifier: MIT
#include "ops/ops.h"
#include "ops/shape.h"

static void softmax(clf_run *run, clf_tensor y, clf_tensor x, const char *name, bool log) {
    if (!clf_shape_is(run, name, "y", y, CLF_ANY, CLF_ANY, CLF_F32) ||
        !clf_shape_is(run, name, "x", x, y.rows, y.cols, CLF_F32)) {
        return;
    }
    const clf_kernel_spec spec = {
        .file = "softmax", .kernel = "softmax", .defines = {{"LOG", log}}};
    const clf_arg arguments[] = {CLF_ARG_MATRIX(y), CLF_ARG_MATRIX(x), clf_arg_int(y.rows),
                                 clf_arg_int(y.cols)};
    const clf_cost cost = {.bytes = 8.0 * y.rows * y.cols, .flops = 20.0 * y.rows * y.cols};
    clf_launch(run, &spec, clf_row_range(run->device, y.rows), cost, arguments,
               CLF_COUNT(arguments));
}

void clf_op_softmax(clf_run *run, clf_tensor y, clf_tensor x) {
    softmax(run, y, x, "softmax", false);
}

void clf_op_log_softmax(clf_run *run, clf_tensor y, clf_tensor x) {
    softmax(run, y, x, "log_softmax", true);
}
