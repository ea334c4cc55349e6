// SPDX-License-Identifier: MIT
#include "formats/modelbin.h"

#include <stdio.h>
#include <string.h>

#include "base/fail.h"

enum { LATEST_VERSION = 6, MAX_NAME = 256 };

typedef struct cursor {
    const char *path;
    const unsigned char *data;
    size_t size, at;
} cursor;

static clf_status fail_at(const cursor *c, const char *what) {
    return clf_fail(CLF_ERROR_FORMAT, "%s: %s at byte %zu", c->path, what, c->at);
}

static clf_status take(cursor *c, uint64_t size, const unsigned char **bytes) {
    if (size > c->size - c->at) return fail_at(c, "the file is truncated or damaged");
    *bytes = c->data + c->at;
    c->at += size;
    return CLF_OK;
}

// A little-endian integer of `size` bytes.
static clf_status take_integer(cursor *c, int size, uint32_t *value) {
    const unsigned char *bytes = NULL;
    CLF_TRY(take(c, (uint64_t)size, &bytes));
    *value = 0;
    for (int i = size - 1; i >= 0; i--) *value = *value << 8 | bytes[i];
    return CLF_OK;
}

// The size of a string includes its NUL. `*text` points into the file.
static clf_status take_string(cursor *c, const char **text) {
    uint32_t size = 0;
    const unsigned char *bytes = NULL;
    CLF_TRY(take_integer(c, 2, &size));
    if (size == 0 || size > MAX_NAME) return fail_at(c, "no string of a possible length");
    CLF_TRY(take(c, size, &bytes));
    if (memchr(bytes, 0, size) != bytes + size - 1) return fail_at(c, "no proper string before");
    *text = (const char *)bytes;
    return CLF_OK;
}

static clf_status take_head(cursor *c, clf_modelbin *head) {
    const char *spec = "";
    CLF_TRY(take_integer(c, 4, &head->version));
    if (head->version < 1 || head->version > LATEST_VERSION) {
        return clf_fail(CLF_ERROR_UNSUPPORTED,
                        "%s: not a CTranslate2 model of version 1 to %d (its first bytes say %u)",
                        c->path, LATEST_VERSION, head->version);
    }
    head->revision = 1;
    if (head->version >= 2) {
        CLF_TRY(take_string(c, &spec));
        CLF_TRY(take_integer(c, 4, &head->revision));
    }
    snprintf(head->spec, sizeof head->spec, "%s", spec);
    return CLF_OK;
}

// Early files say only how wide an element is.
static clf_status take_type(cursor *c, uint32_t version, clf_stored *variable, int *size) {
    static const struct {
        const char *name;
        int size;
        bool usable;
        clf_dtype dtype;
    } types[] = {
        {"float32", 4, true, CLF_F32}, {"int8", 1, true, CLF_I8},
        {"int16", 2, true, CLF_I16},   {"int32", 4, false, CLF_I32},
        {"float16", 2, true, CLF_F16}, {"bfloat16", 2, true, CLF_BF16},
    };
    uint32_t id = 0;
    CLF_TRY(take_integer(c, 1, &id));
    if (version < 4) id = id == 4 ? 0 : id == 2 ? 2 : id == 1 ? 1 : 255;
    if (id >= sizeof types / sizeof *types) return fail_at(c, "an unknown type of data");
    snprintf(variable->type, sizeof variable->type, "%s", types[id].name);
    variable->usable = types[id].usable;
    variable->dtype = types[id].dtype;
    *size = types[id].size;
    return CLF_OK;
}

static clf_status take_shape(cursor *c, clf_stored *variable, uint64_t *elements) {
    uint32_t rank = 0, dimension = 0;
    CLF_TRY(take_integer(c, 1, &rank));
    if (rank > CLF_STORE_RANK) return fail_at(c, "more than 4 dimensions");
    variable->rank = (int)rank;
    *elements = 1;
    for (uint32_t i = 0; i < rank; i++) {
        CLF_TRY(take_integer(c, 4, &dimension));
        variable->shape[i] = dimension;
        if (__builtin_mul_overflow(*elements, (uint64_t)dimension, elements)) {
            return fail_at(c, "an absurdly large shape");
        }
    }
    return CLF_OK;
}

