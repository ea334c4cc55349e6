// SPDX-License-Identifier: MIT
// The report of a training: one HTML page with curves that needs nothing besides itself.
#ifndef CLF_TOOLS_TRAIN_REPORT_H
#define CLF_TOOLS_TRAIN_REPORT_H

#include "train_metrics.h"

typedef struct report {
    const char *output; // the model's directory
    const char *device, *command;
    const clf_train_plan *plan;
    const clf_train_progress *last; // the newest; NULL: none yet
    const metrics *metrics;
    const char *state; // "running", "finished", ...
    bool running;      // the page loads itself again now and then
} report;

// Replaces `path`. False with errno set.
bool report_write(const char *path, const report *report);

#endif
