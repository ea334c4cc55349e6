// SPDX-License-Identifier: MIT
// Variants of kernels that are tried in another process before clf_trial_passed allows them.
#include <stddef.h>
#include <string.h>

#include "base/fail.h"
#include "ops/linear.h"

// CLF_INT8_KINDS: none of them has this name.
static clf_int8 find_int8(const char *name) {
    int kind = CLF_INT8_PLAIN + 1;
    while (kind < CLF_INT8_KINDS && strcmp(clf_int8_name((clf_int8)kind), name) != 0) kind++;
    return (clf_int8)kind;
}

static clf_matrix_unit find_matrix(const char *name) {
    int unit = CLF_MATRIX_EMULATED + 1;
    while (unit < CLF_MATRIX_UNITS && strcmp(clf_matrix_name((clf_matrix_unit)unit), name) != 0)
        unit++;
    return (clf_matrix_unit)unit;
}

clf_status clf_device_try(clf_device *device, const char *name) {
    const clf_int8 kind = find_int8(name);
    const clf_matrix_unit unit = find_matrix(name);
    if (kind == CLF_INT8_KINDS && unit == CLF_MATRIX_UNITS)
        return clf_fail(CLF_ERROR_ARGUMENT, "there is no variant '%s'", name);
    clf_device_lock(device);
    clf_run run = clf_run_begin(device);
    bool good = kind < CLF_INT8_KINDS ? clf_linear_check_int8(&run, kind, true)
                                      : clf_linear_check_matrix(&run, unit, true);
    clf_status status = clf_run_finish(&run);
    clf_device_unlock(device);
    if (status != CLF_OK || good) return status;
    return clf_fail(CLF_ERROR_UNSUPPORTED, "%s: not right or not faster on this device", name);
}
