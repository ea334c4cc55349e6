// SPDX-License-Identifier: MIT
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <clformer/evaluate.h>

#include "base/fail.h"
#include "text/codepoints.h"
#include "text/ngrams.h"

enum { MOST_CHARS = 16, MOST_WORDS = 9, ORDERS = MOST_CHARS + MOST_WORDS };

// n-grams of the character orders, then of the word orders.
typedef struct chrf_counts {
    long hypothesis[ORDERS], reference[ORDERS], match[ORDERS];
} chrf_counts;

typedef struct chrf_work {
    clf_ngrams ngrams;
    clf_ids scratch;
    clf_ids characters, words; // of the segment read last
} chrf_work;

static clf_status parse_options(const clf_chrf_options *options, clf_chrf_options *set) {
    if (options) *set = *options;
    if (set->char_order == 0) set->char_order = 6;
    if (set->beta == 0) set->beta = 2;
    if (set->char_order < 1 || set->char_order > MOST_CHARS) {
        return clf_fail(CLF_ERROR_ARGUMENT, "chrF of character order %d: use 1 to %d",
                        set->char_order, MOST_CHARS);
    }
    if (set->word_order < 0 || set->word_order > MOST_WORDS) {
        return clf_fail(CLF_ERROR_ARGUMENT, "chrF of word order %d: use 0 to %d", set->word_order,
                        MOST_WORDS);
    }
    if (!(set->beta > 0) || !isfinite(set->beta)) {
        return clf_fail(CLF_ERROR_ARGUMENT, "chrF with beta %g: give a positive number", set->beta);
    }
    return CLF_OK;
}

