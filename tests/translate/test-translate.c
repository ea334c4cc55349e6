// SPDX-License-Identifier: MIT
// The public calls on a tiny model: what must hold whatever the model says.
#include "harness.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <clformer/clformer.h>

#include "base/file.h"
#include "device/device.h"

#define MODEL "marian-untied"

static clf_translator *open_model(clf_device *device) {
    clf_translator *t = NULL;
    CLF_ASSERT_OK(clf_translator_open(device, clf_test_golden(MODEL), NULL, &t));
    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    return t;
}

// Lines of many lengths, with some that hold nothing.
static const char *const lines[] = {
    "tamatu nari ruki.",
    "",
    "ki",
    "suku",
    "suku ni sukiri ruki mutunu tamatu nari miriku tu risa.",
    "   \t ",
    "risa",
    "miriku tu risa.",
    "nari ruki tamatu suku ni sukiri risa tu nari ruki suku.",
    "tamatu \xff\xfe nari \x01\x02 ruki",
    "tu tu tu tu tu tu tu tu tu tu tu tu tu tu tu tu tu",
};
enum { LINES = sizeof lines / sizeof *lines };

static clf_translations *translate(clf_translator *t, const char *const *from, size_t count,
                                   clf_translate_options options) {
    clf_translations *result = NULL;
    if (options.max_length == 0) options.max_length = 24;
    CLF_ASSERT_OK(clf_translate(t, from, count, &options, &result));
    CU_ASSERT_PTR_NOT_NULL_FATAL(result);
    CU_ASSERT_EQUAL(clf_translations_count(result), count);
    return result;
}

// With one matrix product for all row counts, as on a CPU, a row's result does not depend on its
// neighbours: bit for bit. Elsewhere the product is chosen by the number of rows.
static float tolerance(const clf_device *device) {
    return clf_device_profile(device)->lanes == 1 ? 0 : 1e-4f;
}

static void check_equal(const clf_translations *a, size_t i, const clf_translations *b, size_t j,
                        float within) {
    CU_ASSERT_EQUAL(clf_translations_nbest(a, i), clf_translations_nbest(b, j));
    for (int r = 0; r < clf_translations_nbest(a, i); r++) {
        float difference = clf_translations_score(a, i, r) - clf_translations_score(b, j, r);
        CU_ASSERT_STRING_EQUAL(clf_translations_text(a, i, r), clf_translations_text(b, j, r));
        CU_ASSERT(fabsf(difference) <= within);
    }
}

// ---- batches ------------------------------------------------------------------------------------

static void batches_on(clf_device *device) {
    static const int budgets[] = {1, 30, 100000};
    clf_translator *t = open_model(device);
    for (int beam = 1; beam <= 3; beam += 2) {
        clf_translate_options options = {.beam = beam, .nbest = beam};
        clf_translations *all = translate(t, lines, LINES, options);
        for (size_t i = 0; i < LINES; i++) {
            clf_translations *one = translate(t, lines + i, 1, options);
            check_equal(all, i, one, 0, tolerance(device));
            clf_translations_free(one);
        }
        for (size_t b = 0; b < sizeof budgets / sizeof *budgets; b++) {
            options.batch_tokens = budgets[b];
            clf_translations *other = translate(t, lines, LINES, options);
            for (size_t i = 0; i < LINES; i++) check_equal(all, i, other, i, tolerance(device));
            clf_translations_free(other);
        }
        CU_ASSERT_STRING_EQUAL(clf_translations_text(all, 1, 0), "");
        CU_ASSERT_STRING_EQUAL(clf_translations_text(all, 5, 0), "");
        CU_ASSERT_EQUAL(clf_translations_score(all, 5, 0), 0);
        clf_translations_free(all);
    }
    clf_translator_close(t);
}

static void test_batches(void) {
    clf_test_each_device(batches_on);
}

// ---- options ------------------------------------------------------------------------------------

static void check_refused(clf_translator *t, clf_translate_options options, const char *word) {
    clf_translations *result = NULL;
    CU_ASSERT_EQUAL(clf_translate(t, lines, 1, &options, &result), CLF_ERROR_ARGUMENT);
    CU_ASSERT_PTR_NULL(result);
    CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), word));
}

static int cancel(void *user, size_t done, size_t total, uint64_t source, uint64_t target) {
    (void)done, (void)total, (void)source, (void)target;
    ++*(int *)user;
    return 1;
}

