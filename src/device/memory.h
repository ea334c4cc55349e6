// SPDX-License-Identifier: MIT
// Device memory: arenas of chunks, and tensors as views into them.
#ifndef CLF_DEVICE_MEMORY_H
#define CLF_DEVICE_MEMORY_H

#include <stdint.h>

#include "device/device.h"

typedef enum clf_dtype { CLF_F32, CLF_F16, CLF_BF16, CLF_I32, CLF_I16, CLF_I8, CLF_U8 } clf_dtype;

int clf_dtype_size(clf_dtype dtype); // bytes

// A matrix in device memory, (rows, cols), row r at offset + r * stride. A view: it owns nothing
// and is passed by value. A vector is one row.
typedef struct clf_tensor {
    struct clf_chunk *chunk; // NULL: no tensor
    uint64_t offset;         // elements from the start of the chunk
    uint64_t stride;         // elements from row to row; cols unless it is a view of columns
    int rows, cols;
    clf_dtype dtype;
} clf_tensor;

// Views. Nothing is copied.
clf_tensor clf_tensor_rows(clf_tensor t, int first, int rows);
clf_tensor clf_tensor_cols(clf_tensor t, int first, int cols);

// An arena grows by chunks, none larger than the device allows, and hands out tensors one after
// another, each aligned to 128 bytes. Reset forgets the tensors and keeps the chunks, so a step
// that was planned once never allocates again.
typedef struct clf_arena clf_arena;

// `what` names the use in messages ("parameters", "activations"); `option` names what lowers it
// ("a smaller --batch-tokens"). Both are string literals.
clf_status clf_arena_create(clf_device *device, const char *what, const char *option,
                            clf_arena **arena);
void clf_arena_destroy(clf_arena *arena); // NULL is allowed; waits for the device first
clf_tensor clf_arena_take(clf_run *run, clf_arena *arena, int rows, int cols, clf_dtype dtype);
void clf_arena_reset(clf_arena *arena);
// Marks allow nested use: everything taken after the mark is forgotten by the rewind.
typedef struct clf_arena_mark {
    int chunk;
    uint64_t used, counted;
} clf_arena_mark;
clf_arena_mark clf_arena_get_mark(const clf_arena *arena);
void clf_arena_rewind(clf_arena *arena, clf_arena_mark mark);
uint64_t clf_arena_bytes(const clf_arena *arena); // allocated on the device
// The most that was in use at once since the arena was created, dry runs included.
uint64_t clf_arena_peak(const clf_arena *arena);

// Allocates that much at once, so that a lack of memory shows before there is work to lose.
void clf_arena_prepare(clf_run *run, clf_arena *arena, uint64_t bytes);

// A flat arena holds many tensors that are treated as one long vector (all parameters, all
// gradients): first its size is counted by a dry run of the takes, then clf_arena_reserve allocates
// just that, zeroed, in as few chunks as the device allows, and the takes are repeated. What then
// has no room at the end of a chunk gets a zeroed chunk of its own. Arenas with the same sequence
// of takes have the same layout.
void clf_arena_reserve(clf_run *run, clf_arena *arena, uint64_t bytes);
int clf_arena_chunks(const clf_arena *arena);
// All floats of a chunk, (1, n), the padding between tensors included.
clf_tensor clf_arena_flat(const clf_arena *arena, int chunk);

// Copies rows * cols elements (tightly packed on the host) to a tensor with stride == cols.
// clf_write returns after the data was taken over: `data` may be reused at once.
void clf_write(clf_run *run, clf_tensor t, const void *data);
// Blocks until all earlier work is done and `data` is filled.
void clf_read(clf_run *run, clf_tensor t, void *data);
// Like clf_read, but returns at once: `data` is filled when clf_transfer_wait returns, which also
// releases the transfer. What is queued later cannot change what is read. NULL if the run has
// failed or there is nothing to read; waiting for NULL is allowed.
typedef struct clf_transfer clf_transfer;
clf_transfer *clf_read_start(clf_run *run, clf_tensor t, void *data);
void clf_transfer_wait(clf_run *run, clf_transfer *transfer);
// Whether waiting would return at once. What was queued must have been flushed.
bool clf_transfer_is_done(const clf_transfer *transfer);
// Device to device; same shape and dtype, both with stride == cols.
void clf_copy(clf_run *run, clf_tensor to, clf_tensor from);
void clf_fill_zero(clf_run *run, clf_tensor t);

#endif
