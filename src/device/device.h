// SPDX-License-Identifier: MIT
// An open device as the rooms above see it: capabilities, profile, and the run through which all
// work goes. Nothing above src/device/ includes CL/cl.h.
#ifndef CLF_DEVICE_DEVICE_H
#define CLF_DEVICE_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include <clformer/device.h>

// What the device can do, each value queried only where its version and extensions allow it.
typedef struct clf_caps {
    clf_device_kind kind;
    int version;   // OpenCL version of the device, major * 100 + minor * 10: 120, 300, ...
    int c_version; // highest OpenCL C version, likewise
    uint64_t global_memory, max_allocation, local_memory, cache; // bytes
    int compute_units, clock_mhz;
    int max_group; // work-items per work-group, clamped by the first dimension's limit
    int native_float_width, preferred_float_width;
    int base_align;       // bytes
    bool unified_memory;  // shared with the host
    bool local_is_real;   // CL_DEVICE_LOCAL_MEM_TYPE; some drivers understate it
    bool half_arithmetic; // cl_khr_fp16
    bool double_arithmetic;
    bool subgroups; // OpenCL C sub-groups, by version or extension
    bool subgroup_shuffle;
    bool integer_dot; // cl_khr_integer_dot_product, whose functions are OpenCL C 3.0
    bool qcom_dot;    // cl_qcom_dot_product8, whose functions 3.0 may not have
    bool float_atomics;
    bool int64_atomics;
    bool fma; // CL_FP_FMA is fast or at least correct
    bool denormals;
    bool online_compiler; // CL_DEVICE_COMPILER_AVAILABLE
    bool out_of_order;
} clf_caps;

// How kernels are shaped on this device. It follows from the capabilities, the tuning file and the
// options; kernels receive it as -D definitions (see cl/prelude.cl).
typedef struct clf_profile {
    int vector_width; // VW: floats per vector load, 1 to 16
    int lanes;        // LANES: work-items that share one row; 1 on a CPU, a power of two on a GPU
} clf_profile;

const clf_caps *clf_device_caps(const clf_device *device);
const clf_profile *clf_device_profile(const clf_device *device);

// Whether a work-item makes all the passes of its loops; found at first use. Mesa's llvmpipe ends
// them after 65,535 passes in all, without a word.
bool clf_device_runs_long_loops(clf_device *device);

// Serialises public calls. Not recursive.
void clf_device_lock(clf_device *device);
void clf_device_unlock(clf_device *device);

// Hash of everything that identifies device and driver: the key of tuning files.
// `text` has CLF_HASH_TEXT characters.
void clf_device_key(const clf_device *device, char *text);
// The directory of compiled kernels and tuning files, or NULL if there is none.
const char *clf_device_cache_directory(const clf_device *device);
// What the room above remembers about a device (tuning, checked variants). The slot is empty when
// the device opens; when it closes, `destroy`, if set, is called with `data` before anything is
// released.
typedef struct clf_device_slot {
    void *data;
    void (*destroy)(void *data);
} clf_device_slot;
clf_device_slot *clf_device_get_slot(clf_device *device);
// The `gemm` option as it was given, "auto" if it was not.
const char *clf_device_gemm_option(const clf_device *device);

// A sequence of operations on a device. The first failure sticks: later operations do nothing, and
// clf_run_finish returns it. So model code calls operations without looking at a status.
typedef struct clf_run {
    clf_device *device;
    clf_status status;
    bool dry; // only plan: arenas count what is taken, nothing is allocated, moved or launched
} clf_run;

static inline clf_run clf_run_begin(clf_device *device) {
    return (clf_run){.device = device, .status = CLF_OK};
}

// Records a failure unless one is there already; for use with clf_fail().
static inline void clf_run_fail(clf_run *run, clf_status status) {
    if (run->status == CLF_OK) run->status = status;
}

// Waits until the device has done everything and returns the first failure.
clf_status clf_run_finish(clf_run *run);
// Submits what is queued without waiting.
void clf_run_flush(clf_run *run);

// Host phases for the trace: clf_phase_begin(device) ... clf_phase_end(device, "tokenize", t).
int64_t clf_phase_begin(const clf_device *device);
void clf_phase_end(clf_device *device, const char *name, int64_t begin);

#endif
