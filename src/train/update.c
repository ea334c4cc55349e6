// SPDX-License-Identifier: MIT
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fail.h"
#include "train/trainer.h"

enum { LOSS_SCALE_UPDATES = 2000 }; // after so many the loss scale is doubled
#define LEAST_LOSS_SCALE 0x1p-14F   // below it is not the scale what is wrong

// Sums over the target tokens of an update.
typedef struct sums {
    double loss, nll;
    double source_tokens, target_tokens; // of all ranks
} sums;

// The probability that a decoder input is the true token at this update (Bengio et al. 2015, 2.4).
static double truth(const clf_train_options *o, int64_t update) {
    const double i = (double)update, c = o->sampling_constant;
    switch (o->sampling) {
    case CLF_SAMPLING_LINEAR: return fmax(o->sampling_floor, 1 - c * i);
    case CLF_SAMPLING_EXPONENTIAL: return pow(c, i);
    case CLF_SAMPLING_SIGMOID: return c / (c + exp(i / c));
    default: return 1;
    }
}

// What the model itself says, for scheduled sampling; NULL after a failure. Freed by free().
static int32_t *predict(clf_trainer *t, clf_run *run, const clf_pass_options *options) {
    const clf_arena_mark mark = clf_arena_get_mark(t->arena);
    const int rows = t->feed.target_tokens;
    int32_t *predictions = malloc((size_t)rows * sizeof *predictions);
    if (!predictions) clf_run_fail(run, clf_fail_memory());
    const clf_train_batch batch = clf_feed_upload(run, &t->feed, t->model, t->arena, false);
    const clf_tensor best = clf_arena_take(run, t->arena, rows, 1, CLF_I32);
    clf_train_predict(run, clf_trainer_source(t), t->arena, &batch, options, best);
    if (predictions) clf_read(run, best, predictions);
    clf_arena_rewind(t->arena, mark);
    return predictions;
}

// Scheduled sampling and token noise; true if the inputs were altered.
static bool alter(clf_trainer *t, clf_run *run, const clf_pass_options *options) {
    const double stays = truth(&t->options, clf_optimizer_updates(t->optimizer));
    if (stays >= 1 && t->options.token_noise <= 0) return false;
    int32_t *predictions = stays < 1 ? predict(t, run, options) : NULL;
    const clf_feed_change change = {.truth = stays,
                                    .predictions = predictions,
                                    .noise = t->options.token_noise,
                                    .start = t->config.start_token,
                                    .vocabulary = t->config.target_vocabulary,
                                    .seed = options->seed ^ (uint64_t)options->step << 32};
    if (run->status == CLF_OK) clf_run_fail(run, clf_feed_alter(&t->feed, &change));
    free(predictions);
    return true;
}

static void add_losses(clf_run *run, clf_tensor losses, sums *s) {
    float *rows = malloc((size_t)losses.rows * 2 * sizeof *rows);
    if (!rows) {
        clf_run_fail(run, clf_fail_memory());
        return;
    }
    clf_read(run, losses, rows);
    for (int i = 0; i < losses.rows && run->status == CLF_OK; i++) {
        s->loss += rows[2 * i];
        s->nll += rows[2 * i + 1];
    }
    free(rows);
}

// Forward and backward of the micro-batch in the feed. The gradients are summed over the ranks
// with the last one of an update.
static clf_status run_pass(clf_trainer *t, sums *s, bool last) {
    clf_run run = clf_run_begin(t->device);
    clf_pass_options options = clf_recipe_pass(&t->options);
    options.step = (uint32_t)t->state.passes;
    options.loss_scale = t->state.loss_scale;
    if (last) {
        clf_run_fail(&run, clf_exchange_begin(t->exchange));
        options.ready = clf_exchange_ready;
        options.user = t->exchange;
    }
    const bool altered = alter(t, &run, &options);
    const clf_arena_mark mark = clf_arena_get_mark(t->arena);
    const clf_train_batch batch = clf_feed_upload(&run, &t->feed, t->model, t->arena, altered);
    const clf_tensor losses = clf_arena_take(&run, t->arena, t->feed.target_tokens, 2, CLF_F32);
    clf_train_pass(&run, clf_trainer_source(t), clf_optimizer_gradients(t->optimizer), t->arena,
                   &batch, &options, losses);
    if (last) clf_exchange_finish(&run, t->exchange);
    add_losses(&run, losses, s);
    clf_arena_rewind(t->arena, mark);
    return clf_run_finish(&run);
}

// All micro-batches of an update; each rank walks all of them and computes its own.
static clf_status run_passes(clf_trainer *t, sums *s, bool *ended) {
    const int ranks = clf_exchange_count(t->exchange), own = clf_exchange_rank(t->exchange);
    *ended = false;
    for (int i = 0; i < t->options.accumulate * ranks; i++) {
        bool wrapped = false;
        CLF_TRY(clf_feed_next(&t->feed, &wrapped));
        *ended |= wrapped;
        s->source_tokens += t->feed.source_tokens;
        s->target_tokens += t->feed.target_tokens;
        const bool last = i / ranks == t->options.accumulate - 1;
        if (i % ranks == own) CLF_TRY(run_pass(t, s, last));
        t->state.passes++;
    }
    t->state.position = clf_batches_tell(t->feed.batches);
    return CLF_OK;
}

static bool is_finite(const float *values, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(values[i])) return false;
    }
    return true;
}

static clf_status read_gradient(clf_trainer *t, const clf_param *param, float *values) {
    clf_run run = clf_run_begin(t->device);
    clf_model_read(&run, clf_optimizer_gradients(t->optimizer), param, values, t->arena);
    return clf_run_finish(&run);
}

