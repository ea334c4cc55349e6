// SPDX-License-Identifier: MIT
// clf_translate: lines to segments, segments in batches of like length through the search, the
// hypotheses' texts back together into lines.
#include "translate/translator.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"

typedef struct clf_translation {
    char *text;
    float score;
} clf_translation;

struct clf_translations {
    size_t lines;
    int *ranks;               // translations per line
    clf_translation **ranked; // per line, `ranks` of them
    uint64_t source_tokens, target_tokens;
};

// One call's work.
typedef struct job {
    clf_translator *t;
    const clf_translate_options *options;
    clf_generate_options generate;
    int32_t *suppress;
    int nbest;
    clf_segments segments;
    clf_translations *result;
    size_t done; // segments
} job;

// ---- options ------------------------------------------------------------------------------------

static clf_status check_options(const clf_translate_options *o) {
    if (o->beam < 0 || o->beam > CLF_TOPK_MAX / 2) {
        return clf_fail(CLF_ERROR_ARGUMENT, "a beam of %d is not in 1 ... %d", o->beam,
                        CLF_TOPK_MAX / 2);
    }
    if (o->nbest < 0 || o->max_length < 0 || o->min_length < 0 || o->batch_tokens < 0 ||
        o->split_tokens < 0 || o->suppress_count < 0) {
        return clf_fail(CLF_ERROR_ARGUMENT, "a number among the options is negative");
    }
    return CLF_OK;
}

// Start token included, at most what the model's positions allow.
static int choose_max_length(const job *j) {
    const clf_generation *g = &j->t->generation;
    int length = g->max_new_tokens > 0 ? g->max_new_tokens + 1 : g->max_length;
    if (j->options->max_length > 0) length = j->options->max_length;
    if (length <= 0) length = 21; // the library's default: 20 new tokens
    return length < j->t->positions ? length : j->t->positions;
}

static int choose_early_stopping(const job *j) {
    switch (j->options->early_stopping) {
    case CLF_STOP_HEURISTIC: return 0;
    case CLF_STOP_EARLY: return 1;
    case CLF_STOP_NEVER: return 2;
    default: return j->t->generation.early_stopping;
    }
}

static clf_status merge_suppressed(job *j) {
    const clf_generation *g = &j->t->generation;
    const clf_translate_options *o = j->options;
    int vocabulary = clf_model_config(j->t->model)->target_vocabulary;
    int total = g->suppress_count + o->suppress_count;
    j->suppress = malloc((size_t)(total > 0 ? total : 1) * sizeof *j->suppress);
    if (!j->suppress) return clf_fail_memory();
    for (int i = 0; i < g->suppress_count; i++) j->suppress[i] = g->suppress[i];
    for (int i = 0; i < o->suppress_count; i++) {
        if (o->suppress[i] < 0 || o->suppress[i] >= vocabulary) {
            return clf_fail(CLF_ERROR_ARGUMENT, "suppressed token %d is not in 0 ... %d",
                            o->suppress[i], vocabulary - 1);
        }
        j->suppress[g->suppress_count + i] = o->suppress[i];
    }
    j->generate.suppress = j->suppress;
    j->generate.suppress_count = total;
    return CLF_OK;
}

static int report_progress(void *user) {
    const job *j = user;
    return j->options->progress(j->options->user, j->done, j->segments.count,
                                j->result->source_tokens, j->result->target_tokens);
}

// The model's own settings, overridden by the caller's.
static clf_status merge_options(job *j) {
    const clf_generation *g = &j->t->generation;
    const clf_translate_options *o = j->options;
    clf_search_options *s = &j->generate.search;
    CLF_TRY(check_options(o));
    s->beam = o->beam > 0 ? o->beam : g->num_beams;
    j->nbest = o->nbest > 0 ? o->nbest : 1;
    if (j->nbest > s->beam) {
        return clf_fail(CLF_ERROR_ARGUMENT, "%d best translations need a beam of at least %d",
                        j->nbest, j->nbest);
    }
    s->nbest = j->nbest;
    s->length_penalty = o->set_length_penalty ? o->length_penalty : g->length_penalty;
    s->early_stopping = choose_early_stopping(j);
    s->max_length = choose_max_length(j);
    s->min_length = o->min_length > 0 ? o->min_length : g->min_length;
    memcpy(s->eos, g->eos, sizeof s->eos);
    s->eos_count = g->eos_count;
    s->forced_bos = g->forced_bos;
    s->forced_eos = g->forced_eos;
    j->generate.renormalize = g->renormalize;
    j->generate.no_scores = o->no_scores;
    if (o->progress) {
        j->generate.cancelled = report_progress;
        j->generate.user = j;
    }
    return merge_suppressed(j);
}

// ---- lines to segments --------------------------------------------------------------------------

