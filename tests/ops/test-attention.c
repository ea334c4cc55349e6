// SPDX-License-Identifier: MIT
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "harness.h"
#include "ops/opkit.h"
#include "ops/ops.h"
#include "ref/ref_rows.h"

// ---- whole sequences ----------------------------------------------------------------------------

enum { BATCH = 9 };

typedef struct problem {
    int heads, head_width;
    const int *q_lengths, *kv_lengths; // BATCH; the same array: self-attention
    bool causal;
    float range; // of q
} problem;

static int sum_of(const int *lengths, int *starts) {
    int sum = 0;
    for (int b = 0; b < BATCH; b++) {
        starts[b] = sum;
        sum += lengths[b];
    }
    return sum;
}

// y (rows of q, C) from fused buffers (rows, 3 C) of queries, keys and values.
static void expect(const problem *p, const float *q, const float *kv, const int *q_starts,
                   const int *kv_starts, double *y, double *bound) {
    const int C = p->heads * p->head_width, D = p->head_width;
    int rows[128];
    for (int b = 0; b < BATCH; b++) {
        for (int j = 0; j < p->kv_lengths[b]; j++) rows[j] = kv_starts[b] + j;
        for (int t = 0; t < p->q_lengths[b]; t++) {
            const int count = p->causal ? t + 1 : p->kv_lengths[b], row = q_starts[b] + t;
            for (int h = 0; h < p->heads; h++) {
                const float *head = kv + h * D;
                ref_attend(y + row * C + h * D, bound + row * C + h * D, q + row * 3 * C + h * D,
                           head + C, head + 2 * C, rows, 3 * C, count, D, 1 / sqrtf((float)D));
            }
        }
    }
}

static clf_tensor put_ints(opkit *kit, const int *data, int count) {
    clf_tensor t = clf_arena_take(&kit->run, kit->arena, 1, count, CLF_I32);
    clf_write(&kit->run, t, data);
    return t;
}

static void run_problem(clf_device *device, const problem *p) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    const int C = p->heads * p->head_width;
    int q_starts[BATCH], kv_starts[BATCH], longest = 0;
    const int q_rows = sum_of(p->q_lengths, q_starts), kv_rows = sum_of(p->kv_lengths, kv_starts);
    for (int b = 0; b < BATCH; b++) {
        if (p->q_lengths[b] > longest) longest = p->q_lengths[b];
    }
    const size_t count = (size_t)q_rows * (size_t)C;
    clf_rng rng = {(uint64_t)C};
    float *q = opkit_numbers(&rng, 3 * count, p->range, 0);
    float *kv = opkit_numbers(&rng, 3 * (size_t)kv_rows * (size_t)C, 1, 0);
    float *out = malloc(sizeof *out * count);
    double *expected = malloc(sizeof *expected * count), *bound = malloc(sizeof *bound * count);
    expect(p, q, kv, q_starts, kv_starts, expected, bound);

    opkit_guarded dq = opkit_put(&kit, q_rows, 3 * C, CLF_F32, q);
    opkit_guarded dkv = opkit_put(&kit, kv_rows, 3 * C, CLF_F32, kv);
    opkit_guarded dy = opkit_put(&kit, q_rows, C, CLF_F32, NULL);
    clf_op_attention(&kit.run, dy.view,
                     (clf_attention){.q = clf_tensor_cols(dq.view, 0, C),
                                     .k = clf_tensor_cols(dkv.view, C, C),
                                     .v = clf_tensor_cols(dkv.view, 2 * C, C),
                                     .q_starts = put_ints(&kit, q_starts, BATCH),
                                     .q_lengths = put_ints(&kit, p->q_lengths, BATCH),
                                     .kv_starts = put_ints(&kit, kv_starts, BATCH),
                                     .kv_lengths = put_ints(&kit, p->kv_lengths, BATCH),
                                     .max_q_length = longest,
                                     .heads = p->heads,
                                     .scale = 1 / sqrtf((float)p->head_width),
                                     .causal = p->causal});
    opkit_get(&kit, &dy, out);
    char what[96];
    snprintf(what, sizeof what, "%d heads of width %d, causal %d", p->heads, p->head_width,
             p->causal);
    opkit_compare(what, out, expected, bound, count);
    opkit_drop(&dq), opkit_drop(&dkv);
    free(q), free(kv), free(out), free(expected), free(bound);
    opkit_finish(&kit);
}

