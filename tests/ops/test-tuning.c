// SPDX-License-Identifier: MIT
// Which variant computes a product, and the settings that are measured and kept.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "harness.h"
#include "ops/linear.h"
#include "ops/tuning.h"
#include "ref/ref_linear.h"

// Opens the first usable device with the options given; NULL: there is none.
static clf_device *open_with(const char *shape, const char *gemm, const char *cache_dir) {
    const clf_device_options options = {.shape = shape, .gemm = gemm, .cache_dir = cache_dir};
    clf_device *device = NULL;
    if (clf_device_open(&options, &device) != CLF_OK) clf_test_skip("no OpenCL device");
    return device;
}

static void op_product(clf_device *device, int m, float *y) {
    enum { K = 40, N = 20 };
    clf_rng rng = {.state = 11};
    clf_arena *arena = NULL;
    if (!CLF_ASSERT_OK(clf_arena_create(device, "test", "nothing", &arena))) return;
    clf_run run = clf_run_begin(device);
    float *x = clf_rng_numbers(&rng, (size_t)(m * K)), *w = clf_rng_numbers(&rng, (size_t)(K * N));
    clf_tensor tx = clf_arena_take(&run, arena, m, K, CLF_F32);
    clf_tensor ty = clf_arena_take(&run, arena, m, N, CLF_F32);
    clf_weight weight = clf_weight_take(&run, arena, K, N);
    const clf_piece piece = {.data = w, .dtype = CLF_F32, .rows = N, .cols = K};
    clf_weight_write(&run, weight, 0, &piece, arena);
    clf_write(&run, tx, x);
    clf_write(&run, ty, y);
    clf_op_linear(&run, ty, tx, weight, (clf_linear){.residual = ty, .activation = CLF_ACT_RELU});
    clf_op_linear(&run, ty, tx, weight, (clf_linear){.residual = ty});
    clf_read(&run, ty, y);
    CLF_ASSERT_OK(run.status);
    double *expected = malloc(sizeof *expected * (size_t)(m * N) * 2), *bound = expected + m * N;
    ref_linear(expected, bound, x, w, NULL, NULL, m, K, N, CLF_ACT_NONE);
    for (int i = 0; i < m * N; i++) {
        const double both = 1 + expected[i] + (expected[i] > 0 ? expected[i] : 0);
        CU_ASSERT_DOUBLE_EQUAL(y[i], both, 2e-5);
    }
    free(expected), free(x), free(w);
    clf_arena_destroy(arena);
}

static void test_choice(void) {
    static const struct {
        const char *shape, *gemm;
        clf_gemm one, many;
    } cases[] = {
        {"cpu", "panel", CLF_GEMM_PANEL, CLF_GEMM_PANEL},
        {"gpu", "panel", CLF_GEMM_PANEL, CLF_GEMM_PANEL},
        {"cpu", "clblast", CLF_GEMM_CLBLAST, CLF_GEMM_CLBLAST},
        {"gpu", "clblast", CLF_GEMM_CLBLAST, CLF_GEMM_CLBLAST},
        {"cpu", "auto", CLF_GEMM_PANEL, CLF_GEMM_PANEL},
        {"gpu", "auto", CLF_GEMM_PANEL, CLF_GEMM_CLBLAST},
    };
    for (int i = 0; i < 6; i++) {
        clf_device *device = open_with(cases[i].shape, cases[i].gemm, "");
        if (!device) return;
        CU_ASSERT_EQUAL(clf_linear_variant(device, 1, 512, 512), cases[i].one);
        CU_ASSERT_EQUAL(clf_linear_variant(device, 40, 512, 512), cases[i].many);
        float y[40 * 20];
        for (int j = 0; j < 40 * 20; j++) y[j] = 1;
        op_product(device, 40, y);
        clf_device_close(device);
    }
}

static void write_text(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    if (file) fputs(text, file), fclose(file);
}

static void test_tuning_file(void) {
    clf_device *device = open_with("cpu", "auto", clf_test_directory());
    if (!device) return;
    clf_tuning tuning, loaded;
    char *path = clf_tuning_path(device);
    clf_tuning_default(device, &tuning);
    CU_ASSERT_FALSE(clf_tuning_load(device, &loaded));
    tuning.tile[2].rows = 3;
    tuning.gemm[4] = CLF_GEMM_CLBLAST;
    tuning.clblast[CLF_CLBLAST_ROUTINE].set = true;
    tuning.clblast[CLF_CLBLAST_ROUTINE].values[0] = 77;
    CLF_ASSERT_OK(clf_tuning_save(device, &tuning));
    CU_ASSERT_TRUE(clf_tuning_load(device, &loaded));
    CU_ASSERT_EQUAL(memcmp(&tuning, &loaded, sizeof tuning), 0);
    CU_ASSERT_EQUAL(clf_linear_variant(device, 1, 64, 64), CLF_GEMM_PANEL);
    CU_ASSERT_EQUAL(clf_linear_variant(device, 500, 64, 64), CLF_GEMM_CLBLAST);

    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "{\"format\": 1}",
        "{\"format\": 1, \"vector\": 3, \"slices\": 1, \"classes\": []}",
        "{\"format\": 1, \"vector\": 8, \"slices\": 1, \"classes\": [1, 2, 3, 4, 5]}"};
    for (int i = 0; i < 6; i++) {
        write_text(path, bad[i]);
        CU_ASSERT_FALSE(clf_tuning_load(device, &loaded));
    }
    clf_device_close(device);
    device = open_with("cpu", "auto", clf_test_directory());
    float y[20];
    for (int j = 0; j < 20; j++) y[j] = 1;
    if (device) op_product(device, 1, y);
    clf_device_close(device);
    free(path);
}

static int stop_soon(void *user, double share, const char *what) {
    int *calls = user;
    CU_ASSERT_TRUE(share >= 0 && share <= 1 && what);
    return ++*calls >= 3;
}

// A search cut short leaves a valid tuning in use and on disk.
static void test_search(void) {
    clf_device *device = open_with("cpu", "auto", clf_test_directory());
    if (!device) return;
    clf_tuning found, loaded;
    int calls = 0;
    CLF_ASSERT_OK(clf_tuning_search(device, 2, stop_soon, &calls, &found));
    CU_ASSERT_TRUE(calls >= 3 && calls < 12);
    CU_ASSERT_TRUE(clf_tuning_load(device, &loaded));
    CU_ASSERT_EQUAL(memcmp(&found, &loaded, sizeof found), 0);
    for (int i = 0; i < CLF_ROW_CLASSES; i++)
        CU_ASSERT_TRUE(clf_linear_check(device, CLF_GEMM_PANEL, i));
    clf_device_close(device);
}

static const clf_test tests[] = {
    {"choice", test_choice}, {"tuning file", test_tuning_file}, {"search", test_search}};
CLF_TEST_MAIN("tuning", tests)
