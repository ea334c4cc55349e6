// SPDX-License-Identifier: MIT
// Processes that train one model together, each with a device of its own, by MPI; a library built
// without MPI, or a process not started by mpirun, is the only rank.
#ifndef CLF_TRAIN_EXCHANGE_H
#define CLF_TRAIN_EXCHANGE_H

#include "model/model.h"

typedef struct clf_exchange clf_exchange;

clf_status clf_exchange_open(clf_exchange **exchange);
void clf_exchange_close(clf_exchange *exchange); // NULL is allowed
int clf_exchange_rank(const clf_exchange *exchange);
int clf_exchange_count(const clf_exchange *exchange);

// Replaces the gradients of each rank by their sum.
void clf_exchange_gradients(clf_run *run, clf_exchange *exchange, clf_model *gradients);
// The same for numbers on the host.
clf_status clf_exchange_sum(clf_exchange *exchange, double *values, int count);
// The first rank's bytes for all.
clf_status clf_exchange_share(clf_exchange *exchange, void *data, size_t size);

#endif
