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

// Writes the ids and positions (clf_model_position) of packed sequences; `ids` and `where` have an
// element for each token. `shift` as below.
void clf_sequences_fill(const clf_model *model, const clf_tokens *sequences, int count, bool shift,
                        int32_t *ids, int32_t *where);

// Packs `count` sequences one after another and uploads them, with one transfer, to `arena`.
// With `shift`, each sequence is written as the decoder's input: the model's start token in front,
// the last token left out.
clf_sequences clf_sequences_upload(clf_run *run, const clf_model *model, clf_arena *arena,
                                   const clf_tokens *sequences, int count, bool shift);

#endif
