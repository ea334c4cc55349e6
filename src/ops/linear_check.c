// SPDX-License-Identifier: MIT
#include <math.h>
#include <stdlib.h>

#include "base/fail.h"
#include "base/rng.h"
#include "ops/linear.h"
#include "ops/tuning.h"

#define K       513
#define N       771
#define SAMPLES 400 // elements of y that are compared

// Any order of a float sum of K products stays within K rounding errors of the sum of magnitudes.
static bool element_is_right(const float *x, const float *column, float y) {
    double sum = 0, magnitude = 0;
    for (int k = 0; k < K; k++) {
        sum += (double)x[k] * column[k];
        magnitude += fabs((double)x[k] * column[k]);
    }
    return fabs(y - sum) <= (K + 1) * 0x1p-24 * magnitude;
}

// x (rows, K), columns (N, K), y (rows, N). The first and the last element are among the samples.
static bool samples_are_right(clf_rng *rng, const float *x, const float *columns, const float *y,
                              int rows) {
    const uint32_t last = (uint32_t)rows * N - 1;
    for (int i = 0; i < SAMPLES; i++) {
        const uint32_t at = i == 0 ? 0 : i == 1 ? last : clf_rng_below(rng, last + 1);
        if (!element_is_right(x + (size_t)(at / N) * K, columns + (size_t)(at % N) * K, y[at]))
            return false;
    }
    return true;
}

bool clf_linear_check(clf_device *device, clf_gemm variant, int row_class) {
    static const int class_rows[CLF_ROW_CLASSES] = {1, 7, 31, 127, 1031};
    const int rows = class_rows[row_class];
    clf_rng rng = {.state = 1};
    clf_run run = clf_run_begin(device);
    clf_arena *arena = NULL;
    float *host_x = clf_rng_numbers(&rng, (size_t)rows * K);
    float *host_w = clf_rng_numbers(&rng, (size_t)N * K);
    float *host_y = calloc((size_t)rows * N, sizeof *host_y);
    bool right = false;
    if (!host_x || !host_w || !host_y) {
        clf_run_fail(&run, clf_fail_memory());
        goto done;
    }
    clf_run_fail(&run, clf_arena_create(device, "numeric check", "nothing", &arena));
    if (run.status != CLF_OK) goto done;
    clf_tensor x = clf_arena_take(&run, arena, rows, K, CLF_F32);
    clf_tensor y = clf_arena_take(&run, arena, rows, N, CLF_F32);
    clf_weight w = clf_weight_take_layout(&run, arena, K, N, true);
    const clf_piece piece = {.data = host_w, .dtype = CLF_F32, .rows = N, .cols = K};
    clf_weight_write(&run, w, 0, &piece, arena);
    clf_write(&run, x, host_x);
    clf_linear_run(&run, variant, y, x, w, (clf_linear){0});
    clf_read(&run, y, host_y);
    right = run.status == CLF_OK && samples_are_right(&rng, host_x, host_w, host_y, rows);
done:
    if (run.status != CLF_OK)
        clf_log(CLF_LOG_WARNING, "numeric check of a matrix product: %s", clf_last_error());
    clf_arena_destroy(arena);
    free(host_x);
    free(host_w);
    free(host_y);
    return right;
}
