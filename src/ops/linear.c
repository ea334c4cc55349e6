// SPDX-License-Identifier: MIT
#include "ops/linear.h"

#include <string.h>

#include "base/fail.h"
#include "device/launch.h"
#include "ops/shape.h"
#include "ops/tuning.h"

#define BLOCK_BYTES (256 << 10) // of x that should stay in the second level's cache
// With as many rows it is cheaper to convert a half weight once, to float or to pairs of bfloat16,
// than in every tile of a CPU; so many bytes at a time.
#define CONVERTED_ROWS  256
#define CONVERTED_BYTES (4 << 20)

static bool on_cpu(const clf_device *device) {
    return clf_device_profile(device)->lanes == 1;
}

static bool is_plain(clf_weight w) {
    return w.panel_stride == 16 || w.n <= 16;
}

static bool same_place(clf_tensor a, clf_tensor b) {
    return a.chunk == b.chunk && a.offset == b.offset;
}

// `types`: HALF of cl/linear.cl, and 8 for a weight of int8.
static clf_kernel_spec panel_spec(const clf_linear_state *state, clf_device *device, clf_tile tile,
                                  int lanes, bool packed, clf_activation activation, int types) {
    return (clf_kernel_spec){.file = "linear",
                             .kernel = "linear",
                             .defines = {{"VW", state->tuning.vector},
                                         {"MR", tile.rows},
                                         {"NC", tile.columns},
                                         {"WX", lanes},
                                         {"KL", state->tuning.slices},
                                         {"FMA", clf_device_caps(device)->fma},
                                         {"PACKED", packed},
                                         {"ACT", activation},
                                         {"HALF", types & 7},
                                         {"INT8", types >> 3}}};
}

// The tile's lanes, fewer if this kernel's work-group must be smaller here.
static int fitting_lanes(clf_run *run, clf_linear_state *state, int row_class, clf_tile tile,
                         clf_activation activation, int types) {
    if (tile.lanes == 1) return 1;
    short *known = &state->lanes[row_class][tile.rows][activation][types];
    while (*known == 0) {
        const clf_kernel_spec spec =
            panel_spec(state, run->device, tile, tile.lanes, false, activation, types);
        const int most = clf_kernel_max_group(run, &spec);
        if (run->status != CLF_OK) return 1;
        if (tile.lanes == 1 || tile.lanes * state->tuning.slices <= most)
            *known = (short)tile.lanes;
        else
            tile.lanes /= 2;
    }
    return *known;
}

int clf_linear_tile_rows(int rows, int most) {
    const int equal = clf_ceil_divide(rows, clf_ceil_divide(rows, most));
    const int even = (equal + 1) / 2 * 2;
    return rows > 16 || equal == 1 || even > most ? equal : even;
}

clf_range clf_linear_range(const clf_device *device, int rows, int tile_rows, size_t row_bytes,
                           int column_groups) {
    const int tiles = clf_ceil_divide(rows, tile_rows);
    const size_t tile_bytes = row_bytes * (size_t)tile_rows;
    int most = tiles; // of a block
    if (on_cpu(device)) most = tile_bytes < BLOCK_BYTES / 8 ? (int)(BLOCK_BYTES / tile_bytes) : 8;
    const int blocks = clf_ceil_divide(tiles, most);
    return (clf_range){
        .groups = {(size_t)clf_ceil_divide(tiles, blocks), (size_t)column_groups, (size_t)blocks}};
}

void clf_linear_stream(clf_range *range, clf_weight w, int columns) {
    const bool rows = w.panel_stride == 16; // else panels, one behind the other
    const size_t size = (size_t)clf_dtype_size(w.data.dtype);
    const size_t panel = size * (size_t)w.panel_stride;
    range->stream = (clf_stream){.from = w.data,
                                 .bytes = panel * (size_t)columns / 16,
                                 .rows = rows ? (size_t)w.k : 1,
                                 .step = size * (size_t)w.row_stride,
                                 .length = panel * (size_t)clf_ceil_divide(w.n, 16)};
}