static clf_status add_line(job *j, const char *line, size_t number) {
    const clf_translate_options *o = j->options;
    size_t first = j->segments.count;
    int limit = o->split_tokens > 0 ? o->split_tokens : 128;
    if (!line) return clf_fail(CLF_ERROR_ARGUMENT, "line %zu is NULL", number + 1);
    CLF_TRY(clf_segments_add(j->t, line, number, !o->no_split, limit, &j->segments));
    const char *prefix = o->prefixes ? o->prefixes[number] : o->prefix;
    if (!prefix || !*prefix || j->segments.count == first) return CLF_OK;
    return clf_tokenizer_encode_target(j->t->tokenizer, prefix, strlen(prefix),
                                       &j->segments.data[first].target);
}

static clf_status make_segments(job *j, const char *const *lines, size_t count) {
    int64_t phase = clf_phase_begin(j->t->device);
    clf_status status = CLF_OK;
    for (size_t i = 0; i < count && status == CLF_OK; i++) status = add_line(j, lines[i], i);
    clf_phase_end(j->t->device, "tokenize", phase);
    return status;
}

// ---- segments through the search ----------------------------------------------------------------

static bool is_end(const clf_search_options *options, int32_t token) {
    for (int i = 0; i < options->eos_count; i++) {
        if (options->eos[i] == token) return true;
    }
    return false;
}

static clf_status take_hypothesis(job *j, clf_segment *segment, int rank,
                                  const clf_hypothesis *hypothesis) {
    clf_string text = {0};
    int length = hypothesis->length;
    if (length > 0 && is_end(&j->generate.search, hypothesis->tokens[length - 1])) length--;
    clf_status status =
        clf_tokenizer_decode(j->t->tokenizer, hypothesis->tokens, (size_t)length, &text);
    if (status == CLF_OK && !clf_array_push(&text, '\0')) status = clf_fail_memory();
    if (status != CLF_OK) {
        clf_array_free(&text);
        return status;
    }
    segment->texts[rank] = text.data;
    segment->scores[rank] = j->generate.no_scores ? 0 : hypothesis->score;
    segment->ranks = rank + 1;
    if (rank == 0) j->result->target_tokens += (uint64_t)hypothesis->length;
    return CLF_OK;
}

static clf_status take_hypotheses(job *j, const clf_search *search, int sentence,
                                  clf_segment *segment) {
    int found = clf_search_hypotheses(search, sentence);
    segment->texts = calloc((size_t)j->nbest, sizeof *segment->texts);
    segment->scores = calloc((size_t)j->nbest, sizeof *segment->scores);
    if (!segment->texts || !segment->scores) return clf_fail_memory();
    for (int r = 0; r < found && r < j->nbest; r++) {
        clf_hypothesis hypothesis = clf_search_hypothesis(search, sentence, r);
        CLF_TRY(take_hypothesis(j, segment, r, &hypothesis));
    }
    return CLF_OK;
}

static clf_status run_batch(job *j, const size_t *order, int count, clf_tokens *sources,
                            clf_tokens *prefixes) {
    clf_search *search = NULL;
    for (int i = 0; i < count; i++) {
        const clf_segment *s = &j->segments.data[order[i]];
        sources[i] = (clf_tokens){s->ids.data, (int)s->ids.count};
        prefixes[i] = (clf_tokens){s->target.data, (int)s->target.count};
    }
    CLF_TRY(clf_generate(j->t->generator, sources, prefixes, count, &j->generate, &search));
    int64_t phase = clf_phase_begin(j->t->device);
    clf_status status = CLF_OK;
    for (int i = 0; i < count && status == CLF_OK; i++) {
        clf_segment *s = &j->segments.data[order[i]];
        status = take_hypotheses(j, search, i, s);
        j->result->source_tokens += s->ids.count;
    }
    clf_phase_end(j->t->device, "detokenize", phase);
    clf_search_destroy(search);
    j->done += (size_t)count;
    return status;
}

static clf_status run_segments(job *j) {
    size_t count = j->segments.count;
    if (count == 0) return CLF_OK;
    int budget =
        j->options->batch_tokens > 0 ? j->options->batch_tokens : clf_default_batch_tokens(j->t);
    size_t *order = malloc(count * sizeof *order);
    clf_tokens *tokens = malloc(count * 2 * sizeof *tokens);
    clf_status status = order && tokens ? CLF_OK : clf_fail_memory();
    if (status == CLF_OK) clf_segments_order(&j->segments, order);
    for (size_t i = 0; status == CLF_OK && i < count;) {
        int batch = clf_segments_batch(&j->segments, order, i, budget, j->generate.search.beam);
        status = run_batch(j, order + i, batch, tokens, tokens + count);
        i += (size_t)batch;
    }
    if (status == CLF_OK && j->options->progress && report_progress(j)) {
        status = clf_fail(CLF_ERROR_CANCELLED, "cancelled");
    }
    free(order);
    free(tokens);
    return status;
}

