// SPDX-License-Identifier: MIT
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "harness.h"
#include "ops/backward.h"
#include "ops/opkit.h"

// ---- adam ----

enum { P, M, V, AVERAGE, STATES };

typedef struct state {
    double x[STATES];
} state;

static void reference_adam(state *s, double gradient, const clf_adam *a) {
    const double g = gradient * (double)a->scale;
    s->x[M] = (double)a->beta1 * s->x[M] + (1 - (double)a->beta1) * g;
    s->x[V] = (double)a->beta2 * s->x[V] + (1 - (double)a->beta2) * g * g;
    const double root = sqrt(s->x[V] / (double)a->correction2) + (double)a->epsilon;
    const double change = s->x[M] / (double)a->correction1 / root + (double)a->decay * s->x[P];
    s->x[P] -= (double)a->rate * change;
    s->x[AVERAGE] += (double)a->average_rate * (s->x[P] - s->x[AVERAGE]);
}

static clf_adam adam_of(int step, float decay) {
    clf_adam a = {.rate = 1e-3f,
                  .beta1 = 0.9f,
                  .beta2 = 0.98f,
                  .epsilon = 1e-9f,
                  .decay = decay,
                  .scale = 0.25f,
                  .average_rate = 0.05f};
    a.correction1 = (float)(1 - pow((double)a.beta1, step));
    a.correction2 = (float)(1 - pow((double)a.beta2, step));
    return a;
}

// `steps` steps of n parameters. A step's change is at most some 3 rates, and off by 32 roundings
// (v's own, which decay, are most of them); p and the average are rounded once a step.
static void run_adam(clf_device *device, int n, int steps, float decay, bool average) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    const size_t count = (size_t)n;
    clf_rng rng = {(uint64_t)n};
    float *x[STATES], *out = malloc(sizeof *out * count);
    state *states = calloc(count, sizeof *states);
    opkit_guarded on_device[STATES];
    for (int k = 0; k < STATES; k++) {
        x[k] = opkit_numbers(&rng, count, k == M || k == V ? 0 : 1, 0);
        for (int i = 0; i < n; i++) states[i].x[k] = (double)x[k][i];
        on_device[k] = opkit_put(&kit, 1, n, CLF_F32, x[k]);
    }
    for (int step = 1; step <= steps; step++) {
        const clf_adam a = adam_of(step, decay);
        float *gradient = opkit_numbers(&rng, count, 8, 1);
        opkit_guarded g = opkit_put(&kit, 1, n, CLF_F32, gradient);
        clf_op_adam(&kit.run, on_device[P].view, g.view, on_device[M].view, on_device[V].view,
                    average ? on_device[AVERAGE].view : (clf_tensor){0}, a);
        for (int i = 0; i < n; i++) reference_adam(&states[i], (double)gradient[i], &a);
        opkit_get(&kit, &g, gradient);
        for (int i = 0; i < n; i++) CU_ASSERT_EQUAL(gradient[i], 0);
        free(gradient);
    }
    double *expected = malloc(sizeof *expected * count), *bound = malloc(sizeof *bound * count);
    static const char *const names[] = {"p", "m", "v", "average"};
    for (int k = 0; k < STATES; k++) {
        for (int i = 0; i < n; i++) {
            expected[i] = k == AVERAGE && !average ? (double)x[k][i] : states[i].x[k];
            bound[i] = FLT_EPSILON * (k == P || k == AVERAGE ? steps * (32 * 3e-3 + 0.5) : 32);
        }
        opkit_get(&kit, &on_device[k], out);
        char what[64];
        snprintf(what, sizeof what, "%s of %d after %d steps", names[k], n, steps);
        opkit_compare(what, out, expected, bound, count);
        free(x[k]);
    }
    free(out), free(states), free(expected), free(bound);
    opkit_finish(&kit);
}

static void adam_on(clf_device *device) {
    static const int sizes[] = {1, 3, 16, 17, 1000, 16384, 16385, 40009};
    for (int i = 0; i < 8; i++) run_adam(device, sizes[i], 2, i % 3 ? 0.1f : 0, i % 2);
    run_adam(device, 103, 200, 0.01f, true);
    run_adam(device, 103, 200, 0, false);
}

