// SPDX-License-Identifier: MIT
// Products of halfs and floats, mixed as training mixes them. References in double on the rounded
// inputs; bounds are those of float sums, with the rounding of a half result.
#include <stdio.h>
#include <stdlib.h>

#include "harness.h"
#include "ops/backward.h"
#include "ops/opkit.h"
#include "ref/ref_linear.h"

typedef struct problem {
    int rows, k, n;
    clf_dtype x, w, y; // and the residual's; of a gradient y is dy
    bool bias, residual, transpose;
    clf_activation activation;
} problem;

static float *transposed(const float *data, int rows, int cols) {
    float *t = malloc(sizeof *t * (size_t)rows * (size_t)cols);
    for (int i = 0; i < rows * cols; i++) t[i % cols * rows + i / cols] = data[i];
    return t;
}

static float *rounded(clf_rng *rng, int rows, int cols, clf_dtype dtype) {
    const size_t count = (size_t)rows * (size_t)cols;
    float *data = opkit_numbers(rng, count, 1, 0);
    opkit_round(data, count, dtype);
    return data;
}

// A weight (K, N) of this type from (N, K) on the host.
static clf_weight put_weight(opkit *kit, const float *data, int k, int n, clf_dtype dtype) {
    clf_weight w = clf_weight_take(&kit->run, kit->arena, k, n);
    const clf_piece piece = {.data = data, .dtype = CLF_F32, .rows = n, .cols = k};
    clf_weight_write(&kit->run, w, 0, &piece, kit->arena);
    if (dtype == CLF_F32) return w;
    const clf_weight half = clf_weight_take_as(&kit->run, kit->arena, k, n, dtype);
    clf_op_round(&kit->run, half, w);
    return half;
}

static void describe(char what[96], const problem *p) {
    snprintf(what, 96, "(%d, %d) . (%d, %d), types %d %d %d, bias %d, residual %d, transposed %d",
             p->rows, p->k, p->k, p->n, p->x, p->w, p->y, p->bias, p->residual, p->transpose);
}

static void multiply(clf_device *device, const problem *p) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    const size_t count = (size_t)p->rows * (size_t)p->n;
    clf_rng rng = {(uint64_t)(p->rows + 10 * p->k + 100 * p->n)};
    float *x = rounded(&rng, p->rows, p->k, p->x), *w = rounded(&rng, p->n, p->k, p->w);
    float *residual = rounded(&rng, p->rows, p->n, p->y), *bias = rounded(&rng, 1, p->n, CLF_F32);
    float *wt = transposed(w, p->n, p->k), *y = malloc(sizeof *y * count);
    double *expected = malloc(sizeof *expected * count), *bound = malloc(sizeof *bound * count);
    char what[96];
    describe(what, p);

    opkit_guarded gx = opkit_put(&kit, p->rows, p->k, p->x, x);
    opkit_guarded gy = opkit_put(&kit, p->rows, p->n, p->y, NULL);
    opkit_guarded gr = opkit_put(&kit, p->rows, p->n, p->y, residual);
    opkit_guarded gb = opkit_put(&kit, 1, p->n, CLF_F32, bias);
    clf_weight weight;
    if (p->transpose) {
        const clf_weight other = put_weight(&kit, wt, p->n, p->k, p->w);
        weight = clf_weight_take_transposed(&kit.run, kit.arena, other);
        clf_op_transpose(&kit.run, weight, other);
    } else {
        weight = put_weight(&kit, w, p->k, p->n, p->w);
    }
    clf_linear epilogue = {.activation = p->activation};
    if (p->bias) epilogue.bias = gb.view;
    if (p->residual) epilogue.residual = gr.view;
    clf_op_linear(&kit.run, gy.view, gx.view, weight, epilogue);
    opkit_get(&kit, &gy, y);
    ref_linear(expected, bound, x, w, p->bias ? bias : NULL, p->residual ? residual : NULL, p->rows,
               p->k, p->n, p->activation);
    opkit_widen(bound, expected, count, p->y);
    opkit_compare(what, y, expected, bound, count);
    opkit_drop(&gx), opkit_drop(&gr), opkit_drop(&gb);
    free(x), free(w), free(residual), free(bias), free(wt), free(y), free(expected), free(bound);
    opkit_finish(&kit);
}

