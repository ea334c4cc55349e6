// SPDX-License-Identifier: MIT
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/rng.h"
#include "harness.h"
#include "ops/linear.h"
#include "ref/ref_linear.h"

#define GUARD  3 // rows and columns around y that must stay as they are
#define MARKER 12345.0f

typedef enum variant { PANEL_PACKED, PANEL_PLAIN, CLBLAST, VARIANTS } variant;
static const char *const variant_names[VARIANTS] = {"packed panels", "plain panels", "CLBlast"};

typedef enum residual_kind { RESIDUAL_NONE, RESIDUAL_OWN, RESIDUAL_ALIAS } residual_kind;

typedef struct problem {
    int m, k, n;
    bool bias;
    residual_kind residual;
    clf_activation activation;
} problem;

static clf_arena *new_arena(clf_device *device) {
    clf_arena *arena = NULL;
    CLF_ASSERT_OK(clf_arena_create(device, "test", "nothing", &arena));
    return arena;
}

// The middle of a larger tensor, of which the host's image is `image`: GUARD rows and columns on
// each side hold MARKER, the middle holds `inner` (MARKER where it is NULL).
static clf_tensor guarded(clf_run *run, clf_arena *arena, int rows, int cols, const float *inner,
                          float **image, clf_tensor *whole) {
    const int all_rows = rows + 2 * GUARD, all_cols = cols + 2 * GUARD;
    float *data = malloc(sizeof *data * (size_t)all_rows * (size_t)all_cols);
    for (int i = 0; i < all_rows * all_cols; i++) data[i] = MARKER;
    for (int r = 0; inner && r < rows; r++)
        memcpy(data + (r + GUARD) * all_cols + GUARD, inner + r * cols,
               sizeof *data * (size_t)cols);
    *whole = clf_arena_take(run, arena, all_rows, all_cols, CLF_F32);
    clf_write(run, *whole, data);
    *image = data;
    return clf_tensor_cols(clf_tensor_rows(*whole, GUARD, rows), GUARD, cols);
}

// Counts elements outside the middle that changed, and copies the middle to `inner`.
static int read_guarded(clf_run *run, clf_tensor whole, float *image, float *inner) {
    int changed = 0;
    clf_read(run, whole, image);
    for (int r = 0; r < whole.rows; r++) {
        for (int c = 0; c < whole.cols; c++) {
            const float value = image[r * whole.cols + c];
            const bool inside =
                r >= GUARD && r < whole.rows - GUARD && c >= GUARD && c < whole.cols - GUARD;
            if (inside)
                inner[(r - GUARD) * (whole.cols - 2 * GUARD) + c - GUARD] = value;
            else
                changed += value != MARKER;
        }
    }
    return changed;
}

static clf_weight upload_weight(clf_run *run, clf_arena *arena, const float *w, int k, int n,
                                bool plain) {
    clf_weight weight = clf_weight_take_layout(run, arena, k, n, plain);
    const clf_piece piece = {.data = w, .dtype = CLF_F32, .rows = n, .cols = k};
    clf_weight_write(run, weight, 0, &piece, arena);
    return weight;
}

static void compare(const problem *p, variant v, const float *y, const double *expected,
                    const double *bound) {
    for (int i = 0; i < p->m * p->n; i++) {
        if (fabs(y[i] - expected[i]) <= bound[i]) continue;
        printf("\n    %s, %d x %d x %d, bias %d, residual %d, activation %d: element %d is %.9g, "
               "not %.9g +- %.2g",
               variant_names[v], p->m, p->k, p->n, p->bias, (int)p->residual, (int)p->activation, i,
               (double)y[i], expected[i], bound[i]);
        CU_FAIL("a product is wrong");
        return;
    }
}

