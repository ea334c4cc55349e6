// SPDX-License-Identifier: MIT
// Processes that train one model together, each with a device of its own, by MPI; a library built
// without MPI, or a process not started by mpirun, is the only rank.
//
// All ranks make the same calls in the same order. One that fails closes its exchange, or exits:
// then the next call of each other one fails as well, so that none waits for ever.
#ifndef CLF_TRAIN_EXCHANGE_H
#define CLF_TRAIN_EXCHANGE_H

#include "model/model.h"

typedef struct clf_exchange clf_exchange;

clf_status clf_exchange_open(clf_exchange **exchange);
void clf_exchange_close(clf_exchange *exchange); // NULL is allowed
int clf_exchange_rank(const clf_exchange *exchange);
int clf_exchange_count(const clf_exchange *exchange);

// Replaces each value by its sum over the ranks; without values all wait for one another.
clf_status clf_exchange_sum(clf_exchange *exchange, double *values, int count);
// Replaces the value by the least one of all ranks.
clf_status clf_exchange_least(clf_exchange *exchange, int *value);
// The first rank's bytes for all.
clf_status clf_exchange_share(clf_exchange *exchange, void *data, size_t size);

// Makes ready to sum these gradients, which outlive the exchange. Fails if other ranks lay out the
// model differently, as different kinds of devices do.
clf_status clf_exchange_prepare(clf_exchange *exchange, clf_model *gradients);
// The sum of the gradients of an update, while the last pass that adds to them is still computing:
//     begin; a pass with clf_exchange_ready as its `ready` (train/pass.h); finish.
// After a successful begin, finish is called even if the pass fails: the others count on it.
clf_status clf_exchange_begin(clf_exchange *exchange);
void clf_exchange_ready(void *exchange, clf_run *run, clf_side side, int layer);
// The gradients of each rank are their sum when it returns. A begin that failed is allowed.
void clf_exchange_finish(clf_run *run, clf_exchange *exchange);

#endif
