// SPDX-License-Identifier: MIT
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "ops/backward.h"
#include "ops/opkit.h"
#include "ref/ref_philox.h"

#define KINDS (CLF_ACT_SILU + 1)
static const char *const names[KINDS] = {[CLF_ACT_NONE] = "none",
                                         [CLF_ACT_RELU] = "relu",
                                         [CLF_ACT_GELU] = "gelu",
                                         [CLF_ACT_GELU_TANH] = "gelu tanh",
                                         [CLF_ACT_GELU_SIGMOID] = "gelu sigmoid",
                                         [CLF_ACT_SILU] = "silu"};

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

static double value(clf_activation kind, double x) {
    const double root = sqrt(2 / M_PI);
    switch (kind) {
    case CLF_ACT_NONE: break;
    case CLF_ACT_RELU: return x < 0 ? 0 : x;
    case CLF_ACT_GELU: return 0.5 * x * erfc(-x * M_SQRT1_2);
    case CLF_ACT_GELU_TANH: return x * sigmoid(2 * root * (x + 0.044715 * x * x * x));
    case CLF_ACT_GELU_SIGMOID: return x * sigmoid(1.702 * x);
    case CLF_ACT_SILU: return x * sigmoid(x);
    }
    return x;
}

static double slope(clf_activation kind, double x) {
    const double root = sqrt(2 / M_PI);
    double z = 0, rise = 0; // x sigmoid(z), and x dz/dx
    switch (kind) {
    case CLF_ACT_NONE: return 1;
    case CLF_ACT_RELU: return x <= 0 ? 0 : 1;
    case CLF_ACT_GELU: return 0.5 * erfc(-x * M_SQRT1_2) + x * exp(-x * x / 2) / sqrt(2 * M_PI);
    case CLF_ACT_GELU_TANH:
        z = 2 * root * (x + 0.044715 * x * x * x);
        rise = 2 * root * (x + 3 * 0.044715 * x * x * x);
        break;
    case CLF_ACT_GELU_SIGMOID: z = rise = 1.702 * x; break;
    case CLF_ACT_SILU: z = rise = x; break;
    }
    return sigmoid(z) + (fabs(z) < 100 ? sigmoid(z) * sigmoid(-z) * rise : 0);
}

static void test_reference(void) {
    const double h = 1e-5;
    for (int kind = 0; kind < KINDS; kind++) {
        double worst = 0;
        for (double x = -6.003; x < 6; x += 0.01) {
            const double d = (value(kind, x + h) - value(kind, x - h)) / (2 * h);
            worst = fmax(worst, fabs(d - slope(kind, x)));
        }
        CU_ASSERT(worst < 1e-8);
    }
}

typedef struct problem {
    int rows, width;
    clf_activation kind;
    bool in_place; // y is x, and dx is dy
    clf_dropout dropout;
    clf_dtype dtype;
} problem;

// e^z is off by the rounding of z, and 0 if subnormal; GELU and its slope subtract numbers near x.
static double bound_of(const problem *p, double x, double result) {
    switch (p->kind) {
    case CLF_ACT_NONE:
    case CLF_ACT_RELU: return 0;
    case CLF_ACT_GELU:
    case CLF_ACT_GELU_TANH: return FLT_EPSILON * (4 * fabs(result) + 4 * fmin(1 + fabs(x), 12));
    default: return FLT_EPSILON * (4 + 2 * fabs(x)) * fabs(result) + 2 * fabs(x) * FLT_MIN;
    }
}

static void check(const problem *p, const float *y, const float *dx, const float *x,
                  const float *dy) {
    const size_t count = (size_t)p->rows * (size_t)p->width;
    double *expected = malloc(sizeof *expected * count), *bound = malloc(sizeof *bound * count);
    char what[128];
    for (int backward = 0; backward < 2; backward++) {
        for (size_t i = 0; i < count; i++) {
            const double drop = ref_dropout((uint32_t)(i / (size_t)p->width),
                                            (uint32_t)(i % (size_t)p->width), &p->dropout);
            const double in = (double)x[i];
            const double d = drop * (backward ? (double)dy[i] : 1);
            const double result = backward ? slope(p->kind, in) : value(p->kind, in);
            expected[i] = d * result;
            // The slope of silu subtracts, so its bound is not relative.
            bound[i] = fabs(d) * bound_of(p, in, backward ? fmax(1, fabs(result)) : result) +
                       (p->dropout.rate > 0 || backward ? 2 * FLT_EPSILON * fabs(expected[i]) : 0);
        }
        snprintf(what, sizeof what, "%s%s (%d, %d), rate %g, in place %d", names[p->kind],
                 backward ? " backward" : "", p->rows, p->width, (double)p->dropout.rate,
                 p->in_place);
        opkit_widen(bound, expected, count, p->dtype);
        opkit_compare(what, backward ? dx : y, expected, bound, count);
    }
    free(expected);
    free(bound);
}