// Specifications of revision 1 kept the names of OpenNMT-tf; each of these replacements is made at
// most once, in this order.
static void rename_first(char name[MAX_NAME]) {
    static const char *const all[][2] = {
        {"transformer/", ""},
        {":0", ""},
        {"w_embs", "embeddings/weight"},
        {"kernel", "weight"},
        {"LayerNorm", "layer_norm"},
        {"dense", "projection"},
        {"conv1d_", "linear_"},
        {"conv1d", "linear_0"},
        {"masked_multi_head", "self_attention"},
    };
    static const char *const encoder[] = {"multi_head", "self_attention"};
    static const char *const decoder[] = {"multi_head", "attention"};
    size_t count = sizeof all / sizeof *all;
    for (size_t i = 0; i <= count; i++) {
        const char *const *pair = i < count ? all[i] : strstr(name, "encoder") ? encoder : decoder;
        char *where = strstr(name, pair[0]), rest[MAX_NAME];
        if (!where) continue;
        snprintf(rest, sizeof rest, "%s", where + strlen(pair[0]));
        snprintf(where, (size_t)(name + MAX_NAME - where), "%s%s", pair[1], rest);
    }
}

static clf_status take_variable(cursor *c, const clf_modelbin *head, clf_store *store) {
    const char *text = NULL;
    char name[MAX_NAME];
    clf_stored variable = {.path = c->path};
    uint64_t elements = 0, bytes;
    uint32_t stated = 0;
    int size = 0;
    CLF_TRY(take_string(c, &text));
    snprintf(name, sizeof name, "%s", text);
    if (head->revision == 1) rename_first(name);
    CLF_TRY(take_shape(c, &variable, &elements));
    CLF_TRY(take_type(c, head->version, &variable, &size));
    CLF_TRY(take_integer(c, 4, &stated));
    if (__builtin_mul_overflow(elements, (uint64_t)size, &bytes) ||
        (head->version >= 4 ? bytes : elements) != stated) {
        return clf_fail(CLF_ERROR_FORMAT, "%s: %s: the size of its data does not fit its shape",
                        c->path, name);
    }
    CLF_TRY(take(c, bytes, &variable.data));
    return clf_store_add(store, name, variable);
}

// Adds `target` + suffix under the name `alias` + suffix to `aliases`, if there is such a variable.
static clf_status add_alias(const clf_store *store, const char *alias, const char *target,
                            const char *suffix, clf_store *aliases) {
    char name[MAX_NAME + 8];
    snprintf(name, sizeof name, "%s%s", target, suffix);
    const clf_stored *variable = clf_store_find(store, name);
    if (!variable) return CLF_OK;
    snprintf(name, sizeof name, "%s%s", alias, suffix);
    return clf_store_add(aliases, name, *variable);
}

static clf_status take_aliases(cursor *c, const clf_store *store, clf_store *aliases) {
    uint32_t count = 0;
    const char *alias = NULL, *target = NULL;
    CLF_TRY(take_integer(c, 4, &count));
    for (uint32_t i = 0; i < count; i++) {
        CLF_TRY(take_string(c, &alias));
        CLF_TRY(take_string(c, &target));
        CLF_TRY(add_alias(store, alias, target, "", aliases));
        CLF_TRY(add_alias(store, alias, target, "_scale", aliases));
    }
    return CLF_OK;
}

static clf_status take_all(cursor *c, clf_modelbin *head, clf_store *store, clf_store *aliases) {
    uint32_t count = 0;
    CLF_TRY(take_head(c, head));
    CLF_TRY(take_integer(c, 4, &count));
    for (uint32_t i = 0; i < count; i++) CLF_TRY(take_variable(c, head, store));
    CLF_TRY(clf_store_sort(store));
    if (head->version >= 3) CLF_TRY(take_aliases(c, store, aliases));
    if (c->at < c->size) return fail_at(c, "something follows the model");
    return CLF_OK;
}

clf_status clf_modelbin_open(const char *path, clf_store *store, clf_modelbin *head) {
    clf_file_map map;
    CLF_TRY(clf_store_map(store, path, &map));
    cursor c = {.path = map.path, .data = map.data, .size = map.size};
    clf_store aliases = {0};
    clf_status status = take_all(&c, head, store, &aliases);
    for (size_t i = 0; i < aliases.tensors.count && status == CLF_OK; i++) {
        const clf_stored *alias = &aliases.tensors.data[i];
        status = clf_store_add(store, alias->name, *alias);
    }
    clf_store_close(&aliases);
    return status;
}
