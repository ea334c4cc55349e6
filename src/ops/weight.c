// SPDX-License-Identifier: MIT
#include <string.h>

#include "base/fail.h"
#include "device/launch.h"
#include "ops/linear.h"
#include "ops/shape.h"
#include "ops/tuning.h"

#define PANEL        16        // columns of a panel
#define SLICE_BYTES  (8 << 20) // of a file's matrix that are uploaded at a time
#define PACK_ELEMENT 16        // rows and columns that a work-item converts

static int pad(int n) {
    return (n + PANEL - 1) / PANEL * PANEL;
}

// CLBlast reads plain rows, and neighbouring work-items of a GPU read neighbouring columns of a
// row. A CPU's caches and TLB want packed panels.
static bool prefers_plain(clf_run *run) {
    const char *option = clf_device_gemm_option(run->device);
    if (clf_device_profile(run->device)->lanes > 1 || strcmp(option, "clblast") == 0) return true;
    if (strcmp(option, "panel") == 0) return false;
    const clf_linear_state *state = clf_linear_state_get(run);
    for (int i = 0; state && i < CLF_ROW_CLASSES; i++) {
        if (state->tuning.gemm[i] == CLF_GEMM_CLBLAST) return true;
    }
    return false;
}

bool clf_weight_fits(clf_weight w) {
    const clf_dtype dtype = w.data.dtype;
    return dtype == CLF_F32 || dtype == CLF_F16 ||
           (dtype == CLF_I8 && w.scales.chunk && w.scales.cols == pad(w.n));
}

static clf_weight take(clf_run *run, clf_arena *arena, int k, int n, bool plain, clf_dtype dtype) {
    clf_weight w = {.k = k, .n = n};
    w.panel_stride = plain ? PANEL : (uint64_t)PANEL * (uint64_t)k;
    w.row_stride = plain ? (uint64_t)pad(n) : PANEL;
    w.data = clf_arena_take(run, arena, k, pad(n), dtype);
    if (n % PANEL != 0) clf_fill_zero(run, w.data);
    return w;
}

clf_weight clf_weight_take_layout(clf_run *run, clf_arena *arena, int k, int n, bool plain) {
    return take(run, arena, k, n, plain, CLF_F32);
}

clf_weight clf_weight_take_int8(clf_run *run, clf_arena *arena, int k, int n, clf_int8 kind) {
    const int interleave = clf_int8_interleave(kind);
    const int padded_k = (k + interleave - 1) / interleave * interleave;
    const bool plain = kind == CLF_INT8_PLAIN && prefers_plain(run);
    clf_weight w = take(run, arena, padded_k, n, plain, CLF_I8);
    if (padded_k != k && n % PANEL == 0) clf_fill_zero(run, w.data);
    w.k = k;
    w.row_stride *= (uint64_t)interleave;
    w.scales = clf_arena_take(run, arena, 1, pad(n), CLF_F32);
    if (n % PANEL != 0) clf_fill_zero(run, w.scales);
    w.int8 = kind;
    return w;
}

clf_weight clf_weight_take_as(clf_run *run, clf_arena *arena, int k, int n, clf_dtype dtype) {
    if (dtype == CLF_I8) return clf_weight_take_int8(run, arena, k, n, clf_linear_int8(run));
    return take(run, arena, k, n, prefers_plain(run), dtype);
}

clf_weight clf_weight_take(clf_run *run, clf_arena *arena, int k, int n) {
    return clf_weight_take_as(run, arena, k, n, CLF_F32);
}

clf_weight clf_weight_cols(clf_weight w, int first, int count) {
    w.data.offset += w.panel_stride * (uint64_t)(first / PANEL);
    if (w.scales.chunk) w.scales = clf_tensor_cols(w.scales, first, pad(count));
    w.n = count;
    return w;
}

// Where element (r, c) of a piece goes: see cl/pack.cl.
typedef struct placement {
    clf_tensor to;
    uint64_t panel_stride, lane_stride, column_stride;
    int first;
    clf_tensor scales; // of int8
    clf_int8 int8;
} placement;

static bool has_kernel(clf_dtype dtype) {
    return dtype == CLF_F32 || dtype == CLF_F16 || dtype == CLF_BF16 || dtype == CLF_I16 ||
           dtype == CLF_I8;
}

static void pack_int8(clf_run *run, placement place, clf_tensor from, clf_tensor scales,
                      bool divide) {
    const size_t width = clf_device_profile(run->device)->lanes > 1 ? 32 : 1;
    const clf_kernel_spec spec = {
        .file = "pack", .kernel = "pack_int8", .defines = {{"SOURCE", (int)from.dtype}}};
    const clf_range range = {.groups = {((size_t)from.rows + width - 1) / width}, .local = {width}};
    const clf_cost cost = {.bytes = (1.0 + clf_dtype_size(from.dtype)) * from.rows * from.cols};
    const clf_arg arguments[] = {
        clf_arg_tensor(place.to),
        clf_arg_long((int64_t)place.panel_stride),
        clf_arg_long((int64_t)place.column_stride),
        clf_arg_int(clf_int8_interleave(place.int8)),
        clf_arg_int(place.first),
        clf_arg_tensor(place.scales),
        clf_arg_int(clf_int8_limit(place.int8)),
        clf_arg_int(clf_int8_offset(place.int8)),
        clf_arg_tensor(from),
        clf_arg_int(from.rows),
        clf_arg_int(from.cols),
        clf_arg_tensor(scales),
        clf_arg_int(scales.cols),
        clf_arg_int(divide),
    };
    clf_launch(run, &spec, range, cost, arguments, CLF_COUNT(arguments));
}

