// SPDX-License-Identifier: MIT
// The public door's private side: a translator's parts, and the work both public calls share.
#ifndef CLF_TRANSLATE_TRANSLATOR_H
#define CLF_TRANSLATE_TRANSLATOR_H

#include <clformer/translate.h>

#include "decode/generate.h"
#include "text/split.h"
#include "text/tokenizer.h"

struct clf_translator {
    clf_device *device;
    clf_model *model;
    clf_tokenizer *tokenizer;
    clf_generator *generator;
    clf_generation generation;
    int positions; // longest sequence that the model takes
};

// A stretch of tokens that the model sees as one sequence: a line, or a sentence of a long line.
typedef struct clf_segment {
    size_t line;
    clf_ids ids;    // source tokens, the end token included
    clf_ids target; // prefix or target tokens
    char **texts;   // per rank; set by the translation
    float *scores;  // likewise
    int ranks;
} clf_segment;
typedef CLF_ARRAY(clf_segment) clf_segments;

// Appends the segments of a line: none if it is blank, several if it has more than `limit` tokens
// and `split` is set, or more than the model takes.
clf_status clf_segments_add(const clf_translator *translator, const char *line, size_t number,
                            bool split, int limit, clf_segments *segments);
void clf_segments_free(clf_segments *segments);

// The order in which segments are worked on: by falling length, so that a batch's sequences are
// alike. `order` has segments->count entries.
void clf_segments_order(const clf_segments *segments, size_t *order);

// How many segments from order[first] on fit a batch of `budget` tokens, at least one. `beam` rows
// of each count.
int clf_segments_batch(const clf_segments *segments, const size_t *order, size_t first, int budget,
                       int beam);

// The budget that suits the device and the model, if the caller names none.
int clf_default_batch_tokens(const clf_translator *translator);

#endif
