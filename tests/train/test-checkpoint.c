// SPDX-License-Identifier: MIT
// Checkpoints: saved and loaded bit for bit, damaged ones refused, directories kept tidy.
#include "harness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/rng.h"
#include "model/parts.h"
#include "train/checkpoint.h"

// Small, with every kind of parameter but positions.
static const clf_config config = {
    .family = "test",
    .width = 6,
    .encoder = {.layers = 1, .heads = 2, .head_width = 3, .attention_scale = 0.5f, .ffn = 5},
    .decoder = {.layers = 1, .heads = 2, .head_width = 3, .attention_scale = 0.5f, .ffn = 7},
    .source_vocabulary = 11,
    .target_vocabulary = 13,
    .output_bias = true,
    .linear_bias = true,
    .norm_bias = true,
    .norm_epsilon = 1e-5f,
    .activation = CLF_ACT_RELU,
    .embedding_scale = 1,
    .positions = CLF_POSITIONS_NONE,
    .max_positions = 16,
    .start_token = 12,
    .pad_token = 12,
};

static const clf_train_state some_state = {
    .updates = 1234,
    .skipped = 3,
    .passes = 0xfedcba9876543210u,
    .position = {.epoch = 7, .batch = 1u << 31},
    .source_tokens = 1ull << 40,
    .target_tokens = 99,
    .best = 1.0 / 3,
    .best_update = -1,
    .since_best = 2,
    .loss_scale = 16384.1f,
    .recipe = "0123456789abcdef0123456789abcdef",
};

static clf_status find_random(void *self, const clf_param *param, clf_piece pieces[CLF_MAX_PIECES],
                              int *count) {
    static float data[1024];
    clf_rng *rng = self;
    int size = param->rows * param->cols;
    for (int i = 0; i < size; i++) data[i] = clf_rng_uniform(rng, -1, 1);
    data[0] = -0.0f;
    pieces[0] =
        (clf_piece){.data = data, .dtype = CLF_F32, .rows = param->rows, .cols = param->cols};
    *count = 1;
    return CLF_OK;
}

static void release_nothing(void *self, const clf_piece *piece) {
    (void)self, (void)piece;
}

static clf_model *random_model(clf_device *device, uint64_t seed) {
    clf_rng rng = {seed};
    clf_param_source source = {.self = &rng, .find = find_random, .release = release_nothing};
    clf_model *model = NULL;
    CLF_ASSERT_OK(clf_model_create(device, &config, source, 0, CLF_F32, &model));
    return model;
}

// A training: a model and an optimizer with random moments.
typedef struct training {
    clf_model *model;
    clf_optimizer *optimizer;
    clf_arena *staging;
    clf_param *params;
    int count;
} training;

static void fill(clf_device *device, training *t, clf_model *to, uint64_t seed) {
    clf_run run = clf_run_begin(device);
    clf_rng rng = {seed};
    for (int i = 0; to && i < t->count; i++) {
        clf_piece pieces[CLF_MAX_PIECES];
        int count;
        find_random(&rng, &t->params[i], pieces, &count);
        clf_model_write(&run, to, &t->params[i], pieces[0].data, t->staging);
    }
    CLF_ASSERT_OK(clf_run_finish(&run));
}

static bool open_training(clf_device *device, uint64_t seed, float average, training *t) {
    const clf_optimizer_options options = {
        .beta1 = 0.9f, .beta2 = 0.98f, .epsilon = 1e-9f, .average = average};
    *t = (training){.model = random_model(device, seed)};
    if (!t->model || !CLF_ASSERT_OK(clf_optimizer_create(t->model, &options, &t->optimizer)) ||
        !CLF_ASSERT_OK(clf_arena_create(device, "the test", "nothing", &t->staging)) ||
        !CLF_ASSERT_OK(clf_params_list(&config, &t->params, &t->count))) {
        return false;
    }
    for (int i = 0; i < 3; i++) {
        fill(device, t, clf_optimizer_state(t->optimizer, i), seed + 1 + (uint64_t)i);
    }
    return true;
}

static void close_training(training *t) {
    clf_optimizer_destroy(t->optimizer);
    clf_model_destroy(t->model);
    clf_arena_destroy(t->staging);
    free(t->params);
}

static void read_values(clf_device *device, training *t, clf_model *model, int param,
                        float values[1024]) {
    clf_run run = clf_run_begin(device);
    clf_model_read(&run, model, &t->params[param], values, t->staging);
    CLF_ASSERT_OK(clf_run_finish(&run));
}

static bool same_bits(clf_device *device, training *a, clf_model *x, training *b, clf_model *y) {
    float p[1024], q[1024];
    for (int i = 0; i < a->count; i++) {
        read_values(device, a, x, i, p);
        read_values(device, b, y, i, q);
        size_t size = (size_t)a->params[i].rows * (size_t)a->params[i].cols * sizeof(float);
        if (memcmp(p, q, size) != 0) return false;
    }
    return true;
}

