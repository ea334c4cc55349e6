// SPDX-License-Identifier: MIT
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "harness.h"
#include "ops/backward.h"
#include "ops/opkit.h"
#include "ref/ref_loss.h"

enum { MOST_ROWS = 64 };

typedef struct problem {
    int rows, width, banned;
    float smoothing;
    const int *labels;
    const float *x;
    float factor;
} problem;

// Runs the operation; gradient (R, V) and losses (R, 2) are freed by free().
static bool compute(clf_device *device, const problem *p, float **gradient, float **losses) {
    opkit kit;
    if (!opkit_init(&kit, device)) return false;
    *gradient = malloc(sizeof **gradient * (size_t)p->rows * (size_t)p->width);
    *losses = malloc(sizeof **losses * (size_t)p->rows * 2);
    opkit_guarded dx = opkit_put(&kit, p->rows, p->width, CLF_F32, p->x);
    opkit_guarded dl = opkit_put(&kit, p->rows, 2, CLF_F32, NULL);
    opkit_guarded labels = opkit_put(&kit, 1, p->rows, CLF_I32, p->labels);
    clf_op_cross_entropy(&kit.run, dl.view, dx.view, labels.view, p->banned, p->smoothing,
                         p->factor);
    opkit_get(&kit, &dx, *gradient);
    opkit_get(&kit, &dl, *losses);
    opkit_drop(&labels);
    opkit_finish(&kit);
    return true;
}

// Gradients: e^(x - top) and the sum are a few roundings off, and the rounding of x - top is
// magnified by its size. Losses: log sum and the mean of the logits' distances are sums of one
// sign, whose roundings add up in blocks of 16 at most.
static void check_row(const problem *p, int r, const float *gradient, const float *losses) {
    const int width = p->width;
    const float *x = p->x + (size_t)r * (size_t)width;
    double *logits = malloc(sizeof *logits * (size_t)width), loss[2], loss_bound[2];
    double *expected = malloc(sizeof *expected * (size_t)width);
    double *bound = malloc(sizeof *bound * (size_t)width);
    double top = -INFINITY;
    for (int c = 0; c < width; c++) {
        logits[c] = (double)x[c];
        if (c != p->banned) top = fmax(top, logits[c]);
    }
    ref_cross_entropy(loss, expected, logits, width, p->labels[r], p->banned, (double)p->smoothing);
    for (int c = 0; c < width; c++) {
        const double probability = exp(logits[c] - top);
        bound[c] = FLT_EPSILON * (fabs(expected[c]) + probability * (10 + top - logits[c]));
        if (c == p->labels[r]) bound[c] += FLT_EPSILON;
    }
    for (int i = 0; i < 2; i++) loss_bound[i] = FLT_EPSILON * (10 + 4 * loss[i]);
    char what[96];
    snprintf(what, sizeof what, "row %d of (%d, %d), banned %d, smoothing %g", r, p->rows, width,
             p->banned, (double)p->smoothing);
    opkit_compare(what, gradient + (size_t)r * (size_t)width, expected, bound, (size_t)width);
    opkit_compare(what, losses + 2 * r, loss, loss_bound, 2);
    free(logits), free(expected), free(bound);
}

static void run_shape(clf_device *device, int rows, int width, int banned, float smoothing) {
    int labels[MOST_ROWS];
    clf_rng rng = {(uint64_t)(rows * 1000 + width)};
    for (int r = 0; r < rows; r++) {
        do labels[r] = (int)clf_rng_below(&rng, (uint32_t)width);
        while (labels[r] == banned);
    }
    float *x = opkit_numbers(&rng, (size_t)rows * (size_t)width, 12, -5), *gradient, *losses;
    // The banned logit is larger than all, or a NaN.
    for (int r = 0; banned >= 0 && r < rows; r++) {
        x[r * width + banned] = r % 2 ? 3e38f : NAN;
    }
    const problem p = {rows, width, banned, smoothing, labels, x, 1};
    if (compute(device, &p, &gradient, &losses)) {
        for (int r = 0; r < rows; r++) check_row(&p, r, gradient, losses);
        free(gradient), free(losses);
    }
    free(x);
}

static void shapes_on(clf_device *device) {
    static const int widths[] = {2, 3, 8, 17, 64, 100, 513, 8001}, rows[] = {1, 2, 7, 37};
    static const float smoothings[] = {0, 0.1f, 0.3f};
    for (int turn = 0; turn < 32; turn++) {
        const int width = widths[turn % 8];
        const int banned = turn % 3 == 0 ? -1 : turn % 3 == 1 ? width - 1 : width / 3;
        run_shape(device, rows[turn / 8], width, banned, smoothings[turn % 5 % 3]);
    }
    run_shape(device, 1, 1, -1, 0.1f);
    run_shape(device, 3, 64000, 63999, 0.1f);
}

static void test_shapes(void) {
    clf_test_each_device(shapes_on);
}

