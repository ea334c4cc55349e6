// SPDX-License-Identifier: MIT
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "ops/backward.h"
#include "ops/opkit.h"

enum { MOST = 4096 };

// An index on the host.
typedef struct host_index {
    int rows[MOST], keys[MOST], first[MOST + 1];
    int row_count, key_count;
} host_index;

// The rows of each key in ascending order; key_of[r] < 0 leaves row r out.
static void index_build(host_index *index, const int *key_of, int rows, int keys) {
    index->row_count = index->key_count = 0;
    for (int key = 0; key < keys; key++) {
        const int begin = index->row_count;
        for (int r = 0; r < rows; r++) {
            if (key_of[r] == key) index->rows[index->row_count++] = r;
        }
        if (index->row_count == begin) continue;
        index->keys[index->key_count] = key;
        index->first[index->key_count++] = begin;
    }
    index->first[index->key_count] = index->row_count;
}

static clf_tensor put_numbers(opkit *kit, const int *numbers, int count) {
    clf_tensor t = clf_arena_take(&kit->run, kit->arena, 1, count, CLF_I32);
    clf_write(&kit->run, t, numbers);
    return t;
}

static clf_index index_put(opkit *kit, const host_index *index) {
    return (clf_index){.rows = put_numbers(kit, index->rows, index->row_count),
                       .keys = put_numbers(kit, index->keys, index->key_count),
                       .first = put_numbers(kit, index->first, index->key_count + 1)};
}

typedef struct shape {
    int rows, width, keys;
    int drawn; // keys that occur
    enum { PANELS, PLAIN, POSITIONS } layout;
    clf_dtype dtype;
} shape;

static size_t place(const shape *s, int key, int c) {
    const size_t panels = (size_t)(s->keys + 15) / 16;
    if (s->layout == POSITIONS) return (size_t)key * (size_t)s->width + (size_t)c;
    if (s->layout == PLAIN) return (size_t)c * panels * 16 + (size_t)key;
    return (size_t)(key / 16) * 16 * (size_t)s->width + (size_t)c * 16 + (size_t)key % 16;
}

// Adds to what is there; a sum of n rows is off by at most n roundings of its terms' magnitudes.
static void reference(double *expected, double *bound, const shape *s, const float *before,
                      const float *dy, const host_index *index, double scale, size_t size) {
    for (size_t i = 0; i < size; i++) expected[i] = (double)before[i], bound[i] = 0;
    for (int u = 0; u < index->key_count; u++) {
        for (int c = 0; c < s->width; c++) {
            const size_t at = place(s, index->keys[u], c);
            double sum = 0, size_sum = fabs(expected[at]);
            for (int i = index->first[u]; i < index->first[u + 1]; i++) {
                const double term = scale * (double)dy[index->rows[i] * s->width + c];
                sum += term, size_sum += fabs(term);
            }
            expected[at] += sum;
            bound[at] = FLT_EPSILON * size_sum * (index->first[u + 1] - index->first[u] + 1);
        }
    }
}

static void run_shape(clf_device *device, shape s) {
    static host_index index;
    static int key_of[MOST];
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    clf_rng rng = {(uint64_t)(s.rows + 7 * s.width)};
    // Few tokens are frequent and most are rare.
    for (int r = 0; r < s.rows; r++) {
        key_of[r] = (int)clf_rng_below(&rng, 1 + clf_rng_below(&rng, (uint32_t)s.drawn));
        key_of[r] = r % 11 == 10 ? -1 : s.keys - 1 - key_of[r];
    }
    index_build(&index, key_of, s.rows, s.keys);
    const bool positions = s.layout == POSITIONS;
    const int padded = positions ? s.keys : (s.keys + 15) / 16 * 16;
    const size_t size = (size_t)padded * (size_t)s.width;
    float *before = opkit_numbers(&rng, size, 1, 0), *out = malloc(sizeof *out * size);
    float *dy = opkit_numbers(&rng, (size_t)s.rows * (size_t)s.width, 1, 0);
    opkit_round(dy, (size_t)s.rows * (size_t)s.width, s.dtype);
    double *expected = malloc(sizeof *expected * size), *bound = malloc(sizeof *bound * size);
    const float scale = positions ? 1 : 22.627417f;
    reference(expected, bound, &s, before, dy, &index, (double)scale, size);

    opkit_guarded to = positions ? opkit_put(&kit, padded, s.width, CLF_F32, before)
                                 : opkit_put(&kit, 1, (int)size, CLF_F32, before);
    opkit_guarded rows = opkit_put(&kit, s.rows, s.width, s.dtype, dy);
    const bool panels = s.layout == PANELS;
    const clf_weight table = {.data = to.view,
                              .k = s.width,
                              .n = s.keys,
                              .panel_stride = panels ? 16 * (uint64_t)s.width : 16,
                              .row_stride = panels ? 16 : (uint64_t)padded};
    const clf_index on_device = index_put(&kit, &index);
    if (positions)
        clf_op_positions_backward(&kit.run, to.view, rows.view, on_device);
    else
        clf_op_embed_backward(&kit.run, table, rows.view, on_device, scale);
    opkit_get(&kit, &to, out);
    char what[64];
    snprintf(what, sizeof what, "layout %d, (%d, %d)", s.layout, s.rows, s.width);
    opkit_compare(what, out, expected, bound, size);
    opkit_drop(&rows);
    free(before), free(dy), free(out), free(expected), free(bound);
    opkit_finish(&kit);
}

