// SPDX-License-Identifier: MIT
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/fail.h"
#include "device/chain.h"

enum { ALIGNMENT = 128, MIB = 1 << 20 };

// A blocking write costs a round trip to the device (some 50 us on a CPU driver), so small ones are
// copied aside and queued. What was copied is done with whenever the queue has run empty,
// which some drivers do not promise after a blocking transfer: they let it overtake a queued write.
enum { STAGING_BYTES = MIB, STAGED_WRITE = STAGING_BYTES / 16 };

int clf_dtype_size(clf_dtype dtype) {
    static const int sizes[] = {[CLF_F32] = 4, [CLF_F16] = 2, [CLF_BF16] = 2, [CLF_I32] = 4,
                                [CLF_I16] = 2, [CLF_I8] = 1,  [CLF_U8] = 1};
    return sizes[dtype];
}

clf_tensor clf_tensor_rows(clf_tensor t, int first, int rows) {
    t.offset += (uint64_t)first * t.stride;
    t.rows = rows;
    return t;
}

clf_tensor clf_tensor_cols(clf_tensor t, int first, int cols) {
    t.offset += (uint64_t)first;
    t.cols = cols;
    return t;
}

static bool is_packed(clf_tensor t) {
    return t.rows <= 1 || t.stride == (uint64_t)t.cols;
}

// ---- arenas ----

struct clf_arena {
    clf_device *device;
    const char *what, *option;
    CLF_ARRAY(struct clf_chunk *) chunks;
    int current;   // index of the chunk that is being filled; chunks.count if there is none
    uint64_t used; // bytes of it
    uint64_t bytes;
    uint64_t counted; // bytes in use, by what was taken
    uint64_t peak;    // the most of it
    bool flat;        // clf_arena_reserve: all chunks are zeroed, and no larger than what is taken
};

// What tensors of a dry run point to, so that they look present.
static struct clf_chunk nowhere;

clf_status clf_arena_create(clf_device *device, const char *what, const char *option,
                            clf_arena **arena) {
    clf_arena *created = calloc(1, sizeof *created);
    if (!created) return clf_fail_memory();
    created->device = device;
    created->what = what;
    created->option = option;
    *arena = created;
    return CLF_OK;
}

void clf_arena_destroy(clf_arena *arena) {
    if (!arena) return;
    clf_chain_flush(arena->device);
    if (arena->chunks.count > 0 && clFinish(arena->device->queue) == CL_SUCCESS) {
        clf_device_idle(arena->device);
    }
    for (size_t i = 0; i < arena->chunks.count; i++) {
        clReleaseMemObject(arena->chunks.data[i]->memory);
        free(arena->chunks.data[i]);
    }
    arena->device->allocated -= arena->bytes;
    arena->device->releases++;
    clf_array_free(&arena->chunks);
    free(arena);
}

