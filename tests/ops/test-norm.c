// SPDX-License-Identifier: MIT
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "ops/opkit.h"
#include "ops/ops.h"
#include "ref/ref_philox.h"
#include "ref/ref_rows.h"

typedef struct problem {
    int rows, width;
    clf_norm_kind kind;
    bool bias, residual, sum, in_place; // in_place: y is x, and sum is residual
    float range, shift;
    bool stats;
    clf_dropout dropout;
    clf_dtype dtype;
} problem;

// What norm reads: dropout(x) + residual, rounded as a device without fma does.
static float *add(const problem *p, const float *x, const float *residual) {
    const size_t count = (size_t)p->rows * (size_t)p->width;
    float *sum = malloc(sizeof *sum * count);
    for (size_t i = 0; i < count; i++) {
        const uint32_t row = (uint32_t)(i / (size_t)p->width);
        sum[i] = x[i] * (float)ref_dropout(row, (uint32_t)(i % (size_t)p->width), &p->dropout);
        if (residual) sum[i] += residual[i];
    }
    opkit_round(sum, count, p->dtype);
    return sum;
}

static void check(const problem *p, const float *y, const float *sum, const float *scale,
                  const float *bias) {
    const size_t count = (size_t)p->rows * (size_t)p->width;
    double *expected = malloc(sizeof *expected * count), *bound = malloc(sizeof *bound * count);
    for (int r = 0; r < p->rows; r++) {
        const size_t at = (size_t)r * (size_t)p->width;
        ref_norm(expected + at, bound + at, sum + at, scale, bias, p->width, p->kind, 1e-5f);
    }
    char what[128];
    snprintf(what, sizeof what, "kind %d, (%d, %d), bias %d residual %d sum %d in place %d",
             p->kind, p->rows, p->width, p->bias, p->residual, p->sum, p->in_place);
    opkit_widen(bound, expected, count, p->dtype);
    opkit_compare(what, y, expected, bound, count);
    free(expected);
    free(bound);
}

// With dropout the device may use fma, after which another half may be the nearest.
static void check_sum(const problem *p, const float *sum, const float *expected) {
    const size_t count = (size_t)p->rows * (size_t)p->width;
    const float step = p->dtype == CLF_F16 ? 0x1p-10f : FLT_EPSILON;
    const float scale = p->dropout.rate > 0 ? step * 4 * p->range : 0;
    int wrong = 0;
    for (size_t i = 0; i < count; i++) wrong += !(fabsf(sum[i] - expected[i]) <= scale);
    CU_ASSERT_EQUAL(wrong, 0);
}

// `sum` is what the rows' statistics are of.
static void check_stats(const problem *p, const float *stats, const float *sum) {
    for (int r = 0; r < p->rows; r++) {
        const float *row = sum + (size_t)r * (size_t)p->width;
        double mean = 0, variance = 0;
        for (int c = 0; c < p->width && p->kind == CLF_NORM_LAYER; c++)
            mean += (double)row[c] / p->width;
        for (int c = 0; c < p->width; c++)
            variance += ((double)row[c] - mean) * ((double)row[c] - mean) / p->width;
        const double inverse = 1 / sqrt(variance + (double)1e-5f);
        CU_ASSERT(fabs((double)stats[2 * r] - mean) <= 1e-5 * (double)p->range);
        CU_ASSERT(fabs((double)stats[2 * r + 1] - inverse) <= 2e-5 * inverse);
    }
}

