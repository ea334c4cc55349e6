// SPDX-License-Identifier: MIT
// An epoch is a walk through windows. A window is some blocks of the corpus, drawn at random; its
// pairs are sorted by length, cut into batches, and the batches shuffled. So pairs of a batch are
// alike in length and lie near each other in the file, and a small corpus, which is one window, is
// shuffled as a whole.
#include "text/corpus_file.h"

#include <stdlib.h>

#include "base/fail.h"
#include "base/rng.h"

enum { WINDOW_BLOCKS = 128 }; // 2^17 pairs

typedef struct item {
    uint64_t pair;
    int source, target; // lengths
    uint32_t tie;
} item;

typedef struct cut { // a batch: pairs [begin, begin + count) of the window
    uint32_t begin, count;
} cut;

struct clf_batches {
    const clf_corpus *corpus;
    clf_batches_options options;
    uint32_t *order; // of the epoch's blocks
    uint32_t blocks, windows;
    clf_batches_position position;
    uint32_t window; // the next one to plan
    // The current window; the arrays have room for the largest one.
    item *items;
    uint64_t *pairs; // of the items, sorted
    cut *cuts;
    uint32_t count, cut_count, next; // items, cuts, the next cut
};

// A generator of its own for each window of each epoch.
static clf_rng make_rng(const clf_batches *b, uint64_t window) {
    clf_rng rng = {b->options.seed};
    rng.state = clf_rng_next(&rng) ^ b->position.epoch;
    rng.state = clf_rng_next(&rng) ^ window;
    return rng;
}

static void swap_blocks(uint32_t *a, uint32_t *b) {
    uint32_t t = *a;
    *a = *b;
    *b = t;
}

static void begin_epoch(clf_batches *b, uint64_t epoch) {
    b->position = (clf_batches_position){.epoch = epoch};
    b->window = b->cut_count = b->next = 0;
    for (uint32_t i = 0; i < b->blocks; i++) b->order[i] = i;
    if (b->options.ordered) return;
    clf_rng rng = make_rng(b, UINT64_MAX);
    for (uint32_t i = b->blocks; i > 1; i--) {
        swap_blocks(&b->order[i - 1], &b->order[clf_rng_below(&rng, i)]);
    }
}

// The first block of a window in `order`. Windows differ by at most one block.
static uint32_t window_begin(const clf_batches *b, uint32_t window) {
    return (uint32_t)((uint64_t)b->blocks * window / b->windows);
}

static void collect(clf_batches *b, uint32_t window, clf_rng *rng) {
    uint64_t pairs = clf_corpus_count(b->corpus)->pairs;
    b->count = 0;
    for (uint32_t i = window_begin(b, window); i < window_begin(b, window + 1); i++) {
        uint64_t first = (uint64_t)b->order[i] * CLF_CORPUS_BLOCK;
        for (uint64_t p = first; p < first + CLF_CORPUS_BLOCK && p < pairs; p++) {
            clf_corpus_pair pair = clf_corpus_get(b->corpus, p);
            uint32_t tie = b->options.ordered ? 0 : (uint32_t)(clf_rng_next(rng) >> 32);
            b->items[b->count++] = (item){p, pair.source_length, pair.target_length, tie};
        }
    }
}

static int compare(const void *a, const void *b) {
    const item *x = a, *y = b;
    if (x->target != y->target) return x->target < y->target ? -1 : 1;
    if (x->source != y->source) return x->source < y->source ? -1 : 1;
    if (x->tie != y->tie) return x->tie < y->tie ? -1 : 1;
    return x->pair < y->pair ? -1 : x->pair > y->pair;
}

// Cuts the sorted items into batches as large as allowed.
static void cut_items(clf_batches *b) {
    int64_t tokens = 0;
    uint32_t most = b->options.sentences > 0 ? (uint32_t)b->options.sentences : UINT32_MAX;
    b->cut_count = 0;
    for (uint32_t i = 0; i < b->count; i++) {
        int64_t length = (int64_t)b->items[i].source + b->items[i].target;
        cut *last = i > 0 ? &b->cuts[b->cut_count - 1] : NULL;
        tokens += length;
        if (!last || last->count == most || tokens > b->options.tokens) {
            b->cuts[b->cut_count++] = (cut){i, 1};
            tokens = length;
        } else {
            last->count++;
        }
    }
}

