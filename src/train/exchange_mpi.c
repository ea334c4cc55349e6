// SPDX-License-Identifier: MIT
#include "train/exchange.h"

#include <mpi.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <clformer/train.h>

#include "base/clock.h"
#include "base/fail.h"
#include "train/buckets.h"

enum {
    BUCKET_FLOATS = 1 << 20, // of gradients that are summed at a time
    SHARE_BYTES = 64 << 20,  // that are sent at a time
    WAITING_NAP = 50000,     // nanoseconds between looks at what the others do ...
    COMPUTING_NAP = 250000   // ... and at the device
};

// ---- the process: MPI starts and ends once ----

static struct {
    MPI_Comm all;
    int rank, count, local_rank;
    int error;   // why MPI did not start
    bool joined; // the others count on this rank
    bool broken; // MPI itself failed: the others cannot be told anything any more
} process = {.all = MPI_COMM_NULL, .count = 1, .error = MPI_SUCCESS};

static clf_status check(int code, const char *what) {
    if (code == MPI_SUCCESS) return CLF_OK;
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    process.broken = true;
    MPI_Error_string(code, text, &length);
    return clf_fail(CLF_ERROR_IO, "%s with the other processes of the training: %s", what, text);
}

// Between two looks at work in progress, at first short: waiting must neither delay it nor take the
// processor from a CPU device's kernels.
static void rest(int64_t since, long nap) {
    const struct timespec time = {.tv_nsec = nap};
    if (clf_clock() - since < 200000)
        sched_yield();
    else
        nanosleep(&time, NULL);
}

static int wait_for(MPI_Request *request) {
    const int64_t since = clf_clock();
    for (int done = 0;;) {
        const int code = MPI_Test(request, &done, MPI_STATUS_IGNORE);
        if (done || code != MPI_SUCCESS) return code;
        rest(since, WAITING_NAP);
    }
}

static clf_status reduce(void *values, int count, MPI_Datatype type, MPI_Op op) {
    MPI_Request request;
    int code = MPI_Iallreduce(MPI_IN_PLACE, values, count, type, op, process.all, &request);
    if (code == MPI_SUCCESS) code = wait_for(&request);
    return check(code, "sum numbers");
}

// Before anything is exchanged all ranks meet here, those that leave as well, because they have
// failed or are done.
static clf_status meet(bool leaves) {
    int leaver = leaves ? process.rank + 1 : 0;
    if (process.broken || !process.joined)
        return clf_fail(CLF_ERROR_IO, "the processes of the training have parted already");
    const clf_status status = reduce(&leaver, 1, MPI_INT, MPI_MAX);
    if (status != CLF_OK || leaver == 0) return status;
    process.joined = false;
    if (leaves) return CLF_OK;
    return clf_fail(CLF_ERROR_IO, "process %d of the training has ended; it says why", leaver - 1);
}

static void end_process(void) {
    int finalized = 0;
    MPI_Finalized(&finalized);
    if (finalized) return;
    if (process.broken) MPI_Abort(MPI_COMM_WORLD, 1); // finalising would wait for what is lost
    if (process.joined) meet(true);
    MPI_Finalize();
}

// MPI costs a second to start and may be ill-configured: only those who ask for it get it.
static bool is_under_mpirun(void) {
    static const char *const names[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK",
                                        "PMI_SIZE"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (getenv(names[i])) return true;
    }
    return false;
}

static int join(void) {
    MPI_Comm local;
    int code = MPI_Comm_dup(MPI_COMM_WORLD, &process.all);
    if (code != MPI_SUCCESS) return code;
    MPI_Comm_set_errhandler(process.all, MPI_ERRORS_RETURN);
    MPI_Comm_rank(process.all, &process.rank);
    MPI_Comm_size(process.all, &process.count);
    code =
        MPI_Comm_split_type(process.all, MPI_COMM_TYPE_SHARED, process.rank, MPI_INFO_NULL, &local);
    if (code != MPI_SUCCESS) return code;
    MPI_Comm_rank(local, &process.local_rank);
    process.joined = true;
    return MPI_Comm_free(&local);
}

static void start_process(void) {
    int initialized = 0, level;
    MPI_Initialized(&initialized);
    if (!initialized) {
        if (!is_under_mpirun()) return;
        process.error = MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &level);
        if (process.error != MPI_SUCCESS) return;
        atexit(end_process);
    }
    process.error = join();
}

static clf_status start(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start_process);
    return check(process.error, "getting in touch");
}

clf_status clf_train_get_rank(clf_train_rank *rank) {
    CLF_TRY(start());
    *rank = (clf_train_rank){process.rank, process.count, process.local_rank};
    return CLF_OK;
}

// ---- the exchange ----

// A bucket on its way: read from the device, summed, written back.
typedef struct parcel {
    clf_bucket bucket;
    float *host;
    clf_transfer *transfer;
} parcel;

struct clf_exchange {
    clf_config config;
    parcel *parcels;
    MPI_Request *requests; // one for each parcel
    float *host;
    int count; // of parcels
    int read;  // so many are being read
    bool begun;
};

clf_status clf_exchange_open(clf_exchange **exchange) {
    CLF_TRY(start());
    clf_exchange *opened = calloc(1, sizeof *opened);
    if (!opened) return clf_fail_memory();
    process.joined = process.count > 1 && !process.broken;
    *exchange = opened;
    return CLF_OK;
}

void clf_exchange_close(clf_exchange *exchange) {
    if (!exchange) return;
    if (process.joined) meet(true);
    if (!process.broken) free(exchange->host); // else MPI may still work on it
    free(exchange->parcels);
    free(exchange->requests);
    free(exchange);
}