static const char *bytes_text(char text[32], uint64_t bytes) {
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    int unit = 0;
    while (value >= 1024 && unit < 4) {
        value /= 1024;
        unit++;
    }
    snprintf(text, 32, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return text;
}

static clf_status fail_too_large(const clf_arena *arena, uint64_t bytes) {
    const clf_device *device = arena->device;
    char asked[32], total[32], used[32], each[32];
    return clf_fail(
        CLF_ERROR_DEVICE_MEMORY,
        "%s: %s more do not fit on %s, which has %s (%s in use here) and at most %s for "
        "one tensor; try %s",
        arena->what, bytes_text(asked, bytes), device->info.name,
        bytes_text(total, device->caps.global_memory), bytes_text(used, device->allocated),
        bytes_text(each, device->caps.max_allocation), arena->option);
}

// Drivers allocate lazily and fail long after, so the sum is watched here.
static bool fits(const clf_device *device, uint64_t bytes) {
    return bytes <= device->caps.max_allocation && bytes <= device->caps.global_memory &&
           device->allocated <= device->caps.global_memory - bytes;
}

static clf_status add_chunk(clf_arena *arena, uint64_t bytes) {
    clf_device *device = arena->device;
    if (!clf_array_reserve(&arena->chunks, 1)) return clf_fail_memory();
    struct clf_chunk *chunk = malloc(sizeof *chunk);
    if (!chunk) return clf_fail_memory();
    cl_int code = CL_MEM_OBJECT_ALLOCATION_FAILURE;
    if (fits(device, bytes)) {
        chunk->memory = clCreateBuffer(device->context, CL_MEM_READ_WRITE, bytes, NULL, &code);
    }
    if (code != CL_SUCCESS) {
        free(chunk);
        return fail_too_large(arena, bytes);
    }
    chunk->bytes = bytes;
    arena->chunks.data[arena->chunks.count++] = chunk;
    arena->bytes += bytes;
    device->allocated += bytes;
    return CLF_OK;
}

// Chunks grow with the arena: few of them, and at most half of the memory idle.
static uint64_t chunk_size(const clf_arena *arena, uint64_t bytes) {
    uint64_t size = arena->bytes / 2;
    if (size < MIB) size = MIB;
    if (size > 256 * (uint64_t)MIB) size = 256 * (uint64_t)MIB;
    if (!fits(arena->device, size)) size = bytes;
    return size > bytes ? size : bytes;
}

clf_tensor clf_arena_take(clf_run *run, clf_arena *arena, int rows, int cols, clf_dtype dtype) {
    clf_tensor t = {.stride = (uint64_t)cols, .rows = rows, .cols = cols, .dtype = dtype};
    if (run->status != CLF_OK) return t;
    if (rows < 0 || cols < 0) {
        clf_run_fail(
            run, clf_fail(CLF_ERROR_ARGUMENT, "%s: a (%d, %d) tensor", arena->what, rows, cols));
        return t;
    }
    // At least one unit, so that an empty tensor has a chunk as well.
    uint64_t size = (uint64_t)clf_dtype_size(dtype);
    uint64_t bytes = (uint64_t)rows * (uint64_t)cols * size;
    bytes = bytes > 0 ? (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT : ALIGNMENT;
    arena->counted += bytes;
    if (arena->counted > arena->peak) arena->peak = arena->counted;
    if (run->dry) {
        t.chunk = &nowhere;
        t.offset = (arena->counted - bytes) / size; // so that no two seem the same
        return t;
    }
    while (arena->current < (int)arena->chunks.count &&
           arena->chunks.data[arena->current]->bytes - arena->used < bytes) {
        arena->current++;
        arena->used = 0;
    }
    if (arena->current == (int)arena->chunks.count) {
        clf_run_fail(run, add_chunk(arena, arena->flat ? bytes : chunk_size(arena, bytes)));
        if (run->status != CLF_OK) return t;
        if (arena->flat) clf_fill_zero(run, clf_arena_flat(arena, arena->current));
    }
    t.chunk = arena->chunks.data[arena->current];
    t.offset = arena->used / size;
    arena->used += bytes;
    return t;
}

void clf_arena_reset(clf_arena *arena) {
    arena->current = 0;
    arena->used = 0;
    arena->counted = 0;
}

clf_arena_mark clf_arena_get_mark(const clf_arena *arena) {
    return (clf_arena_mark){
        .chunk = arena->current, .used = arena->used, .counted = arena->counted};
}

void clf_arena_rewind(clf_arena *arena, clf_arena_mark mark) {
    arena->current = mark.chunk;
    arena->used = mark.used;
    arena->counted = mark.counted;
}

uint64_t clf_arena_bytes(const clf_arena *arena) {
    return arena->bytes;
}

uint64_t clf_arena_peak(const clf_arena *arena) {
    return arena->peak;
}

void clf_arena_prepare(clf_run *run, clf_arena *arena, uint64_t bytes) {
    const uint64_t four_gib = (uint64_t)4096 * MIB; // the floats of a chunk fit an int
    uint64_t most = run->device->caps.max_allocation / ALIGNMENT * ALIGNMENT;
    if (most > four_gib) most = four_gib;
    while (bytes > 0 && run->status == CLF_OK && !run->dry) {
        const uint64_t size = bytes < most ? bytes : most;
        clf_run_fail(run, add_chunk(arena, size));
        bytes -= size;
    }
}

void clf_arena_reserve(clf_run *run, clf_arena *arena, uint64_t bytes) {
    arena->flat = true;
    clf_arena_prepare(run, arena, bytes);
    for (int i = 0; i < clf_arena_chunks(arena); i++) {
        clf_fill_zero(run, clf_arena_flat(arena, i));
    }
}

int clf_arena_chunks(const clf_arena *arena) {
    return (int)arena->chunks.count;
}

clf_tensor clf_arena_flat(const clf_arena *arena, int chunk) {
    struct clf_chunk *memory = arena->chunks.data[chunk];
    const int floats = (int)(memory->bytes / sizeof(float));
    return (clf_tensor){
        .chunk = memory, .stride = (uint64_t)floats, .rows = 1, .cols = floats, .dtype = CLF_F32};
}

// ---- transfers ----

clf_status clf_memory_start(clf_device *device) {
    device->staging = malloc(STAGING_BYTES);
    return device->staging ? CLF_OK : clf_fail_memory();
}

void clf_device_idle(clf_device *device) {
    device->staged = 0;
    if (device->recorder) clf_recorder_harvest(device->recorder);
}

typedef struct span {
    size_t offset, bytes;
} span;

// Bytes of a packed tensor; false if there is nothing to transfer.
static bool tensor_span(clf_run *run, clf_tensor t, const char *verb, span *bytes) {
    if (run->status != CLF_OK || run->dry || t.rows == 0 || t.cols == 0) return false;
    if (!t.chunk || !is_packed(t)) {
        clf_run_fail(run, clf_fail(CLF_ERROR_ARGUMENT, "%s of a tensor that is %s", verb,
                                   t.chunk ? "a view of columns" : "empty"));
        return false;
    }
    size_t size = (size_t)clf_dtype_size(t.dtype);
    *bytes = (span){.offset = t.offset * size, .bytes = (size_t)t.rows * (size_t)t.cols * size};
    if (bytes->offset + bytes->bytes > t.chunk->bytes) {
        clf_run_fail(run, clf_fail(CLF_ERROR_ARGUMENT, "%s past the end of a tensor", verb));
        return false;
    }
    return true;
}

// Where a transfer's event goes, NULL if nobody wants it.
static cl_event *wanted(clf_run *run, cl_event *event) {
    return run->device->recorder ? event : NULL;
}

static void done(clf_run *run, cl_int code, const char *verb, double bytes, cl_event event) {
    clf_cl_check(run, code, verb);
    if (code == CL_SUCCESS && run->device->recorder) {
        clf_recorder_add(run->device->recorder, CLF_TRACK_TRANSFERS, verb,
                         (clf_cost){.bytes = bytes}, NULL, event);
    }
}

void clf_write(clf_run *run, clf_tensor t, const void *data) {
    clf_device *device = run->device;
    span to;
    if (!tensor_span(run, t, "write", &to)) return;
    clf_chain_flush(run->device);
    bool staged = to.bytes <= STAGED_WRITE;
    if (staged) {
        if (to.bytes > STAGING_BYTES - device->staged && clf_run_finish(run) != CLF_OK) return;
        data = memcpy(device->staging + device->staged, data, to.bytes);
        device->staged += (to.bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
    cl_event event = NULL;
    cl_int code = clEnqueueWriteBuffer(device->queue, t.chunk->memory, staged ? CL_FALSE : CL_TRUE,
                                       to.offset, to.bytes, data, 0, NULL, wanted(run, &event));
    done(run, code, "write", (double)to.bytes, event);
    if (!staged && code == CL_SUCCESS) clf_run_finish(run);
}

void clf_read(clf_run *run, clf_tensor t, void *data) {
    span from;
    if (!tensor_span(run, t, "read", &from)) return;
    clf_chain_flush(run->device);
    cl_event event = NULL;
    cl_int code = clEnqueueReadBuffer(run->device->queue, t.chunk->memory, CL_TRUE, from.offset,
                                      from.bytes, data, 0, NULL, wanted(run, &event));
    done(run, code, "read", (double)from.bytes, event);
    if (code == CL_SUCCESS) clf_run_finish(run);
}

struct clf_transfer {
    cl_event event;
};

clf_transfer *clf_read_start(clf_run *run, clf_tensor t, void *data) {
    span from;
    if (!tensor_span(run, t, "read", &from)) return NULL;
    clf_chain_flush(run->device);
    clf_transfer *transfer = malloc(sizeof *transfer);
    if (!transfer) {
        clf_run_fail(run, clf_fail_memory());
        return NULL;
    }
    cl_int code = clEnqueueReadBuffer(run->device->queue, t.chunk->memory, CL_FALSE, from.offset,
                                      from.bytes, data, 0, NULL, &transfer->event);
    if (code == CL_SUCCESS) return transfer;
    clf_cl_check(run, code, "read");
    free(transfer);
    return NULL;
}

void clf_transfer_wait(clf_run *run, clf_transfer *transfer) {
    if (!transfer) return;
    clf_cl_check(run, clWaitForEvents(1, &transfer->event), "wait for a read");
    clReleaseEvent(transfer->event);
    free(transfer);
}

bool clf_transfer_is_done(const clf_transfer *transfer) {
    cl_int state = CL_COMPLETE;
    if (!transfer) return true;
    const cl_int code = clGetEventInfo(transfer->event, CL_EVENT_COMMAND_EXECUTION_STATUS,
                                       sizeof state, &state, NULL);
    return code != CL_SUCCESS || state <= CL_COMPLETE; // waiting tells of errors
}

void clf_copy(clf_run *run, clf_tensor to, clf_tensor from) {
    span target, source;
    if (to.rows != from.rows || to.cols != from.cols || to.dtype != from.dtype) {
        clf_run_fail(run,
                     clf_fail(CLF_ERROR_ARGUMENT, "copy of a (%d, %d) tensor to a (%d, %d) one",
                              from.rows, from.cols, to.rows, to.cols));
        return;
    }
    if (!tensor_span(run, to, "copy", &target) || !tensor_span(run, from, "copy", &source)) return;
    clf_chain_flush(run->device);
    cl_event event = NULL;
    cl_int code =
        clEnqueueCopyBuffer(run->device->queue, from.chunk->memory, to.chunk->memory, source.offset,
                            target.offset, target.bytes, 0, NULL, wanted(run, &event));
    done(run, code, "copy", 2 * (double)target.bytes, event);
}

void clf_fill_zero(clf_run *run, clf_tensor t) {
    span to;
    if (!tensor_span(run, t, "fill", &to)) return;
    clf_chain_flush(run->device);
    static const cl_uint zero;
    size_t pattern = (to.offset | to.bytes) % sizeof zero == 0 ? sizeof zero : 1;
    cl_event event = NULL;
    cl_int code = clEnqueueFillBuffer(run->device->queue, t.chunk->memory, &zero, pattern,
                                      to.offset, to.bytes, 0, NULL, wanted(run, &event));
    done(run, code, "fill", (double)to.bytes, event);
}
