// SPDX-License-Identifier: MIT
#include "device/select.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/fail.h"

const char *clf_device_kind_text(clf_device_kind kind) {
    static const char *const texts[] = {"discrete-gpu", "integrated-gpu", "accelerator", "cpu",
                                        "emulator"};
    return (unsigned)kind < sizeof texts / sizeof *texts ? texts[kind] : "unknown";
}

clf_device_kind clf_select_kind(const char *name, const char *platform, clf_hardware hardware,
                                bool unified_memory) {
    static const char *const emulators[] = {"llvmpipe", "softpipe", "oclgrind", "clover"};
    for (size_t i = 0; i < sizeof emulators / sizeof *emulators; i++) {
        if (strcasestr(name, emulators[i]) || strcasestr(platform, emulators[i])) {
            return CLF_DEVICE_EMULATOR;
        }
    }
    switch (hardware) {
    case CLF_HARDWARE_GPU:
        return unified_memory ? CLF_DEVICE_INTEGRATED_GPU : CLF_DEVICE_DISCRETE_GPU;
    case CLF_HARDWARE_CPU: return CLF_DEVICE_CPU;
    default: return CLF_DEVICE_ACCELERATOR;
    }
}

static int compare(const void *left, const void *right) {
    const clf_device_info *a = left, *b = right;
    bool a_unusable = a->reason[0], b_unusable = b->reason[0];
    if (a_unusable != b_unusable) return a_unusable ? 1 : -1;
    if (a->kind != b->kind) return a->kind < b->kind ? -1 : 1;
    if (a->kind == CLF_DEVICE_DISCRETE_GPU && a->global_memory != b->global_memory) {
        return a->global_memory > b->global_memory ? -1 : 1;
    }
    if (a->platform_index != b->platform_index) return a->platform_index - b->platform_index;
    return a->device_index - b->device_index;
}

void clf_select_sort(clf_device_info *devices, size_t count) {
    if (count > 0) qsort(devices, count, sizeof *devices, compare);
}

static bool matches(const clf_device_info *device, const char *selector) {
    int platform, index, length = 0;
    if (strcasecmp(selector, "gpu") == 0) {
        return device->kind == CLF_DEVICE_DISCRETE_GPU || device->kind == CLF_DEVICE_INTEGRATED_GPU;
    }
    if (strcasecmp(selector, "cpu") == 0) return device->kind == CLF_DEVICE_CPU;
    if (sscanf(selector, "%d:%d%n", &platform, &index, &length) == 2 && !selector[length]) {
        return device->platform_index == platform && device->device_index == index;
    }
    return strcasestr(device->name, selector) || strcasestr(device->platform, selector);
}

// "0:0 name; 1:0 name", shortened to fit.
static void list_devices(const clf_device_info *devices, size_t count, char *text, size_t size) {
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < count && used < size; i++) {
        used +=
            (size_t)snprintf(text + used, size - used, "%s%d:%d %s", i ? "; " : "",
                             devices[i].platform_index, devices[i].device_index, devices[i].name);
    }
}

clf_status clf_select(const clf_device_info *devices, size_t count, const char *selector,
                      size_t *index) {
    if (count == 0) {
        return clf_fail(CLF_ERROR_NO_DEVICE,
                        "no OpenCL device: install your GPU's OpenCL driver, or pocl-opencl-icd to "
                        "compute on the CPU");
    }
    const clf_device_info *refused = NULL;
    for (size_t i = 0; i < count; i++) {
        if (selector && *selector && !matches(&devices[i], selector)) continue;
        if (!devices[i].reason[0]) {
            *index = i;
            return CLF_OK;
        }
        if (!refused) refused = &devices[i];
    }
    if (refused) {
        return clf_fail(CLF_ERROR_NO_DEVICE, "%s cannot be used: %s", refused->name,
                        refused->reason);
    }
    char list[512];
    list_devices(devices, count, list, sizeof list);
    return clf_fail(CLF_ERROR_NO_DEVICE, "no device matches '%s'; there is %s", selector, list);
}
