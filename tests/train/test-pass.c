// SPDX-License-Identifier: MIT
// Gradients of whole models against finite differences: in the direction of the gradient plus a
// random one, parameter by parameter.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"

#include "base/rng.h"
#include "model/parts.h"
#include "train/batch.h"
#include "train/buckets.h"
#include "train/recipe.h"

enum { V = 37, PAIRS = 3, STEP = 7 };

typedef struct bench {
    clf_run run;
    clf_arena *arena;
    clf_model *model, *gradients;
    clf_train_batch batch;
    clf_pass_options options;
    clf_tensor losses;
    int rows;
} bench;

static const int32_t source_ids[] = {5, 9, 0, 11, 5, 7, 3, 0, 0};
static const int32_t target_ids[] = {2, 0, 8, 9, 30, 8, 0, 35, 20, 0};
static const int source_lengths[PAIRS] = {3, 5, 1}, target_lengths[PAIRS] = {2, 5, 3};

static clf_config make_config(void) {
    const clf_stack_config stack = {
        .layers = 2, .heads = 2, .head_width = 8, .attention_scale = 0.35f, .ffn = 24};
    return (clf_config){.family = "test",
                        .width = 16,
                        .encoder = stack,
                        .decoder = stack,
                        .source_vocabulary = V,
                        .target_vocabulary = V,
                        .share_embeddings = true,
                        .tie_output = true,
                        .linear_bias = true,
                        .norm_bias = true,
                        .norm = CLF_NORM_LAYER,
                        .norm_epsilon = 1e-5f,
                        .activation = CLF_ACT_SILU,
                        .embedding_scale = 4,
                        .positions = CLF_POSITIONS_SINUSOIDAL,
                        .position_denominator = 8,
                        .max_positions = 16,
                        .start_token = V - 1,
                        .pad_token = V - 1};
}

static void open_bench(bench *b, clf_device *device, const clf_config *config,
                       clf_pass_options options) {
    *b = (bench){.run = clf_run_begin(device), .options = options, .rows = 10};
    clf_initial *initial = NULL;
    CLF_ASSERT_OK(clf_initial_create(config, 3, &initial));
    CLF_ASSERT_OK(
        clf_model_create(device, config, clf_initial_source(initial), 0, CLF_F32, &b->model));
    clf_initial_destroy(initial);
    CLF_ASSERT_OK(clf_model_create_like(b->model, &b->gradients));
    CLF_ASSERT_OK(clf_arena_create(device, "test", "nothing", &b->arena));
    clf_tokens sources[PAIRS], targets[PAIRS];
    for (int i = 0, s = 0, t = 0; i < PAIRS; s += source_lengths[i], t += target_lengths[i], i++) {
        sources[i] = (clf_tokens){source_ids + s, source_lengths[i]};
        targets[i] = (clf_tokens){target_ids + t, target_lengths[i]};
    }
    b->batch = clf_train_batch_upload(&b->run, b->model, b->arena, sources, targets, NULL, PAIRS);
    b->losses = clf_arena_take(&b->run, b->arena, b->rows, 2, CLF_F32);
}

static void close_bench(bench *b) {
    CLF_ASSERT_OK(clf_run_finish(&b->run));
    clf_arena_destroy(b->arena);
    clf_model_destroy(b->gradients);
    clf_model_destroy(b->model);
}

static double total_loss(bench *b, clf_model *gradients) {
    float rows[2 * 10];
    clf_train_pass(&b->run, b->model, gradients, b->arena, &b->batch, &b->options, b->losses);
    clf_read(&b->run, b->losses, rows);
    double sum = 0;
    for (int i = 0; i < b->rows; i++) sum += rows[2 * i];
    return sum;
}

static float *read_param(bench *b, clf_model *model, const clf_param *param) {
    float *data = malloc((size_t)param->rows * (size_t)param->cols * sizeof *data);
    clf_model_read(&b->run, model, param, data, b->arena);
    return data;
}