static void options_on(clf_device *device) {
    clf_translator *t = open_model(device);
    clf_translations *result;

    result = translate(t, lines, 1, (clf_translate_options){.beam = 4, .nbest = 4});
    CU_ASSERT_EQUAL(clf_translations_nbest(result, 0), 4);
    for (int r = 1; r < 4; r++) {
        CU_ASSERT(clf_translations_score(result, 0, r) <= clf_translations_score(result, 0, r - 1));
    }
    clf_translations_free(result);

    uint64_t source, target;
    result = translate(t, lines, 1, (clf_translate_options){.beam = 2, .max_length = 5});
    clf_translations_tokens(result, &source, &target);
    CU_ASSERT(source > 1 && target >= 1 && target <= 4);
    clf_translations_free(result);

    result = translate(t, lines, 1, (clf_translate_options){.beam = 2, .min_length = 12});
    clf_translations_tokens(result, &source, &target);
    CU_ASSERT(target >= 11);
    clf_translations_free(result);

    result = translate(t, lines, 1, (clf_translate_options){.beam = 2, .prefix = "dézego"});
    CU_ASSERT_EQUAL(strncmp(clf_translations_text(result, 0, 0), "dézego", 7), 0);
    clf_translations_free(result);

    int calls = 0;
    clf_translate_options stop = {.progress = cancel, .user = &calls};
    result = NULL;
    CU_ASSERT_EQUAL(clf_translate(t, lines, LINES, &stop, &result), CLF_ERROR_CANCELLED);
    CU_ASSERT(calls == 1 && result == NULL);

    int absurd = 1 << 30;
    check_refused(t, (clf_translate_options){.beam = -1}, "beam");
    check_refused(t, (clf_translate_options){.beam = 1000}, "beam");
    check_refused(t, (clf_translate_options){.beam = 2, .nbest = 3}, "beam");
    check_refused(t, (clf_translate_options){.max_length = -5}, "negative");
    check_refused(t, (clf_translate_options){.suppress = &absurd, .suppress_count = 1}, "token");
    CU_ASSERT_EQUAL(clf_translate(t, NULL, 1, NULL, &result), CLF_ERROR_ARGUMENT);
    CLF_ASSERT_OK(clf_translate(t, NULL, 0, NULL, &result));
    CU_ASSERT_EQUAL(clf_translations_count(result), 0);
    clf_translations_free(result);
    clf_translator_close(t);
}

static void test_options(void) {
    clf_test_each_device(options_on);
}

// ---- long lines ---------------------------------------------------------------------------------

static void long_on(clf_device *device) {
    clf_translator *t = open_model(device);
    char *text = malloc(20001);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    for (size_t i = 0; i < 20000; i += 20) memcpy(text + i, "Tamatu ruki. Suku.  ", 20);
    text[20000] = '\0';
    const char *line = text, *sentence = "Tamatu ruki.";
    clf_translate_options options = {.beam = 1, .max_length = 8};
    clf_translations *whole = translate(t, &line, 1, options);
    clf_translations *part = translate(t, &sentence, 1, options);
    const char *first = clf_translations_text(part, 0, 0);
    CU_ASSERT_EQUAL(strncmp(clf_translations_text(whole, 0, 0), first, strlen(first)), 0);
    CU_ASSERT(strlen(clf_translations_text(whole, 0, 0)) > 500 * strlen(first));
    options.no_split = true; // still cut where the model's positions end
    clf_translations *cut = translate(t, &line, 1, options);
    CU_ASSERT(strlen(clf_translations_text(cut, 0, 0)) <
              strlen(clf_translations_text(whole, 0, 0)));
    clf_translations_free(whole);
    clf_translations_free(part);
    clf_translations_free(cut);
    free(text);
    clf_translator_close(t);
}

static void test_long(void) {
    clf_test_each_device(long_on);
}

// ---- scores -------------------------------------------------------------------------------------

static void score_on(clf_device *device) {
    static const char *const targets[] = {"dézego", "", "dézego végé lobébé dézego"};
    static const char *const sources[] = {"tamatu nari", "ki", "suku ni sukiri"};
    clf_translator *t = open_model(device);
    clf_scores *all, *one;
    if (CLF_ASSERT_OK(clf_score(t, sources, targets, 3, NULL, &all))) {
        for (size_t i = 0; i < 3; i++) {
            double sum = 0;
            CU_ASSERT(clf_scores_length(all, i) >= 1);
            for (int k = 0; k < clf_scores_length(all, i); k++) {
                CU_ASSERT(clf_scores_token(all, i, k) < 0);
                sum += clf_scores_token(all, i, k);
            }
            CU_ASSERT_DOUBLE_EQUAL(clf_scores_total(all, i), sum, 1e-4);
            if (!CLF_ASSERT_OK(clf_score(t, sources + i, targets + i, 1, NULL, &one))) continue;
            float difference = clf_scores_total(one, 0) - clf_scores_total(all, i);
            CU_ASSERT(fabsf(difference) <= tolerance(device));
            clf_scores_free(one);
        }
        CU_ASSERT_EQUAL(clf_scores_length(all, 1), 1); // the end token alone
        clf_scores_free(all);
    }
    clf_translator_close(t);
}

static void test_score(void) {
    clf_test_each_device(score_on);
}

// ---- threads ------------------------------------------------------------------------------------

typedef struct work {
    clf_translator *t;
    const clf_translations *expected;
    size_t wrong;
} work;

