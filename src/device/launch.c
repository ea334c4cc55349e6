// SPDX-License-Identifier: MIT
// The table of kernels and their launch. Decoding launches some sixty kernels a step at one or two
// microseconds each, so finding a kernel again must cost next to nothing.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "device/opencl.h"

// An argument as it was set last. Setting one again costs an allocation in some drivers, and most
// are the same from launch to launch.
typedef struct set_value {
    bool known;
    size_t size;
    uint64_t bits; // of a value of at most 8 bytes, or of a buffer's handle; 0: none was given
} set_value;

typedef struct kernel {
    clf_kernel_spec spec; // its strings are in `text`
    char *text;
    uint64_t hash;
    clf_status status; // of building it; a failure is remembered with its message
    char *message;
    cl_program program;
    cl_kernel kernel;
    int arguments;
    set_value *values; // one for each argument
    uint64_t releases; // device->releases when they were set
    size_t max_group;
} kernel;

struct clf_kernel_table {
    kernel **slots; // open addressing; a power of two of them, at most half in use
    size_t capacity, count;
};

// ---- specifications ----

static int count_defines(const clf_kernel_spec *spec) {
    int count = 0;
    while (count < CLF_MAX_DEFINES && spec->defines[count].name) count++;
    return count;
}

// FNV-1a in 64 bits, which one multiplication per byte does.
static uint64_t hash_text(uint64_t hash, const char *text) {
    for (; *text; text++) hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
    return hash * 0x100000001b3u;
}

static uint64_t hash_spec(const clf_kernel_spec *spec) {
    uint64_t hash = hash_text(hash_text(0xcbf29ce484222325u, spec->file), spec->kernel);
    for (int i = 0; i < CLF_MAX_DEFINES && spec->defines[i].name; i++) {
        hash = hash_text(hash, spec->defines[i].name);
        hash = (hash ^ (uint32_t)spec->defines[i].value) * 0x100000001b3u;
    }
    return hash ^ hash >> 32;
}

static bool same_program(const clf_kernel_spec *a, const clf_kernel_spec *b) {
    int count = count_defines(a);
    if (count != count_defines(b) || strcmp(a->file, b->file) != 0) return false;
    for (int i = 0; i < count; i++) {
        if (a->defines[i].value != b->defines[i].value) return false;
        if (strcmp(a->defines[i].name, b->defines[i].name) != 0) return false;
    }
    return true;
}

static const char *copy_text(char **to, const char *from) {
    char *start = *to;
    *to = stpcpy(start, from) + 1;
    return start;
}

// Gives the kernel a specification with strings of its own.
static bool copy_spec(kernel *k, const clf_kernel_spec *spec) {
    size_t size = strlen(spec->file) + strlen(spec->kernel) + 2;
    int count = count_defines(spec);
    for (int i = 0; i < count; i++) size += strlen(spec->defines[i].name) + 1;
    k->text = malloc(size);
    if (!k->text) return false;
    char *at = k->text;
    k->spec.file = copy_text(&at, spec->file);
    k->spec.kernel = copy_text(&at, spec->kernel);
    for (int i = 0; i < count; i++) {
        k->spec.defines[i].name = copy_text(&at, spec->defines[i].name);
        k->spec.defines[i].value = spec->defines[i].value;
    }
    return true;
}

// ---- the table ----

static kernel *find(const struct clf_kernel_table *table, const clf_kernel_spec *spec,
                    uint64_t hash) {
    if (!table) return NULL;
    for (size_t i = hash & (table->capacity - 1); table->slots[i];
         i = (i + 1) & (table->capacity - 1)) {
        kernel *k = table->slots[i];
        if (k->hash == hash && strcmp(k->spec.kernel, spec->kernel) == 0 &&
            same_program(&k->spec, spec)) {
            return k;
        }
    }
    return NULL;
}

static void insert(struct clf_kernel_table *table, kernel *k) {
    size_t i = k->hash & (table->capacity - 1);
    while (table->slots[i]) i = (i + 1) & (table->capacity - 1);
    table->slots[i] = k;
    table->count++;
}

