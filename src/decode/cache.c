// SPDX-License-Identifier: MIT
#include "decode/cache.h"

#include <stdlib.h>

#include "base/fail.h"

static clf_status create_arena(clf_device *device, clf_arena **arena) {
    return clf_arena_create(device, "the key/value cache",
                            "a smaller --batch-tokens, --beam or --max-length", arena);
}

clf_status clf_cache_init(clf_cache *cache, clf_device *device, const clf_config *config) {
    *cache = (clf_cache){.device = device,
                         .count = config->decoder.layers,
                         .cols = 3 * config->decoder.heads * config->decoder.head_width};
    cache->layers = calloc((size_t)cache->count, sizeof *cache->layers);
    if (!cache->layers) return clf_fail_memory();
    return create_arena(device, &cache->arena);
}

void clf_cache_finish(clf_cache *cache) {
    clf_arena_destroy(cache->arena);
    free(cache->layers);
    *cache = (clf_cache){0};
}

void clf_cache_plan(clf_run *run, clf_cache *cache, int slots, int positions) {
    clf_arena_reset(cache->arena);
    cache->slots = slots;
    cache->positions = positions;
    for (int i = 0; i < cache->count; i++) {
        cache->layers[i] =
            clf_arena_take(run, cache->arena, positions * slots, cache->cols, CLF_F32);
    }
}

void clf_cache_grow(clf_run *run, clf_cache *cache, clf_tensor origin, int steps, int positions) {
    clf_arena *grown;
    if (run->status != CLF_OK) return;
    clf_run_fail(run, create_arena(cache->device, &grown));
    if (run->status != CLF_OK) return;
    for (int i = 0; i < cache->count; i++) {
        clf_tensor layer =
            clf_arena_take(run, grown, positions * origin.rows, cache->cols, CLF_F32);
        clf_op_compact(run, layer, cache->layers[i], origin, cache->slots, steps);
        cache->layers[i] = layer;
    }
    clf_arena_destroy(cache->arena);
    cache->arena = grown;
    cache->slots = origin.rows;
    cache->positions = positions;
}
