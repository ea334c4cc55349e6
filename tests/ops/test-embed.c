// SPDX-License-Identifier: MIT
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "harness.h"
#include "ops/opkit.h"
#include "ops/ops.h"

enum { VOCABULARY = 35, POSITIONS = 9, TOKENS = 12 };
static const int ids[TOKENS] = {0, 34, 15, 16, 31, 32, -1, 35, 7, 7, INT32_MAX, INT32_MIN};
static const int where[TOKENS] = {0, 1, 8, 3, -1, 9, 2, 4, 5, 5, INT32_MAX, INT32_MIN};

// E (V, C) on the host as a weight (C, V) in packed panels or plain rows.
static clf_weight put_table(opkit *kit, const float *e, int width, bool plain, clf_dtype dtype) {
    const int padded = (VOCABULARY + 15) / 16 * 16;
    clf_weight w = {.k = width, .n = VOCABULARY};
    w.panel_stride = plain ? 16 : 16 * (uint64_t)width;
    w.row_stride = plain ? (uint64_t)padded : 16;
    float *data = malloc((size_t)(padded * width) * sizeof *data);
    for (int i = 0; i < padded * width; i++) data[i] = NAN; // columns past V must not be read
    for (int id = 0; id < VOCABULARY; id++) {
        for (int c = 0; c < width; c++) {
            data[w.panel_stride * (uint64_t)(id / 16) + w.row_stride * (uint64_t)c +
                 (uint64_t)id % 16] = e[id * width + c];
        }
    }
    w.data = clf_arena_take(&kit->run, kit->arena, 1, padded * width, dtype);
    opkit_write(kit, w.data, data);
    free(data);
    return w;
}

static int clamp_position(int t) {
    return t < 0 ? 0 : t >= POSITIONS ? POSITIONS - 1 : t;
}

static void run_width(clf_device *device, int width, int tokens, bool plain, bool positions,
                      clf_dtype dtype) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    const size_t count = (size_t)tokens * (size_t)width;
    clf_rng rng = {(uint64_t)width};
    float *e = opkit_numbers(&rng, VOCABULARY * (size_t)width, 1, 0);
    opkit_round(e, VOCABULARY * (size_t)width, dtype);
    float *p = opkit_numbers(&rng, POSITIONS * (size_t)width, 1, 0);
    float *out = malloc(sizeof *out * count);
    double *expected = malloc(sizeof *expected * count), *bound = malloc(sizeof *bound * count);
    const float scale = 22.627417f;
    for (int r = 0; r < tokens; r++) {
        for (int c = 0; c < width; c++) {
            bool known = ids[r] >= 0 && ids[r] < VOCABULARY;
            double value = known ? (double)scale * (double)e[ids[r] * width + c] : 0;
            if (positions) value += (double)p[clamp_position(where[r]) * width + c];
            expected[r * width + c] = value;
            bound[r * width + c] = FLT_EPSILON * (double)(scale + 1); // two roundings
        }
    }
    opkit_guarded y = opkit_put(&kit, tokens, width, dtype, NULL);
    opkit_guarded dp = opkit_put(&kit, POSITIONS, width, CLF_F32, p);
    opkit_guarded di = opkit_put(&kit, 1, tokens, CLF_I32, ids);
    opkit_guarded dw = opkit_put(&kit, 1, tokens, CLF_I32, where);
    clf_op_embed(&kit.run, y.view, put_table(&kit, e, width, plain, dtype), di.view,
                 positions ? dp.view : (clf_tensor){0}, dw.view, scale);
    opkit_get(&kit, &y, out);
    char what[64];
    snprintf(what, sizeof what, "width %d, plain %d, positions %d", width, plain, positions);
    opkit_widen(bound, expected, count, dtype);
    opkit_compare(what, out, expected, bound, count);
    opkit_drop(&dp), opkit_drop(&di), opkit_drop(&dw);
    free(e), free(p), free(out), free(expected), free(bound);
    opkit_finish(&kit);
}

static void shapes_on(clf_device *device) {
    static const int widths[] = {1, 3, 8, 17, 64, 100, 513};
    for (int w = 0; w < 7; w++) {
        for (int flags = 0; flags < 4; flags++) {
            run_width(device, widths[w], w % 3 ? TOKENS : 1, flags & 1, flags & 2, CLF_F32);
        }
    }
}

static void test_shapes(void) {
    clf_test_each_device(shapes_on);
}

static void half_on(clf_device *device) {
    run_width(device, 17, TOKENS, false, true, CLF_F16);
    run_width(device, 64, TOKENS, true, false, CLF_F16);
}

