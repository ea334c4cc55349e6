// SPDX-License-Identifier: MIT
// Private to src/device/, and with clblast.c the only place that sees OpenCL's headers.
#ifndef CLF_DEVICE_OPENCL_H
#define CLF_DEVICE_OPENCL_H

#define CL_USE_DEPRECATED_OPENCL_1_2_APIS // for clCreateCommandQueue
#include <CL/cl.h>
#include <CL/cl_ext.h>
#include <pthread.h>

#include "base/array.h"
#include "base/hash.h"
#include "device/device.h"
#include "device/launch.h"
#include "device/memory.h"

struct clf_chunk {
    cl_mem memory;
    uint64_t bytes;
};

typedef struct clf_unsaved {
    cl_program program;
    char key[CLF_HASH_TEXT];
} clf_unsaved;

struct clf_device {
    cl_platform_id platform;
    cl_device_id id;
    cl_context context;
    cl_command_queue queue;
    clf_device_info info;
    clf_caps caps;
    clf_profile profile;
    pthread_mutex_t lock;
    clf_device_slot slot;
    char *gemm;
    char *cache_directory; // NULL: none
    bool cache_is_full;    // or cannot be written for another reason, which was said, or shall not
    bool save_late;        // the driver is slow to give binaries
    CLF_ARRAY(clf_unsaved) unsaved;
    char key[CLF_HASH_TEXT];
    uint64_t allocated;               // bytes in chunks
    uint64_t releases;                // of arenas, so far
    unsigned char *staging;           // host copies of small writes that may not have happened yet
    size_t staged;                    // bytes of it in use
    struct clf_kernel_table *kernels; // NULL until the first is built
    struct clf_chain *chain;          // NULL until the first is begun
    clf_chaining chaining;
    bool loops_known, short_loops; // see clf_device_runs_long_loops
    bool trying;                   // an optional kernel: that it does not build is no warning
    struct clf_recorder *recorder; // NULL unless tracing or profiling
    struct clf_trials *trials;
};

// ---- platform.c ----
// The OpenCL handles of device P:D.
clf_status clf_platform_find(int platform_index, int device_index, cl_platform_id *platform,
                             cl_device_id *id);
// "CL_OUT_OF_RESOURCES"; never NULL.
const char *clf_cl_error(cl_int code);
// Fails with the status that fits `code`, naming the device and what was tried ("launch norm").
clf_status clf_cl_fail(const clf_device *device, cl_int code, const char *tried);
// Fails the run likewise unless `code` is CL_SUCCESS.
void clf_cl_check(clf_run *run, cl_int code, const char *tried);

// ---- caps.c ----
// A number of any width and a string (cut to fit); 0 and "" where the device does not answer.
uint64_t clf_query_number(cl_device_id id, cl_device_info what);
void clf_query_text(cl_device_id id, cl_device_info what, char *text, size_t size);
bool clf_query_extension(cl_device_id id, const char *extension);
// "OpenCL 3.0 ..." or "OpenCL C 1.2" as 300 or 120; 0 if it is neither.
int clf_version_number(const char *text);
void clf_caps_query(cl_device_id id, clf_device_kind kind, clf_caps *caps);

// ---- memory.c ----
clf_status clf_memory_start(clf_device *device);
// To be called when the queue is known to be empty.
void clf_device_idle(clf_device *device);

// ---- cache.c ----
// A program that an earlier process compiled; false if there is none that works here.
bool clf_cache_load(const clf_device *device, const char *key, const char *options,
                    cl_program *program);
// Keeps a program now or, where that would take long, when the device closes.
void clf_cache_save(clf_device *device, const char *key, cl_program program);
void clf_cache_save_rest(clf_device *device);

// ---- program.c ----
// The text of cl/FILE.cl, NULL if there is none.
const char *clf_kernel_source(const char *file);
// The definitions with which a kernel is built, the profile's included; returns their number.
#define CLF_ALL_DEFINES (CLF_MAX_DEFINES + 3)
int clf_program_defines(const clf_device *device, const clf_kernel_spec *spec,
                        clf_define defines[CLF_ALL_DEFINES]);
// Builds the file of `spec` with its definitions, or finds it in the cache if `cached`.
clf_status clf_program_build(clf_device *device, const clf_kernel_spec *spec, bool cached,
                             cl_program *program);
// The same with a text that stands for the file.
clf_status clf_program_build_text(clf_device *device, const char *file, const char *text,
                                  bool cached, cl_program *program);

// ---- trial.c ----
// `command` is clf_device_options.trial_command.
clf_status clf_trials_create(const char *const *command, struct clf_trials **trials);
void clf_trials_destroy(struct clf_trials *trials);

// ---- kernels.c ----
void clf_kernels_destroy(struct clf_kernel_table *table);

// ---- trace.c ----
typedef enum clf_track { CLF_TRACK_KERNELS = 1, CLF_TRACK_TRANSFERS, CLF_TRACK_HOST } clf_track;

// `trace_path` may be NULL. The device's queue must exist and measure times.
clf_status clf_recorder_create(clf_device *device, const char *trace_path,
                               struct clf_recorder **recorder);
void clf_recorder_destroy(struct clf_recorder *recorder);
// Takes over the event of a queued command, and of a marker queued before it if the command's own
// event does not cover all of its work (else NULL).
void clf_recorder_add(struct clf_recorder *recorder, clf_track track, const char *name,
                      clf_cost cost, cl_event before, cl_event event);
// Reads the times of all commands that were added; the queue must be empty.
void clf_recorder_harvest(struct clf_recorder *recorder);

#endif
