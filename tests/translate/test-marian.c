// SPDX-License-Identifier: MIT
// A real model of 7.6 million parameters against what Hugging Face transformers made of it.
// Skipped where the model is absent.
#include "golden.h"
#include "harness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

static char model_path[4096];

static bool find_model(void) {
    const char *path = clf_test_shared("models/marian-zh-en");
    if (!path) {
        clf_test_skip("models/marian-zh-en is absent");
        return false;
    }
    snprintf(model_path, sizeof model_path, "%s", path);
    return true;
}

static char *golden_path(void) {
    return clf_path_join(model_path, "golden");
}

// A software renderer takes minutes where others take seconds.
static size_t enough(clf_device *device, size_t count, size_t few) {
    clf_device_info info;
    clf_device_get_info(device, &info);
    return info.kind == CLF_DEVICE_EMULATOR && count > few ? few : count;
}

// ---- logits -------------------------------------------------------------------------------------

static void check_logits(clf_translator *t, char **row, const clf_file_map *all) {
    clf_ids source = {0}, target = {0};
    golden_ids(row[0], &source);
    golden_ids(row[1], &target);
    size_t rows = strtoul(row[2], NULL, 10), cols = strtoul(row[3], NULL, 10);
    size_t offset = strtoul(row[4], NULL, 10);
    float *logits = malloc(rows * cols * sizeof *logits), worst = 0;
    CU_ASSERT_EQUAL_FATAL(target.count, rows);
    CU_ASSERT_FATAL((offset + rows * cols) * sizeof(float) <= all->size);
    CLF_ASSERT_OK(clf_generator_logits(t->generator, (clf_tokens){source.data, (int)source.count},
                                       (clf_tokens){target.data, (int)target.count}, logits));
    const float *expected = (const float *)all->data + offset;
    for (size_t i = 0; i < rows * cols; i++) {
        float difference = fabsf(logits[i] - expected[i]);
        if (!(difference <= worst)) worst = difference;
    }
    if (!(worst <= 1e-4f)) printf("logits differ by %g ", (double)worst);
    CU_ASSERT(worst <= 1e-4f);
    free(logits);
    clf_array_free(&source);
    clf_array_free(&target);
}

static void logits_on(clf_device *device) {
    clf_translator *t;
    golden_table table;
    clf_file_map all;
    if (!CLF_ASSERT_OK(clf_translator_open(device, model_path, NULL, &t))) return;
    char *golden = golden_path(), *values = clf_path_join(golden, "logits.f32");
    CU_ASSERT_FATAL(CLF_ASSERT_OK(clf_file_map_open(values, &all)));
    CU_ASSERT_FATAL(golden_open(golden, "logits.tsv", &table));
    CU_ASSERT(table.count >= 6);
    for (size_t i = 0; i < table.count; i++) check_logits(t, table.rows[i], &all);
    golden_close(&table);
    clf_file_map_close(&all);
    free(values);
    free(golden);
    clf_translator_close(t);
}

static void test_logits(void) {
    if (find_model()) clf_test_each_device(logits_on);
}

// ---- search -------------------------------------------------------------------------------------

// The rows of a golden table that belong to one source.
typedef struct expectation {
    clf_translator *t;
    const golden_table *table;
    const size_t *first_row; // of each source
    int ids_field, score_field;
    bool sums; // the score is a sum of log-probabilities, else it is normalised by the length
    size_t wrong;
} expectation;

static bool same_tokens(const clf_hypothesis *h, const clf_ids *expected) {
    return (size_t)h->length == expected->count &&
           memcmp(h->tokens, expected->data, expected->count * sizeof(int32_t)) == 0;
}

static void check_hypotheses(void *user, size_t source, const clf_search *search, int sentence) {
    expectation *e = user;
    clf_ids expected = {0};
    size_t first = e->first_row[source], last = e->first_row[source + 1];
    CU_ASSERT_EQUAL((size_t)clf_search_hypotheses(search, sentence), last - first);
    for (size_t row = first; row < last; row++) {
        clf_hypothesis h = clf_search_hypothesis(search, sentence, (int)(row - first));
        char **fields = e->table->rows[row];
        golden_ids(fields[e->ids_field], &expected);
        double score = strtod(fields[e->score_field], NULL);
        double difference = fabs((double)(e->sums ? h.sum : h.score) - score);
        // The greedy sums of the golden file stray from a pass in double by up to 1.3e-4.
        bool right = same_tokens(&h, &expected) && difference <= (e->sums ? 2e-4 : 1e-4);
        if (!right) {
            printf("\n  source %zu rank %zu: score %.6f, expected %.6f, tokens %s", source + 1,
                   row - first + 1, (double)(e->sums ? h.sum : h.score), score,
                   same_tokens(&h, &expected) ? "equal" : "differ");
        }
        CU_ASSERT(right);
    }
    clf_array_free(&expected);
}

