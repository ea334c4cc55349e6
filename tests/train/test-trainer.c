// SPDX-License-Identifier: MIT
// Whole trainings through the public door: a tiny model learns to reverse short lines of digits.
#include "harness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <clformer/train.h>

#include "base/file.h"
#include "base/rng.h"
#include "text/corpus.h"

enum { LINES = 120, VALID_LINES = 20 };

// "directory/name"; valid until the eighth call after.
static const char *at(const char *name) {
    static char paths[8][4096];
    static int turn;
    char *path = paths[turn++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", clf_test_directory(), name);
    return path;
}

// Lines of 1 to 5 digits, and their reversals.
static void write_texts(const char *source, const char *target, int lines, uint64_t seed) {
    FILE *in = fopen(at(source), "w"), *out = fopen(at(target), "w");
    clf_rng rng = {seed};
    for (int i = 0; i < lines; i++) {
        const int length = 1 + (int)clf_rng_below(&rng, 5);
        unsigned digits[5];
        for (int k = 0; k < length; k++) digits[k] = clf_rng_below(&rng, 10);
        for (int k = 0; k < length; k++) {
            fprintf(in, "%sd%u", k ? " " : "", digits[k]);
            fprintf(out, "%sd%u", k ? " " : "", digits[length - 1 - k]);
        }
        fputc('\n', in);
        fputc('\n', out);
    }
    fclose(in);
    fclose(out);
}

static void prepare(void) {
    static bool prepared;
    if (prepared) return;
    prepared = true;
    write_texts("train.in", "train.out", LINES, 1);
    write_texts("valid.in", "valid.out", VALID_LINES, 2);
    const char *texts[] = {at("train.in"), at("train.out")};
    CLF_ASSERT_OK(clf_vocabulary_train(
        at("vocab"),
        &(clf_vocabulary_options){.source_files = texts, .source_count = 2, .segmented = true}));
}

// What the events of one training said.
typedef struct record {
    int plans, updates, validations, saves; // updates: skipped ones included
    uint64_t updates_before, skipped;
    double first_loss, last_loss, last_valid_loss, best_bleu;
    int stop_after;     // updates; 0: never
    const double *bleu; // to be answered, one a validation; NULL: no opinion
    clf_train_plan plan;
} record;

static void on_plan(void *user, const clf_train_plan *plan, uint64_t updates_done) {
    record *r = user;
    r->plans++;
    r->plan = *plan;
    r->updates_before = updates_done;
}

static int on_progress(void *user, const clf_train_progress *progress) {
    record *r = user;
    if (r->updates++ == 0) r->first_loss = progress->loss;
    r->last_loss = progress->loss;
    r->skipped = progress->skipped_updates;
    return r->stop_after > 0 && r->updates >= r->stop_after;
}

static double on_score(void *user, const char *directory) {
    const record *r = user;
    char *path = clf_path_join(directory, "model.safetensors");
    CU_ASSERT_TRUE(clf_file_exists(path));
    free(path);
    return r->bleu ? r->bleu[r->validations] : NAN;
}

static void on_validation(void *user, const clf_train_validation *validation) {
    record *r = user;
    r->validations++;
    r->last_valid_loss = validation->loss;
    if (validation->best) r->best_bleu = validation->bleu;
}

static void on_saved(void *user, uint64_t update, const char *path) {
    (void)update;
    record *r = user;
    r->saves++;
    CU_ASSERT_TRUE(clf_file_exists(path));
}

static clf_train_options make_options(const char *output, int updates) {
    return (clf_train_options){.source = at("train.in"),
                               .target = at("train.out"),
                               .vocabulary = at("vocab"),
                               .output = at(output),
                               .shape = {.preset = "tiny",
                                         .width = 32,
                                         .encoder_layers = 1,
                                         .decoder_layers = 1,
                                         .encoder_heads = 2,
                                         .decoder_heads = 2,
                                         .encoder_ffn = 64,
                                         .decoder_ffn = 64,
                                         .max_positions = 32},
                               .max_length = 16,
                               .learning_rate = 5e-3,
                               .warmup = 10,
                               .batch_tokens = 200,
                               .max_updates = updates};
}

static clf_status run(clf_device *device, const clf_train_options *options, record *r) {
    return clf_train(device, options,
                     &(clf_train_events){.user = r,
                                         .plan = on_plan,
                                         .progress = on_progress,
                                         .score = on_score,
                                         .validation = on_validation,
                                         .saved = on_saved});
}

// Whether two directories hold the same weights, bit for bit.
static bool same_model(const char *a, const char *b) {
    clf_file_map maps[2];
    const char *names[] = {a, b};
    for (int i = 0; i < 2; i++) {
        char name[256];
        snprintf(name, sizeof name, "%s/model.safetensors", names[i]);
        CLF_ASSERT_OK(clf_file_map_open(at(name), &maps[i]));
    }
    const bool same =
        maps[0].size == maps[1].size && memcmp(maps[0].data, maps[1].data, maps[0].size) == 0;
    for (int i = 0; i < 2; i++) clf_file_map_close(&maps[i]);
    return same;
}

// Runs a training of eight updates with `change` made to its options.
static void train_eight(clf_device *device, const char *output,
                        void (*change)(clf_train_options *)) {
    clf_train_options options = make_options(output, 8);
    options.overwrite = true;
    if (change) change(&options);
    record r = {0};
    CLF_ASSERT_OK(run(device, &options, &r));
    CU_ASSERT_EQUAL(r.updates, 8);
    CU_ASSERT_TRUE(isfinite(r.last_loss));
}

// ---- tests; the slow ones on the first device alone ----

static void learns(clf_device *device) {
    clf_train_options options = make_options("learned", 150);
    options.overwrite = true;
    options.dropout = -1;
    options.label_smoothing = -1;
    options.valid_source = at("valid.in");
    options.valid_target = at("valid.out");
    options.validate_every = 50;
    record r = {0};
    CLF_ASSERT_OK(run(device, &options, &r));
    CU_ASSERT_EQUAL(r.plans, 1);
    CU_ASSERT_EQUAL(r.plan.pairs, LINES);
    CU_ASSERT_EQUAL(r.plan.updates, 150);
    CU_ASSERT_EQUAL(r.updates, 150);
    CU_ASSERT_EQUAL(r.validations, 3);
    CU_ASSERT_TRUE(r.saves >= 3);
    CU_ASSERT_TRUE(r.first_loss > 2 && r.last_loss < 0.6 && r.last_valid_loss < 1.2);
}

static void resumes(clf_device *device) {
    train_eight(device, "whole", NULL);
    clf_train_options options = make_options("parted", 8);
    options.overwrite = true;
    record r = {.stop_after = 3};
    CU_ASSERT_EQUAL(run(device, &options, &r), CLF_ERROR_CANCELLED);
    options.overwrite = false;
    CU_ASSERT_EQUAL(run(device, &options, &r), CLF_ERROR_ARGUMENT); // a training is there already
    CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), "--resume"));
    options.resume = true;
    options.learning_rate = 1;
    CU_ASSERT_EQUAL(run(device, &options, &r), CLF_ERROR_ARGUMENT); // another recipe
    options.learning_rate = 5e-3;
    r = (record){0};
    CLF_ASSERT_OK(run(device, &options, &r));
    CU_ASSERT_EQUAL(r.updates_before, 3);
    CU_ASSERT_EQUAL(r.updates, 5);
    CU_ASSERT_TRUE(same_model("whole", "parted"));
}

