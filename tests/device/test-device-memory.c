// SPDX-License-Identifier: MIT
// Arenas, views and transfers.
#include "harness.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "device/memory.h"

static clf_arena *make_arena(clf_device *device) {
    clf_arena *arena = NULL;
    CLF_ASSERT_OK(clf_arena_create(device, "test tensors", "a smaller test", &arena));
    return arena;
}

static void check_arena(clf_device *device) {
    clf_run run = clf_run_begin(device);
    clf_arena *arena = make_arena(device);
    CU_ASSERT_EQUAL(clf_arena_bytes(arena), 0);
    clf_tensor a = clf_arena_take(&run, arena, 3, 5, CLF_I8);
    clf_tensor b = clf_arena_take(&run, arena, 1, 1, CLF_F32);
    clf_tensor none = clf_arena_take(&run, arena, 0, 7, CLF_F32);
    CU_ASSERT_PTR_NOT_NULL(a.chunk);
    CU_ASSERT_PTR_NOT_NULL(none.chunk);
    CU_ASSERT_EQUAL(a.stride, 5);
    CU_ASSERT_EQUAL(b.offset * 4 % 128, 0);
    CU_ASSERT(b.chunk != a.chunk || b.offset * 4 >= 15);
    clf_arena_mark mark = clf_arena_get_mark(arena);
    clf_tensor c = clf_arena_take(&run, arena, 2, 33, CLF_F16);
    clf_tensor big = clf_arena_take(&run, arena, 700, 1000, CLF_F32); // needs a chunk of its own
    CU_ASSERT(big.chunk != c.chunk);
    uint64_t bytes = clf_arena_bytes(arena);
    CU_ASSERT(bytes >= 2800000);
    clf_arena_rewind(arena, mark);
    clf_tensor again = clf_arena_take(&run, arena, 2, 33, CLF_F16);
    CU_ASSERT(again.chunk == c.chunk && again.offset == c.offset);
    clf_arena_reset(arena);
    again = clf_arena_take(&run, arena, 3, 5, CLF_I8);
    CU_ASSERT(again.chunk == a.chunk && again.offset == a.offset);
    clf_arena_take(&run, arena, 700, 1000, CLF_F32);
    CU_ASSERT_EQUAL(clf_arena_bytes(arena), bytes); // nothing new was allocated
    CLF_ASSERT_OK(clf_run_finish(&run));
    clf_arena_destroy(arena);
    clf_arena_destroy(NULL);
}

static void test_arena(void) {
    clf_test_each_device(check_arena);
}

static void check_too_large(clf_device *device) {
    clf_run run = clf_run_begin(device);
    clf_arena *arena = make_arena(device);
    clf_tensor t = clf_arena_take(&run, arena, INT32_MAX, INT32_MAX, CLF_F32);
    CU_ASSERT_EQUAL(run.status, CLF_ERROR_DEVICE_MEMORY);
    CU_ASSERT_PTR_NULL(t.chunk);
    CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), "test tensors"));
    CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), "a smaller test"));
    CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), "iB"));
    CU_ASSERT_EQUAL(clf_arena_bytes(arena), 0);
    clf_arena_take(&run, arena, 1, 1, CLF_F32); // the failure sticks
    CU_ASSERT_EQUAL(clf_arena_bytes(arena), 0);
    clf_arena_destroy(arena);
}

static void test_too_large(void) {
    clf_test_each_device(check_too_large);
}

// Pieces that each fit add up to more than the device has; drivers would only notice at first use.
static void check_total(clf_device *device) {
    const clf_caps *caps = clf_device_caps(device);
    if (caps->kind == CLF_DEVICE_EMULATOR) return; // these touch all that they allocate
    uint64_t each = caps->max_allocation < (1u << 30) ? caps->max_allocation : 1u << 30;
    each &= ~(uint64_t)4095;
    uint64_t pieces = caps->global_memory / each + 1;
    clf_run run = clf_run_begin(device);
    clf_arena *arena = make_arena(device);
    for (uint64_t i = 0; i < pieces && run.status == CLF_OK; i++) {
        clf_arena_take(&run, arena, (int)(each / 4096), 4096, CLF_U8);
    }
    CU_ASSERT_EQUAL(run.status, CLF_ERROR_DEVICE_MEMORY);
    CU_ASSERT(clf_arena_bytes(arena) <= caps->global_memory);
    clf_arena_destroy(arena);
    run = clf_run_begin(device);
    arena = make_arena(device); // what was destroyed is free again
    clf_arena_take(&run, arena, (int)(each / 4096), 4096, CLF_U8);
    CLF_ASSERT_OK(run.status);
    clf_arena_destroy(arena);
}