static void check_same(clf_device *device, training *a, training *b) {
    CU_ASSERT(same_bits(device, a, a->model, b, b->model));
    for (int i = 0; i < 3; i++) {
        clf_model *x = clf_optimizer_state(a->optimizer, i);
        clf_model *y = clf_optimizer_state(b->optimizer, i);
        CU_ASSERT(!x == !y);
        if (x && y) CU_ASSERT(same_bits(device, a, x, b, y));
    }
}

static void check_state(const clf_train_state *a, const clf_train_state *b) {
    CU_ASSERT_EQUAL(a->updates, b->updates);
    CU_ASSERT_EQUAL(a->skipped, b->skipped);
    CU_ASSERT_EQUAL(a->passes, b->passes);
    CU_ASSERT_EQUAL(a->position.epoch, b->position.epoch);
    CU_ASSERT_EQUAL(a->position.batch, b->position.batch);
    CU_ASSERT_EQUAL(a->source_tokens, b->source_tokens);
    CU_ASSERT_EQUAL(a->target_tokens, b->target_tokens);
    CU_ASSERT(a->best == b->best || (isnan(a->best) && isnan(b->best)));
    CU_ASSERT_EQUAL(a->best_update, b->best_update);
    CU_ASSERT_EQUAL(a->since_best, b->since_best);
    CU_ASSERT_EQUAL(a->loss_scale, b->loss_scale);
    CU_ASSERT_STRING_EQUAL(a->recipe, b->recipe);
}

static const char *path_of(const char *name) {
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", clf_test_directory(), name);
    return path;
}

// `average`: with an average of the weights.
static void round_trip(clf_device *device, float average) {
    training a, b;
    clf_train_state state = some_state, loaded = {0};
    if (average == 0) state.best = NAN;
    if (open_training(device, 1, average, &a) && open_training(device, 100, average, &b)) {
        const char *path = path_of("round.safetensors");
        CU_ASSERT(!same_bits(device, &a, a.model, &b, b.model));
        CLF_ASSERT_OK(clf_checkpoint_save(path, a.model, a.optimizer, &state));
        CLF_ASSERT_OK(clf_checkpoint_load(path, b.model, b.optimizer, &loaded));
        check_same(device, &a, &b);
        check_state(&state, &loaded);
        CU_ASSERT_EQUAL(clf_optimizer_updates(b.optimizer), 1234);
    }
    close_training(&a);
    close_training(&b);
}

static void round_trips(clf_device *device) {
    round_trip(device, 0);
    round_trip(device, 0.001f);
}

static void test_round_trip(void) {
    clf_test_each_device(round_trips);
}