// One product by one variant, x and y being views of columns, y between guards.
static void run_problem(clf_device *device, clf_arena *arena, const problem *p, variant v) {
    clf_rng rng = {.state = (uint64_t)(p->m * 7919 + p->k * 104729 + p->n)};
    const size_t count = (size_t)p->m * (size_t)p->n;
    float *x = clf_rng_numbers(&rng, (size_t)(p->m * p->k));
    float *w = clf_rng_numbers(&rng, (size_t)(p->k * p->n));
    float *bias = clf_rng_numbers(&rng, (size_t)p->n);
    float *residual = clf_rng_numbers(&rng, count);
    float *y = malloc(count * sizeof *y), *y_image, *other_image;
    double *expected = malloc(count * sizeof *expected), *bound = malloc(count * sizeof *bound);
    const bool alias = p->residual == RESIDUAL_ALIAS;
    clf_run run = clf_run_begin(device);
    clf_tensor y_whole, other;
    clf_arena_reset(arena);

    clf_tensor y_view =
        guarded(&run, arena, p->m, p->n, alias ? residual : NULL, &y_image, &y_whole);
    clf_tensor x_view = guarded(&run, arena, p->m, p->k, x, &other_image, &other);
    clf_weight weight = upload_weight(&run, arena, w, p->k, p->n, v != PANEL_PACKED);
    clf_linear epilogue = {.activation = p->activation};
    if (p->bias) {
        epilogue.bias = clf_arena_take(&run, arena, 1, p->n, CLF_F32);
        clf_write(&run, epilogue.bias, bias);
    }
    if (alias) epilogue.residual = y_view;
    if (p->residual == RESIDUAL_OWN) {
        epilogue.residual = clf_arena_take(&run, arena, p->m, p->n, CLF_F32);
        clf_write(&run, epilogue.residual, residual);
    }
    clf_linear_run(&run, v == CLBLAST ? CLF_GEMM_CLBLAST : CLF_GEMM_PANEL, y_view, x_view, weight,
                   epilogue);
    CU_ASSERT_EQUAL(read_guarded(&run, y_whole, y_image, y), 0);
    if (CLF_ASSERT_OK(run.status)) {
        ref_linear(expected, bound, x, w, p->bias ? bias : NULL,
                   p->residual == RESIDUAL_NONE ? NULL : residual, p->m, p->k, p->n, p->activation);
        compare(p, v, y, expected, bound);
    }
    free(x), free(w), free(bias), free(residual), free(y), free(y_image), free(other_image);
    free(expected), free(bound);
}

static void shapes_on(clf_device *device) {
    static const int ms[] = {1, 2, 3, 5, 6, 7, 8, 13, 32, 33, 97};
    static const int ks[] = {1, 4, 5, 16, 33, 64, 257};
    static const int ns[] = {1, 2, 15, 16, 17, 48, 100, 257};
    clf_arena *arena = new_arena(device);
    int turn = 0;
    for (int i = 0; i < 11; i++) {
        // Every k and every n with every m, not every pair of them.
        for (int j = 0; j < 8; j++, turn++) {
            const problem p = {.m = ms[i],
                               .k = ks[turn % 7],
                               .n = ns[j],
                               .bias = turn % 2,
                               .residual = (residual_kind)(turn % 3)};
            for (int v = 0; v < VARIANTS; v++) run_problem(device, arena, &p, (variant)v);
        }
    }
    clf_arena_destroy(arena);
}

static void test_shapes(void) {
    clf_test_each_device(shapes_on);
}

static void epilogues_on(clf_device *device) {
    clf_arena *arena = new_arena(device);
    for (int activation = CLF_ACT_NONE; activation <= CLF_ACT_SILU; activation++) {
        for (int combination = 0; combination < 6; combination++) {
            const problem p = {.m = 4,
                               .k = 33,
                               .n = 43,
                               .bias = combination % 2,
                               .residual = (residual_kind)(combination / 2),
                               .activation = (clf_activation)activation};
            for (int v = 0; v < VARIANTS; v++) {
                // The one case that clf_op_linear never gives to CLBlast.
                if (v == CLBLAST && p.residual == RESIDUAL_ALIAS && activation != CLF_ACT_NONE)
                    continue;
                run_problem(device, arena, &p, (variant)v);
            }
        }
    }
    clf_arena_destroy(arena);
}

static void test_epilogues(void) {
    clf_test_each_device(epilogues_on);
}

