// SPDX-License-Identifier: MIT
// Greedy and beam search over a batch of sentences, apart from any model: the search says which
// rows to run, somebody gives the best candidates of each row, the search goes on. The rules are
// those of Hugging Face `generate` (transformers 4.53 and later).
// Thread-safety: one thread at a time.
#ifndef CLF_DECODE_SEARCH_H
#define CLF_DECODE_SEARCH_H

#include <stdbool.h>
#include <stdint.h>

#include <clformer/status.h>

// `n` below: tokens after the start token and the prefix, the end token included.
typedef struct clf_search_options {
    int beam;  // K; 1 is greedy
    int nbest; // hypotheses kept per sentence, at most K
    float length_penalty;
    int early_stopping; // 0 false, 1 true, 2 "never"
    int max_length;     // tokens, start token and prefix included; at least 2
    int min_length;     // likewise: no end token before
    int eos[4];
    int eos_count;
    int forced_bos; // token forced right after the start token (not with a prefix), -1: none
    int forced_eos; // token forced at the last position, -1: none
} clf_search_options;

// What one row (a running hypothesis) must be fed at this step.
typedef struct clf_search_row {
    int32_t token;  // the newest token: the start token at first
    int32_t parent; // the row of the previous step that it continues; at first its own index
    int32_t sentence;
} clf_search_row;

// The best candidates of every row: (rows, k), log-probabilities in descending order. Suppressed
// tokens are not among them. An id of -1 marks the end of the list.
typedef struct clf_search_candidates {
    const float *logprobs;
    const int32_t *tokens;
    int k;
} clf_search_candidates;

typedef struct clf_search clf_search;

// Starts the search of `sentences` sentences. `prefixes[i]` (may be NULL) has prefix_lengths[i]
// tokens that every hypothesis of sentence i begins with; they cost nothing and do not count in n.
// They are copied. A prefix that leaves no room below max_length is CLF_ERROR_ARGUMENT.
clf_status clf_search_create(const clf_search_options *options, int sentences, int32_t start_token,
                             const int32_t *const *prefixes, const int *prefix_lengths,
                             clf_search **search);
void clf_search_destroy(clf_search *search); // NULL is allowed

// The rows of this step, grouped by sentence in order; 0 when all sentences are finished. Running
// sentences contribute between 1 and K rows. `*rows` is valid until the next advance.
int clf_search_rows(const clf_search *search, const clf_search_row **rows);
// The position of this step's tokens: 0 for the start token.
int clf_search_position(const clf_search *search);
// How many candidates per row advance() needs, constant: 1 for greedy search, else K and one more
// for each end token. The best K that do not end, over all rows, are certainly among these.
int clf_search_candidates_needed(const clf_search *search);
// True if the end tokens must not be among this step's candidates (min_length).
bool clf_search_ban_eos(const clf_search *search);
// True if this step's candidates are decided already for every row (prefix or forced token): the
// model must still run, to fill its cache, but the candidates are not looked at.
bool clf_search_forced(const clf_search *search);

// Takes this step's candidates (NULL is allowed if clf_search_forced). A log-probability that is
// not a number is CLF_ERROR_NUMERIC. After a failure only clf_search_destroy may be called.
clf_status clf_search_advance(clf_search *search, const clf_search_candidates *candidates);

// A finished hypothesis: tokens after the start token, prefix included, and the end token if it was
// reached. `score` is sum / n^length_penalty; for greedy search the same formula.
typedef struct clf_hypothesis {
    const int32_t *tokens;
    int length;
    float sum; // of log-probabilities
    float score;
} clf_hypothesis;

// Hypotheses of a sentence: 0 while it runs, then between 1 and nbest. (Where fewer than nbest
// exist, in tiny vocabularies, the library named above fills up with scores of about -1e9.)
int clf_search_hypotheses(const clf_search *search, int sentence);
// The rank-th best hypothesis; rank < clf_search_hypotheses(). Its tokens live as long as `search`.
clf_hypothesis clf_search_hypothesis(const clf_search *search, int sentence, int rank);
// Sentences finished so far.
int clf_search_finished(const clf_search *search);

#endif
