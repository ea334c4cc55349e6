// SPDX-License-Identifier: MIT
// Chains: launches that become one give what they give one by one: bit for bit where a group is one
// work-item, and within rounding where it is many. What emulates a device may run a chain's groups
// otherwise, and its trial refuses it.
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/launch.h"
#include "device/trial.h"
#include "harness.h"
#include "ops/chain_check.h"
#include "ops/linear.h"
#include "ops/opkit.h"
#include "ops/shape.h"

static bool is_single(clf_device *device) {
    return clf_device_profile(device)->lanes == 1;
}

static bool has_chains(clf_device *device) {
    clf_device_info info;
    clf_device_get_info(device, &info);
    const clf_device_kind kind = clf_device_caps(device)->kind;
    const bool pocl = strstr(info.platform, "Portable Computing Language") != NULL;
    if (kind == CLF_DEVICE_EMULATOR) clf_test_skip("no real device");
    // PoCL 3.1 runs barriers in loops wrongly.
    return kind != CLF_DEVICE_EMULATOR && (is_single(device) ? kind == CLF_DEVICE_CPU : !pocl);
}

static void check_on(clf_device *device) {
    if (!has_chains(device)) return;
    clf_run run = clf_run_begin(device);
    CU_ASSERT(clf_chain_check(&run, false));
    CLF_ASSERT_OK(clf_run_finish(&run));
}

// A long sequence, in which each launch needs the one before, many times.
static void test_order(void) {
    clf_test_each_device(check_on);
}

// ---- all operations of a decoder's step ---------------------------------------------------------

enum { ROWS = 5, HEADS = 2, WIDTH = 48, FFN = 70, WORDS = 9000, BEST = 3, STEPS = 4 };

typedef struct step {
    clf_tensor x, qkv, heads, inner, gated, cache, scale, positions;
    clf_tensor ids, where, parent, sentence, starts, lengths, banned, origin[2];
    clf_tensor values, best, first_value, first, copied;
    clf_weight embedding, qkv_weight, in, out, quantized;
    clf_screen screen; // of the embedding, where the device can have one
} step;

static clf_tensor put_ids(opkit *kit, int count, const int32_t *ids) {
    const clf_tensor t = clf_arena_take(&kit->run, kit->arena, 1, count, CLF_I32);
    clf_write(&kit->run, t, ids);
    return t;
}

static clf_tensor put_numbers(opkit *kit, clf_rng *rng, int rows, int cols) {
    float *numbers = opkit_numbers(rng, (size_t)(rows * cols), 1, 0);
    const clf_tensor t = clf_arena_take(&kit->run, kit->arena, rows, cols, CLF_F32);
    clf_write(&kit->run, t, numbers);
    free(numbers);
    return t;
}

static void fill_weight(opkit *kit, clf_rng *rng, clf_weight w) {
    float *numbers = opkit_numbers(rng, (size_t)(w.k * w.n), 0.3f, 0);
    const clf_piece piece = {.data = numbers, .dtype = CLF_F32, .rows = w.n, .cols = w.k};
    clf_weight_write(&kit->run, w, 0, &piece, kit->arena);
    free(numbers);
}

static clf_weight put_weight(opkit *kit, clf_rng *rng, int k, int n) {
    const clf_weight w = clf_weight_take(&kit->run, kit->arena, k, n);
    fill_weight(kit, rng, w);
    return w;
}

