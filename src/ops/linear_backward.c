// SPDX-License-Identifier: MIT
#include "device/launch.h"
#include "ops/backward.h"
#include "ops/linear.h"
#include "ops/shape.h"

#define PANEL      16        // columns of a panel
#define READ_BYTES (8 << 20) // of a weight that are read at a time
#define SLICE_ROWS 256       // a slice of the rows is a multiple of it
#define MAX_SLICES 16

// Which weight_gradient: of cl/linear_backward.cl, linear_matrix_backward.cl or linear_amx.cl.
typedef enum gradient_kernel { BY_VECTORS, BY_MATRIX_UNIT, BY_AMX } gradient_kernel;

// How it is built, if it is the first of them, and how dw is cut: see there.
typedef struct gradient_plan {
    gradient_kernel kernel;
    clf_amx amx;
    int bfloat;                          // BFLOAT
    int vector, tile_rows, tile_columns; // VW, MR, NC
    int rows, columns, ks, lanes;        // RB, NB, KB, WX
    int k_block, column_block;           // of a work-group
    int slice_rows, slices;
} gradient_plan;

static bool on_cpu(const clf_device *device) {
    return clf_device_profile(device)->lanes == 1;
}

// As many sums as the registers hold: 6 x 64 of the 32 registers of 16 floats, 6 x 16 of the 16
// registers of 8. The blocks of dy and x take a part of the second level's cache, a panel and a
// tile of them the first level's.
static void plan_cpu(const clf_caps *caps, gradient_plan *plan) {
    const int width = caps->native_float_width;
    plan->vector = width >= 16 ? 16 : width >= 8 ? 8 : 4;
    plan->tile_rows = 6;
    plan->tile_columns = (width >= 16 ? 4 : 2) * plan->vector;
    plan->lanes = 1;
    plan->rows = 128;
    plan->columns = 256;
    plan->ks = 192;
    while (plan->rows > 16 &&
           4 * (uint64_t)(plan->rows + 1) * (uint64_t)(plan->columns + plan->ks) >
               caps->local_memory) {
        if (plan->columns > 64)
            plan->columns /= 2;
        else
            plan->rows /= 2;
    }
}

static void plan_gpu(const clf_caps *caps, gradient_plan *plan) {
    plan->vector = 1;
    plan->tile_rows = 8;
    plan->tile_columns = 4;
    plan->lanes = 1;
    while (plan->lanes < 64 && plan->lanes * 2 <= caps->max_group) plan->lanes *= 2;
    plan->rows = 1;
    plan->ks = plan->tile_rows;
    plan->columns = plan->tile_columns * plan->lanes;
}

static void plan_amx(const clf_device *device, gradient_plan *plan) {
    const clf_matrix_tile tile = clf_linear_amx_tile(device, plan->amx);
    plan->tile_rows = plan->tile_columns = tile.rows;
    plan->columns = tile.columns;
    plan->lanes = tile.items;
}

// n cut into equal blocks of at most `most`, each a multiple of `unit`.
static int equal_block(int n, int most, int unit) {
    const int blocks = clf_ceil_divide(n, most);
    return clf_ceil_divide(clf_ceil_divide(n, blocks), unit) * unit;
}

static int group_count(const gradient_plan *plan, int k, int n) {
    return clf_ceil_divide(k, plan->k_block) * clf_ceil_divide(n, plan->column_block);
}

// Slices of the rows until there are so many groups.
static void cut_rows(gradient_plan *plan, int wanted, int rows, int k, int n) {
    const int lengths = clf_ceil_divide(rows, SLICE_ROWS);
    int slices = clf_ceil_divide(wanted, group_count(plan, k, n));
    if (slices > lengths) slices = lengths;
    if (slices > MAX_SLICES) slices = MAX_SLICES;
    plan->slice_rows = clf_ceil_divide(lengths, slices) * SLICE_ROWS;
    plan->slices = clf_ceil_divide(rows, plan->slice_rows);
}

