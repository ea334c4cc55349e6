// SPDX-License-Identifier: MIT
// A corpus's file of tokens: blocks, their places, a tail. Every number is as the machine has it.
//     block: for each of its pairs an entry, then the tokens (int32), filled up to eight bytes
//     places: the byte at which each block begins, then that at which the last one ends (uint64)
// The tail comes last, so that a file cut short has none.
#ifndef CLF_TEXT_CORPUS_FILE_H
#define CLF_TEXT_CORPUS_FILE_H

#include "base/hash.h"
#include "text/corpus.h"

enum { CLF_CORPUS_BLOCK = 1024 }; // pairs of each block but the last

typedef struct clf_corpus_entry {
    uint64_t line;
    uint64_t begin; // of the source among the block's tokens; the target follows
    uint32_t source_length, target_length;
} clf_corpus_entry;

#define CLF_CORPUS_MAGIC "clfcorp"
enum { CLF_CORPUS_VERSION = 1 };

typedef struct clf_corpus_tail {
    char magic[8];
    uint64_t version;
    clf_hash key; // of all that the tokens were made from
    clf_corpus_counts counts;
    uint64_t sum; // of all bytes before it
} clf_corpus_tail;

// Adds `size` bytes, a multiple of four, to a sum that tells of damage, several times as fast as a
// clf_hash. Starts with 0.
uint64_t clf_corpus_sum(uint64_t sum, const void *data, size_t size);

// Writes the file.
clf_status clf_corpus_build(const char *path, const clf_corpus_options *options,
                            const clf_tokenizer *tokenizer, clf_hash key);

#endif
