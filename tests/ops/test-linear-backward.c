// SPDX-License-Identifier: MIT
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "ops/backward.h"
#include "ops/linear.h"
#include "ops/linearkit.h"
#include "ops/opkit.h"
#include "ref/ref_linear.h"

// ---- weights on the host ------------------------------------------------------------------------

// The elements of a weight's memory, those past N included.
static size_t padded_count(clf_weight w) {
    return (size_t)w.data.rows * (size_t)w.data.cols;
}

static float *element(clf_weight w, float *image, int k, int n) {
    return image + w.panel_stride * (uint64_t)(n / 16) + w.row_stride * (uint64_t)k +
           (uint64_t)(n % 16);
}

// A weight with these elements, (K, N) row-major.
static clf_weight put_weight(opkit *kit, const float *data, int k, int n, bool plain) {
    clf_weight w = clf_weight_take_layout(&kit->run, kit->arena, k, n, plain);
    float *image = calloc(padded_count(w), sizeof *image);
    for (int i = 0; i < k * n; i++) *element(w, image, i / n, i % n) = data[i];
    clf_write(&kit->run, w.data, image);
    free(image);
    return w;
}

// Its elements; fails the test if one past N is not zero.
static void get_weight(opkit *kit, clf_weight w, float *data) {
    float *image = malloc(sizeof *image * padded_count(w));
    int changed = 0;
    clf_read(&kit->run, w.data, image);
    for (int n = 0; n < w.data.cols; n++) {
        for (int k = 0; k < w.k; k++) {
            const float value = *element(w, image, k, n);
            if (n < w.n)
                data[k * w.n + n] = value;
            else
                changed += value != 0;
        }
    }
    CU_ASSERT_EQUAL(changed, 0);
    free(image);
}

// (cols, rows) of (rows, cols), both row-major.
static float *transposed(const float *data, int rows, int cols) {
    float *t = malloc(sizeof *t * (size_t)rows * (size_t)cols);
    for (int i = 0; i < rows * cols; i++) t[i % cols * rows + i / cols] = data[i];
    return t;
}

// ---- gradients ----------------------------------------------------------------------------------

typedef struct problem {
    int rows, k, n;
    bool plain, bias;
} problem;

// One call against sums in double: dw and db begin with other numbers, x and dy are views between
// NaNs.
static void run_problem(clf_device *device, const problem *p) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    clf_rng rng = {(uint64_t)(p->rows * 7919 + p->k * 104729 + p->n)};
    const size_t rows = (size_t)p->rows, k = (size_t)p->k, n = (size_t)p->n;
    float *x = opkit_numbers(&rng, rows * k, 1, 0), *dy = opkit_numbers(&rng, rows * n, 1, 0);
    float *before = opkit_numbers(&rng, k * n, 1, 0), *bias = opkit_numbers(&rng, n, 1, 0);
    float *ones = opkit_numbers(&rng, rows, 0, 1), *out = malloc(sizeof *out * k * n);
    float *xt = transposed(x, p->rows, p->k), *dyt = transposed(dy, p->rows, p->n);
    double *expected = malloc(sizeof *expected * k * n), *bound = malloc(sizeof *bound * k * n);
    char what[96];
    snprintf(what, sizeof what, "%d rows, (%d, %d), plain %d, bias %d", p->rows, p->k, p->n,
             p->plain, p->bias);

    opkit_guarded gx = opkit_put(&kit, p->rows, p->k, CLF_F32, x);
    opkit_guarded gdy = opkit_put(&kit, p->rows, p->n, CLF_F32, dy);
    opkit_guarded gdb = opkit_put(&kit, 1, p->n, CLF_F32, bias);
    const clf_weight dw = put_weight(&kit, before, p->k, p->n, p->plain);
    clf_op_linear_backward(&kit.run, dw, p->bias ? gdb.view : (clf_tensor){0}, gx.view, gdy.view,
                           kit.arena);
    get_weight(&kit, dw, out);
    ref_linear(expected, bound, xt, dyt, NULL, before, p->k, p->rows, p->n, CLF_ACT_NONE);
    linearkit_allow_unit(bound, k * n, clf_linear_variant(device, p->rows, p->k, p->n), p->rows);
    opkit_compare(what, out, expected, bound, k * n);
    opkit_get(&kit, &gdb, out);
    if (p->bias) {
        ref_linear(expected, bound, ones, dyt, NULL, bias, 1, p->rows, p->n, CLF_ACT_NONE);
        opkit_compare(what, out, expected, bound, n);
    } else {
        CU_ASSERT_EQUAL(memcmp(out, bias, sizeof *bias * n), 0);
    }
    opkit_drop(&gx), opkit_drop(&gdy);
    free(x), free(dy), free(before), free(bias), free(ones), free(out), free(xt), free(dyt);
    free(expected), free(bound);
    opkit_finish(&kit);
}

