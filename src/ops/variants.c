// SPDX-License-Identifier: MIT
// Variants of kernels that are tried in another process before clf_trial_passed allows them.
#include <stddef.h>
#include <string.h>

#include "base/fail.h"
#include "ops/linear.h"

// CLF_INT8_KINDS: there is no such variant.
static clf_int8 find(const char *name) {
    int kind = CLF_INT8_PLAIN + 1;
    while (kind < CLF_INT8_KINDS && strcmp(clf_int8_name((clf_int8)kind), name) != 0) kind++;
    return (clf_int8)kind;
}

clf_status clf_device_try(clf_device *device, const char *name) {
    const clf_int8 kind = find(name);
    if (kind == CLF_INT8_KINDS)
        return clf_fail(CLF_ERROR_ARGUMENT, "there is no variant '%s'", name);
    clf_device_lock(device);
    clf_run run = clf_run_begin(device);
    bool good = clf_linear_check_int8(&run, kind, true);
    clf_status status = clf_run_finish(&run);
    clf_device_unlock(device);
    if (status != CLF_OK || good) return status;
    return clf_fail(CLF_ERROR_UNSUPPORTED, "%s: not right or not faster on this device", name);
}
