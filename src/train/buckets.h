// SPDX-License-Identifier: MIT
// Gradients in pieces of some megabytes, in the order in which the backward pass completes them.
// Private to src/train/.
#ifndef CLF_TRAIN_BUCKETS_H
#define CLF_TRAIN_BUCKETS_H

#include "base/hash.h"
#include "model/model.h"

typedef struct clf_bucket {
    clf_tensor range; // (1, n) floats, parameters and the padding between them
    int stage;        // complete when the backward pass has reached this clf_bucket_stage
} clf_bucket;

// The stages of a backward pass count from 0: the decoder's layers from the last to the first, what
// stands outside its layers (layer -1), then the encoder's likewise.
int clf_bucket_stage(const clf_config *config, clf_side side, int layer);

// Covers each parameter's gradient once by ranges of at most `floats`, in the order of their
// stages; neighbours are joined as far as that goes. `*buckets` is freed with free().
clf_status clf_buckets_list(clf_model *gradients, int floats, clf_bucket **buckets, int *count);

// Hash of where each parameter's numbers stand: models of like hash may be summed range by range.
clf_status clf_buckets_layout(clf_model *model, char hash[CLF_HASH_TEXT]);

#endif