static void with_recompute(clf_train_options *options) {
    options->recompute = true;
}
static void with_noise(clf_train_options *options) {
    options->token_noise = 0.2f;
}
static void with_sampling(clf_train_options *options) {
    options->sampling = CLF_SAMPLING_EXPONENTIAL;
    options->sampling_constant = 0.5;
}
static void with_true_sampling(clf_train_options *options) {
    options->sampling = CLF_SAMPLING_LINEAR;
    options->sampling_constant =
        1e-9; // the true tokens nearly always, though others are looked for
}
static void with_learned_positions(clf_train_options *options) {
    options->shape.learned_positions = true;
}
static void with_pre_norm(clf_train_options *options) {
    options->shape.pre_norm = true;
}
static void with_average(clf_train_options *options) {
    options->average_decay = 0.9f;
}

// What must change nothing, and what must change something.
static void variants(clf_device *device) {
    train_eight(device, "whole", NULL);
    train_eight(device, "other", with_recompute);
    CU_ASSERT_TRUE(same_model("whole", "other"));
    train_eight(device, "other", with_true_sampling);
    CU_ASSERT_TRUE(same_model("whole", "other"));
    train_eight(device, "other", with_noise);
    CU_ASSERT_FALSE(same_model("whole", "other"));
    train_eight(device, "other", with_sampling);
    CU_ASSERT_FALSE(same_model("whole", "other"));
    train_eight(device, "other", with_average);
    CU_ASSERT_FALSE(same_model("whole", "other"));
}

