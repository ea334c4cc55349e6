// SPDX-License-Identifier: MIT
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "ops/backward.h"
#include "ops/opkit.h"
#include "ref/ref_attention.h"

enum { BATCH = 9 };

typedef struct problem {
    int heads, head_width;
    const int *q_lengths, *kv_lengths; // the same array: self-attention
    int batch;
    bool causal;
    float range; // of q
    float rate;
    clf_dtype dtype;
} problem;

// A problem with its numbers, in double and in float. In front of each sequence there is a row of
// none.
typedef struct numbers {
    ref_attention ref;
    int q_starts[BATCH], kv_starts[BATCH];
    int q_rows, kv_rows, longest, C;
    double *q, *k, *v, *dy;
    float *fq, *fk, *fv, *fdy;
} numbers;

static int place(const int *lengths, int batch, int *starts) {
    int sum = 0;
    for (int b = 0; b < batch; b++) {
        starts[b] = sum + 1;
        sum += 1 + lengths[b];
    }
    return sum;
}

static double *widen(const float *x, size_t count) {
    double *wide = malloc(sizeof *wide * (count + 1));
    for (size_t i = 0; i < count; i++) wide[i] = (double)x[i];
    return wide;
}

static void make_numbers(const problem *p, numbers *n) {
    *n = (numbers){.C = p->heads * p->head_width};
    n->q_rows = place(p->q_lengths, p->batch, n->q_starts);
    n->kv_rows = place(p->kv_lengths, p->batch, n->kv_starts);
    for (int b = 0; b < p->batch; b++) {
        if (p->q_lengths[b] > n->longest) n->longest = p->q_lengths[b];
    }
    const size_t q_count = (size_t)(n->q_rows * n->C), kv_count = (size_t)(n->kv_rows * n->C);
    clf_rng rng = {(uint64_t)n->C};
    n->fq = opkit_numbers(&rng, q_count, p->range, 0);
    n->fk = opkit_numbers(&rng, kv_count, 1, 0);
    n->fv = opkit_numbers(&rng, kv_count, 1, 0.25f);
    n->fdy = opkit_numbers(&rng, q_count, 1, 0.25f);
    opkit_round(n->fq, q_count, p->dtype), opkit_round(n->fk, kv_count, p->dtype);
    opkit_round(n->fv, kv_count, p->dtype), opkit_round(n->fdy, q_count, p->dtype);
    n->q = widen(n->fq, q_count), n->k = widen(n->fk, kv_count);
    n->v = widen(n->fv, kv_count), n->dy = widen(n->fdy, q_count);
    n->ref = (ref_attention){
        .q = n->q,
        .k = n->k,
        .v = n->v,
        .batch = p->batch,
        .heads = p->heads,
        .width = p->head_width,
        .q_starts = n->q_starts,
        .q_lengths = p->q_lengths,
        .kv_starts = n->kv_starts,
        .kv_lengths = p->kv_lengths,
        .scale = (double)(1 / sqrtf((float)p->head_width)),
        .causal = p->causal,
        .dropout = {.rate = p->rate, .site = 9, .step = 1234567, .seed = 0x123456789abcdefu}};
}

static void free_numbers(numbers *n) {
    free(n->q), free(n->k), free(n->v), free(n->dy);
    free(n->fq), free(n->fk), free(n->fv), free(n->fdy);
}

// Zero in the rows of sequences, NaN between them, where nothing is written.
static ref_bounded start_result(const int *starts, const int *lengths, int batch, int rows, int C) {
    const size_t count = (size_t)(rows * C);
    ref_bounded g = {malloc(sizeof(double) * (count + 1)), calloc(count + 1, sizeof(double))};
    for (size_t i = 0; i < count; i++) g.value[i] = (double)NAN;
    for (int b = 0; b < batch; b++) {
        for (int i = 0; i < lengths[b] * C; i++) g.value[starts[b] * C + i] = 0;
    }
    return g;
}

static void free_bounded(ref_bounded g) {
    free(g.value), free(g.bound);
}

// ---- the reference ------------------------------------------------------------------------------

// The sum of dy * y over the sequences.
static double loss(const numbers *n, double *y) {
    double sum = 0;
    ref_attention_forward(&n->ref, y, NULL, NULL, NULL);
    for (int b = 0; b < n->ref.batch; b++) {
        const int first = n->q_starts[b] * n->C;
        for (int i = first; i < first + n->ref.q_lengths[b] * n->C; i++) sum += n->dy[i] * y[i];
    }
    return sum;
}

