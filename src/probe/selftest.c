// SPDX-License-Identifier: MIT
// Every operation once, at a small awkward shape, against plain loops in double.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/rng.h"
#include "ops/ops.h"
#include "probe/probe.h"

// Deviations are allowed up to this, relative to 1 + |expected|: float rounding over a few dozen
// terms, and exp, tanh and erf within the few units that OpenCL grants them.
#define TOLERANCE 2e-5

enum { R = 7, C = 37, H = 2, D = 11, HD = H * D, V = 101, K = 5, B = 3 };

typedef struct test {
    clf_run run;
    clf_arena *arena;
    clf_rng rng;
    double error; // the largest so far, over the tolerance
} test;

// ---- numbers to and from the device -------------------------------------------------------------

static void randomize(test *t, float *x, int count) {
    for (int i = 0; i < count; i++) x[i] = clf_rng_uniform(&t->rng, -1, 1);
}

static clf_tensor put(test *t, const float *x, int rows, int cols) {
    clf_tensor tensor = clf_arena_take(&t->run, t->arena, rows, cols, CLF_F32);
    clf_write(&t->run, tensor, x);
    return tensor;
}

static clf_tensor put_ids(test *t, const int32_t *x, int rows, int cols) {
    clf_tensor tensor = clf_arena_take(&t->run, t->arena, rows, cols, CLF_I32);
    clf_write(&t->run, tensor, x);
    return tensor;
}

// A tensor for results, full of zeros so that what was not written shows.
static clf_tensor take(test *t, int rows, int cols, clf_dtype dtype) {
    clf_tensor tensor = clf_arena_take(&t->run, t->arena, rows, cols, dtype);
    clf_fill_zero(&t->run, tensor);
    return tensor;
}

static clf_weight put_weight(test *t, const void *w, clf_dtype dtype, const float *scales, int k,
                             int n) {
    clf_weight weight = clf_weight_take(&t->run, t->arena, k, n);
    const clf_piece piece = {.data = w,
                             .dtype = dtype,
                             .rows = n,
                             .cols = k,
                             .scales = scales,
                             .scale_count = scales ? n : 0};
    clf_weight_write(&t->run, weight, 0, &piece, t->arena);
    return weight;
}

static void expect_close(test *t, double got, double expected) {
    const double error = fabs(got - expected) / (TOLERANCE * (1 + fabs(expected)));
    if (!(error <= t->error)) t->error = isfinite(error) ? error : INFINITY;
}

static void expect(test *t, clf_tensor y, const double *expected) {
    float got[R * V];
    clf_read(&t->run, y, got);
    if (t->run.status != CLF_OK) return;
    for (int i = 0; i < y.rows * y.cols; i++) expect_close(t, (double)got[i], expected[i]);
}

static void expect_ids(test *t, clf_tensor y, const int32_t *expected) {
    int32_t got[R * V];
    clf_read(&t->run, y, got);
    if (t->run.status != CLF_OK) return;
    for (int i = 0; i < y.rows * y.cols; i++) {
        if (got[i] != expected[i]) t->error = INFINITY;
    }
}

// ---- linear layers ------------------------------------------------------------------------------

static double activate(clf_activation activation, double x) {
    const double pi = 3.14159265358979323846;
    switch (activation) {
    case CLF_ACT_RELU: return x > 0 ? x : 0;
    case CLF_ACT_GELU: return 0.5 * x * (1 + erf(x / sqrt(2)));
    case CLF_ACT_GELU_TANH: return 0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x * x * x)));
    case CLF_ACT_GELU_SIGMOID: return x / (1 + exp(-1.702 * x));
    case CLF_ACT_SILU: return x / (1 + exp(-x));
    default: return x;
    }
}

