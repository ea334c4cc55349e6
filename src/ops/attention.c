// SPDX-License-Identifier: MIT
#include "ops/attention.h"

static int fitting_vector(int vector, int head_width) {
    while (head_width % vector) vector /= 2;
    return vector;
}

int clf_head_vector(const clf_profile *profile, int head_width) {
    return fitting_vector(profile->vector_width, head_width);
}

static bool heads_fit(clf_run *run, const char *op, clf_tensor y, clf_tensor q, clf_tensor k,
                      clf_tensor v, int heads) {
    if (!clf_shape_require(run, heads > 0 && y.cols > 0 && y.cols % heads == 0, op,
                           "the width must be a multiple of the number of heads")) {
        return false;
    }
    return clf_shape_require(run, y.cols / heads <= 1024, op, "heads wider than 1024 columns") &&
           clf_shape_is_real(run, op, "y", y, CLF_ANY, CLF_ANY) &&
           clf_shape_is(run, op, "q", q, y.rows, y.cols, y.dtype) &&
           clf_shape_is(run, op, "k", k, CLF_ANY, y.cols, y.dtype) &&
           clf_shape_is(run, op, "v", v, k.rows, y.cols, y.dtype);
}

bool clf_attention_fits(clf_run *run, const char *op, clf_tensor y, clf_attention a) {
    const int batch = a.q_starts.cols;
    return heads_fit(run, op, y, a.q, a.k, a.v, a.heads) &&
           clf_shape_is(run, op, "q_starts", a.q_starts, 1, batch, CLF_I32) &&
           clf_shape_is(run, op, "q_lengths", a.q_lengths, 1, batch, CLF_I32) &&
           clf_shape_is(run, op, "kv_starts", a.kv_starts, 1, batch, CLF_I32) &&
           clf_shape_is(run, op, "kv_lengths", a.kv_lengths, 1, batch, CLF_I32) &&
           clf_shape_is_or_absent(run, op, "lse", a.lse, y.rows, a.heads, CLF_F32);
}

// One work-item's tiles must stay in the first-level cache and in 32 KB of local memory: keys and a
// block of results, or keys and values; weights, or weights and their gradient.
clf_tiling clf_tile_for_cpu(const clf_device *device, int head_width, bool gradient) {
    enum { FLOATS = 7500 };
    clf_tiling t = {.queries = 32, .keys = 32, .split = 1};
    t.vector = fitting_vector(clf_row_vector(device), head_width);
    const int tiles = gradient ? 2 : 1, results = gradient ? 0 : 1;
    while (t.queries * (results * head_width + tiles * t.keys) + tiles * t.keys * head_width >
               FLOATS &&
           t.keys > 2) {
        if (t.queries > 4 && t.queries >= t.keys)
            t.queries /= 2;
        else
            t.keys /= 2;
    }
    while (t.vector > 1 && 2 * t.vector > t.keys) t.vector /= 2;
    return t;
}

// A work-item keeps at most 32 columns of q and of the result in registers, or 16 of two matrices
// and their gradients; at most 16 KB of local memory, so that several groups share a compute unit.
clf_tiling clf_tile_for_gpu(const clf_profile *profile, int max_group, int head_width,
                            bool gradient) {
    enum { FLOATS = 4096 };
    const int group = max_group < 64 ? max_group : 64;
    const int columns = gradient ? 16 : 32, products = gradient ? 2 : 1;
    clf_tiling t = {.queries = 1, .keys = 16, .split = 1};
    t.vector = clf_head_vector(profile, head_width);
    while (head_width / t.vector % t.split || head_width / t.split > columns) t.split++;
    while (t.queries * 2 * t.split <= group) t.queries *= 2;
    while (t.keys > 1 && t.keys * (2 * head_width + products * t.queries * t.split) > FLOATS) {
        t.keys /= 2;
    }
    return t;
}

void clf_op_attention(clf_run *run, clf_tensor y, clf_attention a) {
    const int batch = a.q_starts.cols;
    if (!clf_attention_fits(run, "attention", y, a) || batch == 0) return;
    const clf_profile *profile = clf_device_profile(run->device);
    const bool cpu = profile->lanes == 1;
    const int head_width = y.cols / a.heads;
    const clf_tiling t =
        cpu ? clf_tile_for_cpu(run->device, head_width, false)
            : clf_tile_for_gpu(profile, clf_device_caps(run->device)->max_group, head_width, false);
    const clf_kernel_spec spec = {.file = cpu ? "attention_tile" : "attention_group",
                                  .kernel = "attention",
                                  .defines = {{"D", head_width},
                                              {"VW", t.vector},
                                              {"TQ", t.queries},
                                              {"TK", t.keys},
                                              {"SPLIT", t.split},
                                              {"DROPOUT", a.dropout.rate > 0},
                                              {"LSE", a.lse.chunk != NULL},
                                              {"HALF", clf_is_half(y)}}};
    const clf_arg arguments[] = {
        CLF_ARG_MATRIX(y),           CLF_ARG_MATRIX(a.q),          CLF_ARG_MATRIX(a.k),
        CLF_ARG_MATRIX(a.v),         clf_arg_tensor(a.q_starts),   clf_arg_tensor(a.q_lengths),
        clf_arg_tensor(a.kv_starts), clf_arg_tensor(a.kv_lengths), clf_arg_float(a.scale),
        clf_arg_int(a.causal),       CLF_ARG_MATRIX(a.lse),        CLF_ARG_DROPOUT(a.dropout),
    };
    const clf_range range = {.groups = {(size_t)clf_ceil_divide(a.max_q_length, t.queries),
                                        (size_t)a.heads, (size_t)batch},
                             .local = {cpu ? 1 : (size_t)t.queries, (size_t)t.split}};
    // The lengths are on the device: as if all source sentences were equally long.
    const double keys = (double)a.k.rows / batch * (a.causal ? 0.5 : 1);
    const clf_cost cost = {.bytes =
                               2.0 * clf_dtype_size(y.dtype) * y.cols * ((double)y.rows + a.k.rows),
                           .flops = 4 * keys * y.rows * y.cols};
    clf_launch(run, &spec, range, cost, arguments, CLF_COUNT(arguments));
}