static void test_half(void) {
    clf_test_each_device(half_on);
}

static void sinusoid_on(clf_device *device) {
    static const int widths[] = {2, 6, 7, 64};
    enum { ROWS = 40 };
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    for (int i = 0; i < 8; i++) {
        const int width = widths[i / 2], half = width / 2, sines = width - half, offset = i % 3;
        const double denominator = i % 2 && half > 1 ? half - 1 : half;
        float out[ROWS * 64];
        double expected[ROWS * 64], bound[ROWS * 64];
        for (int t = 0; t < ROWS; t++) {
            for (int j = 0; j < sines; j++) {
                double angle = (t + offset) / pow(10000, j / denominator);
                expected[t * width + j] = sin(angle);
                if (j < half) expected[t * width + sines + j] = cos(angle);
            }
        }
        for (int j = 0; j < ROWS * width; j++) bound[j] = FLT_EPSILON;
        clf_tensor table = clf_arena_take(&kit.run, kit.arena, ROWS, width, CLF_F32);
        clf_sinusoid_write(&kit.run, table, offset, denominator);
        clf_read(&kit.run, table, out);
        opkit_compare("sinusoid", out, expected, bound, (size_t)(ROWS * width));
    }
    opkit_finish(&kit);
}

static void test_sinusoid(void) {
    clf_test_each_device(sinusoid_on);
}

static void bad_shapes_on(clf_device *device) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    clf_tensor y = clf_arena_take(&kit.run, kit.arena, 2, 8, CLF_F32);
    clf_tensor two = clf_arena_take(&kit.run, kit.arena, 1, 2, CLF_I32);
    clf_weight table = {.data = y, .k = 8, .n = 2, .panel_stride = 16, .row_stride = 2};
    clf_op_embed(&kit.run, y, table, clf_tensor_cols(two, 0, 1), (clf_tensor){0}, (clf_tensor){0},
                 1);
    opkit_expect_argument_error(&kit, "embed: ids");
    clf_op_embed(&kit.run, y, table, two, y, (clf_tensor){0}, 1);
    opkit_expect_argument_error(&kit, "embed: where is an absent");
    clf_op_embed(&kit.run, y, table, two, clf_tensor_rows(y, 0, 0), two, 1);
    opkit_expect_argument_error(&kit, "embed: positions has no rows");
    clf_op_embed(&kit.run, clf_tensor_cols(y, 0, 7), table, two, y, two, 1);
    opkit_expect_argument_error(&kit, "embed: y");
    opkit_finish(&kit);
}

static void test_bad_shapes(void) {
    clf_test_each_device(bad_shapes_on);
}

typedef struct bench {
    clf_tensor y, ids, positions;
    clf_weight table;
} bench;

static void launch(clf_run *run, void *user) {
    const bench *b = user;
    clf_op_embed(run, b->y, b->table, b->ids, b->positions, b->ids, 1);
}

static void bench_on(clf_device *device) {
    enum { V = 32000, C = 512, MOST = 1024 };
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    bench b = {.table = {.k = C, .n = V, .panel_stride = 16 * C, .row_stride = 16}};
    b.table.data = clf_arena_take(&kit.run, kit.arena, V, C, CLF_F32);
    b.positions = clf_arena_take(&kit.run, kit.arena, MOST, C, CLF_F32);
    clf_tensor y = clf_arena_take(&kit.run, kit.arena, MOST, C, CLF_F32);
    clf_tensor all_ids = clf_arena_take(&kit.run, kit.arena, 1, MOST, CLF_I32);
    clf_rng rng = {1};
    int data[MOST];
    for (int i = 0; i < MOST; i++) data[i] = (int)clf_rng_below(&rng, V);
    clf_write(&kit.run, all_ids, data);
    clf_fill_zero(&kit.run, b.table.data);
    for (int rows = 1; rows <= MOST; rows *= 32) {
        b.y = clf_tensor_rows(y, 0, rows);
        b.ids = clf_tensor_cols(all_ids, 0, rows);
        char name[64];
        snprintf(name, sizeof name, "embed (%d, 512), packed panels", rows);
        opkit_bench(&kit, name, 12.0 * rows * C, 0, launch, &b);
    }
    opkit_finish(&kit);
}

static void test_bench(void) {
    if (!clf_test_bench) return;
    clf_test_each_device(bench_on);
}

static const clf_test tests[] = {{"shapes", test_shapes},
                                 {"half", test_half},
                                 {"sinusoid", test_sinusoid},
                                 {"bad shapes", test_bad_shapes},
                                 {"bench", test_bench}};
CLF_TEST_MAIN("op-embed", tests)
