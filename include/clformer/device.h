// SPDX-License-Identifier: MIT
// OpenCL devices: which there are, and opening one.
#ifndef CLFORMER_DEVICE_H
#define CLFORMER_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <clformer/status.h>

#ifdef __cplusplus
extern "C" {
#endif

// An open device: an OpenCL context, one in-order queue, compiled kernels.
// Thread-safe: each public call that works on a device locks it, so calls from several threads run
// one after another. clf_device_close must be the last call.
typedef struct clf_device clf_device;

// In order of preference: devices are listed and chosen by this rank, lowest first.
typedef enum clf_device_kind {
    CLF_DEVICE_DISCRETE_GPU,
    CLF_DEVICE_INTEGRATED_GPU, // shares memory with the host
    CLF_DEVICE_ACCELERATOR,
    CLF_DEVICE_CPU,
    CLF_DEVICE_EMULATOR // simulators, software renderers and Clover: right, but not fast
} clf_device_kind;

typedef struct clf_device_info {
    char name[128];     // e.g. "Intel(R) Arc(TM) A770 Graphics"
    char platform[128]; // name of the OpenCL platform
    char vendor[128];
    char driver[128];    // driver version
    char version[128];   // device version, e.g. "OpenCL 3.0 PoCL ..."
    char c_version[128]; // OpenCL C version string
    char reason[160];    // why the device cannot be used; empty if it can
    clf_device_kind kind;
    int platform_index, device_index; // the P and D of the selector "P:D"
    uint64_t global_memory, max_allocation, local_memory, cache; // bytes
    int compute_units;
    int clock_mhz;
} clf_device_info;

// Lists every device of every platform, best first; `*devices` is freed by clf_device_list_free.
// A broken platform is skipped with a log message. Zero devices is not an error.
CLF_API clf_status clf_device_list(clf_device_info **devices, size_t *count);
CLF_API void clf_device_list_free(clf_device_info *devices);

// "gpu", "cpu", "discrete-gpu", ...: never NULL.
CLF_API const char *clf_device_kind_text(clf_device_kind kind);

// Zero means default everywhere.
typedef struct clf_device_options {
    // "gpu", "cpu", "P:D" (platform and device index) or a part of the device's name in any case.
    // NULL: the environment's CLFORMER_DEVICE, else the best device.
    const char *select;
    // Directory for compiled kernels, tuning files and outcomes of trials. NULL:
    // CLFORMER_CACHE_DIR, else $XDG_CACHE_HOME/clformer, else ~/.cache/clformer. Empty string: no
    // cache on disk.
    const char *cache_dir;
    const char
        *trace_path; // write a Chrome trace (JSON) of kernels, transfers and host phases here
    bool profile;    // time each kernel, for clf_device_profile_report; with either of the two
                     // each is launched by itself, which takes longer for few rows on a CPU
    // Matrix product: "auto" (default: the device's matrix unit if there is one, else what is
    // faster for so many rows), "clblast" or "panel".
    const char *gemm;
    // Shape of the kernels: "auto" (default), "cpu" (one wide-vector work-item per row) or
    // "gpu" (one work-group per row). For tests and measurements.
    const char *shape;
    // Program and first arguments, ended by NULL, that try a variant of a kernel in a process of
    // its own, since it may make a driver crash or hang: started (never through a shell) with the
    // device's P:D and the variant's name added, it should call clf_device_try and exit with 0 if
    // that succeeded. Each variant is tried once per device and driver; the outcome is kept in the
    // cache directory. NULL: variants that no other program has tried are not used.
    const char *const *trial_command;
} clf_device_options;

CLF_API clf_status clf_device_open(const clf_device_options *options, clf_device **device);

// Finishes all work, writes the trace file, releases everything. NULL is allowed. A trace that
// cannot be written is logged as a warning.
CLF_API void clf_device_close(clf_device *device);

// Tries a variant here and now, for the program that trial_command starts: a driver may end the
// process or never return. CLF_OK: it builds, computes what it should, and is faster than what it
// replaces; CLF_ERROR_UNSUPPORTED: it is not; CLF_ERROR_ARGUMENT: there is no such variant.
CLF_API clf_status clf_device_try(clf_device *device, const char *variant);

CLF_API void clf_device_get_info(const clf_device *device, clf_device_info *info);

// One kernel's (or transfer's) share of the device's time since the device was opened.
typedef struct clf_profile_entry {
    char name[64];
    uint64_t calls;
    double seconds; // on the device
    double bytes;   // moved from and to memory, as the operation counts them
    double flops;   // floating-point operations, likewise
} clf_profile_entry;

// Entries in descending order of time; needs clf_device_options.profile. `*entries` is freed with
// free().
CLF_API clf_status clf_device_profile_report(clf_device *device, clf_profile_entry **entries,
                                             size_t *count);

#ifdef __cplusplus
}
#endif
#endif
