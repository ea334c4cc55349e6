// SPDX-License-Identifier: MIT
#include "device/chain.h"

#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "device/trial.h"

enum {
    MAX_WORDS = 8192, // 64 KiB, which clf_write does not wait for
    MAX_KERNELS = 24, // different ones in a chain
    MAX_PROGRAMS = 64,
    PATIENT_FLOPS = 25000000 // for as many a processor's unit gets one group more
};

typedef struct program {
    clf_kernel kernel; // made by hand: it is in no table
    int count;
    clf_kernel *kernels[MAX_KERNELS];
} program;

struct clf_chain {
    clf_run *run; // between beginning and end, else NULL
    bool launching;
    bool joined; // the last launches were made as one
    int programs;
    program *list[MAX_PROGRAMS];
    clf_arena *arena;
    clf_tensor memory; // (1, MAX_WORDS) of 8 bytes, as pairs of int32
    // What is recorded.
    int tasks, tickets, used; // launches, their tickets, words
    double flops;
    int kernel_count, buffer_count;
    clf_kernel *kernels[MAX_KERNELS];
    struct clf_chunk *buffers[CLF_CHAIN_BUFFERS];
    uint64_t words[MAX_WORDS]; // the counters stay zero here
};

// Work-items of the groups of all chains of this device; 0: it has none.
static int items_of(const clf_device *device) {
    const clf_caps *caps = &device->caps;
    if (device->profile.lanes == 1) return 1;
    return caps->max_group >= CLF_CHAIN_GROUP && caps->c_version >= 200 ? CLF_CHAIN_GROUP : 0;
}

// ---- programs -----------------------------------------------------------------------------------

static int place_of(clf_kernel *const *kernels, int count, const clf_kernel *k) {
    int i = count - 1;
    while (i >= 0 && kernels[i] != k) i--;
    return i;
}

static bool has_all(const program *p, const struct clf_chain *chain) {
    for (int i = 0; i < chain->kernel_count; i++) {
        if (place_of(p->kernels, p->count, chain->kernels[i]) < 0) return false;
    }
    return true;
}

static clf_status build(clf_device *device, program *p) {
    char *text = clf_chain_source(device, p->kernels, p->count);
    if (!text) return clf_fail_memory();
    p->kernel.spec = (clf_kernel_spec){.file = clf_chain_file(device), .kernel = "chain"};
    const clf_status status = clf_kernel_make(device, &p->kernel, text);
    free(text);
    if (status == CLF_OK && p->kernel.max_group < (size_t)items_of(device))
        return clf_fail(CLF_ERROR_UNSUPPORTED, "cl/%s.cl: no more than %zu work-items in a group",
                        p->kernel.spec.file, p->kernel.max_group);
    return status;
}

// A program for the kernels of this chain, made if need be. NULL: there is no room for another.
static program *get_program(clf_device *device, struct clf_chain *chain) {
    for (int i = 0; i < chain->programs; i++) {
        if (has_all(chain->list[i], chain)) return chain->list[i];
    }
    program *p = chain->programs < MAX_PROGRAMS ? calloc(1, sizeof *p) : NULL;
    if (!p) return NULL;
    p->count = chain->kernel_count;
    memcpy(p->kernels, chain->kernels, sizeof p->kernels);
    device->trying = true;
    p->kernel.status = build(device, p);
    device->trying = false;
    if (p->kernel.status != CLF_OK)
        clf_log(CLF_LOG_WARNING, "launches are not joined: %s", clf_last_error());
    return chain->list[chain->programs++] = p;
}

// ---- recording ----------------------------------------------------------------------------------

static void forget(struct clf_chain *chain) {
    chain->used = CLF_CHAIN_FIRST;
    chain->tasks = chain->tickets = 0;
    chain->flops = 0;
    chain->kernel_count = chain->buffer_count = 0;
}

static bool fits(const clf_device *device, clf_range range) {
    const size_t items = (size_t)items_of(device);
    const size_t first = range.local[0] ? range.local[0] : 1;
    return items > 0 && (first == CLF_LANES || first == items) && range.local[1] <= 1 &&
           range.local[2] <= 1;
}

