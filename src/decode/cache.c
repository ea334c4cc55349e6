// SPDX-License-Identifier: MIT
#include "decode/cache.h"

#include <limits.h>
#include <stdlib.h>

#include "base/fail.h"

static clf_status create_arena(clf_device *device, clf_arena **arena) {
    return clf_arena_create(device, "the key/value cache",
                            "a smaller --batch-tokens, --beam or --max-length", arena);
}

clf_status clf_cache_init(clf_cache *cache, clf_device *device, const clf_config *config) {
    *cache = (clf_cache){
        .device = device, .count = config->decoder.layers, .cols = clf_model_cache_width(config)};
    cache->layers = calloc((size_t)cache->count, sizeof *cache->layers);
    if (!cache->layers) return clf_fail_memory();
    return create_arena(device, &cache->arena);
}

void clf_cache_finish(clf_cache *cache) {
    clf_arena_destroy(cache->arena);
    free(cache->layers);
    *cache = (clf_cache){0};
}

// One tensor for all layers, so that the arena has a single chunk without gaps; none where that is
// more than the device allows.
static clf_tensor take_all(clf_run *run, clf_arena *arena, const clf_cache *cache, int rows) {
    uint64_t total = (uint64_t)cache->count * (uint64_t)rows;
    uint64_t bytes = total * (uint64_t)cache->cols * sizeof(float);
    bool fits = bytes <= clf_device_caps(cache->device)->max_allocation && total <= INT_MAX;
    return fits ? clf_arena_take(run, arena, (int)total, cache->cols, CLF_F32) : (clf_tensor){0};
}

static clf_tensor take_layer(clf_run *run, clf_arena *arena, const clf_cache *cache, clf_tensor all,
                             int layer, int rows) {
    return all.chunk ? clf_tensor_rows(all, layer * rows, rows)
                     : clf_arena_take(run, arena, rows, cache->cols, CLF_F32);
}

void clf_cache_plan(clf_run *run, clf_cache *cache, int slots, int positions) {
    if ((int64_t)positions * slots > INT_MAX) {
        clf_run_fail(run,
                     clf_fail(CLF_ERROR_ARGUMENT,
                              "%d hypotheses of %d positions are too many for one batch; try a "
                              "smaller --batch-tokens",
                              slots, positions));
    }
    if (run->status != CLF_OK) return;
    int rows = positions * slots;
    uint64_t bytes =
        (uint64_t)cache->count * (uint64_t)rows * (uint64_t)cache->cols * sizeof(float);
    if (bytes > clf_arena_bytes(cache->arena)) {
        // A larger arena instead of one more chunk, which would leave the first ones half empty.
        clf_arena *larger;
        clf_run_fail(run, create_arena(cache->device, &larger));
        if (run->status != CLF_OK) return;
        clf_arena_destroy(cache->arena);
        cache->arena = larger;
    }
    clf_arena_reset(cache->arena);
    cache->slots = slots;
    cache->positions = positions;
    clf_tensor all = take_all(run, cache->arena, cache, rows);
    for (int i = 0; i < cache->count; i++) {
        cache->layers[i] = take_layer(run, cache->arena, cache, all, i, rows);
    }
}

void clf_cache_grow(clf_run *run, clf_cache *cache, clf_tensor origin, int steps, int positions) {
    clf_arena *grown;
    if (run->status != CLF_OK) return;
    clf_run_fail(run, create_arena(cache->device, &grown));
    if (run->status != CLF_OK) return;
    int rows = positions * origin.rows;
    clf_tensor all = take_all(run, grown, cache, rows);
    for (int i = 0; i < cache->count; i++) {
        clf_tensor layer = take_layer(run, grown, cache, all, i, rows);
        clf_op_compact(run, layer, cache->layers[i], origin, cache->slots, steps);
        cache->layers[i] = layer;
    }
    clf_arena_destroy(cache->arena);
    cache->arena = grown;
    cache->slots = origin.rows;
    cache->positions = positions;
}