// Each number of rows gives each row the same bits, whatever tile they are cut into.
static void alone_on(clf_device *device) {
    enum { M = 40, K = 70, N = 50 };
    static const int counts[] = {1, 2, 3, 4, 5, 6, 7, 9, 33, M};
    clf_rng rng = {.state = 5};
    float *x = clf_rng_numbers(&rng, (size_t)(M * K)), *w = clf_rng_numbers(&rng, (size_t)(K * N));
    float first[N], y[M * N];
    clf_arena *arena = new_arena(device);
    clf_run run = clf_run_begin(device);
    clf_tensor tx = clf_arena_take(&run, arena, M, K, CLF_F32);
    clf_tensor ty = clf_arena_take(&run, arena, M, N, CLF_F32);
    clf_write(&run, tx, x);
    for (int plain = 0; plain < 2; plain++) {
        clf_weight weight = upload_weight(&run, arena, w, K, N, plain);
        for (int i = 0; i < (int)(sizeof counts / sizeof *counts); i++) {
            // The row stands at the end of the batch.
            const int rows = counts[i];
            const clf_tensor to = clf_tensor_rows(ty, 0, rows);
            clf_linear_run(&run, CLF_GEMM_PANEL, to, clf_tensor_rows(tx, M - rows, rows), weight,
                           (clf_linear){.activation = CLF_ACT_SILU});
            clf_read(&run, to, y);
            if (i == 0) memcpy(first, y, sizeof first);
            CU_ASSERT_EQUAL(memcmp(first, y + (rows - 1) * N, sizeof first), 0);
        }
    }
    CLF_ASSERT_OK(run.status);
    clf_arena_destroy(arena);
    free(x), free(w);
}

static void test_alone(void) {
    clf_test_each_device(alone_on);
}

static void nan_on(clf_device *device) {
    enum { M = 7, K = 20, N = 18 };
    clf_rng rng = {.state = 6};
    float *x = clf_rng_numbers(&rng, (size_t)(M * K)), *w = clf_rng_numbers(&rng, (size_t)(K * N)),
          y[M * N];
    x[3 * K + 11] = NAN;
    clf_arena *arena = new_arena(device);
    clf_run run = clf_run_begin(device);
    clf_tensor tx = clf_arena_take(&run, arena, M, K, CLF_F32);
    clf_tensor ty = clf_arena_take(&run, arena, M, N, CLF_F32);
    clf_write(&run, tx, x);
    for (int v = 0; v < VARIANTS; v++) {
        clf_weight weight = upload_weight(&run, arena, w, K, N, v != PANEL_PACKED);
        clf_linear_run(&run, v == CLBLAST ? CLF_GEMM_CLBLAST : CLF_GEMM_PANEL, ty, tx, weight,
                       (clf_linear){.activation = CLF_ACT_RELU});
        clf_read(&run, ty, y);
        for (int i = 0; i < M * N; i++) CU_ASSERT_EQUAL(isnan(y[i]) != 0, i / N == 3);
    }
    CLF_ASSERT_OK(run.status);
    clf_arena_destroy(arena);
    free(x), free(w);
}

static void test_nan(void) {
    clf_test_each_device(nan_on);
}

// ---- pieces of files ----------------------------------------------------------------------------

// An element of each type, and the number that it is.
static void encode(clf_dtype dtype, clf_rng *rng, unsigned char *bytes, double *value) {
    const uint64_t bits = clf_rng_next(rng);
    const uint16_t half = (uint16_t)(bits & 0xbfff); // |value| < 2: no infinities
    float f = clf_rng_uniform(rng, -3, 3);
    uint32_t word;
    switch (dtype) {
    case CLF_F16: {
        const int exponent = (half >> 10) & 31, fraction = half & 1023;
        *value = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
        if (half & 0x8000) *value = -*value;
        memcpy(bytes, &half, 2);
        break;
    }
    case CLF_BF16:
        memcpy(&word, &f, 4);
        word &= 0xffff0000u;
        memcpy(&f, &word, 4);
        memcpy(bytes, (unsigned char *)&word + 2, 2);
        *value = f;
        break;
    case CLF_I16: *value = (int16_t)bits, memcpy(bytes, &bits, 2); break;
    case CLF_I8: *value = (int8_t)bits, memcpy(bytes, &bits, 1); break;
    default: *value = f, memcpy(bytes, &f, 4);
    }
}

typedef struct coded {
    clf_piece piece;
    unsigned char *bytes;
    float *scales;
    double *values; // (rows, cols), scaled
} coded;

