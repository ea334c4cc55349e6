// SPDX-License-Identifier: MIT
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "ops/backward.h"
#include "ops/opkit.h"
#include "ref/ref_philox.h"

#define EPSILON 1e-5f

typedef struct problem {
    int rows, width;
    clf_norm_kind kind;
    bool bias, extra, extra_is_dsum, dx;
    clf_dropout dropout;
    clf_dtype dtype;
} problem;

// ---- the reference, one row in double ----

typedef struct row_stats {
    double mean, inverse;
} row_stats;

static row_stats ref_stats(const double *x, int C, clf_norm_kind kind) {
    double mean = 0, variance = 0;
    for (int c = 0; c < C && kind == CLF_NORM_LAYER; c++) mean += x[c] / C;
    for (int c = 0; c < C; c++) variance += (x[c] - mean) * (x[c] - mean) / C;
    return (row_stats){mean, 1 / sqrt(variance + (double)EPSILON)};
}

// The sum of dy * norm(x) * scale, of which the gradient is wanted.
static double ref_loss(const double *x, const float *scale, const float *dy, int C,
                       clf_norm_kind kind) {
    const row_stats s = ref_stats(x, C, kind);
    double loss = 0;
    for (int c = 0; c < C; c++)
        loss += (double)dy[c] * (double)scale[c] * (x[c] - s.mean) * s.inverse;
    return loss;
}

static void ref_gradient(double *dx, const double *x, const float *scale, const float *dy, int C,
                         clf_norm_kind kind) {
    const row_stats s = ref_stats(x, C, kind);
    double average = 0, along = 0;
    for (int c = 0; c < C; c++) {
        const double g = (double)dy[c] * (double)scale[c];
        if (kind == CLF_NORM_LAYER) average += g / C;
        along += g * (x[c] - s.mean) * s.inverse / C;
    }
    for (int c = 0; c < C; c++) {
        const double g = (double)dy[c] * (double)scale[c];
        dx[c] = s.inverse * (g - average - (x[c] - s.mean) * s.inverse * along);
    }
}

static void test_reference(void) {
    enum { C = 13 };
    const double h = 1e-4;
    clf_rng rng = {3};
    float *x = opkit_numbers(&rng, C, 1, 0.3f), *scale = opkit_numbers(&rng, C, 2, 0);
    float *dy = opkit_numbers(&rng, C, 1, 0);
    double at[C], dx[C];
    for (int kind = 0; kind < 2; kind++) {
        for (int c = 0; c < C; c++) at[c] = (double)x[c];
        ref_gradient(dx, at, scale, dy, C, (clf_norm_kind)kind);
        for (int c = 0; c < C; c++) {
            at[c] = (double)x[c] + h;
            const double above = ref_loss(at, scale, dy, C, (clf_norm_kind)kind);
            at[c] = (double)x[c] - h;
            const double below = ref_loss(at, scale, dy, C, (clf_norm_kind)kind);
            at[c] = (double)x[c];
            CU_ASSERT(fabs((above - below) / (2 * h) - dx[c]) < 1e-6);
        }
    }
    free(x), free(scale), free(dy);
}

// ---- the operation ----

typedef struct host { // inputs, and what the device gave
    float *sum, *dy, *extra, *scale, *dscale, *dbias;
    float *out_dsum, *out_dx, *out_dscale, *out_dbias;
} host;

static host make_host(const problem *p) {
    clf_rng rng = {(uint64_t)(p->rows * 1009 + p->width)};
    const size_t count = (size_t)p->rows * (size_t)p->width, width = (size_t)p->width;
    host h = {.sum = opkit_numbers(&rng, count, 1, 0.5f),
              .dy = opkit_numbers(&rng, count, 1, 0),
              .extra = opkit_numbers(&rng, count, 1, 0),
              .scale = opkit_numbers(&rng, width, 2, 0),
              .dscale = opkit_numbers(&rng, width, 3, 0),
              .dbias = opkit_numbers(&rng, width, 3, 0),
              .out_dsum = malloc(sizeof(float) * (count + 1)),
              .out_dx = malloc(sizeof(float) * (count + 1)),
              .out_dscale = malloc(sizeof(float) * width),
              .out_dbias = malloc(sizeof(float) * width)};
    opkit_round(h.sum, count, p->dtype);
    opkit_round(h.dy, count, p->dtype);
    opkit_round(h.extra, count, p->dtype);
    return h;
}

