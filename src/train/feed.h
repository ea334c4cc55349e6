// SPDX-License-Identifier: MIT
// From a corpus to the device: one micro-batch after another, with what is done to the decoder's
// inputs. Private to src/train/.
#ifndef CLF_TRAIN_FEED_H
#define CLF_TRAIN_FEED_H

#include "text/corpus.h"
#include "train/batch.h"

// A micro-batch on the host: views into the corpus, valid until the next one is asked for.
typedef struct clf_feed {
    const clf_corpus *corpus;
    clf_batches *batches;
    clf_tokens *sources, *targets, *inputs;
    int count, room; // pairs; of the arrays
    int source_tokens, target_tokens;
    int32_t *changed; // the tokens of `inputs`, start tokens included
    int changed_room;
} clf_feed;

clf_status clf_feed_init(clf_feed *feed, const clf_corpus *corpus,
                         const clf_batches_options *options);
void clf_feed_finish(clf_feed *feed); // a zeroed one is allowed

// The next micro-batch; at the end of an epoch the first of the next one. `*ended`, unless NULL,
// says whether an epoch ended before it.
clf_status clf_feed_next(clf_feed *feed, bool *ended);

// What the decoder reads in place of the true targets shifted by one. Start tokens stay.
typedef struct clf_feed_change {
    double truth;               // probability that a true token stays; else ...
    const int32_t *predictions; // ... the prediction of the position before it, one per target row
    float noise;                // share of tokens replaced by random ones afterwards
    int32_t start, vocabulary;
    uint64_t seed;
} clf_feed_change;
// Fills feed->inputs.
clf_status clf_feed_alter(clf_feed *feed, const clf_feed_change *change);

// `altered`: with feed->inputs.
clf_train_batch clf_feed_upload(clf_run *run, const clf_feed *feed, const clf_model *model,
                                clf_arena *arena, bool altered);

#endif