static step prepare(opkit *kit) {
    static const int32_t ids[ROWS] = {7, 8999, 0, -1, 4711}, parents[ROWS] = {1, 1, 0, 4, 2};
    static const int32_t sentences[ROWS] = {0, 0, 1, 1, 1}, starts[] = {0, 3}, lengths[] = {3, 1};
    clf_rng rng = {.state = 3};
    clf_run *run = &kit->run;
    step s = {.ids = put_ids(kit, ROWS, ids),
              .where = put_ids(kit, ROWS, (int32_t[ROWS]){STEPS, STEPS, STEPS, STEPS, STEPS}),
              .parent = put_ids(kit, ROWS, parents),
              .sentence = put_ids(kit, ROWS, sentences),
              .starts = put_ids(kit, 2, starts),
              .lengths = put_ids(kit, 2, lengths),
              .banned = put_ids(kit, 2, (int32_t[]){5, 8000})};
    s.x = clf_arena_take(run, kit->arena, ROWS, WIDTH, CLF_F32);
    s.qkv = clf_arena_take(run, kit->arena, ROWS, 3 * WIDTH, CLF_F32);
    s.heads = clf_arena_take(run, kit->arena, ROWS, WIDTH, CLF_F32);
    s.inner = clf_arena_take(run, kit->arena, ROWS, 2 * FFN, CLF_F32);
    s.gated = clf_arena_take(run, kit->arena, ROWS, FFN, CLF_F32);
    s.copied = clf_arena_take(run, kit->arena, ROWS, WIDTH, CLF_F32);
    s.values = clf_arena_take(run, kit->arena, ROWS, BEST, CLF_F32);
    s.best = clf_arena_take(run, kit->arena, ROWS, BEST, CLF_I32);
    s.first_value = clf_arena_take(run, kit->arena, ROWS, 1, CLF_F32);
    s.first = clf_arena_take(run, kit->arena, ROWS, 1, CLF_I32);
    s.cache = put_numbers(kit, &rng, STEPS * ROWS, 2 * WIDTH);
    s.scale = put_numbers(kit, &rng, 1, WIDTH);
    s.positions = put_numbers(kit, &rng, STEPS, WIDTH);
    for (int i = 0; i < 2; i++)
        s.origin[i] = clf_arena_take(run, kit->arena, ROWS, STEPS + 1, CLF_I32);
    s.embedding = put_weight(kit, &rng, WIDTH, WORDS);
    s.qkv_weight = put_weight(kit, &rng, WIDTH, 3 * WIDTH);
    s.in = put_weight(kit, &rng, WIDTH, 2 * FFN);
    s.out = put_weight(kit, &rng, FFN, WIDTH);
    s.quantized = clf_weight_take_as(run, kit->arena, WIDTH, WIDTH, CLF_I8);
    fill_weight(kit, &rng, s.quantized);
    s.screen = clf_op_screen(run, kit->arena, s.embedding);
    return s;
}

static void take_step(clf_run *run, const step *s, clf_arena *scratch) {
    const clf_norm norm = {.epsilon = 1e-5f, .scale = s->scale};
    const clf_tensor q = clf_tensor_cols(s->qkv, 0, WIDTH), k = clf_tensor_cols(s->cache, 0, WIDTH),
                     v = clf_tensor_cols(s->cache, WIDTH, WIDTH);
    const clf_tensor now = clf_tensor_rows(s->cache, (STEPS - 1) * ROWS, ROWS);
    clf_op_reorder(run, s->origin[1], s->origin[0], s->parent, STEPS - 1);
    clf_op_embed(run, s->x, s->embedding, s->ids, s->positions, s->where, 3.0f);
    clf_op_norm(run, s->x, s->x, norm);
    clf_op_linear(run, s->qkv, s->x, s->qkv_weight, (clf_linear){.scratch = scratch});
    clf_op_linear(run, now, s->x, clf_weight_cols(s->qkv_weight, WIDTH, 2 * WIDTH),
                  (clf_linear){.scratch = scratch});
    clf_op_attention_step(run, s->heads,
                          (clf_attention_step){.q = q,
                                               .k = k,
                                               .v = v,
                                               .origin = s->origin[1],
                                               .slots = ROWS,
                                               .steps = STEPS,
                                               .heads = HEADS,
                                               .scale = 0.2f});
    clf_op_linear(run, s->x, s->heads, s->quantized,
                  (clf_linear){.residual = s->x, .scratch = scratch});
    clf_op_attention_cross(run, s->heads,
                           (clf_attention_cross){.q = s->x,
                                                 .k = k,
                                                 .v = v,
                                                 .sentence = s->sentence,
                                                 .starts = s->starts,
                                                 .lengths = s->lengths,
                                                 .heads = HEADS,
                                                 .scale = 0.2f});
    clf_copy(run, s->copied, s->heads); // which ends what became one launch
    clf_op_linear(run, s->inner, s->copied, s->in,
                  (clf_linear){.activation = CLF_ACT_GELU, .scratch = scratch});
    clf_op_gate(run, s->gated, s->inner, CLF_ACT_SILU);
    const clf_linear last = {.residual = s->x, .scratch = scratch};
    if (is_single(run->device))
        clf_op_linear(run, s->x, s->gated, s->out, last);
    else
        clf_linear_run_matrix(run, CLF_MATRIX_EMULATED, s->x, s->gated, s->out, last);
    clf_op_norm(run, s->x, s->x, (clf_norm){.kind = CLF_NORM_RMS, .scale = s->scale});
    clf_op_linear_topk(
        run, s->values, s->best, s->x, s->embedding, (clf_tensor){0}, (clf_screen){0},
        (clf_topk){.banned = s->banned, .renormalize = true, .k = BEST, .scratch = scratch});
    clf_op_linear_topk(run, s->first_value, s->first, s->x, s->embedding, (clf_tensor){0},
                       s->screen, (clf_topk){.banned = s->banned, .k = 1, .scratch = scratch});
}

