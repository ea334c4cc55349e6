// SPDX-License-Identifier: MIT
// Kernels: building, arguments, launching; CLBlast.
#include <clformer/log.h>

#include "harness.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/rng.h"
#include "device/launch.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

static clf_arena *make_arena(clf_device *device) {
    clf_arena *arena = NULL;
    CLF_ASSERT_OK(clf_arena_create(device, "test tensors", "a smaller test", &arena));
    return arena;
}

static void sum_rows(clf_run *run, clf_tensor y, clf_tensor x) {
    size_t lanes = (size_t)clf_device_profile(run->device)->lanes;
    const clf_arg arguments[] = {clf_arg_tensor(y), clf_arg_tensor(x),
                                 clf_arg_long((int64_t)x.stride), clf_arg_int(x.cols)};
    clf_launch(run, &(clf_kernel_spec){"selftest", "sum_rows", {{0}}},
               (clf_range){.groups = {(size_t)x.rows}, .local = {lanes}}, (clf_cost){0}, arguments,
               COUNT(arguments));
}

// Row sums of a view in the middle of a larger tensor, at widths around the vector and lane sizes.
static void check_launch(clf_device *device) {
    static const int widths[] = {1, 3, 7, 8, 63, 257, 513};
    enum { ROWS = 5, WIDTH = 520 };
    clf_rng rng = {7};
    clf_run run = clf_run_begin(device);
    clf_arena *arena = make_arena(device);
    clf_tensor x = clf_arena_take(&run, arena, ROWS + 2, WIDTH, CLF_F32);
    clf_tensor y = clf_arena_take(&run, arena, 1, ROWS, CLF_F32);
    static float data[(ROWS + 2) * WIDTH];
    for (int i = 0; i < COUNT(data); i++) data[i] = clf_rng_uniform(&rng, -1, 1);
    clf_write(&run, x, data);
    for (int w = 0; w < COUNT(widths); w++) {
        float got[ROWS];
        sum_rows(&run, y, clf_tensor_cols(clf_tensor_rows(x, 1, ROWS), 2, widths[w]));
        clf_read(&run, y, got);
        for (int r = 0; r < ROWS; r++) {
            double sum = 0;
            for (int c = 0; c < widths[w]; c++) sum += (double)data[(r + 1) * WIDTH + 2 + c];
            // widths[w] additions of numbers below 1 in single precision
            CU_ASSERT(fabs(got[r] - sum) <= widths[w] * 1e-6);
        }
    }
    sum_rows(&run, y, clf_tensor_rows(x, 0, 0));          // no groups: nothing happens
    const clf_arg none = clf_arg_tensor((clf_tensor){0}); // an optional argument that is absent
    clf_launch(&run, &(clf_kernel_spec){"selftest", "empty", {{0}}}, (clf_range){.groups = {1}},
               (clf_cost){0}, &none, 1);
    CLF_ASSERT_OK(clf_run_finish(&run));
    clf_arena_destroy(arena);
}

static void test_launch(void) {
    clf_test_each_device(check_launch);
}

static void check_bad_launch(clf_device *device) {
    clf_run run = clf_run_begin(device);
    clf_arena *arena = make_arena(device);
    clf_tensor y = clf_arena_take(&run, arena, 1, 1024, CLF_F32);
    const clf_arg few[] = {clf_arg_tensor(y), clf_arg_int(1), clf_arg_int(2)};
    const clf_kernel_spec peak = {"selftest", "fma_peak", {{0}}};
    const clf_range one = {.groups = {1}};
    clf_launch(&run, &peak, one, (clf_cost){0}, few, 3);
    CU_ASSERT_EQUAL(run.status, CLF_ERROR_ARGUMENT);
    CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), "fma_peak"));
    clf_launch(&run, &peak, one, (clf_cost){0}, few, 2); // right, but the failure sticks
    CU_ASSERT_EQUAL(clf_run_finish(&run), CLF_ERROR_ARGUMENT);

    run = clf_run_begin(device);
    CU_ASSERT(clf_kernel_max_group(&run, &peak) >= 1);
    size_t excess = (size_t)clf_device_caps(device)->max_group + 1;
    clf_launch(&run, &peak, (clf_range){.groups = {1}, .local = {excess}}, (clf_cost){0}, few, 2);
    CU_ASSERT_EQUAL(run.status, CLF_ERROR_DEVICE);
    CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), "work-group"));

    run = clf_run_begin(device);
    clf_launch(&run, &(clf_kernel_spec){"selftest", "absent", {{0}}}, one, (clf_cost){0}, few, 2);
    CU_ASSERT_EQUAL(run.status, CLF_ERROR_BUILD);
    run = clf_run_begin(device);
    clf_launch(&run, &(clf_kernel_spec){"absent", "absent", {{0}}}, one, (clf_cost){0}, few, 2);
    CU_ASSERT_EQUAL(run.status, CLF_ERROR_ARGUMENT);
    clf_arena_destroy(arena);
}

