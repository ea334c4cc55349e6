// SPDX-License-Identifier: MIT
// Tiny models of every supported shape and file layout against the libraries that own them: see
// tests/golden/README.md.
#include "golden.h"
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

static clf_translator *open_golden(clf_device *device, const char *name) {
    clf_translator *t = NULL;
    const clf_translator_options options = {.weights = CLF_WEIGHTS_F32};
    CLF_ASSERT_OK(clf_translator_open(device, clf_test_golden(name), &options, &t));
    return t;
}

// ---- Hugging Face Marian ------------------------------------------------------------------------

static const char *const marian[] = {"marian-bf16",     "marian-bias",  "marian-f16",
                                     "marian-heads",    "marian-odd",   "marian-shards",
                                     "marian-separate", "marian-untied"};

static void marian_on(clf_device *device) {
    for (size_t i = 0; i < sizeof marian / sizeof *marian; i++) {
        clf_translator *t = open_golden(device, marian[i]);
        if (!t) continue;
        char directory[4096];
        snprintf(directory, sizeof directory, "%s", clf_test_golden(marian[i]));
        golden_check_logits(t, directory, 100);
        golden_check_greedy(t, directory, 100);
        golden_check_beam(t, directory, 100);
        clf_translator_close(t);
    }
}

static void test_marian(void) {
    clf_test_each_device(marian_on);
}

// ---- CTranslate2 --------------------------------------------------------------------------------

static const char *const ctranslate2[] = {
    "ct2-float32", "ct2-float16",  "ct2-int16", "ct2-int8", "ct2-gated",
    "ct2-prenorm", "ct2-postnorm", "ct2-v1",    "ct2-v3",   "ct2-v5",
};

// The files have pieces separated by blanks, which is how a model without SentencePiece takes its
// text; for one with SentencePiece they are put together again, less the end token that it adds.
// Start tokens among the output are dropped, as in any text.
static const char *text_of(const char *pieces, bool sentencepiece, char out[1024]) {
    size_t used = 0;
    for (const char *c = pieces; *c && used < 1000; c++) {
        if (sentencepiece && strcmp(c, " </s>") == 0) break;
        if (strncmp(c, "<s> ", 4) == 0) {
            c += 3;
            continue;
        }
        if (sentencepiece && *c == ' ') continue;
        if (sentencepiece && strncmp(c, "\u2581", 3) == 0) {
            if (used > 0) out[used++] = ' ';
            c += 2;
        } else {
            out[used++] = *c;
        }
    }
    out[used] = '\0';
    return out;
}

static void check_scores(clf_translator *t, char **row, bool sentencepiece) {
    char source[1024], target[1024];
    const char *sources = text_of(row[0], sentencepiece, source);
    const char *targets = text_of(row[1], sentencepiece, target);
    clf_scores *scores;
    if (!CLF_ASSERT_OK(clf_score(t, &sources, &targets, 1, NULL, &scores))) return;
    int length = clf_scores_length(scores, 0), index = 0;
    for (char *at = row[2], *end; *at && index < length; at = end, index++) {
        double expected = strtod(at, &end);
        CU_ASSERT_DOUBLE_EQUAL(clf_scores_token(scores, 0, index), expected, 1e-4);
    }
    CU_ASSERT_EQUAL(index, length);
    clf_scores_free(scores);
}

static void check_greedy(clf_translator *t, char **row, bool sentencepiece) {
    char source[1024], expected[1024];
    const char *sources = text_of(row[0], sentencepiece, source);
    clf_translate_options options = {.beam = 1, .max_length = 21};
    clf_translations *result;
    if (!CLF_ASSERT_OK(clf_translate(t, &sources, 1, &options, &result))) return;
    CU_ASSERT_STRING_EQUAL(clf_translations_text(result, 0, 0),
                           text_of(row[1], sentencepiece, expected));
    clf_translations_free(result);
}

static void check_ctranslate2(clf_translator *t, const char *directory) {
    golden_table scores, greedy;
    char *spm = clf_path_join(directory, "source.spm");
    bool sentencepiece = clf_file_exists(spm);
    free(spm);
    CU_ASSERT_FATAL(golden_open(directory, "scores.tsv", &scores));
    CU_ASSERT_FATAL(golden_open(directory, "greedy.tsv", &greedy));
    CU_ASSERT(scores.count > 0 && greedy.count > 0);
    for (size_t i = 0; i < scores.count; i++) check_scores(t, scores.rows[i], sentencepiece);
    for (size_t i = 0; i < greedy.count; i++) check_greedy(t, greedy.rows[i], sentencepiece);
    golden_close(&scores);
    golden_close(&greedy);
}

static void ctranslate2_on(clf_device *device) {
    for (size_t i = 0; i < sizeof ctranslate2 / sizeof *ctranslate2; i++) {
        char directory[4096];
        clf_translator *t = open_golden(device, ctranslate2[i]);
        if (!t) continue;
        snprintf(directory, sizeof directory, "%s", clf_test_golden(ctranslate2[i]));
        check_ctranslate2(t, directory);
        clf_translator_close(t);
    }
}

static void test_ctranslate2(void) {
    clf_test_each_device(ctranslate2_on);
}

static const clf_test tests[] = {{"marian", test_marian}, {"ctranslate2", test_ctranslate2}};

CLF_TEST_MAIN("golden", tests)