static void run_problem(clf_device *device, const problem *p) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    clf_rng rng = {(uint64_t)(p->rows * 1009 + p->width)};
    const size_t count = (size_t)p->rows * (size_t)p->width, width = (size_t)p->width;
    float *x = opkit_numbers(&rng, count, p->range, p->shift);
    float *residual = p->residual ? opkit_numbers(&rng, count, p->range, 0) : NULL;
    float *scale = opkit_numbers(&rng, width, 2, 0), *bias = opkit_numbers(&rng, width, 2, 0);
    opkit_round(x, count, p->dtype);
    if (residual) opkit_round(residual, count, p->dtype);
    float *expected_sum = add(p, x, residual), *out = malloc(sizeof *out * (count + 1));

    opkit_guarded dx = opkit_put(&kit, p->rows, p->width, p->dtype, x);
    opkit_guarded dy = opkit_put(&kit, p->rows, p->width, p->dtype, NULL);
    opkit_guarded dr = opkit_put(&kit, p->rows, p->width, p->dtype, residual);
    opkit_guarded ds = opkit_put(&kit, p->rows, p->width, p->dtype, NULL);
    opkit_guarded dscale = opkit_put(&kit, 1, p->width, CLF_F32, scale);
    opkit_guarded dbias = opkit_put(&kit, 1, p->width, CLF_F32, bias);
    opkit_guarded *y = p->in_place ? &dx : &dy;
    opkit_guarded *sum = p->in_place && p->residual ? &dr : &ds;
    opkit_guarded dstats = opkit_put(&kit, p->rows, 2, CLF_F32, NULL);
    clf_norm norm = {
        .kind = p->kind, .epsilon = 1e-5f, .scale = dscale.view, .dropout = p->dropout};
    if (p->stats) norm.stats = dstats.view;
    if (p->bias) norm.bias = dbias.view;
    if (p->residual) norm.residual = dr.view;
    if (p->sum) norm.sum = sum->view;
    clf_op_norm(&kit.run, y->view, dx.view, norm);

    if (p->sum) {
        opkit_get(&kit, sum, out);
        check_sum(p, out, expected_sum);
        memcpy(expected_sum, out, sizeof *out * count); // what y is made of
    }
    opkit_get(&kit, y, out);
    check(p, out, expected_sum, scale, p->bias ? bias : NULL);
    if (p->stats) {
        float *stats = malloc(sizeof *stats * 2 * (size_t)p->rows);
        opkit_get(&kit, &dstats, stats);
        check_stats(p, stats, expected_sum);
        free(stats);
    }
    opkit_drop(&dstats), opkit_drop(&dx), opkit_drop(&dy), opkit_drop(&dr), opkit_drop(&ds);
    opkit_drop(&dscale), opkit_drop(&dbias);
    free(x), free(residual), free(scale), free(bias), free(expected_sum), free(out);
    opkit_finish(&kit);
}

static void shapes_on(clf_device *device) {
    static const int widths[] = {1, 3, 8, 17, 64, 100, 513}, rows[] = {1, 2, 7, 65};
    int turn = 0;
    for (int w = 0; w < 7; w++) {
        for (int flags = 0; flags < 16; flags++, turn++) {
            // Every set of flags with every width; rows and kinds take turns.
            const problem p = {.rows = rows[turn / 3 % 4],
                               .width = widths[w],
                               .kind = turn % 3 ? CLF_NORM_LAYER : CLF_NORM_RMS,
                               .bias = flags & 1,
                               .residual = flags & 2,
                               .sum = flags & 4,
                               .in_place = flags & 8,
                               .range = 1};
            run_problem(device, &p);
        }
    }
}

static void test_shapes(void) {
    clf_test_each_device(shapes_on);
}

static void training_on(clf_device *device) {
    static const int widths[] = {1, 3, 17, 64, 65, 100, 256}, rows[] = {1, 2, 7, 65};
    for (int w = 0, turn = 0; w < 7; w++) {
        for (int flags = 0; flags < 8; flags++, turn++) {
            problem p = {.rows = rows[turn / 3 % 4],
                         .width = widths[w],
                         .kind = turn % 3 ? CLF_NORM_LAYER : CLF_NORM_RMS,
                         .bias = true,
                         .residual = flags & 1,
                         .sum = flags & 2,
                         .in_place = flags & 4,
                         .range = 1,
                         .stats = turn % 5};
            if (turn % 4) p.dropout = (clf_dropout){0.3f, 5, 7, 0x123456789abcdef0u};
            run_problem(device, &p);
        }
    }
}

static void test_training(void) {
    clf_test_each_device(training_on);
}

static void half_on(clf_device *device) {
    static const int widths[] = {1, 17, 64, 100};
    for (int turn = 0; turn < 16; turn++) {
        problem p = {.rows = turn % 3 ? 7 : 1,
                     .width = widths[turn % 4],
                     .bias = turn % 3,
                     .residual = turn % 5 % 2,
                     .sum = turn / 8 || turn % 2,
                     .in_place = turn % 7 % 2,
                     .range = 1,
                     .stats = turn / 4 % 2,
                     .dtype = CLF_F16};
        if (turn / 8) p.dropout = (clf_dropout){0.3f, 5, 7, 0x123456789abcdef0u};
        run_problem(device, &p);
    }
}