static void test_total(void) {
    clf_test_each_device(check_total);
}

// A flat arena on a device that allows small chunks only: each tensor lies within one chunk, the
// chunks are zero to the last float, and a second arena has the same ones.
static void check_flat(clf_device *device) {
    enum { TENSORS = 7, ROWS = 3, COLS = 100, MOST = 4096, DIRT = 64 << 10 };
    clf_caps *caps = (clf_caps *)clf_device_caps(device);
    const clf_caps before = *caps;
    clf_run run = clf_run_begin(device);
    clf_arena *arenas[] = {make_arena(device), make_arena(device), make_arena(device)};
    unsigned char *dirt = malloc(DIRT);
    memset(dirt, 1, DIRT);
    clf_write(&run, clf_arena_take(&run, arenas[2], 1, DIRT, CLF_U8), dirt);
    clf_arena_destroy(arenas[2]); // memory that an allocation may find again
    caps->max_allocation = MOST;
    for (int a = 0; a < 2; a++) {
        clf_tensor t[TENSORS];
        clf_arena_reserve(&run, arenas[a], TENSORS * ((ROWS * COLS * 4 + 127) / 128 * 128));
        for (int i = 0; i < TENSORS; i++) {
            t[i] = clf_arena_take(&run, arenas[a], ROWS, COLS, CLF_F32);
            CU_ASSERT((t[i].offset + ROWS * COLS) * 4 <= MOST);
        }
        CLF_ASSERT_OK(run.status);
        for (int i = 0; i < clf_arena_chunks(arenas[a]); i++) {
            const clf_tensor flat = clf_arena_flat(arenas[a], i);
            float values[MOST / 4];
            clf_read(&run, flat, values);
            CLF_ASSERT_OK(run.status);
            for (int k = 0; k < flat.cols; k++) CU_ASSERT_EQUAL(values[k], 0);
        }
    }
    CU_ASSERT(clf_arena_chunks(arenas[0]) > 3); // of 3, 3 and no tensors, and one for the last
    CU_ASSERT_EQUAL(clf_arena_chunks(arenas[0]), clf_arena_chunks(arenas[1]));
    for (int i = 0; i < clf_arena_chunks(arenas[0]); i++) {
        CU_ASSERT_EQUAL(clf_arena_flat(arenas[0], i).cols, clf_arena_flat(arenas[1], i).cols);
    }
    *caps = before;
    free(dirt);
    clf_arena_destroy(arenas[0]);
    clf_arena_destroy(arenas[1]);
}

static void test_flat(void) {
    clf_test_each_device(check_flat);
}

static void fill_random(clf_rng *rng, unsigned char *bytes, size_t count) {
    for (size_t i = 0; i < count; i++) bytes[i] = (unsigned char)clf_rng_next(rng);
}