static void run_problem(clf_device *device, const problem *p, const float *x, const float *dy) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    const size_t count = (size_t)p->rows * (size_t)p->width;
    float *y = malloc(sizeof *y * count), *dx = malloc(sizeof *dx * count);
    opkit_guarded on_x = opkit_put(&kit, p->rows, p->width, p->dtype, x);
    opkit_guarded on_dy = opkit_put(&kit, p->rows, p->width, p->dtype, dy);
    opkit_guarded on_y = opkit_put(&kit, p->rows, p->width, p->dtype, p->in_place ? x : NULL);
    opkit_guarded on_dx = opkit_put(&kit, p->rows, p->width, p->dtype, p->in_place ? dy : NULL);
    clf_op_activate(&kit.run, on_y.view, p->in_place ? on_y.view : on_x.view, p->kind, p->dropout);
    clf_op_activate_backward(&kit.run, on_dx.view, p->in_place ? on_dx.view : on_dy.view, on_x.view,
                             p->kind, p->dropout);
    opkit_get(&kit, &on_y, y);
    opkit_get(&kit, &on_dx, dx);
    check(p, y, dx, x, dy);
    opkit_drop(&on_x), opkit_drop(&on_dy);
    free(y), free(dx);
    opkit_finish(&kit);
}

static void run_random(clf_device *device, const problem *p, float range) {
    clf_rng rng = {(uint64_t)(p->rows * 1009 + p->width)};
    const size_t count = (size_t)p->rows * (size_t)p->width;
    float *x = opkit_numbers(&rng, count, range, 0), *dy = opkit_numbers(&rng, count, 1, 0);
    opkit_round(x, count, p->dtype), opkit_round(dy, count, p->dtype);
    run_problem(device, p, x, dy);
    free(x), free(dy);
}

static void shapes_on(clf_device *device) {
    static const int widths[] = {1, 3, 17, 64, 65, 100, 256}, rows[] = {1, 7, 61};
    int turn = 0;
    for (int kind = 0; kind < KINDS; kind++) {
        for (int w = 0; w < 7; w++) {
            for (int dropout = 0; dropout < 2; dropout++, turn++) {
                problem p = {.rows = rows[turn % 3],
                             .width = widths[w],
                             .kind = (clf_activation)kind,
                             .in_place = turn / 3 % 2};
                if (dropout) p.dropout = (clf_dropout){0.1f, 3, 4, 0xfedcba9876543210u};
                run_random(device, &p, 6);
            }
        }
    }
    problem none = {.rows = 0, .width = 8};
    run_random(device, &none, 1);
}

static void test_shapes(void) {
    clf_test_each_device(shapes_on);
}

static void half_on(clf_device *device) {
    static const int widths[] = {1, 17, 65, 100};
    for (int turn = 0; turn < 16; turn++) {
        problem p = {.rows = turn % 3 ? 7 : 1,
                     .width = widths[turn % 4],
                     .kind = turn / 4 % 2 ? CLF_ACT_SILU : CLF_ACT_RELU,
                     .in_place = turn / 2 % 2,
                     .dtype = CLF_F16};
        if (turn / 8) p.dropout = (clf_dropout){0.1f, 3, 4, 0xfedcba9876543210u};
        run_random(device, &p, 6);
    }
}

static void test_half(void) {
    clf_test_each_device(half_on);
}

static void extremes_on(clf_device *device) {
    static const float x[] = {0,      -0.0f, 1e-30f, -1e-30f, 1e-7f, 20,   -20,   60,
                              -60,    86,    -86,    100,     -100,  1e4f, -1e4f, 1e15f,
                              -1e15f, 1e30f, -1e30f, NAN,     8,     -8,   0.5f,  -0.5f};
    float dy[24];
    for (int i = 0; i < 24; i++) dy[i] = 1;
    for (int kind = 0; kind < KINDS; kind++) {
        const problem p = {.rows = 1, .width = 24, .kind = (clf_activation)kind};
        run_problem(device, &p, x, dy);
    }
}

static void test_extremes(void) {
    clf_test_each_device(extremes_on);
}