static coded make_coded(clf_rng *rng, clf_dtype dtype, int rows, int cols, int scale_count,
                        bool divide) {
    const int size = clf_dtype_size(dtype);
    coded c = {.bytes = malloc((size_t)(rows * cols * size)),
               .scales = clf_rng_numbers(rng, (size_t)(scale_count + 1)),
               .values = malloc(sizeof(double) * (size_t)(rows * cols))};
    for (int i = 0; i < scale_count; i++) c.scales[i] += c.scales[i] < 0 ? -0.1f : 0.1f;
    for (int i = 0; i < rows * cols; i++) {
        encode(dtype, rng, c.bytes + i * size, &c.values[i]);
        const double scale = scale_count == 0   ? 1
                             : scale_count == 1 ? c.scales[0]
                                                : c.scales[i / cols];
        c.values[i] = divide ? c.values[i] / scale : c.values[i] * scale;
    }
    c.piece = (clf_piece){.data = c.bytes,
                          .dtype = dtype,
                          .rows = rows,
                          .cols = cols,
                          .scales = c.scales,
                          .scale_count = scale_count,
                          .divide = divide};
    return c;
}

static void free_coded(coded *c) {
    free(c->bytes), free(c->scales), free(c->values);
}

// A conversion is exact; a scale costs one rounding, OpenCL's division 2.5 units in the last place.
static bool is_close(float value, double expected) {
    return fabs(value - expected) <= 3 * 0x1p-23 * fabs(expected);
}

static float weight_element(clf_weight w, const float *image, int k, int n) {
    return image[w.panel_stride * (uint64_t)(n / 16) + w.row_stride * (uint64_t)k +
                 (uint64_t)(n % 16)];
}

// Two pieces side by side, the way queries, keys and values share a weight.
static void check_weight(clf_device *device, clf_arena *arena, clf_dtype dtype, bool plain,
                         int scale_kind, bool divide) {
    enum { K = 37, N1 = 21, N2 = 30, N = N1 + N2, PADDED = 64 };
    clf_rng rng = {.state = 7};
    clf_run run = clf_run_begin(device);
    clf_arena_reset(arena);
    coded parts[2] = {make_coded(&rng, dtype, N1, K, scale_kind == 2 ? N1 : scale_kind, divide),
                      make_coded(&rng, dtype, N2, K, scale_kind == 2 ? N2 : scale_kind, divide)};
    clf_weight w = clf_weight_take_layout(&run, arena, K, N, plain);
    clf_weight_write(&run, w, 0, &parts[0].piece, arena);
    clf_weight_write(&run, w, N1, &parts[1].piece, arena);
    float image[K * PADDED];
    clf_read(&run, w.data, image);
    int wrong = 0;
    for (int n = 0; n < PADDED; n++) {
        for (int k = 0; k < K; k++) {
            const double expected = n < N1  ? parts[0].values[n * K + k]
                                    : n < N ? parts[1].values[(n - N1) * K + k]
                                            : 0;
            wrong += !is_close(weight_element(w, image, k, n), expected);
        }
    }
    CU_ASSERT_EQUAL(wrong, 0);
    CLF_ASSERT_OK(run.status);
    free_coded(&parts[0]);
    free_coded(&parts[1]);
}

static void check_table(clf_device *device, clf_arena *arena, clf_dtype dtype, int rows, int cols,
                        int scale_count) {
    clf_rng rng = {.state = 8};
    clf_run run = clf_run_begin(device);
    clf_arena_reset(arena);
    coded c = make_coded(&rng, dtype, rows, cols, scale_count, false);
    clf_tensor t = clf_arena_take(&run, arena, rows, cols, CLF_F32);
    clf_tensor_write_piece(&run, t, &c.piece, arena);
    float *image = malloc(sizeof *image * (size_t)(rows * cols));
    clf_read(&run, t, image);
    int wrong = 0;
    for (int i = 0; i < rows * cols; i++) wrong += !is_close(image[i], c.values[i]);
    CU_ASSERT_EQUAL(wrong, 0);
    CLF_ASSERT_OK(run.status);
    free(image);
    free_coded(&c);
}

