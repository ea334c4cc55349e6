// SPDX-License-Identifier: MIT
#include "ops/linear.h"
#include "ops/shape.h"

#define MAX_SEGMENTS 1024

// How rows are cut. It depends on the device and the row's length, not on the number of rows, so
// that a row gives the same bits in any batch.
typedef struct cut {
    int chunk;    // columns that pass through local memory at a time
    int segment;  // columns of a work-group
    int segments; // per row
} cut;

static cut cut_row(clf_device *device, int columns) {
    if (clf_device_profile(device)->lanes > 1) {
        return (cut){.chunk = 2048, .segment = 2048, .segments = clf_ceil_divide(columns, 2048)};
    }
    // Long enough that beginning a list of best values is little of the work, short enough that
    // rows of a slice (see clf_op_linear_topk) stay in the cache.
    enum { CHUNK = 1024, SEGMENT = 4 * CHUNK };
    int segment = SEGMENT;
    while (clf_ceil_divide(columns, segment) > MAX_SEGMENTS) segment += SEGMENT;
    return (cut){.chunk = CHUNK, .segment = segment, .segments = clf_ceil_divide(columns, segment)};
}

static clf_kernel_spec spec_of(const clf_device *device, const char *kernel, cut c) {
    return (clf_kernel_spec){.file = "topk",
                             .kernel = kernel,
                             .defines = {{"CHUNK", c.chunk},
                                         {"K_MAX", CLF_TOPK_MAX},
                                         {"MAX_SEGMENTS", MAX_SEGMENTS},
                                         {"VW", clf_row_vector(device)}}};
}

// What the segments of all rows give.
typedef struct parts {
    clf_tensor values, ids; // (rows * segments, 2 + k), (rows * segments, k)
} parts;

static parts take_parts(clf_run *run, clf_arena *arena, int rows, int k, cut c) {
    return (parts){.values = clf_arena_take(run, arena, rows * c.segments, 2 + k, CLF_F32),
                   .ids = clf_arena_take(run, arena, rows * c.segments, k, CLF_I32)};
}

// A group for each segment of `logits` and each row, that computes so much for each of them.
static void launch_segments(clf_run *run, const clf_kernel_spec *spec, clf_tensor logits,
                            double flops, cut c, const clf_arg *arguments, int count) {
    const clf_range range = {
        .groups = {(size_t)clf_ceil_divide(logits.cols, c.segment), (size_t)logits.rows},
        .local = {CLF_LANES}};
    const double elements = (double)logits.rows * logits.cols;
    const clf_cost cost = {.bytes = 4 * elements, .flops = flops * elements};
    clf_launch(run, spec, range, cost, arguments, count);
}

// `logits` are the columns of the segments from `first` on.
static void reduce_segments(clf_run *run, parts p, clf_tensor logits, int first, clf_topk t,
                            cut c) {
    const clf_kernel_spec spec = spec_of(run->device, "topk_segment", c);
    const clf_arg arguments[] = {
        clf_arg_tensor(p.values),   clf_arg_tensor(p.ids),    CLF_ARG_MATRIX(logits),
        clf_arg_int(logits.cols),   clf_arg_int(c.segment),   clf_arg_int(first),
        clf_arg_int(c.segments),    clf_arg_tensor(t.banned), clf_arg_int(t.banned.cols),
        clf_arg_int(t.renormalize), clf_arg_int(t.k),
    };
    launch_segments(run, &spec, logits, 18, c, arguments, CLF_COUNT(arguments));
}

static void merge_segments(clf_run *run, clf_tensor values, clf_tensor ids, parts p, cut c) {
    const clf_kernel_spec spec = spec_of(run->device, "topk_merge", c);
    const clf_arg arguments[] = {
        CLF_ARG_MATRIX(values),   CLF_ARG_MATRIX(ids),      clf_arg_tensor(p.values),
        clf_arg_tensor(p.ids),    clf_arg_int(values.rows), clf_arg_int(c.segments),
        clf_arg_int(values.cols),
    };
    const clf_cost cost = {.bytes = 4.0 * p.values.rows * (p.values.cols + p.ids.cols)};
    clf_launch(run, &spec, clf_row_range(run->device, values.rows), cost, arguments,
               CLF_COUNT(arguments));
}

// ---- with a screen (clf_screen) -----------------------------------------------------------------

