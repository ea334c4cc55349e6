// SPDX-License-Identifier: MIT
#include "ops/shape.h"

#include "base/fail.h"

static const char *dtype_name(clf_dtype dtype) {
    static const char *const names[] = {
        [CLF_F32] = "float32", [CLF_F16] = "float16", [CLF_BF16] = "bfloat16", [CLF_I32] = "int32",
        [CLF_I16] = "int16",   [CLF_I8] = "int8",     [CLF_U8] = "uint8"};
    return names[dtype];
}

bool clf_shape_require(clf_run *run, bool condition, const char *op, const char *what) {
    if (!condition) clf_run_fail(run, clf_fail(CLF_ERROR_ARGUMENT, "%s: %s", op, what));
    return run->status == CLF_OK;
}

bool clf_shape_is(clf_run *run, const char *op, const char *name, clf_tensor t, int rows, int cols,
                  clf_dtype dtype) {
    if (run->status != CLF_OK) return false;
    if (rows == CLF_ANY) rows = t.rows;
    if (cols == CLF_ANY) cols = t.cols;
    bool fits = t.rows == rows && t.cols == cols && t.dtype == dtype && (t.chunk || rows == 0);
    if (!fits) {
        clf_run_fail(run,
                     clf_fail(CLF_ERROR_ARGUMENT, "%s: %s is %s (%d, %d) %s, expected (%d, %d) %s",
                              op, name, t.chunk ? "a" : "an absent", t.rows, t.cols,
                              dtype_name(t.dtype), rows, cols, dtype_name(dtype)));
        return false;
    }
    if (t.stride > INT32_MAX) {
        clf_run_fail(run, clf_fail(CLF_ERROR_ARGUMENT, "%s: %s has rows of %llu elements", op, name,
                                   (unsigned long long)t.stride));
        return false;
    }
    return true;
}

bool clf_shape_is_real(clf_run *run, const char *op, const char *name, clf_tensor t, int rows,
                       int cols) {
    return clf_shape_is(run, op, name, t, rows, cols, clf_is_half(t) ? CLF_F16 : CLF_F32);
}

bool clf_shape_is_or_absent(clf_run *run, const char *op, const char *name, clf_tensor t, int rows,
                            int cols, clf_dtype dtype) {
    if (!t.chunk) return run->status == CLF_OK;
    return clf_shape_is(run, op, name, t, rows, cols, dtype);
}

int clf_row_vector(const clf_device *device) {
    const clf_profile *profile = clf_device_profile(device);
    const bool wide = clf_device_caps(device)->native_float_width >= 16;
    return profile->lanes == 1 && wide ? 16 : profile->vector_width;
}

clf_range clf_row_range(clf_device *device, int rows) {
    const clf_profile *profile = clf_device_profile(device);
    int groups = rows, units = clf_device_caps(device)->compute_units;
    if (profile->lanes == 1 && groups > 16 * units) groups = 16 * units;
    return (clf_range){.groups = {(size_t)groups}, .local = {CLF_LANES}};
}
