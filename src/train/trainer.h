// SPDX-License-Identifier: MIT
// A running training. Private to src/train/.
#ifndef CLF_TRAIN_TRAINER_H
#define CLF_TRAIN_TRAINER_H

#include "formats/save.h"
#include "train/checkpoint.h"
#include "train/exchange.h"
#include "train/feed.h"
#include "train/recipe.h"

typedef struct clf_trainer {
    clf_device *device;
    clf_train_options options; // resolved
    clf_train_events events;
    clf_exchange *exchange;
    clf_vocabulary_files files;
    clf_tokenizer *tokenizer;
    clf_config config;
    clf_generation generation;
    clf_save_kind save_kind; // of the directory that the training is for
    clf_model *model;
    clf_model *half;   // what passes read in half mode, else NULL
    clf_model *merged; // the mean of checkpoints; NULL unless it is asked for
    clf_optimizer *optimizer;
    clf_corpus *corpus, *valid_corpus; // the latter may be NULL
    clf_feed feed, valid_feed;
    clf_arena *arena; // of one micro-batch
    clf_schedule schedule;
    clf_train_state state;
    clf_train_plan plan;
    char *checkpoints; // directory
    // For progress: since the start or resumption, and since the last report.
    int64_t started, reported;
    uint64_t started_tokens, started_updates, batches_per_epoch;
    bool cancelled;
} clf_trainer;

// ---- plan.c ----
// Walks one epoch, chooses the batch's tokens if the options leave that open, and fills t->plan,
// t->schedule and t->feed. Fails if the device has not the memory.
clf_status clf_trainer_plan(clf_trainer *t);

// The model that training passes read.
static inline clf_model *clf_trainer_source(const clf_trainer *t) {
    return t->half ? t->half : t->model;
}

// ---- update.c ----
// One update: micro-batches, the sum over ranks, the optimizer. Numbers out of range are
// CLF_ERROR_NUMERIC; in half they lower the loss scale first, and the update is skipped: it does
// not count. `*ended`: an epoch has ended.
clf_status clf_trainer_update(clf_trainer *t, bool *ended);

// ---- align.c ----
// All ranks take over the first one's state, model, moments and average.
clf_status clf_trainer_align(clf_trainer *t);

// ---- validate.c ----
// Validates the model as it would be saved; the best one is saved. Sets state.since_best.
clf_status clf_trainer_validate(clf_trainer *t);
// Saves the model as the directory that the training is for.
clf_status clf_trainer_export(clf_trainer *t, const char *directory);
// Saves the state. All ranks go on with what is saved, so that devices whose roundings differ do
// not drift apart, and a resumed training goes on like this one.
clf_status clf_trainer_checkpoint(clf_trainer *t);

#endif
