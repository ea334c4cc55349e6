// SPDX-License-Identifier: MIT
// Which device is meant: ranking and selectors, on plain data so that they can be tested without
// any OpenCL.
#ifndef CLF_DEVICE_SELECT_H
#define CLF_DEVICE_SELECT_H

#include <stdbool.h>
#include <stddef.h>

#include <clformer/device.h>

typedef enum clf_hardware { CLF_HARDWARE_GPU, CLF_HARDWARE_CPU, CLF_HARDWARE_OTHER } clf_hardware;

// The kind of a device that calls itself `hardware`. Software renderers and simulators claim to be
// CPUs or GPUs, so they are told by their names.
clf_device_kind clf_select_kind(const char *name, const char *platform, clf_hardware hardware,
                                bool unified_memory);

// Sorts best first: usable before unusable, then by kind, discrete GPUs by memory, then as listed.
void clf_select_sort(clf_device_info *devices, size_t count);

// Finds the device that `selector` (see clf_device_options; NULL or empty: the best) means in a
// sorted list.
clf_status clf_select(const clf_device_info *devices, size_t count, const char *selector,
                      size_t *index);

#endif
