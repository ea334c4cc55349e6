// SPDX-License-Identifier: MIT
#include "ops/ops.h"
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
    // Each segment begins its list of best values anew, so no more of them than keep every compute
    // unit busy with one row.
    enum { CHUNK = 1024, LEAST = 4 * CHUNK };
    int segments = 2 * clf_device_caps(device)->compute_units;
    if (segments > columns / LEAST) segments = columns / LEAST;
    if (segments > MAX_SEGMENTS) segments = MAX_SEGMENTS;
    if (segments < 1) segments = 1;
    int segment = clf_ceil_divide(clf_ceil_divide(columns, segments), CHUNK) * CHUNK;
    return (cut){.chunk = CHUNK, .segment = segment, .segments = clf_ceil_divide(columns, segment)};
}

static clf_kernel_spec spec_of(const char *kernel, cut c) {
    return (clf_kernel_spec){
        .file = "topk",
        .kernel = kernel,
        .defines = {{"CHUNK", c.chunk}, {"K_MAX", CLF_TOPK_MAX}, {"MAX_SEGMENTS", MAX_SEGMENTS}}};
}

static void reduce_segments(clf_run *run, clf_tensor parts, clf_tensor part_ids, clf_tensor logits,
                            clf_topk t, cut c) {
    const clf_kernel_spec spec = spec_of("topk_segment", c);
    const clf_arg arguments[] = {
        clf_arg_tensor(parts),      clf_arg_tensor(part_ids),   CLF_ARG_MATRIX(logits),
        clf_arg_int(logits.cols),   clf_arg_int(c.segment),     clf_arg_tensor(t.banned),
        clf_arg_int(t.banned.cols), clf_arg_int(t.renormalize), clf_arg_int(t.k),
    };
    const clf_range range = {.groups = {(size_t)c.segments, (size_t)logits.rows},
                             .local = {(size_t)clf_device_profile(run->device)->lanes}};
    const double elements = (double)logits.rows * logits.cols;
    const clf_cost cost = {.bytes = 4 * elements, .flops = 18 * elements};
    clf_launch(run, &spec, range, cost, arguments, CLF_COUNT(arguments));
}

static void merge_segments(clf_run *run, clf_tensor values, clf_tensor ids, clf_tensor parts,
                           clf_tensor part_ids, cut c) {
    const clf_kernel_spec spec = spec_of("topk_merge", c);
    const clf_arg arguments[] = {
        CLF_ARG_MATRIX(values),   CLF_ARG_MATRIX(ids),      clf_arg_tensor(parts),
        clf_arg_tensor(part_ids), clf_arg_int(values.rows), clf_arg_int(c.segments),
        clf_arg_int(values.cols),
    };
    const clf_cost cost = {.bytes = 4.0 * parts.rows * (parts.cols + part_ids.cols)};
    clf_launch(run, &spec, clf_row_range(run->device, values.rows), cost, arguments,
               CLF_COUNT(arguments));
}

void clf_op_topk(clf_run *run, clf_tensor values, clf_tensor ids, clf_tensor logits, clf_topk t) {
    const int rows = logits.rows;
    if (!clf_shape_require(run, t.k >= 1 && t.k <= CLF_TOPK_MAX, "topk",
                           "k must be between 1 and 64") ||
        !clf_shape_require(run, t.scratch != NULL, "topk", "scratch is missing") ||
        !clf_shape_is(run, "topk", "logits", logits, CLF_ANY, CLF_ANY, CLF_F32) ||
        !clf_shape_is(run, "topk", "values", values, rows, t.k, CLF_F32) ||
        !clf_shape_is(run, "topk", "ids", ids, rows, t.k, CLF_I32) ||
        !clf_shape_is_or_absent(run, "topk", "banned", t.banned, 1, CLF_ANY, CLF_I32)) {
        return;
    }
    if (!t.banned.chunk) t.banned = (clf_tensor){0};
    const cut c = cut_row(run->device, logits.cols);
    if (!clf_shape_require(run, c.segments >= 1 && c.segments <= MAX_SEGMENTS, "topk",
                           "rows must have between 1 and 2097152 columns") ||
        rows == 0) {
        return;
    }
    const clf_arena_mark mark = clf_arena_get_mark(t.scratch);
    clf_tensor parts = clf_arena_take(run, t.scratch, rows * c.segments, 2 + t.k, CLF_F32);
    clf_tensor part_ids = clf_arena_take(run, t.scratch, rows * c.segments, t.k, CLF_I32);
    reduce_segments(run, parts, part_ids, logits, t, c);
    merge_segments(run, values, ids, parts, part_ids, c);
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
    const clf_kernel_spec spec = spec_of("pick", cut_row(run->device, logits.cols));
    const clf_arg arguments[] = {
        CLF_ARG_MATRIX(y),        CLF_ARG_MATRIX(logits),   clf_arg_tensor(ids),
        clf_arg_tensor(banned),   clf_arg_int(banned.cols), clf_arg_int(rows),
        clf_arg_int(logits.cols),
    };
    const double elements = (double)rows * logits.cols;
    const clf_cost cost = {.bytes = 4 * elements, .flops = 18 * elements};
    clf_launch(run, &spec, clf_row_range(run->device, rows), cost, arguments, CLF_COUNT(arguments));
}
