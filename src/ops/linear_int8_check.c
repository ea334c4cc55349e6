// SPDX-License-Identifier: MIT
#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fail.h"
#include "base/rng.h"
#include "ops/linear.h"

// Awkward shapes: no multiples of any tile. A kind may have another kernel for few rows.
#define MANY 37
#define FEW  3
#define K    515
#define N    771
// What is timed.
#define TIMED_ROWS  64
#define TIMED_WIDTH 512

static float largest(const float *x, int count) {
    float most = 0;
    for (int i = 0; i < count; i++) most = fmaxf(most, fabsf(x[i]));
    return most;
}

// One element from rounded numbers, in double, and by how much it may differ: the sum is exact, its
// scaling is not, and each number may have been rounded the other way where it is in the middle.
static bool element_is_right(const float *x, const float *w, int limit, float y) {
    const float x_top = largest(x, K), w_top = largest(w, K);
    double sum = 0, bound = 0;
    for (int k = 0; k < K; k++) {
        const double qx = (double)x[k] * 127 / x_top, qw = (double)w[k] * limit / w_top;
        sum += rint(qx) * rint(qw);
        if (fabs(fabs(qx - rint(qx)) - 0.5) < 1e-4) bound += fabs(qw) + 1;
        if (fabs(fabs(qw - rint(qw)) - 0.5) < 1e-4) bound += fabs(qx) + 1;
    }
    const double unit = (double)x_top / 127 * w_top / limit;
    return fabs(y - sum * unit) <= unit * bound + 1e-6 * unit * fabs(sum) + 1e-30;
}

static bool samples_are_right(clf_rng *rng, const float *x, const float *w, int limit,
                              const float *y, int rows) {
    enum { SAMPLES = 400 };
    for (int i = 0; i < SAMPLES; i++) {
        const uint32_t last = (uint32_t)rows * N - 1;
        const uint32_t at = i == 0 ? 0 : i == 1 ? last : clf_rng_below(rng, last + 1);
        if (!element_is_right(x + (size_t)(at / N) * K, w + (size_t)(at % N) * K, limit, y[at]))
            return false;
    }
    return true;
}

// y = x . w with numbers from the host.
static void multiply(clf_run *run, clf_arena *arena, clf_int8 kind, const float *x, const float *w,
                     float *y, int rows) {
    clf_arena_reset(arena);
    const clf_tensor dx = clf_arena_take(run, arena, rows, K, CLF_F32);
    const clf_tensor dy = clf_arena_take(run, arena, rows, N, CLF_F32);
    const clf_weight dw = clf_weight_take_int8(run, arena, K, N, kind);
    const clf_piece piece = {.data = w, .dtype = CLF_F32, .rows = N, .cols = K};
    clf_weight_write(run, dw, 0, &piece, arena);
    clf_write(run, dx, x);
    clf_op_linear(run, dy, dx, dw, (clf_linear){.scratch = arena});
    clf_read(run, dy, y);
}

static bool is_right(clf_run *run, clf_arena *arena, clf_int8 kind, int rows) {
    clf_rng rng = {.state = 1};
    float *x = clf_rng_numbers(&rng, (size_t)rows * K), *w = clf_rng_numbers(&rng, N * K);
    float *y = calloc((size_t)rows * N, sizeof *y);
    bool right = false;
    if (x && w && y) {
        multiply(run, arena, kind, x, w, y, rows);
        right =
            run->status == CLF_OK && samples_are_right(&rng, x, w, clf_int8_limit(kind), y, rows);
    } else {
        clf_run_fail(run, clf_fail_memory());
    }
    free(x);
    free(w);
    free(y);
    return right;
}

static double seconds_of(clf_run *run, clf_arena *arena, clf_int8 kind) {
    enum { ROUNDS = 5, CALLS = 8 };
    const clf_tensor x = clf_arena_take(run, arena, TIMED_ROWS, TIMED_WIDTH, CLF_F32);
    const clf_tensor y = clf_arena_take(run, arena, TIMED_ROWS, TIMED_WIDTH, CLF_F32);
    const clf_weight w = clf_weight_take_int8(run, arena, TIMED_WIDTH, TIMED_WIDTH, kind);
    double best = INFINITY;
    clf_fill_zero(run, x);
    clf_fill_zero(run, w.data);
    clf_fill_zero(run, w.scales);
    for (int i = 0; i < ROUNDS; i++) { // the first one compiles
        const int64_t begin = clf_clock();
        for (int j = 0; j < CALLS; j++) clf_op_linear(run, y, x, w, (clf_linear){.scratch = arena});
        if (clf_run_finish(run) != CLF_OK) return INFINITY;
        const double seconds = 1e-9 * (double)(clf_clock() - begin);
        if (seconds < best) best = seconds;
    }
    return best;
}

bool clf_linear_check_int8(clf_run *run, clf_int8 kind, bool faster) {
    clf_arena *arena = NULL;
    if (kind == CLF_INT8_AMX && !clf_amx_is_candidate(run->device)) return false;
    clf_run_fail(run, clf_arena_create(run->device, "numeric check", "nothing", &arena));
    bool good = run->status == CLF_OK && is_right(run, arena, kind, FEW) &&
                is_right(run, arena, kind, MANY);
    if (good && faster) {
        clf_arena_reset(arena);
        good = seconds_of(run, arena, kind) < seconds_of(run, arena, CLF_INT8_PLAIN);
    }
    clf_arena_destroy(arena);
    return good;
}