// The first parameter in the order of the backward pass, which is about that of the table from its
// end, whose gradient is not finite: what was computed after it mostly follows from it. NULL if all
// are finite, or what they are cannot be found out.
static const clf_param *find_not_finite(clf_trainer *t, const clf_param *params, int count) {
    for (int i = count; i-- > 0;) {
        const clf_param *param = &params[i];
        const size_t size = (size_t)param->rows * (size_t)param->cols;
        float *values = malloc(size * sizeof *values);
        if (!values || read_gradient(t, param, values) != CLF_OK) {
            free(values);
            return NULL;
        }
        const bool finite = is_finite(values, size);
        free(values);
        if (!finite) return param;
    }
    return NULL;
}

static clf_status fail_numeric(clf_trainer *t, const sums *s) {
    const char *also = "", *what = "the loss";
    char gradient[96];
    clf_param *params = NULL;
    const clf_param *found = NULL;
    int count = 0;
    if (isfinite(s->loss)) what = "the gradient's norm";
    if (clf_params_list(&t->config, &params, &count) == CLF_OK) {
        found = find_not_finite(t, params, count);
    }
    if (found) {
        snprintf(gradient, sizeof gradient, "the gradient of %s", found->name);
        what = gradient;
        if (!isfinite(s->loss)) also = ", as is the loss";
    }
    free(params);
    return clf_fail(CLF_ERROR_NUMERIC,
                    "update %lld: %s is out of range%s (epoch %llu, batch %llu); nothing of this "
                    "update is kept: try a lower learning rate, a longer warm-up or --clip-norm, "
                    "and resume",
                    (long long)clf_optimizer_updates(t->optimizer) + 1, what, also,
                    (unsigned long long)t->state.position.epoch + 1,
                    (unsigned long long)t->state.position.batch);
}

static void fill_progress(clf_trainer *t, const sums *s, double rate, double norm,
                          clf_train_progress *p) {
    const int64_t now = clf_clock();
    const double seconds = (double)(now - t->started) * 1e-9;
    const uint64_t updates = (uint64_t)clf_optimizer_updates(t->optimizer);
    const uint64_t tokens = t->state.source_tokens + t->state.target_tokens;
    const double share = t->plan.updates > t->started_updates
                             ? (double)(updates - t->started_updates) /
                                   (double)(t->plan.updates - t->started_updates)
                             : 1;
    *p = (clf_train_progress){
        .update = updates,
        .updates = t->plan.updates,
        .epoch = t->state.position.epoch + 1,
        .epoch_share = (double)t->state.position.batch / (double)t->batches_per_epoch,
        .loss = s->loss / s->target_tokens,
        .nll = s->nll / s->target_tokens,
        .learning_rate = rate,
        .gradient_norm = norm,
        .tokens_per_second = (double)(tokens - t->started_tokens) / seconds,
        .seconds = seconds,
        .seconds_left = share > 0 && share < 1 ? seconds * (1 - share) / share : 0,
        .source_tokens = t->state.source_tokens,
        .target_tokens = t->state.target_tokens,
        .skipped_updates = (uint64_t)t->state.skipped};
}

static clf_status report(clf_trainer *t, const sums *s, double rate, double norm) {
    double stop = 0;
    if (t->events.progress) {
        clf_train_progress progress;
        fill_progress(t, s, rate, norm, &progress);
        stop = t->events.progress(t->events.user, &progress) != 0;
    }
    CLF_TRY(clf_exchange_sum(t->exchange, &stop, 1));
    t->cancelled = stop > 0;
    return CLF_OK;
}

// The copies of the weights follow them.
static clf_status refresh(clf_trainer *t) {
    if (!t->half) return CLF_OK;
    clf_run run = clf_run_begin(t->device);
    clf_model_round(&run, t->half, t->model);
    return run.status;
}

// Numbers out of range with loss scaling (Micikevicius et al. 2018): nothing of the update is kept,
// the next ones have a smaller scale.
static clf_status skip(clf_trainer *t, clf_run *run, const sums *s, double rate, double norm) {
    t->state.loss_scale /= 2;
    t->state.skipped++;
    if (t->state.loss_scale < LEAST_LOSS_SCALE) return fail_numeric(t, s);
    clf_optimizer_skip(run, t->optimizer);
    CLF_TRY(clf_run_finish(run));
    return report(t, s, rate, norm);
}

clf_status clf_trainer_update(clf_trainer *t, bool *ended) {
    sums s = {0};
    CLF_TRY(refresh(t));
    CLF_TRY(run_passes(t, &s, ended));
    double totals[] = {s.loss, s.nll};
    CLF_TRY(clf_exchange_sum(t->exchange, totals, 2));
    s.loss = totals[0];
    s.nll = totals[1];

    clf_run run = clf_run_begin(t->device);
    const double scale = 1 / s.target_tokens / (double)t->state.loss_scale;
    const double norm = clf_optimizer_norm(&run, t->optimizer, scale);
    if (run.status != CLF_OK) return run.status;
    const double rate = clf_schedule_rate(&t->schedule, clf_optimizer_updates(t->optimizer) + 1);
    if (!isfinite(s.loss) || !isfinite(norm)) {
        return t->half ? skip(t, &run, &s, rate, norm) : fail_numeric(t, &s);
    }
    clf_optimizer_update(&run, t->optimizer, rate, scale, norm);
    CLF_TRY(clf_run_finish(&run));
    t->state.updates = clf_optimizer_updates(t->optimizer);
    if (t->half && t->state.updates % LOSS_SCALE_UPDATES == 0) t->state.loss_scale *= 2;
    t->state.source_tokens += (uint64_t)s.source_tokens;
    t->state.target_tokens += (uint64_t)s.target_tokens;
    return report(t, &s, rate, norm);
}
