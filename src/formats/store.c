// SPDX-License-Identifier: MIT
#include "formats/store.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"

void clf_store_close(clf_store *store) {
    for (size_t i = 0; i < store->maps.count; i++) clf_file_map_close(&store->maps.data[i]);
    for (size_t i = 0; i < store->tensors.count; i++) free(store->tensors.data[i].name);
    for (size_t i = 0; i < store->scales.count; i++) free(store->scales.data[i].values);
    clf_array_free(&store->maps);
    clf_array_free(&store->tensors);
    clf_array_free(&store->scales);
}

clf_status clf_store_map(clf_store *store, const char *path, clf_file_map *map) {
    clf_file_map opened;
    CLF_TRY(clf_file_map_open(path, &opened));
    if (!clf_array_push(&store->maps, opened)) {
        clf_file_map_close(&opened);
        return clf_fail_memory();
    }
    *map = opened;
    return CLF_OK;
}

clf_status clf_store_add(clf_store *store, const char *name, clf_stored tensor) {
    tensor.name = strdup(name);
    if (!tensor.name || !clf_array_push(&store->tensors, tensor)) {
        free(tensor.name);
        return clf_fail_memory();
    }
    return CLF_OK;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(((const clf_stored *)a)->name, ((const clf_stored *)b)->name);
}

clf_status clf_store_sort(clf_store *store) {
    clf_stored *tensors = store->tensors.data;
    size_t count = store->tensors.count;
    if (count > 0) qsort(tensors, count, sizeof *tensors, compare_names);
    for (size_t i = 1; i < count; i++) {
        if (strcmp(tensors[i - 1].name, tensors[i].name) == 0) {
            return clf_fail(CLF_ERROR_FORMAT, "%s: %s occurs more than once", tensors[i].path,
                            tensors[i].name);
        }
    }
    return CLF_OK;
}

clf_stored *clf_store_find(const clf_store *store, const char *name) {
    const clf_stored key = {.name = (char *)(uintptr_t)name};
    if (store->tensors.count == 0) return NULL;
    return bsearch(&key, store->tensors.data, store->tensors.count, sizeof key, compare_names);
}

static void shape_text(const clf_stored *tensor, char *text, size_t size) {
    size_t used = (size_t)snprintf(text, size, "(");
    for (int i = 0; i < tensor->rank && used < size; i++) {
        used += (size_t)snprintf(text + used, size - used, "%s%" PRId64, i > 0 ? ", " : "",
                                 tensor->shape[i]);
    }
    if (used < size) snprintf(text + used, size - used, ")");
}

static bool has_shape(const clf_stored *tensor, int rows, int cols, bool exact) {
    int first = 0, rank = tensor->rank;
    while (first + 2 < rank && tensor->shape[first] == 1) first++;
    if (rank == 0 || rank - first > 2 || tensor->shape[rank - 1] != cols) return false;
    int64_t found = rank - first == 2 ? tensor->shape[first] : 1;
    return found == rows || (!exact && found > rows);
}

clf_status clf_store_piece(clf_stored *tensor, int rows, int cols, bool exact, clf_piece *piece) {
    char shape[96];
    if (!has_shape(tensor, rows, cols, exact)) {
        shape_text(tensor, shape, sizeof shape);
        return clf_fail(CLF_ERROR_FORMAT, "%s: %s has the shape %s, not (%d, %d)", tensor->path,
                        tensor->name, shape, rows, cols);
    }
    if (!tensor->usable) {
        return clf_fail(CLF_ERROR_UNSUPPORTED, "%s: %s has the type %s, which is not supported",
                        tensor->path, tensor->name, tensor->type);
    }
    tensor->used = true;
    *piece = (clf_piece){.data = tensor->data, .dtype = tensor->dtype, .rows = rows, .cols = cols};
    return CLF_OK;
}

static bool is_one_or(const clf_stored *tensor, int rows, int *count) {
    int64_t elements = 1;
    for (int i = 0; i < tensor->rank; i++) {
        if (tensor->shape[i] != 1 && elements != 1) return false;
        elements *= tensor->shape[i];
    }
    if (elements != 1 && elements != rows) return false;
    *count = (int)elements;
    return true;
}

clf_status clf_store_scale(clf_store *store, clf_stored *scale, clf_piece *piece) {
    int count;
    if (!scale->usable || scale->dtype != CLF_F32 || !is_one_or(scale, piece->rows, &count)) {
        return clf_fail(CLF_ERROR_FORMAT,
                        "%s: %s is neither one float32 nor one for each of %d rows", scale->path,
                        scale->name, piece->rows);
    }
    const clf_scales *known = NULL;
    for (size_t i = 0; i < store->scales.count && !known; i++) {
        if (store->scales.data[i].data == scale->data) known = &store->scales.data[i];
    }
    if (!known) {
        clf_scales copy = {.data = scale->data, .count = count};
        copy.values = malloc(sizeof(float) * (size_t)count);
        if (!copy.values || !clf_array_push(&store->scales, copy)) {
            free(copy.values);
            return clf_fail_memory();
        }
        memcpy(copy.values, scale->data, sizeof(float) * (size_t)count);
        known = &store->scales.data[store->scales.count - 1];
    }
    for (int i = 0; i < count; i++) {
        if (!isfinite(known->values[i]) || known->values[i] <= 0) {
            return clf_fail(CLF_ERROR_FORMAT, "%s: %s holds a scale of %g", scale->path,
                            scale->name, (double)known->values[i]);
        }
    }
    scale->used = true;
    piece->scales = known->values;
    piece->scale_count = count;
    piece->divide = true;
    return CLF_OK;
}
