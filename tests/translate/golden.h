// SPDX-License-Identifier: MIT
// Golden files: what another library computes with a model. The tests of whole models read them.
//
// A directory of golden files has, tab-separated (ids and numbers blank-separated):
//   greedy.tsv  source | input ids | output ids | sum of log-probabilities | text
//   beam4.tsv   line of greedy.tsv | rank | output ids | score | text
//   logits.tsv  input ids | target ids | rows T | columns V | offset in floats into logits.f32
#ifndef CLF_TESTS_GOLDEN_H
#define CLF_TESTS_GOLDEN_H

#include "translate/translator.h"

// A text file as lines and tab-separated fields.
typedef struct golden_table {
    char *text;
    char ***rows; // rows[i][field], NULL-terminated
    size_t count;
} golden_table;

// False (after failing the test) if the file cannot be read.
bool golden_open(const char *directory, const char *name, golden_table *table);
void golden_close(golden_table *table);

// Blank-separated integers; what `ids` held is dropped.
void golden_ids(const char *text, clf_ids *ids);

// The search that the model's own generation config asks for, with this beam.
clf_generate_options golden_options(const clf_translator *translator, int beam, int nbest);

// Teacher-forced logits of the first `count` cases within 1e-4 of logits.f32.
void golden_check_logits(clf_translator *t, const char *directory, size_t count);
// Tokens of the first `count` lines equal and their sums within 1e-4 a token; then the tokens of
// the first few in a search without scores.
void golden_check_greedy(clf_translator *t, const char *directory, size_t count);
// All four hypotheses of each line equal and their scores within 1e-4.
void golden_check_beam(clf_translator *t, const char *directory, size_t count);

#endif
