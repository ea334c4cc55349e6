// SPDX-License-Identifier: MIT
#include "formats/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "formats/json.h"

#define MAX_HEADER  ((uint64_t)100 << 20)
#define MAX_INTEGER 9007199254740992.0 // 2^53: larger ones are not exact in JSON

static const struct {
    const char *name;
    int size; // bytes of an element
    bool usable;
    clf_dtype dtype;
} types[] = {
    {"F32", 4, true, CLF_F32}, {"F16", 2, true, CLF_F16}, {"BF16", 2, true, CLF_BF16},
    {"F64", 8, false, 0},      {"I64", 8, false, 0},      {"U64", 8, false, 0},
    {"I32", 4, false, 0},      {"U32", 4, false, 0},      {"I16", 2, false, 0},
    {"U16", 2, false, 0},      {"I8", 1, false, 0},       {"U8", 1, false, 0},
    {"BOOL", 1, false, 0},     {"F8_E4M3", 1, false, 0},  {"F8_E5M2", 1, false, 0},
};

// Where a tensor's data stand, to see that the tensors cover the data without holes or overlaps.
typedef struct extent {
    uint64_t begin, end;
    const char *name;
} extent;
typedef CLF_ARRAY(extent) extent_list;

static clf_status fail_tensor(const char *path, const char *name, const char *what) {
    return clf_fail(CLF_ERROR_FORMAT, "%s: %s: %s", path, name, what);
}

static clf_status read_type(const char *path, const char *name, const cJSON *entry,
                            clf_stored *tensor, int *size) {
    const cJSON *type = cJSON_GetObjectItemCaseSensitive(entry, "dtype");
    if (!cJSON_IsString(type)) return fail_tensor(path, name, "no \"dtype\"");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(types[i].name, type->valuestring) != 0) continue;
        snprintf(tensor->type, sizeof tensor->type, "%s", types[i].name);
        tensor->usable = types[i].usable;
        tensor->dtype = types[i].dtype;
        *size = types[i].size;
        return CLF_OK;
    }
    return clf_fail(CLF_ERROR_UNSUPPORTED, "%s: %s has the type %.20s, which is not supported",
                    path, name, type->valuestring);
}

// Reads the shape; `*bytes` comes in as the size of an element and goes out as that of the tensor.
static clf_status read_shape(const char *path, const char *name, const cJSON *entry,
                             clf_stored *tensor, uint64_t *bytes) {
    const cJSON *shape = cJSON_GetObjectItemCaseSensitive(entry, "shape"), *item;
    if (!cJSON_IsArray(shape)) return fail_tensor(path, name, "no \"shape\"");
    cJSON_ArrayForEach(item, shape) {
        if (tensor->rank == CLF_STORE_RANK) {
            return fail_tensor(path, name, "more than 4 dimensions");
        }
        if (!clf_json_is_int(item, 0, MAX_INTEGER)) {
            return fail_tensor(path, name, "a dimension is not a number from 0 to 2^53");
        }
        tensor->shape[tensor->rank++] = (int64_t)item->valuedouble;
        if (__builtin_mul_overflow(*bytes, (uint64_t)item->valuedouble, bytes)) {
            return fail_tensor(path, name, "the shape is absurdly large");
        }
    }
    return CLF_OK;
}

static clf_status read_tensor(const clf_file_map *map, uint64_t start, const cJSON *entry,
                              extent_list *extents, clf_store *store) {
    const char *path = map->path, *name = entry->string;
    if (!cJSON_IsObject(entry)) return fail_tensor(path, name, "not a JSON object");
    clf_stored tensor = {.path = path};
    int size = 0;
    CLF_TRY(read_type(path, name, entry, &tensor, &size));
    uint64_t bytes = (uint64_t)size;
    CLF_TRY(read_shape(path, name, entry, &tensor, &bytes));
    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(entry, "data_offsets");
    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 ||
        !clf_json_is_int(offsets->child, 0, MAX_INTEGER) ||
        !clf_json_is_int(offsets->child->next, 0, MAX_INTEGER)) {
        return fail_tensor(path, name, "\"data_offsets\" must be two numbers");
    }
    extent e = {.begin = (uint64_t)offsets->child->valuedouble,
                .end = (uint64_t)offsets->child->next->valuedouble,
                .name = name};
    if (e.begin > e.end || e.end > map->size - start) {
        return fail_tensor(path, name, "its data are not inside the file, which may be truncated");
    }
    if (e.end - e.begin != bytes) {
        return fail_tensor(path, name, "the size of its data does not fit its shape and type");
    }
    if (!clf_array_push(extents, e)) return clf_fail_memory();
    tensor.data = map->data + start + e.begin;
    return clf_store_add(store, name, tensor);
}

