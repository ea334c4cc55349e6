// SPDX-License-Identifier: MIT
// Products whose factors are rounded to bfloat16. Who multiplies is a CPU: a work-item has a row.
#include <string.h>

#include "base/fail.h"
#include "device/launch.h"
#include "device/trial.h"
#include "ops/linear.h"
#include "ops/shape.h"
#include "ops/tuning.h"

#define PANEL 16

static const char *const names[CLF_BFLOAT_KINDS] = {[CLF_BFLOAT_EMULATED] = "bfloat16-emulated",
                                                    [CLF_BFLOAT_AMX_EMULATED] =
                                                        "bfloat16-amx-emulated",
                                                    [CLF_BFLOAT_AVX512] = "bfloat16-avx512",
                                                    [CLF_BFLOAT_AMX] = "bfloat16-amx"};

const char *clf_bfloat_name(clf_bfloat kind) {
    return names[kind];
}

static bool is_candidate(const clf_device *device, int kind) {
    const clf_caps *caps = clf_device_caps(device);
    if (kind == CLF_BFLOAT_AMX) return clf_amx_is_candidate(device);
    return kind == CLF_BFLOAT_AVX512 && clf_device_profile(device)->lanes == 1 &&
           caps->kind == CLF_DEVICE_CPU && caps->native_float_width >= 16;
}

clf_bfloat clf_linear_bfloat(clf_run *run) {
    clf_linear_state *state = clf_linear_state_get(run);
    if (!state) return CLF_BFLOAT_EMULATED;
    if (!state->bfloat_known) {
        state->bfloat =
            (clf_bfloat)clf_trial_best(run->device, names, CLF_BFLOAT_KINDS, is_candidate);
        state->bfloat_known = true;
    }
    return state->bfloat;
}

bool clf_linear_rounds(clf_run *run) {
    return strcmp(clf_device_gemm_option(run->device), "panel") != 0 &&
           clf_linear_bfloat(run) != CLF_BFLOAT_EMULATED;
}

int clf_bfloat_define(clf_bfloat kind) {
    return kind == CLF_BFLOAT_AVX512 ? 1 : 2;
}

// A kernel of cl/bfloat_pack.cl.
static clf_kernel_spec pack_spec(const clf_device *device, clf_bfloat kind, const char *kernel,
                                 bool half) {
    const int vector = kind == CLF_BFLOAT_AVX512 ? 16 : clf_row_vector(device);
    return (clf_kernel_spec){
        .file = "bfloat_pack",
        .kernel = kernel,
        .defines = {{"VW", vector}, {"HALF", half}, {"BFLOAT", clf_bfloat_define(kind)}}};
}

clf_tensor clf_bfloat_rows(clf_run *run, clf_arena *arena, clf_bfloat kind, clf_tensor x) {
    const clf_tensor to =
        clf_arena_take(run, arena, x.rows, clf_ceil_divide(x.cols, 2) * 2, CLF_BF16);
    const clf_kernel_spec spec = pack_spec(run->device, kind, "round_rows", clf_is_half(x));
    const clf_arg arguments[] = {clf_arg_tensor(to), clf_arg_int((int32_t)to.stride),
                                 CLF_ARG_MATRIX(x), clf_arg_int(x.rows), clf_arg_int(x.cols)};
    const clf_cost cost = {.bytes = (2.0 + clf_dtype_size(x.dtype)) * x.rows * x.cols};
    clf_launch(run, &spec, clf_row_range(run->device, x.rows), cost, arguments,
               CLF_COUNT(arguments));
    return to;
}

clf_weight clf_bfloat_take(clf_run *run, clf_arena *arena, int k, int n) {
    const int even = clf_ceil_divide(k, 2) * 2;
    return (clf_weight){
        .data = clf_arena_take(run, arena, even, clf_ceil_divide(n, PANEL) * PANEL, CLF_BF16),
        .k = k,
        .n = n,
        .panel_stride = (uint64_t)PANEL * (uint64_t)even,
        .row_stride = PANEL};
}

void clf_bfloat_pair(clf_run *run, clf_bfloat kind, clf_weight to, clf_weight w) {
    enum { SHARE = 256 }; // k of a work-group
    const clf_kernel_spec spec = pack_spec(run->device, kind, "pair_rows", true);
    const clf_range range = {
        .groups = {(size_t)clf_ceil_divide(w.n, PANEL), (size_t)clf_ceil_divide(w.k, SHARE)},
        .local = {CLF_LANES}};
    const clf_arg arguments[] = {
        clf_arg_tensor(to.data),
        clf_arg_long((int64_t)to.panel_stride),
        clf_arg_tensor(w.data),
        clf_arg_long((int64_t)w.panel_stride),
        clf_arg_long((int64_t)w.row_stride),
        clf_arg_int(w.k),
        clf_arg_int(SHARE),
    };
    clf_launch(run, &spec, range, (clf_cost){.bytes = 4.0 * w.k * w.n}, arguments,
               CLF_COUNT(arguments));
}

void clf_bfloat_multiply(clf_run *run, clf_bfloat kind, clf_tensor y, clf_tensor rows, clf_weight w,
                         clf_linear epilogue) {
    const clf_dot dot = {.tile = kind == CLF_BFLOAT_AVX512
                                     ? (clf_dot_tile){16, 12, 32, 1}
                                     : (clf_dot_tile){clf_row_vector(run->device), 4, 16, 1},
                         .kind = 4 + clf_bfloat_define(kind)};
    clf_linear_dot(run, &dot, y, rows, w, epilogue);
}
