// SPDX-License-Identifier: MIT
// A hundred updates from the same first values with the same batches: losses, norms of the gradient
// and learning rates are those of PyTorch with transformers' MarianMTModel, see
// tests/golden/README.md.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "harness.h"
#include "translate/golden.h"

#include "train/batch.h"
#include "train/recipe.h"

// Relative. PyTorch's float32 and float64 differ by 2e-7 and 2e-6.
#define LOSS_TOLERANCE 1e-5
#define NORM_TOLERANCE 1e-4

enum { MAX_PAIRS = 16, MAX_ROWS = 256, V = 200 };

typedef struct curve {
    clf_run run;
    clf_model *model;
    clf_optimizer *optimizer;
    clf_arena *arena;
    golden_table expected, pairs;
    size_t next; // of the pairs
} curve;

static clf_config make_config(void) {
    const clf_stack_config stack = {
        .layers = 2, .heads = 4, .head_width = 16, .attention_scale = 0.25f, .ffn = 128};
    return (clf_config){.family = "test",
                        .width = 64,
                        .encoder = stack,
                        .decoder = stack,
                        .source_vocabulary = V,
                        .target_vocabulary = V,
                        .share_embeddings = true,
                        .tie_output = true,
                        .linear_bias = true,
                        .norm_bias = true,
                        .norm_epsilon = 1e-5f,
                        .activation = CLF_ACT_SILU,
                        .embedding_scale = 8,
                        .positions = CLF_POSITIONS_SINUSOIDAL,
                        .position_denominator = 32,
                        .max_positions = 32,
                        .start_token = V - 1,
                        .pad_token = V - 1};
}

static bool open_curve(curve *c, clf_device *device) {
    char directory[4096];
    const clf_config config = make_config();
    const clf_optimizer_options options = {
        .beta1 = 0.9f, .beta2 = 0.98f, .epsilon = 1e-9f, .clip = 1.5f};
    clf_initial *initial;
    snprintf(directory, sizeof directory, "%s", clf_test_golden("training"));
    *c = (curve){.run = clf_run_begin(device)};
    if (!golden_open(directory, "curve.tsv", &c->expected) ||
        !golden_open(directory, "curve-pairs.tsv", &c->pairs) ||
        !CLF_ASSERT_OK(clf_initial_create(&config, 1, &initial))) {
        return false;
    }
    const clf_status status =
        clf_model_create(device, &config, clf_initial_source(initial), 0, CLF_F32, &c->model);
    clf_initial_destroy(initial);
    return CLF_ASSERT_OK(status) &&
           CLF_ASSERT_OK(clf_optimizer_create(c->model, &options, &c->optimizer)) &&
           CLF_ASSERT_OK(clf_arena_create(device, "test", "nothing", &c->arena));
}

static void close_curve(curve *c) {
    CLF_ASSERT_OK(clf_run_finish(&c->run));
    clf_arena_destroy(c->arena);
    clf_optimizer_destroy(c->optimizer);
    clf_model_destroy(c->model);
    golden_close(&c->pairs);
    golden_close(&c->expected);
}

// The mean loss of a batch whose gradients were added.
static double pass(curve *c, const clf_tokens *sources, const clf_tokens *targets, int count,
                   int *rows) {
    float host[2 * MAX_ROWS] = {0};
    double sum = 0;
    const clf_pass_options options = {.label_smoothing = 0.1f};
    const clf_arena_mark mark = clf_arena_get_mark(c->arena);
    const clf_train_batch batch =
        clf_train_batch_upload(&c->run, c->model, c->arena, sources, targets, NULL, count);
    *rows = batch.target.rows;
    CU_ASSERT_FATAL(*rows > 0 && *rows <= MAX_ROWS);
    const clf_tensor losses = clf_arena_take(&c->run, c->arena, *rows, 2, CLF_F32);
    clf_train_pass(&c->run, c->model, clf_optimizer_gradients(c->optimizer), c->arena, &batch,
                   &options, losses);
    clf_read(&c->run, losses, host);
    clf_arena_rewind(c->arena, mark);
    for (int i = 0; i < *rows; i++) sum += (double)host[2 * i];
    return sum / *rows;
}

// The pass over the batch of an update.
static double pass_of(curve *c, int update, int *rows) {
    clf_ids ids[2 * MAX_PAIRS] = {0};
    clf_tokens sources[MAX_PAIRS], targets[MAX_PAIRS];
    int count = 0;
    for (; c->next < c->pairs.count && atoi(c->pairs.rows[c->next][0]) == update; count++) {
        CU_ASSERT_FATAL(count < MAX_PAIRS);
        char **row = c->pairs.rows[c->next++];
        clf_ids *pair = &ids[2 * count];
        for (int side = 0; side < 2; side++) golden_ids(row[1 + side], &pair[side]);
        sources[count] = (clf_tokens){pair[0].data, (int)pair[0].count};
        targets[count] = (clf_tokens){pair[1].data, (int)pair[1].count};
    }
    const double loss = pass(c, sources, targets, count, rows);
    for (int i = 0; i < 2 * count; i++) clf_array_free(&ids[i]);
    return loss;
}

// |value / expected - 1|, infinite if there is no such number.
static double distance(double value, const char *expected) {
    const double difference = fabs(value / strtod(expected, NULL) - 1);
    return isfinite(difference) ? difference : INFINITY;
}

static void follow(curve *c, size_t updates) {
    const clf_schedule schedule = {.kind = CLF_SCHEDULE_INVERSE_SQRT, .peak = 2e-3, .warmup = 20};
    double worst[3] = {0};
    CU_ASSERT_EQUAL(c->expected.count, 100);
    for (size_t i = 0; i < c->expected.count && i < updates; i++) {
        const int update = (int)i + 1;
        int rows = 0;
        const double loss = pass_of(c, update, &rows);
        const double norm = clf_optimizer_norm(&c->run, c->optimizer, 1.0 / rows);
        const double rate = clf_schedule_rate(&schedule, update);
        clf_optimizer_update(&c->run, c->optimizer, rate, 1.0 / rows, norm);
        const double values[] = {rate, norm, loss};
        for (int k = 0; k < 3; k++) {
            worst[k] = fmax(worst[k], distance(values[k], c->expected.rows[i][k]));
        }
    }
    const bool right = worst[0] <= 1e-8 && worst[1] <= NORM_TOLERANCE && worst[2] <= LOSS_TOLERANCE;
    if (!right || clf_test_bench) {
        printf("\n  rates differ by %.1e, norms by %.1e, losses by %.1e ", worst[0], worst[1],
               worst[2]);
    }
    CU_ASSERT(right);
}

static void on_device(clf_device *device) {
    curve c;
    clf_device_info info;
    clf_device_get_info(device, &info);
    // A software renderer takes minutes where others take seconds.
    if (open_curve(&c, device)) follow(&c, info.kind == CLF_DEVICE_EMULATOR ? 2 : 100);
    close_curve(&c);
}

static void test_curve(void) {
    clf_test_each_device(on_device);
}

static const clf_test tests[] = {{"curve", test_curve}};

CLF_TEST_MAIN("train-curve", tests)