static void shapes_on(clf_device *device) {
    static const int widths[] = {1, 3, 8, 17, 64, 100, 257}, rows[] = {1, 2, 40, 333};
    for (int turn = 0; turn < 28; turn++) {
        const int layout = turn % 3;
        const shape s = {rows[turn / 7], widths[turn % 7], 35 + turn, 1 + turn, layout, CLF_F32};
        run_shape(device, s);
    }
    run_shape(device, (shape){0, 5, 7, 1, PANELS, CLF_F32});
    run_shape(device, (shape){0, 5, 7, 1, POSITIONS, CLF_F32});
    run_shape(device, (shape){40, 17, 35, 9, PANELS, CLF_F16});
    run_shape(device, (shape){40, 64, 35, 9, PLAIN, CLF_F16});
    run_shape(device, (shape){40, 3, 7, 5, POSITIONS, CLF_F16});
}

static void test_shapes(void) {
    clf_test_each_device(shapes_on);
}

// A key that no row has, as a token outside the vocabulary, changes nothing.
static void keys_on(clf_device *device) {
    static const int rows[] = {0, 1, 2}, keys[] = {-1, 3, 7}, first[] = {0, 1, 2, 3};
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    float zeros[7 * 4] = {0}, ones[3 * 4], out[7 * 4];
    for (int i = 0; i < 12; i++) ones[i] = 1;
    opkit_guarded to = opkit_put(&kit, 7, 4, CLF_F32, zeros);
    opkit_guarded dy = opkit_put(&kit, 3, 4, CLF_F32, ones);
    const clf_index index = {put_numbers(&kit, rows, 3), put_numbers(&kit, keys, 3),
                             put_numbers(&kit, first, 4)};
    clf_op_positions_backward(&kit.run, to.view, dy.view, index);
    opkit_get(&kit, &to, out);
    for (int i = 0; i < 28; i++) CU_ASSERT_EQUAL(out[i], i / 4 == 3);
    opkit_drop(&dy);
    opkit_finish(&kit);
}

static void test_keys(void) {
    clf_test_each_device(keys_on);
}

static void bad_shapes_on(clf_device *device) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    clf_tensor dy = clf_arena_take(&kit.run, kit.arena, 2, 8, CLF_F32);
    clf_tensor two = clf_arena_take(&kit.run, kit.arena, 1, 2, CLF_I32);
    clf_index index = {.rows = two, .keys = two, .first = two};
    clf_weight table = {.data = dy, .k = 8, .n = 2, .panel_stride = 16, .row_stride = 2};
    clf_op_embed_backward(&kit.run, table, dy, index, 1);
    opkit_expect_argument_error(&kit, "embed_backward: the index's first is a (1, 2)");
    table.k = 7;
    clf_op_embed_backward(&kit.run, table, dy, index, 1);
    opkit_expect_argument_error(&kit, "embed_backward: dy");
    clf_op_positions_backward(&kit.run, clf_tensor_cols(dy, 0, 7), dy, index);
    opkit_expect_argument_error(&kit, "positions_backward: dpositions");
    opkit_finish(&kit);
}

static void test_bad_shapes(void) {
    clf_test_each_device(bad_shapes_on);
}

typedef struct bench {
    clf_weight table;
    clf_tensor dy, positions;
    clf_index index;
} bench;

static void launch_embed(clf_run *run, void *user) {
    const bench *b = user;
    clf_op_embed_backward(run, b->table, b->dy, b->index, 1);
}

static void launch_positions(clf_run *run, void *user) {
    const bench *b = user;
    clf_op_positions_backward(run, b->positions, b->dy, b->index);
}

static void bench_on(clf_device *device) {
    enum { V = 32000, C = 512, ROWS = 3500, PLACES = 40 };
    static host_index index;
    static int key_of[ROWS];
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    bench b = {.dy = clf_arena_take(&kit.run, kit.arena, ROWS, C, CLF_F32),
               .positions = clf_arena_take(&kit.run, kit.arena, PLACES, C, CLF_F32),
               .table = {.k = C, .n = V, .panel_stride = 16 * C, .row_stride = 16}};
    b.table.data = clf_arena_take(&kit.run, kit.arena, V, C, CLF_F32);
    clf_fill_zero(&kit.run, b.dy);
    clf_fill_zero(&kit.run, b.positions);
    clf_fill_zero(&kit.run, b.table.data);
    clf_rng rng = {1};
    // Zipf's law, about: the logarithm of a token's rank is uniform.
    for (int r = 0; r < ROWS; r++) {
        key_of[r] = (int)exp((double)clf_rng_uniform(&rng, 0, 1) * log(V)) - 1;
    }
    index_build(&index, key_of, ROWS, V);
    b.index = index_put(&kit, &index);
    char name[64];
    for (int plain = 0; plain < 2; plain++) {
        if (plain) b.table.panel_stride = 16, b.table.row_stride = V;
        snprintf(name, sizeof name, "embed (3500, 512), %d keys, %s", index.key_count,
                 plain ? "plain" : "panels");
        opkit_bench(&kit, name, 4.0 * C * (ROWS + 2.0 * index.key_count), 0, launch_embed, &b);
    }
    for (int r = 0; r < ROWS; r++) key_of[r] = r % PLACES;
    index_build(&index, key_of, ROWS, PLACES);
    b.index = index_put(&kit, &index);
    opkit_bench(&kit, "positions (3500, 512), 40 keys", 4.0 * C * ROWS, 0, launch_positions, &b);
    opkit_finish(&kit);
}

static void test_bench(void) {
    if (!clf_test_bench) return;
    clf_test_each_device(bench_on);
}

static const clf_test tests[] = {{"shapes", test_shapes},
                                 {"keys", test_keys},
                                 {"bad shapes", test_bad_shapes},
                                 {"bench", test_bench}};
CLF_TEST_MAIN("op-embed-backward", tests)