// What is known of the logits from the copy in int8.
typedef struct bounds {
    clf_screen screen;
    clf_tensor lowers; // (rows, segments): of each segment's largest, from below
    clf_tensor uppers; // (rows, N / 16): of each panel's, from above
    clf_tensor errors; // of clf_quantized
} bounds;

static clf_kernel_spec screen_spec(const clf_device *device, const char *kernel, clf_tensor weight,
                                   cut c) {
    return (clf_kernel_spec){.file = "screen",
                             .kernel = kernel,
                             .defines = {{"CHUNK", c.chunk},
                                         {"VW", clf_row_vector(device)},
                                         {"FMA", clf_device_caps(device)->fma},
                                         {"HALF", clf_is_half(weight)}}};
}

static void bound_segments(clf_run *run, const bounds *b, clf_tensor logits, int first, clf_topk t,
                           cut c) {
    const clf_kernel_spec spec = screen_spec(run->device, "screen_segment", b->uppers, c);
    const clf_arg arguments[] = {
        clf_arg_tensor(b->lowers),       CLF_ARG_MATRIX(b->uppers), CLF_ARG_MATRIX(logits),
        clf_arg_int(logits.cols),        clf_arg_int(c.segment),    clf_arg_int(first),
        clf_arg_int(c.segments),         clf_arg_tensor(b->errors), CLF_ARG_MATRIX(b->screen.norms),
        clf_arg_int(b->screen.weight.k), clf_arg_tensor(t.banned),  clf_arg_int(t.banned.cols),
    };
    launch_segments(run, &spec, logits, 10, c, arguments, CLF_COUNT(arguments));
}

static void check_segments(clf_run *run, parts p, const bounds *b, clf_tensor x, clf_weight w,
                           clf_tensor bias, clf_topk t, cut c) {
    const clf_kernel_spec spec = screen_spec(run->device, "screen_check", w.data, c);
    const clf_arg arguments[] = {
        clf_arg_tensor(p.values),
        clf_arg_tensor(p.ids),
        clf_arg_tensor(b->lowers),
        CLF_ARG_MATRIX(b->uppers),
        clf_arg_int(w.n),
        clf_arg_int(c.segment),
        clf_arg_int(c.segments),
        CLF_ARG_MATRIX(x),
        clf_arg_tensor(w.data),
        clf_arg_long((int64_t)w.panel_stride),
        clf_arg_long((int64_t)w.row_stride),
        clf_arg_int(w.k),
        clf_arg_tensor(bias),
        clf_arg_tensor(t.banned),
        clf_arg_int(t.banned.cols),
    };
    const clf_range range = {.groups = {(size_t)c.segments, (size_t)x.rows}, .local = {CLF_LANES}};
    const double panels = 4.0 * x.rows; // which is usual
    const clf_cost cost = {.bytes = 64 * panels * w.k, .flops = 32 * panels * w.k};
    clf_launch(run, &spec, range, cost, arguments, CLF_COUNT(arguments));
}

static bounds take_bounds(clf_run *run, clf_arena *arena, clf_screen screen, clf_tensor errors,
                          cut c) {
    const int rows = errors.rows, panels = clf_ceil_divide(screen.weight.n, 16);
    return (bounds){.screen = screen,
                    .lowers = clf_arena_take(run, arena, rows, c.segments, CLF_F32),
                    .uppers = clf_arena_take(run, arena, rows, panels, CLF_F32),
                    .errors = errors};
}

// ---- a row's best ------------------------------------------------------------------------------

static bool fits(clf_run *run, clf_tensor values, clf_tensor ids, int rows, clf_topk t, cut c) {
    return clf_shape_require(run, t.k >= 1 && t.k <= CLF_TOPK_MAX, "topk",
                             "k must be between 1 and 64") &&
           clf_shape_require(run, t.scratch != NULL, "topk", "scratch is missing") &&
           clf_shape_is(run, "topk", "values", values, rows, t.k, CLF_F32) &&
           clf_shape_is(run, "topk", "ids", ids, rows, t.k, CLF_I32) &&
           clf_shape_is_or_absent(run, "topk", "banned", t.banned, 1, CLF_ANY, CLF_I32) &&
           clf_shape_require(run, c.segments >= 1 && c.segments <= MAX_SEGMENTS, "topk",
                             "rows must have between 1 and 2097152 columns") &&
           rows > 0;
}

