// SPDX-License-Identifier: MIT
// Token sequences on their way to the device.
#ifndef CLF_MODEL_BATCH_H
#define CLF_MODEL_BATCH_H

#include "model/model.h"

// A sequence of token ids; a view.
typedef struct clf_tokens {
    const int32_t *ids;
    int count;
} clf_tokens;

// Packs `count` sequences one after another and uploads them, with one transfer, to `arena`.
// With `shift`, each sequence is written as the decoder's input: the model's start token in front,
// the last token left out.
clf_sequences clf_sequences_upload(clf_run *run, const clf_model *model, clf_arena *arena,
                                   const clf_tokens *sequences, int count, bool shift);

#endif
