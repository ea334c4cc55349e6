// SPDX-License-Identifier: MIT
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "harness.h"
#include "ops/opkit.h"
#include "ops/ops.h"
#include "ref/ref_rows.h"

typedef struct problem {
    const char *name;
    int rows, width, k;
    const float *logits;
    const int *banned;
    int banned_count;
    bool renormalize;
} problem;

static void expect_row(const problem *p, const float *x, int *ids, double *values, double *bound) {
    double sum_bound;
    double log_sum =
        ref_log_sum(&sum_bound, x, p->width, p->banned, p->renormalize ? p->banned_count : 0);
    ref_best(ids, x, p->width, p->k, p->banned, p->banned_count);
    for (int c = 0; c < p->width; c++) {
        if (isnan(x[c])) log_sum = NAN;
    }
    for (int i = 0; i < p->k; i++) {
        if (isnan(log_sum)) ids[i] = -1;
        values[i] = isnan(log_sum) ? NAN : ids[i] < 0 ? -INFINITY : (double)x[ids[i]] - log_sum;
        bound[i] = sum_bound + FLT_EPSILON * fabs(values[i]);
    }
}

static void compare(const problem *p, const float *values, const int *ids) {
    const size_t count = (size_t)p->rows * (size_t)p->k;
    int *expected_ids = malloc(sizeof *expected_ids * count);
    double *expected = malloc(sizeof *expected * count), *bound = malloc(sizeof *bound * count);
    char what[128];
    snprintf(what, sizeof what, "%s, (%d, %d), k %d, %d banned, renormalize %d", p->name, p->rows,
             p->width, p->k, p->banned_count, p->renormalize);
    for (int r = 0; r < p->rows; r++) {
        const size_t at = (size_t)r * (size_t)p->k;
        expect_row(p, p->logits + (size_t)r * (size_t)p->width, expected_ids + at, expected + at,
                   bound + at);
    }
    for (size_t i = 0; i < count; i++) {
        if (ids[i] == expected_ids[i]) continue;
        printf("\n    %s: id %zu is %d, not %d", what, i, ids[i], expected_ids[i]);
        CU_FAIL("an id is wrong");
        break;
    }
    opkit_compare(what, values, expected, bound, count);
    free(expected_ids), free(expected), free(bound);
}

static void run_problem(clf_device *device, const problem *p) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    const size_t count = (size_t)p->rows * (size_t)p->k;
    float *values = malloc(sizeof *values * count);
    int *ids = malloc(sizeof *ids * count);
    opkit_guarded dl = opkit_put(&kit, p->rows, p->width, CLF_F32, p->logits);
    opkit_guarded dv = opkit_put(&kit, p->rows, p->k, CLF_F32, NULL);
    opkit_guarded di = opkit_put(&kit, p->rows, p->k, CLF_I32, NULL);
    opkit_guarded db = opkit_put(&kit, 1, p->banned_count, CLF_I32, p->banned);
    const clf_arena_mark before = clf_arena_get_mark(kit.arena);
    clf_op_topk(&kit.run, dv.view, di.view, dl.view,
                (clf_topk){.banned = p->banned_count ? db.view : (clf_tensor){0},
                           .renormalize = p->renormalize,
                           .k = p->k,
                           .scratch = kit.arena});
    const clf_arena_mark after = clf_arena_get_mark(kit.arena);
    CU_ASSERT(before.chunk == after.chunk && before.used == after.used);
    opkit_get(&kit, &dv, values);
    opkit_get(&kit, &di, ids);
    compare(p, values, ids);
    opkit_drop(&dl), opkit_drop(&db);
    free(values), free(ids);
    opkit_finish(&kit);
}

// Logits of few different values, so that there are many ties.
static float *coarse_logits(clf_rng *rng, int rows, int width) {
    float *x = opkit_numbers(rng, (size_t)rows * (size_t)width, 12, 0);
    for (int i = 0; i < rows * width; i++) x[i] = roundf(4 * x[i]) / 4;
    return x;
}