void clf_op_topk(clf_run *run, clf_tensor values, clf_tensor ids, clf_tensor logits, clf_topk t) {
    const cut c = cut_row(run->device, logits.cols);
    if (!clf_shape_is(run, "topk", "logits", logits, CLF_ANY, CLF_ANY, CLF_F32) ||
        !fits(run, values, ids, logits.rows, t, c))
        return;
    if (!t.banned.chunk) t.banned = (clf_tensor){0};
    const clf_arena_mark mark = clf_arena_get_mark(t.scratch);
    const parts p = take_parts(run, t.scratch, logits.rows, t.k, c);
    reduce_segments(run, p, logits, 0, t, c);
    merge_segments(run, values, ids, p, c);
    clf_arena_rewind(t.scratch, mark);
}

// How many segments at a time: on a CPU what stays in the cache between the two kernels.
static int slice_segments(clf_device *device, int rows, cut c) {
    const double bytes = clf_device_profile(device)->lanes == 1 ? 2 << 20 : 64 << 20;
    const int count = (int)(bytes / (4.0 * rows * c.segment));
    return count < 1 ? 1 : count > c.segments ? c.segments : count;
}

void clf_op_linear_topk(clf_run *run, clf_tensor values, clf_tensor ids, clf_tensor x, clf_weight w,
                        clf_tensor bias, clf_screen screen, clf_topk t) {
    const cut c = cut_row(run->device, w.n);
    const bool screened = screen.weight.data.chunk != NULL;
    if (!fits(run, values, ids, x.rows, t, c) ||
        !clf_shape_require(
            run, !screened || (t.k == 1 && screen.weight.k == w.k && screen.weight.n == w.n),
            "topk", "the screen is of another weight, or k is not 1"))
        return;
    if (!t.banned.chunk) t.banned = (clf_tensor){0};
    const clf_arena_mark mark = clf_arena_get_mark(t.scratch);
    const clf_weight from = screened ? screen.weight : w;
    const int step = slice_segments(run->device, x.rows, c);
    const parts p = take_parts(run, t.scratch, x.rows, t.k, c);
    const int most = step * c.segment < w.n ? step * c.segment : w.n;
    const clf_tensor logits = clf_arena_take(run, t.scratch, x.rows, most, CLF_F32);
    clf_linear epilogue = {.scratch = t.scratch,
                           .quantized = clf_linear_quantize(run, t.scratch, x, from, screened)};
    bounds b = {0};
    if (screened) b = take_bounds(run, t.scratch, screen, epilogue.quantized.errors, c);
    for (int first = 0; first < c.segments; first += step) {
        const int column = first * c.segment, rest = w.n - column;
        const int columns = rest < most ? rest : most;
        const clf_tensor slice = clf_tensor_cols(logits, 0, columns);
        if (bias.chunk) epilogue.bias = clf_tensor_cols(bias, column, columns);
        clf_op_linear(run, slice, x, clf_weight_cols(from, column, columns), epilogue);
        if (screened)
            bound_segments(run, &b, slice, first, t, c);
        else
            reduce_segments(run, p, slice, first, t, c);
    }
    if (screened) check_segments(run, p, &b, x, w, bias, t, c);
    merge_segments(run, values, ids, p, c);
    clf_arena_rewind(t.scratch, mark);
}

void clf_op_pick(clf_run *run, clf_tensor y, clf_tensor logits, clf_tensor ids, clf_tensor banned) {
    const int rows = logits.rows;
    if (!clf_shape_is(run, "pick", "logits", logits, CLF_ANY, CLF_ANY, CLF_F32) ||
        !clf_shape_is(run, "pick", "y", y, rows, 1, CLF_F32) ||
        !clf_shape_is(run, "pick", "ids", ids, 1, rows, CLF_I32) ||
        !clf_shape_is_or_absent(run, "pick", "banned", banned, 1, CLF_ANY, CLF_I32)) {
        return;
    }
    if (!banned.chunk) banned = (clf_tensor){0};
    const clf_kernel_spec spec = spec_of(run->device, "pick", cut_row(run->device, logits.cols));
    const clf_arg arguments[] = {
        CLF_ARG_MATRIX(y),        CLF_ARG_MATRIX(logits),   clf_arg_tensor(ids),
        clf_arg_tensor(banned),   clf_arg_int(banned.cols), clf_arg_int(rows),
        clf_arg_int(logits.cols),
    };
    const double elements = (double)rows * logits.cols;
    const clf_cost cost = {.bytes = 4 * elements, .flops = 18 * elements};
    clf_launch(run, &spec, clf_row_range(run->device, rows), cost, arguments, CLF_COUNT(arguments));
}