// ---- segments to lines --------------------------------------------------------------------------

// A line's translation of one rank: its sentences' texts one after another.
static clf_status join_rank(const clf_segment *segments, size_t count, int rank,
                            clf_translation *out) {
    clf_string text = {0};
    clf_status status = CLF_OK;
    float score = 0;
    for (size_t i = 0; i < count && status == CLF_OK; i++) {
        const clf_segment *s = &segments[i];
        if (s->ranks == 0) continue;
        int r = rank < s->ranks ? rank : s->ranks - 1;
        status = clf_text_append_sentence(&text, s->texts[r], strlen(s->texts[r]));
        score += s->scores[r];
    }
    if (status == CLF_OK && !clf_array_push(&text, '\0')) status = clf_fail_memory();
    if (status != CLF_OK) {
        clf_array_free(&text);
        return status;
    }
    *out = (clf_translation){.text = text.data, .score = score};
    return CLF_OK;
}

static clf_status join_line(clf_translations *result, size_t line, const clf_segment *segments,
                            size_t count) {
    int ranks = 1;
    for (size_t i = 0; i < count; i++) {
        if (segments[i].ranks > ranks) ranks = segments[i].ranks;
    }
    result->ranked[line] = calloc((size_t)ranks, sizeof **result->ranked);
    if (!result->ranked[line]) return clf_fail_memory();
    for (int r = 0; r < ranks; r++) {
        CLF_TRY(join_rank(segments, count, r, &result->ranked[line][r]));
        result->ranks[line] = r + 1;
    }
    return CLF_OK;
}

static clf_status join_lines(job *j) {
    size_t next = 0;
    for (size_t line = 0; line < j->result->lines; line++) {
        size_t first = next;
        while (next < j->segments.count && j->segments.data[next].line == line) next++;
        const clf_segment *begin = next > first ? &j->segments.data[first] : NULL;
        CLF_TRY(join_line(j->result, line, begin, next - first));
    }
    return CLF_OK;
}

// ---- public -------------------------------------------------------------------------------------

static clf_status create_translations(size_t lines, clf_translations **result) {
    clf_translations *made = calloc(1, sizeof *made);
    if (!made) return clf_fail_memory();
    made->lines = lines;
    made->ranks = calloc(lines + 1, sizeof *made->ranks);
    made->ranked = calloc(lines + 1, sizeof *made->ranked);
    if (!made->ranks || !made->ranked) {
        clf_translations_free(made);
        return clf_fail_memory();
    }
    *result = made;
    return CLF_OK;
}

clf_status clf_translate(clf_translator *translator, const char *const *lines, size_t count,
                         const clf_translate_options *options, clf_translations **translations) {
    static const clf_translate_options defaults;
    if (!translator || (!lines && count > 0) || !translations) {
        return clf_fail(CLF_ERROR_ARGUMENT, "clf_translate: an argument is NULL");
    }
    job j = {.t = translator, .options = options ? options : &defaults};
    CLF_TRY(create_translations(count, &j.result));
    clf_device_lock(translator->device);
    clf_status status = merge_options(&j);
    if (status == CLF_OK) status = make_segments(&j, lines, count);
    if (status == CLF_OK) status = run_segments(&j);
    clf_device_unlock(translator->device);
    if (status == CLF_OK) status = join_lines(&j);
    clf_segments_free(&j.segments);
    free(j.suppress);
    if (status != CLF_OK) {
        clf_translations_free(j.result);
        return status;
    }
    *translations = j.result;
    return CLF_OK;
}

size_t clf_translations_count(const clf_translations *translations) {
    return translations->lines;
}

int clf_translations_nbest(const clf_translations *translations, size_t line) {
    return translations->ranks[line];
}

const char *clf_translations_text(const clf_translations *translations, size_t line, int rank) {
    return translations->ranked[line][rank].text;
}

float clf_translations_score(const clf_translations *translations, size_t line, int rank) {
    return translations->ranked[line][rank].score;
}

void clf_translations_tokens(const clf_translations *translations, uint64_t *source,
                             uint64_t *target) {
    if (source) *source = translations->source_tokens;
    if (target) *target = translations->target_tokens;
}

void clf_translations_free(clf_translations *translations) {
    if (!translations) return;
    for (size_t i = 0; i < translations->lines && translations->ranks; i++) {
        for (int r = 0; r < translations->ranks[i]; r++) free(translations->ranked[i][r].text);
        free(translations->ranked[i]);
    }
    free(translations->ranks);
    free(translations->ranked);
    free(translations);
}