static const int long_lengths[BATCH] = {32, 1, 2, 0, 7, 16, 17, 65, 33};
static const int other_lengths[BATCH] = {1, 33, 0, 5, 64, 7, 32, 16, 17}; // one has no keys
static const int short_lengths[BATCH] = {3, 1, 0, 2, 1, 1, 2, 3, 4};

static void shapes_on(clf_device *device) {
    static const int shapes[][2] = {{8, 4}, {3, 12}, {1, 33}, {3, 64}, {2, 1}}; // heads, width
    for (int s = 0; s < 5; s++) {
        problem p = {.heads = shapes[s][0],
                     .head_width = shapes[s][1],
                     .q_lengths = long_lengths,
                     .kv_lengths = long_lengths,
                     .range = 1};
        run_problem(device, &p);
        p.causal = true;
        run_problem(device, &p);
        p.causal = false, p.kv_lengths = other_lengths;
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

// ---- one step -----------------------------------------------------------------------------------

enum { SLOTS = 6, ROWS = 5, STEPS = 65 };

static void run_step(clf_device *device, int heads, int D, int steps) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    const int C = heads * D, cache_rows = STEPS * SLOTS;
    clf_rng rng = {(uint64_t)(steps * 100 + D)};
    float *q = opkit_numbers(&rng, (size_t)(ROWS * C), 3, 0), *out = malloc(sizeof *out * 20000);
    float *cache = opkit_numbers(&rng, (size_t)(cache_rows * 2 * C), 1, 0);
    int origin[ROWS * STEPS], rows[STEPS];
    double *expected = malloc(sizeof *expected * 20000), *bound = malloc(sizeof *bound * 20000);
    for (int r = 0; r < ROWS; r++) {
        for (int t = 0; t < STEPS; t++) {
            // Positions that are not there yet name no slot.
            origin[r * STEPS + t] = t < steps ? (int)clf_rng_below(&rng, SLOTS) : 1 << 30;
            if (t < steps) rows[t] = t * SLOTS + origin[r * STEPS + t];
        }
        for (int h = 0; h < heads; h++) {
            ref_attend(expected + r * C + h * D, bound + r * C + h * D, q + r * C + h * D,
                       cache + h * D, cache + C + h * D, rows, 2 * C, steps, D, 0.5f);
        }
    }
    opkit_guarded dq = opkit_put(&kit, ROWS, C, CLF_F32, q);
    opkit_guarded dcache = opkit_put(&kit, cache_rows, 2 * C, CLF_F32, cache);
    opkit_guarded dorigin = opkit_put(&kit, ROWS, STEPS, CLF_I32, origin);
    opkit_guarded dy = opkit_put(&kit, ROWS, C, CLF_F32, NULL);
    clf_op_attention_step(&kit.run, dy.view,
                          (clf_attention_step){.q = dq.view,
                                               .k = clf_tensor_cols(dcache.view, 0, C),
                                               .v = clf_tensor_cols(dcache.view, C, C),
                                               .origin = dorigin.view,
                                               .slots = SLOTS,
                                               .steps = steps,
                                               .heads = heads,
                                               .scale = 0.5f});
    opkit_get(&kit, &dy, out);
    char what[96];
    snprintf(what, sizeof what, "step %d, %d heads of width %d", steps, heads, D);
    opkit_compare(what, out, expected, bound, (size_t)(ROWS * C));
    opkit_drop(&dq), opkit_drop(&dcache), opkit_drop(&dorigin);
    free(q), free(cache), free(out), free(expected), free(bound);
    opkit_finish(&kit);
}

static void run_cross(clf_device *device, int heads, int D) {
    static const int sentence[ROWS] = {0, 4, 4, 2, 7}; // the third has no keys
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    const int C = heads * D;
    int starts[BATCH], rows[128];
    const int kv_rows = sum_of(other_lengths, starts);
    clf_rng rng = {(uint64_t)D};
    float *q = opkit_numbers(&rng, (size_t)(ROWS * C), 3, 0), *out = malloc(sizeof *out * 20000);
    float *kv = opkit_numbers(&rng, (size_t)(kv_rows * 2 * C), 1, 0);
    double *expected = malloc(sizeof *expected * 20000), *bound = malloc(sizeof *bound * 20000);
    for (int r = 0; r < ROWS; r++) {
        const int b = sentence[r];
        for (int j = 0; j < other_lengths[b]; j++) rows[j] = starts[b] + j;
        for (int h = 0; h < heads; h++) {
            ref_attend(expected + r * C + h * D, bound + r * C + h * D, q + r * C + h * D,
                       kv + h * D, kv + C + h * D, rows, 2 * C, other_lengths[b], D, 0.5f);
        }
    }
    opkit_guarded dq = opkit_put(&kit, ROWS, C, CLF_F32, q);
    opkit_guarded dkv = opkit_put(&kit, kv_rows, 2 * C, CLF_F32, kv);
    opkit_guarded dy = opkit_put(&kit, ROWS, C, CLF_F32, NULL);
    clf_op_attention_cross(&kit.run, dy.view,
                           (clf_attention_cross){.q = dq.view,
                                                 .k = clf_tensor_cols(dkv.view, 0, C),
                                                 .v = clf_tensor_cols(dkv.view, C, C),
                                                 .sentence = put_ints(&kit, sentence, ROWS),
                                                 .starts = put_ints(&kit, starts, BATCH),
                                                 .lengths = put_ints(&kit, other_lengths, BATCH),
                                                 .heads = heads,
                                                 .scale = 0.5f});
    opkit_get(&kit, &dy, out);
    char what[96];
    snprintf(what, sizeof what, "cross, %d heads of width %d", heads, D);
    opkit_compare(what, out, expected, bound, (size_t)(ROWS * C));
    opkit_drop(&dq), opkit_drop(&dkv);
    free(q), free(kv), free(out), free(expected), free(bound);
    opkit_finish(&kit);
}

static void steps_on(clf_device *device) {
    static const int steps[] = {1, 2, 7, 33, 65}, shapes[][2] = {{8, 4}, {1, 33}, {3, 100}};
    for (int s = 0; s < 3; s++) {
        for (int i = 0; i < 5; i++) run_step(device, shapes[s][0], shapes[s][1], steps[i]);
        run_cross(device, shapes[s][0], shapes[s][1]);
    }
}

static void test_steps(void) {
    clf_test_each_device(steps_on);
}

static void reorder_on(clf_device *device) {
    enum { WIDE = 70 };
    static const int steps[] = {0, 1, 17, WIDE - 1}, parent[ROWS] = {6, 0, 0, 3, 4};
    int from[(ROWS + 2) * WIDE], out[ROWS * WIDE];
    for (int i = 0; i < (ROWS + 2) * WIDE; i++) from[i] = i * 31;
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    opkit_guarded dfrom = opkit_put(&kit, ROWS + 2, WIDE, CLF_I32, from);
    for (int s = 0; s < 4; s++) {
        opkit_guarded dto = opkit_put(&kit, ROWS, WIDE, CLF_I32, from);
        clf_op_reorder(&kit.run, dto.view, dfrom.view, put_ints(&kit, parent, ROWS), steps[s]);
        opkit_get(&kit, &dto, out);
        int wrong = 0;
        for (int r = 0; r < ROWS; r++) {
            for (int t = 0; t < WIDE; t++) {
                const int expected = t < steps[s]    ? from[parent[r] * WIDE + t]
                                     : t == steps[s] ? r
                                                     : from[r * WIDE + t];
                wrong += out[r * WIDE + t] != expected;
            }
        }
        CU_ASSERT_EQUAL(wrong, 0);
    }
    opkit_drop(&dfrom);
    opkit_finish(&kit);
}

static void test_reorder(void) {
    clf_test_each_device(reorder_on);
}

static void compact_on(clf_device *device) {
    enum { WIDE = 19, FEWER = 3 };
    static const int steps[] = {0, 1, 7};
    float from[7 * SLOTS * WIDE], out[7 * FEWER * WIDE];
    int origin[FEWER * 7];
    clf_rng rng = {9};
    for (int i = 0; i < 7 * SLOTS * WIDE; i++) from[i] = (float)i;
    for (int i = 0; i < FEWER * 7; i++) origin[i] = (int)clf_rng_below(&rng, SLOTS);
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    opkit_guarded dfrom = opkit_put(&kit, 7 * SLOTS, WIDE, CLF_F32, from);
    opkit_guarded dorigin = opkit_put(&kit, FEWER, 7, CLF_I32, origin);
    for (int s = 0; s < 3; s++) {
        opkit_guarded dto = opkit_put(&kit, 7 * FEWER, WIDE, CLF_F32, from);
        clf_op_compact(&kit.run, dto.view, dfrom.view, dorigin.view, SLOTS, steps[s]);
        opkit_get(&kit, &dto, out);
        int wrong = 0;
        for (int row = 0; row < 7 * FEWER; row++) {
            const int t = row / FEWER, slot = origin[row % FEWER * 7 + t];
            const float *expected = from + WIDE * (t < steps[s] ? t * SLOTS + slot : row);
            for (int c = 0; c < WIDE; c++) wrong += out[row * WIDE + c] != expected[c];
        }
        CU_ASSERT_EQUAL(wrong, 0);
    }
    opkit_drop(&dfrom), opkit_drop(&dorigin);
    opkit_finish(&kit);
}

static void test_compact(void) {
    clf_test_each_device(compact_on);
}

static void bad_shapes_on(clf_device *device) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    clf_tensor x = clf_arena_take(&kit.run, kit.arena, 6, 8, CLF_F32);
    clf_tensor one = clf_arena_take(&kit.run, kit.arena, 1, 1, CLF_I32);
    clf_tensor map = clf_arena_take(&kit.run, kit.arena, 6, 4, CLF_I32);
    clf_attention a = {.q = x, .k = x, .v = x, .heads = 3, .max_q_length = 6};
    clf_op_attention(&kit.run, x, a);
    opkit_expect_argument_error(&kit, "attention: the width must be a multiple");
    a.heads = 2, a.q_starts = a.q_lengths = a.kv_starts = one;
    clf_op_attention(&kit.run, x, a);
    opkit_expect_argument_error(&kit, "attention: kv_lengths is an absent");
    a.v = clf_tensor_rows(x, 0, 5);
    clf_op_attention(&kit.run, x, a);
    opkit_expect_argument_error(&kit, "attention: v is a (5, 8)");
    clf_attention_step s = {
        .q = x, .k = x, .v = x, .origin = map, .heads = 2, .slots = 2, .steps = 4};
    clf_op_attention_step(&kit.run, x, s);
    opkit_expect_argument_error(&kit, "attention_step: the cache");
    s.steps = 5, s.slots = 1;
    clf_op_attention_step(&kit.run, x, s);
    opkit_expect_argument_error(&kit, "attention_step: more steps");
    clf_attention_cross c = {.q = x, .k = x, .v = x, .starts = one, .lengths = one, .heads = 2};
    c.sentence = one;
    clf_op_attention_cross(&kit.run, x, c);
    opkit_expect_argument_error(&kit, "attention_cross: sentence");
    clf_op_reorder(&kit.run, map, map, one, 1);
    opkit_expect_argument_error(&kit, "reorder: parent");
    opkit_finish(&kit);
}

