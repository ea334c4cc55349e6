// SPDX-License-Identifier: MIT
// Products of bfloat16: the device's where a trial allows it, else the emulated ones, which test
// all but the instructions. References in double on the rounded factors; bounds are those of float
// sums.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/rng.h"
#include "harness.h"
#include "ops/linear.h"
#include "ops/linearkit.h"
#include "ops/opkit.h"

static bool is_cpu(const clf_device *device) {
    return clf_device_profile(device)->lanes == 1;
}

static const clf_dtype types[][2] = {{CLF_F16, CLF_F16}, {CLF_F32, CLF_F16}, {CLF_F16, CLF_F32}};

static void products_on(clf_device *device) {
    // Odd numbers of all; two parts of w.
    static const int sizes[][3] = {{1, 1, 1},     {7, 33, 17},  {13, 257, 100},
                                   {29, 64, 144}, {131, 7, 53}, {3, 70001, 37}};
    for (int i = 0; i < 12 && is_cpu(device); i++) {
        const int *size = sizes[i / 2];
        const linear_problem p = {.rows = size[0],
                                  .k = size[1],
                                  .n = size[2],
                                  .x = types[i % 3][0],
                                  .w = CLF_F16,
                                  .y = types[i % 3][1],
                                  .bias = i % 2,
                                  .residual = i % 4 < 2,
                                  .transpose = i % 3 == 1,
                                  .gemm = CLF_GEMM_BFLOAT,
                                  .activation = i % 2 ? CLF_ACT_RELU : CLF_ACT_NONE};
        linearkit_multiply(device, &p);
    }
}

static void test_products(void) {
    clf_test_each_device(products_on);
}

static void gradients_on(clf_device *device) {
    // Slices of the rows, blocks of k and of the columns.
    static const int sizes[][3] = {{1, 1, 1}, {31, 7, 17}, {257, 33, 100}, {600, 220, 301}};
    for (int i = 0; i < 8 && is_cpu(device); i++) {
        const int *size = sizes[i / 2];
        const linear_problem p = {.rows = size[0],
                                  .k = size[1],
                                  .n = size[2],
                                  .x = CLF_F16,
                                  .y = i % 2 ? CLF_F16 : CLF_F32,
                                  .gemm = CLF_GEMM_BFLOAT};
        linearkit_differentiate(device, &p);
    }
}

static void test_gradients(void) {
    clf_test_each_device(gradients_on);
}

enum { ROWS = 300, K = 37, N = 50 };

// y (ROWS, N) = x (ROWS, K) . w, w (N, K) becoming a weight of half.
static void multiply(clf_device *device, bool coarse, const float *x, const float *w, float *y) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    const clf_tensor tx = clf_arena_take(&kit.run, kit.arena, ROWS, K, CLF_F32);
    const clf_tensor ty = clf_arena_take(&kit.run, kit.arena, ROWS, N, CLF_F32);
    const clf_weight weight = clf_weight_take_as(&kit.run, kit.arena, K, N, CLF_F16);
    const clf_piece piece = {.data = w, .dtype = CLF_F32, .rows = N, .cols = K};
    clf_weight_write(&kit.run, weight, 0, &piece, kit.arena);
    opkit_write(&kit, tx, x);
    clf_op_linear(&kit.run, ty, tx, weight, (clf_linear){.scratch = kit.arena, .coarse = coarse});
    opkit_read(&kit, ty, y);
    opkit_finish(&kit);
}

// Only who allows it gets rounded factors, and does where the device has such products.
static void allowed_on(clf_device *device) {
    clf_rng rng = {5};
    float *x = opkit_numbers(&rng, ROWS * K, 1, 0), *w = opkit_numbers(&rng, N * K, 1, 0);
    float *fine = malloc(sizeof *fine * ROWS * N), *coarse = malloc(sizeof *coarse * ROWS * N);
    multiply(device, false, x, w, fine);
    multiply(device, true, x, w, coarse);
    opkit_round(w, N * K, CLF_F16);
    double error = 0, rounding = 0;
    for (int i = 0; i < ROWS * N; i++) {
        double sum = 0, size = 0;
        for (int k = 0; k < K; k++) {
            sum += (double)x[i / N * K + k] * w[i % N * K + k];
            size += fabs((double)x[i / N * K + k] * w[i % N * K + k]);
        }
        error = fmax(error, fabs(fine[i] - sum) / size);
        rounding = fmax(rounding, fabs(coarse[i] - sum) / size);
    }
    clf_run run = clf_run_begin(device);
    CU_ASSERT_TRUE(error < 1e-5);
    CU_ASSERT_TRUE(rounding < 0x1p-7);
    CU_ASSERT_EQUAL(rounding > 1e-4, is_cpu(device) && clf_linear_rounds(&run));
    free(x), free(w), free(fine), free(coarse);
}

static void test_allowed(void) {
    clf_test_each_device(allowed_on);
}

// A number that is none, or infinite, stays in its row and stays what it is.
static void nan_on(clf_device *device) {
    if (!is_cpu(device)) return;
    clf_rng rng = {6};
    float *x = opkit_numbers(&rng, ROWS * K, 1, 0), *w = opkit_numbers(&rng, N * K, 1, 0);
    float *y = malloc(sizeof *y * ROWS * N);
    x[3 * K + 11] = NAN;
    x[5 * K + 36] = INFINITY;
    multiply(device, true, x, w, y);
    for (int i = 0; i < ROWS * N; i++) {
        CU_ASSERT_EQUAL(isnan(y[i]) != 0, i / N == 3);
        CU_ASSERT_EQUAL(isinf(y[i]) != 0, i / N == 5);
    }
    free(x), free(w), free(y);
}

static void test_nan(void) {
    clf_test_each_device(nan_on);
}

static const clf_test tests[] = {{"products", test_products},
                                 {"gradients", test_gradients},
                                 {"allowed", test_allowed},
                                 {"nan", test_nan}};
CLF_TEST_MAIN("op-linear-bfloat", tests)