static void test_bad_launch(void) {
    clf_test_each_device(check_bad_launch);
}

static struct {
    char text[4096]; // the last compiler log
    clf_log_level level;
    int count;
} logged;

static void remember_log(void *user, clf_log_level level, const char *message) {
    (void)user;
    if (!strstr(message, "does not build")) return;
    snprintf(logged.text, sizeof logged.text, "%s", message);
    logged.level = level;
    logged.count++;
}

// A definition that turns a parameter's name into a number makes a syntax error.
static void check_build_failure(clf_device *device) {
    const clf_kernel_spec broken = {"selftest", "fma_peak", {{"rounds", 41}}};
    logged.count = 0;
    clf_log_set(remember_log, NULL, CLF_LOG_DEBUG);
    clf_run run = clf_run_begin(device);
    CU_ASSERT_FALSE(clf_kernel_try(&run, &broken));
    CU_ASSERT_EQUAL(run.status, CLF_OK);
    CU_ASSERT_EQUAL(logged.count, 1);
    CU_ASSERT_EQUAL(logged.level, CLF_LOG_DEBUG);
    CU_ASSERT_PTR_NOT_NULL(strstr(logged.text, "-Drounds=41"));
    CU_ASSERT_PTR_NOT_NULL(strstr(logged.text, "error"));
    clf_launch(&run, &broken, (clf_range){.groups = {1}}, (clf_cost){0}, NULL, 0);
    CU_ASSERT_EQUAL(run.status, CLF_ERROR_BUILD);
    CU_ASSERT_EQUAL(logged.count, 1); // remembered, not built again
    CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), "cl/selftest.cl"));
    CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), "-Drounds=41"));
    CU_ASSERT_PTR_NULL(strchr(clf_last_error(), '\n'));
    const clf_kernel_spec needed = {"selftest", "fma_peak", {{"rounds", 42}}};
    run = clf_run_begin(device);
    clf_launch(&run, &needed, (clf_range){.groups = {1}}, (clf_cost){0}, NULL, 0);
    CU_ASSERT_EQUAL(run.status, CLF_ERROR_BUILD);
    CU_ASSERT_EQUAL(logged.count, 2);
    CU_ASSERT_EQUAL(logged.level, CLF_LOG_WARNING);
    clf_log_set(NULL, NULL, CLF_LOG_WARNING);
    run = clf_run_begin(device);
    CU_ASSERT(clf_kernel_try(&run, &(clf_kernel_spec){"selftest", "fma_peak", {{0}}}));
}

static void test_build_failure(void) {
    clf_test_each_device(check_build_failure);
}