// The kernel's place in the chain; -1: there is no room.
static int add_kernel(struct clf_chain *chain, clf_kernel *k) {
    const int known = place_of(chain->kernels, chain->kernel_count, k);
    if (known >= 0) return known;
    if (chain->kernel_count == MAX_KERNELS) return -1;
    chain->kernels[chain->kernel_count] = k;
    return chain->kernel_count++;
}

// The buffer's number; -1: there is no room.
static int add_buffer(struct clf_chain *chain, struct clf_chunk *buffer) {
    if (!buffer) return CLF_CHAIN_BUFFERS;
    int i = chain->buffer_count - 1;
    while (i >= 0 && chain->buffers[i] != buffer) i--;
    if (i >= 0) return i;
    if (chain->buffer_count == CLF_CHAIN_BUFFERS) return -1;
    chain->buffers[chain->buffer_count] = buffer;
    return chain->buffer_count++;
}

// Writes the words of the arguments and their kinds; returns the number of words, -1 if there is no
// room or a chain cannot pass one of them.
static int add_arguments(struct clf_chain *chain, uint64_t *to, const clf_arg *arguments, int count,
                         char kinds[CLF_CHAIN_ARGUMENTS + 1]) {
    int words = 0, buffer;
    for (int i = 0; i < count; i++) {
        const clf_arg *a = &arguments[i];
        to[words] = 0;
        switch (a->kind) {
        case CLF_ARG_TENSOR:
            buffer = add_buffer(chain, a->tensor.chunk);
            if (buffer < 0) return -1;
            kinds[words] = 'B';
            to[words++] = (uint64_t)buffer;
            kinds[words] = 'N';
            to[words] = a->tensor.chunk ? a->tensor.offset : 0;
            break;
        case CLF_ARG_INT:
            kinds[words] = 'I';
            to[words] = (uint32_t)a->i;
            break;
        case CLF_ARG_FLOAT:
            kinds[words] = 'R';
            memcpy(&to[words], &a->f, sizeof a->f);
            break;
        case CLF_ARG_LONG:
            kinds[words] = 'N';
            to[words] = (uint64_t)a->l;
            break;
        case CLF_ARG_BUFFER: return -1;
        }
        words++;
    }
    kinds[words] = '\0';
    return words;
}

// Groups side by side that a ticket is for: enough work, in bytes, to make up for taking it, but a
// few tickets for each compute unit. Groups of one column (., y, z) read the same and stay together
// if there are columns enough; but at most so much work that nobody waits long for a launch's last
// ticket. On a GPU a ticket for each unit, while the other half of the groups waits for the next
// launch.
static uint64_t ticket_size(const uint64_t groups[3], clf_cost cost, uint64_t units, bool gpu) {
    enum { BYTES = 1 << 16, TICKETS = 4, FLOPS = 2000000 };
    if (gpu) return (groups[0] * groups[1] * groups[2] + units - 1) / units;
    const uint64_t columns = groups[1] * groups[2], all = groups[0] * columns;
    const uint64_t together = columns >= TICKETS * units ? groups[0] : 1, parts = all / together;
    uint64_t size = 1 + (uint64_t)(BYTES * (double)parts / (cost.bytes + 1));
    if (size > parts / (TICKETS * units)) size = parts / (TICKETS * units);
    size = together * (size > 0 ? size : 1);
    const uint64_t most = 1 + (uint64_t)(FLOPS * (double)all / (cost.flops + 1));
    return size < most ? size : most;
}

