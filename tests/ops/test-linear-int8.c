// SPDX-License-Identifier: MIT
// Products with int8 weights, every kind that the device has. Where x and w are multiples of a
// scale that rounding to int8 finds, nothing is rounded, and the bounds are those of float sums;
// random numbers are then off by what rounding may do at most.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "harness.h"
#include "ops/linear.h"
#include "ops/linearkit.h"
#include "ops/opkit.h"
#include "ref/ref_linear.h"

typedef struct problem {
    int rows, k, n;
    bool bias, residual;
    clf_activation activation;
    clf_int8 kind;
} problem;

// Rows of integers in [-limit, limit] over 128, each with one of the largest.
static float *whole_numbers(clf_rng *rng, int rows, int cols, int limit) {
    float *data = malloc(sizeof *data * (size_t)rows * (size_t)cols);
    for (int r = 0; r < rows; r++) {
        float *row = data + r * cols;
        for (int c = 0; c < cols; c++)
            row[c] = (float)((int)clf_rng_below(rng, 2 * (uint32_t)limit + 1) - limit) / 128;
        row[clf_rng_below(rng, (uint32_t)cols)] = (r % 2 ? -limit : limit) / 128.0f;
    }
    return data;
}

// In two pieces, as fused projections are stored.
static clf_weight put_weight(opkit *kit, const float *w, const problem *p) {
    const clf_weight weight = clf_weight_take_int8(&kit->run, kit->arena, p->k, p->n, p->kind);
    const int first = p->n / 2;
    clf_piece piece = {.data = w, .dtype = CLF_F32, .rows = first, .cols = p->k};
    if (first > 0) clf_weight_write(&kit->run, weight, 0, &piece, kit->arena);
    piece.data = w + first * p->k;
    piece.rows = p->n - first;
    clf_weight_write(&kit->run, weight, first, &piece, kit->arena);
    return weight;
}

static void describe(char what[96], const problem *p) {
    snprintf(what, 96, "%s, (%d, %d) . (%d, %d), bias %d, residual %d, activation %d",
             clf_int8_name(p->kind), p->rows, p->k, p->k, p->n, p->bias, p->residual,
             (int)p->activation);
}

static void multiply(clf_device *device, const problem *p) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    const size_t count = (size_t)p->rows * (size_t)p->n;
    clf_rng rng = {(uint64_t)(p->rows + 10 * p->k + 100 * p->n)};
    float *x = whole_numbers(&rng, p->rows, p->k, 127);
    float *w = whole_numbers(&rng, p->n, p->k, clf_int8_limit(p->kind));
    float *bias = opkit_numbers(&rng, (size_t)p->n, 1, 0), *y = malloc(sizeof *y * count);
    float *residual = opkit_numbers(&rng, count, 1, 0);
    double *expected = malloc(sizeof *expected * count), *bound = malloc(sizeof *bound * count);
    char what[96];
    describe(what, p);

    opkit_guarded gx = opkit_put(&kit, p->rows, p->k, CLF_F32, x);
    opkit_guarded gy = opkit_put(&kit, p->rows, p->n, CLF_F32, NULL);
    opkit_guarded gr = opkit_put(&kit, p->rows, p->n, CLF_F32, residual);
    opkit_guarded gb = opkit_put(&kit, 1, p->n, CLF_F32, bias);
    const clf_weight weight = put_weight(&kit, w, p);
    clf_linear epilogue = {.activation = p->activation, .scratch = kit.arena};
    if (p->bias) epilogue.bias = gb.view;
    if (p->residual) epilogue.residual = gr.view;
    clf_op_linear(&kit.run, gy.view, gx.view, weight, epilogue);
    opkit_get(&kit, &gy, y);
    ref_linear(expected, bound, x, w, p->bias ? bias : NULL, p->residual ? residual : NULL, p->rows,
               p->k, p->n, p->activation);
    opkit_compare(what, y, expected, bound, count);
    opkit_drop(&gx), opkit_drop(&gr), opkit_drop(&gb);
    free(x), free(w), free(bias), free(residual), free(y), free(expected), free(bound);
    opkit_finish(&kit);
}

static void products_on(clf_device *device) {
    static const int sizes[][3] = {{1, 1, 1},      {1, 64, 48}, {5, 35, 33},
                                   {13, 130, 100}, {40, 9, 17}, {83, 192, 150}};
    for (int kind = 0; kind < CLF_INT8_KINDS; kind++) {
        if (!linearkit_has_int8(device, (clf_int8)kind)) continue;
        for (int i = 0; i < 6; i++) {
            const problem p = {.rows = sizes[i][0],
                               .k = sizes[i][1],
                               .n = sizes[i][2],
                               .bias = i % 2 == 0,
                               .residual = i == 3,
                               .activation = i == 4   ? CLF_ACT_SILU
                                             : i == 2 ? CLF_ACT_RELU
                                                      : CLF_ACT_NONE,
                               .kind = (clf_int8)kind};
            multiply(device, &p);
        }
    }
}

static void test_products(void) {
    clf_test_each_device(products_on);
}

// y +- half a unit of each number: |dx w| + |x dw| + |dx dw| summed.
static void bound_rounding(double *expected, double *bound, const float *x, const float *w,
                           const problem *p) {
    for (int r = 0; r < p->rows; r++) {
        for (int c = 0; c < p->n; c++) {
            double sum = 0, x_top = 0, w_top = 0, xs = 0, ws = 0;
            for (int k = 0; k < p->k; k++) {
                const double a = x[r * p->k + k], b = w[c * p->k + k];
                sum += a * b;
                xs += fabs(a), ws += fabs(b);
                x_top = fmax(x_top, fabs(a)), w_top = fmax(w_top, fabs(b));
            }
            const double dx = p->kind == CLF_INT8_PLAIN ? 0 : x_top / 127 / 2;
            const double dw = w_top / clf_int8_limit(p->kind) / 2;
            expected[r * p->n + c] = sum;
            bound[r * p->n + c] = 1.0001 * (xs * dw + ws * dx + p->k * dx * dw) + 1e-5 * xs * w_top;
        }
    }
}

