// SPDX-License-Identifier: MIT
// Decoding launches some sixty kernels a step at one or two microseconds each, so finding a kernel
// again must cost next to nothing.
#include "device/kernels.h"

#include <stdlib.h>
#include <string.h>

#include "base/fail.h"

struct clf_kernel_table {
    clf_kernel **slots; // open addressing; a power of two of them, at most half in use
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

bool clf_kernel_same_program(const clf_kernel_spec *a, const clf_kernel_spec *b) {
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
static bool copy_spec(clf_kernel *k, const clf_kernel_spec *spec) {
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

static clf_kernel *find(const struct clf_kernel_table *table, const clf_kernel_spec *spec,
                        uint64_t hash) {
    if (!table) return NULL;
    for (size_t i = hash & (table->capacity - 1); table->slots[i];
         i = (i + 1) & (table->capacity - 1)) {
        clf_kernel *k = table->slots[i];
        if (k->hash == hash && strcmp(k->spec.kernel, spec->kernel) == 0 &&
            clf_kernel_same_program(&k->spec, spec)) {
            return k;
        }
    }
    return NULL;
}

static void insert(struct clf_kernel_table *table, clf_kernel *k) {
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

void clf_kernel_release(clf_kernel *k) {
    if (k->kernel) clReleaseKernel(k->kernel);
    if (k->program) clReleaseProgram(k->program);
    free(k->values);
    free(k->message);
    free(k->text);
}

static void destroy_kernel(clf_kernel *k) {
    if (!k) return;
    clf_kernel_release(k);
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
        const clf_kernel *other = table->slots[i];
        if (other && other->program && clf_kernel_same_program(&other->spec, spec)) {
            clRetainProgram(other->program);
            *program = other->program;
            return CLF_OK;
        }
    }
    return clf_program_build(device, spec, true, program);
}

// If the program lacks the kernel, it is released.
static clf_status create_kernel(const clf_device *device, clf_kernel *k) {
    cl_uint arguments = 0;
    cl_int code;
    k->kernel = clCreateKernel(k->program, k->spec.kernel, &code);
    if (code != CL_SUCCESS) {
        clReleaseProgram(k->program);
        k->program = NULL;
        k->kernel = NULL;
        return clf_fail(CLF_ERROR_BUILD, "cl/%s.cl has no kernel %s on %s: %s", k->spec.file,
                        k->spec.kernel, device->info.name, clf_cl_error(code));
    }
    code = clGetKernelInfo(k->kernel, CL_KERNEL_NUM_ARGS, sizeof arguments, &arguments, NULL);
    if (code != CL_SUCCESS) return clf_cl_fail(device, code, "count a kernel's arguments");
    k->arguments = (int)arguments;
    k->values = calloc(arguments + 1, sizeof *k->values);
    if (!k->values) return clf_fail_memory();
    code = clGetKernelWorkGroupInfo(k->kernel, device->id, CL_KERNEL_WORK_GROUP_SIZE,
                                    sizeof k->max_group, &k->max_group, NULL);
    if (code != CL_SUCCESS) return clf_cl_fail(device, code, "ask for a kernel's group size");
    return CLF_OK;
}

static clf_status build_program(clf_device *device, clf_kernel *k, const char *text, bool cached) {
    if (text) return clf_program_build_text(device, k->spec.file, text, cached, &k->program);
    return cached ? get_program(device, &k->spec, &k->program)
                  : clf_program_build(device, &k->spec, false, &k->program);
}

clf_status clf_kernel_make(clf_device *device, clf_kernel *k, const char *text) {
    CLF_TRY(build_program(device, k, text, true));
    const clf_status status = create_kernel(device, k);
    if (status == CLF_OK || k->kernel) return status;
    // A binary from the cache may lack what the source has.
    CLF_TRY(build_program(device, k, text, false));
    return create_kernel(device, k);
}

clf_kernel *clf_kernel_find(clf_run *run, const clf_kernel_spec *spec) {
    clf_device *device = run->device;
    const uint64_t hash = hash_spec(spec);
    clf_kernel *k = find(device->kernels, spec, hash);
    if (k) return k;
    k = calloc(1, sizeof *k);
    if (!k || !copy_spec(k, spec) || !grow(&device->kernels)) {
        destroy_kernel(k);
        clf_run_fail(run, clf_fail_memory());
        return NULL;
    }
    k->hash = hash;
    insert(device->kernels, k);
    return k;
}

bool clf_kernel_build(clf_run *run, clf_kernel *k) {
    if (!k->asked) {
        k->asked = true;
        k->status = clf_kernel_make(run->device, k, NULL);
        if (k->status != CLF_OK) k->message = strdup(clf_last_error());
    }
    if (k->status == CLF_OK) return true;
    clf_run_fail(run, clf_fail(k->status, "%s", k->message ? k->message : k->spec.kernel));
    return false;
}

bool clf_kernel_try(clf_run *run, const clf_kernel_spec *spec) {
    if (run->status != CLF_OK) return false;
    clf_run trial = clf_run_begin(run->device);
    run->device->trying = true;
    clf_kernel *k = clf_kernel_find(&trial, spec);
    const bool built = k && clf_kernel_build(&trial, k);
    run->device->trying = false;
    return built;
}

int clf_kernel_max_group(clf_run *run, const clf_kernel_spec *spec) {
    if (run->status != CLF_OK) return 0;
    clf_kernel *k = clf_kernel_find(run, spec);
    return k && clf_kernel_build(run, k) ? (int)k->max_group : 0;
}