static bool is_punctuation(int32_t c) {
    return c > ' ' && c < 0x7F && !(c >= '0' && c <= '9') &&
           !((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

// Sets apart one punctuation character of each word: its last, else its first.
static clf_status set_edges_apart(const clf_ids *text, clf_ids *words) {
    words->count = 0;
    // A word gets one blank at most.
    if (text->count > SIZE_MAX / 2 || !clf_array_reserve(words, 2 * text->count)) {
        return clf_fail_memory();
    }
    int32_t *out = words->data;
    for (size_t begin = 0, end; begin < text->count; begin = end) {
        for (end = begin; end < text->count && !clf_codepoint_is_blank(text->data[end]);) end++;
        size_t cut = begin; // no blank before the first character
        if (end - begin > 1 && is_punctuation(text->data[end - 1])) {
            cut = end - 1;
        } else if (end - begin > 1 && is_punctuation(text->data[begin])) {
            cut = begin + 1;
        }
        for (size_t i = begin; i < end; i++) {
            if (i == cut && cut > begin) *out++ = ' ';
            *out++ = text->data[i];
        }
        if (end < text->count) *out++ = text->data[end++];
    }
    words->count = (size_t)(out - words->data);
    return CLF_OK;
}

static void remove_blanks(clf_ids *text) {
    size_t kept = 0;
    for (size_t i = 0; i < text->count; i++) {
        if (!clf_codepoint_is_blank(text->data[i])) text->data[kept++] = text->data[i];
    }
    text->count = kept;
}

// Fills work->characters and work->words.
static clf_status read_segment(chrf_work *work, const clf_chrf_options *set, const char *segment) {
    CLF_TRY(clf_codepoints_decode(segment, &work->characters));
    if (set->lowercase) CLF_TRY(clf_codepoints_lower(&work->characters));
    if (set->word_order > 0) {
        CLF_TRY(set_edges_apart(&work->characters, &work->scratch));
        CLF_TRY(clf_ngrams_words(&work->ngrams, &work->scratch, &work->words));
    }
    if (!set->whitespace) remove_blanks(&work->characters);
    return CLF_OK;
}

// How many n-grams of each order the segment read last has.
static void count_all(const chrf_work *work, const clf_chrf_options *set, long *counts) {
    for (int n = 0; n < set->char_order; n++) {
        counts[n] = work->characters.count > (size_t)n ? (long)work->characters.count - n : 0;
    }
    for (int n = 0; n < set->word_order; n++) {
        counts[set->char_order + n] =
            work->words.count > (size_t)n ? (long)work->words.count - n : 0;
    }
}

// The F score, 0 to 100, of counts.
static double f_score(const chrf_counts *counts, const clf_chrf_options *set) {
    const double epsilon = 1e-16, factor = set->beta * set->beta;
    int orders = set->char_order + set->word_order, used = 0;
    double sum = 0, precisions = 0, recalls = 0;
    for (int n = 0; n < orders; n++) {
        double match = (double)counts->match[n], precision = epsilon, recall = epsilon;
        if (counts->hypothesis[n] > 0) precision = match / (double)counts->hypothesis[n];
        if (counts->reference[n] > 0) recall = match / (double)counts->reference[n];
        double below = factor * precision + recall;
        sum += below > 0 ? (1 + factor) * precision * recall / below : epsilon;
        if (counts->hypothesis[n] > 0 && counts->reference[n] > 0) {
            precisions += precision;
            recalls += recall;
            used++;
        }
    }
    if (set->smooth) return 100 * sum / orders;
    if (precisions + recalls == 0) return 0;
    precisions /= used;
    recalls /= used;
    return 100 * ((1 + factor) * precisions * recalls / (factor * precisions + recalls));
}

static void add(chrf_counts *to, const chrf_counts *more) {
    for (int n = 0; n < ORDERS; n++) {
        to->hypothesis[n] += more->hypothesis[n];
        to->reference[n] += more->reference[n];
        to->match[n] += more->match[n];
    }
}

// Adds the counts of a segment with the reference that suits it best.
static clf_status count_segment(chrf_work *work, const clf_chrf_options *set,
                                const char *hypothesis, const char *const *const *refs,
                                int references, size_t segment, chrf_counts *sum) {
    long all[ORDERS] = {0};
    CLF_TRY(clf_ngrams_clear(&work->ngrams));
    CLF_TRY(read_segment(work, set, hypothesis));
    CLF_TRY(clf_ngrams_add(&work->ngrams, CLF_NGRAM_CODEPOINT, &work->characters, set->char_order));
    CLF_TRY(clf_ngrams_add(&work->ngrams, CLF_NGRAM_WORD, &work->words, set->word_order));
    count_all(work, set, all);
    chrf_counts best = {0};
    double best_score = -1;
    for (int r = 0; r < references; r++) {
        chrf_counts counts = {0};
        clf_ngrams_next_reference(&work->ngrams);
        CLF_TRY(read_segment(work, set, refs[r][segment]));
        clf_ngrams_match(&work->ngrams, CLF_NGRAM_CODEPOINT, &work->characters, set->char_order,
                         false, counts.match);
        clf_ngrams_match(&work->ngrams, CLF_NGRAM_WORD, &work->words, set->word_order, false,
                         counts.match + set->char_order);
        count_all(work, set, counts.reference);
        // An order that the reference is too short for does not count against the hypothesis.
        for (int n = 0; n < ORDERS; n++) counts.hypothesis[n] = counts.reference[n] ? all[n] : 0;
        double score = f_score(&counts, set);
        if (score > best_score) {
            best_score = score;
            best = counts;
        }
    }
    add(sum, &best);
    return CLF_OK;
}

static void sign(const clf_chrf_options *set, int references, clf_chrf_score *score) {
    static const char pluses[MOST_WORDS + 1] = "+++++++++";
    char name[32];
    snprintf(name, sizeof name, "chrF%g%.*s", set->beta, set->word_order, pluses);
    memcpy(score->name, name, sizeof score->name - 1); // cuts a beta of absurdly many digits
    snprintf(score->signature, sizeof score->signature,
             "nrefs:%d|case:%s|eff:%s|nc:%d|nw:%d|space:%s|version:2.6.0", references,
             set->lowercase ? "lc" : "mixed", set->smooth ? "no" : "yes", set->char_order,
             set->word_order, set->whitespace ? "yes" : "no");
}

clf_status clf_chrf(const char *const *hypotheses, const char *const *const *refs, int references,
                    size_t count, const clf_chrf_options *options, clf_chrf_score *score) {
    clf_chrf_options set = {0};
    CLF_TRY(parse_options(options, &set));
    if (references < 1) return clf_fail(CLF_ERROR_ARGUMENT, "chrF needs at least one reference");
    chrf_counts sum = {0};
    chrf_work work = {0};
    clf_status status = CLF_OK;
    for (size_t i = 0; i < count && status == CLF_OK; i++) {
        status = count_segment(&work, &set, hypotheses[i], refs, references, i, &sum);
    }
    clf_ngrams_finish(&work.ngrams);
    clf_array_free(&work.scratch);
    clf_array_free(&work.characters);
    clf_array_free(&work.words);
    if (status != CLF_OK) return status;
    clf_chrf_score made = {.score = f_score(&sum, &set)};
    sign(&set, references, &made);
    *score = made;
    return CLF_OK;
}
