// SPDX-License-Identifier: MIT
// Variants of kernels that a driver may refuse by crashing, or that may hang or crash when they
// run, are tried in another process first: once per device, driver and state of the kernels.
#ifndef CLF_DEVICE_TRIAL_H
#define CLF_DEVICE_TRIAL_H

#include <stdbool.h>

#include "device/device.h"

#define CLF_TRIAL_SECONDS 40 // a slow compiler takes a second or two for each of a dozen kernels
#define CLF_TRIAL_NAME    32 // characters of a variant's name, the NUL included

typedef enum clf_trial_outcome {
    CLF_TRIAL_UNKNOWN, // not tried, or something else ended the trial: that says nothing
    CLF_TRIAL_PASSED,
    CLF_TRIAL_FAILED
} clf_trial_outcome;

// Whether the variant may be used here: as remembered, else as a trial with the device's
// trial_command says. Without either it may not. Cheap from the second call on. The caller holds
// the device's lock.
bool clf_trial_passed(clf_device *device, const char *variant);

// The last of `count` variants, of which the first needs no trial, that `is_candidate` and passed.
int clf_trial_best(clf_device *device, const char *const *variants, int count,
                   bool (*is_candidate)(const clf_device *device, int variant));

// In the process of a trial, before it: what is compiled is not kept on disk, which takes some
// drivers longer than compiling it.
void clf_trial_begin(clf_device *device);

// One trial of at most about `seconds`, whatever is remembered.
clf_trial_outcome clf_trial_run(clf_device *device, const char *variant, double seconds);

#endif