static void free_host(host *h) {
    free(h->sum), free(h->dy), free(h->extra), free(h->scale), free(h->dscale), free(h->dbias);
    free(h->out_dsum), free(h->out_dx), free(h->out_dscale), free(h->out_dbias);
}

// Runs the forward norm for its statistics, then the gradient.
static void compute(clf_device *device, const problem *p, host *h) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    clf_arena *scratch;
    if (!CLF_ASSERT_OK(clf_arena_create(device, "scratch", "nothing", &scratch))) return;
    const int rows = p->rows, width = p->width;
    opkit_guarded sum = opkit_put(&kit, rows, width, p->dtype, h->sum);
    opkit_guarded y = opkit_put(&kit, rows, width, p->dtype, NULL);
    opkit_guarded stats = opkit_put(&kit, rows, 2, CLF_F32, NULL);
    opkit_guarded scale = opkit_put(&kit, 1, width, CLF_F32, h->scale);
    opkit_guarded dy = opkit_put(&kit, rows, width, p->dtype, h->dy);
    opkit_guarded extra = opkit_put(&kit, rows, width, p->dtype, h->extra);
    opkit_guarded dsum = opkit_put(&kit, rows, width, p->dtype, p->extra_is_dsum ? h->extra : NULL);
    opkit_guarded dx = opkit_put(&kit, rows, width, p->dtype, NULL);
    opkit_guarded dscale = opkit_put(&kit, 1, width, CLF_F32, h->dscale);
    opkit_guarded dbias = opkit_put(&kit, 1, width, CLF_F32, h->dbias);

    clf_norm norm = {.kind = p->kind, .epsilon = EPSILON, .scale = scale.view, .stats = stats.view};
    clf_op_norm(&kit.run, y.view, sum.view, norm);
    norm.sum = sum.view;
    norm.dropout = p->dropout;
    clf_norm_gradient g = {
        .dy = dy.view, .dsum = dsum.view, .dscale = dscale.view, .scratch = scratch};
    if (p->extra) g.extra = p->extra_is_dsum ? dsum.view : extra.view;
    if (p->dx) g.dx = dx.view;
    if (p->bias) g.dbias = dbias.view;
    clf_op_norm_backward(&kit.run, norm, g);

    opkit_get(&kit, &dsum, h->out_dsum);
    opkit_get(&kit, &dx, h->out_dx);
    opkit_get(&kit, &dscale, h->out_dscale);
    opkit_get(&kit, &dbias, h->out_dbias);
    opkit_drop(&sum), opkit_drop(&y), opkit_drop(&stats), opkit_drop(&scale);
    opkit_drop(&dy), opkit_drop(&extra);
    clf_arena_destroy(scratch);
    opkit_finish(&kit);
}

static void check_rows(const problem *p, const host *h, const char *what) {
    const int C = p->width;
    double *x = malloc(sizeof *x * (size_t)C), *dx = malloc(sizeof *dx * (size_t)C);
    double *bound = malloc(sizeof *bound * (size_t)C);
    for (int r = 0; r < p->rows; r++) {
        const size_t at = (size_t)r * (size_t)C;
        for (int c = 0; c < C; c++) x[c] = (double)h->sum[at + (size_t)c];
        ref_gradient(dx, x, h->scale, h->dy + at, C, p->kind);
        const double inverse = ref_stats(x, C, p->kind).inverse;
        for (int c = 0; c < C; c++) {
            const double extra = p->extra ? (double)h->extra[at + (size_t)c] : 0;
            dx[c] += extra;
            // dy * scale is at most 2; mean and inverse have the rounding of sums. With one column
            // everything cancels, and the inverse is large.
            bound[c] = FLT_EPSILON * (32 * inverse * 2 + 2 * fabs(extra));
        }
        opkit_widen(bound, dx, (size_t)C, p->dtype);
        opkit_compare(what, h->out_dsum + at, dx, bound, (size_t)C);
        if (!p->dx) continue;
        for (int c = 0; c < C; c++) {
            const double drop = ref_dropout((uint32_t)r, (uint32_t)c, &p->dropout);
            dx[c] = (double)h->out_dsum[at + (size_t)c] * drop;
            bound[c] = p->dropout.rate > 0 ? FLT_EPSILON * fabs(dx[c]) : 0;
        }
        // Twice: dx was made of what dsum was before its rounding.
        for (int i = 0; i < 2; i++) opkit_widen(bound, dx, (size_t)C, p->dtype);
        opkit_compare(what, h->out_dx + at, dx, bound, (size_t)C);
    }
    free(x), free(dx), free(bound);
}

