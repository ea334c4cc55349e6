// SPDX-License-Identifier: MIT
#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fail.h"
#include "base/rng.h"
#include "ops/linear.h"
#include "ops/tuning.h"

#define N       771 // no multiple of any tile
#define SAMPLES 400 // elements that are compared

// Small whole numbers, as float and as what they are in half: sums are exact, and a wrong place or
// a missing term shows.
typedef struct numbers {
    int rows, cols;
    float *floats;
    uint16_t *halfs;
} numbers;

static numbers make_numbers(clf_run *run, clf_rng *rng, int rows, int cols) {
    static const uint16_t halfs[] = {0xC000, 0xBC00, 0, 0x3C00, 0x4000}; // -2 to 2
    const size_t count = (size_t)rows * (size_t)cols;
    const numbers made = {rows, cols, malloc(count * sizeof *made.floats),
                          malloc(count * sizeof *made.halfs)};
    if (!made.floats || !made.halfs) {
        clf_run_fail(run, clf_fail_memory());
        return made;
    }
    for (size_t i = 0; i < count; i++) {
        const uint32_t draw = clf_rng_below(rng, 5);
        made.floats[i] = (float)draw - 2;
        made.halfs[i] = halfs[draw];
    }
    return made;
}

static void free_numbers(numbers n) {
    free(n.floats);
    free(n.halfs);
}

static clf_tensor upload(clf_run *run, clf_arena *arena, numbers n, clf_dtype dtype) {
    const clf_tensor t = clf_arena_take(run, arena, n.rows, n.cols, dtype);
    clf_write(run, t, dtype == CLF_F16 ? (const void *)n.halfs : n.floats);
    return t;
}

// Whether samples of y (rows, cols), the first and the last among them, are the sums over `count`
// products of a's and b's elements: element i of a sum is at i * step + row * next.
typedef struct factor {
    const float *data;
    size_t step, next;
} factor;

static bool samples_are_right(clf_rng *rng, const float *y, size_t stride, int rows, int cols,
                              factor a, factor b, int count) {
    for (int s = 0; s < SAMPLES; s++) {
        const int r = s < 2 ? s * (rows - 1) : (int)clf_rng_below(rng, (uint32_t)rows);
        const int c = s < 2 ? s * (cols - 1) : (int)clf_rng_below(rng, (uint32_t)cols);
        float sum = 0;
        for (int i = 0; i < count; i++)
            sum += a.data[(size_t)i * a.step + (size_t)r * a.next] *
                   b.data[(size_t)i * b.step + (size_t)c * b.next];
        if (y[(size_t)r * stride + (size_t)c] != sum) return false;
    }
    return true;
}

static bool product_is_right(clf_run *run, clf_arena *arena, clf_gemm gemm, int rows,
                             clf_dtype x_type, clf_dtype w_type) {
    enum { K = 212 };
    clf_rng rng = {.state = (uint64_t)rows};
    const numbers x = make_numbers(run, &rng, rows, K), w = make_numbers(run, &rng, N, K);
    float *result = malloc((size_t)rows * N * sizeof *result);
    if (!result) clf_run_fail(run, clf_fail_memory());
    if (run->status == CLF_OK) {
        clf_arena_reset(arena);
        const clf_tensor y = clf_arena_take(run, arena, rows, N, CLF_F32);
        const clf_weight weight = clf_weight_take_as(run, arena, K, N, w_type);
        const clf_piece piece = {.data = w.floats, .dtype = CLF_F32, .rows = N, .cols = K};
        clf_weight_write(run, weight, 0, &piece, arena);
        clf_linear_run(run, gemm, y, upload(run, arena, x, x_type), weight,
                       (clf_linear){.scratch = arena});
        clf_read(run, y, result);
    }
    const bool right = run->status == CLF_OK &&
                       samples_are_right(&rng, result, N, rows, N, (factor){x.floats, 1, K},
                                         (factor){w.floats, 1, K}, K);
    free_numbers(x);
    free_numbers(w);
    free(result);
    return right;
}

static bool gradient_is_right(clf_run *run, clf_arena *arena, clf_gemm gemm, int rows, int k,
                              clf_dtype type) {
    clf_rng rng = {.state = (uint64_t)k};
    const numbers x = make_numbers(run, &rng, rows, k), dy = make_numbers(run, &rng, rows, N);
    float *result = NULL;
    size_t stride = 0;
    if (run->status == CLF_OK) {
        clf_arena_reset(arena);
        const clf_weight dw = clf_weight_take_layout(run, arena, k, N, true);
        stride = dw.row_stride;
        result = malloc((size_t)k * stride * sizeof *result);
        if (!result) clf_run_fail(run, clf_fail_memory());
        clf_fill_zero(run, dw.data);
        clf_linear_backward_run(run, gemm, dw, (clf_tensor){0}, upload(run, arena, x, type),
                                upload(run, arena, dy, type), arena);
        if (result) clf_read(run, dw.data, result);
    }
    const bool right = run->status == CLF_OK && samples_are_right(&rng, result, stride, k, N,
                                                                  (factor){x.floats, (size_t)k, 1},
                                                                  (factor){dy.floats, N, 1}, rows);
    free_numbers(x);
    free_numbers(dy);
    free(result);
    return right;
}

