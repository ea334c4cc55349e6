// SPDX-License-Identifier: MIT
// Platforms, their devices, and the names of OpenCL's errors.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/fail.h"
#include "device/opencl.h"
#include "device/select.h"

enum { MAX_PLATFORMS = 64, MAX_DEVICES = 64 };

const char *clf_cl_error(cl_int code) {
#define ERROR_NAME(name)                                                                           \
    case name: return #name;
    switch (code) {
        ERROR_NAME(CL_SUCCESS)
        ERROR_NAME(CL_DEVICE_NOT_FOUND)
        ERROR_NAME(CL_DEVICE_NOT_AVAILABLE)
        ERROR_NAME(CL_COMPILER_NOT_AVAILABLE)
        ERROR_NAME(CL_MEM_OBJECT_ALLOCATION_FAILURE)
        ERROR_NAME(CL_OUT_OF_RESOURCES)
        ERROR_NAME(CL_OUT_OF_HOST_MEMORY)
        ERROR_NAME(CL_PROFILING_INFO_NOT_AVAILABLE)
        ERROR_NAME(CL_MEM_COPY_OVERLAP)
        ERROR_NAME(CL_BUILD_PROGRAM_FAILURE)
        ERROR_NAME(CL_MAP_FAILURE)
        ERROR_NAME(CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST)
        ERROR_NAME(CL_INVALID_VALUE)
        ERROR_NAME(CL_INVALID_PLATFORM)
        ERROR_NAME(CL_INVALID_DEVICE)
        ERROR_NAME(CL_INVALID_CONTEXT)
        ERROR_NAME(CL_INVALID_QUEUE_PROPERTIES)
        ERROR_NAME(CL_INVALID_COMMAND_QUEUE)
        ERROR_NAME(CL_INVALID_MEM_OBJECT)
        ERROR_NAME(CL_INVALID_BINARY)
        ERROR_NAME(CL_INVALID_BUILD_OPTIONS)
        ERROR_NAME(CL_INVALID_PROGRAM)
        ERROR_NAME(CL_INVALID_PROGRAM_EXECUTABLE)
        ERROR_NAME(CL_INVALID_KERNEL_NAME)
        ERROR_NAME(CL_INVALID_KERNEL)
        ERROR_NAME(CL_INVALID_ARG_INDEX)
        ERROR_NAME(CL_INVALID_ARG_VALUE)
        ERROR_NAME(CL_INVALID_ARG_SIZE)
        ERROR_NAME(CL_INVALID_KERNEL_ARGS)
        ERROR_NAME(CL_INVALID_WORK_DIMENSION)
        ERROR_NAME(CL_INVALID_WORK_GROUP_SIZE)
        ERROR_NAME(CL_INVALID_WORK_ITEM_SIZE)
        ERROR_NAME(CL_INVALID_EVENT)
        ERROR_NAME(CL_INVALID_OPERATION)
        ERROR_NAME(CL_INVALID_BUFFER_SIZE)
        ERROR_NAME(CL_INVALID_GLOBAL_WORK_SIZE)
        ERROR_NAME(CL_PLATFORM_NOT_FOUND_KHR)
    default: return "an unnamed OpenCL error";
    }
#undef ERROR_NAME
}

clf_status clf_cl_fail(const clf_device *device, cl_int code, const char *tried) {
    clf_status status = CLF_ERROR_DEVICE;
    if (code == CL_MEM_OBJECT_ALLOCATION_FAILURE) status = CLF_ERROR_DEVICE_MEMORY;
    if (code == CL_OUT_OF_HOST_MEMORY) status = CLF_ERROR_MEMORY;
    return clf_fail(status, "%s: cannot %s: %s (%d)", device->info.name, tried, clf_cl_error(code),
                    (int)code);
}

void clf_cl_check(clf_run *run, cl_int code, const char *tried) {
    if (code != CL_SUCCESS && run->status == CLF_OK) {
        run->status = clf_cl_fail(run->device, code, tried);
    }
}

static cl_uint platform_ids(cl_platform_id *ids) {
    cl_uint count = 0;
    cl_int code = clGetPlatformIDs(MAX_PLATFORMS, ids, &count);
    if (code != CL_SUCCESS) {
        if (code != CL_PLATFORM_NOT_FOUND_KHR) {
            clf_log(CLF_LOG_WARNING, "OpenCL platforms cannot be listed: %s", clf_cl_error(code));
        }
        return 0;
    }
    return count < MAX_PLATFORMS ? count : MAX_PLATFORMS;
}