// Smaller blocks, then slices of the rows, until all of the device has work.
static void cut(const clf_device *device, gradient_plan *plan, int rows, int k, int n) {
    const bool cpu = on_cpu(device);
    const int wanted = (cpu ? 2 : 8) * clf_device_caps(device)->compute_units;
    int k_most = cpu ? 512 : plan->tile_rows, n_most = plan->columns;
    for (bool smaller = true; smaller;) {
        plan->k_block = equal_block(k, k_most, plan->tile_rows);
        plan->column_block = equal_block(n, n_most, plan->tile_columns * plan->lanes);
        smaller = cpu && group_count(plan, k, n) < wanted && (k_most > 64 || n_most > 64);
        if (k_most >= n_most)
            k_most /= 2;
        else
            n_most /= 2;
    }
    cut_rows(plan, wanted, rows, k, n);
}

static gradient_plan make_plan(clf_run *run, clf_gemm variant, int rows, int k, int n) {
    const clf_device *device = run->device;
    const clf_caps *caps = clf_device_caps(device);
    gradient_plan plan = {.amx = clf_linear_amx(run, variant)};
    plan.kernel = plan.amx.parts > 0           ? BY_AMX
                  : variant == CLF_GEMM_MATRIX ? BY_MATRIX_UNIT
                                               : BY_VECTORS;
    if (on_cpu(device))
        plan_cpu(caps, &plan);
    else
        plan_gpu(caps, &plan);
    if (plan.kernel == BY_AMX) plan_amx(device, &plan);
    plan.bfloat = variant == CLF_GEMM_BFLOAT ? clf_bfloat_define(clf_linear_bfloat(run)) : 0;
    if (plan.kernel == BY_MATRIX_UNIT) {
        const clf_matrix_tile tile = clf_linear_matrix_tile();
        plan.lanes = tile.items;
        plan.k_block = tile.rows;
        plan.column_block = tile.columns;
        cut_rows(&plan, caps->compute_units, rows, k, n);
    } else {
        cut(device, &plan, rows, k, n);
    }
    return plan;
}

// `half`: see there.
static clf_kernel_spec gradient_spec(const clf_device *device, const gradient_plan *plan,
                                     const char *kernel, int half) {
    return (clf_kernel_spec){.file = "linear_backward",
                             .kernel = kernel,
                             .defines = {{"VW", plan->vector},
                                         {"MR", plan->tile_rows},
                                         {"NC", plan->tile_columns},
                                         {"RB", plan->rows},
                                         {"NB", plan->columns},
                                         {"KB", plan->ks},
                                         {"WX", plan->lanes},
                                         {"FMA", clf_device_caps(device)->fma},
                                         {"HALF", half},
                                         {"BFLOAT", plan->bfloat}}};
}

static void launch_gradient(clf_run *run, const gradient_plan *plan, clf_weight dw, clf_tensor db,
                            clf_tensor x, clf_tensor dy, clf_tensor parts) {
    clf_kernel_spec spec = {0};
    switch (plan->kernel) {
    case BY_VECTORS:
        spec = gradient_spec(run->device, plan, "weight_gradient",
                             clf_is_half(x) + 2 * clf_is_half(dy));
        break;
    case BY_MATRIX_UNIT:
        spec = clf_linear_matrix_gradient(clf_linear_matrix_unit(run), x, dy);
        break;
    case BY_AMX: spec = clf_linear_amx_gradient(run->device, plan->amx, x, dy); break;
    }
    const clf_range range = {.groups = {(size_t)clf_ceil_divide(dw.n, plan->column_block),
                                        (size_t)clf_ceil_divide(dw.k, plan->k_block),
                                        (size_t)plan->slices},
                             .local = {(size_t)plan->lanes}};
    const double r = x.rows, k = dw.k, n = dw.n;
    const clf_cost cost = {.bytes = 4 * (r * k + r * n + 2 * k * n), .flops = 2 * r * k * n};
    const clf_arg arguments[] = {
        clf_arg_tensor(dw.data),
        clf_arg_long((int64_t)dw.panel_stride),
        clf_arg_long((int64_t)dw.row_stride),
        clf_arg_tensor(db),
        CLF_ARG_MATRIX(x),
        CLF_ARG_MATRIX(dy),
        clf_arg_tensor(parts),
        clf_arg_long(parts.cols),
        clf_arg_long((int64_t)dw.data.rows * dw.data.cols),
        clf_arg_int(x.rows),
        clf_arg_int(dw.k),
        clf_arg_int(dw.n),
        clf_arg_int(plan->slice_rows),
        clf_arg_int(plan->k_block),
        clf_arg_int(plan->column_block),
    };
    clf_launch(run, &spec, range, cost, arguments, CLF_COUNT(arguments));
}