void clf_linear_launch(clf_run *run, const clf_kernel_spec *spec, clf_range range, clf_tensor y,
                       clf_tensor x, clf_weight w, clf_linear e) {
    const double m = y.rows, k = w.k, n = w.n;
    const clf_cost cost = {.bytes = clf_dtype_size(x.dtype) * m * k +
                                    clf_dtype_size(w.data.dtype) * k * n +
                                    clf_dtype_size(y.dtype) * m * n,
                           .flops = 2 * m * k * n};
    const clf_arg arguments[] = {
        clf_arg_tensor(y),
        clf_arg_long((int64_t)y.stride),
        clf_arg_tensor(x),
        clf_arg_long((int64_t)x.stride),
        clf_arg_tensor(w.data),
        clf_arg_long((int64_t)w.panel_stride),
        clf_arg_long((int64_t)w.row_stride),
        clf_arg_tensor(w.scales),
        clf_arg_tensor(e.bias),
        clf_arg_tensor(e.residual),
        clf_arg_long((int64_t)e.residual.stride),
        clf_arg_int(y.rows),
        clf_arg_int(w.k),
        clf_arg_int(w.n),
    };
    clf_launch(run, spec, range, cost, arguments, CLF_COUNT(arguments));
}

static void run_panel(clf_run *run, clf_tensor y, clf_tensor x, clf_weight w, clf_linear e) {
    clf_linear_state *state = clf_linear_state_get(run);
    if (!state) return;
    const int row_class = clf_row_class(y.rows);
    clf_tile tile = state->tuning.tile[row_class];
    tile.rows = clf_linear_tile_rows(y.rows, tile.rows);
    const int types = clf_is_half(x) + 2 * clf_is_half(y) + 4 * clf_is_half(w.data) +
                      8 * (w.data.dtype == CLF_I8);
    const int lanes = fitting_lanes(run, state, row_class, tile, e.activation, types);
    const clf_kernel_spec spec =
        panel_spec(state, run->device, tile, lanes, w.row_stride == 16, e.activation, types);
    clf_range range = clf_linear_range(run->device, y.rows, tile.rows,
                                       (size_t)clf_dtype_size(x.dtype) * (size_t)w.k,
                                       clf_ceil_divide(clf_ceil_divide(w.n, tile.columns), lanes));
    range.local[0] = (size_t)(lanes * state->tuning.slices);
    clf_linear_stream(&range, w, tile.columns * lanes);
    clf_linear_launch(run, &spec, range, y, x, w, e);
}

static bool is_converted(const clf_device *device, int rows, clf_weight w, clf_linear e) {
    const bool packed = w.panel_stride == 16 * (uint64_t)w.k;
    return on_cpu(device) && rows >= CONVERTED_ROWS && clf_is_half(w.data) && packed && e.scratch;
}

void clf_linear_convert(clf_run *run, clf_tensor to, clf_tensor from, int64_t count) {
    enum { SPAN = 4096 }; // elements of a work-group
    const clf_kernel_spec spec = {
        .file = "pack",
        .kernel = "convert",
        .defines = {{"VW", clf_row_vector(run->device)}, {"SOURCE", from.dtype}, {"HALF", 1}}};
    const clf_range range = {.groups = {(size_t)((count + SPAN - 1) / SPAN)}, .local = {CLF_LANES}};
    const clf_arg arguments[] = {clf_arg_tensor(to), clf_arg_tensor(from), clf_arg_long(count)};
    clf_launch(run, &spec, range, (clf_cost){.bytes = 6.0 * (double)count}, arguments,
               CLF_COUNT(arguments));
}

static clf_tensor cols_if_there(clf_tensor t, int first, int count) {
    return t.chunk ? clf_tensor_cols(t, first, count) : t;
}

