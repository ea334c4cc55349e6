// SPDX-License-Identifier: MIT
// Pairs of token sequences on their way to the device.
#ifndef CLF_TRAIN_BATCH_H
#define CLF_TRAIN_BATCH_H

#include "model/batch.h"
#include "train/pass.h"

// Uploads `count` pairs, each with at least one token on both sides (the end tokens included). The
// decoder's inputs are the targets shifted by one; `inputs`, unless NULL, are taken instead, the
// start token included (token noise, scheduled sampling). Memory comes from `arena`.
clf_train_batch clf_train_batch_upload(clf_run *run, const clf_model *model, clf_arena *arena,
                                       const clf_tokens *sources, const clf_tokens *targets,
                                       const clf_tokens *inputs, int count);

#endif