// Many equal columns, whose sums' roundings all go one way.
static void equal_on(clf_device *device) {
    enum { ROWS = 4, WIDTH = 64000 };
    static const int labels[ROWS] = {0, 1, 63999, 5};
    static const float below[ROWS] = {0.1f, 3.3f, 11.7f, 17.9f};
    float *x = malloc(sizeof *x * ROWS * WIDTH), *gradient, *losses;
    for (int i = 0; i < ROWS * WIDTH; i++) x[i] = i % WIDTH == 5 ? 0 : -below[i / WIDTH];
    const problem p = {ROWS, WIDTH, -1, 0.1f, labels, x, 1};
    if (compute(device, &p, &gradient, &losses)) {
        for (int r = 0; r < ROWS; r++) check_row(&p, r, gradient, losses);
        free(gradient), free(losses);
    }
    free(x);
}

static void test_equal(void) {
    clf_test_each_device(equal_on);
}

// The gradient by central differences of the loss in double, whose own error is below 1e-8.
static void differences_on(clf_device *device) {
    enum { WIDTH = 41, LABEL = 7, BANNED = 3 };
    static const int label = LABEL;
    clf_rng rng = {9};
    float *x = opkit_numbers(&rng, WIDTH, 4, 0), *gradient, *losses;
    const problem p = {1, WIDTH, BANNED, 0.2f, &label, x, 1};
    double logits[WIDTH], expected[WIDTH], bound[WIDTH];
    for (int c = 0; c < WIDTH; c++) logits[c] = (double)x[c];
    for (int c = 0; c < WIDTH; c++) {
        const double h = 1e-4;
        double above[2], below[2];
        logits[c] = (double)x[c] + h;
        ref_cross_entropy(above, NULL, logits, WIDTH, LABEL, BANNED, (double)p.smoothing);
        logits[c] = (double)x[c] - h;
        ref_cross_entropy(below, NULL, logits, WIDTH, LABEL, BANNED, (double)p.smoothing);
        logits[c] = (double)x[c];
        expected[c] = (above[0] - below[0]) / (2 * h);
        bound[c] = 1e-8 + 8 * (double)FLT_EPSILON * (fabs(expected[c]) + (c == LABEL ? 1 : 0.01));
    }
    if (compute(device, &p, &gradient, &losses)) {
        opkit_compare("differences", gradient, expected, bound, WIDTH);
        CU_ASSERT_EQUAL(gradient[BANNED], 0);
        free(gradient), free(losses);
    }
    free(x);
}

static void test_differences(void) {
    clf_test_each_device(differences_on);
}

// A power of two as the factor multiplies the gradient exactly, and nothing else.
static void factor_on(clf_device *device) {
    enum { ROWS = 3, WIDTH = 101 };
    static const int labels[ROWS] = {0, 100, -1};
    clf_rng rng = {5};
    float *x = opkit_numbers(&rng, ROWS * WIDTH, 4, 0), *gradient[2], *losses[2];
    for (int i = 0; i < 2; i++) {
        const problem p = {ROWS, WIDTH, 7, 0.1f, labels, x, i ? 4096 : 1};
        if (!compute(device, &p, &gradient[i], &losses[i])) return;
    }
    int wrong = 0;
    for (int i = 0; i < ROWS * WIDTH; i++) wrong += gradient[1][i] != 4096 * gradient[0][i];
    for (int i = 0; i < 2 * ROWS; i++) wrong += losses[1][i] != losses[0][i];
    CU_ASSERT_EQUAL(wrong, 0);
    for (int i = 0; i < 2; i++) free(gradient[i]), free(losses[i]);
    free(x);
}

static void test_factor(void) {
    clf_test_each_device(factor_on);
}

// Rows without a label and with wrong ones between good ones.
static void labels_on(clf_device *device) {
    enum { ROWS = 8, WIDTH = 19, BANNED = 5 };
    static const int labels[ROWS] = {0, -1, BANNED, WIDTH, 18, -2, INT32_MAX, INT32_MIN};
    clf_rng rng = {4};
    float *x = opkit_numbers(&rng, ROWS * WIDTH, 3, 0), *gradient, *losses;
    const problem p = {ROWS, WIDTH, BANNED, 0.1f, labels, x, 1};
    if (compute(device, &p, &gradient, &losses)) {
        for (int r = 0; r < ROWS; r++) {
            if (r == 0 || r == 4) {
                check_row(&p, r, gradient, losses);
                continue;
            }
            for (int c = 0; c < WIDTH; c++) CU_ASSERT_EQUAL(gradient[r * WIDTH + c], 0);
            for (int i = 0; i < 2; i++) {
                CU_ASSERT(labels[r] == -1 ? losses[2 * r + i] == 0 : isnan(losses[2 * r + i]));
            }
        }
        free(gradient), free(losses);
    }
    free(x);
}

static void test_labels(void) {
    clf_test_each_device(labels_on);
}

