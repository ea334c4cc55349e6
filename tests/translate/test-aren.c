// SPDX-License-Identifier: MIT
// A real transliteration model in CTranslate2's oldest layouts, in float, int16 and int8, against
// the results that its authors publish. Skipped where the model is absent.
#include "golden.h"
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char models_path[4096];

static bool find_models(void) {
    const char *path = clf_test_shared("models/aren-transliteration");
    if (!path) {
        clf_test_skip("models/aren-transliteration is absent");
        return false;
    }
    snprintf(models_path, sizeof models_path, "%s", path);
    return true;
}

// The model's tokens are characters: puts a blank between each two.
static const char *space_out(const char *text, char out[256]) {
    size_t used = 0;
    for (; *text && used < 250; text++) {
        bool starts = ((unsigned char)*text & 0xc0) != 0x80;
        if (starts && used > 0) out[used++] = ' ';
        out[used++] = *text;
    }
    out[used] = '\0';
    return out;
}

static void check_score(clf_translator *t, char **row) {
    char source[256], target[256];
    const char *sources = space_out(row[1], source), *targets = space_out(row[4], target);
    clf_scores *scores;
    if (!CLF_ASSERT_OK(clf_score(t, &sources, &targets, 1, NULL, &scores))) return;
    int length = clf_scores_length(scores, 0), index = 0;
    for (char *at = row[5], *end; *at; at = end, index++) {
        double expected = strtod(at, &end);
        CU_ASSERT_FATAL(end != at && index < length);
        CU_ASSERT_DOUBLE_EQUAL(clf_scores_token(scores, 0, index), expected, 1e-5);
    }
    CU_ASSERT_EQUAL(index, length);
    CU_ASSERT_STRING_EQUAL(clf_scores_token_text(scores, 0, length - 1), "</s>");
    clf_scores_free(scores);
}

static void check_decode(clf_translator *t, char **row) {
    char source[256], prefix[256], expected[256];
    const char *sources = space_out(row[1], source);
    for (char *at = row[3]; *at; at += strcspn(at, ","), at += *at == ',') {
        clf_translate_options options = {.beam = atoi(at), .prefix = space_out(row[2], prefix)};
        clf_translations *result;
        if (!CLF_ASSERT_OK(clf_translate(t, &sources, 1, &options, &result))) continue;
        CU_ASSERT_STRING_EQUAL(clf_translations_text(result, 0, 0), space_out(row[4], expected));
        clf_translations_free(result);
    }
}

static void check_model(clf_device *device, const char *name, bool exact, clf_weights weights) {
    const clf_translator_options options = {.weights = weights};
    golden_table table;
    clf_translator *t;
    char path[4400];
    snprintf(path, sizeof path, "%s/v2/%s", models_path, name);
    if (!CLF_ASSERT_OK(clf_translator_open(device, path, &options, &t))) return;
    CU_ASSERT_FATAL(golden_open(models_path, "EXPECTED.tsv", &table));
    int scored = 0, decoded = 0;
    for (size_t i = 0; i < table.count; i++) {
        char **row = table.rows[i];
        if (strcmp(row[0], "score") == 0 && exact) {
            check_score(t, row);
            scored++;
        } else if (strcmp(row[0], "decode") == 0) {
            check_decode(t, row);
            decoded++;
        }
    }
    CU_ASSERT(decoded == 7 && scored == (exact ? 4 : 0));
    golden_close(&table);
    clf_translator_close(t);
}

static void float_on(clf_device *device) {
    check_model(device, "aren-transliteration", true, CLF_WEIGHTS_MODEL);
    check_model(device, "aren-transliteration", false, CLF_WEIGHTS_F16);
    check_model(device, "aren-transliteration", false, CLF_WEIGHTS_INT8);
}

static void int16_on(clf_device *device) {
    check_model(device, "aren-transliteration-i16", false, CLF_WEIGHTS_MODEL);
}

static void int8_on(clf_device *device) {
    check_model(device, "aren-transliteration-i8", false, CLF_WEIGHTS_MODEL);
    check_model(device, "aren-transliteration-i8", false, CLF_WEIGHTS_F32);
}

static void test_float(void) {
    if (find_models()) clf_test_each_device(float_on);
}

static void test_int16(void) {
    if (find_models()) clf_test_each_device(int16_on);
}

static void test_int8(void) {
    if (find_models()) clf_test_each_device(int8_on);
}

static const clf_test tests[] = {{"float", test_float}, {"int16", test_int16}, {"int8", test_int8}};

CLF_TEST_MAIN("aren", tests)