static void test_adam(void) {
    clf_test_each_device(adam_on);
}

// A gradient that is not a number shows; zero gradients leave a fresh parameter alone.
static void special_on(clf_device *device) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    float gradient[19] = {0}, ones[19], zeros[19] = {0}, out[19];
    for (int i = 0; i < 19; i++) ones[i] = 1;
    gradient[2] = NAN, gradient[18] = INFINITY;
    opkit_guarded p = opkit_put(&kit, 1, 19, CLF_F32, ones);
    opkit_guarded g = opkit_put(&kit, 1, 19, CLF_F32, gradient);
    opkit_guarded m = opkit_put(&kit, 1, 19, CLF_F32, zeros);
    opkit_guarded v = opkit_put(&kit, 1, 19, CLF_F32, zeros);
    clf_op_adam(&kit.run, p.view, g.view, m.view, v.view, (clf_tensor){0}, adam_of(1, 0));
    opkit_get(&kit, &p, out);
    for (int i = 0; i < 19; i++) CU_ASSERT(i == 2 || i == 18 ? !isfinite(out[i]) : out[i] == 1);
    opkit_drop(&g), opkit_drop(&m), opkit_drop(&v);
    opkit_finish(&kit);
}

static void test_special(void) {
    clf_test_each_device(special_on);
}

// ---- sums of squares and blends ----

static double square_sum(opkit *kit, clf_tensor partial, clf_tensor x) {
    float sums[CLF_PARTIALS];
    double all = 0;
    clf_op_square_sums(&kit->run, partial, x);
    clf_read(&kit->run, partial, sums);
    for (int i = 0; i < CLF_PARTIALS; i++) all += (double)sums[i];
    return all;
}

// Sums in blocks, of one sign: their roundings hardly add up.
static void squares_on(clf_device *device) {
    static const int sizes[] = {1, 5, 16, 4095, 4097, 200003, 3000000};
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    clf_rng rng = {2};
    clf_tensor partial = clf_arena_take(&kit.run, kit.arena, 1, CLF_PARTIALS, CLF_F32);
    const clf_arena_mark mark = clf_arena_get_mark(kit.arena);
    for (int k = 0; k < 7; k++) {
        const int n = sizes[k];
        float *x = opkit_numbers(&rng, (size_t)n, 1, 0.5f);
        opkit_guarded g = opkit_put(&kit, 1, n, CLF_F32, x);
        double expected = 0;
        for (int i = 0; i < n; i++) expected += (double)x[i] * (double)x[i];
        const double sum = square_sum(&kit, partial, g.view);
        CU_ASSERT_DOUBLE_EQUAL(sum, expected, 16 * (double)FLT_EPSILON * expected);
        CU_ASSERT_EQUAL(sum, square_sum(&kit, partial, g.view));
        opkit_drop(&g);
        free(x);
        clf_arena_rewind(kit.arena, mark);
    }
    opkit_finish(&kit);
}

static void test_squares(void) {
    clf_test_each_device(squares_on);
}

// One element that is not finite, or whose square is not, anywhere.
static void not_finite_on(clf_device *device) {
    enum { N = 70001 };
    static const float bad[] = {NAN, INFINITY, -INFINITY, 3e38f};
    static const int places[] = {0, 1, 4000, 69999, 70000};
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    clf_rng rng = {2};
    clf_tensor partial = clf_arena_take(&kit.run, kit.arena, 1, CLF_PARTIALS, CLF_F32);
    clf_tensor on_device = clf_arena_take(&kit.run, kit.arena, 1, N, CLF_F32);
    float *x = opkit_numbers(&rng, N, 1, 0);
    for (int i = 0; i < 20; i++) {
        const int at = places[i / 4];
        const float before = x[at];
        x[at] = bad[i % 4];
        clf_write(&kit.run, on_device, x);
        CU_ASSERT_FALSE(isfinite(square_sum(&kit, partial, on_device)));
        x[at] = before;
    }
    free(x);
    opkit_finish(&kit);
}

static void test_not_finite(void) {
    clf_test_each_device(not_finite_on);
}