typedef struct outcome {
    float x[ROWS * WIDTH], heads[ROWS * WIDTH], values[ROWS * BEST];
    int32_t best[ROWS * BEST], first[ROWS], origin[ROWS * (STEPS + 1)];
} outcome;

static void run_step(opkit *kit, const step *s, clf_chaining chaining, outcome *result) {
    memset(result, 0, sizeof *result);
    clf_chain_choose(kit->run.device, chaining);
    for (int i = 0; i < 2; i++) clf_fill_zero(&kit->run, s->origin[i]);
    clf_chain_begin(&kit->run);
    take_step(&kit->run, s, kit->arena);
    clf_chain_end(&kit->run);
    clf_read(&kit->run, s->x, result->x);
    clf_read(&kit->run, s->heads, result->heads);
    clf_read(&kit->run, s->values, result->values);
    clf_read(&kit->run, s->best, result->best);
    clf_read(&kit->run, s->first, result->first);
    clf_read(&kit->run, s->origin[1], result->origin);
}

static void compare(const outcome *joined, const outcome *single) {
    const float *a = joined->x, *b = single->x;
    const int floats = (int)(offsetof(outcome, best) / sizeof *a);
    double most = 0;
    for (int i = 0; i < floats; i++) {
        if (!(fabsf(a[i] - b[i]) <= most)) most = fabsf(a[i] - b[i]);
    }
    CU_ASSERT(most < 1e-4);
    CU_ASSERT_EQUAL(memcmp(joined->best, single->best, sizeof joined->best), 0);
    CU_ASSERT_EQUAL(memcmp(joined->first, single->first, sizeof joined->first), 0);
    CU_ASSERT_EQUAL(memcmp(joined->origin, single->origin, sizeof joined->origin), 0);
}

static void steps_on(clf_device *device) {
    opkit kit;
    outcome joined, single;
    if (!has_chains(device) || !opkit_init(&kit, device)) return;
    const step s = prepare(&kit);
    run_step(&kit, &s, CLF_CHAIN_NEVER, &single);
    for (int i = 0; i < 3; i++) {
        run_step(&kit, &s, CLF_CHAIN_ALWAYS, &joined);
        CU_ASSERT(clf_chain_was_joined(device));
        if (is_single(device))
            CU_ASSERT_EQUAL(memcmp(&joined, &single, sizeof joined), 0)
        else
            compare(&joined, &single);
    }
    CU_ASSERT(single.values[0] < 0 && single.best[0] >= 0);
    for (int r = 0; r < ROWS; r++) CU_ASSERT_EQUAL(single.first[r], single.best[r * BEST]);
    opkit_finish(&kit);
}

static void test_step(void) {
    clf_test_each_device(steps_on);
}

// ---- limits -------------------------------------------------------------------------------------

static void sum_rows(clf_run *run, clf_tensor y, clf_tensor x, int arguments, clf_define define) {
    const clf_kernel_spec spec = {"selftest", "sum_rows", {define}};
    const clf_arg all[] = {clf_arg_tensor(y), clf_arg_tensor(x), clf_arg_long((int64_t)x.stride),
                           clf_arg_int(x.cols)};
    clf_launch(run, &spec, clf_row_range(run->device, x.rows), (clf_cost){0}, all, arguments);
}

// x[0][0] + 1 in the end of `count` sums over rows of (x, 0, ..., 0), each into the next tensor of
// two or of many arenas; and no launch at all of no rows.
static void sum_often(opkit *kit, clf_tensor *t, int tensors, int count) {
    static const float first[4] = {41, 0, 0, 0};
    float last = 0;
    for (int i = 0; i < tensors; i++) clf_fill_zero(&kit->run, t[i]);
    clf_write(&kit->run, t[0], first);
    clf_chain_begin(&kit->run);
    for (int i = 0; i < count; i++)
        sum_rows(&kit->run, clf_tensor_cols(t[(i + 1) % tensors], 0, 1), t[i % tensors], 4,
                 (clf_define){0});
    sum_rows(&kit->run, t[0], clf_tensor_rows(t[0], 0, 0), 4, (clf_define){0});
    clf_read(&kit->run, clf_tensor_cols(t[count % tensors], 0, 1), &last);
    clf_chain_end(&kit->run);
    CU_ASSERT_EQUAL(last, 41);
}