// As many elements are dropped as the rate says, others in other sites and steps; the backward pass
// drops the same; a rate of 0 changes nothing.
static void dropout_on(clf_device *device) {
    enum { ROWS = 64, WIDTH = 100, COUNT = ROWS * WIDTH };
    static float ones[COUNT], y[3][COUNT], dx[COUNT];
    const clf_dropout drops[] = {
        {0.25f, 1, 1, 9}, {0.25f, 2, 1, 9}, {0.25f, 1, 2, 9}, {0, 0, 0, 0}};
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    for (int i = 0; i < COUNT; i++) ones[i] = 1;
    clf_tensor x = clf_arena_take(&kit.run, kit.arena, ROWS, WIDTH, CLF_F32);
    clf_tensor to = clf_arena_take(&kit.run, kit.arena, ROWS, WIDTH, CLF_F32);
    clf_write(&kit.run, x, ones);
    for (int i = 0; i < 3; i++) {
        clf_op_activate(&kit.run, to, x, CLF_ACT_NONE, drops[i]);
        clf_read(&kit.run, to, y[i]);
    }
    clf_op_activate_backward(&kit.run, to, x, x, CLF_ACT_NONE, drops[0]);
    clf_read(&kit.run, to, dx);
    int dropped = 0, both_sites = 0, both_steps = 0;
    for (int i = 0; i < COUNT; i++) {
        dropped += y[0][i] == 0;
        both_sites += y[0][i] == 0 && y[1][i] == 0;
        both_steps += y[0][i] == 0 && y[2][i] == 0;
    }
    // Within five standard deviations of a binomial distribution.
    CU_ASSERT(abs(dropped - COUNT / 4) < 5 * sqrt(COUNT * 3 / 16));
    CU_ASSERT(abs(both_sites - COUNT / 16) < 5 * sqrt(COUNT * 15 / 256));
    CU_ASSERT(abs(both_steps - COUNT / 16) < 5 * sqrt(COUNT * 15 / 256));
    CU_ASSERT_EQUAL(memcmp(y[0], dx, sizeof dx), 0);
    clf_op_activate(&kit.run, to, x, CLF_ACT_NONE, drops[3]);
    clf_read(&kit.run, to, dx);
    CU_ASSERT_EQUAL(memcmp(ones, dx, sizeof dx), 0);
    opkit_finish(&kit);
}

static void test_dropout(void) {
    clf_test_each_device(dropout_on);
}

static void bad_shapes_on(clf_device *device) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    clf_tensor x = clf_arena_take(&kit.run, kit.arena, 3, 8, CLF_F32);
    clf_tensor narrow = clf_tensor_cols(x, 0, 7);
    clf_op_activate(&kit.run, x, narrow, CLF_ACT_SILU, (clf_dropout){0});
    opkit_expect_argument_error(&kit, "activate: x");
    clf_op_activate_backward(&kit.run, x, narrow, x, CLF_ACT_SILU, (clf_dropout){0});
    opkit_expect_argument_error(&kit, "activate_backward: dy");
    clf_op_activate_backward(&kit.run, x, x, (clf_tensor){0}, CLF_ACT_SILU, (clf_dropout){0});
    opkit_expect_argument_error(&kit, "activate_backward: x is an absent");
    clf_tensor half = clf_arena_take(&kit.run, kit.arena, 3, 8, CLF_F16);
    clf_op_activate(&kit.run, half, x, CLF_ACT_SILU, (clf_dropout){0});
    opkit_expect_argument_error(&kit, "x is a (3, 8) float32, expected (3, 8) float16");
    opkit_finish(&kit);
}

static void test_bad_shapes(void) {
    clf_test_each_device(bad_shapes_on);
}

typedef struct bench {
    clf_tensor y, x, dy;
    clf_activation kind;
    clf_dropout dropout;
} bench;

static void forward(clf_run *run, void *user) {
    const bench *b = user;
    clf_op_activate(run, b->y, b->x, b->kind, b->dropout);
}

static void backward(clf_run *run, void *user) {
    const bench *b = user;
    clf_op_activate_backward(run, b->y, b->dy, b->x, b->kind, b->dropout);
}

static void bench_on(clf_device *device) {
    enum { R = 3500, F = 1024 };
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    clf_rng rng = {1};
    float *numbers = opkit_numbers(&rng, R * F, 4, 0);
    bench b = {.y = clf_arena_take(&kit.run, kit.arena, R, F, CLF_F32),
               .x = clf_arena_take(&kit.run, kit.arena, R, F, CLF_F32),
               .dy = clf_arena_take(&kit.run, kit.arena, R, F, CLF_F32)};
    clf_write(&kit.run, b.x, numbers);
    clf_write(&kit.run, b.dy, numbers);
    for (int i = 0; i < 2 * KINDS; i++) {
        char name[64];
        b.kind = (clf_activation)(i / 2);
        b.dropout.rate = i % 2 ? 0.1f : 0;
        snprintf(name, sizeof name, "%s%s", names[b.kind], i % 2 ? ", dropout" : "");
        opkit_bench(&kit, name, 8.0 * R * F, 0, forward, &b);
        snprintf(name, sizeof name, "%s%s, backward", names[b.kind], i % 2 ? ", dropout" : "");
        opkit_bench(&kit, name, 12.0 * R * F, 0, backward, &b);
    }
    free(numbers);
    opkit_finish(&kit);
}

static void test_bench(void) {
    if (!clf_test_bench) return;
    clf_test_each_device(bench_on);
}

static const clf_test tests[] = {{"reference", test_reference}, {"shapes", test_shapes},
                                 {"half", test_half},           {"extremes", test_extremes},
                                 {"dropout", test_dropout},     {"bad shapes", test_bad_shapes},
                                 {"bench", test_bench}};
CLF_TEST_MAIN("op-activation", tests)