static void shapes_on(clf_device *device) {
    static const int rows[] = {1, 2, 31, 257, 600}, ks[] = {1, 7, 8, 33, 100};
    static const int ns[] = {1, 2, 15, 16, 17, 33, 100, 257};
    int turn = 0;
    for (int i = 0; i < 8; i++) {
        for (int j = 0; j < 5; j++, turn++) {
            // Every number of rows and columns with each other; the rest takes turns.
            const problem p = {.rows = rows[j],
                               .k = ks[turn % 4],
                               .n = ns[i],
                               .plain = turn % 2,
                               .bias = turn % 3 > 0};
            run_problem(device, &p);
        }
    }
    run_problem(device, &(problem){.rows = 40, .k = 300, .n = 20, .bias = true});
    run_problem(device, &(problem){.rows = 3, .k = 9, .n = 2000, .plain = true, .bias = true});
    run_problem(device, &(problem){.rows = 3, .k = 70, .n = 2000});
    run_problem(device, &(problem){.rows = 130, .k = 130, .n = 300, .bias = true});
}

static void test_shapes(void) {
    clf_test_each_device(shapes_on);
}

// Infinities stay in the columns and rows that they belong to.
static void infinities_on(clf_device *device) {
    enum { R = 20, K = 10, N = 18 };
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    clf_rng rng = {.state = 3};
    float *x = opkit_numbers(&rng, R * K, 1, 2), *dy = opkit_numbers(&rng, R * N, 1, 2);
    float zeros[K * N] = {0}, out[K * N];
    x[5 * K + 4] = INFINITY;
    dy[7 * N + 17] = INFINITY;
    clf_tensor tx = clf_arena_take(&kit.run, kit.arena, R, K, CLF_F32);
    clf_tensor tdy = clf_arena_take(&kit.run, kit.arena, R, N, CLF_F32);
    clf_write(&kit.run, tx, x);
    clf_write(&kit.run, tdy, dy);
    for (int plain = 0; plain < 2; plain++) {
        const clf_weight dw = put_weight(&kit, zeros, K, N, plain);
        clf_op_linear_backward(&kit.run, dw, (clf_tensor){0}, tx, tdy, kit.arena);
        get_weight(&kit, dw, out);
        for (int i = 0; i < K * N; i++)
            CU_ASSERT_EQUAL(isinf(out[i]) != 0, i / N == 4 || i % N == 17);
    }
    free(x), free(dy);
    opkit_finish(&kit);
}

static void test_infinities(void) {
    clf_test_each_device(infinities_on);
}

// Two calls give the same bits.
static void repeats_on(clf_device *device) {
    enum { R = 700, K = 24, N = 70 };
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    clf_rng rng = {.state = 4};
    float *x = opkit_numbers(&rng, R * K, 1, 0), *dy = opkit_numbers(&rng, R * N, 1, 0);
    static const float zeros[K * N];
    static float out[2][K * N], sums[2][N];
    clf_tensor tx = clf_arena_take(&kit.run, kit.arena, R, K, CLF_F32);
    clf_tensor tdy = clf_arena_take(&kit.run, kit.arena, R, N, CLF_F32);
    clf_tensor db = clf_arena_take(&kit.run, kit.arena, 1, N, CLF_F32);
    clf_write(&kit.run, tx, x);
    clf_write(&kit.run, tdy, dy);
    for (int i = 0; i < 2; i++) {
        const clf_weight dw = put_weight(&kit, zeros, K, N, i);
        clf_fill_zero(&kit.run, db);
        clf_op_linear_backward(&kit.run, dw, db, tx, tdy, kit.arena);
        get_weight(&kit, dw, out[i]);
        clf_read(&kit.run, db, sums[i]);
    }
    CU_ASSERT_EQUAL(memcmp(out[0], out[1], sizeof out[0]), 0);
    CU_ASSERT_EQUAL(memcmp(sums[0], sums[1], sizeof sums[0]), 0);
    free(x), free(dy);
    opkit_finish(&kit);
}