// to += its place, `offset` elements on, in each part.
static void add_parts(clf_run *run, const gradient_plan *plan, clf_tensor to, clf_tensor parts,
                      uint64_t offset) {
    const clf_kernel_spec spec = gradient_spec(run->device, plan, "add_parts", 0);
    const int64_t count = (int64_t)to.rows * to.cols;
    const int64_t share = on_cpu(run->device) ? 4096 : 16 * plan->lanes; // of a group
    const clf_range range = {.groups = {(size_t)((count + share - 1) / share)},
                             .local = {(size_t)plan->lanes}};
    const clf_cost cost = {.bytes = 4.0 * (double)count * (plan->slices + 1)};
    clf_tensor from = parts;
    from.offset += offset;
    const clf_arg arguments[] = {clf_arg_tensor(to), clf_arg_tensor(from), clf_arg_long(parts.cols),
                                 clf_arg_int(parts.rows), clf_arg_long(count)};
    clf_launch(run, &spec, range, cost, arguments, CLF_COUNT(arguments));
}

// How many rows may be summed in one launch where loops end early: those of a work-item pack and
// multiply tile after tile, and never pass more often than this.
#define SHORT_PASSES 50000
static int most_rows(clf_device *device, const gradient_plan *plan, int rows) {
    if (plan->lanes > 1 || clf_device_runs_long_loops(device)) return rows;
    const int tiles = clf_ceil_divide(plan->k_block, plan->tile_rows);
    const int panels = clf_ceil_divide(plan->column_block, plan->tile_columns);
    const int passes = (tiles + 1) * (panels + 1) + 8 * (tiles + panels);
    return SHORT_PASSES > passes ? SHORT_PASSES / passes : 1;
}

void clf_linear_backward_run(clf_run *run, clf_gemm variant, clf_weight dw, clf_tensor db,
                             clf_tensor x, clf_tensor dy, clf_arena *scratch) {
    if (!clf_shape_is_real(run, "linear backward", "x", x, CLF_ANY, dw.k) ||
        !clf_shape_is_real(run, "linear backward", "dy", dy, x.rows, dw.n) ||
        !clf_shape_is(run, "linear backward", "dw", dw.data, CLF_ANY, CLF_ANY, CLF_F32) ||
        !clf_shape_is_or_absent(run, "linear backward", "db", db, 1, dw.n, CLF_F32) || x.rows == 0)
        return;
    const gradient_plan plan = make_plan(run, variant, x.rows, dw.k, dw.n);
    const int most = most_rows(run->device, &plan, plan.slice_rows);
    if (most < plan.slice_rows && most < x.rows) {
        for (int first = 0; first < x.rows; first += most) {
            const int rows = x.rows - first < most ? x.rows - first : most;
            clf_linear_backward_run(run, variant, dw, db, clf_tensor_rows(x, first, rows),
                                    clf_tensor_rows(dy, first, rows), scratch);
        }
        return;
    }
    const clf_arena_mark mark = clf_arena_get_mark(scratch);
    clf_tensor parts = {0};
    if (plan.slices > 1) {
        const int size = dw.data.rows * dw.data.cols + (db.chunk ? dw.n : 0);
        // Whole panels: a matrix unit's kernel adds vectors of four to them.
        const int padded = clf_ceil_divide(size, PANEL) * PANEL;
        parts = clf_arena_take(run, scratch, plan.slices - 1, padded, CLF_F32);
        clf_fill_zero(run, parts);
    }
    launch_gradient(run, &plan, dw, db, x, dy, parts);
    if (plan.slices > 1) {
        add_parts(run, &plan, dw.data, parts, 0);
        if (db.chunk)
            add_parts(run, &plan, db, parts, (uint64_t)dw.data.rows * (uint64_t)dw.data.cols);
    }
    clf_arena_rewind(scratch, mark);
}