// The gradient of x, all rows of which were made by start_result().
static void compare_differences(const numbers *n, double *x, ref_bounded dx, int rows,
                                const char *what) {
    const double step = 1e-5;
    double *y = malloc(sizeof *y * (size_t)(n->q_rows * n->C));
    for (int i = 0; i < rows * n->C; i++) {
        if (isnan(dx.value[i])) continue;
        const double saved = x[i];
        x[i] = saved + step;
        const double above = loss(n, y);
        x[i] = saved - step;
        const double slope = (above - loss(n, y)) / (2 * step);
        x[i] = saved;
        // The step's square, and a loss of some 10 rounded to 1e-15 over the step.
        if (fabs(slope - dx.value[i]) < 2e-9) continue;
        printf("\n    %s, element %d: %.12g, by differences %.12g", what, i, dx.value[i], slope);
        CU_FAIL("the reference is wrong");
        break;
    }
    free(y);
}

static void test_reference(void) {
    static const int few[] = {3, 0, 5, 1}, others[] = {4, 2, 3, 0};
    for (int i = 0; i < 6; i++) {
        const problem p = {.heads = 2,
                           .head_width = 3,
                           .q_lengths = few,
                           .kv_lengths = i % 3 == 2 ? others : few,
                           .batch = 4,
                           .causal = i % 3 == 1,
                           .range = 1,
                           .rate = i < 3 ? 0.0f : 0.3f};
        numbers n;
        make_numbers(&p, &n);
        ref_bounded dq = start_result(n.q_starts, p.q_lengths, p.batch, n.q_rows, n.C);
        ref_bounded dk = start_result(n.kv_starts, p.kv_lengths, p.batch, n.kv_rows, n.C);
        ref_bounded dv = start_result(n.kv_starts, p.kv_lengths, p.batch, n.kv_rows, n.C);
        ref_attention_backward(&n.ref, n.dy, dq, dk, dv);
        compare_differences(&n, n.q, dq, n.q_rows, "dq");
        compare_differences(&n, n.k, dk, n.kv_rows, "dk");
        compare_differences(&n, n.v, dv, n.kv_rows, "dv");
        free_bounded(dq), free_bounded(dk), free_bounded(dv);
        free_numbers(&n);
    }
}

// ---- the operation ------------------------------------------------------------------------------

static clf_tensor put_ints(opkit *kit, const int *data, int count) {
    clf_tensor t = clf_arena_take(&kit->run, kit->arena, 1, count, CLF_I32);
    clf_write(&kit->run, t, data);
    return t;
}

// `parts` matrices (rows, C) beside each other, or unwritten without data.
static opkit_guarded put_fused(opkit *kit, int rows, int C, int parts, clf_dtype dtype,
                               const float *const *data) {
    if (!data) return opkit_put(kit, rows, parts * C, dtype, NULL);
    float *fused = malloc(sizeof *fused * (size_t)(rows * parts * C + 1));
    for (int i = 0; i < rows * parts; i++) {
        memcpy(fused + i * C, data[i % parts] + i / parts * C, sizeof *fused * (size_t)C);
    }
    opkit_guarded g = opkit_put(kit, rows, parts * C, dtype, fused);
    free(fused);
    return g;
}

// Compares the columns of a fused result with its parts.
static void compare_fused(opkit *kit, opkit_guarded *g, int C, int parts,
                          const ref_bounded *expected, const char *const *names, const char *what) {
    const int rows = g->view.rows;
    float *fused = malloc(sizeof *fused * (size_t)(rows * parts * C + 1));
    float *part = malloc(sizeof *part * (size_t)(rows * C + 1));
    opkit_get(kit, g, fused);
    for (int p = 0; p < parts; p++) {
        for (int r = 0; r < rows; r++) {
            memcpy(part + r * C, fused + (r * parts + p) * C, sizeof *part * (size_t)C);
        }
        char name[128];
        snprintf(name, sizeof name, "%s of %s", names[p], what);
        opkit_widen(expected[p].bound, expected[p].value, (size_t)(rows * C), g->view.dtype);
        opkit_compare(name, part, expected[p].value, expected[p].bound, (size_t)(rows * C));
    }
    free(fused), free(part);
}

// Half's part in the bounds of a gradient: y and so dy . y, of a width of at most 1.25^2 an
// element, are rounded, which `weights` times reaches an element; and sums are rounded between
// tiles.
static void allow_half(const problem *p, const numbers *n, ref_bounded g, int rows, int weights) {
    const double y = 1.25 / (1 - (double)p->rate);
    const double delta = 0x1p-11 * p->head_width * 1.25 * y * n->ref.scale;
    double largest = 0;
    for (int i = 0; i < rows * n->C; i++) {
        if (fabs(g.value[i]) > largest) largest = fabs(g.value[i]);
    }
    for (int i = 0; i < rows * n->C; i++) g.bound[i] += weights * delta + 3 * 0x1p-11 * largest;
}

