// SPDX-License-Identifier: MIT
#include "device/launch.h"
#include "ops/linear.h"
#include "ops/shape.h"

static void round_weight(clf_run *run, clf_screen to, clf_weight w) {
    const bool cpu = clf_device_profile(run->device)->lanes == 1;
    // On a GPU neighbours read neighbouring columns.
    const int vector = cpu ? clf_row_vector(run->device) : 1;
    const size_t width = cpu ? 1 : 32;
    const clf_kernel_spec spec = {.file = "screen",
                                  .kernel = "screen_weight",
                                  .defines = {{"HALF", clf_is_half(w.data)}, {"VW", vector}}};
    const int columns = to.norms.cols;
    const clf_range range = {.groups = {((size_t)(columns / vector) + width - 1) / width},
                             .local = {width}};
    const double elements = (double)w.k * columns;
    const clf_cost cost = {.bytes = (2.0 * clf_dtype_size(w.data.dtype) + 1) * elements,
                           .flops = 10 * elements};
    const clf_arg arguments[] = {
        clf_arg_tensor(to.weight.data),
        clf_arg_long((int64_t)to.weight.panel_stride),
        clf_arg_tensor(to.weight.scales),
        CLF_ARG_MATRIX(to.norms),
        clf_arg_int(clf_int8_limit(to.weight.int8)),
        clf_arg_int(clf_int8_offset(to.weight.int8)),
        clf_arg_tensor(w.data),
        clf_arg_long((int64_t)w.panel_stride),
        clf_arg_long((int64_t)w.row_stride),
        clf_arg_int(w.k),
        clf_arg_int(columns),
    };
    clf_launch(run, &spec, range, cost, arguments, CLF_COUNT(arguments));
}

clf_screen clf_screen_make(clf_run *run, clf_arena *arena, clf_weight w, clf_int8 kind) {
    if (!clf_shape_require(run, w.data.dtype != CLF_I8 && kind != CLF_INT8_PLAIN, "screen",
                           "the weight must be float or half, and inputs int8"))
        return (clf_screen){0};
    clf_screen made = {.weight = clf_weight_take_int8(run, arena, w.k, w.n, kind)};
    made.norms = clf_arena_take(run, arena, 2, made.weight.scales.cols, CLF_F32);
    round_weight(run, made, w);
    return made;
}

clf_screen clf_op_screen(clf_run *run, clf_arena *arena, clf_weight w) {
    if (run->status != CLF_OK || w.data.dtype == CLF_I8) return (clf_screen){0};
    const clf_int8 kind = clf_linear_int8(run);
    return kind == CLF_INT8_PLAIN ? (clf_screen){0} : clf_screen_make(run, arena, w, kind);
}