// The columns of y that belong to a part of w.
typedef void multiply_part(clf_run *run, clf_tensor y, clf_tensor x, clf_weight converted,
                           clf_weight w, clf_linear e);

static void multiply_floats(clf_run *run, clf_tensor y, clf_tensor x, clf_weight converted,
                            clf_weight w, clf_linear e) {
    clf_linear_convert(run, converted.data, w.data,
                       (int64_t)w.panel_stride * clf_ceil_divide(w.n, 16));
    run_panel(run, y, x, converted, e);
}

static void multiply_pairs(clf_run *run, clf_tensor y, clf_tensor x, clf_weight converted,
                           clf_weight w, clf_linear e) {
    const clf_bfloat kind = clf_linear_bfloat(run);
    clf_bfloat_pair(run, kind, converted, w);
    clf_bfloat_multiply(run, kind, y, x, converted, e);
}

// Part after part of w is converted to the elements of `room` and multiplied.
static void in_parts(clf_run *run, multiply_part *multiply, clf_weight room, clf_tensor y,
                     clf_tensor x, clf_weight w, clf_linear e) {
    for (int first = 0; first < w.n; first += room.n) {
        const int count = w.n - first < room.n ? w.n - first : room.n;
        clf_linear epilogue = e;
        epilogue.bias = cols_if_there(e.bias, first, count);
        epilogue.residual = cols_if_there(e.residual, first, count);
        multiply(run, clf_tensor_cols(y, first, count), x, clf_weight_cols(room, 0, count),
                 clf_weight_cols(w, first, count), epilogue);
    }
}

// The columns of such a part, of elements of `size` bytes.
static int part_columns(clf_weight w, int size) {
    const int panels = CONVERTED_BYTES / 16 / size / w.k, most = 16 * (panels > 0 ? panels : 1);
    return w.n < most ? w.n : most;
}

static void run_widened(clf_run *run, clf_tensor y, clf_tensor x, clf_weight w, clf_linear e) {
    const clf_arena_mark mark = clf_arena_get_mark(e.scratch);
    const int columns = part_columns(w, clf_dtype_size(CLF_F32));
    in_parts(run, multiply_floats, clf_weight_take_layout(run, e.scratch, w.k, columns, false), y,
             x, w, e);
    clf_arena_rewind(e.scratch, mark);
}

static void run_bfloat(clf_run *run, clf_tensor y, clf_tensor x, clf_weight w, clf_linear e) {
    const clf_amx amx = clf_linear_amx(run, CLF_GEMM_BFLOAT);
    if (amx.parts > 0) {
        clf_linear_run_amx(run, amx, y, x, w, e);
        return;
    }
    const clf_arena_mark mark = clf_arena_get_mark(e.scratch);
    const clf_tensor rows = clf_bfloat_rows(run, e.scratch, clf_linear_bfloat(run), x);
    const int columns = part_columns(w, clf_dtype_size(CLF_BF16));
    in_parts(run, multiply_pairs, clf_bfloat_take(run, e.scratch, w.k, columns), y, rows, w, e);
    clf_arena_rewind(e.scratch, mark);
}

// A launch over rows and shares of their columns: on a CPU a row is one work-item's.
static clf_range row_range(const clf_device *device, int rows, int cols) {
    const clf_profile *profile = clf_device_profile(device);
    const int shares =
        on_cpu(device) ? 1 : clf_ceil_divide(cols, profile->lanes * profile->vector_width);
    return (clf_range){.groups = {(size_t)rows, (size_t)shares, 1}, .local = {CLF_LANES}};
}