static void check_parameters(const problem *p, const host *h, const char *what) {
    const int C = p->width;
    double *x = malloc(sizeof *x * (size_t)C), *sums = calloc(4 * (size_t)C, sizeof *sums);
    double *dscale = sums, *dbias = sums + C, *scale_bound = sums + 2 * C,
           *bias_bound = sums + 3 * C;
    for (int r = 0; r < p->rows; r++) {
        const size_t at = (size_t)r * (size_t)C;
        for (int c = 0; c < C; c++) x[c] = (double)h->sum[at + (size_t)c];
        const row_stats s = ref_stats(x, C, p->kind);
        for (int c = 0; c < C; c++) {
            const double d = (double)h->dy[at + (size_t)c], n = (x[c] - s.mean) * s.inverse;
            dscale[c] += d * n;
            dbias[c] += d;
            // The mean is off by the rounding of its sum.
            scale_bound[c] += FLT_EPSILON * fabs(d) * (16 * fabs(n) + 4 * s.inverse);
            bias_bound[c] += FLT_EPSILON * fabs(d) * 8;
        }
    }
    for (int c = 0; c < C; c++) {
        dscale[c] += (double)h->dscale[c];
        dbias[c] = (p->bias ? dbias[c] : 0) + (double)h->dbias[c];
        scale_bound[c] += FLT_EPSILON * 4;
        bias_bound[c] = p->bias ? bias_bound[c] + FLT_EPSILON * 4 : 0;
    }
    opkit_compare(what, h->out_dscale, dscale, scale_bound, (size_t)C);
    opkit_compare(what, h->out_dbias, dbias, bias_bound, (size_t)C);
    free(x), free(sums);
}

static void run_problem(clf_device *device, const problem *p) {
    char what[128];
    snprintf(what, sizeof what, "kind %d, (%d, %d), bias %d extra %d in dsum %d dx %d rate %g",
             p->kind, p->rows, p->width, p->bias, p->extra, p->extra_is_dsum, p->dx,
             (double)p->dropout.rate);
    host h = make_host(p);
    compute(device, p, &h);
    check_rows(p, &h, what);
    check_parameters(p, &h, what);
    free_host(&h);
}

static void shapes_on(clf_device *device) {
    static const int widths[] = {1, 3, 17, 64, 65, 100, 256}, rows[] = {1, 7, 61, 300};
    for (int w = 0, turn = 0; w < 7; w++) {
        for (int flags = 0; flags < 8; flags++, turn++) {
            problem p = {.rows = rows[turn % 7 % 4],
                         .width = widths[w],
                         .kind = turn % 3 ? CLF_NORM_LAYER : CLF_NORM_RMS,
                         .bias = turn % 5 > 1,
                         .extra = flags & 1,
                         .extra_is_dsum = flags & 2,
                         .dx = flags & 4};
            if (turn / 2 % 2) p.dropout = (clf_dropout){0.2f, 11, 12, 0x1111222233334444u};
            run_problem(device, &p);
        }
    }
}

static void test_shapes(void) {
    clf_test_each_device(shapes_on);
}

static void half_on(clf_device *device) {
    static const int widths[] = {1, 17, 65, 100};
    for (int turn = 0; turn < 16; turn++) {
        problem p = {.rows = turn % 3 ? 61 : 7,
                     .width = widths[turn % 4],
                     .bias = true,
                     .extra = turn % 2,
                     .extra_is_dsum = turn % 3 == 1,
                     .dx = turn / 8 || turn % 5 % 2,
                     .dtype = CLF_F16};
        if (turn / 8) p.dropout = (clf_dropout){0.2f, 11, 12, 0x1111222233334444u};
        run_problem(device, &p);
    }
}

static void test_half(void) {
    clf_test_each_device(half_on);
}

