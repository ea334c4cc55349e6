// SPDX-License-Identifier: MIT
// clf_score: log-probabilities of given translations.
#include "translate/translator.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"

struct clf_scores {
    const clf_tokenizer *tokenizer;
    size_t pairs;
    size_t *starts; // pairs + 1 entries: where each pair's tokens begin in the arrays below
    int32_t *ids;
    float *logprobs;
};

// One segment per pair, blank ones included: an empty source is its end token alone.
static clf_status add_pair(const clf_translator *t, const char *source, const char *target,
                           size_t number, clf_segments *segments) {
    if (!source || !target) return clf_fail(CLF_ERROR_ARGUMENT, "pair %zu is NULL", number + 1);
    clf_string clean = {0};
    clf_segment segment = {.line = number};
    clf_status status = clf_utf8_clean(source, strlen(source), &clean);
    if (status == CLF_OK) {
        status = clf_tokenizer_encode_source(t->tokenizer, clean.data, clean.count, &segment.ids);
    }
    clean.count = 0;
    if (status == CLF_OK) status = clf_utf8_clean(target, strlen(target), &clean);
    if (status == CLF_OK) {
        status =
            clf_tokenizer_encode_target(t->tokenizer, clean.data, clean.count, &segment.target);
    }
    if (status == CLF_OK && !clf_array_push(&segment.target, t->generation.eos[0])) {
        status = clf_fail_memory();
    }
    size_t limit = (size_t)t->positions;
    if (status == CLF_OK && segment.ids.count == 0) {
        status = clf_fail(CLF_ERROR_ARGUMENT, "line %zu: the source has no tokens", number + 1);
    } else if (status == CLF_OK && (segment.ids.count > limit || segment.target.count > limit)) {
        status = clf_fail(CLF_ERROR_ARGUMENT,
                          "line %zu: %zu tokens are more than the %d that the "
                          "model takes; split the line",
                          number + 1,
                          segment.ids.count > limit ? segment.ids.count : segment.target.count,
                          t->positions);
    }
    clf_array_free(&clean);
    if (status == CLF_OK && !clf_array_push(segments, segment)) status = clf_fail_memory();
    if (status != CLF_OK) {
        clf_array_free(&segment.ids);
        clf_array_free(&segment.target);
    }
    return status;
}

static clf_status create_scores(const clf_segments *segments, clf_scores **scores) {
    clf_scores *made = calloc(1, sizeof *made);
    if (!made) return clf_fail_memory();
    made->pairs = segments->count;
    made->starts = calloc(segments->count + 1, sizeof *made->starts);
    size_t total = 0;
    for (size_t i = 0; made->starts && i < segments->count; i++) {
        total += segments->data[i].target.count;
        made->starts[i + 1] = total;
    }
    made->ids = malloc((total + 1) * sizeof *made->ids);
    made->logprobs = malloc((total + 1) * sizeof *made->logprobs);
    if (!made->starts || !made->ids || !made->logprobs) {
        clf_scores_free(made);
        return clf_fail_memory();
    }
    for (size_t i = 0; i < segments->count; i++) {
        const clf_ids *target = &segments->data[i].target;
        memcpy(made->ids + made->starts[i], target->data, target->count * sizeof *made->ids);
    }
    *scores = made;
    return CLF_OK;
}

static clf_status run_batch(clf_translator *t, const clf_segments *segments, const size_t *order,
                            int count, clf_tokens *tokens, clf_scores *scores) {
    clf_generate_options options = {.suppress = t->generation.suppress,
                                    .suppress_count = t->generation.suppress_count,
                                    .renormalize = t->generation.renormalize};
    size_t total = 0;
    for (int i = 0; i < count; i++) {
        const clf_segment *s = &segments->data[order[i]];
        tokens[i] = (clf_tokens){s->ids.data, (int)s->ids.count};
        tokens[count + i] = (clf_tokens){s->target.data, (int)s->target.count};
        total += s->target.count;
    }
    float *logprobs = malloc(total * sizeof *logprobs);
    if (!logprobs) return clf_fail_memory();
    clf_status status =
        clf_generator_score(t->generator, tokens, tokens + count, count, &options, logprobs);
    for (size_t i = 0, at = 0; status == CLF_OK && i < (size_t)count; i++) {
        size_t length = segments->data[order[i]].target.count;
        memcpy(scores->logprobs + scores->starts[order[i]], logprobs + at,
               length * sizeof *logprobs);
        at += length;
    }
    free(logprobs);
    return status;
}