static void run_problem(clf_device *device, const problem *p) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    numbers n;
    make_numbers(p, &n);
    const int C = n.C;
    const bool self = p->q_lengths == p->kv_lengths;
    // Self-attention has q, k, v in one buffer, cross-attention k and v in another one than q.
    const float *const data[] = {n.fq, n.fk, n.fv};
    opkit_guarded q = put_fused(&kit, n.q_rows, C, self ? 3 : 1, p->dtype, data);
    opkit_guarded kv = put_fused(&kit, n.kv_rows, C, 2, p->dtype, data + 1);
    opkit_guarded to_q = put_fused(&kit, n.q_rows, C, self ? 3 : 1, p->dtype, NULL);
    opkit_guarded to_kv = put_fused(&kit, n.kv_rows, C, 2, p->dtype, NULL);
    opkit_guarded y = put_fused(&kit, n.q_rows, C, 1, p->dtype, NULL);
    opkit_guarded dy = put_fused(&kit, n.q_rows, C, 1, p->dtype, (const float *const[]){n.fdy});
    opkit_guarded lse = opkit_put(&kit, n.q_rows, p->heads, CLF_F32, NULL);
    const clf_tensor keys = self ? clf_tensor_cols(q.view, C, 2 * C) : kv.view;
    const clf_tensor dkeys = self ? clf_tensor_cols(to_q.view, C, 2 * C) : to_kv.view;
    const clf_attention a = {.q = clf_tensor_cols(q.view, 0, C),
                             .k = clf_tensor_cols(keys, 0, C),
                             .v = clf_tensor_cols(keys, C, C),
                             .q_starts = put_ints(&kit, n.q_starts, p->batch),
                             .q_lengths = put_ints(&kit, p->q_lengths, p->batch),
                             .kv_starts = put_ints(&kit, n.kv_starts, p->batch),
                             .kv_lengths = put_ints(&kit, p->kv_lengths, p->batch),
                             .max_q_length = n.longest,
                             .heads = p->heads,
                             .scale = (float)n.ref.scale,
                             .causal = p->causal,
                             .lse = lse.view,
                             .dropout = n.ref.dropout};
    clf_op_attention(&kit.run, y.view, a);
    clf_op_attention_backward(&kit.run, clf_tensor_cols(to_q.view, 0, C),
                              clf_tensor_cols(dkeys, 0, C), clf_tensor_cols(dkeys, C, C), dy.view,
                              y.view, a, kit.arena);

    ref_bounded expected[3];
    expected[0] = start_result(n.q_starts, p->q_lengths, p->batch, n.q_rows, C);
    expected[1] = start_result(n.kv_starts, p->kv_lengths, p->batch, n.kv_rows, C);
    expected[2] = start_result(n.kv_starts, p->kv_lengths, p->batch, n.kv_rows, C);
    ref_attention_backward(&n.ref, n.dy, expected[0], expected[1], expected[2]);
    ref_bounded sums = start_result(n.q_starts, p->q_lengths, p->batch, n.q_rows, C);
    ref_bounded logs = start_result(n.q_starts, p->q_lengths, p->batch, n.q_rows, p->heads);
    ref_attention_forward(&n.ref, sums.value, sums.bound, logs.value, logs.bound);
    if (p->dtype == CLF_F16) {
        allow_half(p, &n, expected[0], n.q_rows, 1);  // weights of a query sum to 1
        allow_half(p, &n, expected[1], n.kv_rows, 4); // of a key, to about 1
        allow_half(p, &n, expected[2], n.kv_rows, 0);
    }
    static const char *const names[] = {"dq", "dk", "dv", "y", "lse"};
    char what[96];
    snprintf(what, sizeof what, "%d heads of width %d, %s, causal %d, dropout %g", p->heads,
             p->head_width, self ? "self" : "cross", p->causal, (double)p->rate);
    compare_fused(&kit, &to_q, C, self ? 3 : 1, expected, names, what);
    if (self)
        opkit_drop(&to_kv);
    else
        compare_fused(&kit, &to_kv, C, 2, expected + 1, names + 1, what);
    compare_fused(&kit, &y, C, 1, &sums, names + 3, what);
    compare_fused(&kit, &lse, p->heads, 1, &logs, names + 4, what);
    for (int i = 0; i < 3; i++) free_bounded(expected[i]);
    free_bounded(sums), free_bounded(logs);
    opkit_drop(&q), opkit_drop(&kv), opkit_drop(&dy);
    free_numbers(&n);
    opkit_finish(&kit);
}

