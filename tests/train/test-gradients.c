// SPDX-License-Identifier: MIT
// Losses and the gradient of every parameter against PyTorch's, see tests/golden/README.md.
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "translate/golden.h"

#include "formats/format.h"
#include "formats/safetensors.h"
#include "formats/values.h"
#include "model/parts.h"
#include "train/batch.h"

// |difference| <= TOLERANCE * the largest |element| of the same parameter's gradient, or of the
// losses. PyTorch's own float32 keeps within 1e-5.
#define TOLERANCE 1e-4

enum { MAX_PAIRS = 8, MAX_ROWS = 64 };

// Tensors of a safetensors file whose names are a prefix and clformer's own.
typedef struct named {
    clf_store *store;
    const char *prefix;
} named;

static clf_status find(void *self, const clf_param *param, clf_piece pieces[CLF_MAX_PIECES],
                       int *count) {
    const named *n = self;
    char name[128];
    snprintf(name, sizeof name, "%s%s", n->prefix, param->name);
    clf_stored *tensor = clf_store_find(n->store, name);
    CU_ASSERT_PTR_NOT_NULL_FATAL(tensor);
    *count = 1;
    return clf_store_piece(tensor, param->rows, param->cols, true, &pieces[0]);
}

static void release(void *self, const clf_piece *piece) {
    (void)self;
    (void)piece;
}

static clf_param_source named_source(named *n) {
    return (clf_param_source){.self = n, .find = find, .release = release};
}

typedef struct bench {
    clf_run run;
    clf_arena *arena;
    clf_store store;
    golden_table table;
    clf_ids ids[2 * MAX_PAIRS];
    clf_tokens sources[MAX_PAIRS], targets[MAX_PAIRS];
    int pairs;
    clf_model *model, *gradients;
    clf_param *params;
    int count;
} bench;

static void read_pairs(bench *b, const char *directory) {
    CU_ASSERT_FATAL(golden_open(directory, "pairs.tsv", &b->table));
    b->pairs = (int)b->table.count;
    CU_ASSERT_FATAL(b->pairs > 0 && b->pairs <= MAX_PAIRS);
    for (int i = 0; i < b->pairs; i++) {
        clf_ids *ids = &b->ids[2 * i];
        for (int side = 0; side < 2; side++) golden_ids(b->table.rows[i][side], &ids[side]);
        b->sources[i] = (clf_tokens){ids[0].data, (int)ids[0].count};
        b->targets[i] = (clf_tokens){ids[1].data, (int)ids[1].count};
    }
}

// A model of tests/golden/ if `config` is NULL, else one whose weights are with its gradients.
static bool open_model(bench *b, clf_device *device, const char *name, const clf_config *config) {
    if (config) {
        named weights = {&b->store, "weight."};
        CLF_ASSERT_OK(clf_config_check(config, name));
        return CLF_ASSERT_OK(
            clf_model_create(device, config, named_source(&weights), 0, CLF_F32, &b->model));
    }
    clf_format *format;
    if (!CLF_ASSERT_OK(clf_format_open(clf_test_golden(name), &format))) return false;
    const clf_status status = clf_model_create(device, clf_format_config(format),
                                               clf_format_params(format), 0, CLF_F32, &b->model);
    clf_format_close(format);
    return CLF_ASSERT_OK(status);
}

static bool open_bench(bench *b, clf_device *device, const char *name, const clf_config *config) {
    char path[64], directory[4096];
    snprintf(path, sizeof path, "training/%s", name);
    snprintf(directory, sizeof directory, "%s", clf_test_golden(path));
    *b = (bench){.run = clf_run_begin(device)};
    read_pairs(b, directory);
    return CLF_ASSERT_OK(clf_safetensors_open(directory, &b->store)) &&
           CLF_ASSERT_OK(clf_store_sort(&b->store)) && open_model(b, device, name, config) &&
           CLF_ASSERT_OK(clf_model_create_like(b->model, &b->gradients)) &&
           CLF_ASSERT_OK(clf_arena_create(device, "test", "nothing", &b->arena)) &&
           CLF_ASSERT_OK(clf_params_list(clf_model_config(b->model), &b->params, &b->count));
}

