// SPDX-License-Identifier: MIT
// Variants of kernels that are tried in another process before clf_trial_passed allows them.
#include <stddef.h>
#include <string.h>

#include "base/fail.h"
#include "device/launch.h"
#include "device/trial.h"
#include "ops/chain_check.h"
#include "ops/linear.h"

// Fails the run if no variant has this name.
static bool check(clf_run *run, const char *name) {
    for (int i = CLF_INT8_PLAIN + 1; i < CLF_INT8_KINDS; i++) {
        if (strcmp(clf_int8_name((clf_int8)i), name) == 0)
            return clf_linear_check_int8(run, (clf_int8)i, true);
    }
    for (int i = CLF_MATRIX_EMULATED + 1; i < CLF_MATRIX_UNITS; i++) {
        if (strcmp(clf_matrix_name((clf_matrix_unit)i), name) == 0)
            return clf_linear_check_matrix(run, (clf_matrix_unit)i, true);
    }
    for (int i = CLF_BFLOAT_EMULATED + 1; i < CLF_BFLOAT_KINDS; i++) {
        if (strcmp(clf_bfloat_name((clf_bfloat)i), name) == 0)
            return clf_linear_check_bfloat(run, (clf_bfloat)i, true);
    }
    if (strcmp(name, CLF_CHAIN_NAME) == 0) return clf_chain_check(run, true);
    clf_run_fail(run, clf_fail(CLF_ERROR_ARGUMENT, "there is no variant '%s'", name));
    return false;
}

clf_status clf_device_try(clf_device *device, const char *name) {
    clf_device_lock(device);
    clf_trial_begin(device);
    clf_run run = clf_run_begin(device);
    const bool good = check(&run, name);
    clf_status status = clf_run_finish(&run);
    clf_device_unlock(device);
    if (status != CLF_OK || good) return status;
    return clf_fail(CLF_ERROR_UNSUPPORTED, "%s: not right or not faster on this device", name);
}
