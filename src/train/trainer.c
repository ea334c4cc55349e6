// SPDX-License-Identifier: MIT
#include "train/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fail.h"
#include "base/file.h"
#include "formats/format.h"

// ---- opening ----

static clf_status open_corpus(clf_trainer *t, const char *source, const char *target,
                              const char *name, clf_corpus **corpus) {
    char *cache = clf_path_join(t->checkpoints, name);
    if (!cache) return clf_fail_memory();
    const clf_corpus_options options = {.source_path = source,
                                        .target_path = target,
                                        .cache_path = cache,
                                        .max_source = t->options.max_length,
                                        .max_target = t->options.max_length,
                                        .eos = t->files.eos,
                                        .progress = t->events.reading,
                                        .user = t->events.user};
    const clf_status status = clf_corpus_open(&options, t->tokenizer, corpus);
    free(cache);
    return status;
}

static clf_status open_texts(clf_trainer *t) {
    CLF_TRY(clf_vocabulary_files_open(t->options.vocabulary, &t->files));
    CLF_TRY(clf_vocabulary_files_tokenizer(&t->files, &t->tokenizer));
    CLF_TRY(open_corpus(t, t->options.source, t->options.target, "train.tokens", &t->corpus));
    if (!t->options.valid_source) return CLF_OK;
    CLF_TRY(open_corpus(t, t->options.valid_source, t->options.valid_target, "valid.tokens",
                        &t->valid_corpus));
    const clf_batches_options options = {.tokens = 4096, .ordered = true};
    return clf_feed_init(&t->valid_feed, t->valid_corpus, &options);
}

static clf_status check_init(const clf_trainer *t, const clf_config *config) {
    if (t->options.max_length > config->max_positions) {
        return clf_fail(
            CLF_ERROR_ARGUMENT,
            "%s: the model has %d positions, too few for sequences of %d tokens: give a "
            "smaller --max-length",
            t->options.init, config->max_positions, t->options.max_length);
    }
    if (config->source_vocabulary == t->files.source_size &&
        config->target_vocabulary == t->files.target_size)
        return CLF_OK;
    return clf_fail(CLF_ERROR_ARGUMENT,
                    "%s: the model has vocabularies of %d and %d pieces, %s has %d and %d: train "
                    "with the vocabulary of the model",
                    t->options.init, config->source_vocabulary, config->target_vocabulary,
                    t->options.vocabulary, t->files.source_size, t->files.target_size);
}

// The model of another directory.
static clf_status load_model(clf_trainer *t) {
    clf_format *format = NULL;
    CLF_TRY(clf_format_open(t->options.init, &format));
    t->config = *clf_format_config(format);
    t->generation = *clf_format_generation(format);
    clf_status status = check_init(t, &t->config);
    if (status == CLF_OK)
        status = clf_model_create(t->device, &t->config, clf_format_params(format), 0, CLF_F32,
                                  &t->model);
    clf_format_close(format);
    return status;
}

static clf_status make_model(clf_trainer *t) {
    CLF_TRY(clf_recipe_config(&t->options.shape, &t->files, &t->config));
    t->generation = clf_recipe_generation(t->options.max_length, &t->files);
    clf_initial *initial = NULL;
    CLF_TRY(clf_initial_create(&t->config, t->options.seed, &initial));
    const clf_status status =
        clf_model_create(t->device, &t->config, clf_initial_source(initial), 0, CLF_F32, &t->model);
    clf_initial_destroy(initial);
    return status;
}

static clf_status open_model(clf_trainer *t) {
    CLF_TRY(t->options.init ? load_model(t) : make_model(t));
    // Before it is trained for days.
    CLF_TRY(clf_format_choose(t->options.output, &t->config, &t->generation, &t->save_kind));
    if (t->options.half) CLF_TRY(clf_model_create_half(t->model, &t->half));
    if (t->options.average_checkpoints > 1) CLF_TRY(clf_model_create_like(t->model, &t->merged));
    const clf_optimizer_options options = clf_recipe_optimizer(&t->options);
    CLF_TRY(clf_optimizer_create(t->model, &options, &t->optimizer));
    return clf_arena_create(t->device, "activations", "a smaller --batch-tokens or --recompute",
                            &t->arena);
}

