// SPDX-License-Identifier: MIT
// What the operations on rows share: checks of shapes and launches over rows.
#ifndef CLF_OPS_SHAPE_H
#define CLF_OPS_SHAPE_H

#include <stdbool.h>

#include "device/launch.h"
#include "ops/ops.h"

// The arguments of a kernel's MATRIX(x).
#define CLF_ARG_MATRIX(t) clf_arg_tensor(t), clf_arg_int((int32_t)(t).stride)

#define CLF_COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

// The arguments of a kernel's DROPOUT_ARGUMENTS (cl/dropout.cl); `site` is the dropout's unless a
// kernel has several.
#define CLF_ARG_DROPOUT(d)                                                                         \
    clf_arg_int((int32_t)clf_dropout_below(d)), clf_arg_float(1.0f / (1.0f - (d).rate)),           \
        clf_arg_int((int32_t)(d).site), clf_arg_int((int32_t)(d).step),                            \
        clf_arg_int((int32_t)(uint32_t)(d).seed), clf_arg_int((int32_t)(uint32_t)((d).seed >> 32))

// A random word below this drops its element.
static inline uint32_t clf_dropout_below(clf_dropout d) {
    return (uint32_t)((double)d.rate * 4294967296.0);
}

static inline int clf_ceil_divide(int a, int b) {
    return (a + b - 1) / b;
}

// For HALF of cl/prelude.cl.
static inline bool clf_is_half(clf_tensor t) {
    return t.dtype == CLF_F16;
}

#define CLF_ANY (-1) // rows or columns that may have any number

// True if the run has not failed and the tensor is there with this shape; else the run fails with a
// message that names the operation and the tensor.
bool clf_shape_is(clf_run *run, const char *op, const char *name, clf_tensor t, int rows, int cols,
                  clf_dtype dtype);
// The same for values that may be float or half.
bool clf_shape_is_real(clf_run *run, const char *op, const char *name, clf_tensor t, int rows,
                       int cols);
// The same for a tensor that may be absent.
bool clf_shape_is_or_absent(clf_run *run, const char *op, const char *name, clf_tensor t, int rows,
                            int cols, clf_dtype dtype);

// True if `condition` and the run has not failed; else the run fails: "op: what must hold".
bool clf_shape_require(clf_run *run, bool condition, const char *op, const char *what);

// The launch of a kernel that walks EACH_ROW: a work-group per row, fewer on a CPU, where a group
// costs as much as a short row.
clf_range clf_row_range(clf_device *device, int rows);

// VW of kernels that do much arithmetic for each number they read: where a CPU has vectors of 16
// floats, all of them.
int clf_row_vector(const clf_device *device);

#endif