static int compare_extents(const void *a, const void *b) {
    const extent *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

static clf_status check_extents(const char *path, const extent_list *extents, uint64_t size) {
    uint64_t end = 0;
    if (extents->count > 0) {
        qsort(extents->data, extents->count, sizeof *extents->data, compare_extents);
    }
    for (size_t i = 0; i < extents->count; i++) {
        const extent *e = &extents->data[i];
        if (e->begin != end) {
            return fail_tensor(path, e->name,
                               e->begin < end ? "its data overlap another tensor's"
                                              : "there is a hole before its data");
        }
        end = e->end;
    }
    if (end == size) return CLF_OK;
    return clf_fail(CLF_ERROR_FORMAT, "%s: %llu bytes after the last tensor", path,
                    (unsigned long long)(size - end));
}

// Moves the notes out of the header.
static clf_status take_notes(clf_json *header, clf_json *notes) {
    cJSON *root = cJSON_DetachItemFromObjectCaseSensitive(header->root, "__metadata__");
    if (!root) root = cJSON_CreateObject();
    char *path = strdup(header->path);
    clf_status status = root && path ? CLF_OK : clf_fail_memory();
    if (status == CLF_OK && !cJSON_IsObject(root)) {
        status = fail_tensor(path, "__metadata__", "not a JSON object");
    }
    if (status == CLF_OK) {
        *notes = (clf_json){.path = path, .root = root};
    } else {
        cJSON_Delete(root);
        free(path);
    }
    return status;
}

clf_status clf_safetensors_open_file(const char *path, clf_store *store, clf_json *notes) {
    clf_file_map map;
    CLF_TRY(clf_store_map(store, path, &map));
    uint64_t header = 0;
    if (map.size < 8) {
        return clf_fail(CLF_ERROR_FORMAT, "%s: %zu bytes are too few for a safetensors file", path,
                        map.size);
    }
    for (int i = 7; i >= 0; i--) header = header << 8 | map.data[i];
    if (header > MAX_HEADER || header > map.size - 8) {
        return clf_fail(CLF_ERROR_FORMAT,
                        "%s: the header is longer than the file or 100 MB; the file is truncated "
                        "or not in safetensors format",
                        path);
    }
    clf_json json = {0};
    extent_list extents = {0};
    clf_status status = clf_json_parse(path, (const char *)map.data + 8, header, &json);
    const cJSON *entry = status == CLF_OK ? json.root->child : NULL;
    for (; entry && status == CLF_OK; entry = entry->next) {
        if (strcmp(entry->string, "__metadata__") == 0) continue;
        status = read_tensor(&map, 8 + header, entry, &extents, store);
    }
    if (status == CLF_OK) status = check_extents(path, &extents, map.size - 8 - header);
    if (status == CLF_OK && notes) status = take_notes(&json, notes);
    clf_array_free(&extents);
    clf_json_close(&json);
    return status;
}

static bool is_mapped(const clf_store *store, const char *path) {
    for (size_t i = 0; i < store->maps.count; i++) {
        if (strcmp(store->maps.data[i].path, path) == 0) return true;
    }
    return false;
}

// Reads the file that one entry of the index names, unless it was read before.
static clf_status read_shard(const char *directory, const clf_json *index, const cJSON *entry,
                             clf_store *store) {
    const char *file = cJSON_IsString(entry) ? entry->valuestring : "";
    if (*file == '\0' || *file == '.' || strchr(file, '/')) {
        return clf_fail(CLF_ERROR_FORMAT, "%s: %s is not in a file beside it", index->path,
                        entry->string);
    }
    char *path = clf_path_join(directory, file);
    if (!path) return clf_fail_memory();
    clf_status status =
        is_mapped(store, path) ? CLF_OK : clf_safetensors_open_file(path, store, NULL);
    free(path);
    return status;
}

static clf_status read_shards(const char *directory, const char *index_path, clf_store *store) {
    clf_json index = {0};
    CLF_TRY(clf_json_open(index_path, MAX_HEADER, &index));
    const cJSON *map = clf_json_find(&index, "weight_map");
    clf_status status = CLF_OK;
    if (!cJSON_IsObject(map) || !map->child) {
        status = clf_fail(CLF_ERROR_FORMAT, "%s: no \"weight_map\"", index_path);
    }
    const cJSON *entry = status == CLF_OK ? map->child : NULL;
    for (; entry && status == CLF_OK; entry = entry->next) {
        status = read_shard(directory, &index, entry, store);
    }
    clf_json_close(&index);
    return status;
}

clf_status clf_safetensors_open(const char *directory, clf_store *store) {
    char *whole = clf_path_join(directory, "model.safetensors");
    char *index = clf_path_join(directory, "model.safetensors.index.json");
    clf_status status;
    if (!whole || !index) {
        status = clf_fail_memory();
    } else if (clf_file_exists(whole) || !clf_file_exists(index)) {
        status = clf_safetensors_open_file(whole, store, NULL);
    } else {
        status = read_shards(directory, index, store);
    }
    free(whole);
    free(index);
    return status;
}