// y = relu(x . w + bias) + residual with a weight that `w` (V, C) describes exactly.
static void check_linear(test *t, int rows, clf_weight weight, const float *w) {
    float x[R * C], bias[V], residual[R * V];
    double expected[R * V];
    randomize(t, x, rows * C);
    randomize(t, bias, V);
    randomize(t, residual, rows * V);
    for (int r = 0; r < rows; r++) {
        for (int v = 0; v < V; v++) {
            double sum = (double)bias[v];
            for (int c = 0; c < C; c++) sum += (double)x[r * C + c] * (double)w[v * C + c];
            expected[r * V + v] = activate(CLF_ACT_RELU, sum) + (double)residual[r * V + v];
        }
    }
    clf_tensor y = take(t, rows, V, CLF_F32);
    const clf_linear epilogue = {.bias = put(t, bias, 1, V),
                                 .residual = put(t, residual, rows, V),
                                 .activation = CLF_ACT_RELU};
    clf_op_linear(&t->run, y, put(t, x, rows, C), weight, epilogue);
    expect(t, y, expected);
}

static void test_linear(test *t) {
    float w[V * C];
    randomize(t, w, V * C);
    clf_weight weight = put_weight(t, w, CLF_F32, NULL, C, V);
    check_linear(t, 1, weight, w);
    check_linear(t, R, weight, w);
}

// Of a float that has at most ten digits and an ordinary exponent.
static uint16_t half_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (x == 0) return 0;
    return (uint16_t)((bits >> 16 & 0x8000) | (((bits >> 23 & 0xff) - 112) << 10) |
                      (bits >> 13 & 0x3ff));
}

static uint16_t bfloat_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)(bits >> 16);
}

// Multiples of 1/16 between -4 and 4 are exact in each type that files use.
static void test_weights(test *t) {
    float w[V * C], scales[V];
    uint16_t half[V * C], bfloat[V * C];
    int16_t words[V * C];
    int8_t bytes[V * C];
    for (int i = 0; i < V * C; i++) {
        bytes[i] = (int8_t)((int)clf_rng_below(&t->rng, 129) - 64);
        words[i] = bytes[i];
        w[i] = (float)bytes[i] / 16;
        half[i] = half_bits(w[i]);
        bfloat[i] = bfloat_bits(w[i]);
    }
    for (int v = 0; v < V; v++) scales[v] = 1.0f / 16;
    check_linear(t, 2, put_weight(t, half, CLF_F16, NULL, C, V), w);
    check_linear(t, 2, put_weight(t, bfloat, CLF_BF16, NULL, C, V), w);
    check_linear(t, 2, put_weight(t, words, CLF_I16, scales, C, V), w);
    check_linear(t, 2, put_weight(t, bytes, CLF_I8, scales, C, V), w);
}

static void test_gate(test *t) {
    float x[R * 2 * C];
    double expected[R * C];
    randomize(t, x, R * 2 * C);
    clf_tensor from = put(t, x, R, 2 * C);
    for (int a = CLF_ACT_NONE; a <= CLF_ACT_SILU; a++) {
        for (int i = 0; i < R * C; i++) {
            const float *row = x + i / C * 2 * C;
            expected[i] = activate((clf_activation)a, (double)row[i % C]) * (double)row[i % C + C];
        }
        clf_tensor y = take(t, R, C, CLF_F32);
        clf_op_gate(&t->run, y, from, (clf_activation)a);
        expect(t, y, expected);
    }
}

// ---- embedding ----------------------------------------------------------------------------------

static void test_embed(test *t) {
    enum { WIDTH = 36, LENGTH = 9, OFFSET = 2 };
    const int32_t ids[R] = {0, V - 1, 17, -1, 5, 5, 63};
    const int32_t where[R] = {0, 1, 2, 3, 8, 4, 1};
    float table[V * WIDTH];
    double expected[R * WIDTH];
    randomize(t, table, V * WIDTH);
    for (int i = 0; i < R * WIDTH; i++) {
        const int r = i / WIDTH, c = i % WIDTH, half = WIDTH / 2;
        const double angle = (where[r] + OFFSET) * pow(10000, -(double)(c % half) / half);
        const double token = ids[r] < 0 ? 0 : (double)table[ids[r] * WIDTH + c];
        expected[i] = 3 * token + (c < half ? sin(angle) : cos(angle));
    }
    clf_tensor positions = take(t, LENGTH, WIDTH, CLF_F32), y = take(t, R, WIDTH, CLF_F32);
    clf_sinusoid_write(&t->run, positions, OFFSET, WIDTH / 2);
    clf_op_embed(&t->run, y, put_weight(t, table, CLF_F32, NULL, WIDTH, V), put_ids(t, ids, 1, R),
                 positions, put_ids(t, where, 1, R), 3);
    expect(t, y, expected);
}

