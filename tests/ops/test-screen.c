// SPDX-License-Identifier: MIT
// The largest logit through a copy of the weight in int8, for every kind of int8 products that the
// device has: it is that of the weight itself, whatever rounding the copy has changed.
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "ops/linear.h"
#include "ops/linearkit.h"
#include "ops/opkit.h"
#include "ref/ref_linear.h"

enum { ROWS = 20, WIDTH = 5003 };

// What a search is about: on the host as files store it, then on the device.
typedef struct problem {
    const char *name;
    int rows, k, n;
    clf_dtype dtype;
    clf_int8 kind;
    float *x, *w, *bias; // (rows, k), (n, k), (n) or NULL
    const int *banned;
    int banned_count;
} problem;

// A weight of this type, from numbers that it can hold.
static clf_weight put_weight(opkit *kit, const problem *p) {
    const clf_weight w = clf_weight_take_as(&kit->run, kit->arena, p->k, p->n, p->dtype);
    const clf_piece piece = {.data = p->w, .dtype = CLF_F32, .rows = p->n, .cols = p->k};
    clf_weight_write(&kit->run, w, 0, &piece, kit->arena);
    return w;
}

typedef struct outcome {
    float values[ROWS];
    int32_t ids[ROWS];
} outcome;

static void search(opkit *kit, const problem *p, clf_weight w, clf_screen screen, outcome *found) {
    const opkit_guarded x = opkit_put(kit, p->rows, p->k, CLF_F32, p->x);
    opkit_guarded values = opkit_put(kit, p->rows, 1, CLF_F32, NULL);
    opkit_guarded ids = opkit_put(kit, p->rows, 1, CLF_I32, NULL);
    clf_tensor bias = {0}, banned = {0};
    if (p->bias) {
        bias = clf_arena_take(&kit->run, kit->arena, 1, p->n, CLF_F32);
        clf_write(&kit->run, bias, p->bias);
    }
    if (p->banned_count > 0) {
        banned = clf_arena_take(&kit->run, kit->arena, 1, p->banned_count, CLF_I32);
        clf_write(&kit->run, banned, p->banned);
    }
    const clf_arena_mark before = clf_arena_get_mark(kit->arena);
    clf_op_linear_topk(&kit->run, values.view, ids.view, x.view, w, bias, screen,
                       (clf_topk){.banned = banned, .k = 1, .scratch = kit->arena});
    const clf_arena_mark after = clf_arena_get_mark(kit->arena);
    CU_ASSERT(before.chunk == after.chunk && before.used == after.used);
    opkit_get(kit, &values, found->values);
    opkit_get(kit, &ids, found->ids);
    free(x.image);
}

static bool is_banned(const problem *p, int column) {
    for (int i = 0; i < p->banned_count; i++) {
        if (p->banned[i] == column) return true;
    }
    return false;
}

// No allowed logit is larger than the one that was found, but for what floats may differ; on a CPU
// it is the same column as without a screen.
static void check_best(const problem *p, const outcome *found, const outcome *plain, bool same) {
    const size_t count = (size_t)p->rows * (size_t)p->n;
    double *logits = malloc(sizeof *logits * count), *bound = malloc(sizeof *bound * count);
    ref_linear(logits, bound, p->x, p->w, p->bias, NULL, p->rows, p->k, p->n, CLF_ACT_NONE);
    for (int r = 0; r < p->rows; r++) {
        const double *row = logits + (size_t)r * (size_t)p->n;
        const int id = found->ids[r];
        bool best = id >= 0 && id < p->n && !is_banned(p, id);
        for (int c = 0; best && c < p->n; c++) {
            if (!is_banned(p, c) &&
                row[c] - row[id] > bound[r * p->n + c] + bound[(size_t)r * p->n + id])
                best = false;
        }
        if (best && (!same || id == plain->ids[r]) && found->values[r] >= plain->values[r] - 1e-4f)
            continue;
        printf("\n    %s, %s: row %d: column %d (%g), without a screen %d (%g)", p->name,
               clf_int8_name(p->kind), r, id, found->values[r], plain->ids[r], plain->values[r]);
        CU_FAIL("not the largest logit");
    }
    free(logits), free(bound);
}

static void run_problem(clf_device *device, problem *p) {
    opkit kit;
    outcome found, plain;
    if (!opkit_init(&kit, device)) return;
    const clf_weight w = put_weight(&kit, p);
    search(&kit, p, w, (clf_screen){0}, &plain);
    search(&kit, p, w, clf_screen_make(&kit.run, kit.arena, w, p->kind), &found);
    check_best(p, &found, &plain, clf_device_profile(device)->lanes == 1);
    opkit_finish(&kit);
}