static void test_repeats(void) {
    clf_test_each_device(repeats_on);
}

// ---- layouts ------------------------------------------------------------------------------------

static void check_layouts(clf_device *device, int k, int n) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    clf_rng rng = {(uint64_t)(k * 1009 + n)};
    const size_t count = (size_t)k * (size_t)n;
    float *data = opkit_numbers(&rng, count, 1, 0), *file = transposed(data, k, n);
    float *zeros = calloc(count, sizeof *zeros), *out = malloc(sizeof *out * count);
    for (int layouts = 0; layouts < 4; layouts++) {
        const clf_weight w = put_weight(&kit, data, k, n, layouts & 1);
        const clf_weight to = put_weight(&kit, zeros, n, k, layouts & 2);
        clf_op_transpose(&kit.run, to, w);
        get_weight(&kit, to, out);
        CU_ASSERT_EQUAL(memcmp(out, file, sizeof *out * count), 0);
        memset(out, 0, sizeof *out * count);
        clf_weight_read(&kit.run, w, out, kit.arena);
        CU_ASSERT_EQUAL(memcmp(out, file, sizeof *out * count), 0);
    }
    free(data), free(file), free(zeros), free(out);
    opkit_finish(&kit);
}

static void layouts_on(clf_device *device) {
    static const int sizes[][2] = {{1, 1}, {1, 17}, {17, 1}, {16, 16}, {33, 50}, {100, 31}};
    for (int i = 0; i < 6; i++) check_layouts(device, sizes[i][0], sizes[i][1]);
    check_layouts(device, 70000, 33); // a part of the reading is 16 columns
    check_layouts(device, 5000, 1003);
}

static void test_layouts(void) {
    clf_test_each_device(layouts_on);
}

// ---- bad input, dry runs ------------------------------------------------------------------------

static void misfits_on(clf_device *device) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    const clf_weight w = clf_weight_take(&kit.run, kit.arena, 4, 6);
    const clf_tensor x = clf_arena_take(&kit.run, kit.arena, 3, 4, CLF_F32);
    const clf_tensor dy = clf_arena_take(&kit.run, kit.arena, 3, 6, CLF_F32), none = {0};
    clf_op_linear_backward(&kit.run, w, none, dy, dy, kit.arena);
    opkit_expect_argument_error(&kit, "linear backward: x");
    clf_op_linear_backward(&kit.run, w, none, x, x, kit.arena);
    opkit_expect_argument_error(&kit, "linear backward: dy");
    clf_op_linear_backward(&kit.run, w, x, x, dy, kit.arena);
    opkit_expect_argument_error(&kit, "linear backward: db");
    clf_op_transpose(&kit.run, w, w);
    opkit_expect_argument_error(&kit, "transpose");
    clf_op_linear_backward(&kit.run, w, none, clf_tensor_rows(x, 0, 0), clf_tensor_rows(dy, 0, 0),
                           kit.arena);
    opkit_finish(&kit); // no rows: nothing to do
}

static void test_misfits(void) {
    clf_test_each_device(misfits_on);
}

// A dry run needs the memory that the real one takes.
static void dry_on(clf_device *device) {
    opkit kit;
    clf_arena *planned = NULL;
    if (!opkit_init(&kit, device)) return;
    if (!CLF_ASSERT_OK(clf_arena_create(device, "test", "nothing", &planned))) return;
    const clf_weight w = clf_weight_take(&kit.run, kit.arena, 4, 6);
    const clf_tensor x = clf_arena_take(&kit.run, kit.arena, 600, 4, CLF_F32);
    const clf_tensor dy = clf_arena_take(&kit.run, kit.arena, 600, 6, CLF_F32);
    const uint64_t before = clf_arena_peak(kit.arena);
    float data[24] = {1};
    clf_run dry = kit.run;
    dry.dry = true;
    clf_op_linear_backward(&dry, w, (clf_tensor){0}, x, dy, planned);
    clf_op_linear_backward(&kit.run, w, (clf_tensor){0}, x, dy, kit.arena);
    CU_ASSERT_EQUAL(clf_arena_peak(planned), clf_arena_peak(kit.arena) - before);
    clf_op_transpose(&dry, clf_weight_take_transposed(&dry, planned, w), w);
    clf_weight_read(&dry, w, data, planned);
    CLF_ASSERT_OK(dry.status);
    CU_ASSERT_EQUAL(data[0], 1);
    CU_ASSERT_EQUAL(clf_arena_bytes(planned), 0);
    clf_arena_destroy(planned);
    opkit_finish(&kit);
}

