// SPDX-License-Identifier: MIT
// Kernels: built on demand, cached, launched with checked arguments.
#ifndef CLF_DEVICE_LAUNCH_H
#define CLF_DEVICE_LAUNCH_H

#include <stddef.h>
#include <stdint.h>

#include "device/memory.h"

// Which kernel: a function of cl/FILE.cl, built with definitions. The device adds cl/prelude.cl in
// front, and its profile as -DVW=... -DLANES=... -DCPU=... unless `defines` sets them itself.
typedef struct clf_define {
    const char *name;
    int value;
} clf_define;

#define CLF_MAX_DEFINES 11
// A kernel with this definition is compiled as the newest OpenCL C that the device has, not as 1.x.
#define CLF_NEWEST "NEWEST"

typedef struct clf_kernel_spec {
    const char *file;                    // "norm" for cl/norm.cl
    const char *kernel;                  // function name
    clf_define defines[CLF_MAX_DEFINES]; // up to the first without a name
} clf_kernel_spec;

// One argument. A tensor becomes two kernel arguments: `__global T *x, ulong x_at` (prelude.cl's
// TENSOR), so a view needs no sub-buffer. A tensor without a chunk passes NULL and 0. A buffer is a
// chunk from its start or NULL, one kernel argument.
typedef struct clf_arg {
    enum { CLF_ARG_TENSOR, CLF_ARG_BUFFER, CLF_ARG_INT, CLF_ARG_FLOAT, CLF_ARG_LONG } kind;
    union {
        clf_tensor tensor;
        struct clf_chunk *buffer;
        int32_t i;
        float f;
        int64_t l;
    };
} clf_arg;

static inline clf_arg clf_arg_tensor(clf_tensor t) {
    return (clf_arg){.kind = CLF_ARG_TENSOR, .tensor = t};
}
static inline clf_arg clf_arg_buffer(struct clf_chunk *buffer) {
    return (clf_arg){.kind = CLF_ARG_BUFFER, .buffer = buffer};
}
static inline clf_arg clf_arg_int(int32_t i) {
    return (clf_arg){.kind = CLF_ARG_INT, .i = i};
}
static inline clf_arg clf_arg_float(float f) {
    return (clf_arg){.kind = CLF_ARG_FLOAT, .f = f};
}
static inline clf_arg clf_arg_long(int64_t l) {
    return (clf_arg){.kind = CLF_ARG_LONG, .l = l};
}

// `rows` rows of `length` bytes of a tensor, `step` bytes apart; groups (., y, .) read in each the
// `bytes` from y * bytes on. Without a chunk it is unknown.
typedef struct clf_stream {
    clf_tensor from;
    size_t bytes, rows, step, length;
} clf_stream;

// local[0] of kernels that are written for LANES work-items, however many these are.
#define CLF_LANES SIZE_MAX

// Work-items: `groups` work-groups of `local` work-items in each dimension. groups[0] == 0 means
// that there is nothing to do; any other zero counts as one. `stream` is what they read and nothing
// writes, so that a device that waits may fetch it.
typedef struct clf_range {
    size_t groups[3];
    size_t local[3];
    clf_stream stream;
} clf_range;

// What a launch costs, for --profile; zero if it is not worth counting.
typedef struct clf_cost {
    double bytes, flops;
} clf_cost;

// Queues a kernel. Nothing happens if the run has failed already or groups[0] is 0.
void clf_launch(clf_run *run, const clf_kernel_spec *spec, clf_range range, clf_cost cost,
                const clf_arg *arguments, int count);

// A chain: between these two, launches become one launch of a kernel that takes their groups in
// order (cl/chain.cl, cl/chain_group.cl), up to whatever else is queued, or to one whose
// work-groups do not fit. For sequences of small kernels that come again and again, since each set
// of kernels is a program that the device has to compile. Where chains are not wanted nothing
// changes.
//
// Results are the same, bit for bit, where LANES is 1. Else kernels of LANES work-items run with
// more, and their sums may round differently.
void clf_chain_begin(clf_run *run);
void clf_chain_end(clf_run *run);

// Work-items of all work-groups of a chain on this device: what local[0] of a launch must be,
// unless it is CLF_LANES. 0: it has no chains, or none is open.
int clf_chain_items(const clf_device *device);

// Whether the last launches that were recorded became one: not where they were too few or their
// program did not build.
bool clf_chain_was_joined(const clf_device *device);

// Whether they are wanted: on CPUs and GPUs, unless kernels are timed one by one, if CLF_CHAIN_NAME
// passed its trial (device/trial.h); never; or always, for tests and the trial.
#define CLF_CHAIN_NAME "chain"
typedef enum clf_chaining { CLF_CHAIN_IF_FASTER, CLF_CHAIN_NEVER, CLF_CHAIN_ALWAYS } clf_chaining;
void clf_chain_choose(clf_device *device, clf_chaining chaining);
bool clf_chain_is_wanted(clf_device *device);

// Builds the kernel without running it; false if it does not build here, which is then not a
// failure of the run (the compiler's log goes to the debug log). For trial compilation of optional
// variants.
bool clf_kernel_try(clf_run *run, const clf_kernel_spec *spec);

// The largest work-group this kernel may run with here (CL_KERNEL_WORK_GROUP_SIZE), 0 on failure.
// Some drivers understate it: a larger launch may well succeed.
int clf_kernel_max_group(clf_run *run, const clf_kernel_spec *spec);

// CLBlast: y (M, N) = x (M, K) . w (K, N) + beta * y, all row-major with their strides.
void clf_clblast_gemm(clf_run *run, clf_tensor y, clf_tensor x, clf_tensor w, float beta);
// Sets CLBlast's tuning parameters for one of its kernels ("Xgemm", "XgemmDirect", ...) on this
// device; `names` and `values` have `count` entries.
clf_status clf_clblast_override(clf_device *device, const char *kernel, const char *const *names,
                                const size_t *values, int count);

#endif