static void test_bad_shapes(void) {
    clf_test_each_device(bad_shapes_on);
}

// ---- timing -------------------------------------------------------------------------------------

typedef struct bench {
    clf_tensor y;
    clf_attention whole;
    clf_attention_step step;
    clf_attention_cross cross;
} bench;

static void launch_whole(clf_run *run, void *user) {
    const bench *b = user;
    clf_op_attention(run, b->y, b->whole);
}

static void launch_step(clf_run *run, void *user) {
    const bench *b = user;
    clf_op_attention_step(run, b->y, b->step);
}

static void launch_cross(clf_run *run, void *user) {
    const bench *b = user;
    clf_op_attention_cross(run, b->y, b->cross);
}

static void bench_whole(opkit *kit, clf_tensor qkv, int S, int batch, bool causal) {
    enum { C = 512 };
    int starts[64], lengths[64];
    for (int b = 0; b < batch; b++) starts[b] = b * S, lengths[b] = S;
    bench b = {.y = clf_arena_take(&kit->run, kit->arena, S * batch, C, CLF_F32)};
    clf_tensor first = put_ints(kit, starts, batch), length = put_ints(kit, lengths, batch);
    qkv = clf_tensor_rows(qkv, 0, S * batch);
    b.whole = (clf_attention){.q = clf_tensor_cols(qkv, 0, C),
                              .k = clf_tensor_cols(qkv, C, C),
                              .v = clf_tensor_cols(qkv, 2 * C, C),
                              .q_starts = first,
                              .q_lengths = length,
                              .kv_starts = first,
                              .kv_lengths = length,
                              .max_q_length = S,
                              .heads = 8,
                              .scale = 0.125f,
                              .causal = causal};
    char name[64];
    snprintf(name, sizeof name, "attention B %d, S %d, causal %d", batch, S, causal);
    opkit_bench(kit, name, 16.0 * S * batch * C, (causal ? 2.0 : 4.0) * S * S * batch * C,
                launch_whole, &b);
}