static problem make_problem(clf_rng *rng, const char *name, int rows, int k, int n) {
    return (problem){.name = name,
                     .rows = rows,
                     .k = k,
                     .n = n,
                     .x = opkit_numbers(rng, (size_t)rows * (size_t)k, 2, 0),
                     .w = opkit_numbers(rng, (size_t)n * (size_t)k, 1, 0)};
}

static void free_problem(problem *p) {
    free(p->x), free(p->w), free(p->bias);
}

// For every kind that the device has.
static void each_kind(clf_device *device, problem *p) {
    for (int kind = CLF_INT8_PLAIN + 1; kind < CLF_INT8_KINDS; kind++) {
        if (!linearkit_has_int8(device, (clf_int8)kind)) continue;
        p->kind = (clf_int8)kind;
        run_problem(device, p);
    }
    free_problem(p);
}

static void random_on(clf_device *device) {
    static const int sizes[][3] = {{1, 1, 1}, {1, 64, WIDTH}, {3, 30, 40}, {ROWS, 77, 4100}};
    clf_rng rng = {1};
    for (int i = 0; i < 4; i++) {
        problem p = make_problem(&rng, "random", sizes[i][0], sizes[i][1], sizes[i][2]);
        if (i % 2 == 1) p.bias = opkit_numbers(&rng, (size_t)p.n, 20, 0);
        p.dtype = i == 2 ? CLF_F16 : CLF_F32;
        opkit_round(p.w, (size_t)p.n * (size_t)p.k, p.dtype);
        each_kind(device, &p);
    }
}

static void test_random(void) {
    clf_test_each_device(random_on);
}

// What a copy in int8 gets wrong: one large number in each column, so that the others vanish; rows
// with one large number; columns that are nearly or quite the same; columns and rows of zeros, tiny
// and huge ones.
static void hostile_on(clf_device *device) {
    clf_rng rng = {2};
    problem p = make_problem(&rng, "large numbers", ROWS, 64, 3000);
    for (int c = 0; c < p.n; c++) p.w[c * p.k + c % 7] = c % 2 ? 300 : -300;
    for (int r = 0; r < p.rows; r++) {
        if (r % 2 == 0) memset(p.x + r * p.k, 0, 7 * sizeof *p.x); // so they do not count
        if (r % 3 == 0) p.x[r * p.k + 20] = 500;
    }
    each_kind(device, &p);

    p = make_problem(&rng, "near columns", ROWS, 64, 3000);
    for (int c = 1; c < p.n; c++) {
        for (int k = 0; k < p.k; k++)
            p.w[c * p.k + k] = p.w[k] + (c % 5 ? 1e-3f * p.w[c * p.k + k] : 0);
    }
    each_kind(device, &p);

    p = make_problem(&rng, "sizes", ROWS, 64, 3000);
    for (int c = 0; c < p.n; c++) {
        const float size = c % 3 ? 1e-12f : c % 2 ? 0 : c == 2400 ? 1e12f : 1e-3f;
        for (int k = 0; k < p.k; k++) p.w[c * p.k + k] *= size;
    }
    for (int i = 0; i < p.k; i++) p.x[i] = 0, p.x[p.k + i] *= 1e-20f, p.x[2 * p.k + i] *= 1e20f;
    each_kind(device, &p);
}

static void test_hostile(void) {
    clf_test_each_device(hostile_on);
}

// The best columns of the first row, one twice and some outside; then all but one column.
static void banned_on(clf_device *device) {
    enum { K = 32, N = 900 };
    clf_rng rng = {3};
    int banned[N];
    problem p = make_problem(&rng, "banned", 2, K, N);
    for (int c = 0; c < 100; c++) {
        for (int k = 0; k < K; k++) p.w[c * K + k] = p.x[k];
        banned[c] = c;
    }
    banned[100] = 7, banned[101] = -1, banned[102] = N + 5;
    p.banned = banned, p.banned_count = 103;
    each_kind(device, &p);

    p = make_problem(&rng, "one allowed", 2, K, N);
    for (int i = 0; i < N - 1; i++) banned[i] = i < 500 ? i : i + 1;
    p.banned = banned, p.banned_count = N - 1;
    each_kind(device, &p);
}

static void test_banned(void) {
    clf_test_each_device(banned_on);
}

