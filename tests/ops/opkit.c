// SPDX-License-Identifier: MIT
#include "ops/opkit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/half.h"
#include "harness.h"

enum { ABOVE = 2, BELOW = 1, LEFT = 3, RIGHT = 6 };
#define MARKER 0x7fc12345u // a NaN that no operation makes

bool opkit_init(opkit *kit, clf_device *device) {
    kit->run = clf_run_begin(device);
    return CLF_ASSERT_OK(clf_arena_create(device, "test", "nothing", &kit->arena));
}

void opkit_finish(opkit *kit) {
    CLF_ASSERT_OK(clf_run_finish(&kit->run));
    clf_arena_destroy(kit->arena);
}

static const uint16_t half_marker = 0x7e45; // likewise

// An element on the device from one on the host.
static void encode(unsigned char *to, const unsigned *from, clf_dtype dtype) {
    float value;
    memcpy(&value, from, sizeof value);
    const uint16_t half = clf_half_from_float(value);
    memcpy(to, dtype == CLF_F16 ? (const void *)&half : from, (size_t)clf_dtype_size(dtype));
}

static void decode(unsigned *to, const unsigned char *from, clf_dtype dtype) {
    uint16_t half;
    memcpy(&half, from, sizeof half);
    const float value = clf_half_to_float(half);
    memcpy(to, dtype == CLF_F16 ? (const void *)&value : from, sizeof *to);
}

opkit_guarded opkit_put(opkit *kit, int rows, int cols, clf_dtype dtype, const void *data) {
    const int all_rows = ABOVE + rows + BELOW, all_cols = LEFT + cols + RIGHT;
    const size_t size = (size_t)clf_dtype_size(dtype);
    const unsigned marker = MARKER;
    opkit_guarded g = {.whole = clf_arena_take(&kit->run, kit->arena, all_rows, all_cols, dtype)};
    g.image = malloc(size * (size_t)all_rows * (size_t)all_cols);
    for (int i = 0; i < all_rows * all_cols; i++) {
        const void *from = dtype == CLF_F16 ? (const void *)&half_marker : &marker;
        memcpy(g.image + size * (size_t)i, from, size);
    }
    for (int i = 0; data && i < rows * cols; i++) {
        const int at = (ABOVE + i / cols) * all_cols + LEFT + i % cols;
        encode(g.image + size * (size_t)at, (const unsigned *)data + i, dtype);
    }
    clf_write(&kit->run, g.whole, g.image);
    g.view = clf_tensor_cols(clf_tensor_rows(g.whole, ABOVE, rows), LEFT, cols);
    return g;
}

void opkit_get(opkit *kit, opkit_guarded *g, void *data) {
    const int all_cols = g->whole.cols, rows = g->view.rows, cols = g->view.cols;
    const size_t size = (size_t)clf_dtype_size(g->whole.dtype);
    unsigned char *now = malloc(size * (size_t)g->whole.rows * (size_t)all_cols);
    int changed = 0;
    clf_read(&kit->run, g->whole, now);
    for (int r = 0; kit->run.status == CLF_OK && r < g->whole.rows; r++) {
        for (int c = 0; c < all_cols; c++) {
            bool inside = r >= ABOVE && r < ABOVE + rows && c >= LEFT && c < LEFT + cols;
            const size_t at = size * ((size_t)r * (size_t)all_cols + (size_t)c);
            if (inside)
                decode((unsigned *)data + (r - ABOVE) * cols + c - LEFT, now + at, g->view.dtype);
            else
                changed += memcmp(now + at, g->image + at, size) != 0;
        }
    }
    if (changed) printf("\n    %d elements beside a (%d, %d) result changed", changed, rows, cols);
    CU_ASSERT_EQUAL(changed, 0);
    free(now);
    opkit_drop(g);
}

void opkit_drop(opkit_guarded *g) {
    free(g->image);
    g->image = NULL;
}

