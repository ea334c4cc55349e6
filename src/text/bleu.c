// SPDX-License-Identifier: MIT
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <clformer/evaluate.h>

#include "base/fail.h"
#include "text/bleu_tokenize.h"
#include "text/codepoints.h"
#include "text/ngrams.h"

enum { DEFAULT_ORDER = 4 };

typedef enum smoothing_kind { SMOOTH_EXP, SMOOTH_FLOOR, SMOOTH_ADD_K, SMOOTH_NONE } smoothing_kind;

static const struct {
    const char *name;
    double value; // default; 0: it has none
} smoothings[] = {[SMOOTH_EXP] = {"exp", 0},
                  [SMOOTH_FLOOR] = {"floor", 0.1},
                  [SMOOTH_ADD_K] = {"add-k", 1},
                  [SMOOTH_NONE] = {"none", 0}};

// The options with every default in its place.
typedef struct settings {
    clf_bleu_tokenization tokenization;
    bool lowercase, effective_order;
    int max_order;
    smoothing_kind smoothing;
    double value;
} settings;

typedef struct bleu_work {
    clf_ngrams ngrams;
    clf_ids text, scratch, words;
} bleu_work;

static clf_status parse_smoothing(const clf_bleu_options *options, settings *set) {
    size_t kind = 0;
    while (options->smoothing && strcmp(options->smoothing, smoothings[kind].name) != 0) {
        if (++kind < sizeof smoothings / sizeof *smoothings) continue;
        return clf_fail(CLF_ERROR_ARGUMENT, "smoothing %s: use exp, floor, add-k or none",
                        options->smoothing);
    }
    set->smoothing = (smoothing_kind)kind;
    set->value = smoothings[kind].value;
    if (options->smoothing_value == 0) return CLF_OK;
    if (set->value == 0 || !(options->smoothing_value > 0) || !isfinite(options->smoothing_value)) {
        return clf_fail(CLF_ERROR_ARGUMENT, "smoothing %s with %g: %s", smoothings[kind].name,
                        options->smoothing_value,
                        set->value == 0 ? "it takes no value" : "give a positive number");
    }
    set->value = options->smoothing_value;
    return CLF_OK;
}

static clf_status parse_options(const clf_bleu_options *options, settings *set) {
    *set = (settings){.tokenization = options->tokenization,
                      .lowercase = options->lowercase,
                      .effective_order = options->effective_order,
                      .max_order = options->max_order ? options->max_order : DEFAULT_ORDER};
    if (set->max_order < 1 || set->max_order > CLF_BLEU_ORDERS) {
        return clf_fail(CLF_ERROR_ARGUMENT, "BLEU of order %d: use 1 to %d", set->max_order,
                        CLF_BLEU_ORDERS);
    }
    if (set->tokenization < CLF_BLEU_13A || set->tokenization > CLF_BLEU_NONE) {
        return clf_fail(CLF_ERROR_ARGUMENT, "BLEU knows no tokenization %d",
                        (int)set->tokenization);
    }
    return parse_smoothing(options, set);
}

// Leaves the numbers of a segment's tokens in work->words.
static clf_status read_words(bleu_work *work, const settings *set, const char *segment) {
    CLF_TRY(clf_codepoints_decode(segment, &work->text));
    if (set->lowercase) CLF_TRY(clf_codepoints_lower(&work->text));
    CLF_TRY(clf_bleu_tokenize(set->tokenization, &work->text, &work->scratch));
    return clf_ngrams_words(&work->ngrams, &work->text, &work->words);
}

static bool is_closer(long length, long than, long hypothesis) {
    long distance = labs(length - hypothesis), other = labs(than - hypothesis);
    return distance < other || (distance == other && length < than);
}