// Source ids are in the greedy table; `table` lists the hypotheses in the sources' order.
static void check_search(clf_device *device, const char *name, int beam, size_t few) {
    clf_translator *t;
    golden_table greedy, table;
    if (!CLF_ASSERT_OK(clf_translator_open(device, model_path, NULL, &t))) return;
    char *golden = golden_path();
    CU_ASSERT_FATAL(golden_open(golden, "greedy.tsv", &greedy));
    CU_ASSERT_FATAL(golden_open(golden, name, &table));
    size_t count = enough(device, greedy.count, few);
    clf_ids *sources = calloc(greedy.count, sizeof *sources);
    size_t *first_row = calloc(greedy.count + 1, sizeof *first_row);
    CU_ASSERT_FATAL(sources && first_row);
    for (size_t i = 0; i < greedy.count; i++) {
        golden_ids(greedy.rows[i][1], &sources[i]);
        first_row[i + 1] = (i + 1) * (size_t)beam;
    }
    CU_ASSERT_EQUAL(table.count, first_row[greedy.count]);
    expectation e = {.t = t,
                     .table = &table,
                     .first_row = first_row,
                     .ids_field = 2,
                     .score_field = 3,
                     .sums = beam == 1};
    clf_generate_options options = golden_options(t, beam, beam);
    golden_search(t, sources, count, 64, &options, check_hypotheses, &e);
    for (size_t i = 0; i < greedy.count; i++) clf_array_free(&sources[i]);
    free(sources);
    free(first_row);
    golden_close(&greedy);
    golden_close(&table);
    free(golden);
    clf_translator_close(t);
}

static void greedy_on(clf_device *device) {
    check_search(device, "greedy.tsv", 1, 32);
}

static void beam_on(clf_device *device) {
    check_search(device, "beam4.tsv", 4, 16);
}

static void test_greedy(void) {
    if (find_model()) clf_test_each_device(greedy_on);
}

static void test_beam(void) {
    if (find_model()) clf_test_each_device(beam_on);
}

// ---- text ---------------------------------------------------------------------------------------

static void text_on(clf_device *device) {
    clf_translator *t;
    golden_table table;
    if (!CLF_ASSERT_OK(clf_translator_open(device, model_path, NULL, &t))) return;
    char *golden = golden_path();
    CU_ASSERT_FATAL(golden_open(golden, "greedy.tsv", &table));
    size_t count = enough(device, table.count, 24);
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
    free(golden);
    clf_translator_close(t);
}

static void test_text(void) {
    if (find_model()) clf_test_each_device(text_on);
}

// Scores of the greedy translations are the sums that the search found.
static void score_on(clf_device *device) {
    clf_translator *t;
    golden_table table;
    if (!CLF_ASSERT_OK(clf_translator_open(device, model_path, NULL, &t))) return;
    char *golden = golden_path();
    CU_ASSERT_FATAL(golden_open(golden, "greedy.tsv", &table));
    clf_generate_options options = golden_options(t, 1, 1);
    clf_ids source = {0}, target = {0};
    for (size_t i = 0; i < 20; i++) {
        float logprobs[512], sum = 0;
        golden_ids(table.rows[i][1], &source);
        golden_ids(table.rows[i][2], &target);
        clf_tokens sources = {source.data, (int)source.count};
        clf_tokens targets = {target.data, (int)target.count};
        CLF_ASSERT_OK(clf_generator_score(t->generator, &sources, &targets, 1, &options, logprobs));
        for (size_t k = 0; k < target.count; k++) sum += logprobs[k];
        CU_ASSERT_DOUBLE_EQUAL(sum, strtod(table.rows[i][3], NULL), 2e-4); // see check_hypotheses
    }
    clf_array_free(&source);
    clf_array_free(&target);
    golden_close(&table);
    free(golden);
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
