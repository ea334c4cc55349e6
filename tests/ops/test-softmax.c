// SPDX-License-Identifier: MIT
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "harness.h"
#include "ops/opkit.h"
#include "ops/ops.h"
#include "ref/ref_rows.h"

static void run_rows(clf_device *device, const char *name, int rows, int width, const float *x,
                     bool log, bool in_place) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    const size_t count = (size_t)rows * (size_t)width;
    float *out = malloc(sizeof *out * count);
    double *expected = malloc(sizeof *expected * count), *bound = malloc(sizeof *bound * count);
    opkit_guarded dx = opkit_put(&kit, rows, width, CLF_F32, x);
    opkit_guarded dy = opkit_put(&kit, rows, width, CLF_F32, NULL);
    opkit_guarded *y = in_place ? &dx : &dy;
    if (log)
        clf_op_log_softmax(&kit.run, y->view, dx.view);
    else
        clf_op_softmax(&kit.run, y->view, dx.view);
    opkit_get(&kit, y, out);
    for (size_t at = 0; at < count; at += (size_t)width) {
        ref_softmax(expected + at, bound + at, x + at, width, log);
    }
    char what[96];
    snprintf(what, sizeof what, "%s, log %d, in place %d, (%d, %d)", name, log, in_place, rows,
             width);
    opkit_compare(what, out, expected, bound, count);
    opkit_drop(&dx), opkit_drop(&dy);
    free(out), free(expected), free(bound);
    opkit_finish(&kit);
}

static void shapes_on(clf_device *device) {
    static const int widths[] = {1, 3, 8, 17, 64, 100, 513, 2500}, rows[] = {1, 2, 7, 65};
    clf_rng rng = {1};
    for (int turn = 0; turn < 32; turn++) {
        const int width = widths[turn % 8], height = rows[turn / 8];
        float *x = opkit_numbers(&rng, (size_t)height * (size_t)width, 20, 0);
        run_rows(device, "numbers", height, width, x, turn % 2, turn % 3 == 0);
        run_rows(device, "numbers", height, width, x, turn % 2 == 0, turn % 3 == 1);
        free(x);
    }
}

static void test_shapes(void) {
    clf_test_each_device(shapes_on);
}

static void extremes_on(clf_device *device) {
    enum { ROWS = 8, WIDTH = 37 };
    static const float fills[ROWS] = {1e4f, -1e4f, -3e38f, 3e38f, -INFINITY, 0, 0, 0};
    float x[ROWS * WIDTH];
    for (int r = 0; r < ROWS; r++) {
        for (int c = 0; c < WIDTH; c++) x[r * WIDTH + c] = fills[r];
    }
    float *mixed = x + 5 * WIDTH; // far apart, two infinities, a NaN
    mixed[3] = 1e4f, mixed[4] = -1e4f, mixed[35] = 9999.5f;
    mixed[WIDTH + 2] = -INFINITY, mixed[WIDTH + 36] = -INFINITY;
    mixed[2 * WIDTH + 9] = NAN;
    for (int log = 0; log < 2; log++) run_rows(device, "extremes", ROWS, WIDTH, x, log, false);
}

static void test_extremes(void) {
    clf_test_each_device(extremes_on);
}

static void bad_shapes_on(clf_device *device) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    clf_tensor x = clf_arena_take(&kit.run, kit.arena, 3, 8, CLF_F32);
    clf_op_softmax(&kit.run, x, clf_tensor_rows(x, 0, 2));
    opkit_expect_argument_error(&kit, "softmax: x is a (2, 8)");
    clf_op_log_softmax(&kit.run, clf_tensor_cols(x, 1, 3), x);
    opkit_expect_argument_error(&kit, "log_softmax: x");
    opkit_finish(&kit);
}

static void test_bad_shapes(void) {
    clf_test_each_device(bad_shapes_on);
}

typedef struct bench {
    clf_tensor y, x;
    bool log;
} bench;

static void launch(clf_run *run, void *user) {
    const bench *b = user;
    if (b->log)
        clf_op_log_softmax(run, b->y, b->x);
    else
        clf_op_softmax(run, b->y, b->x);
}

static void bench_on(clf_device *device) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    for (int i = 0; i < 4; i++) {
        const int rows = i / 2 ? 128 : 1;
        bench b = {.log = i % 2};
        b.x = clf_arena_take(&kit.run, kit.arena, rows, 32000, CLF_F32);
        b.y = clf_arena_take(&kit.run, kit.arena, rows, 32000, CLF_F32);
        clf_fill_zero(&kit.run, b.x);
        char name[64];
        snprintf(name, sizeof name, "%s (%d, 32000)", b.log ? "log softmax" : "softmax", rows);
        opkit_bench(&kit, name, 8.0 * rows * 32000, 0, launch, &b);
    }
    opkit_finish(&kit);
}

static void test_bench(void) {
    if (!clf_test_bench) return;
    clf_test_each_device(bench_on);
}

static const clf_test tests[] = {{"shapes", test_shapes},
                                 {"extremes", test_extremes},
                                 {"bad shapes", test_bad_shapes},
                                 {"bench", test_bench}};
CLF_TEST_MAIN("op-softmax", tests)