static void run_epilogue(clf_run *run, clf_tensor y, clf_linear e) {
    const clf_kernel_spec spec = {
        .file = "epilogue", .kernel = "epilogue", .defines = {{"ACT", e.activation}}};
    const clf_cost cost = {.bytes = 4.0 * y.rows * y.cols * (e.residual.chunk ? 3 : 2)};
    const clf_arg arguments[] = {
        clf_arg_tensor(y),
        clf_arg_long((int64_t)y.stride),
        clf_arg_tensor(e.bias),
        clf_arg_tensor(e.residual),
        clf_arg_long((int64_t)e.residual.stride),
        clf_arg_int(y.cols),
    };
    clf_launch(run, &spec, row_range(run->device, y.rows, y.cols), cost, arguments,
               (int)(sizeof arguments / sizeof *arguments));
}

static void run_clblast(clf_run *run, clf_tensor y, clf_tensor x, clf_weight w, clf_linear e) {
    clf_tensor plain = w.data;
    plain.rows = w.k;
    plain.cols = w.n;
    plain.stride = w.row_stride;
    float beta = 0;
    if (e.residual.chunk && same_place(y, e.residual)) {
        beta = 1;
        e.residual = (clf_tensor){0};
    }
    clf_clblast_gemm(run, y, x, plain, beta);
    if (e.bias.chunk || e.residual.chunk || e.activation != CLF_ACT_NONE) run_epilogue(run, y, e);
}

void clf_linear_run(clf_run *run, clf_gemm variant, clf_tensor y, clf_tensor x, clf_weight w,
                    clf_linear epilogue) {
    switch (variant) {
    case CLF_GEMM_PANEL:
        if (is_converted(run->device, y.rows, w, epilogue))
            run_widened(run, y, x, w, epilogue);
        else
            run_panel(run, y, x, w, epilogue);
        break;
    case CLF_GEMM_CLBLAST: run_clblast(run, y, x, w, epilogue); break;
    case CLF_GEMM_MATRIX:
        clf_linear_run_matrix(run, clf_linear_matrix_unit(run), y, x, w, epilogue);
        break;
    case CLF_GEMM_BFLOAT: run_bfloat(run, y, x, w, epilogue); break;
    }
}

// CLBlast is believed on a device only after it gave the right result there.
static bool clblast_is_right(clf_device *device, clf_linear_state *state, int row_class) {
    clf_trust *trust = &state->clblast[row_class];
    if (*trust == CLF_TRUST_UNKNOWN) {
        const bool passed = clf_linear_check(device, CLF_GEMM_CLBLAST, row_class);
        *trust = passed ? CLF_TRUST_PASSED : CLF_TRUST_FAILED;
        if (!passed)
            clf_log(CLF_LOG_WARNING, "CLBlast gives wrong results on this device; clformer's own "
                                     "matrix product is used instead");
    }
    return *trust == CLF_TRUST_PASSED;
}

// A chain's kernels have no blocks of local memory.
static bool is_for_amx(const clf_device *device, int rows) {
    return rows >= CLF_AMX_ROWS && clf_chain_items(device) == 0;
}

static clf_gemm choose(clf_run *run, int rows) {
    const char *option = clf_device_gemm_option(run->device);
    if (strcmp(option, "panel") == 0) return CLF_GEMM_PANEL;
    if (strcmp(option, "clblast") != 0 && (!on_cpu(run->device) || is_for_amx(run->device, rows)) &&
        clf_linear_matrix_unit(run) != CLF_MATRIX_EMULATED)
        return CLF_GEMM_MATRIX;
    clf_linear_state *state = clf_linear_state_get(run);
    if (!state) return CLF_GEMM_PANEL;
    const int row_class = clf_row_class(rows);
    const bool wanted =
        strcmp(option, "clblast") == 0 || state->tuning.gemm[row_class] == CLF_GEMM_CLBLAST;
    return wanted && clblast_is_right(run->device, state, row_class) ? CLF_GEMM_CLBLAST
                                                                     : CLF_GEMM_PANEL;
}

clf_gemm clf_linear_variant(clf_device *device, int rows, int k, int n) {
    (void)k;
    (void)n;
    clf_run run = clf_run_begin(device);
    return choose(&run, rows);
}

