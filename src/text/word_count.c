// SPDX-License-Identifier: MIT
#include "text/word_count.h"

#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/hash.h"

static uint32_t *find_slot(const clf_word_count *c, const char *word, size_t size) {
    size_t mask = c->slot_count - 1;
    size_t slot = clf_hash_bytes(clf_hash_start(), word, size).low & mask;
    for (; c->slots[slot]; slot = (slot + 1) & mask) {
        const clf_word *w = &c->words.data[c->slots[slot] - 1];
        if (w->size == size && memcmp(c->text.data + w->begin, word, size) == 0) break;
    }
    return &c->slots[slot];
}

// Keeps at least half of the slots free.
static clf_status reserve_slot(clf_word_count *c) {
    if (2 * (c->words.count + 1) <= c->slot_count) return CLF_OK;
    size_t slot_count = c->slot_count ? 2 * c->slot_count : 1024;
    uint32_t *slots = calloc(slot_count, sizeof *slots);
    if (!slots || c->words.count >= UINT32_MAX / 2) {
        free(slots);
        return clf_fail_memory();
    }
    free(c->slots);
    c->slots = slots;
    c->slot_count = slot_count;
    for (size_t i = 0; i < c->words.count; i++) {
        const clf_word *w = &c->words.data[i];
        *find_slot(c, c->text.data + w->begin, w->size) = (uint32_t)i + 1;
    }
    return CLF_OK;
}

clf_status clf_word_count_add(clf_word_count *count, const char *word, size_t size) {
    clf_word_count *c = count;
    CLF_TRY(reserve_slot(c));
    uint32_t *slot = find_slot(c, word, size);
    if (*slot) {
        c->words.data[*slot - 1].count++;
        return CLF_OK;
    }
    clf_word added = {c->text.count, size, 1};
    if (!clf_array_reserve(&c->text, size + 1) || !clf_array_push(&c->words, added)) {
        return clf_fail_memory();
    }
    memcpy(c->text.data + c->text.count, word, size);
    c->text.data[c->text.count + size] = '\0';
    c->text.count += size + 1;
    *slot = (uint32_t)c->words.count;
    return CLF_OK;
}

static int compare(const void *a, const void *b, void *user) {
    const clf_word *x = a, *y = b;
    const char *text = user;
    if (x->count != y->count) return x->count > y->count ? -1 : 1;
    return strcmp(text + x->begin, text + y->begin);
}

void clf_word_count_sort(clf_word_count *count) {
    if (count->words.count == 0) return;
    qsort_r(count->words.data, count->words.count, sizeof *count->words.data, compare,
            count->text.data);
}

void clf_word_count_free(clf_word_count *count) {
    clf_array_free(&count->text);
    clf_array_free(&count->words);
    free(count->slots);
    *count = (clf_word_count){0};
}
