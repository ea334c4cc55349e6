// SPDX-License-Identifier: MIT
// Exact counts of n-grams: a tree in which each n-gram is the child of its first n - 1 units, and
// all children are found through one hash table. Units are code points, or words that the same
// tree has numbered.
#ifndef CLF_TEXT_NGRAMS_H
#define CLF_TEXT_NGRAMS_H

#include <stdbool.h>
#include <stdint.h>

#include <clformer/status.h>

#include "base/array.h"

typedef struct clf_ngram {
    uint64_t key;                   // parent and last unit
    uint32_t hypothesis, reference; // occurrences; in the reference `number`
    uint32_t best;                  // most occurrences in one reference
    uint32_t number;
} clf_ngram;

typedef struct clf_ngrams {
    CLF_ARRAY(clf_ngram) nodes;
    uint64_t *slots; // generation, node; those of an earlier generation are free
    size_t slot_count;
    uint32_t generation, number;
} clf_ngrams;

// A zeroed tree is empty once clf_ngrams_clear has been called.
void clf_ngrams_finish(clf_ngrams *ngrams);
// Forgets all n-grams and word numbers; keeps the memory.
clf_status clf_ngrams_clear(clf_ngrams *ngrams);

// Replaces `*words` by the numbers of the words of a text between white space. Equal words have
// equal numbers until the tree is cleared.
clf_status clf_ngrams_words(clf_ngrams *ngrams, const clf_ids *text, clf_ids *words);

// Where n-grams are counted: code points and words are different things even if their numbers
// agree.
typedef enum clf_ngram_unit { CLF_NGRAM_CODEPOINT, CLF_NGRAM_WORD } clf_ngram_unit;

// Counts the n-grams, n = 1..order, of a hypothesis.
clf_status clf_ngrams_add(clf_ngrams *ngrams, clf_ngram_unit unit, const clf_ids *units, int order);

// Begins another reference of the same hypothesis.
void clf_ngrams_next_reference(clf_ngrams *ngrams);

// Adds to matches[n - 1] how many n-grams of a reference the hypothesis has too; each counts as
// often as it occurs in both. With `pooled`, only as far as no earlier reference had as many.
void clf_ngrams_match(clf_ngrams *ngrams, clf_ngram_unit unit, const clf_ids *units, int order,
                      bool pooled, long *matches);

#endif
