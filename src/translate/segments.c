// SPDX-License-Identifier: MIT
#include "translate/translator.h"

#include <stdlib.h>
#include <string.h>

#include "base/fail.h"

static clf_status push_segment(clf_segments *segments, size_t line, const clf_ids *ids) {
    clf_segment segment = {.line = line, .ids = *ids};
    return clf_array_push(segments, segment) ? CLF_OK : clf_fail_memory();
}

// Adds text that should be one segment; if it is longer than the model takes, it is cut.
static clf_status add_whole(const clf_translator *t, const char *text, size_t size, size_t line,
                            clf_segments *segments) {
    clf_ids ids = {0};
    clf_spans parts = {0};
    clf_status status = clf_tokenizer_encode_source(t->tokenizer, text, size, &ids);
    if (status != CLF_OK) goto done;
    if (ids.count <= (size_t)t->positions || size < 2) {
        status = push_segment(segments, line, &ids);
        if (status == CLF_OK) ids = (clf_ids){0}; // owned by the segment now
        goto done;
    }
    // Aim well below the limit: tokens are not spread evenly over the bytes.
    size_t limit = size * (size_t)t->positions / ids.count * 3 / 4;
    if (limit < 4) limit = 4;
    if (limit >= size) limit = size - 1;
    status = clf_split_bytes(text, size, limit, &parts);
    for (size_t i = 0; status == CLF_OK && i < parts.count; i++) {
        clf_span part = parts.data[i];
        status = add_whole(t, text + part.begin, part.end - part.begin, line, segments);
    }
done:
    clf_array_free(&ids);
    clf_array_free(&parts);
    return status;
}

static bool is_blank(const char *text, size_t size) {
    for (size_t i = 0; i < size; i++) {
        if (text[i] != ' ' && text[i] != '\t') return false;
    }
    return true;
}

// Splits only if the line is long; short lines stay as they are, whatever they hold.
static clf_status add_clean(const clf_translator *t, const char *text, size_t size, size_t line,
                            bool split, int limit, clf_segments *segments) {
    clf_spans sentences = {0};
    clf_ids ids = {0};
    clf_status status = clf_tokenizer_encode_source(t->tokenizer, text, size, &ids);
    bool is_long = ids.count > (size_t)limit;
    if (status == CLF_OK && !is_long && ids.count <= (size_t)t->positions) {
        status = push_segment(segments, line, &ids);
        if (status == CLF_OK) return CLF_OK;
    }
    clf_array_free(&ids);
    if (status != CLF_OK) return status;
    if (!split || !is_long) return add_whole(t, text, size, line, segments);
    status = clf_split_sentences(text, size, &sentences);
    for (size_t i = 0; status == CLF_OK && i < sentences.count; i++) {
        clf_span sentence = sentences.data[i];
        status = add_whole(t, text + sentence.begin, sentence.end - sentence.begin, line, segments);
    }
    clf_array_free(&sentences);
    return status;
}

clf_status clf_segments_add(const clf_translator *translator, const char *line, size_t number,
                            bool split, int limit, clf_segments *segments) {
    clf_string clean = {0};
    clf_status status = clf_utf8_clean(line, strlen(line), &clean);
    if (status == CLF_OK && !is_blank(clean.data, clean.count)) {
        status = add_clean(translator, clean.data, clean.count, number, split, limit, segments);
    }
    clf_array_free(&clean);
    return status;
}

void clf_segments_free(clf_segments *segments) {
    for (size_t i = 0; i < segments->count; i++) {
        clf_segment *segment = &segments->data[i];
        clf_array_free(&segment->ids);
        clf_array_free(&segment->target);
        for (int r = 0; r < segment->ranks; r++) free(segment->texts[r]);
        free(segment->texts);
        free(segment->scores);
    }
    clf_array_free(segments);
}

// Longest first; equal lengths in the order of the text, so that the order is always the same.
static int compare_segments(const void *a, const void *b, void *segments) {
    size_t i = *(const size_t *)a, j = *(const size_t *)b;
    const clf_segment *data = segments;
    if (data[i].ids.count != data[j].ids.count) {
        return data[i].ids.count > data[j].ids.count ? -1 : 1;
    }
    return i < j ? -1 : i > j;
}

void clf_segments_order(const clf_segments *segments, size_t *order) {
    for (size_t i = 0; i < segments->count; i++) order[i] = i;
    qsort_r(order, segments->count, sizeof *order, compare_segments, segments->data);
}

// What a segment takes of a budget. A sentence costs something besides its tokens: what it is
// translated to has a length, too, and a batch of single words should not plan a cache for
// thousands of them.
static size_t cost_of(const clf_segment *segment, int beam) {
    enum { SENTENCE_TOKENS = 8 };
    return (segment->ids.count + segment->target.count + SENTENCE_TOKENS) * (size_t)beam;
}

int clf_segments_batch(const clf_segments *segments, const size_t *order, size_t first, int budget,
                       int beam) {
    size_t left = 0, tokens = 0, next = first;
    for (size_t i = first; i < segments->count; i++) {
        left += cost_of(&segments->data[order[i]], beam);
    }
    // Equal batches: a small one at the end would use the device badly.
    const size_t batches = (left + (size_t)budget - 1) / (size_t)budget;
    const size_t share = (left + batches - 1) / batches;
    do {
        const size_t cost = cost_of(&segments->data[order[next]], beam);
        if (next > first && (tokens + cost > (size_t)budget || tokens >= share)) break;
        tokens += cost;
        next++;
    } while (next < segments->count);
    return (int)(next - first);
}

int clf_default_batch_tokens(const clf_translator *translator) {
    const clf_caps *caps = clf_device_caps(translator->device);
    const clf_config *config = clf_model_config(translator->model);
    // Most memory of a batch is its key/value cache, some 4/3 positions per token of the budget. On
    // a GPU enough rows to fill it; on a CPU just enough that products of matrices run at full
    // speed while activations stay near the caches.
    bool gpu = caps->kind <= CLF_DEVICE_INTEGRATED_GPU;
    uint64_t memory = gpu ? caps->global_memory / 8 : 200 << 20, most = gpu ? 32768 : 5120;
    uint64_t position =
        (uint64_t)config->decoder.layers * (uint64_t)clf_model_cache_width(config) * sizeof(float);
    uint64_t tokens = memory / (position * 4 / 3);
    return (int)(tokens < 768 ? 768 : tokens > most ? most : tokens);
}
