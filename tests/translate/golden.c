// SPDX-License-Identifier: MIT
#include "golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "harness.h"

static size_t count_char(const char *text, char c) {
    size_t count = 0;
    for (; *text; text++) count += *text == c;
    return count;
}

static char **split_fields(char *line) {
    char **fields = calloc(count_char(line, '\t') + 2, sizeof *fields);
    for (size_t i = 0; fields && line; i++) fields[i] = strsep(&line, "\t");
    return fields;
}

bool golden_open(const char *directory, const char *name, golden_table *table) {
    size_t size;
    *table = (golden_table){0};
    char *path = clf_path_join(directory, name);
    bool good = CLF_ASSERT_OK(clf_file_read(path, 64 << 20, &table->text, &size));
    free(path);
    if (!good) return false;
    table->rows = calloc(count_char(table->text, '\n') + 1, sizeof *table->rows);
    for (char *rest = table->text; table->rows && *rest;) {
        table->rows[table->count++] = split_fields(strsep(&rest, "\n"));
        if (!rest) break;
    }
    return true;
}

void golden_close(golden_table *table) {
    for (size_t i = 0; i < table->count; i++) free(table->rows[i]);
    free(table->rows);
    free(table->text);
}

void golden_ids(const char *text, clf_ids *ids) {
    ids->count = 0;
    for (char *end; *text; text = end) {
        long id = strtol(text, &end, 10);
        if (end == text) break;
        CU_ASSERT_FATAL(clf_array_push(ids, (int32_t)id));
    }
}

clf_generate_options golden_options(const clf_translator *translator, int beam, int nbest) {
    const clf_generation *g = &translator->generation;
    clf_generate_options options = {.search = {.beam = beam,
                                               .nbest = nbest,
                                               .length_penalty = g->length_penalty,
                                               .early_stopping = g->early_stopping,
                                               .max_length = g->max_length,
                                               .min_length = g->min_length,
                                               .eos_count = g->eos_count,
                                               .forced_bos = g->forced_bos,
                                               .forced_eos = g->forced_eos},
                                    .suppress = g->suppress,
                                    .suppress_count = g->suppress_count,
                                    .renormalize = g->renormalize};
    memcpy(options.search.eos, g->eos, sizeof g->eos);
    return options;
}

// ---- logits -------------------------------------------------------------------------------------

static void check_logits(clf_translator *t, char **row, const clf_file_map *all) {
    clf_ids source = {0}, target = {0};
    golden_ids(row[0], &source);
    golden_ids(row[1], &target);
    size_t rows = strtoul(row[2], NULL, 10), cols = strtoul(row[3], NULL, 10);
    size_t offset = strtoul(row[4], NULL, 10);
    float *logits = malloc(rows * cols * sizeof *logits), worst = 0;
    CU_ASSERT_PTR_NOT_NULL_FATAL(logits);
    CU_ASSERT_EQUAL_FATAL(target.count, rows);
    CU_ASSERT_EQUAL_FATAL((int)cols, clf_model_config(t->model)->target_vocabulary);
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

void golden_check_logits(clf_translator *t, const char *directory, size_t count) {
    golden_table table;
    clf_file_map all;
    char *values = clf_path_join(directory, "logits.f32");
    CU_ASSERT_FATAL(CLF_ASSERT_OK(clf_file_map_open(values, &all)));
    CU_ASSERT_FATAL(golden_open(directory, "logits.tsv", &table));
    CU_ASSERT(table.count >= 1);
    for (size_t i = 0; i < table.count && i < count; i++) check_logits(t, table.rows[i], &all);
    golden_close(&table);
    clf_file_map_close(&all);
    free(values);
}

// ---- search -------------------------------------------------------------------------------------

// `beam` rows of the table belong to each source, in order.
typedef struct expectation {
    const golden_table *table;
    int beam;
    bool sums;      // the table has sums of log-probabilities, not scores
    bool no_scores; // they are not looked at
} expectation;

static void check_hypothesis(const expectation *e, size_t row, clf_hypothesis h) {
    clf_ids expected = {0};
    golden_ids(e->table->rows[row][2], &expected);
    double found = (double)(e->sums ? h.sum : h.score),
           score = strtod(e->table->rows[row][3], NULL);
    bool same = (size_t)h.length == expected.count &&
                memcmp(h.tokens, expected.data, expected.count * sizeof(int32_t)) == 0;
    // A score is a mean over the tokens; a sum may be off by as much for each of them.
    double tolerance = e->sums ? 1e-4 * h.length : 1e-4;
    bool right = same && (e->no_scores || fabs(found - score) <= tolerance);
    if (!right) {
        printf("\n  row %zu: score %.6f, expected %.6f, tokens %s", row + 1, found, score,
               same ? "equal" : "differ");
    }
    CU_ASSERT(right);
    clf_array_free(&expected);
}

static void check_batch(clf_translator *t, const clf_ids *sources, size_t first, size_t count,
                        const expectation *e) {
    clf_tokens tokens[64];
    clf_search *search;
    clf_generate_options options = golden_options(t, e->beam, e->beam);
    options.no_scores = e->no_scores;
    for (size_t i = 0; i < count; i++) {
        tokens[i] = (clf_tokens){sources[first + i].data, (int)sources[first + i].count};
    }
    if (!CLF_ASSERT_OK(clf_generate(t->generator, tokens, NULL, (int)count, &options, &search))) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        CU_ASSERT_EQUAL(clf_search_hypotheses(search, (int)i), e->beam);
        for (int r = 0; r < clf_search_hypotheses(search, (int)i); r++) {
            check_hypothesis(e, (first + i) * (size_t)e->beam + (size_t)r,
                             clf_search_hypothesis(search, (int)i, r));
        }
    }
    clf_search_destroy(search);
}

static void check_search(clf_translator *t, const char *directory, const char *name, size_t count,
                         expectation e) {
    enum { BATCH = 64 };
    golden_table greedy, table;
    CU_ASSERT_FATAL(golden_open(directory, "greedy.tsv", &greedy));
    CU_ASSERT_FATAL(golden_open(directory, name, &table));
    CU_ASSERT_EQUAL_FATAL(table.count, greedy.count * (size_t)e.beam);
    clf_ids *sources = calloc(greedy.count, sizeof *sources);
    CU_ASSERT_PTR_NOT_NULL_FATAL(sources);
    e.table = &table;
    if (count > greedy.count) count = greedy.count;
    for (size_t i = 0; i < count; i++) golden_ids(greedy.rows[i][1], &sources[i]);
    for (size_t i = 0; i < count; i += BATCH) {
        check_batch(t, sources, i, count - i < BATCH ? count - i : BATCH, &e);
    }
    for (size_t i = 0; i < count; i++) clf_array_free(&sources[i]);
    free(sources);
    golden_close(&greedy);
    golden_close(&table);
}

void golden_check_greedy(clf_translator *t, const char *directory, size_t count) {
    enum { FEW = 8 }; // numbers of rows, each of which takes kernels of its own
    check_search(t, directory, "greedy.tsv", count, (expectation){.beam = 1, .sums = true});
    CLF_ASSERT_OK(clf_generator_make_screen(t->generator));
    check_search(t, directory, "greedy.tsv", count < FEW ? count : FEW,
                 (expectation){.beam = 1, .no_scores = true});
}

void golden_check_beam(clf_translator *t, const char *directory, size_t count) {
    check_search(t, directory, "beam4.tsv", count, (expectation){.beam = 4});
}