static void bench_steps(opkit *kit, clf_tensor cache, int R, int steps) {
    enum { C = 512 };
    bench b = {.y = clf_arena_take(&kit->run, kit->arena, R, C, CLF_F32)};
    int *origin = malloc(sizeof *origin * (size_t)(R * steps));
    for (int i = 0; i < R * steps; i++) origin[i] = i / steps;
    clf_tensor map = clf_arena_take(&kit->run, kit->arena, R, steps, CLF_I32);
    clf_write(&kit->run, map, origin);
    b.step = (clf_attention_step){.q = clf_tensor_cols(clf_tensor_rows(cache, 0, R), 0, C),
                                  .k = clf_tensor_cols(cache, C, C),
                                  .v = clf_tensor_cols(cache, 2 * C, C),
                                  .origin = map,
                                  .slots = R,
                                  .steps = steps,
                                  .heads = 8,
                                  .scale = 0.125f};
    for (int r = 0; r < R; r++) origin[r] = r;
    clf_tensor sentence = put_ints(kit, origin, R);
    for (int r = 0; r < R; r++) origin[r] = r * steps;
    clf_tensor starts = put_ints(kit, origin, R);
    for (int r = 0; r < R; r++) origin[r] = steps;
    b.cross = (clf_attention_cross){.q = b.step.q,
                                    .k = b.step.k,
                                    .v = b.step.v,
                                    .sentence = sentence,
                                    .starts = starts,
                                    .lengths = put_ints(kit, origin, R),
                                    .heads = 8,
                                    .scale = 0.125f};
    free(origin);
    const double bytes = 8.0 * R * steps * C, flops = 4.0 * R * steps * C;
    char name[64];
    snprintf(name, sizeof name, "step, R %d, %d positions", R, steps);
    opkit_bench(kit, name, bytes, flops, launch_step, &b);
    snprintf(name, sizeof name, "cross, R %d, %d keys", R, steps);
    opkit_bench(kit, name, bytes, flops, launch_cross, &b);
}

static void bench_on(clf_device *device) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    clf_tensor qkv = clf_arena_take(&kit.run, kit.arena, 256 * 64, 3 * 512, CLF_F32);
    clf_fill_zero(&kit.run, qkv);
    bench_whole(&kit, qkv, 32, 32, false);
    bench_whole(&kit, qkv, 32, 32, true);
    bench_whole(&kit, qkv, 128, 8, false);
    bench_whole(&kit, qkv, 512, 2, false);
    bench_whole(&kit, qkv, 512, 2, true);
    bench_steps(&kit, qkv, 1, 32);
    bench_steps(&kit, qkv, 8, 32);
    bench_steps(&kit, qkv, 256, 64);
    opkit_finish(&kit);
}

static void test_bench(void) {
    if (!clf_test_bench) return;
    clf_test_each_device(bench_on);
}

static const clf_test tests[] = {{"shapes", test_shapes},         {"steps", test_steps},
                                 {"reorder", test_reorder},       {"compact", test_compact},
                                 {"bad shapes", test_bad_shapes}, {"bench", test_bench}};
CLF_TEST_MAIN("op-attention", tests)