static void check_param(bench *b, const clf_param *param) {
    const size_t count = (size_t)param->rows * (size_t)param->cols;
    float *value = read_param(b, b->model, param), *g = read_param(b, b->gradients, param);
    float *moved = malloc(count * sizeof *moved);
    double norm = 0, expected = 0;
    for (size_t i = 0; i < count; i++) norm += (double)g[i] * (double)g[i];
    norm = sqrt(norm);
    clf_rng rng = {count};
    double *direction = malloc(count * sizeof *direction);
    for (size_t i = 0; i < count; i++) {
        direction[i] =
            (norm > 0 ? (double)g[i] / norm : 0) + clf_rng_normal(&rng) / sqrt((double)count);
        // The padding row takes no part in training.
        const bool padding = param->kind == CLF_PARAM_EMBEDDING || param->kind == CLF_PARAM_OUTPUT;
        if (padding && i / (size_t)param->cols == V - 1) direction[i] = 0;
        expected += direction[i] * (double)g[i];
    }
    const double step = norm > 1 ? 0.02 / norm : 0.02;
    double loss[2];
    for (int side = 0; side < 2; side++) {
        const double h = side ? step : -step;
        for (size_t i = 0; i < count; i++) moved[i] = (float)((double)value[i] + h * direction[i]);
        clf_model_write(&b->run, b->model, param, moved, b->arena);
        loss[side] = total_loss(b, NULL);
    }
    clf_model_write(&b->run, b->model, param, value, b->arena);
    const double measured = (loss[1] - loss[0]) / (2 * step);
    if (!(fabs(measured - expected) <= 0.01 * fabs(expected) + 0.002 * norm + 1e-3)) {
        fprintf(stderr, "%s: gradient %g along the direction, measured %g\n", param->name, expected,
                measured);
        CU_FAIL("a gradient differs from finite differences");
    }
    free(direction);
    free(moved);
    free(value);
    free(g);
}

static void check_model(clf_device *device, const clf_config *config, clf_pass_options options) {
    bench b;
    open_bench(&b, device, config, options);
    clf_param *params = NULL;
    int count = 0;
    CLF_ASSERT_OK(clf_params_list(config, &params, &count));
    const double loss = total_loss(&b, b.gradients);
    CU_ASSERT_TRUE(isfinite(loss) && loss > 1);
    for (int i = 0; i < count && b.run.status == CLF_OK; i++) check_param(&b, &params[i]);
    free(params);
    close_bench(&b);
}

// ---- tests ----

static void on_post_norm(clf_device *device) {
    const clf_config config = make_config();
    check_model(device, &config, (clf_pass_options){.label_smoothing = 0.1f});
}

static void on_pre_norm(clf_device *device) {
    clf_config config = make_config();
    config.pre_norm = config.final_norm = true;
    config.positions = CLF_POSITIONS_LEARNED;
    config.activation = CLF_ACT_GELU;
    check_model(device, &config, (clf_pass_options){0});
}

static void on_separate(clf_device *device) {
    clf_config config = make_config();
    config.share_embeddings = config.tie_output = false;
    config.output_bias = true;
    config.linear_bias = config.norm_bias = false;
    config.norm = CLF_NORM_RMS;
    config.decoder.layers = 1;
    config.decoder.heads = 4;
    config.decoder.head_width = 4;
    check_model(device, &config, (clf_pass_options){.label_smoothing = 0.2f});
}

static const clf_pass_options with_dropout = {.dropout = 0.2f,
                                              .attention_dropout = 0.1f,
                                              .activation_dropout = 0.3f,
                                              .label_smoothing = 0.1f,
                                              .seed = 1234567890123,
                                              .step = STEP};

static void on_dropout(clf_device *device) {
    clf_config config = make_config();
    check_model(device, &config, with_dropout);
    config.pre_norm = config.final_norm = true;
    check_model(device, &config, with_dropout);
}

