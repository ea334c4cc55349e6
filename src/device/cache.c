// SPDX-License-Identifier: MIT
// Compiled programs on disk. Whatever is wrong with an entry, the answer is to build again.
//
// An entry is a header and the binary that the driver gave. With PoCL 3.1 that is worth having
// although PoCL keeps a cache itself: a program takes 0.3 ms from here and 25 to 40 ms from its
// source, and PoCL finds the work-group functions it compiled at the first launch again, since the
// binary carries the hash they are filed under. But to give a binary it compiles every kernel of
// the program once more, for any size of work-group, which takes longer than what is needed to
// work: then programs are saved when the device closes.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fail.h"
#include "base/file.h"
#include "device/opencl.h"

enum {
    MAX_BINARY = 256 << 20,
    SLOW = 20 * 1000 * 1000 // nanoseconds for a binary, more than any copy takes
};

typedef struct header {
    char magic[8];
    clf_hash content;
} header;

static const char magic[] = "CLFPROG1"; // the last letter is the format number

static char *entry_path(const clf_device *device, const char *key) {
    char name[CLF_HASH_TEXT + 8];
    snprintf(name, sizeof name, "%s.bin", key);
    return device->cache_directory ? clf_path_join(device->cache_directory, name) : NULL;
}

// The key is part of the content, so that a renamed entry is not taken for another.
static header make_header(const char *key, const void *binary, size_t size) {
    header head;
    memcpy(head.magic, magic, sizeof head.magic);
    head.content = clf_hash_bytes(clf_hash_string(clf_hash_start(), key), binary, size);
    return head;
}

static bool is_sound(const char *key, const char *entry, size_t size) {
    if (size <= sizeof(header)) return false;
    header expected = make_header(key, entry + sizeof(header), size - sizeof(header));
    return memcmp(&expected, entry, sizeof expected) == 0;
}

static bool program_from_binary(const clf_device *device, const char *options, const char *binary,
                                size_t size, cl_program *program) {
    const unsigned char *bytes = (const unsigned char *)binary;
    cl_int code, binary_status;
    cl_program created = clCreateProgramWithBinary(device->context, 1, &device->id, &size, &bytes,
                                                   &binary_status, &code);
    if (code != CL_SUCCESS) return false;
    if (binary_status != CL_SUCCESS ||
        clBuildProgram(created, 1, &device->id, options, NULL, NULL) != CL_SUCCESS) {
        clReleaseProgram(created);
        return false;
    }
    *program = created;
    return true;
}

bool clf_cache_load(const clf_device *device, const char *key, const char *options,
                    cl_program *program) {
    char *path = entry_path(device, key), *entry;
    size_t size;
    if (!path || !clf_file_exists(path) ||
        clf_file_read(path, MAX_BINARY, &entry, &size) != CLF_OK) {
        free(path);
        return false;
    }
    bool good =
        is_sound(key, entry, size) && program_from_binary(device, options, entry + sizeof(header),
                                                          size - sizeof(header), program);
    if (!good) clf_log(CLF_LOG_DEBUG, "%s is stale or damaged and built again", path);
    free(entry);
    free(path);
    return good;
}

// The entry of a program, freed by free(); NULL if the driver does not give its binary.
static char *make_entry(const char *key, cl_program program, size_t *size) {
    size_t binary_size = 0;
    if (clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof binary_size, &binary_size,
                         NULL) != CL_SUCCESS ||
        binary_size == 0 || binary_size > MAX_BINARY - sizeof(header)) {
        return NULL;
    }
    char *entry = malloc(sizeof(header) + binary_size);
    if (!entry) return NULL;
    unsigned char *binary = (unsigned char *)entry + sizeof(header);
    if (clGetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof binary, &binary, NULL) !=
        CL_SUCCESS) {
        free(entry);
        return NULL;
    }
    header head = make_header(key, binary, binary_size);
    memcpy(entry, &head, sizeof head);
    *size = sizeof head + binary_size;
    return entry;
}

static void save(clf_device *device, const char *key, cl_program program) {
    int64_t begin = clf_clock();
    size_t size;
    char *path = entry_path(device, key), *entry = make_entry(key, program, &size);
    if (clf_clock() - begin > SLOW) device->save_late = true;
    if (path && entry && clf_file_write(path, entry, size) != CLF_OK) {
        clf_log(CLF_LOG_WARNING, "compiled kernels are not kept: %s", clf_last_error());
        device->cache_is_full = true;
    }
    free(entry);
    free(path);
}

void clf_cache_save(clf_device *device, const char *key, cl_program program) {
    if (!device->cache_directory || device->cache_is_full) return;
    if (!device->save_late) {
        save(device, key, program);
        return;
    }
    clf_unsaved unsaved = {.program = program};
    memcpy(unsaved.key, key, sizeof unsaved.key);
    if (clf_array_push(&device->unsaved, unsaved)) clRetainProgram(program);
}

void clf_cache_save_rest(clf_device *device) {
    for (size_t i = 0; i < device->unsaved.count; i++) {
        const clf_unsaved *unsaved = &device->unsaved.data[i];
        if (!device->cache_is_full) save(device, unsaved->key, unsaved->program);
        clReleaseProgram(unsaved->program);
    }
    clf_array_free(&device->unsaved);
}