// Logits that no training should see: the losses of their rows are not numbers, and the others'
// are right.
static void extremes_on(clf_device *device) {
    enum { ROWS = 8, WIDTH = 37, GOOD = 3 };
    static const int labels[ROWS] = {0, 9, 36, 1, 2, 3, 4, 5};
    float x[ROWS * WIDTH], *gradient, *losses;
    for (int i = 0; i < ROWS * WIDTH; i++) x[i] = (float)(i % 7);
    x[1] = 1e4f, x[30] = -1e4f;                            // far apart
    for (int c = 0; c < WIDTH; c++) x[WIDTH + c] = -1e30f; // huge and equal
    for (int c = 0; c < WIDTH; c++) x[2 * WIDTH + c] = 1e30f;
    x[3 * WIDTH + 9] = NAN, x[4 * WIDTH + 36] = NAN;
    x[5 * WIDTH + 3] = INFINITY, x[6 * WIDTH + 36] = INFINITY;
    for (int c = 0; c < WIDTH; c++) x[7 * WIDTH + c] = -INFINITY;
    for (int i = 0; i < 4; i++) {
        const problem p = {ROWS, WIDTH, i % 2 ? 8 : -1, i < 2 ? 0 : 0.1f, labels, x, 1};
        if (!compute(device, &p, &gradient, &losses)) return;
        for (int r = 0; r < ROWS; r++) {
            if (r < GOOD)
                check_row(&p, r, gradient, losses);
            else
                CU_ASSERT(isnan(losses[2 * r]) && isnan(losses[2 * r + 1]));
        }
        free(gradient), free(losses);
    }
}

static void test_extremes(void) {
    clf_test_each_device(extremes_on);
}

static void bad_shapes_on(clf_device *device) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    clf_tensor x = clf_arena_take(&kit.run, kit.arena, 3, 8, CLF_F32);
    clf_tensor losses = clf_arena_take(&kit.run, kit.arena, 3, 2, CLF_F32);
    clf_tensor labels = clf_arena_take(&kit.run, kit.arena, 1, 3, CLF_I32);
    clf_op_cross_entropy(&kit.run, losses, clf_tensor_rows(x, 0, 2), labels, -1, 0, 1);
    opkit_expect_argument_error(&kit, "cross_entropy: losses is a (3, 2)");
    clf_op_cross_entropy(&kit.run, losses, x, clf_tensor_cols(labels, 0, 2), -1, 0, 1);
    opkit_expect_argument_error(&kit, "cross_entropy: labels");
    clf_op_cross_entropy(&kit.run, losses, x, labels, 8, 0, 1);
    opkit_expect_argument_error(&kit, "the banned column");
    clf_op_cross_entropy(&kit.run, losses, x, labels, -1, 1, 1);
    opkit_expect_argument_error(&kit, "label smoothing");
    clf_op_cross_entropy(&kit.run, clf_tensor_rows(losses, 0, 0), clf_tensor_rows(x, 0, 0),
                         clf_tensor_cols(labels, 0, 0), -1, 0, 1);
    opkit_finish(&kit);
}

static void test_bad_shapes(void) {
    clf_test_each_device(bad_shapes_on);
}

typedef struct bench {
    clf_tensor losses, logits, labels;
} bench;

static void launch(clf_run *run, void *user) {
    const bench *b = user;
    clf_op_cross_entropy(run, b->losses, b->logits, b->labels, 0, 0.1f, 1);
}

static void bench_on(clf_device *device) {
    static const int widths[] = {8001, 32000, 64000};
    enum { ROWS = 512 };
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    clf_rng rng = {1};
    int labels[ROWS];
    for (int r = 0; r < ROWS; r++) labels[r] = 1 + r;
    for (int i = 0; i < 3; i++) {
        const int width = widths[i];
        bench b = {.logits = clf_arena_take(&kit.run, kit.arena, ROWS, width, CLF_F32),
                   .losses = clf_arena_take(&kit.run, kit.arena, ROWS, 2, CLF_F32),
                   .labels = clf_arena_take(&kit.run, kit.arena, 1, ROWS, CLF_I32)};
        float *x = opkit_numbers(&rng, (size_t)ROWS * (size_t)width, 5, 0);
        clf_write(&kit.run, b.logits, x);
        clf_write(&kit.run, b.labels, labels);
        free(x);
        char name[64];
        snprintf(name, sizeof name, "cross entropy (%d, %d)", ROWS, width);
        opkit_bench(&kit, name, 8.0 * ROWS * width, 0, launch, &b);
    }
    opkit_finish(&kit);
}

static void test_bench(void) {
    if (!clf_test_bench) return;
    clf_test_each_device(bench_on);
}

static const clf_test tests[] = {{"shapes", test_shapes},           {"equal columns", test_equal},
                                 {"differences", test_differences}, {"labels", test_labels},
                                 {"factor", test_factor},           {"extremes", test_extremes},
                                 {"bad shapes", test_bad_shapes},   {"bench", test_bench}};
CLF_TEST_MAIN("op-cross-entropy", tests)