static bool record(clf_device *device, clf_kernel *k, clf_range range, clf_cost cost,
                   const clf_arg *arguments, int count) {
    struct clf_chain *chain = device->chain;
    const uint64_t units = (uint64_t)device->caps.compute_units;
    char kinds[CLF_CHAIN_ARGUMENTS + 1];
    const int items = items_of(device);
    if (2 * count > CLF_CHAIN_ARGUMENTS || chain->used + CLF_CHAIN_STRIDE > MAX_WORDS) return false;
    uint64_t *task = &chain->words[chain->used];
    const int kernel = add_kernel(chain, k), stream = add_buffer(chain, range.stream.from.chunk);
    const int words = add_arguments(chain, task + CLF_CHAIN_HEAD, arguments, count, kinds);
    if (kernel < 0 || stream < 0 || words < 0) return false;
    if (!k->kinds[0]) strcpy(k->kinds, kinds);
    k->local = range.local[0];
    // Other arguments than before are an error, which a launch by itself reports.
    if (strcmp(k->kinds, kinds) != 0) return false;
    for (int i = 0; i < 3; i++) task[5 + i] = range.groups[i] ? range.groups[i] : 1;
    task[0] = (uint64_t)kernel;
    task[1] = (uint64_t)(items == 1 ? CLF_CHAIN_HEAD + words : CLF_CHAIN_STRIDE);
    task[2] = (uint64_t)chain->tickets;
    task[4] = units;
    task[8] = ticket_size(&task[5], cost, units, items > 1);
    task[3] = (task[5] * task[6] * task[7] + task[8] - 1) / task[8];
    task[9] = (uint64_t)stream;
    task[10] = range.stream.from.offset * (uint64_t)clf_dtype_size(range.stream.from.dtype);
    task[11] = range.stream.bytes;
    task[12] = range.stream.rows;
    task[13] = range.stream.step;
    task[14] = range.stream.length;
    chain->tasks++;
    chain->tickets += (int)task[3];
    chain->flops += cost.flops;
    chain->used += (int)task[1];
    return true;
}

bool clf_chain_add(clf_run *run, clf_kernel *k, clf_range range, clf_cost cost,
                   const clf_arg *arguments, int count) {
    struct clf_chain *chain = run->device->chain;
    if (!chain || !chain->run || chain->launching) return false;
    if (fits(run->device, range)) {
        if (record(run->device, k, range, cost, arguments, count)) return true;
        clf_chain_flush(run->device); // for want of room
        if (record(run->device, k, range, cost, arguments, count)) return true;
        forget(chain);
    } else {
        clf_chain_flush(run->device);
    }
    return false;
}

// ---- launching ----------------------------------------------------------------------------------

// One recorded launch by itself.
static void launch_alone(clf_run *run, clf_kernel *k, struct clf_chunk *const *buffers,
                         const uint64_t *task) {
    clf_arg arguments[CLF_CHAIN_ARGUMENTS];
    int count = 0;
    const uint64_t *word = task + CLF_CHAIN_HEAD;
    for (const char *kind = k->kinds; *kind; kind++, word++) {
        clf_arg *a = &arguments[count++];
        float real;
        switch (*kind) {
        case 'B':
            *a = clf_arg_tensor((clf_tensor){
                .chunk = *word < CLF_CHAIN_BUFFERS ? buffers[*word] : NULL, .offset = word[1]});
            kind++;
            word++;
            break;
        case 'I': *a = clf_arg_int((int32_t)(uint32_t)*word); break;
        case 'R':
            memcpy(&real, word, sizeof real);
            *a = clf_arg_float(real);
            break;
        default: *a = clf_arg_long((int64_t)*word);
        }
    }
    const clf_range range = {.groups = {(size_t)task[5], (size_t)task[6], (size_t)task[7]},
                             .local = {k->local}};
    if (clf_kernel_build(run, k)) clf_kernel_launch(run, k, range, (clf_cost){0}, arguments, count);
}

static void launch_each(clf_run *run, const struct clf_chain *chain) {
    for (int at = CLF_CHAIN_FIRST; at < chain->used; at += (int)chain->words[at + 1]) {
        const uint64_t *task = &chain->words[at];
        launch_alone(run, chain->kernels[task[0]], chain->buffers, task);
    }
}

