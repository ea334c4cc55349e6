// SPDX-License-Identifier: MIT
// Without MPI: one rank.
#include "train/exchange.h"

#include <stdlib.h>

#include <clformer/train.h>

#include "base/fail.h"

struct clf_exchange {
    int count;
};

clf_status clf_exchange_open(clf_exchange **exchange) {
    clf_exchange *opened = calloc(1, sizeof *opened);
    if (!opened) return clf_fail_memory();
    opened->count = 1;
    *exchange = opened;
    return CLF_OK;
}

void clf_exchange_close(clf_exchange *exchange) {
    free(exchange);
}

int clf_exchange_rank(const clf_exchange *exchange) {
    (void)exchange;
    return 0;
}

int clf_exchange_count(const clf_exchange *exchange) {
    return exchange->count;
}

clf_status clf_exchange_sum(clf_exchange *exchange, double *values, int count) {
    (void)exchange, (void)values, (void)count;
    return CLF_OK;
}

clf_status clf_exchange_least(clf_exchange *exchange, int *value) {
    (void)exchange, (void)value;
    return CLF_OK;
}

clf_status clf_exchange_share(clf_exchange *exchange, void *data, size_t size) {
    (void)exchange, (void)data, (void)size;
    return CLF_OK;
}

clf_status clf_exchange_prepare(clf_exchange *exchange, clf_model *gradients) {
    (void)exchange, (void)gradients;
    return CLF_OK;
}

clf_status clf_exchange_begin(clf_exchange *exchange) {
    (void)exchange;
    return CLF_OK;
}

void clf_exchange_ready(void *exchange, clf_run *run, clf_side side, int layer) {
    (void)exchange, (void)run, (void)side, (void)layer;
}

void clf_exchange_finish(clf_run *run, clf_exchange *exchange) {
    (void)run, (void)exchange;
}

clf_status clf_train_get_rank(clf_train_rank *rank) {
    *rank = (clf_train_rank){.count = 1};
    return CLF_OK;
}