static void blend_on(clf_device *device) {
    static const int sizes[] = {1, 7, 16, 1003, 16391};
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    clf_rng rng = {3};
    for (int k = 0; k < 5; k++) {
        const size_t n = (size_t)sizes[k];
        float *x = opkit_numbers(&rng, n, 1, 0), *y = opkit_numbers(&rng, n, 1, 0);
        double *expected = malloc(sizeof *expected * n), *bound = malloc(sizeof *bound * n);
        for (size_t i = 0; i < n; i++) {
            expected[i] = 0.25 * (double)x[i] - 1.5 * (double)y[i];
            bound[i] = 2 * (double)FLT_EPSILON; // of terms below 1.75
        }
        opkit_guarded dx = opkit_put(&kit, 1, sizes[k], CLF_F32, x);
        opkit_guarded dy = opkit_put(&kit, 1, sizes[k], CLF_F32, y);
        clf_op_blend(&kit.run, dy.view, dx.view, 0.25f, -1.5f);
        opkit_get(&kit, &dy, y);
        opkit_compare("blend", y, expected, bound, n);
        opkit_drop(&dx);
        free(x), free(y), free(expected), free(bound);
    }
    opkit_finish(&kit);
}

static void test_blend(void) {
    clf_test_each_device(blend_on);
}

static void bad_shapes_on(clf_device *device) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    clf_tensor x = clf_arena_take(&kit.run, kit.arena, 1, 8, CLF_F32);
    clf_tensor y = clf_arena_take(&kit.run, kit.arena, 1, 7, CLF_F32);
    clf_op_adam(&kit.run, x, y, x, x, x, adam_of(1, 0));
    opkit_expect_argument_error(&kit, "adam: the gradient is a (1, 7)");
    clf_op_adam(&kit.run, x, x, x, x, y, adam_of(1, 0));
    opkit_expect_argument_error(&kit, "adam: the average");
    clf_op_square_sums(&kit.run, y, x);
    opkit_expect_argument_error(&kit, "square_sums: partial");
    clf_op_blend(&kit.run, y, x, 1, 1);
    opkit_expect_argument_error(&kit, "blend: x");
    opkit_finish(&kit);
}

static void test_bad_shapes(void) {
    clf_test_each_device(bad_shapes_on);
}

typedef struct bench {
    clf_tensor x[5], partial;
} bench;

static void launch_adam(clf_run *run, void *user) {
    const bench *b = user;
    clf_op_adam(run, b->x[0], b->x[1], b->x[2], b->x[3], b->x[4], adam_of(1, 0.01f));
}

static void launch_squares(clf_run *run, void *user) {
    const bench *b = user;
    clf_op_square_sums(run, b->partial, b->x[0]);
}

static void launch_blend(clf_run *run, void *user) {
    const bench *b = user;
    clf_op_blend(run, b->x[0], b->x[1], 0.5f, 0.5f);
}

static void bench_on(clf_device *device) {
    enum { N = 16 << 20 };
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    bench b = {.partial = clf_arena_take(&kit.run, kit.arena, 1, CLF_PARTIALS, CLF_F32)};
    for (int i = 0; i < 5; i++) {
        b.x[i] = clf_arena_take(&kit.run, kit.arena, 1, N, CLF_F32);
        clf_fill_zero(&kit.run, b.x[i]);
    }
    opkit_bench(&kit, "adam with average, 16 M", 36.0 * N, 0, launch_adam, &b);
    b.x[4] = (clf_tensor){0};
    opkit_bench(&kit, "adam, 16 M", 28.0 * N, 0, launch_adam, &b);
    opkit_bench(&kit, "square sums, 16 M", 4.0 * N, 2.0 * N, launch_squares, &b);
    opkit_bench(&kit, "blend, 16 M", 12.0 * N, 0, launch_blend, &b);
    opkit_finish(&kit);
}

static void test_bench(void) {
    if (!clf_test_bench) return;
    clf_test_each_device(bench_on);
}

static const clf_test tests[] = {{"adam", test_adam},       {"special", test_special},
                                 {"squares", test_squares}, {"not finite", test_not_finite},
                                 {"blend", test_blend},     {"bad shapes", test_bad_shapes},
                                 {"bench", test_bench}};
CLF_TEST_MAIN("op-optimizer", tests)