static void close_bench(bench *b) {
    CLF_ASSERT_OK(clf_run_finish(&b->run));
    free(b->params);
    clf_arena_destroy(b->arena);
    clf_model_destroy(b->gradients);
    clf_model_destroy(b->model);
    clf_store_close(&b->store);
    for (int i = 0; i < 2 * b->pairs; i++) clf_array_free(&b->ids[i]);
    golden_close(&b->table);
}

static void clear_gradients(bench *b) {
    for (int g = 0; g < CLF_GROUPS; g++) {
        for (int i = 0; i < clf_arena_chunks(b->gradients->groups[g]); i++) {
            clf_fill_zero(&b->run, clf_arena_flat(b->gradients->groups[g], i));
        }
    }
}

// Adds the gradients of pairs [first, end) and writes their losses (rows, 2); returns the rows.
static int pass(bench *b, int first, int end, bool recompute, float *losses) {
    const clf_pass_options options = {.label_smoothing = 0.1f, .recompute = recompute};
    const clf_arena_mark mark = clf_arena_get_mark(b->arena);
    const clf_train_batch batch = clf_train_batch_upload(
        &b->run, b->model, b->arena, b->sources + first, b->targets + first, NULL, end - first);
    const clf_tensor rows = clf_arena_take(&b->run, b->arena, batch.target.rows, 2, CLF_F32);
    clf_train_pass(&b->run, b->model, b->gradients, b->arena, &batch, &options, rows);
    clf_read(&b->run, rows, losses);
    clf_arena_rewind(b->arena, mark);
    return rows.rows;
}

// ---- comparison ---------------------------------------------------------------------------------

// The largest difference over the largest expected element; infinite if something is no number.
static double compare(const float *values, const float *expected, size_t count) {
    double worst = 0, largest = 0;
    for (size_t i = 0; i < count; i++) {
        const double difference = fabs((double)values[i] - (double)expected[i]);
        if (!isfinite(difference)) return INFINITY;
        worst = fmax(worst, difference);
        largest = fmax(largest, fabs((double)expected[i]));
    }
    CU_ASSERT(largest > 0);
    return worst / fmax(largest, DBL_MIN);
}

static void check(const char *what, const char *name, double difference, double tolerance) {
    if (!(difference <= tolerance)) printf("\n  %s: %s differs by %g ", what, name, difference);
    CU_ASSERT(difference <= tolerance);
}

static void check_losses(bench *b, const char *what, const float *losses, int rows) {
    clf_stored *tensor = clf_store_find(&b->store, "losses");
    clf_piece piece;
    float expected[2 * MAX_ROWS];
    CU_ASSERT_PTR_NOT_NULL_FATAL(tensor);
    if (!CLF_ASSERT_OK(clf_store_piece(tensor, rows, 2, true, &piece))) return;
    memcpy(expected, piece.data, (size_t)rows * 2 * sizeof *expected);
    check(what, "the loss", compare(losses, expected, (size_t)rows * 2), TOLERANCE);
}

static void check_gradients(bench *b, const char *what) {
    named n = {&b->store, "gradient."};
    clf_param_source source = named_source(&n);
    const clf_values reference = clf_values_of_source(&source);
    double worst = 0;
    for (int i = 0; i < b->count; i++) {
        const clf_param *param = &b->params[i];
        const size_t count = (size_t)param->rows * (size_t)param->cols;
        float *values = malloc(2 * count * sizeof *values), *expected = values + count;
        CU_ASSERT_PTR_NOT_NULL_FATAL(values);
        CLF_ASSERT_OK(reference.read(reference.self, param, expected));
        clf_model_read(&b->run, b->gradients, param, values, b->arena);
        const double difference = compare(values, expected, count);
        check(what, param->name, difference, TOLERANCE);
        worst = fmax(worst, difference);
        free(values);
    }
    if (clf_test_bench) printf("\n  %-30s worst gradient off by %.1e ", what, worst);
}