static void shapes_on(clf_device *device) {
    static const int widths[] = {1, 3, 17, 100, 513, 2048, 2049, 5000, 9001};
    static const int ks[] = {1, 8, 64, 4}, rows[] = {1, 3, 70};
    clf_rng rng = {7};
    int turn = 0;
    for (int w = 0; w < 9; w++) {
        for (int i = 0; i < 4; i++, turn++) {
            problem p = {.name = "ties", .rows = rows[turn % 3], .width = widths[w], .k = ks[i]};
            float *coarse = coarse_logits(&rng, p.rows, p.width);
            p.logits = coarse;
            run_problem(device, &p);
            free(coarse);
        }
    }
}

static void test_shapes(void) {
    clf_test_each_device(shapes_on);
}

// Every second of the best columns is banned, one twice; some stand outside the row.
static void banned_on(clf_device *device) {
    enum { WIDTH = 5000, K = 8, BANNED = 200 };
    clf_rng rng = {3};
    float *x = coarse_logits(&rng, 2, WIDTH);
    int banned[BANNED], best[2 * BANNED];
    for (int i = 0; i < 100; i++) x[i * 50] = 1e4f; // what is banned must not drown the rest
    ref_best(best, x, WIDTH, 100, NULL, 0);
    for (int i = 0; i < 100; i++) banned[i] = best[i];
    ref_best(best, x, WIDTH, 2 * BANNED, NULL, 0);
    for (int i = 100; i < BANNED; i++) banned[i] = best[2 * i];
    banned[BANNED - 1] = banned[0], banned[BANNED - 2] = -5, banned[BANNED - 3] = WIDTH;
    for (int renormalize = 0; renormalize < 2; renormalize++) {
        problem p = {.name = "banned", .rows = 2, .width = WIDTH, .k = K, .logits = x};
        p.banned = banned, p.banned_count = BANNED, p.renormalize = renormalize;
        run_problem(device, &p);
        static const int all[] = {2, 0, 1, 3};
        p = (problem){.name = "all banned", .rows = 1, .width = 4, .k = 3, .logits = x};
        p.banned = all, p.banned_count = 4, p.renormalize = renormalize;
        run_problem(device, &p);
    }
    free(x);
}

static void test_banned(void) {
    clf_test_each_device(banned_on);
}

static void extremes_on(clf_device *device) {
    enum { ROWS = 9, WIDTH = 2100 };
    static const float fills[ROWS] = {1e4f, -3e38f, 3e38f, -INFINITY, -INFINITY, 0, 1, 0, 0};
    float *x = malloc(sizeof *x * ROWS * WIDTH);
    for (int i = 0; i < ROWS * WIDTH; i++) x[i] = fills[i / WIDTH];
    x[4 * WIDTH + 2050] = -7, x[4 * WIDTH + 3] = -FLT_MAX; // two choices only
    x[5 * WIDTH + 2099] = NAN;
    x[6 * WIDTH] = NAN;
    for (int c = 0; c < WIDTH; c++) x[7 * WIDTH + c] = (float)c; // each one better
    for (int c = 0; c < WIDTH; c++) x[8 * WIDTH + c] = (float)-c;
    for (int k = 1; k <= 5; k += 4) {
        const problem p = {.name = "extremes", .rows = ROWS, .width = WIDTH, .k = k, .logits = x};
        run_problem(device, &p);
    }
    free(x);
}

static void test_extremes(void) {
    clf_test_each_device(extremes_on);
}

