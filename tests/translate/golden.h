// SPDX-License-Identifier: MIT
// Golden files of a model directory, made by another library: what the tests of whole models read.
#ifndef CLF_TESTS_GOLDEN_H
#define CLF_TESTS_GOLDEN_H

#include "translate/translator.h"

// Splits a text file into lines and tab-separated fields.
typedef struct golden_table {
    char *text;
    char ***rows; // rows[i][field], NULL-terminated
    size_t count;
} golden_table;

// False (after failing the test) if the file cannot be read.
bool golden_open(const char *directory, const char *name, golden_table *table);
void golden_close(golden_table *table);

// Blank-separated integers; the caller clears the array.
void golden_ids(const char *text, clf_ids *ids);

// The search that the model's own generation config asks for, with this beam.
clf_generate_options golden_options(const clf_translator *translator, int beam, int nbest);

// Searches `count` sources in batches of at most `batch` and calls `check` with every result, in
// order.
void golden_search(clf_translator *translator, const clf_ids *sources, size_t count, size_t batch,
                   const clf_generate_options *options,
                   void (*check)(void *user, size_t source, const clf_search *search, int sentence),
                   void *user);

#endif