static void launch_joined(clf_run *run, struct clf_chain *chain, program *p) {
    for (int at = CLF_CHAIN_FIRST; at < chain->used; at += (int)chain->words[at + 1]) {
        const clf_kernel *k = chain->kernels[chain->words[at]];
        chain->words[at] = (uint64_t)place_of(p->kernels, p->count, k);
    }
    clf_tensor tasks = chain->memory;
    tasks.cols = 2 * chain->used;
    clf_write(run, tasks, chain->words);
    clf_arg arguments[3 + CLF_CHAIN_BUFFERS];
    int count = 0;
    const size_t items = (size_t)items_of(run->device);
    arguments[count++] = clf_arg_buffer(chain->memory.chunk);
    arguments[count++] = clf_arg_int(chain->tickets);
    if (items > 1) arguments[count++] = clf_arg_int(chain->tasks);
    for (int i = 0; i < CLF_CHAIN_BUFFERS; i++)
        arguments[count++] = clf_arg_buffer(i < chain->buffer_count ? chain->buffers[i] : NULL);
    // More groups than compute units: a processor's driver may give several to one, and those that
    // find nothing left end at once. There are more for more work, because they run out of patience
    // (cl/chain.cl) and the next ones go on. On a GPU some wait while others work.
    const size_t units = (size_t)run->device->caps.compute_units;
    const size_t each = items == 1 ? 8 + (size_t)(chain->flops / PATIENT_FLOPS) : 2;
    const clf_range range = {.groups = {each * units}, .local = {items}};
    clf_kernel_launch(run, &p->kernel, range, (clf_cost){0}, arguments, count);
}

void clf_chain_flush(clf_device *device) {
    struct clf_chain *chain = device->chain;
    if (!chain || chain->launching || chain->tasks == 0) return;
    clf_run *run = chain->run;
    chain->launching = true;
    if (run->status == CLF_OK) {
        program *p = chain->tasks > 1 ? get_program(device, chain) : NULL;
        chain->joined = p && p->kernel.status == CLF_OK;
        if (chain->joined)
            launch_joined(run, chain, p);
        else
            launch_each(run, chain);
    }
    forget(chain);
    chain->launching = false;
}

// ---- beginning and ending -----------------------------------------------------------------------

// Groups that wait for one another need a device that goes on with those that run, and memory that
// all see alike. A profile is of single kernels.
bool clf_chain_is_wanted(clf_device *device) {
    const clf_device_kind kind = device->caps.kind;
    const bool gpu = kind == CLF_DEVICE_DISCRETE_GPU || kind == CLF_DEVICE_INTEGRATED_GPU;
    const bool single = device->profile.lanes == 1;
    if (items_of(device) == 0) return false;
    if (device->chaining != CLF_CHAIN_IF_FASTER) return device->chaining == CLF_CHAIN_ALWAYS;
    return (single ? kind == CLF_DEVICE_CPU : gpu) && !device->recorder &&
           clf_trial_passed(device, CLF_CHAIN_NAME);
}

int clf_chain_items(const clf_device *device) {
    return device->chain && device->chain->run ? items_of(device) : 0;
}

bool clf_chain_was_joined(const clf_device *device) {
    return device->chain && device->chain->joined;
}

static clf_status create(clf_run *run, struct clf_chain **chain) {
    struct clf_chain *created = calloc(1, sizeof *created);
    if (!created) return clf_fail_memory();
    clf_run_fail(run, clf_arena_create(run->device, "joined launches", "nothing", &created->arena));
    if (run->status == CLF_OK)
        created->memory = clf_arena_take(run, created->arena, 1, 2 * MAX_WORDS, CLF_I32);
    if (run->status != CLF_OK) {
        clf_chain_destroy(created);
        return run->status;
    }
    forget(created);
    *chain = created;
    return CLF_OK;
}

void clf_chain_choose(clf_device *device, clf_chaining chaining) {
    device->chaining = chaining;
}

void clf_chain_begin(clf_run *run) {
    clf_device *device = run->device;
    if (run->status != CLF_OK || run->dry || !clf_chain_is_wanted(device)) return;
    if (!device->chain) clf_run_fail(run, create(run, &device->chain));
    if (device->chain) device->chain->run = run;
}

void clf_chain_end(clf_run *run) {
    if (!run->device->chain) return;
    clf_chain_flush(run->device);
    run->device->chain->run = NULL;
}

void clf_chain_destroy(struct clf_chain *chain) {
    if (!chain) return;
    for (int i = 0; i < chain->programs; i++) {
        clf_kernel_release(&chain->list[i]->kernel);
        free(chain->list[i]);
    }
    clf_arena_destroy(chain->arena);
    free(chain);
}