static void pieces_on(clf_device *device) {
    static const clf_dtype dtypes[] = {CLF_F32, CLF_F16, CLF_BF16, CLF_I16, CLF_I8};
    clf_arena *arena = new_arena(device);
    for (int d = 0; d < 5; d++) {
        for (int scale_kind = 0; scale_kind < 3; scale_kind++) {
            check_weight(device, arena, dtypes[d], d % 2, scale_kind, false);
            check_weight(device, arena, dtypes[d], !(d % 2), scale_kind, true);
        }
        check_table(device, arena, dtypes[d], 1, 33, 1);
        check_table(device, arena, dtypes[d], 19, 17, 19);
        check_table(device, arena, dtypes[d], 17, 1, 0);
    }
    clf_arena_destroy(arena);
}

static void test_pieces(void) {
    clf_test_each_device(pieces_on);
}

// More than one upload slice: 3,000 rows of 8,000 int8 numbers are three of 8 MiB.
static void slices_on(clf_device *device) {
    enum { K = 8000, N = 3000 };
    clf_rng rng = {.state = 9};
    int8_t *data = malloc((size_t)K * N);
    float *scales = clf_rng_numbers(&rng, (size_t)N), *image = malloc(sizeof *image * K * (N + 8));
    for (size_t i = 0; i < (size_t)K * N; i++) data[i] = (int8_t)clf_rng_next(&rng);
    clf_arena *arena = new_arena(device);
    clf_run run = clf_run_begin(device);
    clf_weight w = clf_weight_take(&run, arena, K, N);
    const clf_piece piece = {
        .data = data, .dtype = CLF_I8, .rows = N, .cols = K, .scales = scales, .scale_count = N};
    clf_weight_write(&run, w, 0, &piece, arena);
    clf_read(&run, w.data, image);
    CLF_ASSERT_OK(run.status);
    size_t wrong = 0;
    for (int n = 0; n < N; n += 7) {
        for (int k = 0; k < K; k += 3) {
            const double expected = (double)data[(size_t)n * K + (size_t)k] * (double)scales[n];
            wrong += !is_close(weight_element(w, image, k, n), expected);
        }
    }
    CU_ASSERT_EQUAL(wrong, 0);
    clf_arena_destroy(arena);
    free(data), free(scales), free(image);
}

static void test_slices(void) {
    clf_test_each_device(slices_on);
}

static void misfits_on(clf_device *device) {
    clf_arena *arena = new_arena(device);
    const float data[64] = {0};
    const clf_piece good = {.data = data, .dtype = CLF_F32, .rows = 4, .cols = 3};
    for (int i = 0; i < 6; i++) {
        clf_run run = clf_run_begin(device);
        clf_weight w = clf_weight_take(&run, arena, 3, 5);
        clf_tensor x = clf_arena_take(&run, arena, 2, 3, CLF_F32);
        clf_tensor y = clf_arena_take(&run, arena, 2, 4, CLF_F32);
        clf_piece piece = good;
        if (i == 0) clf_weight_write(&run, w, 2, &piece, arena);
        piece.scale_count = 2;
        if (i == 1) clf_weight_write(&run, w, 0, &piece, arena);
        piece.scale_count = 0, piece.dtype = CLF_I32;
        if (i == 2) clf_weight_write(&run, w, 0, &piece, arena);
        piece.dtype = CLF_F32, piece.cols = 4;
        if (i == 3) clf_weight_write(&run, w, 0, &piece, arena);
        if (i == 4) clf_op_linear(&run, y, x, w, (clf_linear){0});
        if (i == 5) clf_op_gate(&run, y, x, CLF_ACT_SILU);
        CU_ASSERT_EQUAL(run.status, CLF_ERROR_ARGUMENT);
    }
    clf_arena_destroy(arena);
}

static void test_misfits(void) {
    clf_test_each_device(misfits_on);
}

// ---- gate ---------------------------------------------------------------------------------------

