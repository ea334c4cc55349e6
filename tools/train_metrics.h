// SPDX-License-Identifier: MIT
// What a training measured: kept in memory for the report, and in a file of JSON lines
// (docs/training.md) for everybody else.
#ifndef CLF_TOOLS_TRAIN_METRICS_H
#define CLF_TOOLS_TRAIN_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <clformer/clformer.h>

typedef struct metrics {
    clf_train_progress *progress; // by rising update
    size_t progress_count, progress_capacity;
    clf_train_validation *validations;
    size_t validation_count, validation_capacity;
    char *path;
    FILE *file; // NULL: it could not be written, which was said
} metrics;

// What the line of a start says besides numbers.
typedef struct metrics_start {
    const char *device, *command;
    const clf_train_plan *plan;
    uint64_t update; // done before
} metrics_start;

// Opens the file for a training that goes on after start->update: what the file says of later
// updates is cut away, all of it after update 0, and the rest is read. Never fails: what cannot be
// written is said once, and the training goes on without.
void metrics_open(metrics *m, const char *path, const metrics_start *start);
void metrics_add_progress(metrics *m, const clf_train_progress *progress);
void metrics_add_validation(metrics *m, const clf_train_validation *validation);
void metrics_add_checkpoint(metrics *m, uint64_t update, const char *path);
void metrics_close(metrics *m);

// A file that replaces `path` once it is complete.
typedef struct replacement {
    const char *path;
    char *temporary;
    FILE *file;
} replacement;

bool replacement_open(replacement *r, const char *path);
// Puts it in place; false with errno set, and `path` as it was, if something could not be written.
bool replacement_finish(replacement *r);

#endif