static void pick_on(clf_device *device) {
    enum { ROWS = 6, WIDTH = 2100, BANNED = 3 };
    static const int ids[ROWS] = {0, 2099, 2048, 1, -1, WIDTH}, banned[BANNED] = {5, 1, 2060};
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    clf_rng rng = {5};
    float *x = opkit_numbers(&rng, ROWS * WIDTH, 10, 0), out[ROWS];
    for (int r = 0; r < ROWS; r++) x[r * WIDTH + 5] = 1e4f;
    opkit_guarded dl = opkit_put(&kit, ROWS, WIDTH, CLF_F32, x);
    opkit_guarded di = opkit_put(&kit, 1, ROWS, CLF_I32, ids);
    opkit_guarded db = opkit_put(&kit, 1, BANNED, CLF_I32, banned);
    for (int b = 0; b < 2; b++) {
        double expected[ROWS], bound[ROWS];
        for (int r = 0; r < ROWS; r++) {
            const float *row = x + r * WIDTH;
            double sum_bound, log_sum = ref_log_sum(&sum_bound, row, WIDTH, banned, b * BANNED);
            bool possible = ids[r] >= 0 && ids[r] < WIDTH && !(b && ids[r] == 1);
            expected[r] = possible ? (double)row[ids[r]] - log_sum : -INFINITY;
            bound[r] = sum_bound + FLT_EPSILON * fabs(expected[r]);
        }
        opkit_guarded dy = opkit_put(&kit, ROWS, 1, CLF_F32, NULL);
        clf_op_pick(&kit.run, dy.view, dl.view, di.view, b ? db.view : (clf_tensor){0});
        opkit_get(&kit, &dy, out);
        opkit_compare(b ? "pick, banned" : "pick", out, expected, bound, ROWS);
    }
    opkit_drop(&dl), opkit_drop(&di), opkit_drop(&db);
    free(x);
    opkit_finish(&kit);
}

static void test_pick(void) {
    clf_test_each_device(pick_on);
}

static void bad_shapes_on(clf_device *device) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    clf_tensor logits = clf_arena_take(&kit.run, kit.arena, 3, 80, CLF_F32);
    clf_tensor ids = clf_arena_take(&kit.run, kit.arena, 3, 80, CLF_I32);
    clf_topk t = {.k = 65, .scratch = kit.arena};
    clf_op_topk(&kit.run, logits, ids, logits, t);
    opkit_expect_argument_error(&kit, "topk: k must be between 1 and 64");
    t.k = 8;
    clf_op_topk(&kit.run, logits, ids, logits, t);
    opkit_expect_argument_error(&kit, "topk: values is a (3, 80)");
    clf_op_topk(&kit.run, clf_tensor_cols(logits, 0, 8), logits, logits, t);
    opkit_expect_argument_error(&kit, "topk: ids");
    t.scratch = NULL;
    clf_op_topk(&kit.run, clf_tensor_cols(logits, 0, 8), clf_tensor_cols(ids, 0, 8), logits, t);
    opkit_expect_argument_error(&kit, "topk: scratch");
    clf_op_pick(&kit.run, logits, logits, ids, (clf_tensor){0});
    opkit_expect_argument_error(&kit, "pick: y");
    opkit_finish(&kit);
}

static void test_bad_shapes(void) {
    clf_test_each_device(bad_shapes_on);
}

typedef struct bench {
    clf_tensor values, ids, logits, banned;
    clf_arena *scratch;
    int k; // 0: pick
    bool renormalize;
} bench;

static void launch(clf_run *run, void *user) {
    const bench *b = user;
    clf_tensor picked = b->ids;
    picked.rows = 1, picked.cols = b->logits.rows;
    if (b->k == 0) {
        clf_op_pick(run, clf_tensor_cols(b->values, 0, 1), b->logits, picked, (clf_tensor){0});
        return;
    }
    clf_op_topk(
        run, clf_tensor_cols(b->values, 0, b->k), clf_tensor_cols(b->ids, 0, b->k), b->logits,
        (clf_topk){
            .banned = b->banned, .renormalize = b->renormalize, .k = b->k, .scratch = b->scratch});
}