static void write_plain(const char *path, const char *data, size_t size) {
    FILE *file = fopen(path, "wb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    CU_ASSERT_EQUAL(fwrite(data, 1, size, file), size);
    CU_ASSERT_EQUAL(fclose(file), 0);
}

// True if loading fails as it should and leaves the training alone.
static bool refused(const char *path, training *t) {
    clf_train_state loaded = {.updates = -5};
    clf_status status = clf_checkpoint_load(path, t->model, t->optimizer, &loaded);
    if (status != CLF_ERROR_FORMAT && status != CLF_ERROR_UNSUPPORTED) return false;
    return strstr(clf_last_error(), path) && loaded.updates == -5;
}

// Every length short of the whole and a change of every byte. Only changes of what means nothing,
// such as the blanks after the header, may pass, and then all values are right.
static void damage(clf_device *device) {
    static bool done;
    training a, b;
    char *data = NULL, path[4096];
    size_t size = 0;
    if (done) return;
    done = true;
    snprintf(path, sizeof path, "%s", path_of("damaged.safetensors"));
    if (!open_training(device, 1, 0, &a) || !open_training(device, 50, 0, &b)) goto done;
    CLF_ASSERT_OK(clf_checkpoint_save(path, a.model, a.optimizer, &some_state));
    CLF_ASSERT_OK(clf_file_read(path, 1 << 20, &data, &size));
    for (size_t n = 0; n < size; n += n < size - 64 ? 37 : 1) {
        write_plain(path, data, n);
        if (!refused(path, &b)) CU_FAIL("a truncated checkpoint was taken");
    }
    size_t header = 8 + (size_t)(unsigned char)data[0] + ((size_t)(unsigned char)data[1] << 8);
    int passed = 0;
    for (size_t i = 0; i < size; i += i < header + 100 ? 1 : 11) {
        data[i] ^= 1 << i % 8;
        write_plain(path, data, size);
        if (!refused(path, &b)) {
            clf_train_state loaded;
            CLF_ASSERT_OK(clf_checkpoint_load(path, b.model, b.optimizer, &loaded));
            check_state(&loaded, &some_state);
            check_same(device, &a, &b);
            CU_ASSERT(i < header);
            passed++;
        }
        data[i] ^= 1 << i % 8;
    }
    CU_ASSERT(passed < 16);
done:
    free(data);
    close_training(&a);
    close_training(&b);
}

static void test_damage(void) {
    clf_test_each_device(damage);
}

// A checkpoint of another training.
static void mismatch(clf_device *device) {
    training a, b;
    char path[4096];
    snprintf(path, sizeof path, "%s", path_of("other.safetensors"));
    if (open_training(device, 1, 0, &a) && open_training(device, 50, 0.5f, &b)) {
        CLF_ASSERT_OK(clf_checkpoint_save(path, a.model, a.optimizer, &some_state));
        CU_ASSERT(refused(path, &b));
        CLF_ASSERT_OK(clf_checkpoint_save(path, b.model, b.optimizer, &some_state));
        CU_ASSERT(refused(path, &a));
        clf_train_state state;
        CU_ASSERT_EQUAL(clf_checkpoint_load(path_of("no"), a.model, a.optimizer, &state),
                        CLF_ERROR_IO);
        CU_ASSERT_EQUAL(clf_checkpoint_save(path_of("no/no"), a.model, a.optimizer, &some_state),
                        CLF_ERROR_IO);
    }
    close_training(&a);
    close_training(&b);
}

static void test_mismatch(void) {
    clf_test_each_device(mismatch);
}

// The mean of three, in the average's own rounding.
static void average(clf_device *device) {
    training t[3];
    char names[3][4096];
    char *paths[3];
    float x[3][1024], mean[1024];
    clf_model *model = random_model(device, 9);
    for (int i = 0; i < 3; i++) {
        if (!open_training(device, 10 + (uint64_t)i, 0, &t[i])) return;
        snprintf(names[i], sizeof names[i], "%s/average%d.safetensors", clf_test_directory(), i);
        CLF_ASSERT_OK(clf_checkpoint_save(names[i], t[i].model, t[i].optimizer, &some_state));
        paths[i] = names[i];
    }
    CLF_ASSERT_OK(clf_checkpoint_average(paths, 3, model));
    for (int p = 0; p < t[0].count; p++) {
        int size = t[0].params[p].rows * t[0].params[p].cols;
        for (int i = 0; i < 3; i++) read_values(device, &t[i], t[i].model, p, x[i]);
        read_values(device, &t[0], model, p, mean);
        for (int k = 0; k < size; k++) {
            double expected = ((double)x[0][k] + x[1][k] + x[2][k]) / 3;
            CU_ASSERT_DOUBLE_EQUAL(mean[k], expected, 1e-7);
        }
    }
    CLF_ASSERT_OK(clf_checkpoint_average(paths, 1, model));
    CU_ASSERT(same_bits(device, &t[0], t[0].model, &t[0], model));
    unlink(names[2]);
    CU_ASSERT_EQUAL(clf_checkpoint_average(paths, 3, model), CLF_ERROR_IO);
    CU_ASSERT_EQUAL(clf_checkpoint_average(paths, 0, model), CLF_ERROR_ARGUMENT);
    for (int i = 0; i < 3; i++) close_training(&t[i]);
    clf_model_destroy(model);
}

static void test_average(void) {
    clf_test_each_device(average);
}

static void test_directory(void) {
    static const char *const names[] = {"update-00000009.safetensors",
                                        "update-00000100.safetensors",
                                        "update-123456789012.safetensors",
                                        "update-00000020.safetensors",
                                        "update-00000021.safetensors.7-0.tmp",
                                        "update-.safetensors",
                                        "update-5.safetensors.bak",
                                        "train.tokens.7-1.tmp",
                                        "notes.txt"};
    char directory[4096], path[8192];
    char **paths = NULL;
    int count = -1;
    snprintf(directory, sizeof directory, "%s", path_of("checkpoints"));
    CLF_ASSERT_OK(clf_checkpoint_list(directory, &paths, &count)); // absent
    CU_ASSERT_EQUAL(count, 0);
    clf_checkpoint_list_free(paths, count);
    CLF_ASSERT_OK(clf_checkpoint_prune(directory, 1));
    CLF_ASSERT_OK(clf_file_make_directory(directory));
    for (int i = 0; i < 9; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        write_plain(path, "", 0);
    }
    CLF_ASSERT_OK(clf_checkpoint_list(directory, &paths, &count));
    CU_ASSERT_EQUAL(count, 4);
    CU_ASSERT(count == 4 && strstr(paths[0], "123456789012") && strstr(paths[1], "00000100") &&
              strstr(paths[2], "00000020") && strstr(paths[3], "00000009"));
    clf_checkpoint_list_free(paths, count);
    CLF_ASSERT_OK(clf_checkpoint_prune(directory, 2));
    static const bool kept[] = {false, true, true, false, false, true, true, false, true};
    for (int i = 0; i < 9; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        CU_ASSERT_EQUAL(clf_file_exists(path), kept[i]);
    }
    CLF_ASSERT_OK(clf_checkpoint_prune(directory, 0));
    CLF_ASSERT_OK(clf_checkpoint_list(directory, &paths, &count));
    CU_ASSERT_EQUAL(count, 0);
    clf_checkpoint_list_free(paths, count);
    CU_ASSERT(clf_file_exists(path)); // notes.txt
}

static const clf_test tests[] = {{"round-trip", test_round_trip},
                                 {"damage", test_damage},
                                 {"mismatch", test_mismatch},
                                 {"average", test_average},
                                 {"directory", test_directory}};

CLF_TEST_MAIN("checkpoint", tests)
