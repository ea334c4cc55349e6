// SPDX-License-Identifier: MIT
// Building programs from the embedded kernel files.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fail.h"
#include "device/opencl.h"
#include "device/source.h"

const char *clf_kernel_source(const char *file) {
    for (const clf_kernel_file *f = clf_kernel_files; f->name; f++) {
        if (strcmp(f->name, file) == 0) return f->text;
    }
    return NULL;
}

static bool defines_name(const clf_kernel_spec *spec, const char *name) {
    for (int i = 0; i < CLF_MAX_DEFINES && spec->defines[i].name; i++) {
        if (strcmp(spec->defines[i].name, name) == 0) return true;
    }
    return false;
}

int clf_program_defines(const clf_device *device, const clf_kernel_spec *spec,
                        clf_define defines[CLF_ALL_DEFINES]) {
    const clf_define profile[] = {{"VW", device->profile.vector_width},
                                  {"LANES", device->profile.lanes},
                                  {"CPU", device->caps.kind == CLF_DEVICE_CPU}};
    int count = 0;
    for (int i = 0; i < 3; i++) {
        if (!defines_name(spec, profile[i].name)) defines[count++] = profile[i];
    }
    for (int i = 0; i < CLF_MAX_DEFINES && spec->defines[i].name; i++)
        defines[count++] = spec->defines[i];
    return count;
}

// No relaxed maths: infinities and the order of sums must keep their meaning.
#define OPTIONS "-cl-mad-enable"

// Without -cl-std a device compiles the highest OpenCL C 1.x, which is what the kernels are written
// in, and some drivers do not take it well. Few want more: those that define CLF_NEWEST, and a
// chain on a GPU, for the fences of OpenCL C 2.0.
static size_t begin_options(const clf_device *device, bool newest, char *options, size_t size) {
    const int version = device->caps.c_version;
    if (!newest) return (size_t)snprintf(options, size, OPTIONS);
    return (size_t)snprintf(options, size, OPTIONS " -cl-std=CL%d.%d", version / 100,
                            version / 10 % 10);
}

static bool make_options(const clf_device *device, const clf_kernel_spec *spec, char *options,
                         size_t size) {
    clf_define defines[CLF_ALL_DEFINES];
    const int count = clf_program_defines(device, spec, defines);
    size_t used = begin_options(device, defines_name(spec, CLF_NEWEST), options, size);
    for (int i = 0; i < count && used < size; i++) {
        used += (size_t)snprintf(options + used, size - used, " -D%s=%d", defines[i].name,
                                 defines[i].value);
    }
    return used < size;
}

static char *build_log(const clf_device *device, cl_program program) {
    size_t size = 0;
    clGetProgramBuildInfo(program, device->id, CL_PROGRAM_BUILD_LOG, 0, NULL, &size);
    char *log = calloc(1, size + 1);
    if (log) {
        clGetProgramBuildInfo(program, device->id, CL_PROGRAM_BUILD_LOG, size, log, NULL);
    }
    return log;
}

// The line that says what is wrong, for the one-line message: the first with "error" in it.
static int error_line(const char *log, const char **line) {
    const char *error = strstr(log, "error");
    if (!error) error = log + strspn(log, " \n");
    while (error > log && error[-1] != '\n') error--;
    *line = error;
    return (int)strcspn(error, "\n");
}

static clf_status fail_build(const clf_device *device, cl_program program, cl_int code,
                             const char *file, const char *options) {
    char *log = build_log(device, program);
    const char *line = "";
    int length = log ? error_line(log, &line) : 0;
    clf_log(device->trying ? CLF_LOG_DEBUG : CLF_LOG_WARNING,
            "cl/%s.cl with %s does not build on %s: %s\n%s", file, options, device->info.name,
            clf_cl_error(code), log ? log : "");
    clf_status status =
        clf_fail(CLF_ERROR_BUILD, "cl/%s.cl with %s does not build on %s (%s): %.*s", file, options,
                 device->info.name, clf_cl_error(code), length, line);
    free(log);
    return status;
}

// The text of a file as the compiler gets it: behind the prelude unless it is whole by itself.
typedef struct source {
    const char *file; // its name
    const char *prelude, *text;
} source;

static clf_status build_source(const clf_device *device, source from, const char *options,
                               cl_program *program) {
    char position[80]; // makes the compiler's messages speak of the file
    snprintf(position, sizeof position, "#line 1 \"cl/%s.cl\"\n", from.file);
    const char *parts[] = {from.prelude, position, from.text};
    cl_int code;
    cl_program created = clCreateProgramWithSource(device->context, 3, parts, NULL, &code);
    if (code != CL_SUCCESS) return clf_cl_fail(device, code, "create a program");
    code = clBuildProgram(created, 1, &device->id, options, NULL, NULL);
    if (code != CL_SUCCESS) {
        clf_status status = fail_build(device, created, code, from.file, options);
        clReleaseProgram(created);
        return status;
    }
    *program = created;
    return CLF_OK;
}

// Everything that the binary depends on.
static void make_key(const clf_device *device, source from, const char *options,
                     char key[CLF_HASH_TEXT]) {
    clf_hash hash = clf_hash_string(clf_hash_start(), device->key);
    hash = clf_hash_string(hash, options);
    hash = clf_hash_string(hash, from.prelude);
    hash = clf_hash_string(hash, from.text);
    clf_hash_text(hash, key);
}

static clf_status build(clf_device *device, source from, const char *options, bool cached,
                        cl_program *program) {
    char key[CLF_HASH_TEXT];
    make_key(device, from, options, key);
    if (cached && clf_cache_load(device, key, options, program)) return CLF_OK;
    const int64_t begin = clf_clock();
    CLF_TRY(build_source(device, from, options, program));
    clf_cache_save(device, key, *program);
    clf_log(CLF_LOG_DEBUG, "built cl/%s.cl with %s in %.0f ms", from.file, options,
            (double)(clf_clock() - begin) * 1e-6);
    return CLF_OK;
}

static clf_status build_in_phase(clf_device *device, source from, const char *options, bool cached,
                                 cl_program *program) {
    char phase[64];
    const int64_t begin = clf_phase_begin(device);
    const clf_status status = build(device, from, options, cached, program);
    snprintf(phase, sizeof phase, "build %s.cl", from.file);
    clf_phase_end(device, phase, begin);
    return status;
}

clf_status clf_program_build(clf_device *device, const clf_kernel_spec *spec, bool cached,
                             cl_program *program) {
    const source from = {spec->file, clf_kernel_source("prelude"), clf_kernel_source(spec->file)};
    char options[1024];
    if (!from.text)
        return clf_fail(CLF_ERROR_ARGUMENT, "there is no kernel file cl/%s.cl", spec->file);
    if (!make_options(device, spec, options, sizeof options))
        return clf_fail(CLF_ERROR_ARGUMENT, "cl/%s.cl has too long definitions", spec->file);
    return build_in_phase(device, from, options, cached, program);
}

clf_status clf_program_build_text(clf_device *device, const char *file, const char *text,
                                  bool cached, cl_program *program) {
    char options[64];
    const bool newest = device->profile.lanes > 1 || strstr(text, "#define " CLF_NEWEST " ");
    begin_options(device, newest, options, sizeof options);
    return build_in_phase(device, (source){file, "", text}, options, cached, program);
}
