// SPDX-License-Identifier: MIT
#include "golden.h"

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

void golden_search(clf_translator *translator, const clf_ids *sources, size_t count, size_t batch,
                   const clf_generate_options *options,
                   void (*check)(void *user, size_t source, const clf_search *search, int sentence),
                   void *user) {
    clf_tokens *tokens = malloc(batch * sizeof *tokens);
    CU_ASSERT_PTR_NOT_NULL_FATAL(tokens);
    for (size_t first = 0; first < count; first += batch) {
        size_t rows = count - first < batch ? count - first : batch;
        clf_search *search;
        for (size_t i = 0; i < rows; i++) {
            tokens[i] = (clf_tokens){sources[first + i].data, (int)sources[first + i].count};
        }
        if (!CLF_ASSERT_OK(
                clf_generate(translator->generator, tokens, NULL, (int)rows, options, &search))) {
            break;
        }
        for (size_t i = 0; i < rows; i++) check(user, first + i, search, (int)i);
        clf_search_destroy(search);
    }
    free(tokens);
}