static clf_status run_segments(clf_translator *t, const clf_segments *segments,
                               const clf_score_options *options, clf_scores *scores) {
    size_t count = segments->count;
    int budget = options->batch_tokens > 0 ? options->batch_tokens : clf_default_batch_tokens(t);
    uint64_t source = 0, target = 0;
    size_t *order = malloc((count + 1) * sizeof *order);
    clf_tokens *tokens = malloc((count + 1) * 2 * sizeof *tokens);
    clf_status status = order && tokens ? CLF_OK : clf_fail_memory();
    if (status == CLF_OK) clf_segments_order(segments, order);
    for (size_t i = 0; status == CLF_OK && i < count;) {
        int batch = clf_segments_batch(segments, order, i, budget, 1);
        status = run_batch(t, segments, order + i, batch, tokens, scores);
        for (size_t end = i + (size_t)batch; i < end; i++) {
            source += segments->data[order[i]].ids.count;
            target += segments->data[order[i]].target.count;
        }
        if (status == CLF_OK && options->progress &&
            options->progress(options->user, i, count, source, target)) {
            status = clf_fail(CLF_ERROR_CANCELLED, "cancelled");
        }
    }
    free(order);
    free(tokens);
    return status;
}

clf_status clf_score(clf_translator *translator, const char *const *sources,
                     const char *const *targets, size_t count, const clf_score_options *options,
                     clf_scores **scores) {
    static const clf_score_options defaults;
    if (!translator || ((!sources || !targets) && count > 0) || !scores) {
        return clf_fail(CLF_ERROR_ARGUMENT, "clf_score: an argument is NULL");
    }
    if (options && options->batch_tokens < 0) {
        return clf_fail(CLF_ERROR_ARGUMENT, "batch_tokens is negative");
    }
    clf_segments segments = {0};
    clf_scores *made = NULL;
    clf_status status = CLF_OK;
    clf_device_lock(translator->device);
    for (size_t i = 0; i < count && status == CLF_OK; i++) {
        status = add_pair(translator, sources[i], targets[i], i, &segments);
    }
    if (status == CLF_OK) status = create_scores(&segments, &made);
    if (status == CLF_OK) {
        made->tokenizer = translator->tokenizer;
        status = run_segments(translator, &segments, options ? options : &defaults, made);
    }
    clf_device_unlock(translator->device);
    clf_segments_free(&segments);
    if (status != CLF_OK) {
        clf_scores_free(made);
        return status;
    }
    *scores = made;
    return CLF_OK;
}

float clf_scores_total(const clf_scores *scores, size_t pair) {
    double total = 0;
    for (size_t i = scores->starts[pair]; i < scores->starts[pair + 1]; i++) {
        total += scores->logprobs[i];
    }
    return (float)total;
}

int clf_scores_length(const clf_scores *scores, size_t pair) {
    return (int)(scores->starts[pair + 1] - scores->starts[pair]);
}

float clf_scores_token(const clf_scores *scores, size_t pair, int index) {
    return scores->logprobs[scores->starts[pair] + (size_t)index];
}

const char *clf_scores_token_text(const clf_scores *scores, size_t pair, int index) {
    return clf_tokenizer_target_piece(scores->tokenizer,
                                      scores->ids[scores->starts[pair] + (size_t)index]);
}

void clf_scores_free(clf_scores *scores) {
    if (!scores) return;
    free(scores->starts);
    free(scores->ids);
    free(scores->logprobs);
    free(scores);
}