// ---- normalisation ------------------------------------------------------------------------------

static void check_norm(test *t, clf_norm_kind kind) {
    float x[R * C], residual[R * C], scale[C], bias[C];
    double sums[R * C], expected[R * C];
    randomize(t, x, R * C);
    randomize(t, residual, R * C);
    randomize(t, scale, C);
    randomize(t, bias, C);
    for (int r = 0; r < R; r++) {
        double mean = 0, square = 0;
        for (int c = 0; c < C; c++) {
            sums[r * C + c] = (double)x[r * C + c] + (double)residual[r * C + c];
            mean += sums[r * C + c] / C;
        }
        if (kind == CLF_NORM_RMS) mean = 0;
        for (int c = 0; c < C; c++) square += pow(sums[r * C + c] - mean, 2) / C;
        for (int c = 0; c < C; c++) {
            expected[r * C + c] =
                (sums[r * C + c] - mean) / sqrt(square + 1e-5) * (double)scale[c] + (double)bias[c];
        }
    }
    clf_tensor y = take(t, R, C, CLF_F32), sum = take(t, R, C, CLF_F32);
    const clf_norm norm = {.kind = kind,
                           .epsilon = 1e-5f,
                           .scale = put(t, scale, 1, C),
                           .bias = put(t, bias, 1, C),
                           .residual = put(t, residual, R, C),
                           .sum = sum};
    clf_op_norm(&t->run, y, put(t, x, R, C), norm);
    expect(t, y, expected);
    expect(t, sum, sums);
}

static void test_layer_norm(test *t) {
    check_norm(t, CLF_NORM_LAYER);
}

static void test_rms_norm(test *t) {
    check_norm(t, CLF_NORM_RMS);
}

// ---- attention ----------------------------------------------------------------------------------

// One row q (HD) over the rows of k and v that `keys` lists.
static void attend(const float *q, const float *k, const float *v, const int *keys, int count,
                   double *y) {
    double weights[R * B];
    for (int h = 0; h < H; h++) {
        double sum = 0;
        for (int i = 0; i < count; i++) {
            double dot = 0;
            for (int d = h * D; d < (h + 1) * D; d++) {
                dot += (double)q[d] * (double)k[keys[i] * HD + d];
            }
            sum += weights[i] = exp(0.5 * dot);
        }
        for (int d = h * D; d < (h + 1) * D; d++) {
            y[d] = 0;
            for (int i = 0; i < count; i++) y[d] += weights[i] / sum * (double)v[keys[i] * HD + d];
        }
    }
}

typedef struct attention {
    float q[R * HD], k[R * B * HD], v[R * B * HD];
    double expected[R * HD];
    clf_tensor on_q, on_k, on_v, y;
} attention;

static attention make_attention(test *t) {
    attention a;
    randomize(t, a.q, R * HD);
    randomize(t, a.k, R * B * HD);
    randomize(t, a.v, R * B * HD);
    a.on_q = put(t, a.q, R, HD);
    a.on_k = put(t, a.k, R * B, HD);
    a.on_v = put(t, a.v, R * B, HD);
    a.y = take(t, R, HD, CLF_F32);
    return a;
}

static const int32_t q_starts[B] = {0, 3, 4}, q_lengths[B] = {3, 1, 3};
static const int32_t kv_starts[B] = {0, 3, 11}, kv_lengths[B] = {3, 8, 9};

