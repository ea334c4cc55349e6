// SPDX-License-Identifier: MIT
#include "base/fail.h"
#include "device/launch.h"
#include "device/trial.h"
#include "ops/linear.h"
#include "ops/shape.h"
#include "ops/tuning.h"

#define WARP         32
#define TILE_ROWS    16 // of a warp, times MT
#define TILE_COLUMNS 8  // likewise, times NT

// STRAIGHT, MT, NT, WM and WN of cl/linear_matrix.cl.
typedef struct plan {
    bool straight;
    int mt, nt, wm, wn;
} plan;

static int rows_of(const plan *p) {
    return TILE_ROWS * p->mt * (p->straight ? 1 : p->wm);
}

static int columns_of(const plan *p) {
    return TILE_COLUMNS * p->nt * p->wn;
}

static int groups_of(const plan *p, int m, int n) {
    return clf_ceil_divide(m, rows_of(p)) * clf_ceil_divide(n, columns_of(p));
}

// 128 x 64, so that a compute unit has two groups and one multiplies while the other loads.
static const plan tiles = {.mt = 4, .nt = 4, .wm = 2, .wn = 2};

// Where there are too few tiles for that, small ones straight from global memory are faster.
static plan plan_for(const clf_device *device, int m, int k, int n) {
    const int units = clf_device_caps(device)->compute_units;
    if (m > 2 * TILE_ROWS && groups_of(&tiles, m, n) >= 2 * units) return tiles;
    const int mt = m <= TILE_ROWS ? 1 : 2, chained = clf_chain_items(device) / WARP;
    plan p = {.straight = true, .mt = mt, .nt = 1, .wn = 1};
    p.wm = chained > 0 ? chained : mt == 1 && k >= 1024 ? 16 : 8;
    if (groups_of(&p, m, n) > units) p.nt = 4;
    return p;
}

// Whether the rows may be read in vectors of four.
static bool is_wide(clf_tensor x) {
    return x.stride % 4 == 0 && x.offset % 4 == 0 && x.cols % 4 == 0;
}

void clf_linear_run_matrix(clf_run *run, clf_matrix_unit unit, clf_tensor y, clf_tensor x,
                           clf_weight w, clf_linear e) {
    const clf_amx amx = clf_linear_amx(run, CLF_GEMM_MATRIX);
    if (amx.parts > 0) {
        clf_linear_run_amx(run, amx, y, x, w, e);
        return;
    }
    const plan p = plan_for(run->device, y.rows, w.k, w.n);
    const clf_kernel_spec spec = {
        .file = "linear_matrix",
        .kernel = "linear",
        .defines = {{"VW", 4},
                    {"STRAIGHT", p.straight},
                    {"MT", p.mt},
                    {"NT", p.nt},
                    {"WM", p.wm},
                    {"WN", p.wn},
                    {"UNIT", unit},
                    {"ACT", e.activation},
                    {"HALF", clf_is_half(x) + 2 * clf_is_half(y) + 4 * clf_is_half(w.data)},
                    {"INT8", w.data.dtype == CLF_I8},
                    {"WIDE", is_wide(x)}}};
    clf_range range = {.groups = {(size_t)clf_ceil_divide(y.rows, rows_of(&p)),
                                  (size_t)clf_ceil_divide(w.n, columns_of(&p))},
                       .local = {(size_t)(WARP * p.wm * p.wn)}};
    clf_linear_stream(&range, w, columns_of(&p));
    clf_linear_launch(run, &spec, range, y, x, w, e);
}

clf_matrix_tile clf_linear_matrix_tile(void) {
    return (clf_matrix_tile){rows_of(&tiles), columns_of(&tiles), WARP * tiles.wm * tiles.wn};
}

clf_kernel_spec clf_linear_matrix_gradient(clf_matrix_unit unit, clf_tensor x, clf_tensor dy) {
    return (clf_kernel_spec){.file = "linear_matrix_backward",
                             .kernel = "weight_gradient",
                             .defines = {{"VW", 4},
                                         {"MT", tiles.mt},
                                         {"WM", tiles.wm},
                                         {"WN", tiles.wn},
                                         {"UNIT", unit},
                                         {"HALF", clf_is_half(x) + 2 * clf_is_half(dy)},
                                         {"WIDE", is_wide(x) && is_wide(dy)}}};
}

static const char *const names[CLF_MATRIX_UNITS] = {[CLF_MATRIX_EMULATED] = "matrix-emulated",
                                                    [CLF_MATRIX_NVIDIA] = "matrix-nvidia",
                                                    [CLF_MATRIX_AMX] = "matrix-amx"};

const char *clf_matrix_name(clf_matrix_unit unit) {
    return names[unit];
}

static bool is_candidate(const clf_device *device, int unit) {
    const clf_caps *caps = clf_device_caps(device);
    if (unit == CLF_MATRIX_AMX) return clf_amx_is_candidate(device);
    return (caps->kind == CLF_DEVICE_DISCRETE_GPU || caps->kind == CLF_DEVICE_INTEGRATED_GPU) &&
           caps->local_is_real && caps->max_group >= 512;
}

clf_matrix_unit clf_linear_matrix_unit(clf_run *run) {
    clf_linear_state *state = clf_linear_state_get(run);
    if (!state) return CLF_MATRIX_EMULATED;
    if (!state->unit_known) {
        state->unit =
            (clf_matrix_unit)clf_trial_best(run->device, names, CLF_MATRIX_UNITS, is_candidate);
        state->unit_known = true;
    }
    return state->unit;
}