int clf_exchange_rank(const clf_exchange *exchange) {
    (void)exchange;
    return process.rank;
}

int clf_exchange_count(const clf_exchange *exchange) {
    (void)exchange;
    return process.count;
}

clf_status clf_exchange_sum(clf_exchange *exchange, double *values, int count) {
    (void)exchange;
    if (process.count == 1) return CLF_OK;
    CLF_TRY(meet(false));
    return count > 0 ? reduce(values, count, MPI_DOUBLE, MPI_SUM) : CLF_OK;
}

clf_status clf_exchange_least(clf_exchange *exchange, int *value) {
    (void)exchange;
    if (process.count == 1) return CLF_OK;
    CLF_TRY(meet(false));
    return reduce(value, 1, MPI_INT, MPI_MIN);
}

clf_status clf_exchange_share(clf_exchange *exchange, void *data, size_t size) {
    (void)exchange;
    if (process.count == 1) return CLF_OK;
    CLF_TRY(meet(false));
    for (size_t first = 0; first < size; first += SHARE_BYTES) {
        const size_t left = size - first;
        MPI_Request request;
        int code = MPI_Ibcast((char *)data + first, left < SHARE_BYTES ? (int)left : SHARE_BYTES,
                              MPI_BYTE, 0, process.all, &request);
        if (code == MPI_SUCCESS) code = wait_for(&request);
        CLF_TRY(check(code, "share data"));
    }
    return CLF_OK;
}

// ---- gradients ----

static clf_status check_layout(clf_exchange *exchange, clf_model *gradients) {
    char own[CLF_HASH_TEXT], first[CLF_HASH_TEXT];
    CLF_TRY(clf_buckets_layout(gradients, own));
    memcpy(first, own, sizeof first);
    CLF_TRY(clf_exchange_share(exchange, first, sizeof first));
    if (strcmp(own, first) == 0) return CLF_OK;
    return clf_fail(CLF_ERROR_ARGUMENT,
                    "the devices of processes 0 and %d lay out the model differently: use devices "
                    "of one kind, or give all processes --gemm clblast",
                    process.rank);
}

clf_status clf_exchange_prepare(clf_exchange *exchange, clf_model *gradients) {
    if (process.count == 1) return CLF_OK;
    CLF_TRY(check_layout(exchange, gradients));
    clf_bucket *buckets = NULL;
    int count = 0;
    size_t floats = 0;
    CLF_TRY(clf_buckets_list(gradients, BUCKET_FLOATS, &buckets, &count));
    for (int i = 0; i < count; i++) floats += (size_t)buckets[i].range.cols;
    exchange->config = *clf_model_config(gradients);
    exchange->host = malloc(floats * sizeof *exchange->host);
    exchange->parcels = calloc((size_t)count, sizeof *exchange->parcels);
    exchange->requests = malloc((size_t)count * sizeof *exchange->requests);
    const bool made = exchange->host && exchange->parcels && exchange->requests;
    float *host = exchange->host;
    for (int i = 0; i < count && made; host += buckets[i++].range.cols) {
        exchange->parcels[i] = (parcel){.bucket = buckets[i], .host = host};
        exchange->requests[i] = MPI_REQUEST_NULL;
    }
    exchange->count = made ? count : 0;
    free(buckets);
    return made ? CLF_OK : clf_fail_memory();
}

clf_status clf_exchange_begin(clf_exchange *exchange) {
    if (process.count == 1) return CLF_OK;
    CLF_TRY(meet(false));
    exchange->begun = true;
    exchange->read = 0;
    return CLF_OK;
}

void clf_exchange_ready(void *user, clf_run *run, clf_side side, int layer) {
    clf_exchange *exchange = user;
    const int stage = clf_bucket_stage(&exchange->config, side, layer);
    while (exchange->begun && exchange->read < exchange->count &&
           exchange->parcels[exchange->read].bucket.stage <= stage) {
        parcel *p = &exchange->parcels[exchange->read++];
        p->transfer = clf_read_start(run, p->bucket.range, p->host);
    }
}

// Waits until a parcel is on the host; the sums of those before it go on meanwhile.
static void receive(clf_run *run, clf_exchange *exchange, int number) {
    parcel *p = &exchange->parcels[number];
    const int64_t since = clf_clock();
    while (run->status == CLF_OK && !clf_transfer_is_done(p->transfer)) {
        int done;
        const int code = MPI_Testall(number, exchange->requests, &done, MPI_STATUSES_IGNORE);
        clf_run_fail(run, check(code, "sum gradients"));
        rest(since, COMPUTING_NAP);
    }
    clf_transfer_wait(run, p->transfer);
    p->transfer = NULL;
}

// A run that has failed goes on with whatever numbers there are: the other ranks wait for them, and
// hear of the failure when they meet next.
void clf_exchange_finish(clf_run *run, clf_exchange *exchange) {
    if (!exchange->begun) return;
    if (run->status == CLF_OK) clf_run_flush(run);
    for (int i = 0; i < exchange->count; i++) {
        parcel *p = &exchange->parcels[i];
        receive(run, exchange, i);
        if (process.broken) continue;
        const int code = MPI_Iallreduce(MPI_IN_PLACE, p->host, p->bucket.range.cols, MPI_FLOAT,
                                        MPI_SUM, process.all, &exchange->requests[i]);
        clf_run_fail(run, check(code, "sum gradients"));
    }
    for (int i = 0; i < exchange->count && !process.broken; i++) {
        clf_run_fail(run, check(wait_for(&exchange->requests[i]), "sum gradients"));
        clf_write(run, exchange->parcels[i].bucket.range, exchange->parcels[i].host);
    }
    exchange->begun = false;
}
