// SPDX-License-Identifier: MIT
#include "ops/backward.h"
#include "ops/shape.h"

// Elements of a work-group: on a CPU enough to be worth its start, on a GPU few enough that short
// vectors occupy all of it.
static int span_of(clf_device *device) {
    return clf_device_profile(device)->lanes == 1 ? 16384 : 2048;
}

static clf_range group_range(size_t groups) {
    return (clf_range){.groups = {groups}, .local = {CLF_LANES}};
}

static clf_range span_range(clf_device *device, int n) {
    const size_t span = (size_t)span_of(device);
    return group_range(((size_t)n + span - 1) / span);
}

void clf_op_adam(clf_run *run, clf_tensor p, clf_tensor gradient, clf_tensor m, clf_tensor v,
                 clf_tensor average, clf_adam a) {
    static const char op[] = "adam";
    const int n = p.cols;
    if (!clf_shape_is(run, op, "p", p, 1, CLF_ANY, CLF_F32) ||
        !clf_shape_is(run, op, "the gradient", gradient, 1, n, CLF_F32) ||
        !clf_shape_is(run, op, "m", m, 1, n, CLF_F32) ||
        !clf_shape_is(run, op, "v", v, 1, n, CLF_F32) ||
        !clf_shape_is_or_absent(run, op, "the average", average, 1, n, CLF_F32)) {
        return;
    }
    const bool averages = average.chunk;
    const clf_kernel_spec spec = {
        .file = "optimizer", .kernel = "adam", .defines = {{"AVERAGE", averages}}};
    const clf_arg arguments[] = {
        clf_arg_tensor(p),
        clf_arg_tensor(gradient),
        clf_arg_tensor(m),
        clf_arg_tensor(v),
        clf_arg_tensor(average),
        clf_arg_long(n),
        clf_arg_long(span_of(run->device)),
        clf_arg_float(a.scale),
        clf_arg_float(a.beta1),
        clf_arg_float(a.beta2),
        clf_arg_float((float)((double)a.rate / (double)a.correction1)),
        clf_arg_float((float)(1 / (double)a.correction2)),
        clf_arg_float(a.epsilon),
        clf_arg_float((float)((double)a.rate * (double)a.decay)),
        clf_arg_float(a.average_rate),
    };
    const clf_cost cost = {.bytes = (averages ? 40.0 : 32.0) * n, .flops = 15.0 * n};
    clf_launch(run, &spec, span_range(run->device, n), cost, arguments, CLF_COUNT(arguments));
}

void clf_op_square_sums(clf_run *run, clf_tensor partial, clf_tensor x) {
    static const char op[] = "square_sums";
    if (!clf_shape_is(run, op, "partial", partial, 1, CLF_PARTIALS, CLF_F32) ||
        !clf_shape_is(run, op, "x", x, 1, CLF_ANY, CLF_F32)) {
        return;
    }
    const int64_t n = x.cols, each = (n + CLF_PARTIALS - 1) / CLF_PARTIALS;
    const clf_kernel_spec spec = {.file = "optimizer", .kernel = "square_sums"};
    const clf_arg arguments[] = {clf_arg_tensor(partial), clf_arg_tensor(x), clf_arg_long(n),
                                 clf_arg_long((each + 15) / 16 * 16)};
    const clf_cost cost = {.bytes = 4.0 * (double)n, .flops = 2.0 * (double)n};
    clf_launch(run, &spec, group_range(CLF_PARTIALS), cost, arguments, CLF_COUNT(arguments));
}

void clf_op_blend(clf_run *run, clf_tensor y, clf_tensor x, float a, float b) {
    static const char op[] = "blend";
    const int n = y.cols;
    if (!clf_shape_is(run, op, "y", y, 1, CLF_ANY, CLF_F32) ||
        !clf_shape_is(run, op, "x", x, 1, n, CLF_F32)) {
        return;
    }
    const clf_kernel_spec spec = {.file = "optimizer", .kernel = "blend"};
    const clf_arg arguments[] = {clf_arg_tensor(y), clf_arg_tensor(x),
                                 clf_arg_long(n),   clf_arg_long(span_of(run->device)),
                                 clf_arg_float(a),  clf_arg_float(b)};
    const clf_cost cost = {.bytes = 12.0 * n, .flops = 3.0 * n};
    clf_launch(run, &spec, span_range(run->device, n), cost, arguments, CLF_COUNT(arguments));
}
