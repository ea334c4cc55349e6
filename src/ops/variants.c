// SPDX-License-Identifier: MIT
// Variants of kernels that are tried in another process before clf_trial_passed allows them.
#include <stddef.h>
#include <string.h>

#include "base/fail.h"
#include "ops/ops.h"

typedef struct variant {
    const char *name; // shorter than CLF_TRIAL_NAME
    // True if it builds, its results are right, and it is faster than what it replaces.
    bool (*check)(clf_run *run);
} variant;

static const variant variants[] = {{NULL, NULL}};

static const variant *find(const char *name) {
    for (const variant *v = variants; v->name; v++) {
        if (strcmp(v->name, name) == 0) return v;
    }
    return NULL;
}

clf_status clf_device_try(clf_device *device, const char *name) {
    const variant *wanted = find(name);
    if (!wanted) return clf_fail(CLF_ERROR_ARGUMENT, "there is no variant '%s'", name);
    clf_device_lock(device);
    clf_run run = clf_run_begin(device);
    bool good = wanted->check(&run);
    clf_status status = clf_run_finish(&run);
    clf_device_unlock(device);
    if (status != CLF_OK || good) return status;
    return clf_fail(CLF_ERROR_UNSUPPORTED, "%s: not right or not faster on this device", name);
}
