// SPDX-License-Identifier: MIT
// The key/value cache of decoding: what every decoder layer computed for the positions so far.
#ifndef CLF_DECODE_CACHE_H
#define CLF_DECODE_CACHE_H

#include "model/model.h"

// Position-major, so that a step appends one block of `slots` rows and growing keeps a prefix.
typedef struct clf_cache {
    clf_device *device;
    clf_arena *arena;
    clf_tensor *layers; // per decoder layer (positions * slots, cols)
    int count;          // layers
    int cols;           // clf_model_cache_width
    int slots, positions;
} clf_cache;

clf_status clf_cache_init(clf_cache *cache, clf_device *device, const clf_config *config);
void clf_cache_finish(clf_cache *cache); // a zeroed cache is allowed

// Forgets the contents and plans `positions` positions of `slots` hypotheses; memory is reused.
void clf_cache_plan(clf_run *run, clf_cache *cache, int slots, int positions);
// Makes room for `positions` positions of the hypotheses that are left: keeps the first `steps`
// positions of each row of `origin` (see clf_op_attention_step), after which position t of row r
// stands in slot r and the cache has origin.rows slots. So one long translation does not make the
// cache grow for all those that have left the batch.
void clf_cache_grow(clf_run *run, clf_cache *cache, clf_tensor origin, int steps, int positions);

#endif