static void gate_on(clf_device *device) {
    static const int shapes[][2] = {{1, 1}, {3, 16}, {2, 37}, {5, 300}};
    clf_rng rng = {.state = 10};
    clf_arena *arena = new_arena(device);
    for (int i = 0; i < 4 * (CLF_ACT_SILU + 1); i++) {
        const int rows = shapes[i % 4][0], f = shapes[i % 4][1];
        const clf_activation activation = (clf_activation)(i / 4);
        float *x = clf_rng_numbers(&rng, (size_t)(rows * 2 * f)),
              *y = malloc(sizeof *y * (size_t)(rows * f));
        float *x_image, *y_image;
        clf_tensor x_whole, y_whole;
        clf_run run = clf_run_begin(device);
        clf_arena_reset(arena);
        clf_tensor tx = guarded(&run, arena, rows, 2 * f, x, &x_image, &x_whole);
        clf_tensor ty = guarded(&run, arena, rows, f, NULL, &y_image, &y_whole);
        clf_op_gate(&run, ty, tx, activation);
        CU_ASSERT_EQUAL(read_guarded(&run, y_whole, y_image, y), 0);
        CLF_ASSERT_OK(run.status);
        for (int j = 0; j < rows * f; j++) {
            const float *row = x + j / f * 2 * f;
            const double gate = ref_activate(activation, row[j % f]);
            CU_ASSERT_DOUBLE_EQUAL(y[j], gate * row[j % f + f], 4e-6);
        }
        free(x), free(y), free(x_image), free(y_image);
    }
    clf_arena_destroy(arena);
}

static void test_gate(void) {
    clf_test_each_device(gate_on);
}

// ---- timing -------------------------------------------------------------------------------------

static double seconds_of(clf_run *run, clf_gemm variant, clf_tensor y, clf_tensor x, clf_weight w) {
    double best = 1e9;
    for (int round = 0; round < 5; round++) {
        const int calls = round == 0 ? 1 : (int)(0.05 / best) + 1;
        clf_run_finish(run);
        const int64_t begin = clf_clock();
        for (int i = 0; i < calls; i++) clf_linear_run(run, variant, y, x, w, (clf_linear){0});
        clf_run_finish(run);
        const double seconds = 1e-9 * (double)(clf_clock() - begin) / calls;
        if (round == 0 || seconds < best) best = seconds;
    }
    return best;
}

static void bench_on(clf_device *device) {
    static const int ms[] = {1, 8, 32, 128, 1024};
    static const int shapes[][2] = {
        {512, 512}, {512, 1536}, {512, 2048}, {2048, 512}, {512, 32000}};
    clf_device_info info;
    clf_device_get_info(device, &info);
    printf("\n%s, lanes %d\n%-15s %6s %6s", info.name, clf_device_profile(device)->lanes, "GFLOP/s",
           "K", "N");
    for (int i = 0; i < 5; i++) printf("  M=%-5d", ms[i]);
    clf_arena *arena = new_arena(device);
    for (int v = 0; v < VARIANTS; v++) {
        for (int s = 0; s < 5; s++) {
            const int k = shapes[s][0], n = shapes[s][1];
            clf_run run = clf_run_begin(device);
            clf_arena_reset(arena);
            clf_tensor x = clf_arena_take(&run, arena, 1024, k, CLF_F32);
            clf_tensor y = clf_arena_take(&run, arena, 1024, n, CLF_F32);
            clf_weight w = clf_weight_take_layout(&run, arena, k, n, v != PANEL_PACKED);
            clf_fill_zero(&run, x);
            clf_fill_zero(&run, w.data);
            printf("\n%-15s %6d %6d", variant_names[v], k, n);
            for (int i = 0; i < 5; i++) {
                const double seconds =
                    seconds_of(&run, v == CLBLAST ? CLF_GEMM_CLBLAST : CLF_GEMM_PANEL,
                               clf_tensor_rows(y, 0, ms[i]), clf_tensor_rows(x, 0, ms[i]), w);
                printf("  %7.1f", 2e-9 * ms[i] * k * n / seconds);
                fflush(stdout);
            }
            CLF_ASSERT_OK(run.status);
        }
    }
    printf("\n");
    clf_arena_destroy(arena);
}

static void test_bench(void) {
    if (!clf_test_bench) {
        clf_test_skip("only with --bench");
        return;
    }
    clf_test_each_device(bench_on);
}

static const clf_test tests[] = {
    {"shapes", test_shapes},   {"epilogues", test_epilogues}, {"alone", test_alone},
    {"nan", test_nan},         {"pieces", test_pieces},       {"slices", test_slices},
    {"misfits", test_misfits}, {"gate", test_gate},           {"bench", test_bench},
};
CLF_TEST_MAIN("linear", tests)
