// SPDX-License-Identifier: MIT
// A parallel corpus of any size as token ids on disk, read through a map and never held in memory,
// and its batches in a random order that repeats.
#ifndef CLF_TEXT_CORPUS_H
#define CLF_TEXT_CORPUS_H

#include <stdint.h>

#include "base/array.h"
#include "text/tokenizer.h"

typedef struct clf_corpus clf_corpus;

typedef struct clf_corpus_options {
    const char *source_path,
        *target_path; // line i of one is the translation of line i of the other
    // Where the tokens are kept, a file that is made if it is absent, damaged or made from other
    // texts, tokenizers or lengths. Its directory exists. NULL: an unnamed file in /tmp.
    const char *cache_path;
    int max_source, max_target; // tokens, end tokens included; longer pairs are left out
    int32_t eos;                // appended to each target (the tokenizer appends the source's)
    // Asked now and then with the share that is done; a non-zero result cancels. May be NULL.
    int (*progress)(void *user, double share);
    void *user;
} clf_corpus_options;

// Lines of different number, lines empty on one side and invalid UTF-8 are CLF_ERROR_FORMAT with
// the file's name and the line's number. Lines empty on both sides are left out and counted.
clf_status clf_corpus_open(const clf_corpus_options *options, const clf_tokenizer *tokenizer,
                           clf_corpus **corpus);
void clf_corpus_close(clf_corpus *corpus); // NULL is allowed

typedef struct clf_corpus_counts {
    uint64_t lines, pairs;                 // in the files; usable
    uint64_t too_long, empty;              // left out
    uint64_t source_tokens, target_tokens; // of usable pairs
    int longest_source, longest_target;
} clf_corpus_counts;
const clf_corpus_counts *clf_corpus_count(const clf_corpus *corpus);

// A pair's tokens, valid while the corpus is open. `pair` is below counts.pairs.
typedef struct clf_corpus_pair {
    const int32_t *source, *target;
    int source_length, target_length;
    uint64_t line; // counted from 1
} clf_corpus_pair;
clf_corpus_pair clf_corpus_get(const clf_corpus *corpus, uint64_t pair);

// Tells the system that no pair that was got so far will be read again soon, so that they leave
// memory. Pointers stay valid.
void clf_corpus_forget(const clf_corpus *corpus);

// The batches of one epoch after another: pairs are shuffled, cut into batches of like length, and
// the batches are shuffled. Large corpora are shuffled in windows made of random blocks, so that
// memory is bounded (the tokens of 2^17 pairs and five megabytes) and reading stays local. The
// order follows from the seed and the epoch alone.
typedef struct clf_batches clf_batches;

typedef struct clf_batches_options {
    uint64_t seed;
    int tokens;    // most source + target tokens of a batch; a longer pair makes a batch alone
    int sentences; // most pairs of a batch; 0: no limit
    bool ordered;  // no shuffling, for validation: like lengths only
} clf_batches_options;

// Where a walk stands; two integers say it all, for checkpoints.
typedef struct clf_batches_position {
    uint64_t epoch, batch; // both from 0
} clf_batches_position;

clf_status clf_batches_create(const clf_corpus *corpus, const clf_batches_options *options,
                              clf_batches **batches);
void clf_batches_destroy(clf_batches *batches); // NULL is allowed

// Goes to a position. One past an epoch's last batch is the epoch's end, of which the next call
// tells; a batch further on is CLF_ERROR_ARGUMENT, and the walk is then at its epoch's start.
clf_status clf_batches_seek(clf_batches *batches, clf_batches_position position);
clf_batches_position clf_batches_tell(const clf_batches *batches);
// The numbers of the next batch's pairs, valid until the next call on `batches`. `*count` is 0
// once at the end of each epoch; the call after it begins the next one.
clf_status clf_batches_next(clf_batches *batches, const uint64_t **pairs, int *count);

#endif
