// SPDX-License-Identifier: MIT
// Everything a training shows: lines on standard error, metrics.jsonl and report.html in the
// model's directory, the BLEU of the validation text.
#ifndef CLF_TOOLS_TRAIN_WATCH_H
#define CLF_TOOLS_TRAIN_WATCH_H

#include <clformer/clformer.h>

#include "train_bleu.h"

typedef struct watch watch;

// All of it must live as long as the watch.
typedef struct watch_options {
    clf_device *device;
    const char *output, *command;
    const valid_text *valid; // NULL: no BLEU
    valid_options valid_options;
    int log_every; // updates between lines of metrics.jsonl; 0: fitted to the training's length
    bool quiet;    // no lines
} watch_options;

// NULL after a message.
watch *watch_create(const watch_options *options);
void watch_destroy(watch *w); // NULL is allowed

clf_train_events watch_events(watch *w);
// Says how the training ended and completes the report.
void watch_finish(watch *w, clf_status status);

#endif
