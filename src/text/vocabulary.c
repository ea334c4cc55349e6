// SPDX-License-Identifier: MIT
#include "text/vocabulary.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>

#include "base/fail.h"
#include "base/file.h"

#define FILE_LIMIT ((size_t)256 << 20) // bytes; the largest known vocabulary has 256,000 pieces
#define NO_PIECE   UINT32_MAX

typedef struct entry {
    uint32_t begin, size; // of the piece in `text`; `begin` is NO_PIECE if the id has none
} entry;

struct clf_vocabulary {
    clf_string text;          // every piece with a NUL
    CLF_ARRAY(entry) entries; // by id
    int32_t *slots;           // open addressing, linear probing; an id or -1
    size_t mask;              // slots - 1, slots being a power of two
};

static bool entry_is(const clf_vocabulary *v, entry e, const char *piece, size_t size) {
    return e.size == size && memcmp(v->text.data + e.begin, piece, size) == 0;
}

// The slot of a piece, or the free slot where it belongs.
static int32_t *find_slot(const clf_vocabulary *v, const char *piece, size_t size) {
    size_t slot = clf_hash_bytes(clf_hash_start(), piece, size).low & v->mask;
    while (v->slots[slot] >= 0 && !entry_is(v, v->entries.data[v->slots[slot]], piece, size)) {
        slot = (slot + 1) & v->mask;
    }
    return &v->slots[slot];
}

// A vocabulary with room for `count` ids, none of which has a piece yet.
static clf_status create(size_t count, clf_vocabulary **vocabulary) {
    clf_vocabulary *v = calloc(1, sizeof *v);
    if (!v) return clf_fail_memory();
    size_t slots = 16;
    while (slots < 2 * count) slots *= 2;
    v->slots = malloc(slots * sizeof *v->slots);
    if (!v->slots || !clf_array_reserve(&v->entries, count + 1)) {
        clf_vocabulary_close(v);
        return clf_fail_memory();
    }
    v->mask = slots - 1;
    memset(v->slots, -1, slots * sizeof *v->slots);
    for (size_t id = 0; id < count; id++) v->entries.data[id] = (entry){NO_PIECE, 0};
    v->entries.count = count;
    *vocabulary = v;
    return CLF_OK;
}

// Gives a piece to an id that has none. `*added`: false if an earlier id has the same piece, which
// then keeps it.
static clf_status add(clf_vocabulary *v, size_t id, const char *piece, size_t size, bool *added) {
    if (!clf_array_reserve(&v->text, size + 1)) return clf_fail_memory();
    int32_t *slot = find_slot(v, piece, size);
    *added = *slot < 0;
    if (*added) *slot = (int32_t)id;
    v->entries.data[id] = (entry){(uint32_t)v->text.count, (uint32_t)size};
    memcpy(v->text.data + v->text.count, piece, size);
    v->text.data[v->text.count + size] = '\0';
    v->text.count += size + 1;
    return CLF_OK;
}

static clf_status fail_count(const char *path, size_t count, int size) {
    return clf_fail(CLF_ERROR_FORMAT,
                    "%s: %zu pieces, but the model has only %d; it belongs to another model", path,
                    count, size);
}

static clf_status add_object_item(const char *path, const cJSON *item, size_t position,
                                  clf_vocabulary *v) {
    double id = cJSON_IsNumber(item) ? item->valuedouble : -1;
    if (!(id >= 0) || id != floor(id)) {
        return clf_fail(CLF_ERROR_FORMAT, "%s: the id of piece number %zu is not a whole number",
                        path, position + 1);
    }
    if (id >= (double)v->entries.count) {
        return clf_fail(CLF_ERROR_FORMAT, "%s: id %.0f, but there are only %zu pieces", path, id,
                        v->entries.count);
    }
    if (v->entries.data[(size_t)id].begin != NO_PIECE) {
        return clf_fail(CLF_ERROR_FORMAT, "%s: two pieces have the id %.0f", path, id);
    }
    bool added;
    CLF_TRY(add(v, (size_t)id, item->string, strlen(item->string), &added));
    if (added) return CLF_OK;
    return clf_fail(CLF_ERROR_FORMAT, "%s: piece number %zu occurs twice", path, position + 1);
}

// With as many ids as pieces, each below that number and none twice, there is no gap.
static clf_status read_object(const char *path, const cJSON *object, clf_vocabulary *v) {
    size_t position = 0;
    for (const cJSON *item = object->child; item; item = item->next) {
        CLF_TRY(add_object_item(path, item, position++, v));
    }
    return CLF_OK;
}

static clf_status read_list(const char *path, const cJSON *list, clf_vocabulary *v) {
    size_t id = 0;
    bool added;
    for (const cJSON *item = list->child; item; item = item->next) {
        if (!cJSON_IsString(item)) {
            return clf_fail(CLF_ERROR_FORMAT, "%s: piece number %zu is not a string", path, id + 1);
        }
        CLF_TRY(add(v, id++, item->valuestring, strlen(item->valuestring), &added));
    }
    return CLF_OK;
}