// Random numbers, through clf_op_quantize and a part of the columns.
static void rounding_on(clf_device *device) {
    for (int kind = 0; kind < CLF_INT8_KINDS; kind++) {
        if (!linearkit_has_int8(device, (clf_int8)kind)) continue;
        const problem p = {.rows = 6, .k = 77, .n = 60, .kind = (clf_int8)kind};
        opkit kit;
        if (!opkit_init(&kit, device)) return;
        clf_rng rng = {7};
        float *x = opkit_numbers(&rng, 6 * 77, 3, 0), *w = opkit_numbers(&rng, 60 * 77, 1, 0.1f);
        float y[6 * 28];
        double expected[6 * 60], bound[6 * 60], part[6 * 28], part_bound[6 * 28];
        opkit_guarded gx = opkit_put(&kit, 6, 77, CLF_F32, x);
        opkit_guarded gy = opkit_put(&kit, 6, 28, CLF_F32, NULL);
        const clf_weight weight = put_weight(&kit, w, &p);
        clf_op_linear(
            &kit.run, gy.view, gx.view, clf_weight_cols(weight, 32, 28),
            (clf_linear){.quantized = clf_op_quantize(&kit.run, kit.arena, gx.view, weight)});
        opkit_get(&kit, &gy, y);
        bound_rounding(expected, bound, x, w, &p);
        for (int i = 0; i < 6 * 28; i++) {
            part[i] = expected[i / 28 * 60 + 32 + i % 28];
            part_bound[i] = bound[i / 28 * 60 + 32 + i % 28];
        }
        opkit_compare(clf_int8_name(p.kind), y, part, part_bound, 6 * 28);
        opkit_drop(&gx);
        free(x), free(w);
        opkit_finish(&kit);
    }
}

static void test_rounding(void) {
    clf_test_each_device(rounding_on);
}

// A row that is not a number gives no number; the others do not suffer.
static void not_numbers_on(clf_device *device) {
    for (int kind = 0; kind < CLF_INT8_KINDS; kind++) {
        if (!linearkit_has_int8(device, (clf_int8)kind)) continue;
        const problem p = {.rows = 3, .k = 20, .n = 20, .kind = (clf_int8)kind};
        opkit kit;
        if (!opkit_init(&kit, device)) return;
        clf_rng rng = {3};
        float *x = whole_numbers(&rng, 3, 20, 127);
        float *w = whole_numbers(&rng, 20, 20, clf_int8_limit(p.kind)), y[60];
        x[20 + 4] = NAN;
        opkit_guarded gx = opkit_put(&kit, 3, 20, CLF_F32, x);
        opkit_guarded gy = opkit_put(&kit, 3, 20, CLF_F32, NULL);
        clf_op_linear(&kit.run, gy.view, gx.view, put_weight(&kit, w, &p),
                      (clf_linear){.scratch = kit.arena});
        opkit_get(&kit, &gy, y);
        for (int i = 0; i < 60; i++) CU_ASSERT_EQUAL(isnan(y[i]) != 0, i / 20 == 1);
        opkit_drop(&gx);
        free(x), free(w);
        opkit_finish(&kit);
    }
}

static void test_not_numbers(void) {
    clf_test_each_device(not_numbers_on);
}

// The numbers of an int8 file come back: as scales they have the file's.
static void files_on(clf_device *device) {
    enum { V = 5, C = 12 };
    for (int kind = 0; kind < CLF_INT8_KINDS; kind++) {
        if (!linearkit_has_int8(device, (clf_int8)kind) || kind == CLF_INT8_MADDUBS) continue;
        opkit kit;
        if (!opkit_init(&kit, device)) return;
        int8_t data[V * C];
        float scales[V], got[V * C];
        int32_t ids[V];
        for (int i = 0; i < V * C; i++) data[i] = (int8_t)(i % C == 3 ? -127 : i * 37 % 255 - 127);
        for (int i = 0; i < V; i++) scales[i] = 10.0f + (float)i, ids[i] = i;
        const clf_weight w = clf_weight_take_int8(&kit.run, kit.arena, C, V, (clf_int8)kind);
        const clf_piece piece = {data, CLF_I8, V, C, scales, V, true};
        clf_weight_write(&kit.run, w, 0, &piece, kit.arena);
        opkit_guarded gi = opkit_put(&kit, 1, V, CLF_I32, ids);
        opkit_guarded gy = opkit_put(&kit, V, C, CLF_F32, NULL);
        clf_op_embed(&kit.run, gy.view, w, gi.view, (clf_tensor){0}, (clf_tensor){0}, 2);
        opkit_get(&kit, &gy, got);
        for (int i = 0; i < V * C; i++)
            CU_ASSERT_DOUBLE_EQUAL(got[i], 2.0 * data[i] / scales[i / C], 1e-5);
        opkit_drop(&gi);
        opkit_finish(&kit);
    }
}

static void test_files(void) {
    clf_test_each_device(files_on);
}

static const clf_test tests[] = {
    {"products", test_products},
    {"rounding", test_rounding},
    {"rows that are no numbers", test_not_numbers},
    {"files", test_files},
};
CLF_TEST_MAIN("op-linear-int8", tests)