static void test_half(void) {
    clf_test_each_device(half_on);
}

static void extremes_on(clf_device *device) {
    for (int kind = 0; kind < 2; kind++) {
        problem p = {.rows = 3, .width = 100, .kind = (clf_norm_kind)kind, .bias = true};
        p.shift = 1e4f; // constant rows: the variance is zero
        run_problem(device, &p);
        p.range = 1; // a mean that E[x^2] - E[x]^2 would not survive
        run_problem(device, &p);
        p.range = 1e15f, p.shift = 0;
        run_problem(device, &p);
        p.range = 1e-15f; // epsilon rules
        run_problem(device, &p);
    }
}

static void test_extremes(void) {
    clf_test_each_device(extremes_on);
}

static void bad_shapes_on(clf_device *device) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    clf_tensor x = clf_arena_take(&kit.run, kit.arena, 3, 8, CLF_F32);
    clf_tensor scale = clf_arena_take(&kit.run, kit.arena, 1, 8, CLF_F32);
    clf_tensor ids = clf_arena_take(&kit.run, kit.arena, 1, 8, CLF_I32);
    clf_norm norm = {.epsilon = 1, .scale = scale};
    clf_op_norm(&kit.run, x, clf_tensor_cols(x, 0, 7), norm);
    opkit_expect_argument_error(&kit, "norm: x");
    clf_op_norm(&kit.run, x, x, (clf_norm){.epsilon = 1});
    opkit_expect_argument_error(&kit, "norm: scale is an absent");
    norm.bias = ids;
    clf_op_norm(&kit.run, x, x, norm);
    opkit_expect_argument_error(&kit, "norm: bias is a (1, 8) int32");
    norm.bias = (clf_tensor){0};
    clf_op_norm(&kit.run, clf_tensor_rows(x, 0, 0), clf_tensor_rows(x, 0, 0), norm);
    opkit_finish(&kit); // no rows: nothing to do
}

static void test_bad_shapes(void) {
    clf_test_each_device(bad_shapes_on);
}

typedef struct bench {
    clf_tensor y, x;
    clf_norm norm;
} bench;

static void launch(clf_run *run, void *user) {
    const bench *b = user;
    clf_op_norm(run, b->y, b->x, b->norm);
}

static void bench_on(clf_device *device) {
    static const int rows[] = {1, 32, 1024, 3500, 3500};
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    for (int i = 0; i < 5; i++) {
        const bool training = i == 4;
        bench b = {.x = clf_arena_take(&kit.run, kit.arena, rows[i], 512, CLF_F32)};
        b.y = clf_arena_take(&kit.run, kit.arena, rows[i], 512, CLF_F32);
        b.norm.scale = clf_arena_take(&kit.run, kit.arena, 1, 512, CLF_F32);
        b.norm.bias = clf_arena_take(&kit.run, kit.arena, 1, 512, CLF_F32);
        clf_fill_zero(&kit.run, b.x);
        if (training) {
            b.norm.residual = clf_arena_take(&kit.run, kit.arena, rows[i], 512, CLF_F32);
            b.norm.sum = clf_arena_take(&kit.run, kit.arena, rows[i], 512, CLF_F32);
            b.norm.stats = clf_arena_take(&kit.run, kit.arena, rows[i], 2, CLF_F32);
            b.norm.dropout.rate = 0.1f;
            clf_fill_zero(&kit.run, b.norm.residual);
        }
        char name[64];
        snprintf(name, sizeof name, "layer norm (%d, 512)%s", rows[i],
                 training ? " with dropout" : "");
        opkit_bench(&kit, name, (training ? 16.0 : 8.0) * rows[i] * 512, 8.0 * rows[i] * 512,
                    launch, &b);
    }
    opkit_finish(&kit);
}

static void test_bench(void) {
    if (!clf_test_bench) return;
    clf_test_each_device(bench_on);
}

static const clf_test tests[] = {
    {"shapes", test_shapes},     {"training", test_training},     {"half", test_half},
    {"extremes", test_extremes}, {"bad shapes", test_bad_shapes}, {"bench", test_bench}};
CLF_TEST_MAIN("op-norm", tests)