static void check_attention(test *t, bool causal) {
    attention a = make_attention(t);
    const int32_t *starts = causal ? q_starts : kv_starts;
    const int32_t *lengths = causal ? q_lengths : kv_lengths;
    for (int b = 0; b < B; b++) {
        int keys[R * B];
        for (int i = 0; i < lengths[b]; i++) keys[i] = starts[b] + i;
        for (int i = 0; i < q_lengths[b]; i++) {
            const int row = q_starts[b] + i;
            attend(a.q + row * HD, a.k, a.v, keys, causal ? i + 1 : lengths[b],
                   a.expected + row * HD);
        }
    }
    clf_op_attention(&t->run, a.y,
                     (clf_attention){.q = a.on_q,
                                     .k = a.on_k,
                                     .v = a.on_v,
                                     .q_starts = put_ids(t, q_starts, 1, B),
                                     .q_lengths = put_ids(t, q_lengths, 1, B),
                                     .kv_starts = put_ids(t, starts, 1, B),
                                     .kv_lengths = put_ids(t, lengths, 1, B),
                                     .max_q_length = 3,
                                     .heads = H,
                                     .scale = 0.5f,
                                     .causal = causal});
    expect(t, a.y, a.expected);
}

static void test_attention(test *t) {
    check_attention(t, false);
}

static void test_attention_causal(test *t) {
    check_attention(t, true);
}

static void test_attention_step(test *t) {
    enum { STEPS = B, SLOTS = R };
    attention a = make_attention(t);
    int32_t origin[R * STEPS];
    for (int r = 0; r < R; r++) {
        int keys[STEPS];
        for (int i = 0; i < STEPS; i++) {
            origin[r * STEPS + i] = (int32_t)clf_rng_below(&t->rng, SLOTS);
            keys[i] = i * SLOTS + origin[r * STEPS + i];
        }
        attend(a.q + r * HD, a.k, a.v, keys, STEPS, a.expected + r * HD);
    }
    clf_op_attention_step(&t->run, a.y,
                          (clf_attention_step){.q = a.on_q,
                                               .k = a.on_k,
                                               .v = a.on_v,
                                               .origin = put_ids(t, origin, R, STEPS),
                                               .slots = SLOTS,
                                               .steps = STEPS,
                                               .heads = H,
                                               .scale = 0.5f});
    expect(t, a.y, a.expected);
}

static void test_attention_cross(test *t) {
    const int32_t sentence[R] = {2, 0, 1, 1, 0, 2, 2};
    attention a = make_attention(t);
    for (int r = 0; r < R; r++) {
        int keys[R * B];
        const int b = sentence[r];
        for (int i = 0; i < kv_lengths[b]; i++) keys[i] = kv_starts[b] + i;
        attend(a.q + r * HD, a.k, a.v, keys, kv_lengths[b], a.expected + r * HD);
    }
    clf_op_attention_cross(&t->run, a.y,
                           (clf_attention_cross){.q = a.on_q,
                                                 .k = a.on_k,
                                                 .v = a.on_v,
                                                 .sentence = put_ids(t, sentence, 1, R),
                                                 .starts = put_ids(t, kv_starts, 1, B),
                                                 .lengths = put_ids(t, kv_lengths, 1, B),
                                                 .heads = H,
                                                 .scale = 0.5f});
    expect(t, a.y, a.expected);
}

static void test_reorder(test *t) {
    enum { STEPS = 4, WIDTH = 6 };
    const int32_t parent[R] = {1, 1, 0, 6, 3, 3, 2};
    int32_t from[R * WIDTH], expected[R * WIDTH] = {0};
    for (int i = 0; i < R * WIDTH; i++) from[i] = (int32_t)clf_rng_below(&t->rng, 1000);
    for (int r = 0; r < R; r++) {
        for (int s = 0; s < STEPS; s++) expected[r * WIDTH + s] = from[parent[r] * WIDTH + s];
        expected[r * WIDTH + STEPS] = r;
    }
    clf_tensor to = take(t, R, WIDTH, CLF_I32);
    clf_op_reorder(&t->run, to, put_ids(t, from, R, WIDTH), put_ids(t, parent, 1, R), STEPS);
    expect_ids(t, to, expected);
}

// ---- rows of logits -----------------------------------------------------------------------------

static void log_softmax(const float *x, int rows, double *y) {
    for (int r = 0; r < rows; r++) {
        double sum = 0;
        for (int v = 0; v < V; v++) sum += exp((double)x[r * V + v]);
        for (int v = 0; v < V; v++) y[r * V + v] = (double)x[r * V + v] - log(sum);
    }
}

typedef struct logits {
    float x[R * V];
    double logprobs[R * V];
    clf_tensor on_x;
} logits;