static const int long_lengths[BATCH] = {32, 1, 2, 0, 7, 16, 17, 65, 33};
static const int other_lengths[BATCH] = {1, 33, 0, 5, 64, 7, 32, 16, 17}; // one has no keys
static const int short_lengths[BATCH] = {3, 1, 0, 2, 1, 1, 2, 3, 4};
static const int no_lengths[BATCH] = {0};

// llvmpipe ends the loops of a work-item after 65535 turns, all loops together.
static bool loops_end_early(clf_device *device) {
    clf_device_info info;
    clf_device_get_info(device, &info);
    return clf_device_profile(device)->lanes == 1 && strstr(info.name, "llvmpipe");
}

static void shapes_on(clf_device *device) {
    static const struct {
        int heads, width;
        float rate;
    } shapes[] = {{4, 4, 0}, {3, 12, 0},    {1, 33, 0},   {2, 64, 0},
                  {2, 1, 0}, {1, 33, 0.3f}, {2, 64, 0.3f}};
    for (int s = 0; s < 7; s++) {
        if (shapes[s].width == 33 && loops_end_early(device)) continue;
        problem p = {.heads = shapes[s].heads,
                     .head_width = shapes[s].width,
                     .q_lengths = long_lengths,
                     .kv_lengths = long_lengths,
                     .batch = BATCH,
                     .range = 1,
                     .rate = shapes[s].rate};
        run_problem(device, &p);
        p.causal = true;
        run_problem(device, &p);
        p.kv_lengths = other_lengths; // keys that no query sees, and queries past the last key
        run_problem(device, &p);
        p.causal = false;
        run_problem(device, &p);
        p.range = 100; // nearly all weight on one key
        run_problem(device, &p);
        p.q_lengths = short_lengths; // fewer queries than a block has
        run_problem(device, &p);
    }
}

static void test_shapes(void) {
    clf_test_each_device(shapes_on);
}

static void half_on(clf_device *device) {
    static const struct {
        int heads, width;
        float rate;
    } shapes[] = {{3, 12, 0}, {2, 64, 0.3f}};
    for (int s = 0; s < 2; s++) {
        problem p = {.heads = shapes[s].heads,
                     .head_width = shapes[s].width,
                     .q_lengths = long_lengths,
                     .kv_lengths = long_lengths,
                     .batch = BATCH,
                     .causal = true,
                     .range = 1,
                     .rate = shapes[s].rate,
                     .dtype = CLF_F16};
        run_problem(device, &p);
        p.kv_lengths = other_lengths, p.causal = false;
        run_problem(device, &p);
    }
}

static void test_half(void) {
    clf_test_each_device(half_on);
}

static void extremes_on(clf_device *device) {
    static const int long_one[] = {523};
    problem p = {.heads = 2,
                 .head_width = 32,
                 .q_lengths = long_one,
                 .kv_lengths = long_one,
                 .batch = 1,
                 .causal = true,
                 .range = 3};
    if (!loops_end_early(device)) run_problem(device, &p);
    // No queries at all: the gradients of keys and values are zero.
    p.q_lengths = no_lengths, p.kv_lengths = short_lengths, p.batch = BATCH, p.causal = false;
    run_problem(device, &p);
    p.q_lengths = short_lengths, p.kv_lengths = no_lengths;
    run_problem(device, &p);
}

static void test_extremes(void) {
    clf_test_each_device(extremes_on);
}

static void bad_shapes_on(clf_device *device) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    clf_tensor x = clf_arena_take(&kit.run, kit.arena, 6, 8, CLF_F32);
    clf_tensor narrow = clf_tensor_cols(x, 0, 4), lse = clf_tensor_cols(x, 0, 2);
    clf_tensor one = clf_arena_take(&kit.run, kit.arena, 1, 1, CLF_I32);
    clf_attention a = {.q = x,
                       .k = x,
                       .v = x,
                       .q_starts = one,
                       .q_lengths = one,
                       .kv_starts = one,
                       .kv_lengths = one,
                       .heads = 2,
                       .max_q_length = 6};
    clf_op_attention_backward(&kit.run, x, x, x, x, x, a, kit.arena);
    opkit_expect_argument_error(&kit, "attention_backward: lse is an absent");
    a.lse = x;
    clf_op_attention_backward(&kit.run, x, x, x, x, x, a, kit.arena);
    opkit_expect_argument_error(&kit, "attention_backward: lse is a (6, 8)");
    a.lse = lse;
    clf_op_attention_backward(&kit.run, narrow, x, x, x, x, a, kit.arena);
    opkit_expect_argument_error(&kit, "attention_backward: dq");
    clf_op_attention_backward(&kit.run, x, x, narrow, x, x, a, kit.arena);
    opkit_expect_argument_error(&kit, "attention_backward: dv");
    clf_op_attention_backward(&kit.run, x, x, x, narrow, x, a, kit.arena);
    opkit_expect_argument_error(&kit, "attention_backward: dy");
    opkit_finish(&kit);
}