// What Marian's format cannot say becomes a directory of CTranslate2's.
static void other_format(clf_device *device) {
    train_eight(device, "learned-positions", with_learned_positions);
    CU_ASSERT_TRUE(clf_file_exists(at("learned-positions/model.bin")));
    train_eight(device, "pre-norm", with_pre_norm);
    CU_ASSERT_TRUE(clf_file_exists(at("pre-norm/model.bin")));
}

// As good as in float, in less memory.
static void learns_in_half(clf_device *device) {
    record r[2] = {{0}};
    for (int half = 0; half < 2; half++) {
        clf_train_options options = make_options("half", 60);
        options.overwrite = true;
        options.half = half;
        options.recompute = half;
        CLF_ASSERT_OK(run(device, &options, &r[half]));
    }
    CU_ASSERT_EQUAL(r[1].skipped, 0);
    CU_ASSERT_TRUE(r[1].last_loss < 0.9 * r[1].first_loss);
    CU_ASSERT_TRUE(fabs(r[1].last_loss - r[0].last_loss) < 0.03 * r[0].last_loss);
    CU_ASSERT_TRUE(r[1].plan.state_bytes > r[0].plan.state_bytes);
}

static uint64_t half_activations(clf_device *device, bool half) {
    clf_train_options options = make_options("half", 1);
    options.overwrite = true;
    options.half = half;
    options.batch_tokens = 1000;
    record r = {0};
    CLF_ASSERT_OK(run(device, &options, &r));
    return r.plan.activation_bytes;
}

// A loss scale that is far too large is lowered by skipped updates, and a training that stops while
// they last goes on as if it had not.
static void lowers_the_scale(clf_device *device) {
    clf_train_options options = make_options("half-whole", 6);
    options.overwrite = options.half = true;
    options.loss_scale = 0x1p30F;
    record r = {0};
    CLF_ASSERT_OK(run(device, &options, &r));
    CU_ASSERT_TRUE(r.skipped >= 4);
    CU_ASSERT_EQUAL(r.updates, 6 + (int)r.skipped);
    CU_ASSERT_TRUE(isfinite(r.last_loss) && r.last_loss < r.first_loss);
    for (int part = 0; part < 2; part++) {
        options.output = at("half-parted");
        options.overwrite = part == 0;
        options.resume = part == 1;
        record parted = {.stop_after = part ? 0 : 3};
        const clf_status status = run(device, &options, &parted);
        CU_ASSERT_EQUAL(status, part ? CLF_OK : CLF_ERROR_CANCELLED);
    }
    CU_ASSERT_TRUE(same_model("half-whole", "half-parted"));
    CU_ASSERT_TRUE((double)half_activations(device, true) <
                   0.75 * (double)half_activations(device, false));
}

static void stops_early(clf_device *device) {
    static const double bleu[] = {10, 20, 20, 15, 14, 30};
    clf_train_options options = make_options("early", 60);
    options.overwrite = true;
    options.valid_source = at("valid.in");
    options.valid_target = at("valid.out");
    options.validate_every = 2;
    options.best_by_bleu = true;
    options.patience = 3;
    options.average_checkpoints = 2;
    record r = {.bleu = bleu};
    CLF_ASSERT_OK(run(device, &options, &r));
    CU_ASSERT_EQUAL(r.validations, 5);
    CU_ASSERT_EQUAL(r.updates, 10);
    CU_ASSERT_EQUAL(r.best_bleu, 20);
}

static void diverges(clf_device *device) {
    clf_train_options options = make_options("diverged", 20);
    options.overwrite = true;
    options.learning_rate = 1e30;
    options.warmup = -1;
    record r = {0};
    CU_ASSERT_EQUAL(run(device, &options, &r), CLF_ERROR_NUMERIC);
    CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), "update 2: the gradient of "));
}