static void limits_on(clf_device *device) {
    enum { ARENAS = 70 };
    opkit kit;
    clf_arena *arenas[ARENAS] = {NULL};
    clf_tensor t[ARENAS];
    if (!has_chains(device) || !opkit_init(&kit, device)) return;
    clf_chain_choose(device, CLF_CHAIN_ALWAYS);
    for (int i = 0; i < ARENAS; i++) {
        CLF_ASSERT_OK(clf_arena_create(device, "one of many", "a smaller test", &arenas[i]));
        t[i] = clf_arena_take(&kit.run, arenas[i], 1, 4, CLF_F32);
    }
    sum_often(&kit, t, 2, 1500);     // more launches than a chain has room for
    sum_often(&kit, t, ARENAS, 200); // more buffers
    // Memory that goes before the chain ends was used before it went.
    float sum = 0;
    clf_write(&kit.run, t[0], (const float[4]){1, 2, 3, 4});
    clf_chain_begin(&kit.run);
    sum_rows(&kit.run, clf_tensor_cols(t[1], 0, 1), t[0], 4, (clf_define){0});
    sum_rows(&kit.run, clf_tensor_cols(t[2], 0, 1), clf_tensor_cols(t[1], 0, 1), 4,
             (clf_define){0});
    clf_arena_destroy(arenas[1]);
    clf_read(&kit.run, clf_tensor_cols(t[2], 0, 1), &sum);
    clf_chain_end(&kit.run);
    CU_ASSERT_EQUAL(sum, 10);
    opkit_finish(&kit);
    for (int i = 0; i < ARENAS; i++) {
        if (i != 1) clf_arena_destroy(arenas[i]);
    }
}

static void test_limits(void) {
    clf_test_each_device(limits_on);
}

// ---- failures -----------------------------------------------------------------------------------

// A definition that only the joined program does not take: its launches are made one by one.
static void broken_on(clf_device *device) {
    const clf_define breaks = {"place", 3};
    const float numbers[4] = {1, 2, 3, 4};
    float sum = 0;
    opkit kit;
    if (!has_chains(device) || !opkit_init(&kit, device)) return;
    clf_chain_choose(device, CLF_CHAIN_ALWAYS);
    const clf_tensor x = clf_arena_take(&kit.run, kit.arena, 1, 4, CLF_F32);
    const clf_tensor y = clf_arena_take(&kit.run, kit.arena, 1, 1, CLF_F32);
    for (int i = 0; i < 2; i++) { // the second time it is known
        clf_write(&kit.run, x, numbers);
        clf_fill_zero(&kit.run, y);
        clf_chain_begin(&kit.run);
        sum_rows(&kit.run, y, x, 4, breaks);
        sum_rows(&kit.run, clf_tensor_cols(x, 3, 1), y, 4, breaks);
        clf_chain_end(&kit.run);
        clf_read(&kit.run, clf_tensor_cols(x, 3, 1), &sum);
        CU_ASSERT_EQUAL(sum, 10);
        CU_ASSERT_FALSE(clf_chain_was_joined(device));
    }

    clf_chain_begin(&kit.run);
    sum_rows(&kit.run, y, x, 4, (clf_define){0});
    sum_rows(&kit.run, y, x, 3, (clf_define){0});
    clf_chain_end(&kit.run);
    opkit_expect_argument_error(&kit, "sum_rows");

    clf_chain_begin(&kit.run); // the device goes on as if nothing had happened
    sum_rows(&kit.run, y, x, 4, (clf_define){0});
    clf_chain_end(&kit.run);
    clf_read(&kit.run, y, &sum);
    CU_ASSERT_EQUAL(sum, 16);
    opkit_finish(&kit);
}

static void test_failures(void) {
    clf_test_each_device(broken_on);
}

static const clf_test tests[] = {
    {"order", test_order},
    {"a decoder's step", test_step},
    {"limits", test_limits},
    {"failures", test_failures},
};
CLF_TEST_MAIN("chain", tests)