// The whole batch at once, with layers computed again, and as two micro-batches that add up.
static void check_case(clf_device *device, const char *name, const clf_config *config) {
    static const char *const ways[] = {"at once", "recomputed", "in two parts"};
    bench b;
    if (!open_bench(&b, device, name, config)) return;
    for (int way = 0; way < 3; way++) {
        float losses[2 * MAX_ROWS];
        char what[64];
        snprintf(what, sizeof what, "%s %s", name, ways[way]);
        const int cut = way == 2 ? b.pairs / 2 : b.pairs;
        int rows = pass(&b, 0, cut, way == 1, losses);
        if (cut < b.pairs) rows += pass(&b, cut, b.pairs, false, losses + 2 * rows);
        check_losses(&b, what, losses, rows);
        check_gradients(&b, what);
        clear_gradients(&b);
    }
    close_bench(&b);
}

// ---- cases --------------------------------------------------------------------------------------

static void on_marian(clf_device *device) {
    static const char *const names[] = {"marian-odd", "marian-bias", "marian-separate",
                                        "marian-untied", "marian-heads"};
    clf_device_info info;
    clf_device_get_info(device, &info);
    // A software renderer takes minutes where others take seconds.
    const int count = info.kind == CLF_DEVICE_EMULATOR ? 1 : 5;
    for (int i = 0; i < count; i++) check_case(device, names[i], NULL);
}

// The models that make_training.py calls by these names.
static void on_prenorm(clf_device *device) {
    const clf_config config = {
        .family = "test",
        .width = 20,
        .encoder = {.layers = 2, .heads = 4, .head_width = 5, .attention_scale = 0.45f, .ffn = 24},
        .decoder = {.layers = 1, .heads = 2, .head_width = 10, .attention_scale = 0.3f, .ffn = 37},
        .source_vocabulary = 33,
        .target_vocabulary = 33,
        .share_embeddings = true,
        .tie_output = true,
        .linear_bias = true,
        .pre_norm = true,
        .final_norm = true,
        .norm_bias = true,
        .norm_epsilon = 1e-5f,
        .activation = CLF_ACT_RELU,
        .embedding_scale = sqrtf(20),
        .positions = CLF_POSITIONS_SINUSOIDAL,
        .position_denominator = 10,
        .max_positions = 16,
        .start_token = 5,
        .pad_token = 5};
    check_case(device, "prenorm", &config);
}

static void on_learned(clf_device *device) {
    const clf_stack_config stack = {
        .layers = 1, .heads = 2, .head_width = 8, .attention_scale = 0.35f, .ffn = 32};
    clf_config config = {.family = "test",
                         .width = 16,
                         .encoder = stack,
                         .decoder = stack,
                         .source_vocabulary = 31,
                         .target_vocabulary = 29,
                         .output_bias = true,
                         .linear_bias = true,
                         .norm_bias = true,
                         .norm_epsilon = 1e-5f,
                         .activation = CLF_ACT_GELU,
                         .embedding_scale = 1,
                         .positions = CLF_POSITIONS_LEARNED,
                         .position_offset = 2,
                         .max_positions = 16,
                         .start_token = 28,
                         .pad_token = 28};
    config.decoder.layers = 2;
    check_case(device, "learned", &config);
}

static void on_rms(clf_device *device) {
    const clf_config config = {
        .family = "test",
        .width = 18,
        .encoder = {.layers = 1, .heads = 3, .head_width = 4, .attention_scale = 0.5f, .ffn = 20},
        .decoder = {.layers = 1, .heads = 2, .head_width = 8, .attention_scale = 0.4f, .ffn = 20},
        .source_vocabulary = 30,
        .target_vocabulary = 30,
        .share_embeddings = true,
        .pre_norm = true,
        .final_norm = true,
        .norm = CLF_NORM_RMS,
        .norm_epsilon = 1e-5f,
        .activation = CLF_ACT_SILU,
        .embedding_scale = 4,
        .positions = CLF_POSITIONS_SINUSOIDAL,
        .position_denominator = 9,
        .max_positions = 16,
        .start_token = -1,
        .pad_token = -1};
    check_case(device, "rms", &config);
}

static void test_marian(void) {
    clf_test_each_device(on_marian);
}
static void test_prenorm(void) {
    clf_test_each_device(on_prenorm);
}
static void test_learned(void) {
    clf_test_each_device(on_learned);
}
static void test_rms(void) {
    clf_test_each_device(on_rms);
}

static const clf_test tests[] = {{"marian", test_marian},
                                 {"prenorm", test_prenorm},
                                 {"learned", test_learned},
                                 {"rms", test_rms}};

CLF_TEST_MAIN("train-gradients", tests)
