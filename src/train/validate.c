// SPDX-License-Identifier: MIT
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fail.h"
#include "base/file.h"
#include "train/trainer.h"

// The model as it would be saved: the mean of checkpoints, the average of weights, or the weights.
static clf_status shown_model(clf_trainer *t, clf_model **shown) {
    clf_model *average = clf_optimizer_state(t->optimizer, 2);
    *shown = average ? average : t->model;
    if (t->options.average_checkpoints < 2) return CLF_OK;
    char **paths = NULL;
    int count = 0;
    CLF_TRY(clf_checkpoint_list(t->checkpoints, &paths, &count));
    const int most = t->options.average_checkpoints;
    clf_status status = CLF_OK;
    if (count > 0) {
        status = clf_checkpoint_average(paths, count < most ? count : most, t->merged);
        *shown = t->merged;
    }
    clf_checkpoint_list_free(paths, count);
    return status;
}

static clf_status export_model(clf_trainer *t, clf_model *shown, const char *directory) {
    const clf_save_options options = {.kind = t->save_kind,
                                      .weights = CLF_F32,
                                      .dropout = t->options.dropout,
                                      .attention_dropout = t->options.attention_dropout,
                                      .activation_dropout = t->options.activation_dropout,
                                      .source_spm = t->files.source_spm,
                                      .target_spm = t->files.target_spm,
                                      .source_vocabulary = t->files.source_vocabulary,
                                      .target_vocabulary = t->files.target_vocabulary};
    return clf_format_save(directory, shown, &t->generation, &options);
}

clf_status clf_trainer_export(clf_trainer *t, const char *directory) {
    clf_model *shown = NULL;
    CLF_TRY(shown_model(t, &shown));
    return export_model(t, shown, directory);
}

static clf_status save(clf_trainer *t) {
    char name[64];
    snprintf(name, sizeof name, "update-%08lld.safetensors", (long long)t->state.updates);
    char *path = clf_path_join(t->checkpoints, name);
    if (!path) return clf_fail_memory();
    clf_status status = clf_checkpoint_save(path, t->model, t->optimizer, &t->state);
    if (status == CLF_OK) status = clf_checkpoint_prune(t->checkpoints, t->options.keep);
    if (status == CLF_OK && t->events.saved)
        t->events.saved(t->events.user, (uint64_t)t->state.updates, path);
    free(path);
    return status;
}

clf_status clf_trainer_checkpoint(clf_trainer *t) {
    if (clf_exchange_rank(t->exchange) == 0) CLF_TRY(save(t));
    return clf_trainer_align(t);
}

// Sums of losses over the validation text.
static clf_status sum_losses(clf_trainer *t, const clf_model *shown, double sums[2]) {
    clf_pass_options options = clf_recipe_pass(&t->options);
    options.dropout = options.attention_dropout = options.activation_dropout = 0;
    float *rows = NULL;
    clf_status status = clf_batches_seek(t->valid_feed.batches, (clf_batches_position){0});
    while (status == CLF_OK) {
        bool ended = false;
        status = clf_feed_next(&t->valid_feed, &ended);
        if (status != CLF_OK || ended) break;
        clf_run run = clf_run_begin(t->device);
        const clf_arena_mark mark = clf_arena_get_mark(t->arena);
        const int tokens = t->valid_feed.target_tokens;
        float *more = realloc(rows, 2 * (size_t)tokens * sizeof *rows);
        if (!more)
            clf_run_fail(&run, clf_fail_memory());
        else
            rows = more;
        const clf_train_batch batch = clf_feed_upload(&run, &t->valid_feed, shown, t->arena, false);
        const clf_tensor losses = clf_arena_take(&run, t->arena, tokens, 2, CLF_F32);
        clf_train_pass(&run, shown, NULL, t->arena, &batch, &options, losses);
        if (more) clf_read(&run, losses, rows);
        clf_arena_rewind(t->arena, mark);
        status = clf_run_finish(&run);
        for (int i = 0; i < 2 * tokens && status == CLF_OK; i++) sums[i % 2] += rows[i];
    }
    free(rows);
    return status;
}

// What the caller says of the model's translations; NaN: nothing.
static clf_status score(clf_trainer *t, clf_model *shown, double *bleu) {
    *bleu = NAN;
    if (!t->events.score) return CLF_OK;
    char *candidate = clf_path_join(t->checkpoints, "candidate");
    if (!candidate) return clf_fail_memory();
    const clf_status status = export_model(t, shown, candidate);
    if (status == CLF_OK) {
        clf_device_unlock(t->device);
        *bleu = t->events.score(t->events.user, candidate);
        clf_device_lock(t->device);
    }
    free(candidate);
    return status;
}

static bool is_better(const clf_trainer *t, double value) {
    if (isnan(value)) return false;
    if (isnan(t->state.best)) return true;
    return t->options.best_by_bleu ? value > t->state.best : value < t->state.best;
}

// Rank 0 validates; the others wait for what it found.
static clf_status validate(clf_trainer *t) {
    const uint64_t tokens = clf_corpus_count(t->valid_corpus)->target_tokens;
    clf_train_validation v = {.update = (uint64_t)t->state.updates,
                              .epoch = t->state.position.epoch + 1};
    clf_model *shown = NULL;
    double sums[2] = {0};
    CLF_TRY(shown_model(t, &shown));
    CLF_TRY(sum_losses(t, shown, sums));
    CLF_TRY(score(t, shown, &v.bleu));
    v.loss = sums[0] / (double)tokens;
    v.nll = sums[1] / (double)tokens;
    const double value = t->options.best_by_bleu ? v.bleu : v.loss;
    v.best = is_better(t, value);
    t->state.since_best++;
    if (v.best) {
        CLF_TRY(export_model(t, shown, t->options.output));
        t->state.best = value;
        t->state.best_update = t->state.updates;
        t->state.since_best = 0;
    }
    if (t->events.validation) t->events.validation(t->events.user, &v);
    return CLF_OK;
}

clf_status clf_trainer_validate(clf_trainer *t) {
    if (clf_exchange_rank(t->exchange) == 0) CLF_TRY(validate(t));
    return clf_exchange_share(t->exchange, &t->state, sizeof t->state);
}