// CUnit is not thread-safe, so threads count and the test judges.
static void *translate_in_thread(void *user) {
    work *w = user;
    for (int round = 0; round < 3; round++) {
        clf_translate_options options = {.beam = 2, .max_length = 24};
        clf_translations *result;
        if (clf_translate(w->t, lines, LINES, &options, &result) != CLF_OK) {
            w->wrong++;
            continue;
        }
        for (size_t i = 0; i < LINES; i++) {
            w->wrong += strcmp(clf_translations_text(result, i, 0),
                               clf_translations_text(w->expected, i, 0)) != 0;
        }
        clf_translations_free(result);
    }
    return NULL;
}

// Two translators on one device and one more device handle, four threads.
static void threads_on(clf_device *device) {
    clf_device_info info;
    char select[32];
    clf_device_get_info(device, &info);
    snprintf(select, sizeof select, "%d:%d", info.platform_index, info.device_index);
    clf_device_options same = {.select = select, .shape = "cpu"};
    clf_device *second;
    if (!CLF_ASSERT_OK(clf_device_open(&same, &second))) return;
    clf_translator *t[3] = {open_model(device), open_model(device), open_model(second)};
    clf_translations *expected = translate(t[0], lines, LINES, (clf_translate_options){.beam = 2});
    work works[4];
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        works[i] = (work){.t = t[i % 3], .expected = expected};
        CU_ASSERT_EQUAL(pthread_create(&threads[i], NULL, translate_in_thread, &works[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        CU_ASSERT_EQUAL(works[i].wrong, 0);
    }
    clf_translations_free(expected);
    for (int i = 0; i < 3; i++) clf_translator_close(t[i]);
    clf_device_close(second);
}

static void test_threads(void) {
    clf_test_each_device(threads_on);
}

// ---- opening ------------------------------------------------------------------------------------

static void open_on(clf_device *device) {
    clf_translator *t = NULL;
    CU_ASSERT_EQUAL(clf_translator_open(device, "/nowhere", NULL, &t), CLF_ERROR_IO);
    CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), "/nowhere"));
    CU_ASSERT_NOT_EQUAL(clf_translator_open(device, clf_test_directory(), NULL, &t), CLF_OK);
    CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), clf_test_directory()));
    CU_ASSERT_EQUAL(clf_translator_open(device, NULL, NULL, &t), CLF_ERROR_ARGUMENT);
    CU_ASSERT_PTR_NULL(t);
    t = open_model(device);
    clf_model_info info;
    clf_translator_get_info(t, &info);
    CU_ASSERT_STRING_EQUAL(info.family, "marian");
    CU_ASSERT(info.parameters > 1000 && info.device_bytes >= 4 * (uint64_t)info.parameters);
    clf_translator_close(t);
    clf_translator_close(NULL);
}

static void test_open(void) {
    clf_test_each_device(open_on);
}

// ---- damage -------------------------------------------------------------------------------------

// A copy of the model whose weights are all NaN.
static void make_poisoned(const char *to) {
    static const char *const names[] = {"config.json", "generation_config.json",
                                        "source.spm",  "target.spm",
                                        "vocab.json",  "model.safetensors"};
    char *text, from[4096];
    size_t size;
    snprintf(from, sizeof from, "%s", clf_test_golden(MODEL));
    CLF_ASSERT_OK(clf_file_make_directory(to));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *source = clf_path_join(from, names[i]), *target = clf_path_join(to, names[i]);
        if (CLF_ASSERT_OK(clf_file_read(source, 1 << 20, &text, &size))) {
            if (strcmp(names[i], "model.safetensors") == 0) {
                uint64_t header;
                memcpy(&header, text, sizeof header);
                CU_ASSERT_FATAL(8 + header < size);
                memset(text + 8 + header, 0xff, size - 8 - header);
            }
            CLF_ASSERT_OK(clf_file_write(target, text, size));
            free(text);
        }
        free(source);
        free(target);
    }
}

static void nan_on(clf_device *device) {
    clf_translator *t = NULL;
    clf_translations *result = NULL;
    char *directory = clf_path_join(clf_test_directory(), "poisoned");
    make_poisoned(directory);
    if (CLF_ASSERT_OK(clf_translator_open(device, directory, NULL, &t))) {
        CU_ASSERT_EQUAL(clf_translate(t, lines, 1, NULL, &result), CLF_ERROR_NUMERIC);
        CU_ASSERT_PTR_NULL(result);
        CU_ASSERT(strlen(clf_last_error()) > 10);
        clf_translator_close(t);
    }
    free(directory);
}

static void test_nan(void) {
    clf_test_each_device(nan_on);
}

static const clf_test tests[] = {{"batches", test_batches}, {"options", test_options},
                                 {"long", test_long},       {"score", test_score},
                                 {"threads", test_threads}, {"open", test_open},
                                 {"nan", test_nan}};

CLF_TEST_MAIN("translate", tests)