// ---- going on where a training stopped ----

static clf_status restore(clf_trainer *t, const char *path) {
    clf_train_state state;
    CLF_TRY(clf_checkpoint_load(path, t->model, t->optimizer, &state));
    if (strcmp(state.recipe, t->state.recipe) != 0) {
        return clf_fail(CLF_ERROR_ARGUMENT,
                        "%s: that training had another model, recipe or text; resume it with the "
                        "same options, or start anew with --overwrite",
                        path);
    }
    t->state = state;
    return CLF_OK;
}

// The newest checkpoint that is whole.
static clf_status restore_newest(clf_trainer *t) {
    char **paths = NULL;
    int count = 0;
    CLF_TRY(clf_checkpoint_list(t->checkpoints, &paths, &count));
    clf_status status = CLF_OK;
    for (int i = 0; i < count; i++) {
        status = restore(t, paths[i]);
        if (status != CLF_ERROR_FORMAT) break;
        clf_log(CLF_LOG_WARNING, "%s; the checkpoint before it is tried", clf_last_error());
    }
    clf_checkpoint_list_free(paths, count);
    return status;
}

// All ranks go on from where the first one stands.
static clf_status resume(clf_trainer *t) {
    if (t->options.resume && clf_exchange_rank(t->exchange) == 0) CLF_TRY(restore_newest(t));
    CLF_TRY(clf_trainer_align(t));
    return clf_batches_seek(t->feed.batches, t->state.position);
}

static clf_status prepare_output(clf_trainer *t) {
    t->checkpoints = clf_path_join(t->options.output, "checkpoints");
    if (!t->checkpoints) return clf_fail_memory();
    CLF_TRY(clf_file_make_directory(t->checkpoints));
    if (clf_exchange_rank(t->exchange) != 0) return CLF_OK;
    char **paths = NULL;
    int count = 0;
    CLF_TRY(clf_checkpoint_list(t->checkpoints, &paths, &count));
    clf_checkpoint_list_free(paths, count);
    if (t->options.overwrite) return clf_checkpoint_prune(t->checkpoints, 0);
    if (count == 0 || t->options.resume) return CLF_OK;
    return clf_fail(CLF_ERROR_ARGUMENT,
                    "%s: there is a training already; go on with --resume, or throw it away with "
                    "--overwrite",
                    t->options.output);
}

// One after another, so that none writes a file that another one is writing: the first of all, the
// first of each machine, which may have disks of their own, and the others, who find it all made.
static clf_status open_files(clf_trainer *t) {
    clf_train_rank rank;
    CLF_TRY(clf_train_get_rank(&rank));
    const int own = rank.rank == 0 ? 0 : rank.local_rank == 0 ? 1 : 2;
    for (int turn = 0; turn < 3; turn++) {
        if (turn == own) {
            CLF_TRY(prepare_output(t));
            CLF_TRY(open_texts(t));
        }
        CLF_TRY(clf_exchange_sum(t->exchange, NULL, 0));
    }
    return CLF_OK;
}

static clf_status check_alike(clf_trainer *t) {
    char first[CLF_HASH_TEXT];
    memcpy(first, t->state.recipe, sizeof first);
    CLF_TRY(clf_exchange_share(t->exchange, first, sizeof first));
    if (strcmp(first, t->state.recipe) == 0) return CLF_OK;
    return clf_fail(CLF_ERROR_ARGUMENT,
                    "processes 0 and %d of the training have different options or texts",
                    clf_exchange_rank(t->exchange));
}

