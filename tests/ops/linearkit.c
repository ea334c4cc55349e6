// SPDX-License-Identifier: MIT
#include "ops/linearkit.h"

#include <stdio.h>
#include <stdlib.h>

#include "device/trial.h"
#include "harness.h"
#include "ops/backward.h"
#include "ops/linear.h"
#include "ops/opkit.h"
#include "ref/ref_linear.h"

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

static void describe(char what[128], const linear_problem *p) {
    snprintf(
        what, 128,
        "%s(%d, %d) . (%d, %d), types %d %d %d, bias %d, residual %d, transposed %d, aligned %d",
        p->gemm == CLF_GEMM_MATRIX   ? "matrix unit: "
        : p->gemm == CLF_GEMM_BFLOAT ? "bfloat16: "
                                     : "",
        p->rows, p->k, p->k, p->n, p->x, p->w, p->y, p->bias, p->residual, p->transpose,
        p->aligned);
}

// The view itself, or a copy of `data` whose rows are as near as can be to a multiple of four
// elements.
static clf_tensor aligned_view(opkit *kit, const linear_problem *p, const opkit_guarded *guarded,
                               const float *data) {
    if (!p->aligned) return guarded->view;
    const clf_tensor t = clf_arena_take(&kit->run, kit->arena, guarded->view.rows,
                                        guarded->view.cols, guarded->view.dtype);
    opkit_write(kit, t, data);
    return t;
}

void linearkit_allow_unit(double *bound, size_t count, clf_gemm gemm, int terms) {
    for (size_t i = 0; gemm == CLF_GEMM_MATRIX && i < count; i++) bound[i] *= 1 + 8.0 / (terms + 2);
}

// Makes of a factor what is multiplied.
static void round_factor(const linear_problem *p, float *data, int rows, int cols) {
    if (p->gemm == CLF_GEMM_BFLOAT) opkit_round(data, (size_t)rows * (size_t)cols, CLF_BF16);
}

void linearkit_multiply(clf_device *device, const linear_problem *p) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    const size_t count = (size_t)p->rows * (size_t)p->n;
    clf_rng rng = {(uint64_t)(p->rows + 10 * p->k + 100 * p->n)};
    float *x = rounded(&rng, p->rows, p->k, p->x), *w = rounded(&rng, p->n, p->k, p->w);
    float *residual = rounded(&rng, p->rows, p->n, p->y), *bias = rounded(&rng, 1, p->n, CLF_F32);
    float *wt = transposed(w, p->n, p->k), *y = malloc(sizeof *y * count);
    double *expected = malloc(sizeof *expected * count), *bound = malloc(sizeof *bound * count);
    char what[128];
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
    clf_linear epilogue = {.activation = p->activation, .scratch = kit.arena};
    if (p->bias) epilogue.bias = gb.view;
    if (p->residual) epilogue.residual = gr.view;
    const clf_tensor view = aligned_view(&kit, p, &gx, x);
    if (p->gemm != CLF_GEMM_PANEL)
        clf_linear_run(&kit.run, p->gemm, gy.view, view, weight, epilogue);
    else
        clf_op_linear(&kit.run, gy.view, view, weight, epilogue);
    opkit_get(&kit, &gy, y);
    round_factor(p, x, p->rows, p->k), round_factor(p, w, p->n, p->k);
    ref_linear(expected, bound, x, w, p->bias ? bias : NULL, p->residual ? residual : NULL, p->rows,
               p->k, p->n, p->activation);
    linearkit_allow_unit(bound, count, p->gemm, p->k);
    opkit_widen(bound, expected, count, p->y);
    opkit_compare(what, y, expected, bound, count);
    opkit_drop(&gx), opkit_drop(&gr), opkit_drop(&gb);
    free(x), free(w), free(residual), free(bias), free(wt), free(y), free(expected), free(bound);
    opkit_finish(&kit);
}

void linearkit_differentiate(clf_device *device, const linear_problem *p) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    const size_t count = (size_t)p->k * (size_t)p->n;
    clf_rng rng = {(uint64_t)(p->rows + 10 * p->k + 100 * p->n)};
    float *x = rounded(&rng, p->rows, p->k, p->x), *dy = rounded(&rng, p->rows, p->n, p->y);
    float *xt = transposed(x, p->rows, p->k), *dyt = transposed(dy, p->rows, p->n);
    float *out = malloc(sizeof *out * count), *sums = calloc((size_t)p->n, sizeof *sums);
    float *ones = opkit_numbers(&rng, (size_t)p->rows, 0, 1);
    double *expected = malloc(sizeof *expected * count), *bound = malloc(sizeof *bound * count);
    char what[128];
    describe(what, p);

    opkit_guarded gx = opkit_put(&kit, p->rows, p->k, p->x, x);
    opkit_guarded gdy = opkit_put(&kit, p->rows, p->n, p->y, dy);
    opkit_guarded gdb = opkit_put(&kit, 1, p->n, CLF_F32, sums);
    const clf_weight dw = clf_weight_take(&kit.run, kit.arena, p->k, p->n);
    clf_fill_zero(&kit.run, dw.data);
    const clf_tensor vx = aligned_view(&kit, p, &gx, x), vdy = aligned_view(&kit, p, &gdy, dy);
    if (p->gemm != CLF_GEMM_PANEL || p->x == CLF_F16) // else perhaps rounded
        clf_linear_backward_run(&kit.run, p->gemm, dw, gdb.view, vx, vdy, kit.arena);
    else
        clf_op_linear_backward(&kit.run, dw, gdb.view, vx, vdy, kit.arena);
    clf_weight_read(&kit.run, dw, out, kit.arena);
    round_factor(p, xt, p->k, p->rows), round_factor(p, dyt, p->n, p->rows);
    ref_linear(expected, bound, dyt, xt, NULL, NULL, p->n, p->rows, p->k, CLF_ACT_NONE);
    linearkit_allow_unit(bound, count, p->gemm, p->rows);
    opkit_compare(what, out, expected, bound, count);
    opkit_get(&kit, &gdb, sums);
    ref_linear(expected, bound, dyt, ones, NULL, NULL, p->n, p->rows, 1, CLF_ACT_NONE);
    opkit_compare(what, sums, expected, bound, (size_t)p->n);
    opkit_drop(&gx), opkit_drop(&gdy);
    free(x), free(dy), free(xt), free(dyt), free(out), free(sums), free(ones);
    free(expected), free(bound);
    opkit_finish(&kit);
}

bool linearkit_has_int8(clf_device *device, clf_int8 kind) {
    const bool cpu = clf_device_profile(device)->lanes == 1;
    // Emulated where the device has no such functions.
    if (kind == CLF_INT8_PLAIN || kind == CLF_INT8_DOT) return true;
    if (kind == CLF_INT8_AMX_EMULATED) return cpu && clf_device_runs_long_loops(device);
    if (kind == CLF_INT8_AMX && !clf_amx_is_candidate(device)) return false;
    return cpu && clf_trial_passed(device, clf_int8_name(kind));
}
