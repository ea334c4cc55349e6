// SPDX-License-Identifier: MIT
// Products on matrix units: the device's where a trial allows it, else the emulated one, which
// tests all of cl/linear_matrix*.cl but the instruction.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/rng.h"
#include "harness.h"
#include "ops/linear.h"
#include "ops/linearkit.h"
#include "ops/opkit.h"

// Few rows, of few columns too; K shared by 16 warps; then tiles, on a device with few compute
// units.
static const int sizes[][3] = {{1, 5, 3},     {20, 270, 13}, {7, 1030, 16},
                               {16, 64, 40},  {19, 36, 100}, {3, 1027, 33},
                               {67, 44, 230}, {33, 20, 161}, {131, 37, 258}};
#define SIZES ((int)(sizeof sizes / sizeof *sizes))

// The kernels do not depend on the shape of the others, and take long to build on a CPU.
static bool is_gpu(const clf_device *device) {
    return clf_device_profile(device)->lanes > 1;
}

static void products_on(clf_device *device) {
    if (!is_gpu(device)) return;
    for (int i = 0; i < 2 * SIZES; i++) {
        const int *size = sizes[i / 2];
        const linear_problem p = {.rows = size[0],
                                  .k = size[1],
                                  .n = size[2],
                                  .bias = i % 3 == 0,
                                  .residual = i % 4 < 2,
                                  .gemm = CLF_GEMM_MATRIX,
                                  .aligned = i % 2,
                                  .activation = CLF_ACT_RELU};
        linearkit_multiply(device, &p);
    }
}

static void test_products(void) {
    clf_test_each_device(products_on);
}

static void halfs_on(clf_device *device) {
    if (!is_gpu(device)) return;
    static const clf_dtype types[][3] = {
        {CLF_F16, CLF_F16, CLF_F16}, {CLF_F32, CLF_F16, CLF_F32}, {CLF_F16, CLF_F32, CLF_F32}};
    for (int i = 0; i < 6; i++) {
        const int *size = sizes[i % 2 ? 2 : 4];
        const clf_dtype *type = types[i / 2];
        const linear_problem p = {.rows = size[0],
                                  .k = size[1],
                                  .n = size[2],
                                  .x = type[0],
                                  .w = type[1],
                                  .y = type[2],
                                  .residual = true,
                                  .gemm = CLF_GEMM_MATRIX,
                                  .aligned = i / 2 == 0};
        linearkit_multiply(device, &p);
    }
}

static void test_halfs(void) {
    clf_test_each_device(halfs_on);
}

static void differentiate(clf_device *device, const int shapes[][3], int count) {
    for (int i = 0; i < 2 * count && is_gpu(device); i++) {
        const int *shape = shapes[i / 2];
        const linear_problem p = {.rows = shape[0],
                                  .k = shape[1],
                                  .n = shape[2],
                                  .x = i % 4 == 3 ? CLF_F16 : CLF_F32,
                                  .y = i % 4 == 3 ? CLF_F16 : CLF_F32,
                                  .gemm = CLF_GEMM_MATRIX,
                                  .aligned = i % 2};
        linearkit_differentiate(device, &p);
    }
}

static void small_gradients_on(clf_device *device) {
    static const int shapes[][3] = {{1, 1, 1}, {31, 7, 17}};
    differentiate(device, shapes, 2);
}

static void test_small_gradients(void) {
    clf_test_each_device(small_gradients_on);
}

// Slices of the rows; several tiles.
static void gradients_on(clf_device *device) {
    static const int shapes[][3] = {{600, 36, 100}, {40, 131, 260}};
    differentiate(device, shapes, 2);
}

static void test_gradients(void) {
    clf_test_each_device(gradients_on);
}

enum { K = 36, N = 230 };

// y (rows, N) = relu(x (rows, K) . w), w (N, K) becoming a weight of this type.
static void multiply(clf_device *device, clf_gemm gemm, clf_dtype type, const float *x,
                     const float *w, int rows, float *y) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    const clf_tensor tx = clf_arena_take(&kit.run, kit.arena, rows, K, CLF_F32);
    const clf_tensor ty = clf_arena_take(&kit.run, kit.arena, rows, N, CLF_F32);
    const clf_weight weight = type == CLF_I8
                                  ? clf_weight_take_int8(&kit.run, kit.arena, K, N, CLF_INT8_PLAIN)
                                  : clf_weight_take(&kit.run, kit.arena, K, N);
    const clf_piece piece = {.data = w, .dtype = CLF_F32, .rows = N, .cols = K};
    clf_weight_write(&kit.run, weight, 0, &piece, kit.arena);
    opkit_write(&kit, tx, x);
    clf_linear_run(&kit.run, gemm, ty, tx, weight, (clf_linear){.activation = CLF_ACT_RELU});
    opkit_read(&kit, ty, y);
    opkit_finish(&kit);
}

// The same sums as the panel kernel's, in another order.
static void int8_on(clf_device *device) {
    static const int rows[] = {3, 66};
    for (int i = 0; i < 2 && is_gpu(device); i++) {
        const size_t count = (size_t)rows[i] * N;
        clf_rng rng = {9};
        float *x = opkit_numbers(&rng, (size_t)rows[i] * K, 1, 0);
        float *w = opkit_numbers(&rng, (size_t)N * K, 1, 0), *y = malloc(sizeof *y * count);
        double *expected = malloc(sizeof *expected * count), *bound = malloc(sizeof *bound * count);
        multiply(device, CLF_GEMM_PANEL, CLF_I8, x, w, rows[i], y);
        for (size_t j = 0; j < count; j++) expected[j] = y[j], bound[j] = K * 0x1p-22;
        multiply(device, CLF_GEMM_MATRIX, CLF_I8, x, w, rows[i], y);
        opkit_compare("int8 weights", y, expected, bound, count);
        free(x), free(w), free(y), free(expected), free(bound);
    }
}

static void test_int8(void) {
    clf_test_each_device(int8_on);
}

// A number that is none stays in its row.
static void nan_on(clf_device *device) {
    static const int rows[] = {5, 70};
    for (int i = 0; i < 2 && is_gpu(device); i++) {
        clf_rng rng = {6};
        float *x = opkit_numbers(&rng, (size_t)rows[i] * K, 1, 0);
        float *w = opkit_numbers(&rng, (size_t)N * K, 1, 0);
        float *y = malloc(sizeof *y * (size_t)rows[i] * N);
        x[3 * K + 11] = NAN;
        multiply(device, CLF_GEMM_MATRIX, CLF_F32, x, w, rows[i], y);
        for (int j = 0; j < rows[i] * N; j++) CU_ASSERT_EQUAL(isnan(y[j]) != 0, j / N == 3);
        free(x), free(w), free(y);
    }
}

static void test_nan(void) {
    clf_test_each_device(nan_on);
}

static const clf_test tests[] = {
    {"products", test_products},   {"halfs", test_halfs}, {"small gradients", test_small_gradients},
    {"gradients", test_gradients}, {"int8", test_int8},   {"nan", test_nan}};
CLF_TEST_MAIN("op-linear-matrix", tests)