static cl_uint device_ids(cl_platform_id platform, int platform_index, cl_device_id *ids) {
    cl_uint count = 0;
    cl_int code = clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, MAX_DEVICES, ids, &count);
    if (code != CL_SUCCESS) {
        if (code != CL_DEVICE_NOT_FOUND) {
            clf_log(CLF_LOG_WARNING, "OpenCL platform %d is skipped: %s", platform_index,
                    clf_cl_error(code));
        }
        return 0;
    }
    return count < MAX_DEVICES ? count : MAX_DEVICES;
}

static void find_reason(cl_device_id id, const clf_caps *caps, clf_device_info *info) {
    if (caps->version < 120) {
        snprintf(info->reason, sizeof info->reason, "OpenCL 1.2 is needed, this is '%.60s'",
                 info->version);
    } else if (!clf_query_number(id, CL_DEVICE_AVAILABLE)) {
        snprintf(info->reason, sizeof info->reason, "the driver says it is not available");
    } else if (!caps->online_compiler) {
        snprintf(info->reason, sizeof info->reason, "its driver has no compiler");
    }
}

static void query_name(cl_device_id id, clf_device_info *info) {
    enum { BOARD_NAME_AMD = 0x4038 }; // there CL_DEVICE_NAME is only "gfx1030"
    if (clf_query_extension(id, "cl_amd_device_attribute_query")) {
        clf_query_text(id, BOARD_NAME_AMD, info->name, sizeof info->name);
    }
    if (!info->name[0]) clf_query_text(id, CL_DEVICE_NAME, info->name, sizeof info->name);
}

static void describe(cl_platform_id platform, cl_device_id id, clf_device_info *info) {
    clGetPlatformInfo(platform, CL_PLATFORM_NAME, sizeof info->platform - 1, info->platform, NULL);
    query_name(id, info);
    clf_query_text(id, CL_DEVICE_VENDOR, info->vendor, sizeof info->vendor);
    clf_query_text(id, CL_DRIVER_VERSION, info->driver, sizeof info->driver);
    clf_query_text(id, CL_DEVICE_VERSION, info->version, sizeof info->version);
    clf_query_text(id, CL_DEVICE_OPENCL_C_VERSION, info->c_version, sizeof info->c_version);
    uint64_t type = clf_query_number(id, CL_DEVICE_TYPE);
    clf_hardware hardware = type & CL_DEVICE_TYPE_GPU   ? CLF_HARDWARE_GPU
                            : type & CL_DEVICE_TYPE_CPU ? CLF_HARDWARE_CPU
                                                        : CLF_HARDWARE_OTHER;
    info->kind = clf_select_kind(info->name, info->platform, hardware,
                                 clf_query_number(id, CL_DEVICE_HOST_UNIFIED_MEMORY));
    clf_caps caps;
    clf_caps_query(id, info->kind, &caps);
    info->global_memory = caps.global_memory;
    info->max_allocation = caps.max_allocation;
    info->local_memory = caps.local_memory;
    info->cache = caps.cache;
    info->compute_units = caps.compute_units;
    info->clock_mhz = caps.clock_mhz;
    find_reason(id, &caps, info);
}

clf_status clf_device_list(clf_device_info **devices, size_t *count) {
    CLF_ARRAY(clf_device_info) list = {0};
    cl_platform_id platforms[MAX_PLATFORMS];
    int platform_count = (int)platform_ids(platforms);
    for (int p = 0; p < platform_count; p++) {
        cl_device_id ids[MAX_DEVICES];
        int device_count = (int)device_ids(platforms[p], p, ids);
        for (int d = 0; d < device_count; d++) {
            clf_device_info info = {.platform_index = p, .device_index = d};
            describe(platforms[p], ids[d], &info);
            if (!clf_array_push(&list, info)) {
                clf_array_free(&list);
                return clf_fail_memory();
            }
        }
    }
    clf_select_sort(list.data, list.count);
    *devices = list.data;
    *count = list.count;
    return CLF_OK;
}

void clf_device_list_free(clf_device_info *devices) {
    free(devices);
}

clf_status clf_platform_find(int platform_index, int device_index, cl_platform_id *platform,
                             cl_device_id *id) {
    cl_platform_id platforms[MAX_PLATFORMS];
    cl_device_id ids[MAX_DEVICES];
    if (platform_index >= (int)platform_ids(platforms) ||
        device_index >= (int)device_ids(platforms[platform_index], platform_index, ids)) {
        return clf_fail(CLF_ERROR_NO_DEVICE, "device %d:%d has gone", platform_index, device_index);
    }
    *platform = platforms[platform_index];
    *id = ids[device_index];
    return CLF_OK;
}
