// SPDX-License-Identifier: MIT
// How large the training is: updates, micro-batches, device memory; known before the first update.
#include <stdlib.h>

#include "base/fail.h"
#include "train/trainer.h"

enum { MOST_TOKENS = 8192, LEAST_TOKENS = 256 };

// The largest sides of any micro-batch of an epoch.
typedef struct extent {
    int source, target;
    uint64_t batches;
} extent;

static clf_status open_feed(clf_trainer *t, int tokens) {
    clf_feed_finish(&t->feed);
    const clf_batches_options options = {
        .seed = t->options.seed, .tokens = tokens, .sentences = t->options.batch_sentences};
    return clf_feed_init(&t->feed, t->corpus, &options);
}

static clf_status walk_epoch(clf_trainer *t, extent *e) {
    *e = (extent){0};
    for (;; e->batches++) {
        bool ended = false;
        CLF_TRY(clf_feed_next(&t->feed, &ended));
        if (ended) break;
        if (t->feed.source_tokens > e->source) e->source = t->feed.source_tokens;
        if (t->feed.target_tokens > e->target) e->target = t->feed.target_tokens;
    }
    return clf_batches_seek(t->feed.batches, (clf_batches_position){0});
}

// Device memory of a micro-batch of these sizes, by a dry run.
static clf_status count_activations(clf_trainer *t, const extent *e, uint64_t *bytes) {
    clf_run run = clf_run_begin(t->device);
    run.dry = true;
    clf_arena *arena = NULL;
    CLF_TRY(clf_arena_create(t->device, "the plan", "a smaller batch", &arena));
    int32_t *zeros = calloc((size_t)(e->source > e->target ? e->source : e->target), sizeof *zeros);
    if (!zeros) {
        clf_arena_destroy(arena);
        return clf_fail_memory();
    }
    const clf_tokens source = {zeros, e->source}, target = {zeros, e->target};
    const clf_train_batch batch =
        clf_train_batch_upload(&run, t->model, arena, &source, &target, NULL, 1);
    const clf_tensor losses = clf_arena_take(&run, arena, e->target, 2, CLF_F32);
    const clf_pass_options options = clf_recipe_pass(&t->options);
    clf_train_pass(&run, clf_trainer_source(t), clf_optimizer_gradients(t->optimizer), arena,
                   &batch, &options, losses);
    *bytes = clf_arena_peak(arena);
    clf_arena_destroy(arena);
    free(zeros);
    return run.status;
}

static uint64_t state_bytes(const clf_trainer *t) {
    uint64_t bytes = clf_model_device_bytes(t->model) +
                     clf_model_device_bytes(clf_optimizer_gradients(t->optimizer));
    for (int i = 0; i < 3; i++) {
        const clf_model *copy = clf_optimizer_state(t->optimizer, i);
        if (copy) bytes += clf_model_device_bytes(copy);
    }
    if (t->half) bytes += clf_model_device_bytes(t->half);
    if (t->merged) bytes += clf_model_device_bytes(t->merged);
    return bytes;
}

static clf_status fail_too_large(const clf_trainer *t, int tokens) {
    const double mib = 1024.0 * 1024.0;
    return clf_fail(CLF_ERROR_DEVICE_MEMORY,
                    "training needs %.0f MiB for the model's state and %.0f MiB for a micro-batch "
                    "of %d tokens; the device has %.0f MiB: try a smaller --batch-tokens, "
                    "--recompute, a smaller --max-length or a smaller model",
                    (double)t->plan.state_bytes / mib, (double)t->plan.activation_bytes / mib,
                    tokens, (double)t->plan.device_bytes / mib);
}

static clf_status try_batch(clf_trainer *t, int tokens, extent *e) {
    CLF_TRY(open_feed(t, tokens));
    CLF_TRY(walk_epoch(t, e));
    return count_activations(t, e, &t->plan.activation_bytes);
}

// Finds the largest micro-batch that fits on all ranks, or checks the one that is given.
static clf_status choose_batch(clf_trainer *t, extent *e) {
    const bool given = t->options.batch_tokens > 0;
    int tokens = given ? t->options.batch_tokens : MOST_TOKENS;
    for (;; tokens /= 2) {
        CLF_TRY(try_batch(t, tokens, e));
        // The system and the driver want some of the device's memory too.
        const uint64_t room = t->plan.device_bytes / 10 * 9;
        if (t->plan.state_bytes + t->plan.activation_bytes <= room) break;
        if (given || tokens / 2 < LEAST_TOKENS) return fail_too_large(t, tokens);
    }
    int least = tokens;
    CLF_TRY(clf_exchange_least(t->exchange, &least));
    if (least < tokens) CLF_TRY(try_batch(t, least, e));
    t->options.batch_tokens = t->plan.batch_tokens = least;
    return CLF_OK;
}

static clf_status reserve(clf_trainer *t) {
    clf_run run = clf_run_begin(t->device);
    clf_arena_prepare(&run, t->arena, t->plan.activation_bytes);
    return clf_run_finish(&run);
}

clf_status clf_trainer_plan(clf_trainer *t) {
    const clf_corpus_counts *counts = clf_corpus_count(t->corpus);
    const int ranks = clf_exchange_count(t->exchange);
    extent e;
    t->plan = (clf_train_plan){.parameters = clf_model_parameters(t->model),
                               .pairs = counts->pairs,
                               .source_tokens = counts->source_tokens,
                               .target_tokens = counts->target_tokens,
                               .too_long = counts->too_long,
                               .empty = counts->empty,
                               .state_bytes = state_bytes(t),
                               .device_bytes = clf_device_caps(t->device)->global_memory,
                               .ranks = ranks};
    CLF_TRY(choose_batch(t, &e));
    CLF_TRY(reserve(t));
    t->batches_per_epoch = e.batches;
    const uint64_t passes = (uint64_t)(t->options.accumulate * ranks);
    uint64_t updates = UINT64_MAX;
    if (t->options.max_updates > 0) updates = (uint64_t)t->options.max_updates;
    if (t->options.max_epochs > 0) {
        const uint64_t by_epochs =
            ((uint64_t)t->options.max_epochs * e.batches + passes - 1) / passes;
        if (by_epochs < updates) updates = by_epochs;
    }
    t->plan.updates = updates;
    t->schedule = clf_recipe_schedule(&t->options, (int64_t)updates);
    return CLF_OK;
}