void clf_op_linear_backward(clf_run *run, clf_weight dw, clf_tensor db, clf_tensor x, clf_tensor dy,
                            clf_arena *scratch) {
    const clf_gemm best = clf_linear_variant(run->device, x.rows, dw.k, dw.n);
    const bool coarse = on_cpu(run->device) && clf_is_half(x) && clf_linear_rounds(run);
    clf_linear_backward_run(run,
                            coarse                    ? CLF_GEMM_BFLOAT
                            : best == CLF_GEMM_MATRIX ? best
                                                      : CLF_GEMM_PANEL,
                            dw, db, x, dy, scratch);
}

// ---- transposition ------------------------------------------------------------------------------

static void transpose(clf_run *run, clf_weight to, clf_weight from) {
    const clf_kernel_spec spec = {.file = "linear_backward",
                                  .kernel = "transpose",
                                  .defines = {{"HALF", clf_is_half(to.data)}}};
    const size_t width = on_cpu(run->device) ? 1 : PANEL;
    const clf_range range = {.groups = {(size_t)clf_ceil_divide(from.n, PANEL),
                                        (size_t)clf_ceil_divide(from.k, PANEL), 1},
                             .local = {width, width > 4 ? 4 : 1, 1}};
    const clf_arg arguments[] = {
        clf_arg_tensor(to.data),
        clf_arg_long((int64_t)to.panel_stride),
        clf_arg_long((int64_t)to.row_stride),
        clf_arg_tensor(from.data),
        clf_arg_long((int64_t)from.panel_stride),
        clf_arg_long((int64_t)from.row_stride),
        clf_arg_int(from.k),
        clf_arg_int(from.n),
    };
    const clf_cost cost = {.bytes = 2.0 * clf_dtype_size(to.data.dtype) * from.k * from.n};
    clf_launch(run, &spec, range, cost, arguments, CLF_COUNT(arguments));
}

clf_weight clf_weight_take_transposed(clf_run *run, clf_arena *arena, clf_weight w) {
    return clf_weight_take_as(run, arena, w.n, w.k, w.data.dtype);
}

void clf_op_transpose(clf_run *run, clf_weight to, clf_weight w) {
    if (clf_shape_require(run, to.k == w.n && to.n == w.k && to.data.dtype == w.data.dtype,
                          "transpose", "the shapes or types do not fit"))
        transpose(run, to, w);
}

void clf_op_round(clf_run *run, clf_weight to, clf_weight w) {
    const bool fits = to.k == w.k && to.n == w.n && to.panel_stride == w.panel_stride &&
                      to.row_stride == w.row_stride;
    if (!clf_shape_require(run, fits, "round", "the shapes or layouts differ") ||
        !clf_shape_is(run, "round", "the copy", to.data, CLF_ANY, CLF_ANY, CLF_F16) ||
        !clf_shape_is(run, "round", "the weight", w.data, to.data.rows, to.data.cols, CLF_F32))
        return;
    clf_linear_convert(run, to.data, w.data, (int64_t)w.data.rows * w.data.cols);
}

// The transposed weight without padding is what files have.
void clf_weight_read(clf_run *run, clf_weight w, float *data, clf_arena *staging) {
    if (!clf_shape_is(run, "read", "the weight", w.data, CLF_ANY, CLF_ANY, CLF_F32)) return;
    const clf_arena_mark mark = clf_arena_get_mark(staging);
    const int panels = READ_BYTES / PANEL / (int)sizeof *data / w.k;
    const int most = panels > 0 ? panels * PANEL : PANEL;
    const int step = w.n < most ? w.n : most;
    const clf_tensor to = clf_arena_take(run, staging, step, w.k, CLF_F32);
    for (int n = 0; n < w.n && run->status == CLF_OK; n += step) {
        const int count = w.n - n < step ? w.n - n : step;
        const clf_weight rows = {.data = clf_tensor_rows(to, 0, count),
                                 .k = count,
                                 .n = w.k,
                                 .panel_stride = PANEL,
                                 .row_stride = (uint64_t)w.k};
        transpose(run, rows, clf_weight_cols(w, n, count));
        clf_read(run, rows.data, data + (size_t)n * (size_t)w.k);
    }
    clf_arena_rewind(staging, mark);
}
