// SPDX-License-Identifier: MIT
// A real model of 7.6 million parameters against what Hugging Face transformers made of it.
// Skipped where the model is absent.
#include "golden.h"
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char model_path[4096], golden_path[4200];

static bool find_model(void) {
    const char *path = clf_test_shared("models/marian-zh-en");
    if (!path) {
        clf_test_skip("models/marian-zh-en is absent");
        return false;
    }
    snprintf(model_path, sizeof model_path, "%s", path);
    snprintf(golden_path, sizeof golden_path, "%s/golden", path);
    return true;
}

// A software renderer takes minutes where others take seconds.
static size_t enough(clf_device *device, size_t count, size_t few) {
    clf_device_info info;
    clf_device_get_info(device, &info);
    return info.kind == CLF_DEVICE_EMULATOR && count > few ? few : count;
}

static void logits_on(clf_device *device) {
    clf_translator *t;
    if (!CLF_ASSERT_OK(clf_translator_open(device, model_path, NULL, &t))) return;
    golden_check_logits(t, golden_path, enough(device, 6, 2));
    clf_translator_close(t);
}

static void greedy_on(clf_device *device) {
    clf_translator *t;
    if (!CLF_ASSERT_OK(clf_translator_open(device, model_path, NULL, &t))) return;
    golden_check_greedy(t, golden_path, enough(device, 1000, 8));
    clf_translator_close(t);
}

static void beam_on(clf_device *device) {
    clf_translator *t;
    if (!CLF_ASSERT_OK(clf_translator_open(device, model_path, NULL, &t))) return;
    golden_check_beam(t, golden_path, enough(device, 1000, 3));
    clf_translator_close(t);
}

static void text_on(clf_device *device) {
    clf_translator *t;
    golden_table table;
    if (!CLF_ASSERT_OK(clf_translator_open(device, model_path, NULL, &t))) return;
    CU_ASSERT_FATAL(golden_open(golden_path, "greedy.tsv", &table));
    size_t count = enough(device, table.count, 6);
    const char **lines = calloc(count, sizeof *lines);
    for (size_t i = 0; i < count; i++) lines[i] = table.rows[i][0];
    clf_translate_options options = {.beam = 1, .no_split = true};
    clf_translations *result;
    if (CLF_ASSERT_OK(clf_translate(t, lines, count, &options, &result))) {
        for (size_t i = 0; i < count; i++) {
            // An empty line has an empty translation, whatever the model would make of it.
            const char *expected = *lines[i] ? table.rows[i][4] : "";
            CU_ASSERT_STRING_EQUAL(clf_translations_text(result, i, 0), expected);
        }
        clf_translations_free(result);
    }
    free(lines);
    golden_close(&table);
    clf_translator_close(t);
}

static void test_logits(void) {
    if (find_model()) clf_test_each_device(logits_on);
}

static void test_greedy(void) {
    if (find_model()) clf_test_each_device(greedy_on);
}

static void test_beam(void) {
    if (find_model()) clf_test_each_device(beam_on);
}

static void test_text(void) {
    if (find_model()) clf_test_each_device(text_on);
}

// Scores of the greedy translations are the sums that the search found.
static void score_on(clf_device *device) {
    clf_translator *t;
    golden_table table;
    if (!CLF_ASSERT_OK(clf_translator_open(device, model_path, NULL, &t))) return;
    CU_ASSERT_FATAL(golden_open(golden_path, "greedy.tsv", &table));
    clf_generate_options options = golden_options(t, 1, 1);
    clf_ids source = {0}, target = {0};
    for (size_t i = 0; i < enough(device, 20, 3); i++) {
        float logprobs[512], sum = 0;
        golden_ids(table.rows[i][1], &source);
        golden_ids(table.rows[i][2], &target);
        clf_tokens sources = {source.data, (int)source.count};
        clf_tokens targets = {target.data, (int)target.count};
        CLF_ASSERT_OK(clf_generator_score(t->generator, &sources, &targets, 1, &options, logprobs));
        for (size_t k = 0; k < target.count; k++) sum += logprobs[k];
        CU_ASSERT_DOUBLE_EQUAL(sum, strtod(table.rows[i][3], NULL), 1e-4 * (double)target.count);
    }
    clf_array_free(&source);
    clf_array_free(&target);
    golden_close(&table);
    clf_translator_close(t);
}

static void test_score(void) {
    if (find_model()) clf_test_each_device(score_on);
}

static const clf_test tests[] = {{"logits", test_logits},
                                 {"greedy", test_greedy},
                                 {"beam", test_beam},
                                 {"text", test_text},
                                 {"score", test_score}};

CLF_TEST_MAIN("marian", tests)
