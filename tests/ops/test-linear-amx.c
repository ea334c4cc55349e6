// SPDX-License-Identifier: MIT
// Products on tile registers: by hand on every CPU, which tests all but the instructions, and with
// those where a trial allows it. References in double: of bfloat16 on the rounded factors.
#include <math.h>
#include <stdlib.h>

#include "base/rng.h"
#include "device/launch.h"
#include "harness.h"
#include "ops/linear.h"
#include "ops/linearkit.h"
#include "ops/opkit.h"
#include "ops/tuning.h"

typedef void test_on(clf_device *device, clf_gemm gemm, bool emulated);

static void force(clf_device *device, clf_matrix_unit unit, clf_bfloat bfloat) {
    clf_run run = clf_run_begin(device);
    clf_linear_state *state = clf_linear_state_get(&run);
    state->unit = unit, state->bfloat = bfloat;
    state->unit_known = state->bfloat_known = true;
}

// Both numbers of parts, both ways.
static void each_kind(clf_device *device, test_on *test) {
    // Work-items pass their loops more often than some devices let them.
    if (clf_device_profile(device)->lanes > 1 || !clf_device_runs_long_loops(device)) return;
    clf_run run = clf_run_begin(device);
    const bool unit = clf_linear_matrix_unit(&run) == CLF_MATRIX_AMX;
    const bool bfloat = clf_linear_bfloat(&run) == CLF_BFLOAT_AMX;
    force(device, CLF_MATRIX_EMULATED, CLF_BFLOAT_AMX_EMULATED);
    test(device, CLF_GEMM_MATRIX, true);
    test(device, CLF_GEMM_BFLOAT, true);
    force(device, CLF_MATRIX_AMX, CLF_BFLOAT_AMX);
    if (unit) test(device, CLF_GEMM_MATRIX, false);
    if (bfloat) test(device, CLF_GEMM_BFLOAT, false);
}

static const clf_dtype types[][3] = {{CLF_F32, CLF_F32, CLF_F32},
                                     {CLF_F16, CLF_F16, CLF_F16},
                                     {CLF_F32, CLF_F16, CLF_F32},
                                     {CLF_F16, CLF_F32, CLF_F16}};

static void multiply(clf_device *device, clf_gemm gemm, const int size[3], int i) {
    const clf_dtype *type = types[i % 4];
    const linear_problem p = {.rows = size[0],
                              .k = size[1],
                              .n = size[2],
                              .x = type[0],
                              .w = gemm == CLF_GEMM_BFLOAT ? CLF_F16 : type[1],
                              .y = type[2],
                              .bias = i % 2,
                              .residual = i % 4 < 2,
                              .transpose = i % 3 == 1,
                              .gemm = gemm,
                              .activation = i % 2 ? CLF_ACT_RELU : CLF_ACT_NONE};
    linearkit_multiply(device, &p);
}

// Odd numbers of all; several blocks of each.
static void products_of(clf_device *device, clf_gemm gemm, bool emulated) {
    static const int small[][3] = {{1, 1, 1}, {33, 130, 17}, {131, 37, 70}, {7, 64, 133}};
    static const int large[][3] = {
        {600, 70, 530}, {40, 1100, 300}, {270, 513, 33}, {520, 1024, 64}};
    for (int i = 0; i < 4; i++) multiply(device, gemm, small[i], i);
    for (int i = 0; i < 4 && !emulated; i++) multiply(device, gemm, large[i], i);
}

static void products_on(clf_device *device) {
    each_kind(device, products_of);
}

static void test_products(void) {
    clf_test_each_device(products_on);
}

static void gradients_of(clf_device *device, clf_gemm gemm, bool emulated) {
    static const int sizes[][3] = {{1, 1, 1}, {31, 7, 17}, {130, 70, 100}, {1100, 220, 301}};
    for (int i = 0; i < (emulated ? 3 : 4); i++) {
        const linear_problem p = {.rows = sizes[i][0],
                                  .k = sizes[i][1],
                                  .n = sizes[i][2],
                                  .x = types[i % 4][0],
                                  .y = types[i % 4][2],
                                  .gemm = gemm};
        linearkit_differentiate(device, &p);
    }
}

static void gradients_on(clf_device *device) {
    each_kind(device, gradients_of);
}

static void test_gradients(void) {
    clf_test_each_device(gradients_on);
}

// A number that is none stays in its row, and so does an infinite one, which may become none.
static void nan_of(clf_device *device, clf_gemm gemm, bool emulated) {
    enum { ROWS = 40, K = 36, N = 50 };
    (void)emulated;
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    clf_rng rng = {6};
    float *x = opkit_numbers(&rng, ROWS * K, 1, 0), *w = opkit_numbers(&rng, N * K, 1, 0);
    float *y = malloc(sizeof *y * ROWS * N);
    x[3 * K + 11] = NAN;
    x[5 * K + 35] = INFINITY;
    const clf_tensor tx = clf_arena_take(&kit.run, kit.arena, ROWS, K, CLF_F32);
    const clf_tensor ty = clf_arena_take(&kit.run, kit.arena, ROWS, N, CLF_F32);
    const clf_weight weight = clf_weight_take(&kit.run, kit.arena, K, N);
    const clf_piece piece = {.data = w, .dtype = CLF_F32, .rows = N, .cols = K};
    clf_weight_write(&kit.run, weight, 0, &piece, kit.arena);
    opkit_write(&kit, tx, x);
    clf_linear_run(&kit.run, gemm, ty, tx, weight, (clf_linear){.scratch = kit.arena});
    opkit_read(&kit, ty, y);
    for (int i = 0; i < ROWS * N; i++) {
        CU_ASSERT_EQUAL(isfinite(y[i]) == 0, i / N == 3 || i / N == 5);
        CU_ASSERT_EQUAL(isnan(y[i]) != 0 && i / N != 5, i / N == 3);
    }
    free(x), free(w), free(y);
    opkit_finish(&kit);
}

static void nan_on(clf_device *device) {
    each_kind(device, nan_of);
}

static void test_nan(void) {
    clf_test_each_device(nan_on);
}

// Where launches are joined, products stay with the kernels that can be.
static void chain_on(clf_device *device) {
    if (clf_device_profile(device)->lanes > 1) return;
    clf_run run = clf_run_begin(device);
    const bool unit = clf_linear_matrix_unit(&run) == CLF_MATRIX_AMX;
    CU_ASSERT_EQUAL(clf_linear_variant(device, 1000, 64, 64) == CLF_GEMM_MATRIX, unit);
    clf_chain_begin(&run);
    if (clf_chain_items(device) > 0)
        CU_ASSERT_EQUAL(clf_linear_variant(device, 1000, 64, 64), CLF_GEMM_PANEL);
    clf_chain_end(&run);
}

static void test_chain(void) {
    clf_test_each_device(chain_on);
}

static const clf_test tests[] = {{"products", test_products},
                                 {"gradients", test_gradients},
                                 {"nan", test_nan},
                                 {"chain", test_chain}};
CLF_TEST_MAIN("op-linear-amx", tests)