float *opkit_numbers(clf_rng *rng, size_t count, float range, float shift) {
    float *data = malloc((count + 1) * sizeof *data);
    for (size_t i = 0; i < count; i++) data[i] = shift + clf_rng_uniform(rng, -range, range);
    return data;
}

void opkit_write(opkit *kit, clf_tensor t, const float *data) {
    const size_t count = (size_t)t.rows * (size_t)t.cols;
    uint16_t *halves = malloc(sizeof *halves * (count + 1));
    for (size_t i = 0; i < count; i++) halves[i] = clf_half_from_float(data[i]);
    clf_write(&kit->run, t, t.dtype == CLF_F16 ? (const void *)halves : data);
    free(halves);
}

void opkit_read(opkit *kit, clf_tensor t, float *data) {
    const size_t count = (size_t)t.rows * (size_t)t.cols;
    uint16_t *halves = calloc(count + 1, sizeof *halves);
    clf_read(&kit->run, t, t.dtype == CLF_F16 ? (void *)halves : data);
    for (size_t i = 0; t.dtype == CLF_F16 && i < count; i++) data[i] = clf_half_to_float(halves[i]);
    free(halves);
}

void opkit_round(float *data, size_t count, clf_dtype dtype) {
    for (size_t i = 0; dtype == CLF_F16 && i < count; i++)
        data[i] = clf_half_to_float(clf_half_from_float(data[i]));
    for (size_t i = 0; dtype == CLF_BF16 && i < count; i++) {
        uint32_t bits; // of a number that is finite
        memcpy(&bits, &data[i], sizeof bits);
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000;
        memcpy(&data[i], &bits, sizeof bits);
    }
}

void opkit_widen(double *bound, const double *expected, size_t count, clf_dtype dtype) {
    for (size_t i = 0; dtype == CLF_F16 && i < count; i++)
        bound[i] += 0x1p-11 * (fabs(expected[i]) + bound[i]) + 0x1p-25;
}

static bool close_enough(double y, double expected, double bound) {
    if (isnan(expected)) return isnan(y);
    return y == expected || fabs(y - expected) <= bound;
}

void opkit_compare(const char *what, const float *y, const double *expected, const double *bound,
                   size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (close_enough(y[i], expected[i], bound[i])) continue;
        printf("\n    %s: element %zu of %zu is %.9g, not %.9g +- %.2g", what, i, count,
               (double)y[i], expected[i], bound[i]);
        CU_FAIL("a result is wrong");
        return;
    }
}

void opkit_expect_argument_error(opkit *kit, const char *text) {
    CU_ASSERT_EQUAL(kit->run.status, CLF_ERROR_ARGUMENT);
    if (!strstr(clf_last_error(), text)) {
        printf("\n    the message is '%s', without '%s'", clf_last_error(), text);
        CU_FAIL("a message is wrong");
    }
    kit->run.status = CLF_OK;
}

static double time_calls(opkit *kit, int calls, void (*launch)(clf_run *, void *), void *user) {
    const int64_t begin = clf_clock();
    for (int i = 0; i < calls; i++) launch(&kit->run, user);
    clf_run_finish(&kit->run);
    return (double)(clf_clock() - begin) * 1e-9 / calls;
}

void opkit_bench(opkit *kit, const char *name, double bytes, double flops,
                 void (*launch)(clf_run *run, void *user), void *user) {
    time_calls(kit, 1, launch, user);
    const double once = time_calls(kit, 2, launch, user);
    const int calls = once > 0.02 ? 2 : (int)(0.02 / once) + 1;
    double best = once;
    for (int i = 0; i < 5; i++) best = fmin(best, time_calls(kit, calls, launch, user));
    const clf_profile *profile = clf_device_profile(kit->run.device);
    printf("\n    %s shape: %-40s %9.3f ms %8.2f GB/s %8.2f GFLOP/s",
           profile->lanes == 1 ? "cpu" : "gpu", name, best * 1e3, bytes / best * 1e-9,
           flops / best * 1e-9);
    fflush(stdout);
}
