// SPDX-License-Identifier: MIT
#include "base/fail.h"
#include "device/launch.h"
#include "device/trial.h"
#include "ops/linear.h"
#include "ops/shape.h"
#include "ops/tuning.h"

#define INTEGER_DOT 4  // DOT of cl/linear.cl
#define AMX_ROWS    16 // from which on CLF_INT8_AMX uses tile registers

// As many sums as the registers hold; a GPU's work-items stand side by side.
static clf_dot_tile tile_of(clf_run *run, clf_int8 kind) {
    switch (kind) {
    case CLF_INT8_AMX:
    case CLF_INT8_VNNI512: return (clf_dot_tile){16, 12, 32, 1};
    case CLF_INT8_VNNI256:
    case CLF_INT8_MADDUBS: return (clf_dot_tile){8, 4, 16, 1};
    default: break;
    }
    clf_dot_tile t = {1, 8, 4, 1};
    while (t.lanes < 32 && t.lanes * 2 <= clf_device_caps(run->device)->max_group) t.lanes *= 2;
    return t;
}

static void quantize(clf_run *run, clf_quantized to, clf_tensor x) {
    const clf_kernel_spec spec = {.file = "quantize", .kernel = "quantize"};
    const clf_arg arguments[] = {
        clf_arg_tensor(to.rows),   clf_arg_int(to.rows.cols), clf_arg_tensor(to.stats),
        clf_arg_tensor(to.errors), CLF_ARG_MATRIX(x),         clf_arg_int(x.rows),
        clf_arg_int(x.cols),
    };
    const clf_cost cost = {.bytes = 5.0 * x.rows * x.cols};
    clf_launch(run, &spec, clf_row_range(run->device, x.rows), cost, arguments,
               CLF_COUNT(arguments));
}

clf_quantized clf_op_quantize(clf_run *run, clf_arena *arena, clf_tensor x, clf_weight w) {
    return clf_linear_quantize(run, arena, x, w, false);
}

clf_quantized clf_linear_quantize(clf_run *run, clf_arena *arena, clf_tensor x, clf_weight w,
                                  bool errors) {
    clf_quantized to = {0};
    if (w.int8 == CLF_INT8_PLAIN ||
        !clf_shape_is(run, "quantize", "x", x, CLF_ANY, CLF_ANY, CLF_F32) || x.rows == 0)
        return to;
    to.rows = clf_arena_take(run, arena, x.rows, clf_ceil_divide(x.cols, 4) * 4, CLF_I8);
    to.stats = clf_arena_take(run, arena, x.rows, 2, CLF_F32);
    if (errors) to.errors = clf_arena_take(run, arena, x.rows, 2, CLF_F32);
    quantize(run, to, x);
    return to;
}

// A launch of a kernel linear_dot, whose groups compute so many rows and columns.
static void launch_dot(clf_run *run, const clf_kernel_spec *spec, int tile_rows, int columns,
                       int lanes, clf_tensor y, clf_tensor q, clf_weight w, clf_linear e) {
    const int row_bytes = q.cols * clf_dtype_size(q.dtype);
    clf_range range = clf_linear_range(run->device, y.rows, tile_rows, (size_t)row_bytes,
                                       clf_ceil_divide(w.n, columns));
    range.local[0] = (size_t)lanes;
    clf_linear_stream(&range, w, columns);
    const double m = y.rows, k = w.k, n = w.n;
    const clf_cost cost = {.bytes = clf_dtype_size(q.dtype) * (m * k + k * n) +
                                    clf_dtype_size(y.dtype) * m * n,
                           .flops = 2 * m * k * n};
    const clf_arg arguments[] = {
        clf_arg_tensor(y),
        clf_arg_long((int64_t)y.stride),
        clf_arg_tensor(q),
        clf_arg_int((int32_t)q.stride),
        clf_arg_tensor(e.quantized.stats),
        clf_arg_tensor(w.data),
        clf_arg_long((int64_t)w.panel_stride),
        clf_arg_tensor(w.scales),
        clf_arg_tensor(e.bias),
        clf_arg_tensor(e.residual),
        clf_arg_long((int64_t)e.residual.stride),
        clf_arg_int(y.rows),
        clf_arg_int(row_bytes / 4),
        clf_arg_int(w.n),
    };
    clf_launch(run, spec, range, cost, arguments, CLF_COUNT(arguments));
}