static void plan_next(clf_batches *b) {
    // All of it: around what a window reads, the system brings in pages of other blocks.
    if (b->windows > 1) clf_corpus_forget(b->corpus);
    uint32_t window = b->window++;
    clf_rng rng = make_rng(b, window);
    collect(b, window, &rng);
    qsort(b->items, b->count, sizeof *b->items, compare);
    for (uint32_t i = 0; i < b->count; i++) b->pairs[i] = b->items[i].pair;
    cut_items(b);
    b->next = 0;
    for (uint32_t i = b->cut_count; i > 1 && !b->options.ordered; i--) {
        cut *x = &b->cuts[i - 1], *y = &b->cuts[clf_rng_below(&rng, i)], t = *x;
        *x = *y;
        *y = t;
    }
}

static clf_status allocate(clf_batches *b) {
    uint64_t pairs = clf_corpus_count(b->corpus)->pairs;
    uint64_t blocks = (pairs + CLF_CORPUS_BLOCK - 1) / CLF_CORPUS_BLOCK;
    if (blocks > UINT32_MAX / 2) {
        return clf_fail(CLF_ERROR_UNSUPPORTED, "a corpus of %llu pairs is too large",
                        (unsigned long long)pairs);
    }
    b->blocks = (uint32_t)blocks;
    b->windows = (b->blocks + WINDOW_BLOCKS - 1) / WINDOW_BLOCKS;
    size_t most = (size_t)(b->blocks < WINDOW_BLOCKS ? b->blocks : WINDOW_BLOCKS);
    most *= CLF_CORPUS_BLOCK;
    b->order = malloc(b->blocks * sizeof *b->order);
    b->items = malloc(most * sizeof *b->items);
    b->pairs = malloc(most * sizeof *b->pairs);
    b->cuts = malloc(most * sizeof *b->cuts);
    return b->order && b->items && b->pairs && b->cuts ? CLF_OK : clf_fail_memory();
}

clf_status clf_batches_create(const clf_corpus *corpus, const clf_batches_options *options,
                              clf_batches **batches) {
    if (options->tokens <= 0 || options->sentences < 0) {
        return clf_fail(CLF_ERROR_ARGUMENT, "a batch of %d tokens and %d sentences is not possible",
                        options->tokens, options->sentences);
    }
    clf_batches *b = calloc(1, sizeof *b);
    if (!b) return clf_fail_memory();
    b->corpus = corpus;
    b->options = *options;
    clf_status status = allocate(b);
    if (status != CLF_OK) {
        clf_batches_destroy(b);
        return status;
    }
    begin_epoch(b, 0);
    *batches = b;
    return CLF_OK;
}

void clf_batches_destroy(clf_batches *batches) {
    if (!batches) return;
    free(batches->order);
    free(batches->items);
    free(batches->pairs);
    free(batches->cuts);
    free(batches);
}

clf_status clf_batches_seek(clf_batches *batches, clf_batches_position position) {
    clf_batches *b = batches;
    begin_epoch(b, position.epoch);
    for (uint64_t rest = position.batch; rest > 0; rest -= b->next) {
        if (b->window == b->windows) {
            uint64_t count = position.batch - rest;
            begin_epoch(b, position.epoch);
            return clf_fail(CLF_ERROR_ARGUMENT,
                            "epoch %llu has %llu batches, but number %llu was asked for; do the "
                            "texts or the sizes of batches differ from before?",
                            (unsigned long long)position.epoch, (unsigned long long)count,
                            (unsigned long long)position.batch);
        }
        plan_next(b);
        b->next = rest < b->cut_count ? (uint32_t)rest : b->cut_count;
    }
    b->position = position;
    return CLF_OK;
}

clf_batches_position clf_batches_tell(const clf_batches *batches) {
    return batches->position;
}

clf_status clf_batches_next(clf_batches *batches, const uint64_t **pairs, int *count) {
    clf_batches *b = batches;
    if (b->next == b->cut_count && b->window < b->windows) plan_next(b);
    if (b->next == b->cut_count) {
        begin_epoch(b, b->position.epoch + 1);
        *pairs = NULL;
        *count = 0;
        return CLF_OK;
    }
    cut batch = b->cuts[b->next++];
    b->position.batch++;
    *pairs = b->pairs + batch.begin;
    *count = (int)batch.count;
    return CLF_OK;
}
