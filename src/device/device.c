// SPDX-License-Identifier: MIT
// Opening and closing a device.
#include "device/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/file.h"
#include "device/chain.h"
#include "device/select.h"

// ---- options ----

// A default of zero is filled in, from the environment where it has a say: nothing else reads it.
static clf_device_options resolve(const clf_device_options *given) {
    clf_device_options options = given ? *given : (clf_device_options){0};
    if (!options.select) options.select = getenv("CLFORMER_DEVICE");
    if (!options.cache_dir) options.cache_dir = getenv("CLFORMER_CACHE_DIR");
    if (!options.gemm) options.gemm = "auto";
    if (!options.shape) options.shape = "auto";
    return options;
}

static clf_status check_choice(const char *option, const char *value, const char *a,
                               const char *b) {
    if (strcmp(value, "auto") == 0 || strcmp(value, a) == 0 || strcmp(value, b) == 0) return CLF_OK;
    return clf_fail(CLF_ERROR_ARGUMENT, "%s is '%s'; it must be auto, %s or %s", option, value, a,
                    b);
}

// Sets `*directory` to the cache directory, made if need be, or to NULL if there is to be none.
static clf_status prepare_cache_directory(const char *given, char **directory) {
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char *path = NULL;
    if (given) {
        if (!*given) return CLF_OK;
        path = strdup(given);
    } else if (xdg && *xdg == '/') {
        path = clf_path_join(xdg, "clformer");
    } else if (home && *home) {
        path = clf_path_join(home, ".cache/clformer");
    } else {
        return CLF_OK;
    }
    if (!path) return clf_fail_memory();
    // Not being able to remember compiled kernels only costs time.
    if (clf_file_make_directory(path) != CLF_OK) {
        clf_log(CLF_LOG_WARNING, "compiled kernels are not kept: %s", clf_last_error());
        free(path);
        path = NULL;
    }
    *directory = path;
    return CLF_OK;
}

// ---- profile ----

// On a CPU one work-item walks a row in vectors of 8 floats: an AVX register, and as fast as 16 for
// matrix products even where AVX-512 has wider ones. On a GPU the work-items are the vector, and 4
// floats each make a 16-byte load.
static clf_profile choose_profile(const clf_device *device, const char *shape) {
    bool cpu = clf_query_number(device->id, CL_DEVICE_TYPE) & CL_DEVICE_TYPE_CPU;
    if (strcmp(shape, "auto") != 0) cpu = strcmp(shape, "cpu") == 0;
    if (cpu) return (clf_profile){.vector_width = 8, .lanes = 1};
    int lanes = 64;
    while (lanes > device->caps.max_group) lanes /= 2;
    return (clf_profile){.vector_width = 4, .lanes = lanes};
}

static void make_key(clf_device *device) {
    char platform_version[128] = "";
    clGetPlatformInfo(device->platform, CL_PLATFORM_VERSION, sizeof platform_version - 1,
                      platform_version, NULL);
    clf_hash hash = clf_hash_string(clf_hash_start(), device->info.name);
    hash = clf_hash_string(hash, device->info.vendor);
    hash = clf_hash_string(hash, device->info.platform);
    hash = clf_hash_string(hash, platform_version);
    hash = clf_hash_string(hash, device->info.driver);
    hash = clf_hash_string(hash, device->info.version);
    clf_hash_text(hash, device->key);
}

// ---- opening ----

static clf_status find_device(clf_device *device, const char *selector) {
    clf_device_info *list;
    size_t count, index;
    CLF_TRY(clf_device_list(&list, &count));
    clf_status status = clf_select(list, count, selector, &index);
    if (status == CLF_OK) device->info = list[index];
    clf_device_list_free(list);
    CLF_TRY(status);
    return clf_platform_find(device->info.platform_index, device->info.device_index,
                             &device->platform, &device->id);
}