static clf_status read_json(const char *path, const char *text, int size, clf_vocabulary **v) {
    cJSON *json = cJSON_ParseWithOpts(text, NULL, true);
    clf_status status;
    size_t count = 0;
    if (!cJSON_IsObject(json) && !cJSON_IsArray(json)) {
        status =
            clf_fail(CLF_ERROR_FORMAT, "%s: damaged, or neither a JSON object nor a list", path);
        goto done;
    }
    for (const cJSON *item = json->child; item; item = item->next) count++;
    if (count > (size_t)size) {
        status = fail_count(path, count, size);
        goto done;
    }
    status = create(count, v);
    if (status != CLF_OK) goto done;
    status = cJSON_IsObject(json) ? read_object(path, json, *v) : read_list(path, json, *v);
done:
    cJSON_Delete(json);
    return status;
}

// Whether each line ends in "\r\n", but for a last one without an end. Where only some do, the
// carriage return is a piece's own.
static bool lines_end_in_crlf(const char *text, size_t size) {
    const char *end = text;
    while ((end = memchr(end, '\n', (size_t)(text + size - end)))) {
        if (end == text || end[-1] != '\r') return false;
        end++;
    }
    return true;
}

static clf_status read_lines(const char *path, const char *text, size_t bytes, int size,
                             clf_vocabulary **v) {
    size_t count = 0, id = 0;
    bool crlf = lines_end_in_crlf(text, bytes), added;
    for (size_t i = 0; i < bytes; i++) count += text[i] == '\n' || i + 1 == bytes;
    if (count > (size_t)size) return fail_count(path, count, size);
    CLF_TRY(create(count, v));
    for (const char *end, *c = text; c < text + bytes; c = end + 1) {
        end = memchr(c, '\n', (size_t)(text + bytes - c));
        size_t length = end ? (size_t)(end - c) - crlf : (size_t)(text + bytes - c);
        if (!end) end = text + bytes;
        CLF_TRY(add(*v, id++, c, length, &added));
    }
    return CLF_OK;
}

static bool ends_in(const char *text, const char *end) {
    size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcmp(text + length - tail, end) == 0;
}

// A piece after the last one, if it is not there and the model has room for it.
static clf_status append_unk(clf_vocabulary *v, int size, const char *unk) {
    bool added;
    size_t id = v->entries.count;
    if (*find_slot(v, unk, strlen(unk)) >= 0 || id >= (size_t)size) return CLF_OK;
    CLF_TRY(add(v, id, unk, strlen(unk), &added)); // create() left room for one more
    v->entries.count++;
    return CLF_OK;
}

clf_status clf_vocabulary_open(const char *path, int size, const char *unk,
                               clf_vocabulary **vocabulary) {
    char *text;
    size_t bytes;
    CLF_TRY(clf_file_read(path, FILE_LIMIT, &text, &bytes));
    clf_vocabulary *v = NULL;
    clf_status status;
    if (memchr(text, 0, bytes)) {
        status = clf_fail(CLF_ERROR_FORMAT, "%s: not text: it has a NUL character", path);
    } else if (ends_in(path, ".json")) {
        status = read_json(path, text, size, &v);
    } else {
        status = read_lines(path, text, bytes, size, &v);
    }
    if (status == CLF_OK && v->entries.count == 0) {
        status = clf_fail(CLF_ERROR_FORMAT, "%s: no pieces", path);
    }
    bool is_object = text[strspn(text, " \t\r\n")] == '{' && ends_in(path, ".json");
    if (status == CLF_OK && !is_object) status = append_unk(v, size, unk);
    free(text);
    if (status == CLF_OK) {
        *vocabulary = v;
    } else {
        clf_vocabulary_close(v);
    }
    return status;
}

clf_status clf_vocabulary_from_spm(const clf_spm *spm, const char *path, int size,
                                   clf_vocabulary **vocabulary) {
    int count = clf_spm_count(spm);
    bool added;
    if (count > size) return fail_count(path, (size_t)count, size);
    clf_vocabulary *v;
    CLF_TRY(create((size_t)count, &v));
    for (int id = 0; id < count; id++) {
        const char *piece = clf_spm_piece(spm, id);
        clf_status status = add(v, (size_t)id, piece, strlen(piece), &added);
        if (status != CLF_OK) {
            clf_vocabulary_close(v);
            return status;
        }
    }
    *vocabulary = v;
    return CLF_OK;
}

void clf_vocabulary_close(clf_vocabulary *vocabulary) {
    if (!vocabulary) return;
    clf_array_free(&vocabulary->text);
    clf_array_free(&vocabulary->entries);
    free(vocabulary->slots);
    free(vocabulary);
}

int32_t clf_vocabulary_id(const clf_vocabulary *vocabulary, const char *piece, size_t size) {
    return *find_slot(vocabulary, piece, size);
}

const char *clf_vocabulary_piece(const clf_vocabulary *vocabulary, int32_t id) {
    if (id < 0 || (size_t)id >= vocabulary->entries.count) return NULL;
    uint32_t begin = vocabulary->entries.data[id].begin;
    return begin == NO_PIECE ? NULL : vocabulary->text.data + begin;
}

clf_hash clf_vocabulary_hash(const clf_vocabulary *vocabulary, clf_hash hash) {
    const clf_vocabulary *v = vocabulary;
    hash = clf_hash_bytes(hash, v->entries.data, v->entries.count * sizeof *v->entries.data);
    return clf_hash_bytes(hash, v->text.data, v->text.count);
}