// Everything is looked at that may be the largest, and not much else: what the weight holds in
// other panels when the copy is made does not matter later.
static void reads_little_on(clf_device *device) {
    enum { K = 64, N = 2000, BEST = 777 };
    for (int kind = CLF_INT8_PLAIN + 1; kind < CLF_INT8_KINDS; kind++) {
        opkit kit;
        outcome found;
        if (!linearkit_has_int8(device, (clf_int8)kind) || !opkit_init(&kit, device)) continue;
        clf_rng rng = {4};
        problem p = make_problem(&rng, "little", 3, K, N);
        for (int i = 0; i < p.rows * K; i++) p.x[i] = p.x[i % K];
        for (int k = 0; k < K; k++) p.w[BEST * K + k] = p.x[k];
        const clf_weight w = put_weight(&kit, &p);
        const clf_screen screen = clf_screen_make(&kit.run, kit.arena, w, (clf_int8)kind);
        for (int c = 0; c < N; c++) {
            for (int k = 0; k < K && c / 16 != BEST / 16; k++) p.w[c * K + k] = NAN;
        }
        const clf_piece piece = {.data = p.w, .dtype = CLF_F32, .rows = N, .cols = K};
        clf_weight_write(&kit.run, w, 0, &piece, kit.arena);
        search(&kit, &p, w, screen, &found);
        for (int r = 0; r < p.rows; r++) {
            CU_ASSERT_EQUAL(found.ids[r], BEST);
            CU_ASSERT(found.values[r] <= 0);
        }
        free_problem(&p);
        opkit_finish(&kit);
    }
}

static void test_reads_little(void) {
    clf_test_each_device(reads_little_on);
}

// A weight that is no number spoils every row; of x, one that is none, or infinite, its own row.
static void not_numbers_on(clf_device *device) {
    for (int kind = CLF_INT8_PLAIN + 1; kind < CLF_INT8_KINDS; kind++) {
        for (int i = 0; i < 3; i++) {
            opkit kit;
            outcome found;
            if (!linearkit_has_int8(device, (clf_int8)kind) || !opkit_init(&kit, device)) continue;
            clf_rng rng = {5};
            problem p = make_problem(&rng, "no number", 3, 40, 500);
            if (i == 0)
                p.w[321 * p.k + 5] = NAN;
            else
                p.x[p.k + 7] = i == 1 ? NAN : INFINITY;
            const clf_weight w = put_weight(&kit, &p);
            search(&kit, &p, w, clf_screen_make(&kit.run, kit.arena, w, (clf_int8)kind), &found);
            for (int r = 0; r < p.rows; r++) {
                const bool spoiled = i == 0 || r == 1;
                CU_ASSERT_EQUAL(isnan(found.values[r]) != 0, spoiled);
                CU_ASSERT_EQUAL(found.ids[r] == -1, spoiled);
            }
            free_problem(&p);
            opkit_finish(&kit);
        }
    }
}

static void test_not_numbers(void) {
    clf_test_each_device(not_numbers_on);
}

static void refused_on(clf_device *device) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    const clf_weight w = clf_weight_take(&kit.run, kit.arena, 8, 32);
    const clf_weight rounded = clf_weight_take_as(&kit.run, kit.arena, 8, 32, CLF_I8);
    clf_screen_make(&kit.run, kit.arena, rounded, CLF_INT8_DOT);
    opkit_expect_argument_error(&kit, "screen: the weight must be float or half");
    clf_screen_make(&kit.run, kit.arena, w, CLF_INT8_PLAIN);
    opkit_expect_argument_error(&kit, "screen: the weight must be float or half, and inputs int8");
    CU_ASSERT(clf_op_screen(&kit.run, kit.arena, rounded).weight.data.chunk == NULL);
    const clf_tensor x = clf_arena_take(&kit.run, kit.arena, 1, 8, CLF_F32);
    const clf_tensor values = clf_arena_take(&kit.run, kit.arena, 1, 2, CLF_F32);
    const clf_tensor ids = clf_arena_take(&kit.run, kit.arena, 1, 2, CLF_I32);
    clf_op_linear_topk(&kit.run, values, ids, x, w, (clf_tensor){0},
                       (clf_screen){.weight = rounded}, (clf_topk){.k = 2, .scratch = kit.arena});
    opkit_expect_argument_error(&kit, "topk: the screen is of another weight, or k is not 1");
    opkit_finish(&kit);
}

static void test_refused(void) {
    clf_test_each_device(refused_on);
}

static const clf_test tests[] = {
    {"random", test_random},          {"hostile", test_hostile},
    {"banned", test_banned},          {"reads little", test_reads_little},
    {"no numbers", test_not_numbers}, {"refused", test_refused},
};
CLF_TEST_MAIN("op-screen", tests)