static void repeat_on(clf_device *device) {
    const problem p = {
        .rows = 131, .width = 100, .bias = true, .dx = true, .dropout = {.rate = 0.1f, .seed = 5}};
    host a = make_host(&p), b = make_host(&p);
    const size_t bytes = sizeof(float) * (size_t)p.width, all = bytes * (size_t)p.rows;
    compute(device, &p, &a);
    compute(device, &p, &b);
    CU_ASSERT_EQUAL(memcmp(a.out_dsum, b.out_dsum, all), 0);
    CU_ASSERT_EQUAL(memcmp(a.out_dx, b.out_dx, all), 0);
    CU_ASSERT_EQUAL(memcmp(a.out_dscale, b.out_dscale, bytes), 0);
    CU_ASSERT_EQUAL(memcmp(a.out_dbias, b.out_dbias, bytes), 0);
    free_host(&a);
    free_host(&b);
}

static void test_repeat(void) {
    clf_test_each_device(repeat_on);
}

static void bad_shapes_on(clf_device *device) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    clf_tensor x = clf_arena_take(&kit.run, kit.arena, 3, 8, CLF_F32);
    clf_tensor row = clf_arena_take(&kit.run, kit.arena, 1, 8, CLF_F32);
    clf_tensor stats = clf_arena_take(&kit.run, kit.arena, 3, 2, CLF_F32);
    clf_norm norm = {.epsilon = 1, .scale = row, .stats = stats};
    clf_norm_gradient g = {.dy = x, .dsum = x, .dscale = row, .scratch = kit.arena};
    clf_op_norm_backward(&kit.run, norm, g);
    opkit_expect_argument_error(&kit, "norm_backward: sum is an absent");
    norm.sum = x;
    norm.stats = x;
    clf_op_norm_backward(&kit.run, norm, g);
    opkit_expect_argument_error(&kit, "norm_backward: stats");
    norm.stats = stats;
    norm.dropout.rate = 0.5f;
    g.dx = x;
    clf_op_norm_backward(&kit.run, norm, g);
    opkit_expect_argument_error(&kit, "norm_backward: dx is dsum");
    opkit_finish(&kit);
}

static void test_bad_shapes(void) {
    clf_test_each_device(bad_shapes_on);
}

typedef struct bench {
    clf_norm norm;
    clf_norm_gradient g;
} bench;

static void launch(clf_run *run, void *user) {
    const bench *b = user;
    clf_op_norm_backward(run, b->norm, b->g);
}

static void bench_on(clf_device *device) {
    enum { R = 3500, C = 512 };
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    clf_tensor t[5];
    for (int i = 0; i < 5; i++) {
        t[i] = clf_arena_take(&kit.run, kit.arena, R, C, CLF_F32);
        clf_fill_zero(&kit.run, t[i]);
    }
    bench b = {.norm = {.sum = t[0]}, .g = {.dy = t[1], .extra = t[2], .dsum = t[3]}};
    b.norm.stats = clf_arena_take(&kit.run, kit.arena, R, 2, CLF_F32);
    b.norm.scale = clf_arena_take(&kit.run, kit.arena, 1, C, CLF_F32);
    b.g.dscale = clf_arena_take(&kit.run, kit.arena, 1, C, CLF_F32);
    b.g.dbias = clf_arena_take(&kit.run, kit.arena, 1, C, CLF_F32);
    b.g.scratch = kit.arena;
    clf_fill_zero(&kit.run, b.norm.stats);
    clf_fill_zero(&kit.run, b.norm.scale);
    clf_fill_zero(&kit.run, b.g.dscale);
    clf_fill_zero(&kit.run, b.g.dbias);
    opkit_bench(&kit, "layer norm (3500, 512), backward", 16.0 * R * C, 16.0 * R * C, launch, &b);
    b.g.dx = t[4];
    b.norm.dropout.rate = 0.1f;
    opkit_bench(&kit, "the same with dropout", 20.0 * R * C, 16.0 * R * C, launch, &b);
    opkit_finish(&kit);
}

static void test_bench(void) {
    if (!clf_test_bench) return;
    clf_test_each_device(bench_on);
}

static const clf_test tests[] = {
    {"reference", test_reference}, {"shapes", test_shapes},         {"half", test_half},
    {"repeat", test_repeat},       {"bad shapes", test_bad_shapes}, {"bench", test_bench}};
CLF_TEST_MAIN("op-norm-backward", tests)