static void bench_rows(opkit *kit, int rows) {
    enum { V = 32000 };
    static const int ks[] = {0, 1, 8, 64};
    clf_rng rng = {1};
    bench b = {.scratch = kit->arena};
    b.logits = clf_arena_take(&kit->run, kit->arena, rows, V, CLF_F32);
    b.values = clf_arena_take(&kit->run, kit->arena, rows, 64, CLF_F32);
    b.ids = clf_arena_take(&kit->run, kit->arena, rows, 64, CLF_I32);
    float *x = opkit_numbers(&rng, (size_t)rows * V, 10, 0);
    clf_write(&kit->run, b.logits, x);
    clf_fill_zero(&kit->run, b.ids);
    free(x);
    char name[64];
    for (int i = 0; i < 4; i++) {
        b.k = ks[i];
        snprintf(name, sizeof name, b.k ? "top %2$d (%1$d, 32000)" : "pick (%1$d, 32000)", rows,
                 b.k);
        opkit_bench(kit, name, 4.0 * rows * V, 0, launch, &b);
    }
    int banned[200];
    for (int i = 0; i < 200; i++) banned[i] = i * 150;
    b.banned = clf_arena_take(&kit->run, kit->arena, 1, 200, CLF_I32);
    clf_write(&kit->run, b.banned, banned);
    b.k = 8, b.renormalize = true;
    snprintf(name, sizeof name, "top 8 (%d, 32000), 200 banned", rows);
    opkit_bench(kit, name, 4.0 * rows * V, 0, launch, &b);
}

static void bench_on(clf_device *device) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    bench_rows(&kit, 1);
    bench_rows(&kit, 8);
    bench_rows(&kit, 128);
    opkit_finish(&kit);
}

static void test_bench(void) {
    if (!clf_test_bench) return;
    clf_test_each_device(bench_on);
}

// The same bits as logits that stand in memory, however many slices the projection is cut into.
static void project(clf_device *device, int rows, int columns, int k) {
    enum { C = 24 };
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    clf_rng rng = {(uint64_t)(rows + columns)};
    float *x = opkit_numbers(&rng, (size_t)rows * C, 1, 0),
          *bias = opkit_numbers(&rng, columns, 1, 0);
    float *w = opkit_numbers(&rng, (size_t)columns * C, 1, 0), values[2][64];
    int32_t ids[2][64];
    const clf_weight weight = clf_weight_take(&kit.run, kit.arena, C, columns);
    const clf_piece piece = {.data = w, .dtype = CLF_F32, .rows = columns, .cols = C};
    clf_weight_write(&kit.run, weight, 0, &piece, kit.arena);
    opkit_guarded gx = opkit_put(&kit, rows, C, CLF_F32, x);
    opkit_guarded gb = opkit_put(&kit, 1, columns, CLF_F32, bias);
    const clf_topk t = {.k = k, .scratch = kit.arena};
    const clf_tensor logits = clf_arena_take(&kit.run, kit.arena, rows, columns, CLF_F32);
    clf_op_linear(&kit.run, logits, gx.view, weight, (clf_linear){.bias = gb.view});
    for (int i = 0; i < 2; i++) {
        opkit_guarded gv = opkit_put(&kit, rows, k, CLF_F32, NULL);
        opkit_guarded gi = opkit_put(&kit, rows, k, CLF_I32, NULL);
        if (i == 0)
            clf_op_topk(&kit.run, gv.view, gi.view, logits, t);
        else
            clf_op_linear_topk(&kit.run, gv.view, gi.view, gx.view, weight, gb.view,
                               (clf_screen){0}, t);
        opkit_get(&kit, &gv, values[i]);
        opkit_get(&kit, &gi, ids[i]);
    }
    const size_t count = (size_t)rows * (size_t)k;
    CU_ASSERT_EQUAL(memcmp(values[0], values[1], count * sizeof **values), 0);
    CU_ASSERT_EQUAL(memcmp(ids[0], ids[1], count * sizeof **ids), 0);
    opkit_drop(&gx), opkit_drop(&gb);
    free(x), free(w), free(bias);
    opkit_finish(&kit);
}

static void projections_on(clf_device *device) {
    project(device, 1, 19, 3);
    project(device, 13, 9001, 4);
    project(device, 60, 8200, 1);
}

static void test_projections(void) {
    clf_test_each_device(projections_on);
}

static const clf_test tests[] = {
    {"shapes", test_shapes}, {"banned", test_banned},         {"extremes", test_extremes},
    {"pick", test_pick},     {"bad shapes", test_bad_shapes}, {"projections", test_projections},
    {"bench", test_bench}};
CLF_TEST_MAIN("op-topk", tests)