// Makes room for one more.
static bool grow(struct clf_kernel_table **table) {
    struct clf_kernel_table *old = *table;
    if (old && 2 * (old->count + 1) <= old->capacity) return true;
    struct clf_kernel_table *grown = calloc(1, sizeof *grown);
    if (!grown) return false;
    grown->capacity = old ? 2 * old->capacity : 64;
    grown->slots = calloc(grown->capacity, sizeof *grown->slots);
    if (!grown->slots) {
        free(grown);
        return false;
    }
    for (size_t i = 0; old && i < old->capacity; i++) {
        if (old->slots[i]) insert(grown, old->slots[i]);
    }
    if (old) free(old->slots);
    free(old);
    *table = grown;
    return true;
}

static void destroy_kernel(kernel *k) {
    if (!k) return;
    if (k->kernel) clReleaseKernel(k->kernel);
    if (k->program) clReleaseProgram(k->program);
    free(k->values);
    free(k->message);
    free(k->text);
    free(k);
}

void clf_kernels_destroy(struct clf_kernel_table *table) {
    if (!table) return;
    for (size_t i = 0; i < table->capacity; i++) destroy_kernel(table->slots[i]);
    free(table->slots);
    free(table);
}

// ---- building ----

// The program is shared with the other kernels of the same file and definitions.
static clf_status get_program(clf_device *device, const clf_kernel_spec *spec,
                              cl_program *program) {
    const struct clf_kernel_table *table = device->kernels;
    for (size_t i = 0; i < table->capacity; i++) {
        const kernel *other = table->slots[i];
        if (other && other->program && same_program(&other->spec, spec)) {
            clRetainProgram(other->program);
            *program = other->program;
            return CLF_OK;
        }
    }
    return clf_program_build(device, spec, true, program);
}

static clf_status create_kernel(clf_device *device, kernel *k) {
    cl_int code;
    CLF_TRY(get_program(device, &k->spec, &k->program));
    k->kernel = clCreateKernel(k->program, k->spec.kernel, &code);
    if (code == CL_SUCCESS) return CLF_OK;
    // A binary from the cache may lack what the source has.
    clReleaseProgram(k->program);
    k->program = NULL;
    CLF_TRY(clf_program_build(device, &k->spec, false, &k->program));
    k->kernel = clCreateKernel(k->program, k->spec.kernel, &code);
    if (code == CL_SUCCESS) return CLF_OK;
    k->kernel = NULL;
    return clf_fail(CLF_ERROR_BUILD, "cl/%s.cl has no kernel %s on %s: %s", k->spec.file,
                    k->spec.kernel, device->info.name, clf_cl_error(code));
}

static clf_status build_kernel(clf_device *device, kernel *k) {
    CLF_TRY(create_kernel(device, k));
    cl_uint arguments = 0;
    cl_int code =
        clGetKernelInfo(k->kernel, CL_KERNEL_NUM_ARGS, sizeof arguments, &arguments, NULL);
    if (code != CL_SUCCESS) return clf_cl_fail(device, code, "count a kernel's arguments");
    k->arguments = (int)arguments;
    k->values = calloc(arguments + 1, sizeof *k->values);
    if (!k->values) return clf_fail_memory();
    code = clGetKernelWorkGroupInfo(k->kernel, device->id, CL_KERNEL_WORK_GROUP_SIZE,
                                    sizeof k->max_group, &k->max_group, NULL);
    if (code != CL_SUCCESS) return clf_cl_fail(device, code, "ask for a kernel's group size");
    return CLF_OK;
}

// Finds or builds a kernel; on failure the run fails as well.
static kernel *get_kernel(clf_run *run, const clf_kernel_spec *spec) {
    clf_device *device = run->device;
    uint64_t hash = hash_spec(spec);
    kernel *k = find(device->kernels, spec, hash);
    if (!k) {
        k = calloc(1, sizeof *k);
        if (!k || !copy_spec(k, spec) || !grow(&device->kernels)) {
            destroy_kernel(k);
            clf_run_fail(run, clf_fail_memory());
            return NULL;
        }
        k->hash = hash;
        k->status = build_kernel(device, k);
        if (k->status != CLF_OK) k->message = strdup(clf_last_error());
        insert(device->kernels, k);
    }
    if (k->status == CLF_OK) return k;
    clf_run_fail(run, clf_fail(k->status, "%s", k->message ? k->message : spec->kernel));
    return NULL;
}

