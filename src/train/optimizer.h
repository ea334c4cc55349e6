// SPDX-License-Identifier: MIT
// The parameters' update: gradient clipping, Adam, the average of weights; and learning rates.
#ifndef CLF_TRAIN_OPTIMIZER_H
#define CLF_TRAIN_OPTIMIZER_H

#include "model/model.h"

typedef enum clf_schedule_kind {
    // Linear warm-up over W updates from 0 to the peak, then peak * sqrt(W / u); u counts updates
    // from 1 ("Attention Is All You Need", 5.3, with its own peak instead of C^-1/2 W^-1/2).
    CLF_SCHEDULE_INVERSE_SQRT,
    CLF_SCHEDULE_LINEAR,  // warm-up, then linearly down to 0 at the last update
    CLF_SCHEDULE_COSINE,  // warm-up, then a half cosine down to 0 at the last update
    CLF_SCHEDULE_CONSTANT // warm-up, then the peak
} clf_schedule_kind;

typedef struct clf_schedule {
    clf_schedule_kind kind;
    double peak;
    int64_t warmup; // updates
    int64_t total;  // updates, for the schedules that end
} clf_schedule;

// The learning rate of update u = 1, 2, ...
double clf_schedule_rate(const clf_schedule *schedule, int64_t update);

typedef struct clf_optimizer_options {
    float beta1, beta2, epsilon;
    float decay;   // weight decay of matrices
    float clip;    // largest global norm of the gradient; 0: no limit
    float average; // share of the new weights in the exponential moving average; 0: none
} clf_optimizer_options;

typedef struct clf_optimizer clf_optimizer;

// `model` is trained; the optimizer owns gradients, moments and the average (a copy at first).
clf_status clf_optimizer_create(clf_model *model, const clf_optimizer_options *options,
                                clf_optimizer **optimizer);
void clf_optimizer_destroy(clf_optimizer *optimizer); // NULL is allowed

// Adds of micro-batches go here; zero after creation and after each update.
clf_model *clf_optimizer_gradients(clf_optimizer *optimizer);
// Moments and average, for checkpoints: m, v and the average (NULL if there is none).
clf_model *clf_optimizer_state(clf_optimizer *optimizer, int which);
int64_t clf_optimizer_updates(const clf_optimizer *optimizer); // done so far
void clf_optimizer_set_updates(clf_optimizer *optimizer, int64_t updates);

// |gradients| * scale. Waits for the device. Not finite if a gradient is not.
double clf_optimizer_norm(clf_run *run, clf_optimizer *optimizer, double scale);
// One update with gradients * scale, clipped to the global norm given; the gradients are zero
// afterwards.
void clf_optimizer_update(clf_run *run, clf_optimizer *optimizer, double rate, double scale,
                          double norm);
// Zeroes the gradients without an update.
void clf_optimizer_skip(clf_run *run, clf_optimizer *optimizer);

#endif
