// SPDX-License-Identifier: MIT
// The whole state of a training in one file, OUTPUT/checkpoints/update-00001234.safetensors:
// parameters, moments and average in file layout (so another device can go on), and the numbers
// below in the header, with a hash over everything. Written to a temporary file, synced and
// renamed.
#ifndef CLF_TRAIN_CHECKPOINT_H
#define CLF_TRAIN_CHECKPOINT_H

#include "base/hash.h"
#include "text/corpus.h"
#include "train/optimizer.h"

typedef struct clf_train_state {
    int64_t updates, skipped;
    uint64_t passes; // micro-batches so far, of all ranks: the dropout's step
    clf_batches_position position;
    uint64_t source_tokens, target_tokens;
    double best;                // of the validations; NaN: none yet
    int64_t best_update;        // its update
    int since_best;             // validations since then
    float loss_scale;           // of half mode
    char recipe[CLF_HASH_TEXT]; // of options that may not change when a training goes on
} clf_train_state;

clf_status clf_checkpoint_save(const char *path, clf_model *model, clf_optimizer *optimizer,
                               const clf_train_state *state);
// Fails with CLF_ERROR_FORMAT if the file is damaged or of another model; the model may be changed
// then.
clf_status clf_checkpoint_load(const char *path, clf_model *model, clf_optimizer *optimizer,
                               clf_train_state *state);

// The checkpoints of a directory by falling update; freed by clf_checkpoint_list_free. An absent
// directory has none.
clf_status clf_checkpoint_list(const char *directory, char ***paths, int *count);
void clf_checkpoint_list_free(char **paths, int count);
// Removes all but the newest `keep`, and what interrupted writes left behind.
clf_status clf_checkpoint_prune(const char *directory, int keep);

// `model` becomes the mean of the weights of these checkpoints.
clf_status clf_checkpoint_average(char *const *paths, int count, clf_model *model);

#endif