bool clf_kernel_try(clf_run *run, const clf_kernel_spec *spec) {
    if (run->status != CLF_OK) return false;
    clf_run trial = clf_run_begin(run->device);
    run->device->trying = true;
    bool built = get_kernel(&trial, spec) != NULL;
    run->device->trying = false;
    return built;
}

int clf_kernel_max_group(clf_run *run, const clf_kernel_spec *spec) {
    if (run->status != CLF_OK) return 0;
    const kernel *k = get_kernel(run, spec);
    return k ? (int)k->max_group : 0;
}

// ---- launching ----

static cl_int set_value_of(const kernel *k, cl_uint index, size_t size, const void *value) {
    set_value now = {.known = true, .size = size}, *last = &k->values[index];
    if (value) memcpy(&now.bits, value, size);
    if (last->known && last->size == size && last->bits == now.bits) return CL_SUCCESS;
    const cl_int code = clSetKernelArg(k->kernel, index, size, value);
    if (code == CL_SUCCESS) *last = now;
    return code;
}

static cl_int set_argument(const kernel *k, cl_uint *index, const clf_arg *argument) {
    switch (argument->kind) {
    case CLF_ARG_TENSOR: {
        clf_tensor t = argument->tensor;
        cl_ulong offset = t.chunk ? t.offset : 0;
        cl_mem memory = t.chunk ? t.chunk->memory : NULL;
        cl_int code = set_value_of(k, (*index)++, sizeof memory, t.chunk ? &memory : NULL);
        if (code != CL_SUCCESS) return code;
        return set_value_of(k, (*index)++, sizeof offset, &offset);
    }
    case CLF_ARG_INT: return set_value_of(k, (*index)++, sizeof argument->i, &argument->i);
    case CLF_ARG_FLOAT: return set_value_of(k, (*index)++, sizeof argument->f, &argument->f);
    case CLF_ARG_LONG: return set_value_of(k, (*index)++, sizeof argument->l, &argument->l);
    case CLF_ARG_LOCAL: return set_value_of(k, (*index)++, argument->local_bytes, NULL);
    }
    return CL_INVALID_VALUE;
}

// A new buffer may have the handle of one that is gone.
static void forget_released(const clf_device *device, kernel *k) {
    if (k->releases == device->releases) return;
    memset(k->values, 0, (size_t)k->arguments * sizeof *k->values);
    k->releases = device->releases;
}

static clf_status set_arguments(const clf_device *device, kernel *k, const clf_arg *arguments,
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
static cl_uint make_sizes(clf_range range, size_t global[3], size_t local[3]) {
    cl_uint dimensions = 1;
    for (cl_uint i = 0; i < 3; i++) {
        local[i] = range.local[i] ? range.local[i] : 1;
        global[i] = (range.groups[i] ? range.groups[i] : 1) * local[i];
        if (global[i] > 1) dimensions = i + 1;
    }
    return dimensions;
}

// The driver judges the group size, not we: some report a smaller CL_KERNEL_WORK_GROUP_SIZE than
// they run.
static clf_status fail_launch(const clf_device *device, const kernel *k, cl_int code,
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

void clf_launch(clf_run *run, const clf_kernel_spec *spec, clf_range range, clf_cost cost,
                const clf_arg *arguments, int count) {
    clf_device *device = run->device;
    if (run->status != CLF_OK || run->dry || range.groups[0] == 0) return;
    kernel *k = get_kernel(run, spec);
    if (!k) return;
    clf_run_fail(run, set_arguments(device, k, arguments, count));
    if (run->status != CLF_OK) return;
    size_t global[3], local[3];
    cl_uint dimensions = make_sizes(range, global, local);
    cl_event event = NULL;
    cl_int code = clEnqueueNDRangeKernel(device->queue, k->kernel, dimensions, NULL, global, local,
                                         0, NULL, device->recorder ? &event : NULL);
    if (code != CL_SUCCESS) {
        clf_run_fail(run, fail_launch(device, k, code, local));
    } else if (event) {
        clf_recorder_add(device->recorder, CLF_TRACK_KERNELS, k->spec.kernel, cost, NULL, event);
    }
}
