// SPDX-License-Identifier: MIT
// BLEU and chrF of translations, equal to sacreBLEU's.
#ifndef CLFORMER_EVALUATE_H
#define CLFORMER_EVALUATE_H

#include <stdbool.h>
#include <stddef.h>

#include <clformer/status.h>

#ifdef __cplusplus
extern "C" {
#endif

// Tokenisations of BLEU, by sacreBLEU's names.
typedef enum clf_bleu_tokenization {
    CLF_BLEU_13A,
    CLF_BLEU_ZH,
    CLF_BLEU_CHAR,
    CLF_BLEU_NONE
} clf_bleu_tokenization;

// Zero means default everywhere.
typedef struct clf_bleu_options {
    clf_bleu_tokenization tokenization;
    bool lowercase;
    bool effective_order; // leave out orders that no segment is long enough for
    int max_order;        // default 4, at most 9
    // For orders without a match (Chen, Cherry 2014, and others): "exp" (default), "floor", "add-k"
    // or "none", as sacreBLEU means them.
    const char *smoothing;
    double smoothing_value; // of floor (default 0.1) and add-k (1)
} clf_bleu_options;

#define CLF_BLEU_ORDERS 9

typedef struct clf_bleu_score {
    double score;                       // 0 to 100
    double precisions[CLF_BLEU_ORDERS]; // 0 to 100, smoothed
    double brevity_penalty, ratio;
    long counts[CLF_BLEU_ORDERS], totals[CLF_BLEU_ORDERS]; // not smoothed
    long hypothesis_length, reference_length;
    int orders;          // how many precisions, counts and totals there are
    char signature[128]; // "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0"
} clf_bleu_score;

// Corpus BLEU (Papineni et al. 2002) of `count` segments with `references` references each:
// reference r of segment i is refs[r][i]. Invalid UTF-8 counts as U+FFFD. `options` may be NULL.
// Thread-safe.
CLF_API clf_status clf_bleu(const char *const *hypotheses, const char *const *const *refs,
                            int references, size_t count, const clf_bleu_options *options,
                            clf_bleu_score *score);

typedef struct clf_chrf_options {
    int char_order; // default 6, at most 16
    int word_order; // default 0, at most 9; 2 is chrF++
    double beta;    // weight of recall against precision, default 2
    bool lowercase;
    bool whitespace; // is part of character n-grams
    bool smooth;     // eps smoothing: orders that are too long count as 0
} clf_chrf_options;

typedef struct clf_chrf_score {
    double score;        // 0 to 100
    char name[16];       // "chrF2", "chrF2++"
    char signature[128]; // "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.6.0"
} clf_chrf_score;

// Corpus chrF (Popovic 2015, 2017), likewise.
CLF_API clf_status clf_chrf(const char *const *hypotheses, const char *const *const *refs,
                            int references, size_t count, const clf_chrf_options *options,
                            clf_chrf_score *score);

#ifdef __cplusplus
}
#endif
#endif