// Computing layers again gives the same bits.
static void on_recompute(clf_device *device) {
    for (int pre = 0; pre < 2; pre++) {
        clf_config config = make_config();
        config.pre_norm = config.final_norm = pre;
        clf_param *params = NULL;
        int count = 0;
        CLF_ASSERT_OK(clf_params_list(&config, &params, &count));
        bench b[2];
        double loss[2];
        for (int i = 0; i < 2; i++) {
            clf_pass_options options = with_dropout;
            options.recompute = i == 1;
            open_bench(&b[i], device, &config, options);
            loss[i] = total_loss(&b[i], b[i].gradients);
        }
        CU_ASSERT_EQUAL(loss[0], loss[1]);
        for (int i = 0; i < count; i++) {
            const size_t size = (size_t)params[i].rows * (size_t)params[i].cols * sizeof(float);
            float *x = read_param(&b[0], b[0].gradients, &params[i]);
            float *y = read_param(&b[1], b[1].gradients, &params[i]);
            CU_ASSERT_EQUAL(memcmp(x, y, size), 0);
            free(x);
            free(y);
        }
        free(params);
        for (int i = 0; i < 2; i++) close_bench(&b[i]);
    }
}

// What the pass called complete, as it was then.
typedef struct early {
    const clf_config *config;
    clf_bucket *buckets;
    int count, done;
    float *data[64];
} early;

static void read_early(void *user, clf_run *run, clf_side side, int layer) {
    early *e = user;
    const int stage = clf_bucket_stage(e->config, side, layer);
    for (; e->done < e->count && e->buckets[e->done].stage <= stage; e->done++) {
        e->data[e->done] = calloc((size_t)e->buckets[e->done].range.cols, sizeof(float));
        clf_read(run, e->buckets[e->done].range, e->data[e->done]);
    }
}

// How often each number of a chunk is in a bucket.
static void check_cover(const early *e, clf_tensor flat) {
    char *times = calloc((size_t)flat.cols, 1);
    for (int i = 0; i < e->count; i++) {
        const clf_tensor range = e->buckets[i].range;
        if (range.chunk != flat.chunk) continue;
        for (int k = 0; k < range.cols; k++) times[range.offset + (uint64_t)k]++;
    }
    int wrong = 0;
    for (int k = 0; k < flat.cols; k++) wrong += times[k] != 1;
    CU_ASSERT_EQUAL(wrong, 0);
    free(times);
}

// Buckets cover each gradient once and are complete when the pass says so.
static void check_ready(clf_device *device, const clf_config *config, bool recompute, int floats) {
    bench b;
    early e = {.config = config};
    clf_pass_options options = with_dropout;
    options.recompute = recompute;
    options.ready = read_early;
    options.user = &e;
    open_bench(&b, device, config, options);
    CLF_ASSERT_OK(clf_buckets_list(b.gradients, floats, &e.buckets, &e.count));
    CU_ASSERT_FATAL(e.count <= 64);
    for (int i = 0; i < CLF_GROUPS; i++) {
        for (int chunk = 0; chunk < clf_arena_chunks(b.gradients->groups[i]); chunk++)
            check_cover(&e, clf_arena_flat(b.gradients->groups[i], chunk));
    }
    total_loss(&b, b.gradients);
    CU_ASSERT_EQUAL(e.done, e.count);
    for (int i = 0; i < e.done; i++) {
        const clf_tensor range = e.buckets[i].range;
        float *late = malloc((size_t)range.cols * sizeof *late);
        clf_read(&b.run, range, late);
        CU_ASSERT(range.cols <= floats);
        CU_ASSERT_EQUAL(memcmp(late, e.data[i], (size_t)range.cols * sizeof *late), 0);
        free(late);
        free(e.data[i]);
    }
    free(e.buckets);
    close_bench(&b);
}

static void on_ready(clf_device *device) {
    clf_config config = make_config();
    check_ready(device, &config, false, 900);
    config.pre_norm = config.final_norm = true;
    config.positions = CLF_POSITIONS_LEARNED;
    check_ready(device, &config, true, 1 << 20);
    config.share_embeddings = config.tie_output = false;
    config.output_bias = true;
    check_ready(device, &config, false, 1000);
}