static bool is_float(clf_run *run, const char *op, clf_tensor y) {
    return clf_shape_is(run, op, "y", y, CLF_ANY, CLF_ANY, CLF_F32);
}

// Keys that a kernel of cl/attention_step.cl takes at a time: on a GPU they and their values are in
// at most 17 KB of local memory.
static int step_block(const clf_profile *profile, int head_width) {
    enum { FLOATS = 4224 };
    int block = profile->lanes == 1 ? 32 : profile->lanes;
    while (profile->lanes > 1 && block > 1 && block * (2 * head_width + 1) > FLOATS) block /= 2;
    return block;
}

// The kernel, range and cost that a step over a cache and one over a source sentence share.
static void launch_step(clf_run *run, const char *kernel, clf_tensor y, int heads, double keys,
                        const clf_arg *arguments, int count) {
    const clf_profile *profile = clf_device_profile(run->device);
    const int head_width = y.cols / heads;
    const clf_kernel_spec spec = {.file = "attention_step",
                                  .kernel = kernel,
                                  .defines = {{"D", head_width},
                                              {"VW", clf_head_vector(profile, head_width)},
                                              {"LANES", profile->lanes},
                                              {"BLOCK", step_block(profile, head_width)}}};
    const clf_range range = {.groups = {(size_t)heads, (size_t)y.rows}, .local = {CLF_LANES}};
    const clf_cost cost = {.bytes = 8 * y.cols * y.rows * (keys + 1),
                           .flops = 4 * keys * y.rows * y.cols};
    clf_launch(run, &spec, range, cost, arguments, count);
}

void clf_op_attention_step(clf_run *run, clf_tensor y, clf_attention_step a) {
    const char *op = "attention_step";
    if (!heads_fit(run, op, y, a.q, a.k, a.v, a.heads) || !is_float(run, op, y) ||
        !clf_shape_is(run, op, "origin", a.origin, y.rows, CLF_ANY, CLF_I32) ||
        !clf_shape_require(run, a.steps >= 0 && a.steps <= a.origin.cols, op,
                           "more steps than origin has columns") ||
        !clf_shape_require(run, a.slots > 0 && (int64_t)(a.steps - 1) * a.slots < a.k.rows, op,
                           "the cache has fewer positions than steps")) {
        return;
    }
    const clf_arg arguments[] = {
        CLF_ARG_MATRIX(y),    CLF_ARG_MATRIX(a.q),      CLF_ARG_MATRIX(a.k),
        CLF_ARG_MATRIX(a.v),  CLF_ARG_MATRIX(a.origin), clf_arg_int(a.slots),
        clf_arg_int(a.steps), clf_arg_float(a.scale),
    };
    launch_step(run, "attention_step", y, a.heads, a.steps, arguments, CLF_COUNT(arguments));
}

void clf_op_attention_cross(clf_run *run, clf_tensor y, clf_attention_cross a) {
    const char *op = "attention_cross";
    const int batch = a.starts.cols;
    if (!heads_fit(run, op, y, a.q, a.k, a.v, a.heads) || !is_float(run, op, y) ||
        !clf_shape_is(run, op, "sentence", a.sentence, 1, y.rows, CLF_I32) ||
        !clf_shape_is(run, op, "starts", a.starts, 1, batch, CLF_I32) ||
        !clf_shape_is(run, op, "lengths", a.lengths, 1, batch, CLF_I32) || batch == 0) {
        return;
    }
    const clf_arg arguments[] = {
        CLF_ARG_MATRIX(y),         CLF_ARG_MATRIX(a.q),        CLF_ARG_MATRIX(a.k),
        CLF_ARG_MATRIX(a.v),       clf_arg_tensor(a.sentence), clf_arg_tensor(a.starts),
        clf_arg_tensor(a.lengths), clf_arg_float(a.scale),
    };
    launch_step(run, "attention_cross", y, a.heads, (double)a.k.rows / batch, arguments,
                CLF_COUNT(arguments));
}