static void pack_slice(clf_run *run, placement place, clf_tensor from, clf_tensor scales,
                       bool divide) {
    if (place.to.dtype == CLF_I8) {
        pack_int8(run, place, from, scales, divide);
        return;
    }
    const size_t width = clf_device_profile(run->device)->lanes > 1 ? 8 : 1;
    const size_t columns = (size_t)(from.cols + PACK_ELEMENT - 1) / PACK_ELEMENT;
    const size_t rows = (size_t)(from.rows + PACK_ELEMENT - 1) / PACK_ELEMENT;
    const clf_kernel_spec spec = {
        .file = "pack",
        .kernel = "pack",
        .defines = {{"SOURCE", (int)from.dtype}, {"HALF", clf_is_half(place.to)}}};
    const clf_range range = {
        .groups = {(columns + width - 1) / width, (rows + width - 1) / width, 1},
        .local = {width, width, 1}};
    const clf_cost cost = {
        .bytes = (double)(clf_dtype_size(place.to.dtype) + clf_dtype_size(from.dtype)) * from.rows *
                 from.cols};
    const clf_arg arguments[] = {
        clf_arg_tensor(place.to),
        clf_arg_long((int64_t)place.panel_stride),
        clf_arg_long((int64_t)place.lane_stride),
        clf_arg_long((int64_t)place.column_stride),
        clf_arg_int(place.first),
        clf_arg_tensor(from),
        clf_arg_int(from.rows),
        clf_arg_int(from.cols),
        clf_arg_tensor(scales),
        clf_arg_int(scales.cols),
        clf_arg_int(divide),
    };
    clf_launch(run, &spec, range, cost, arguments, (int)(sizeof arguments / sizeof *arguments));
}

// Uploads rows [0, rows) of the piece in slices and converts each on the device. The queue is in
// order, so a slice may overwrite the one before.
static void write_slices(clf_run *run, placement place, const clf_piece *piece,
                         clf_arena *staging) {
    const size_t row_bytes = (size_t)piece->cols * (size_t)clf_dtype_size(piece->dtype);
    const clf_arena_mark mark = clf_arena_get_mark(staging);
    const size_t most = row_bytes < SLICE_BYTES ? SLICE_BYTES / row_bytes : 1;
    const int step = (size_t)piece->rows < most ? piece->rows : (int)most;
    clf_tensor from = clf_arena_take(run, staging, step, piece->cols, piece->dtype);
    clf_tensor scales = {0};
    if (piece->scale_count > 0) {
        scales = clf_arena_take(run, staging, 1, piece->scale_count, CLF_F32);
        clf_write(run, scales, piece->scales);
    }
    for (int row = 0; row < piece->rows && run->status == CLF_OK; row += step) {
        const int rows = piece->rows - row < step ? piece->rows - row : step;
        const clf_tensor slice = clf_tensor_rows(from, 0, rows);
        const clf_tensor slice_scales =
            piece->scale_count > 1 ? clf_tensor_cols(scales, row, rows) : scales;
        placement slice_place = place;
        slice_place.first += row;
        clf_write(run, slice, (const char *)piece->data + (size_t)row * row_bytes);
        pack_slice(run, slice_place, slice, slice_scales, piece->divide);
    }
    clf_arena_rewind(staging, mark);
}

static bool piece_fits(clf_run *run, const clf_piece *piece, int rows, int cols) {
    if (run->status != CLF_OK) return false;
    const bool scales_fit =
        piece->scale_count == 0 || piece->scale_count == 1 || piece->scale_count == piece->rows;
    if (has_kernel(piece->dtype) && piece->rows <= rows && piece->cols == cols && scales_fit)
        return piece->rows > 0 && cols > 0;
    clf_run_fail(run, clf_fail(CLF_ERROR_ARGUMENT,
                               "a matrix (%d, %d) with %d scales and element type %d does not fit "
                               "a parameter of %d x %d",
                               piece->rows, piece->cols, piece->scale_count, (int)piece->dtype,
                               rows, cols));
    return false;
}

void clf_weight_write(clf_run *run, clf_weight w, int first, const clf_piece *piece,
                      clf_arena *staging) {
    if (!clf_shape_require(run, clf_weight_fits(w), "write", "the weight's type is unknown") ||
        !piece_fits(run, piece, w.n - first, w.k))
        return;
    const placement place = {w.data, w.panel_stride, 1, w.row_stride, first, w.scales, w.int8};
    write_slices(run, place, piece, staging);
}

void clf_tensor_write_piece(clf_run *run, clf_tensor t, const clf_piece *piece,
                            clf_arena *staging) {
    if (!clf_shape_is(run, "write", "the parameter", t, CLF_ANY, CLF_ANY, CLF_F32) ||
        !piece_fits(run, piece, t.rows, t.cols))
        return;
    const placement place = {t, PANEL * t.stride, t.stride, 1, 0, {0}, CLF_INT8_PLAIN};
    write_slices(run, place, piece, staging);
}