// The difference of two gradients of a parameter and the size of the first, as norms; the second
// is `scale` times too large.
static double compare_gradients(const float *x, const float *y, size_t count, double scale,
                                double *size) {
    double difference = 0, squares = 0;
    for (size_t i = 0; i < count; i++) {
        const double d = (double)y[i] / scale - (double)x[i];
        difference += d * d;
        squares += (double)x[i] * (double)x[i];
    }
    *size = sqrt(squares);
    return sqrt(difference);
}

// A pass in half against one in float, of weights that half can hold: some thirty roundings of
// 2^-11 lie between loss and gradient, and differences of rounded numbers.
static void check_half(clf_device *device, const clf_config *config, clf_pass_options options) {
    enum { SCALE = 256 };
    bench b[2];
    double loss[2];
    clf_model *half = NULL;
    for (int i = 0; i < 2; i++) open_bench(&b[i], device, config, options);
    CLF_ASSERT_OK(clf_model_create_half(b[1].model, &half));
    clf_model_round(&b[1].run, half, b[1].model);
    CU_ASSERT_TRUE(clf_model_device_bytes(half) < clf_model_device_bytes(b[1].model));
    loss[0] = total_loss(&b[0], b[0].gradients);
    clf_model *master = b[1].model;
    b[1].model = half;
    b[1].options.loss_scale = SCALE;
    b[1].options.recompute = config->pre_norm;
    loss[1] = total_loss(&b[1], b[1].gradients);
    b[1].model = master;
    CU_ASSERT_TRUE(fabs(loss[1] - loss[0]) <= 0.003 * loss[0]);

    clf_param *params = NULL;
    int count = 0, wrong = 0;
    CLF_ASSERT_OK(clf_params_list(config, &params, &count));
    for (int i = 0; i < count; i++) {
        const size_t size = (size_t)params[i].rows * (size_t)params[i].cols;
        float *x = read_param(&b[0], b[0].gradients, &params[i]);
        float *y = read_param(&b[1], b[1].gradients, &params[i]);
        double norm;
        const double difference = compare_gradients(x, y, size, SCALE, &norm);
        if (!(difference <= 0.01 * norm + 0.002)) {
            fprintf(stderr, "%s: the gradient of norm %g differs by %g in half\n", params[i].name,
                    norm, difference);
            wrong++;
        }
        free(x);
        free(y);
    }
    CU_ASSERT_EQUAL(wrong, 0);
    free(params);
    CLF_ASSERT_OK(clf_run_finish(&b[1].run));
    clf_model_destroy(half);
    for (int i = 0; i < 2; i++) close_bench(&b[i]);
}

static void on_half(clf_device *device) {
    clf_config config = make_config();
    check_half(device, &config, with_dropout);
    config.pre_norm = config.final_norm = true;
    config.share_embeddings = config.tie_output = false;
    config.positions = CLF_POSITIONS_LEARNED;
    check_half(device, &config, (clf_pass_options){.label_smoothing = 0.1f});
}

static void test_post_norm(void) {
    clf_test_each_device(on_post_norm);
}
static void test_pre_norm(void) {
    clf_test_each_device(on_pre_norm);
}
static void test_separate(void) {
    clf_test_each_device(on_separate);
}
static void test_dropout(void) {
    clf_test_each_device(on_dropout);
}
static void test_recompute(void) {
    clf_test_each_device(on_recompute);
}
static void test_ready(void) {
    clf_test_each_device(on_ready);
}

static void test_half(void) {
    clf_test_each_device(on_half);
}

static const clf_test tests[] = {
    {"post-norm", test_post_norm}, {"pre-norm", test_pre_norm},   {"separate", test_separate},
    {"dropout", test_dropout},     {"recompute", test_recompute}, {"half", test_half},
    {"ready", test_ready},
};

CLF_TEST_MAIN("train-pass", tests)