// Few rows, and enough for tiles on a large device. A trial has seconds, and each combination
// takes the compiler a part of one: not all of them.
static bool matrix_is_right(clf_run *run, clf_arena *arena) {
    static const struct {
        int rows;
        clf_dtype x, w;
    } products[] = {{5, CLF_F32, CLF_F32},   {30, CLF_F32, CLF_F32}, {5200, CLF_F32, CLF_F32},
                    {30, CLF_F32, CLF_F16},  {30, CLF_F16, CLF_F16}, {5200, CLF_F16, CLF_F16},
                    {5200, CLF_F32, CLF_F16}};
    static const struct {
        int rows, k;
        clf_dtype type;
    } gradients[] = {{300, 212, CLF_F32}, {40, 212, CLF_F16}};
    bool right = true;
    for (size_t i = 0; right && i < sizeof products / sizeof *products; i++)
        right = product_is_right(run, arena, CLF_GEMM_MATRIX, products[i].rows, products[i].x,
                                 products[i].w);
    for (size_t i = 0; right && i < sizeof gradients / sizeof *gradients; i++)
        right = gradient_is_right(run, arena, CLF_GEMM_MATRIX, gradients[i].rows, gradients[i].k,
                                  gradients[i].type);
    return right && clf_linear_check(run->device, CLF_GEMM_MATRIX, 1) &&
           clf_linear_check(run->device, CLF_GEMM_MATRIX, CLF_ROW_CLASSES - 1);
}

static double seconds_of(clf_run *run, clf_gemm variant, clf_tensor y, clf_tensor x, clf_weight w,
                         clf_arena *scratch) {
    enum { CALLS = 8 };
    const int64_t begin = clf_clock();
    for (int i = 0; i < CALLS; i++)
        clf_linear_run(run, variant, y, x, w, (clf_linear){.scratch = scratch});
    return clf_run_finish(run) == CLF_OK ? 1e-9 * (double)(clf_clock() - begin) : INFINITY;
}

// In turn, so that what else the machine does slows both.
static bool is_faster(clf_run *run, clf_arena *arena, clf_gemm gemm, int rows, clf_dtype type) {
    enum { ROUNDS = 8, WIDTH = 512 };
    double best = INFINITY, plain = INFINITY;
    clf_arena_reset(arena);
    const clf_tensor x = clf_arena_take(run, arena, rows, WIDTH, type);
    const clf_tensor y = clf_arena_take(run, arena, rows, WIDTH, type);
    const clf_weight w = clf_weight_take_as(run, arena, WIDTH, WIDTH, type);
    clf_fill_zero(run, x);
    clf_fill_zero(run, w.data);
    for (int i = 0; i < ROUNDS; i++) { // the first one compiles
        best = fmin(best, seconds_of(run, gemm, y, x, w, arena));
        plain = fmin(plain, seconds_of(run, CLF_GEMM_PANEL, y, x, w, arena));
    }
    return best < plain;
}

// Whether it is right by `is_right`, and faster than CLF_GEMM_PANEL at each number of `rows`, which
// a 0 ends.
static bool passes(clf_run *run, clf_gemm gemm, bool (*is_right)(clf_run *, clf_arena *),
                   clf_dtype type, const int *rows) {
    clf_arena *arena = NULL;
    clf_run_fail(run, clf_arena_create(run->device, "numeric check", "nothing", &arena));
    bool good = run->status == CLF_OK && is_right(run, arena);
    for (; good && *rows > 0; rows++) good = is_faster(run, arena, gemm, *rows, type);
    clf_arena_destroy(arena);
    return good;
}

bool clf_linear_check_matrix(clf_run *run, clf_matrix_unit unit, bool faster) {
    clf_linear_state *state = clf_linear_state_get(run);
    if (!state || (unit == CLF_MATRIX_AMX && !clf_amx_is_candidate(run->device))) return false;
    state->unit = unit;
    state->unit_known = true;
    const int few = unit == CLF_MATRIX_AMX ? 2 * CLF_AMX_ROWS : 64;
    return passes(run, CLF_GEMM_MATRIX, matrix_is_right, CLF_F32,
                  faster ? (const int[]){few, 1024, 0} : (const int[]){0});
}

static bool bfloat_is_right(clf_run *run, clf_arena *arena) {
    return product_is_right(run, arena, CLF_GEMM_BFLOAT, 300, CLF_F16, CLF_F16) &&
           product_is_right(run, arena, CLF_GEMM_BFLOAT, 5, CLF_F32, CLF_F16) &&
           gradient_is_right(run, arena, CLF_GEMM_BFLOAT, 301, 212, CLF_F16);
}

bool clf_linear_check_bfloat(clf_run *run, clf_bfloat kind, bool faster) {
    clf_linear_state *state = clf_linear_state_get(run);
    if (!state || (kind == CLF_BFLOAT_AMX && !clf_amx_is_candidate(run->device))) return false;
    state->bfloat = kind;
    state->bfloat_known = true;
    return passes(run, CLF_GEMM_BFLOAT, bfloat_is_right, CLF_F16,
                  faster ? (const int[]){1024, 0} : (const int[]){0});
}