static void test_dry(void) {
    clf_test_each_device(dry_on);
}

// ---- timing -------------------------------------------------------------------------------------

typedef struct bench {
    clf_weight w, wt;
    clf_tensor x, y, dx, dy, db;
    clf_arena *scratch;
} bench;

static void launch_forward(clf_run *run, void *user) {
    const bench *b = user;
    clf_op_linear(run, b->y, b->x, b->w, (clf_linear){0});
}

static void launch_input(clf_run *run, void *user) {
    const bench *b = user;
    clf_op_linear(run, b->dx, b->dy, b->wt, (clf_linear){0});
}

static void launch_weight(clf_run *run, void *user) {
    const bench *b = user;
    clf_op_linear_backward(run, b->w, b->db, b->x, b->dy, b->scratch);
}

static void launch_transpose(clf_run *run, void *user) {
    const bench *b = user;
    clf_op_transpose(run, b->wt, b->w);
}

static clf_tensor zeros(opkit *kit, int rows, int cols) {
    const clf_tensor t = clf_arena_take(&kit->run, kit->arena, rows, cols, CLF_F32);
    clf_fill_zero(&kit->run, t);
    return t;
}

static void bench_shape(clf_device *device, int rows, int k, int n) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    bench b = {.w = clf_weight_take(&kit.run, kit.arena, k, n),
               .x = zeros(&kit, rows, k),
               .y = zeros(&kit, rows, n),
               .dx = zeros(&kit, rows, k),
               .dy = zeros(&kit, rows, n),
               .db = zeros(&kit, 1, n),
               .scratch = kit.arena};
    b.wt = clf_weight_take_transposed(&kit.run, kit.arena, b.w);
    clf_fill_zero(&kit.run, b.w.data);
    clf_fill_zero(&kit.run, b.wt.data);
    const double flops = 2.0 * rows * k * n, bytes = 4.0 * rows * ((double)k + n);
    const double size = 4.0 * k * n;
    char name[64];
    snprintf(name, sizeof name, "%d rows (%d, %d): y", rows, k, n);
    opkit_bench(&kit, name, bytes + size, flops, launch_forward, &b);
    opkit_bench(&kit, "dx", bytes + size, flops, launch_input, &b);
    opkit_bench(&kit, "dw, db", bytes + 2 * size, flops, launch_weight, &b);
    opkit_bench(&kit, "transposition", 2 * size, 0, launch_transpose, &b);
    opkit_finish(&kit);
}

static void bench_on(clf_device *device) {
    static const int shapes[][3] = {{1000, 256, 256},  {4000, 256, 256},  {4000, 256, 768},
                                    {4000, 256, 1024}, {4000, 1024, 256}, {4000, 512, 1536},
                                    {4000, 512, 2048}, {4000, 2048, 512}, {4000, 128, 384},
                                    {256, 256, 8001},  {256, 512, 32000}, {256, 256, 32000}};
    // A GPU's kernels on a CPU are slow: one shape shows that.
    const bool misfit =
        clf_device_profile(device)->lanes > 1 && clf_device_caps(device)->kind == CLF_DEVICE_CPU;
    for (int i = 0; i < (misfit ? 1 : 12); i++)
        bench_shape(device, shapes[i][0], shapes[i][1], shapes[i][2]);
}

static void test_bench(void) {
    if (!clf_test_bench) return;
    clf_test_each_device(bench_on);
}

static const clf_test tests[] = {{"shapes", test_shapes},   {"infinities", test_infinities},
                                 {"repeats", test_repeats}, {"layouts", test_layouts},
                                 {"misfits", test_misfits}, {"dry runs", test_dry},
                                 {"bench", test_bench}};
CLF_TEST_MAIN("op-linear-backward", tests)
