// SPDX-License-Identifier: MIT
// How often each word occurs.
#ifndef CLF_TEXT_WORD_COUNT_H
#define CLF_TEXT_WORD_COUNT_H

#include <clformer/status.h>

#include "base/array.h"

typedef struct clf_word {
    size_t begin, size; // in `text`
    uint64_t count;
} clf_word;

typedef struct clf_word_count { // zeroed before the first use
    clf_string text;            // every word with a NUL
    CLF_ARRAY(clf_word) words;
    uint32_t *slots; // open addressing, linear probing; a word's number + 1, or 0
    size_t slot_count;
} clf_word_count;

clf_status clf_word_count_add(clf_word_count *count, const char *word, size_t size);
// Orders the words, the most frequent first, of equally frequent ones the first by its bytes.
// Nothing can be added afterwards.
void clf_word_count_sort(clf_word_count *count);
void clf_word_count_free(clf_word_count *count);

#endif