// y = x w + beta y on column views, so that offsets and strides count.
static void check_clblast(clf_device *device) {
    static const int shapes[][3] = {{1, 1, 1}, {3, 17, 5}, {33, 31, 65}};
    static const float betas[] = {0, 1};
    clf_rng rng = {3};
    for (int s = 0; s < 2 * COUNT(shapes); s++) {
        int m = shapes[s / 2][0], n = shapes[s / 2][1], k = shapes[s / 2][2];
        clf_run run = clf_run_begin(device);
        clf_arena *arena = make_arena(device);
        clf_tensor x = clf_arena_take(&run, arena, m, k + 3, CLF_F32);
        clf_tensor w = clf_arena_take(&run, arena, k, n + 2, CLF_F32);
        clf_tensor y = clf_arena_take(&run, arena, m, n + 1, CLF_F32);
        float a[33 * 68], b[65 * 33], c[33 * 32], got[33 * 32];
        for (int i = 0; i < m * (k + 3); i++) a[i] = clf_rng_uniform(&rng, -1, 1);
        for (int i = 0; i < k * (n + 2); i++) b[i] = clf_rng_uniform(&rng, -1, 1);
        for (int i = 0; i < m * (n + 1); i++) c[i] = clf_rng_uniform(&rng, -1, 1);
        clf_write(&run, x, a);
        clf_write(&run, w, b);
        clf_write(&run, y, c);
        clf_clblast_gemm(&run, clf_tensor_cols(y, 1, n), clf_tensor_cols(x, 3, k),
                         clf_tensor_cols(w, 2, n), betas[s % 2]);
        clf_read(&run, y, got);
        CLF_ASSERT_OK(run.status);
        for (int i = 0; i < m * (n + 1); i++) {
            int r = i / (n + 1), col = i % (n + 1) - 1;
            double sum = col < 0 ? c[i] : betas[s % 2] * c[i];
            for (int j = 0; col >= 0 && j < k; j++) {
                sum += (double)a[r * (k + 3) + 3 + j] * b[j * (n + 2) + 2 + col];
            }
            CU_ASSERT(fabs(got[i] - sum) <= (k + 1) * 1e-6); // k rounded products below 1
        }
        clf_clblast_gemm(&run, y, x, w, 0); // shapes that do not fit
        CU_ASSERT_EQUAL(run.status, CLF_ERROR_ARGUMENT);
        clf_arena_destroy(arena);
    }
}

static void test_clblast(void) {
    clf_test_each_device(check_clblast);
}

static void bench(clf_device *device) {
    enum { LAUNCHES = 2000, ROUNDS = 50 };
    clf_device_info info;
    clf_device_get_info(device, &info);
    clf_run run = clf_run_begin(device);
    clf_arena *arena = make_arena(device);
    clf_tensor y = clf_arena_take(&run, arena, 1, 64, CLF_F32);
    const clf_kernel_spec empty = {"selftest", "empty", {{"BENCH_A", 1}, {"BENCH_B", 2}}};
    const clf_arg argument = clf_arg_tensor(y);
    float word[64] = {0};
    clf_launch(&run, &empty, (clf_range){.groups = {1}}, (clf_cost){0}, &argument, 1);
    clf_run_finish(&run);
    int64_t begin = clf_clock();
    for (int i = 0; i < LAUNCHES; i++) {
        clf_launch(&run, &empty, (clf_range){.groups = {1}}, (clf_cost){0}, &argument, 1);
    }
    int64_t queued = clf_clock();
    clf_run_finish(&run);
    int64_t end = clf_clock();
    int64_t reads[2] = {0};
    for (int i = 0; i < ROUNDS; i++) {
        int64_t start = clf_clock();
        clf_launch(&run, &empty, (clf_range){.groups = {1}}, (clf_cost){0}, &argument, 1);
        clf_read(&run, y, word);
        reads[0] += clf_clock() - start;
        start = clf_clock();
        clf_write(&run, y, word);
        reads[1] += clf_clock() - start;
    }
    printf("\n  %s: launch %.2f us (queueing alone %.2f), launch and read %.1f us, write %.1f us\n",
           info.name, (double)(end - begin) / 1e3 / LAUNCHES,
           (double)(queued - begin) / 1e3 / LAUNCHES, (double)reads[0] / 1e3 / ROUNDS,
           (double)reads[1] / 1e3 / ROUNDS);
    CLF_ASSERT_OK(clf_run_finish(&run));
    clf_arena_destroy(arena);
}

static void test_bench(void) {
    if (clf_test_bench) {
        clf_test_each_device(bench);
    } else {
        clf_test_skip("only with --bench");
    }
}

static const clf_test tests[] = {{"launch", test_launch},
                                 {"bad launch", test_bad_launch},
                                 {"build failure", test_build_failure},
                                 {"clblast", test_clblast},
                                 {"bench", test_bench}};

CLF_TEST_MAIN("device-launch", tests)