static clf_status open_queue(clf_device *device, bool measured) {
    cl_int code;
    cl_context_properties properties[] = {CL_CONTEXT_PLATFORM,
                                          (cl_context_properties)device->platform, 0};
    device->context = clCreateContext(properties, 1, &device->id, NULL, NULL, &code);
    if (code != CL_SUCCESS) return clf_cl_fail(device, code, "create a context");
    cl_command_queue_properties flags = measured ? CL_QUEUE_PROFILING_ENABLE : 0;
    // The call of OpenCL 1.2; its successor of 2.0 is not there on every device.
    device->queue = clCreateCommandQueue(device->context, device->id, flags, &code);
    if (code != CL_SUCCESS) return clf_cl_fail(device, code, "create a queue");
    return CLF_OK;
}

static clf_status open_device(clf_device *device, const clf_device_options *options) {
    CLF_TRY(check_choice("gemm", options->gemm, "clblast", "panel"));
    CLF_TRY(check_choice("shape", options->shape, "cpu", "gpu"));
    CLF_TRY(find_device(device, options->select));
    device->gemm = strdup(options->gemm);
    if (!device->gemm) return clf_fail_memory();
    CLF_TRY(prepare_cache_directory(options->cache_dir, &device->cache_directory));
    CLF_TRY(clf_trials_create(options->trial_command, &device->trials));
    clf_caps_query(device->id, device->info.kind, &device->caps);
    device->profile = choose_profile(device, options->shape);
    make_key(device);
    bool measured = options->profile || options->trace_path;
    CLF_TRY(open_queue(device, measured));
    CLF_TRY(clf_memory_start(device));
    if (measured) CLF_TRY(clf_recorder_create(device, options->trace_path, &device->recorder));
    clf_log(CLF_LOG_INFO, "device %d:%d %s (%s, driver %s), %s kernels",
            device->info.platform_index, device->info.device_index, device->info.name,
            device->info.platform, device->info.driver, device->profile.lanes > 1 ? "GPU" : "CPU");
    return CLF_OK;
}

clf_status clf_device_open(const clf_device_options *options, clf_device **device) {
    clf_device_options resolved = resolve(options);
    clf_device *opened = calloc(1, sizeof *opened);
    if (!opened) return clf_fail_memory();
    pthread_mutex_init(&opened->lock, NULL);
    clf_status status = open_device(opened, &resolved);
    if (status != CLF_OK) {
        clf_device_close(opened);
        return status;
    }
    *device = opened;
    return CLF_OK;
}

void clf_device_close(clf_device *device) {
    if (!device) return;
    if (device->slot.destroy) device->slot.destroy(device->slot.data);
    if (device->queue && clFinish(device->queue) == CL_SUCCESS) clf_device_idle(device);
    clf_recorder_destroy(device->recorder);
    clf_cache_save_rest(device);
    clf_chain_destroy(device->chain);
    clf_kernels_destroy(device->kernels);
    clf_trials_destroy(device->trials);
    if (device->queue) clReleaseCommandQueue(device->queue);
    if (device->context) clReleaseContext(device->context);
    pthread_mutex_destroy(&device->lock);
    free(device->staging);
    free(device->cache_directory);
    free(device->gemm);
    free(device);
}

// ---- what the rooms above ask ----

void clf_device_get_info(const clf_device *device, clf_device_info *info) {
    *info = device->info;
}

const clf_caps *clf_device_caps(const clf_device *device) {
    return &device->caps;
}

const clf_profile *clf_device_profile(const clf_device *device) {
    return &device->profile;
}

void clf_device_lock(clf_device *device) {
    pthread_mutex_lock(&device->lock);
}

void clf_device_unlock(clf_device *device) {
    pthread_mutex_unlock(&device->lock);
}

void clf_device_key(const clf_device *device, char *text) {
    memcpy(text, device->key, sizeof device->key);
}

const char *clf_device_cache_directory(const clf_device *device) {
    return device->cache_directory;
}

clf_device_slot *clf_device_get_slot(clf_device *device) {
    return &device->slot;
}

const char *clf_device_gemm_option(const clf_device *device) {
    return device->gemm;
}

clf_status clf_run_finish(clf_run *run) {
    clf_chain_flush(run->device);
    cl_int code = clFinish(run->device->queue);
    clf_cl_check(run, code, "finish the queued work");
    if (code == CL_SUCCESS) clf_device_idle(run->device);
    return run->status;
}

void clf_run_flush(clf_run *run) {
    clf_chain_flush(run->device);
    clf_cl_check(run, clFlush(run->device->queue), "submit the queued work");
}