// Adds the counts and lengths of a segment to the score.
static clf_status count_segment(bleu_work *work, const settings *set, const char *hypothesis,
                                const char *const *const *refs, int references, size_t segment,
                                clf_bleu_score *score) {
    CLF_TRY(clf_ngrams_clear(&work->ngrams));
    CLF_TRY(read_words(work, set, hypothesis));
    CLF_TRY(clf_ngrams_add(&work->ngrams, CLF_NGRAM_WORD, &work->words, set->max_order));
    long length = (long)work->words.count, closest = 0;
    for (int n = 0; n < set->max_order && n < length; n++) score->totals[n] += length - n;
    for (int r = 0; r < references; r++) {
        clf_ngrams_next_reference(&work->ngrams);
        CLF_TRY(read_words(work, set, refs[r][segment]));
        clf_ngrams_match(&work->ngrams, CLF_NGRAM_WORD, &work->words, set->max_order, true,
                         score->counts);
        long reference = (long)work->words.count;
        if (r == 0 || is_closer(reference, closest, length)) closest = reference;
    }
    score->hypothesis_length += length;
    score->reference_length += closest;
    return CLF_OK;
}

// The precision, 0 to 100, of an order with n-grams; `*penalty` is halved for each without a match.
static double smooth(const settings *set, double count, double total, double *penalty) {
    if (count > 0) return 100 * count / total;
    if (set->smoothing == SMOOTH_EXP) return 100 / ((*penalty *= 2) * total);
    return set->smoothing == SMOOTH_FLOOR ? 100 * set->value / total : 0;
}

// Precisions and score from counts and lengths.
static void finish_score(const settings *set, clf_bleu_score *score) {
    double hypothesis = (double)score->hypothesis_length;
    double reference = (double)score->reference_length;
    score->orders = set->max_order;
    score->ratio = reference > 0 ? hypothesis / reference : 0;
    score->brevity_penalty = 1;
    if (hypothesis < reference) {
        score->brevity_penalty = hypothesis > 0 ? exp(1 - reference / hypothesis) : 0;
    }
    bool matched = false;
    for (int n = 0; n < set->max_order; n++) matched |= score->counts[n] > 0;
    if (!matched) return;
    int orders = set->max_order;
    double penalty = 1, sum = 0;
    for (int n = 0; n < set->max_order; n++) {
        double added = set->smoothing == SMOOTH_ADD_K && n > 0 ? set->value : 0;
        double total = (double)score->totals[n] + added;
        if (total == 0) break;
        if (set->effective_order) orders = n + 1;
        score->precisions[n] = smooth(set, (double)score->counts[n] + added, total, &penalty);
    }
    // Finite in place of log 0, so that exp gives 0 and no order outweighs it.
    for (int n = 0; n < orders; n++) {
        sum += score->precisions[n] == 0 ? -9999999999.0 : log(score->precisions[n]);
    }
    score->score = score->brevity_penalty * exp(sum / orders);
}

static void sign(const settings *set, int references, clf_bleu_score *score) {
    static const char *const tokenizations[] = {[CLF_BLEU_13A] = "13a",
                                                [CLF_BLEU_ZH] = "zh",
                                                [CLF_BLEU_CHAR] = "char",
                                                [CLF_BLEU_NONE] = "none"};
    char value[32] = "";
    if (set->value > 0) snprintf(value, sizeof value, "[%.2f]", set->value);
    snprintf(score->signature, sizeof score->signature,
             "nrefs:%d|case:%s|eff:%s|tok:%s|smooth:%s%s|version:2.6.0", references,
             set->lowercase ? "lc" : "mixed", set->effective_order ? "yes" : "no",
             tokenizations[set->tokenization], smoothings[set->smoothing].name, value);
}

clf_status clf_bleu(const char *const *hypotheses, const char *const *const *refs, int references,
                    size_t count, const clf_bleu_options *options, clf_bleu_score *score) {
    static const clf_bleu_options defaults;
    settings set;
    CLF_TRY(parse_options(options ? options : &defaults, &set));
    if (references < 1) return clf_fail(CLF_ERROR_ARGUMENT, "BLEU needs at least one reference");
    clf_bleu_score made = {0};
    bleu_work work = {0};
    clf_status status = CLF_OK;
    for (size_t i = 0; i < count && status == CLF_OK; i++) {
        status = count_segment(&work, &set, hypotheses[i], refs, references, i, &made);
    }
    clf_ngrams_finish(&work.ngrams);
    clf_array_free(&work.text);
    clf_array_free(&work.scratch);
    clf_array_free(&work.words);
    if (status != CLF_OK) return status;
    finish_score(&set, &made);
    sign(&set, references, &made);
    *score = made;
    return CLF_OK;
}
