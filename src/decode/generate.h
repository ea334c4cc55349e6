// SPDX-License-Identifier: MIT
// Running a search with a model: sources in, hypotheses out.
// Thread-safety: one thread at a time, which holds the device's lock.
#ifndef CLF_DECODE_GENERATE_H
#define CLF_DECODE_GENERATE_H

#include "model/batch.h"
#include "decode/search.h"

// A model with the memory that decoding needs, kept from batch to batch.
typedef struct clf_generator clf_generator;

clf_status clf_generator_create(clf_device *device, const clf_model *model,
                                clf_generator **generator);
void clf_generator_destroy(clf_generator *generator); // NULL is allowed

typedef struct clf_generate_options {
    clf_search_options search;
    const int32_t *suppress; // tokens never produced
    int suppress_count;
    bool renormalize; // leave suppressed tokens out of the softmax
    bool no_scores;   // the hypotheses' scores may be wrong; greedy search is faster then
    // Asked between steps; a non-zero result ends the batch with CLF_ERROR_CANCELLED. May be NULL.
    int (*cancelled)(void *user);
    void *user;
} clf_generate_options;

// Translates a batch of sources, each with at least one token. `prefixes` (one per source, empty
// for none) may be NULL. `*search` holds the hypotheses and is freed by clf_search_destroy.
clf_status clf_generate(clf_generator *generator, const clf_tokens *sources,
                        const clf_tokens *prefixes, int count, const clf_generate_options *options,
                        clf_search **search);

// Makes the copy of the output projection (clf_screen) that a search without scores uses, however
// small that is: for tests. Else such a search makes it when it pays.
clf_status clf_generator_make_screen(clf_generator *generator);

// Log-probabilities of given targets, each with at least one token (the end token as its last, if
// it is to count): logprobs receives one value per target token, one target after another.
// Tokens in `suppress` are left out of the softmax if `renormalize` is set.
clf_status clf_generator_score(clf_generator *generator, const clf_tokens *sources,
                               const clf_tokens *targets, int count,
                               const clf_generate_options *options, float *logprobs);

// Teacher-forced logits (T, V) of one source and target, for tests and analysis.
clf_status clf_generator_logits(clf_generator *generator, clf_tokens source, clf_tokens target,
                                float *logits);

#endif
