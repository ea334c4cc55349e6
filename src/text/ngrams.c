// SPDX-License-Identifier: MIT
#include "text/ngrams.h"

#include <stdlib.h>

#include "base/fail.h"
#include "base/rng.h"
#include "text/codepoints.h"

#define NONE UINT32_MAX

enum { ROOTS = 2, FIRST_SLOTS = 1024 };

void clf_ngrams_finish(clf_ngrams *ngrams) {
    clf_array_free(&ngrams->nodes);
    free(ngrams->slots);
    *ngrams = (clf_ngrams){0};
}

static uint64_t *find_slot(const clf_ngrams *ngrams, uint64_t key) {
    clf_rng hash = {key};
    size_t mask = ngrams->slot_count - 1;
    for (size_t at = clf_rng_next(&hash) & mask;; at = (at + 1) & mask) {
        uint64_t *slot = &ngrams->slots[at];
        if (*slot >> 32 != ngrams->generation) return slot;
        if (ngrams->nodes.data[(uint32_t)*slot].key == key) return slot;
    }
}

static void fill_slot(clf_ngrams *ngrams, uint32_t node) {
    *find_slot(ngrams, ngrams->nodes.data[node].key) = (uint64_t)ngrams->generation << 32 | node;
}

static clf_status resize(clf_ngrams *ngrams, size_t count) {
    uint64_t *slots = calloc(count, sizeof *slots);
    if (!slots) return clf_fail_memory();
    free(ngrams->slots);
    ngrams->slots = slots;
    ngrams->slot_count = count;
    ngrams->generation = 1;
    for (size_t i = ROOTS; i < ngrams->nodes.count; i++) fill_slot(ngrams, (uint32_t)i);
    return CLF_OK;
}

clf_status clf_ngrams_clear(clf_ngrams *ngrams) {
    ngrams->nodes.count = 0;
    ngrams->number = 0;
    if (!clf_array_reserve(&ngrams->nodes, ROOTS)) return clf_fail_memory();
    for (int i = 0; i < ROOTS; i++) ngrams->nodes.data[i] = (clf_ngram){0};
    if (ngrams->slot_count == 0 || ngrams->generation == UINT32_MAX) {
        CLF_TRY(resize(ngrams, ngrams->slot_count > 0 ? ngrams->slot_count : FIRST_SLOTS));
    } else {
        ngrams->generation++;
    }
    ngrams->nodes.count = ROOTS;
    return CLF_OK;
}

// The child of a node, or NONE.
static uint32_t find_child(const clf_ngrams *ngrams, uint32_t parent, int32_t unit) {
    uint64_t slot = *find_slot(ngrams, (uint64_t)parent << 32 | (uint32_t)unit);
    return slot >> 32 == ngrams->generation ? (uint32_t)slot : NONE;
}

// Moves from a node to its child, which is made if it is absent.
static clf_status make_child(clf_ngrams *ngrams, uint32_t *node, int32_t unit) {
    uint32_t child = find_child(ngrams, *node, unit);
    if (child == NONE) {
        size_t count = ngrams->nodes.count;
        // Node numbers serve as units, which are not negative.
        if (count >= INT32_MAX)
            return clf_fail(CLF_ERROR_UNSUPPORTED, "a line is too long to score");
        if (count > ngrams->slot_count / 2) CLF_TRY(resize(ngrams, 2 * ngrams->slot_count));
        clf_ngram made = {.key = (uint64_t)*node << 32 | (uint32_t)unit};
        if (!clf_array_push(&ngrams->nodes, made)) return clf_fail_memory();
        child = (uint32_t)count;
        fill_slot(ngrams, child);
    }
    *node = child;
    return CLF_OK;
}

clf_status clf_ngrams_words(clf_ngrams *ngrams, const clf_ids *text, clf_ids *words) {
    words->count = 0;
    uint32_t node = CLF_NGRAM_CODEPOINT;
    for (size_t i = 0; i <= text->count; i++) {
        bool ends = i == text->count || clf_codepoint_is_blank(text->data[i]);
        if (!ends) {
            CLF_TRY(make_child(ngrams, &node, text->data[i]));
        } else if (node != CLF_NGRAM_CODEPOINT) {
            if (!clf_array_push(words, (int32_t)node)) return clf_fail_memory();
            node = CLF_NGRAM_CODEPOINT;
        }
    }
    return CLF_OK;
}

clf_status clf_ngrams_add(clf_ngrams *ngrams, clf_ngram_unit unit, const clf_ids *units,
                          int order) {
    for (size_t i = 0; i < units->count; i++) {
        uint32_t node = unit;
        for (size_t n = 0; n < (size_t)order && n < units->count - i; n++) {
            CLF_TRY(make_child(ngrams, &node, units->data[i + n]));
            ngrams->nodes.data[node].hypothesis++;
        }
    }
    return CLF_OK;
}

void clf_ngrams_next_reference(clf_ngrams *ngrams) {
    ngrams->number++;
}

void clf_ngrams_match(clf_ngrams *ngrams, clf_ngram_unit unit, const clf_ids *units, int order,
                      bool pooled, long *matches) {
    for (size_t i = 0; i < units->count; i++) {
        uint32_t parent = unit;
        for (size_t n = 0; n < (size_t)order && n < units->count - i; n++) {
            // What a hypothesis does not have it does not have in longer ones either.
            if ((parent = find_child(ngrams, parent, units->data[i + n])) == NONE) break;
            clf_ngram *node = &ngrams->nodes.data[parent];
            if (node->number != ngrams->number) {
                node->number = ngrams->number;
                node->reference = 0;
            }
            bool is_new = ++node->reference > node->best;
            if (is_new) node->best = node->reference;
            if (node->reference <= node->hypothesis && (is_new || !pooled)) matches[n]++;
        }
    }
}