static clf_status open_trainer(clf_trainer *t, const clf_train_options *options) {
    CLF_TRY(clf_recipe_resolve(options, &t->options));
    CLF_TRY(clf_exchange_open(&t->exchange));
    if (clf_exchange_rank(t->exchange) != 0)
        t->events = (clf_train_events){.user = t->events.user, .progress = t->events.progress};
    CLF_TRY(open_files(t));
    CLF_TRY(open_model(t));
    CLF_TRY(clf_exchange_prepare(t->exchange, clf_optimizer_gradients(t->optimizer)));
    CLF_TRY(clf_trainer_plan(t));
    t->state =
        (clf_train_state){.best = NAN, .loss_scale = t->options.half ? t->options.loss_scale : 1};
    clf_recipe_hash(&t->options, &t->config, clf_corpus_count(t->corpus),
                    t->options.accumulate * clf_exchange_count(t->exchange), t->state.recipe);
    CLF_TRY(check_alike(t));
    return resume(t);
}

static void close_trainer(clf_trainer *t) {
    clf_feed_finish(&t->feed);
    clf_feed_finish(&t->valid_feed);
    clf_corpus_close(t->corpus);
    clf_corpus_close(t->valid_corpus);
    clf_arena_destroy(t->arena);
    clf_optimizer_destroy(t->optimizer);
    clf_model_destroy(t->half);
    clf_model_destroy(t->merged);
    clf_model_destroy(t->model);
    clf_tokenizer_close(t->tokenizer);
    clf_vocabulary_files_close(&t->files);
    clf_exchange_close(t->exchange);
    free(t->checkpoints);
}

// ---- training ----

static bool is_finished(const clf_trainer *t) {
    const clf_train_options *o = &t->options;
    return (o->max_updates > 0 && t->state.updates >= o->max_updates) ||
           (o->max_epochs > 0 && t->state.position.epoch >= (uint64_t)o->max_epochs) ||
           (o->patience > 0 && t->state.since_best >= o->patience);
}

static bool is_due(int64_t every, int64_t updates, bool by_default) {
    return every > 0 ? updates % every == 0 : by_default;
}

// What stands at the end of an update: validation, checkpoint.
static clf_status pause(clf_trainer *t, bool ended) {
    const clf_train_options *o = &t->options;
    const bool last = is_finished(t);
    const bool validates =
        t->valid_corpus && (is_due(o->validate_every, t->state.updates, ended) || last);
    const bool saves = is_due(o->save_every, t->state.updates, validates || ended) || last;
    if (validates) {
        // The mean of checkpoints shall include these weights.
        if (t->merged) CLF_TRY(clf_trainer_checkpoint(t));
        CLF_TRY(clf_trainer_validate(t));
    }
    return saves || t->cancelled ? clf_trainer_checkpoint(t) : CLF_OK;
}

static clf_status train(clf_trainer *t) {
    t->started = clf_clock();
    t->started_updates = (uint64_t)t->state.updates;
    t->started_tokens = t->state.source_tokens + t->state.target_tokens;
    if (t->events.plan) t->events.plan(t->events.user, &t->plan, t->started_updates);
    while (!is_finished(t)) {
        bool ended = false;
        const int64_t before = t->state.updates;
        CLF_TRY(clf_trainer_update(t, &ended));
        // After a skipped update what was due after the last one has been done.
        if (t->state.updates > before || ended || t->cancelled) CLF_TRY(pause(t, ended));
        if (t->cancelled)
            return clf_fail(CLF_ERROR_CANCELLED, "training was stopped after update %lld",
                            (long long)t->state.updates);
    }
    // With validations the best model was saved when it was found.
    if (isnan(t->state.best) && clf_exchange_rank(t->exchange) == 0)
        return clf_trainer_export(t, t->options.output);
    return CLF_OK;
}

clf_status clf_train(clf_device *device, const clf_train_options *options,
                     const clf_train_events *events) {
    if (!device || !options) return clf_fail(CLF_ERROR_ARGUMENT, "clf_train: an argument is NULL");
    clf_trainer *t = calloc(1, sizeof *t);
    if (!t) return clf_fail_memory();
    t->device = device;
    if (events) t->events = *events;
    clf_device_lock(device);
    clf_status status = open_trainer(t, options);
    if (status == CLF_OK) status = train(t);
    close_trainer(t);
    clf_device_unlock(device);
    free(t);
    return status;
}