static void test_bad_shapes(void) {
    clf_test_each_device(bad_shapes_on);
}

// ---- timing -------------------------------------------------------------------------------------

typedef struct bench {
    clf_tensor dq, dk, dv, dy, y;
    clf_attention a;
    clf_arena *arena;
} bench;

static void launch(clf_run *run, void *user) {
    const bench *b = user;
    clf_op_attention_backward(run, b->dq, b->dk, b->dv, b->dy, b->y, b->a, b->arena);
}

static void bench_shape(opkit *kit, int B, int S, int heads, int D, bool causal, float rate) {
    const int C = heads * D, rows = B * S;
    const clf_arena_mark mark = clf_arena_get_mark(kit->arena);
    clf_tensor qkv = clf_arena_take(&kit->run, kit->arena, rows, 3 * C, CLF_F32);
    clf_tensor dqkv = clf_arena_take(&kit->run, kit->arena, rows, 3 * C, CLF_F32);
    clf_tensor y = clf_arena_take(&kit->run, kit->arena, rows, C, CLF_F32);
    clf_tensor lse = clf_arena_take(&kit->run, kit->arena, rows, heads, CLF_F32);
    clf_fill_zero(&kit->run, qkv);
    clf_fill_zero(&kit->run, y);
    clf_fill_zero(&kit->run, lse);
    int *starts = malloc(sizeof *starts * (size_t)B), *lengths = malloc(sizeof *starts * (size_t)B);
    for (int b = 0; b < B; b++) starts[b] = b * S, lengths[b] = S;
    clf_tensor first = put_ints(kit, starts, B), length = put_ints(kit, lengths, B);
    free(starts), free(lengths);
    bench b = {.dq = clf_tensor_cols(dqkv, 0, C),
               .dk = clf_tensor_cols(dqkv, C, C),
               .dv = clf_tensor_cols(dqkv, 2 * C, C),
               .dy = y,
               .y = y,
               .a = {.q = clf_tensor_cols(qkv, 0, C),
                     .k = clf_tensor_cols(qkv, C, C),
                     .v = clf_tensor_cols(qkv, 2 * C, C),
                     .q_starts = first,
                     .q_lengths = length,
                     .kv_starts = first,
                     .kv_lengths = length,
                     .max_q_length = S,
                     .heads = heads,
                     .scale = 0.125f,
                     .causal = causal,
                     .lse = lse,
                     .dropout = {.rate = rate}},
               .arena = kit->arena};
    char name[64];
    snprintf(name, sizeof name, "B %d, S %d, %d x %d, causal %d, dropout %g", B, S, heads, D,
             causal, (double)rate);
    opkit_bench(kit, name, 28.0 * rows * C, (causal ? 5.0 : 10.0) * S * rows * C, launch, &b);
    clf_arena_rewind(kit->arena, mark);
}

static void bench_on(clf_device *device) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    bench_shape(&kit, 256, 5, 4, 64, false, 0);
    bench_shape(&kit, 256, 14, 4, 64, false, 0);
    bench_shape(&kit, 256, 14, 4, 64, true, 0);
    bench_shape(&kit, 256, 14, 8, 32, false, 0);
    bench_shape(&kit, 256, 14, 4, 64, false, 0.1f);
    bench_shape(&kit, 64, 33, 4, 64, false, 0);
    bench_shape(&kit, 64, 33, 4, 64, true, 0);
    bench_shape(&kit, 64, 100, 4, 64, false, 0);
    bench_shape(&kit, 64, 100, 4, 64, true, 0);
    bench_shape(&kit, 8, 512, 4, 64, false, 0);
    opkit_finish(&kit);
}

static void test_bench(void) {
    if (!clf_test_bench) return;
    clf_test_each_device(bench_on);
}

static const clf_test tests[] = {
    {"reference", test_reference}, {"shapes", test_shapes},         {"half", test_half},
    {"extremes", test_extremes},   {"bad shapes", test_bad_shapes}, {"bench", test_bench}};
CLF_TEST_MAIN("op-attention-backward", tests)