static bool shapes_fit(clf_tensor y, clf_tensor x, clf_weight w, clf_linear e) {
    return x.rows == y.rows && x.cols == w.k && y.cols == w.n &&
           (!e.bias.chunk || (e.bias.rows == 1 && e.bias.cols == w.n)) &&
           (!e.residual.chunk || (e.residual.rows == y.rows && e.residual.cols == y.cols));
}

static bool types_fit(clf_run *run, clf_tensor y, clf_tensor x, clf_weight w, clf_linear e) {
    static const char op[] = "linear";
    return clf_shape_is_real(run, op, "y", y, CLF_ANY, CLF_ANY) &&
           clf_shape_is_real(run, op, "x", x, CLF_ANY, CLF_ANY) &&
           clf_shape_require(run, clf_weight_fits(w), op, "w is neither float, half nor int8") &&
           clf_shape_is_or_absent(run, op, "bias", e.bias, CLF_ANY, CLF_ANY, CLF_F32) &&
           clf_shape_is_or_absent(run, op, "residual", e.residual, CLF_ANY, CLF_ANY, y.dtype);
}

void clf_op_linear(clf_run *run, clf_tensor y, clf_tensor x, clf_weight w, clf_linear epilogue) {
    if (run->status != CLF_OK || y.rows == 0) return;
    if (!shapes_fit(y, x, w, epilogue)) {
        clf_run_fail(run, clf_fail(CLF_ERROR_ARGUMENT,
                                   "linear: (%d, %d) = (%d, %d) . (%d, %d) does not fit", y.rows,
                                   y.cols, x.rows, x.cols, w.k, w.n));
        return;
    }
    if (!types_fit(run, y, x, w, epilogue)) return;
    if (w.int8 != CLF_INT8_PLAIN) {
        clf_linear_run_int8(run, y, x, w, epilogue);
        return;
    }
    clf_gemm variant = choose(run, y.rows);
    const bool clblast_cannot = !is_plain(w) || clf_is_half(y) || clf_is_half(x) ||
                                w.data.dtype != CLF_F32 ||
                                (epilogue.activation != CLF_ACT_NONE && epilogue.residual.chunk &&
                                 same_place(y, epilogue.residual));
    if (variant == CLF_GEMM_CLBLAST && clblast_cannot) variant = CLF_GEMM_PANEL;
    if (on_cpu(run->device) && variant == CLF_GEMM_MATRIX && w.data.dtype == CLF_I8)
        variant = CLF_GEMM_PANEL;
    if (variant != CLF_GEMM_CLBLAST && epilogue.coarse &&
        is_converted(run->device, y.rows, w, epilogue) && clf_linear_rounds(run))
        variant = CLF_GEMM_BFLOAT;
    clf_linear_run(run, variant, y, x, w, epilogue);
}

void clf_op_gate(clf_run *run, clf_tensor y, clf_tensor x, clf_activation activation) {
    if (run->status != CLF_OK || y.rows == 0) return;
    if (x.rows != y.rows || x.cols != 2 * y.cols) {
        clf_run_fail(run, clf_fail(CLF_ERROR_ARGUMENT, "gate: (%d, %d) of (%d, %d) does not fit",
                                   y.rows, y.cols, x.rows, x.cols));
        return;
    }
    const clf_kernel_spec spec = {
        .file = "epilogue", .kernel = "gate", .defines = {{"ACT", activation}}};
    const clf_cost cost = {.bytes = 12.0 * y.rows * y.cols};
    const clf_arg arguments[] = {
        clf_arg_tensor(y),   clf_arg_long((int64_t)y.stride),
        clf_arg_tensor(x),   clf_arg_long((int64_t)x.stride),
        clf_arg_int(y.cols),
    };
    clf_launch(run, &spec, row_range(run->device, y.rows, y.cols), cost, arguments,
               (int)(sizeof arguments / sizeof *arguments));
}
