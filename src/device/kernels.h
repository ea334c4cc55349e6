// SPDX-License-Identifier: MIT
// Private to src/device/: the table of kernels. A kernel is known by its specification; it is built
// when it is first needed by itself.
#ifndef CLF_DEVICE_KERNELS_H
#define CLF_DEVICE_KERNELS_H

#include "device/opencl.h"

#define CLF_CHAIN_ARGUMENTS 40 // the most that a kernel of a chain may have

// An argument as it was set last. Setting one again costs an allocation in some drivers, and most
// are the same from launch to launch.
typedef struct clf_set_value {
    bool known;
    size_t size;
    uint64_t bits; // of a value of at most 8 bytes, or of a buffer's handle; 0: none was given
} clf_set_value;

typedef struct clf_kernel {
    clf_kernel_spec spec; // its strings are in `text`
    char *text;
    uint64_t hash;
    bool asked;        // whether it was built or failed to
    clf_status status; // of building it; a failure is remembered with its message
    char *message;
    cl_program program;
    cl_kernel kernel;
    int arguments;
    clf_set_value *values; // one for each argument
    uint64_t releases;     // device->releases when they were set
    size_t max_group;
    // The kinds of its arguments once a chain has recorded them: B buffer, N number of 64 bits, I
    // of 32, R real. A tensor is two.
    char kinds[CLF_CHAIN_ARGUMENTS + 1];
    size_t local; // the work-items of its groups then
} clf_kernel;

// The kernel's place in the table, made if need be. NULL: memory is short, and the run has failed.
// It lives as long as the device is open.
clf_kernel *clf_kernel_find(clf_run *run, const clf_kernel_spec *spec);
// Builds it unless that was done before; on failure the run fails as well.
bool clf_kernel_build(clf_run *run, clf_kernel *k);
// Builds a kernel, in the table or not, from the file of its specification, or from a text that
// stands for it if that is not NULL.
clf_status clf_kernel_make(clf_device *device, clf_kernel *k, const char *text);
// Releases what a kernel holds, but not itself.
void clf_kernel_release(clf_kernel *k);
// Queues a kernel that was built.
void clf_kernel_launch(clf_run *run, clf_kernel *k, clf_range range, clf_cost cost,
                       const clf_arg *arguments, int count);
// Whether both come from the same file with the same definitions.
bool clf_kernel_same_program(const clf_kernel_spec *a, const clf_kernel_spec *b);

#endif