static logits make_logits(test *t) {
    logits l;
    for (int i = 0; i < R * V; i++) l.x[i] = clf_rng_uniform(&t->rng, -8, 8);
    log_softmax(l.x, R, l.logprobs);
    l.on_x = put(t, l.x, R, V);
    return l;
}

static void test_softmax(test *t) {
    logits l = make_logits(t);
    clf_tensor y = take(t, R, V, CLF_F32);
    clf_op_log_softmax(&t->run, y, l.on_x);
    expect(t, y, l.logprobs);
    for (int i = 0; i < R * V; i++) l.logprobs[i] = exp(l.logprobs[i]);
    clf_op_softmax(&t->run, y, l.on_x);
    expect(t, y, l.logprobs);
}

static void test_topk(test *t) {
    logits l = make_logits(t);
    const int32_t banned[1] = {V / 2};
    double values[R * K];
    int32_t ids[R * K];
    for (int r = 0; r < R; r++) {
        bool taken[V] = {[V / 2] = true};
        for (int i = 0; i < K; i++) {
            int best = -1;
            for (int v = 0; v < V; v++) {
                if (!taken[v] && (best < 0 || l.x[r * V + v] > l.x[r * V + best])) best = v;
            }
            taken[best] = true;
            ids[r * K + i] = best;
            values[r * K + i] = l.logprobs[r * V + best];
        }
    }
    clf_tensor got_values = take(t, R, K, CLF_F32), got_ids = take(t, R, K, CLF_I32);
    clf_op_topk(&t->run, got_values, got_ids, l.on_x,
                (clf_topk){.banned = put_ids(t, banned, 1, 1), .k = K, .scratch = t->arena});
    expect(t, got_values, values);
    expect_ids(t, got_ids, ids);
}

static void test_pick(test *t) {
    logits l = make_logits(t);
    int32_t ids[R];
    double expected[R];
    for (int r = 0; r < R; r++) {
        ids[r] = (int32_t)clf_rng_below(&t->rng, V);
        expected[r] = l.logprobs[r * V + ids[r]];
    }
    clf_tensor y = take(t, R, 1, CLF_F32);
    clf_op_pick(&t->run, y, l.on_x, put_ids(t, ids, 1, R), (clf_tensor){0});
    expect(t, y, expected);
}

// ---- all of them --------------------------------------------------------------------------------

static const struct {
    const char *name;
    void (*function)(test *t);
} tests[] = {
    {"linear", test_linear},
    {"weight types", test_weights},
    {"gate", test_gate},
    {"embedding", test_embed},
    {"layer norm", test_layer_norm},
    {"RMS norm", test_rms_norm},
    {"attention", test_attention},
    {"causal attention", test_attention_causal},
    {"attention step", test_attention_step},
    {"cross-attention step", test_attention_cross},
    {"beam reorder", test_reorder},
    {"softmax", test_softmax},
    {"top-k", test_topk},
    {"pick", test_pick},
};

enum { TESTS = sizeof tests / sizeof *tests };
_Static_assert(TESTS <= CLF_PROBE_MAX_CHECKS, "more tests than the probe has room for");

void clf_probe_self_test(clf_prober *p) {
    for (int i = 0; i < TESTS; i++) {
        if (!clf_prober_tick(p, (double)i / TESTS, tests[i].name)) return;
        clf_probe_check *check = &p->result->checks[p->result->check_count++];
        test t = {.run = clf_run_begin(p->device), .rng = {.state = (uint64_t)i}};
        clf_run_fail(&t.run, clf_arena_create(p->device, "self-test", "another device", &t.arena));
        if (t.run.status == CLF_OK) tests[i].function(&t);
        clf_run_finish(&t.run);
        clf_arena_destroy(t.arena);
        *check = (clf_probe_check){.name = tests[i].name, .error = t.error};
        check->outcome = t.run.status != CLF_OK ? CLF_PROBE_FAILED
                         : t.error <= 1         ? CLF_PROBE_PASSED
                                                : CLF_PROBE_WRONG;
        if (check->outcome == CLF_PROBE_FAILED) {
            snprintf(check->message, sizeof check->message, "%s", clf_last_error());
        }
    }
}
