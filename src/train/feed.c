// SPDX-License-Identifier: MIT
#include "train/feed.h"

#include <stdlib.h>

#include "base/fail.h"
#include "base/rng.h"

clf_status clf_feed_init(clf_feed *feed, const clf_corpus *corpus,
                         const clf_batches_options *options) {
    *feed = (clf_feed){.corpus = corpus};
    return clf_batches_create(corpus, options, &feed->batches);
}

void clf_feed_finish(clf_feed *feed) {
    clf_batches_destroy(feed->batches);
    free(feed->sources);
    free(feed->changed);
    *feed = (clf_feed){0};
}

static clf_status make_room(clf_feed *feed, int count) {
    if (count <= feed->room) return CLF_OK;
    clf_tokens *all = realloc(feed->sources, 3 * (size_t)count * sizeof *all);
    if (!all) return clf_fail_memory();
    feed->sources = all;
    feed->targets = all + count;
    feed->inputs = all + 2 * count;
    feed->room = count;
    return CLF_OK;
}

clf_status clf_feed_next(clf_feed *feed, bool *ended) {
    const uint64_t *pairs = NULL;
    int count = 0;
    CLF_TRY(clf_batches_next(feed->batches, &pairs, &count));
    if (ended) *ended = count == 0;
    if (count == 0) CLF_TRY(clf_batches_next(feed->batches, &pairs, &count));
    CLF_TRY(make_room(feed, count));
    feed->count = count;
    feed->source_tokens = feed->target_tokens = 0;
    for (int i = 0; i < count; i++) {
        const clf_corpus_pair pair = clf_corpus_get(feed->corpus, pairs[i]);
        feed->sources[i] = (clf_tokens){pair.source, pair.source_length};
        feed->targets[i] = (clf_tokens){pair.target, pair.target_length};
        feed->source_tokens += pair.source_length;
        feed->target_tokens += pair.target_length;
    }
    return CLF_OK;
}

static bool chance(clf_rng *rng, double probability) {
    return (double)(clf_rng_next(rng) >> 11) * 0x1p-53 < probability;
}

clf_status clf_feed_alter(clf_feed *feed, const clf_feed_change *change) {
    if (feed->target_tokens > feed->changed_room) {
        int32_t *room = realloc(feed->changed, (size_t)feed->target_tokens * sizeof *room);
        if (!room) return clf_fail_memory();
        feed->changed = room;
        feed->changed_room = feed->target_tokens;
    }
    clf_rng rng = {change->seed};
    for (int i = 0, row = 0; i < feed->count; i++) {
        feed->inputs[i] = (clf_tokens){feed->changed + row, feed->targets[i].count};
        for (int t = 0; t < feed->targets[i].count; t++, row++) {
            int32_t token = t == 0 ? change->start : feed->targets[i].ids[t - 1];
            if (t > 0 && change->predictions && !chance(&rng, change->truth))
                token = change->predictions[row - 1];
            if (t > 0 && chance(&rng, change->noise)) {
                const int32_t other = (int32_t)clf_rng_below(&rng, (uint32_t)change->vocabulary);
                if (other != change->start) token = other;
            }
            feed->changed[row] = token;
        }
    }
    return CLF_OK;
}

clf_train_batch clf_feed_upload(clf_run *run, const clf_feed *feed, const clf_model *model,
                                clf_arena *arena, bool altered) {
    return clf_train_batch_upload(run, model, arena, feed->sources, feed->targets,
                                  altered ? feed->inputs : NULL, feed->count);
}