// Writes random bytes into row views of a larger tensor and expects exactly these to change.
static void check_transfers(clf_device *device) {
    static const clf_dtype dtypes[] = {CLF_F32, CLF_F16, CLF_I8};
    enum { ROWS = 11, COLS = 13, FIRST = 3, SOME = 5 };
    clf_rng rng = {1};
    for (int i = 0; i < 3; i++) {
        clf_run run = clf_run_begin(device);
        clf_arena *arena = make_arena(device);
        clf_tensor t = clf_arena_take(&run, arena, ROWS, COLS, dtypes[i]);
        clf_tensor u = clf_arena_take(&run, arena, ROWS, COLS, dtypes[i]);
        size_t row = (size_t)(COLS * clf_dtype_size(dtypes[i]));
        unsigned char expected[ROWS * COLS * 4], part[SOME * COLS * 4], got[ROWS * COLS * 4];
        fill_random(&rng, expected, ROWS * row);
        fill_random(&rng, part, SOME * row);
        clf_write(&run, t, expected);
        clf_write(&run, clf_tensor_rows(t, FIRST, SOME), part);
        memcpy(expected + FIRST * row, part, SOME * row);
        memset(part, 0, sizeof part); // the write has taken its data over
        clf_copy(&run, u, t);
        clf_read(&run, u, got);
        CU_ASSERT_EQUAL(memcmp(got, expected, ROWS * row), 0);
        clf_fill_zero(&run, clf_tensor_rows(u, 1, 2));
        memset(expected + row, 0, 2 * row);
        clf_read(&run, u, got);
        CU_ASSERT_EQUAL(memcmp(got, expected, ROWS * row), 0);
        clf_read(&run, clf_tensor_rows(u, ROWS - 1, 1), got);
        CU_ASSERT_EQUAL(memcmp(got, expected + (ROWS - 1) * row, row), 0);
        CLF_ASSERT_OK(clf_run_finish(&run));
        clf_arena_destroy(arena);
    }
}

static void test_transfers(void) {
    clf_test_each_device(check_transfers);
}

// More small writes than may wait at once, and one too large to be taken aside.
static void check_many_writes(clf_device *device) {
    enum { WRITES = 300, COLS = 4099, LARGE = 100003 };
    clf_run run = clf_run_begin(device);
    clf_arena *arena = make_arena(device);
    clf_tensor t = clf_arena_take(&run, arena, WRITES, COLS, CLF_I32);
    clf_tensor large = clf_arena_take(&run, arena, 1, LARGE, CLF_I32);
    int32_t *data = malloc(sizeof *data * WRITES * COLS);
    for (int w = 0; w < WRITES; w++) {
        for (int i = 0; i < COLS; i++) data[i] = w * COLS + i;
        clf_write(&run, clf_tensor_rows(t, w, 1), data);
    }
    for (int i = 0; i < LARGE; i++) data[i] = -i;
    clf_write(&run, large, data);
    memset(data, 0, sizeof *data * LARGE);
    clf_read(&run, large, data);
    int wrong = 0;
    for (int i = 0; i < LARGE; i++) wrong += data[i] != -i;
    clf_read(&run, t, data);
    for (int i = 0; i < WRITES * COLS; i++) wrong += data[i] != i;
    CU_ASSERT_EQUAL(wrong, 0);
    CLF_ASSERT_OK(clf_run_finish(&run));
    free(data);
    clf_arena_destroy(arena);
}

static void test_many_writes(void) {
    clf_test_each_device(check_many_writes);
}

static void check_misuse(clf_device *device) {
    clf_arena *arena = make_arena(device);
    float data[64] = {0};
    clf_run run = clf_run_begin(device);
    clf_tensor t = clf_arena_take(&run, arena, 4, 8, CLF_F32);
    clf_write(&run, clf_tensor_cols(t, 2, 3), data); // not packed
    CU_ASSERT_EQUAL(run.status, CLF_ERROR_ARGUMENT);
    run = clf_run_begin(device);
    clf_read(&run, (clf_tensor){.rows = 1, .cols = 1}, data); // no tensor
    CU_ASSERT_EQUAL(run.status, CLF_ERROR_ARGUMENT);
    run = clf_run_begin(device);
    clf_copy(&run, t, clf_tensor_rows(t, 0, 2)); // another shape
    CU_ASSERT_EQUAL(run.status, CLF_ERROR_ARGUMENT);
    run = clf_run_begin(device);
    clf_write(&run, clf_tensor_rows(t, 4, 0), data); // empty: nothing to do
    clf_fill_zero(&run, clf_tensor_rows(t, 2, 0));
    CLF_ASSERT_OK(clf_run_finish(&run));
    clf_arena_destroy(arena);
}

static void test_misuse(void) {
    clf_test_each_device(check_misuse);
}

static const clf_test tests[] = {{"arena", test_arena},         {"too large", test_too_large},
                                 {"total", test_total},         {"flat", test_flat},
                                 {"transfers", test_transfers}, {"many writes", test_many_writes},
                                 {"misuse", test_misuse}};

CLF_TEST_MAIN("device-memory", tests)
