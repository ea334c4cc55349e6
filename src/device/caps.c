// SPDX-License-Identifier: MIT
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/opencl.h"

uint64_t clf_query_number(cl_device_id id, cl_device_info what) {
    unsigned char bytes[8] = {0};
    size_t size = 0;
    if (clGetDeviceInfo(id, what, sizeof bytes, bytes, &size) != CL_SUCCESS) return 0;
    uint32_t narrow;
    uint64_t wide;
    memcpy(&narrow, bytes, sizeof narrow);
    memcpy(&wide, bytes, sizeof wide);
    return size == sizeof narrow ? narrow : wide;
}

// All of a string that the device returns, freed by free(); NULL if it does not answer.
static char *query_string(cl_device_id id, cl_device_info what) {
    size_t size = 0;
    if (clGetDeviceInfo(id, what, 0, NULL, &size) != CL_SUCCESS || size == 0) return NULL;
    char *text = malloc(size + 1);
    if (text && clGetDeviceInfo(id, what, size, text, NULL) != CL_SUCCESS) {
        free(text);
        return NULL;
    }
    if (text) text[size] = '\0';
    return text;
}

void clf_query_text(cl_device_id id, cl_device_info what, char *text, size_t size) {
    char *all = query_string(id, what);
    const char *start = all ? all + strspn(all, " ") : "";
    snprintf(text, size, "%s", start);
    free(all);
    for (size_t length = strlen(text); length > 0 && text[length - 1] == ' '; length--) {
        text[length - 1] = '\0';
    }
}

bool clf_query_extension(cl_device_id id, const char *extension) {
    char *all = query_string(id, CL_DEVICE_EXTENSIONS), *rest = NULL;
    bool found = false;
    for (char *word = all ? strtok_r(all, " ", &rest) : NULL; word && !found;
         word = strtok_r(NULL, " ", &rest)) {
        found = strcmp(word, extension) == 0;
    }
    free(all);
    return found;
}

int clf_version_number(const char *text) {
    int major, minor;
    if (sscanf(text, "OpenCL %d.%d", &major, &minor) == 2 ||
        sscanf(text, "OpenCL C %d.%d", &major, &minor) == 2) {
        return major * 100 + minor * 10;
    }
    return 0;
}

// From 3.0 on CL_DEVICE_OPENCL_C_VERSION stays at 1.2 for old programs' sake.
static int newest_c_version(cl_device_id id, int version) {
    char text[128];
    clf_query_text(id, CL_DEVICE_OPENCL_C_VERSION, text, sizeof text);
    int newest = clf_version_number(text);
    cl_name_version list[32];
    size_t size = 0;
    if (version < 300 || clGetDeviceInfo(id, CL_DEVICE_OPENCL_C_ALL_VERSIONS, sizeof list, list,
                                         &size) != CL_SUCCESS) {
        return newest;
    }
    for (size_t i = 0; i < size / sizeof *list; i++) {
        int number =
            (int)(CL_VERSION_MAJOR(list[i].version) * 100 + CL_VERSION_MINOR(list[i].version) * 10);
        if (number > newest) newest = number;
    }
    return newest;
}

static void query_group_limits(cl_device_id id, clf_caps *caps) {
    size_t items[16] = {0};
    clGetDeviceInfo(id, CL_DEVICE_MAX_WORK_ITEM_SIZES, sizeof items, items, NULL);
    uint64_t group = clf_query_number(id, CL_DEVICE_MAX_WORK_GROUP_SIZE);
    // The first dimension may allow fewer work-items than the whole group.
    if (items[0] > 0 && items[0] < group) group = items[0];
    caps->max_group = group > 0 ? (int)group : 1;
}

static void query_extensions(cl_device_id id, clf_caps *caps) {
    bool intel = clf_query_extension(id, "cl_intel_subgroups");
    caps->half_arithmetic = clf_query_extension(id, "cl_khr_fp16");
    caps->double_arithmetic = clf_query_extension(id, "cl_khr_fp64");
    // Mandatory in 2.1, optional again in 3.0, where a count of zero means none.
    caps->subgroups = intel || clf_query_extension(id, "cl_khr_subgroups") ||
                      (caps->version >= 210 && clf_query_number(id, CL_DEVICE_MAX_NUM_SUB_GROUPS));
    caps->subgroup_shuffle = intel || clf_query_extension(id, "cl_khr_subgroup_shuffle");
    // The properties behind the dot product hold garbage on some devices without the extension.
    caps->integer_dot = clf_query_extension(id, "cl_khr_integer_dot_product");
    caps->qcom_dot = clf_query_extension(id, "cl_qcom_dot_product8");
    caps->float_atomics = clf_query_extension(id, "cl_ext_float_atomics");
    caps->int64_atomics = clf_query_extension(id, "cl_khr_int64_base_atomics");
}

void clf_caps_query(cl_device_id id, clf_device_kind kind, clf_caps *caps) {
    char version[128];
    clf_query_text(id, CL_DEVICE_VERSION, version, sizeof version);
    uint64_t float_config = clf_query_number(id, CL_DEVICE_SINGLE_FP_CONFIG);
    uint64_t queue_config = clf_query_number(id, CL_DEVICE_QUEUE_PROPERTIES);
    *caps = (clf_caps){
        .kind = kind,
        .version = clf_version_number(version),
        .global_memory = clf_query_number(id, CL_DEVICE_GLOBAL_MEM_SIZE),
        .max_allocation = clf_query_number(id, CL_DEVICE_MAX_MEM_ALLOC_SIZE),
        .local_memory = clf_query_number(id, CL_DEVICE_LOCAL_MEM_SIZE),
        .cache = clf_query_number(id, CL_DEVICE_GLOBAL_MEM_CACHE_SIZE),
        .compute_units = (int)clf_query_number(id, CL_DEVICE_MAX_COMPUTE_UNITS),
        .clock_mhz = (int)clf_query_number(id, CL_DEVICE_MAX_CLOCK_FREQUENCY),
        .native_float_width = (int)clf_query_number(id, CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT),
        .preferred_float_width = (int)clf_query_number(id, CL_DEVICE_PREFERRED_VECTOR_WIDTH_FLOAT),
        .base_align = (int)clf_query_number(id, CL_DEVICE_MEM_BASE_ADDR_ALIGN) / 8, // from bits
        .unified_memory = clf_query_number(id, CL_DEVICE_HOST_UNIFIED_MEMORY),
        .local_is_real = clf_query_number(id, CL_DEVICE_LOCAL_MEM_TYPE) == CL_LOCAL,
        .fma = float_config & CL_FP_FMA,
        .denormals = float_config & CL_FP_DENORM,
        .online_compiler = clf_query_number(id, CL_DEVICE_COMPILER_AVAILABLE),
        .out_of_order = queue_config & CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE,
    };
    caps->c_version = newest_c_version(id, caps->version);
    query_group_limits(id, caps);
    query_extensions(id, caps);
}