void clf_linear_dot(clf_run *run, const clf_dot *dot, clf_tensor y, clf_tensor q, clf_weight w,
                    clf_linear e) {
    const clf_dot_tile *t = &dot->tile;
    const int tile_rows = clf_linear_tile_rows(y.rows, t->rows);
    clf_kernel_spec spec = {.file = "linear",
                            .kernel = "linear_dot",
                            .defines = {{"VW", t->vector},
                                        {"MR", tile_rows},
                                        {"NC", t->columns},
                                        {"WX", t->lanes},
                                        {"ACT", e.activation},
                                        {"HALF", 2 * clf_is_half(y)},
                                        {"DOT", dot->kind},
                                        {"OFFSET", dot->offset}}};
    if (dot->kind == INTEGER_DOT && clf_device_caps(run->device)->integer_dot)
        spec.defines[8] = (clf_define){CLF_NEWEST, 1};
    launch_dot(run, &spec, tile_rows, t->columns * t->lanes, t->lanes, y, q, w, e);
}

static void multiply_tiles(clf_run *run, clf_tensor y, clf_weight w, clf_linear e) {
    enum { ROWS = 32, COLUMNS = 64 };
    const bool emulated = w.int8 == CLF_INT8_AMX_EMULATED;
    const clf_kernel_spec spec = {
        .file = "linear_dot_amx",
        .kernel = "linear_dot",
        .defines = {{"VW", 16}, {"NC", COLUMNS}, {"AMX", emulated ? 2 : 1}, {"ACT", e.activation}}};
    launch_dot(run, &spec, ROWS, COLUMNS, 1, y, e.quantized.rows, w, e);
}

static void multiply(clf_run *run, clf_tensor y, clf_weight w, clf_linear e) {
    static const int kinds[CLF_INT8_KINDS] = {[CLF_INT8_AMX] = 1,
                                              [CLF_INT8_VNNI512] = 1,
                                              [CLF_INT8_VNNI256] = 2,
                                              [CLF_INT8_MADDUBS] = 3,
                                              [CLF_INT8_DOT] = INTEGER_DOT};
    if (w.int8 == CLF_INT8_AMX_EMULATED || (w.int8 == CLF_INT8_AMX && y.rows >= AMX_ROWS)) {
        multiply_tiles(run, y, w, e);
        return;
    }
    const clf_dot dot = {tile_of(run, w.int8), kinds[w.int8], clf_int8_offset(w.int8)};
    clf_linear_dot(run, &dot, y, e.quantized.rows, w, e);
}

void clf_linear_run_int8(clf_run *run, clf_tensor y, clf_tensor x, clf_weight w,
                         clf_linear epilogue) {
    const bool given = epilogue.quantized.rows.chunk != NULL;
    if (!clf_shape_is(run, "linear", "y", y, x.rows, w.n, CLF_F32) ||
        !clf_shape_require(run, given || epilogue.scratch, "linear", "scratch is missing"))
        return;
    const clf_arena_mark mark = given ? (clf_arena_mark){0} : clf_arena_get_mark(epilogue.scratch);
    if (!given) epilogue.quantized = clf_op_quantize(run, epilogue.scratch, x, w);
    if (clf_shape_is(run, "linear", "x rounded", epilogue.quantized.rows, x.rows,
                     clf_ceil_divide(w.k, 4) * 4, CLF_I8))
        multiply(run, y, w, epilogue);
    if (!given) clf_arena_rewind(epilogue.scratch, mark);
}

static const char *const names[CLF_INT8_KINDS] = {
    [CLF_INT8_PLAIN] = "int8-plain",     [CLF_INT8_AMX_EMULATED] = "int8-amx-emulated",
    [CLF_INT8_DOT] = "int8-dot",         [CLF_INT8_MADDUBS] = "int8-maddubs",
    [CLF_INT8_VNNI256] = "int8-vnni256", [CLF_INT8_VNNI512] = "int8-vnni512",
    [CLF_INT8_AMX] = "int8-amx"};

const char *clf_int8_name(clf_int8 kind) {
    return names[kind];
}

// What is worth a trial: the instructions of CPUs where kernels are made for one.
static bool is_candidate(const clf_device *device, int kind) {
    const clf_caps *caps = clf_device_caps(device);
    if (caps->kind == CLF_DEVICE_EMULATOR || kind == CLF_INT8_AMX_EMULATED) return false;
    if (kind == CLF_INT8_DOT) return caps->integer_dot || caps->qcom_dot;
    if (kind == CLF_INT8_AMX) return clf_amx_is_candidate(device);
    return clf_device_profile(device)->lanes == 1;
}

clf_int8 clf_linear_int8(clf_run *run) {
    clf_linear_state *state = clf_linear_state_get(run);
    if (!state) return CLF_INT8_PLAIN;
    if (!state->int8_known) {
        state->int8 = (clf_int8)clf_trial_best(run->device, names, CLF_INT8_KINDS, is_candidate);
        state->int8_known = true;
    }
    return state->int8;
}
