// SPDX-License-Identifier: MIT
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "device/chain.h"

static cl_int set_value_of(const clf_kernel *k, cl_uint index, size_t size, const void *value) {
    clf_set_value now = {.known = true, .size = size}, *last = &k->values[index];
    if (value) memcpy(&now.bits, value, size);
    if (last->known && last->size == size && last->bits == now.bits) return CL_SUCCESS;
    const cl_int code = clSetKernelArg(k->kernel, index, size, value);
    if (code == CL_SUCCESS) *last = now;
    return code;
}

static cl_int set_argument(const clf_kernel *k, cl_uint *index, const clf_arg *argument) {
    switch (argument->kind) {
    case CLF_ARG_TENSOR: {
        clf_tensor t = argument->tensor;
        cl_ulong offset = t.chunk ? t.offset : 0;
        cl_mem memory = t.chunk ? t.chunk->memory : NULL;
        cl_int code = set_value_of(k, (*index)++, sizeof memory, t.chunk ? &memory : NULL);
        if (code != CL_SUCCESS) return code;
        return set_value_of(k, (*index)++, sizeof offset, &offset);
    }
    case CLF_ARG_BUFFER: {
        cl_mem memory = argument->buffer ? argument->buffer->memory : NULL;
        return set_value_of(k, (*index)++, sizeof memory, argument->buffer ? &memory : NULL);
    }
    case CLF_ARG_INT: return set_value_of(k, (*index)++, sizeof argument->i, &argument->i);
    case CLF_ARG_FLOAT: return set_value_of(k, (*index)++, sizeof argument->f, &argument->f);
    case CLF_ARG_LONG: return set_value_of(k, (*index)++, sizeof argument->l, &argument->l);
    }
    return CL_INVALID_VALUE;
}

// A new buffer may have the handle of one that is gone.
static void forget_released(const clf_device *device, clf_kernel *k) {
    if (k->releases == device->releases) return;
    memset(k->values, 0, (size_t)k->arguments * sizeof *k->values);
    k->releases = device->releases;
}

static clf_status set_arguments(const clf_device *device, clf_kernel *k, const clf_arg *arguments,
                                int count) {
    int expanded = count;
    for (int i = 0; i < count; i++) expanded += arguments[i].kind == CLF_ARG_TENSOR;
    if (expanded != k->arguments) {
        return clf_fail(CLF_ERROR_ARGUMENT,
                        "kernel %s of cl/%s.cl takes %d arguments, %d were given (a tensor is two)",
                        k->spec.kernel, k->spec.file, k->arguments, expanded);
    }
    forget_released(device, k);
    cl_uint index = 0;
    for (int i = 0; i < count; i++) {
        cl_int code = set_argument(k, &index, &arguments[i]);
        if (code != CL_SUCCESS) {
            return clf_fail(CLF_ERROR_DEVICE, "%s: cannot set argument %d of kernel %s: %s (%d)",
                            device->info.name, i, k->spec.kernel, clf_cl_error(code), (int)code);
        }
    }
    return CLF_OK;
}

// Turns groups into OpenCL's sizes; returns the number of dimensions.
static cl_uint make_sizes(const clf_device *device, clf_range range, size_t global[3],
                          size_t local[3]) {
    cl_uint dimensions = 1;
    if (range.local[0] == CLF_LANES) range.local[0] = (size_t)device->profile.lanes;
    for (cl_uint i = 0; i < 3; i++) {
        local[i] = range.local[i] ? range.local[i] : 1;
        global[i] = (range.groups[i] ? range.groups[i] : 1) * local[i];
        if (global[i] > 1) dimensions = i + 1;
    }
    return dimensions;
}

// The driver judges the group size, not we: some report a smaller CL_KERNEL_WORK_GROUP_SIZE than
// they run.
static clf_status fail_launch(const clf_device *device, const clf_kernel *k, cl_int code,
                              const size_t local[3]) {
    if (code == CL_INVALID_WORK_GROUP_SIZE || code == CL_INVALID_WORK_ITEM_SIZE) {
        return clf_fail(CLF_ERROR_DEVICE,
                        "%s: kernel %s in work-groups of %zu x %zu x %zu: %s; it "
                        "allows %zu in all",
                        device->info.name, k->spec.kernel, local[0], local[1], local[2],
                        clf_cl_error(code), k->max_group);
    }
    char tried[128];
    snprintf(tried, sizeof tried, "launch kernel %s", k->spec.kernel);
    return clf_cl_fail(device, code, tried);
}

void clf_kernel_launch(clf_run *run, clf_kernel *k, clf_range range, clf_cost cost,
                       const clf_arg *arguments, int count) {
    clf_device *device = run->device;
    clf_run_fail(run, set_arguments(device, k, arguments, count));
    if (run->status != CLF_OK) return;
    size_t global[3], local[3];
    cl_uint dimensions = make_sizes(device, range, global, local);
    cl_event event = NULL;
    cl_int code = clEnqueueNDRangeKernel(device->queue, k->kernel, dimensions, NULL, global, local,
                                         0, NULL, device->recorder ? &event : NULL);
    if (code != CL_SUCCESS) {
        clf_run_fail(run, fail_launch(device, k, code, local));
    } else if (event) {
        clf_recorder_add(device->recorder, CLF_TRACK_KERNELS, k->spec.kernel, cost, NULL, event);
    }
}

void clf_launch(clf_run *run, const clf_kernel_spec *spec, clf_range range, clf_cost cost,
                const clf_arg *arguments, int count) {
    if (run->status != CLF_OK || run->dry || range.groups[0] == 0) return;
    clf_kernel *k = clf_kernel_find(run, spec);
    if (!k || clf_chain_add(run, k, range, cost, arguments, count)) return;
    if (clf_kernel_build(run, k)) clf_kernel_launch(run, k, range, cost, arguments, count);
}