// A vocabulary of segmented text with SentencePiece models beside it.
static const char *make_mixed_vocabulary(void) {
    const char *text = at("train.in");
    CLF_ASSERT_OK(clf_vocabulary_train(
        at("mixed"),
        &(clf_vocabulary_options){.source_files = &text, .source_count = 1, .segmented = true}));
    CLF_ASSERT_OK(clf_file_write(at("mixed/source.spm"), "", 0));
    CLF_ASSERT_OK(clf_file_write(at("mixed/target.spm"), "", 0));
    return at("mixed");
}

static void refuses(clf_device *device) {
    record r = {0};
    clf_train_options options = make_options("refused", 1);
    options.source = at("absent");
    CU_ASSERT_EQUAL(run(device, &options, &r), CLF_ERROR_IO);
    options = make_options("refused", 1);
    options.vocabulary = clf_test_directory();
    CU_ASSERT_EQUAL(run(device, &options, &r), CLF_ERROR_IO);
    options = make_options("refused", 1);
    options.vocabulary = make_mixed_vocabulary();
    CU_ASSERT_EQUAL(run(device, &options, &r), CLF_ERROR_FORMAT);
    CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), "mixed/source.spm"));
    options = make_options("refused", 1);
    options.shape.decoder_heads = 5;
    CU_ASSERT_EQUAL(run(device, &options, &r), CLF_ERROR_ARGUMENT);
    options = make_options("refused", 1);
    options.dropout = 1;
    CU_ASSERT_EQUAL(run(device, &options, &r), CLF_ERROR_ARGUMENT);
    options = make_options("refused", 1);
    options.shape.encoder_layers = -2;
    CU_ASSERT_EQUAL(run(device, &options, &r), CLF_ERROR_ARGUMENT);
    options = make_options("refused", 1);
    options.save_every = -1;
    CU_ASSERT_EQUAL(run(device, &options, &r), CLF_ERROR_ARGUMENT);
    options = make_options("refused", 1);
    options.sampling = CLF_SAMPLING_SIGMOID; // without a constant
    CU_ASSERT_EQUAL(run(device, &options, &r), CLF_ERROR_ARGUMENT);
    options = make_options("refused", 1);
    options.shape.activation = "sine";
    CU_ASSERT_EQUAL(run(device, &options, &r), CLF_ERROR_ARGUMENT);
    options = make_options("refused", 1);
    options.shape.width = 32768;
    options.shape.encoder_layers = options.shape.decoder_layers = 100;
    CU_ASSERT_EQUAL(run(device, &options, &r), CLF_ERROR_DEVICE_MEMORY);
    CU_ASSERT_EQUAL(r.updates, 0);
}

static void (*chosen)(clf_device *device);
static bool done;

static void on_first(clf_device *device) {
    clf_device_info info;
    clf_device_get_info(device, &info);
    if (info.kind == CLF_DEVICE_EMULATOR) {
        clf_test_skip("what is tested here is the trainer: an emulator would take minutes");
        return;
    }
    if (!done) chosen(device);
    done = true;
}

static void run_on_first(void (*function)(clf_device *device)) {
    prepare();
    chosen = function;
    done = false;
    clf_test_each_device(on_first);
}

static void test_learns(void) {
    run_on_first(learns);
}
static void test_resumes(void) {
    prepare();
    clf_test_each_device(resumes);
}
static void test_variants(void) {
    run_on_first(variants);
}
static void test_other_format(void) {
    run_on_first(other_format);
}
static void test_half(void) {
    run_on_first(learns_in_half);
}
static void test_scale(void) {
    prepare();
    clf_test_each_device(lowers_the_scale);
}
static void test_early(void) {
    run_on_first(stops_early);
}
static void test_diverges(void) {
    run_on_first(diverges);
}
static void test_refuses(void) {
    run_on_first(refuses);
}

static const clf_test tests[] = {
    {"learns", test_learns},     {"resumes", test_resumes},
    {"variants", test_variants}, {"other format", test_other_format},
    {"half", test_half},         {"loss scale", test_scale},
    {"stops early", test_early}, {"diverges", test_diverges},
    {"refuses", test_refuses},
};

CLF_TEST_MAIN("trainer", tests)