// The types of layers, of logits and of the gradient of what logits are made of; then others.
static void products_on(clf_device *device) {
    static const clf_dtype types[][3] = {{CLF_F16, CLF_F16, CLF_F16},
                                         {CLF_F16, CLF_F16, CLF_F32},
                                         {CLF_F32, CLF_F16, CLF_F16},
                                         {CLF_F16, CLF_F32, CLF_F32},
                                         {CLF_F32, CLF_F32, CLF_F16}};
    static const int sizes[][3] = {{1, 1, 1}, {7, 33, 17}, {13, 257, 100}};
    for (int i = 0; i < 5; i++) {
        for (int j = i ? 1 : 0; j < (i ? 2 : 3); j++) {
            const int *size = sizes[j];
            const problem p = {.rows = size[0],
                               .k = size[1],
                               .n = size[2],
                               .x = types[i][0],
                               .w = types[i][1],
                               .y = types[i][2],
                               .bias = (i + j) % 2,
                               .residual = j % 2,
                               .transpose = j == 1};
            multiply(device, &p);
        }
    }
}

static void test_products(void) {
    clf_test_each_device(products_on);
}

static void differentiate(clf_device *device, const problem *p) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    const size_t count = (size_t)p->k * (size_t)p->n;
    clf_rng rng = {(uint64_t)(p->rows + 10 * p->k + 100 * p->n)};
    float *x = rounded(&rng, p->rows, p->k, p->x), *dy = rounded(&rng, p->rows, p->n, p->y);
    float *xt = transposed(x, p->rows, p->k), *dyt = transposed(dy, p->rows, p->n);
    float *out = malloc(sizeof *out * count), *sums = calloc((size_t)p->n, sizeof *sums);
    float *ones = opkit_numbers(&rng, (size_t)p->rows, 0, 1);
    double *expected = malloc(sizeof *expected * count), *bound = malloc(sizeof *bound * count);
    char what[96];
    describe(what, p);

    opkit_guarded gx = opkit_put(&kit, p->rows, p->k, p->x, x);
    opkit_guarded gdy = opkit_put(&kit, p->rows, p->n, p->y, dy);
    opkit_guarded gdb = opkit_put(&kit, 1, p->n, CLF_F32, sums);
    const clf_weight dw = clf_weight_take(&kit.run, kit.arena, p->k, p->n);
    clf_fill_zero(&kit.run, dw.data);
    clf_op_linear_backward(&kit.run, dw, gdb.view, gx.view, gdy.view, kit.arena);
    clf_weight_read(&kit.run, dw, out, kit.arena);
    ref_linear(expected, bound, dyt, xt, NULL, NULL, p->n, p->rows, p->k, CLF_ACT_NONE);
    opkit_compare(what, out, expected, bound, count);
    opkit_get(&kit, &gdb, sums);
    ref_linear(expected, bound, dyt, ones, NULL, NULL, p->n, p->rows, 1, CLF_ACT_NONE);
    opkit_compare(what, sums, expected, bound, (size_t)p->n);
    opkit_drop(&gx), opkit_drop(&gdy);
    free(x), free(dy), free(xt), free(dyt), free(out), free(sums), free(ones);
    free(expected), free(bound);
    opkit_finish(&kit);
}

static void gradients_on(clf_device *device) {
    static const int sizes[][3] = {{1, 1, 1}, {31, 7, 17}, {257, 33, 100}};
    for (int i = 0; i < 3; i++) {
        problem p = {.rows = sizes[i][0], .k = sizes[i][1], .n = sizes[i][2], .x = CLF_F16};
        for (int dy = 0; dy < 2; dy++) {
            p.y = dy ? CLF_F16 : CLF_F32; // of layers, of logits
            differentiate(device, &p);
        }
    }
}

static void test_gradients(void) {
    clf_test_each_device(gradients_on);
}

static void misfits_on(clf_device *device) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    const clf_weight w = clf_weight_take(&kit.run, kit.arena, 4, 4);
    const clf_weight half = clf_weight_take_as(&kit.run, kit.arena, 4, 4, CLF_F16);
    const clf_tensor x = clf_arena_take(&kit.run, kit.arena, 3, 4, CLF_F16);
    const clf_tensor y = clf_arena_take(&kit.run, kit.arena, 3, 4, CLF_F32);
    clf_op_linear(&kit.run, y, x, half, (clf_linear){.residual = x});
    opkit_expect_argument_error(&kit, "linear: residual is a (3, 4) float16");
    clf_op_linear_backward(&kit.run, half, (clf_tensor){0}, x, x, kit.arena);
    opkit_expect_argument_error(&kit, "linear backward: dw");
    clf_op_transpose(&kit.run, half, w);
    opkit_expect_argument_error(&kit, "transpose");
    clf_op_round(&kit.run, w, half);
    opkit_expect_argument_error(&kit, "round: the copy");
    float out[16];
    clf_weight_read(&kit.run, half, out, kit.arena);
    opkit_expect_argument_error(&kit, "read: the weight");
    opkit_finish(&kit);
}

static void test_misfits(void) {
    clf_test_each_device(misfits_on);
}

static const clf_test tests[] = {
    {"products", test_products}, {"gradients", test_gradients}, {"misfits", test_misfits}};
CLF_TEST_MAIN("op-linear-half", tests)
