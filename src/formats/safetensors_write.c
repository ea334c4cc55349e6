// SPDX-License-Identifier: MIT
#include "formats/safetensors_write.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>

#include "base/fail.h"
#include "base/file.h"

struct clf_safetensors_writer {
    clf_file_writer file;
    cJSON *header, *notes;  // the notes become the header's first entry
    uint64_t declared, put; // bytes
    bool begun;             // the header is written
};

static clf_status fail_use(const clf_safetensors_writer *w, const char *what) {
    return clf_fail(CLF_ERROR_ARGUMENT, "%s: %s", w->file.path, what);
}

clf_status clf_safetensors_create(const char *path, clf_safetensors_writer **writer) {
    clf_safetensors_writer *w = calloc(1, sizeof *w);
    if (!w) return clf_fail_memory();
    clf_status status = clf_file_create(path, &w->file);
    if (status == CLF_OK) {
        w->header = cJSON_CreateObject();
        w->notes = w->header ? cJSON_AddObjectToObject(w->header, "__metadata__") : NULL;
        if (!w->notes) status = clf_fail_memory();
    }
    if (status != CLF_OK) {
        clf_safetensors_cancel(w);
        return status;
    }
    *writer = w;
    return CLF_OK;
}

clf_status clf_safetensors_note(clf_safetensors_writer *w, const char *key, const char *text) {
    if (w->begun) return fail_use(w, "a note after the first data");
    return cJSON_AddStringToObject(w->notes, key, text) ? CLF_OK : clf_fail_memory();
}

static const char *type_name(clf_dtype dtype) {
    switch (dtype) {
    case CLF_F32: return "F32";
    case CLF_F16: return "F16";
    case CLF_BF16: return "BF16";
    case CLF_I32: return "I32";
    case CLF_I16: return "I16";
    case CLF_I8: return "I8";
    case CLF_U8: return "U8";
    }
    return NULL;
}

clf_status clf_safetensors_declare(clf_safetensors_writer *w, const char *name, clf_dtype dtype,
                                   const int64_t *shape, int rank) {
    uint64_t size = (uint64_t)clf_dtype_size(dtype), end;
    if (w->begun) return fail_use(w, "a tensor declared after the first data");
    if (cJSON_GetObjectItemCaseSensitive(w->header, name))
        return fail_use(w, "a tensor declared twice");
    cJSON *entry = cJSON_AddObjectToObject(w->header, name);
    cJSON *sizes = NULL, *offsets = NULL;
    if (entry && cJSON_AddStringToObject(entry, "dtype", type_name(dtype))) {
        sizes = cJSON_AddArrayToObject(entry, "shape");
        offsets = cJSON_AddArrayToObject(entry, "data_offsets");
    }
    bool good = sizes && offsets;
    for (int i = 0; i < rank && good; i++) {
        good = cJSON_AddItemToArray(sizes, cJSON_CreateNumber((double)shape[i]));
        if (__builtin_mul_overflow(size, (uint64_t)shape[i], &size)) {
            return fail_use(w, "a tensor is too large");
        }
    }
    if (__builtin_add_overflow(w->declared, size, &end)) return fail_use(w, "too much data");
    good = good && cJSON_AddItemToArray(offsets, cJSON_CreateNumber((double)w->declared)) &&
           cJSON_AddItemToArray(offsets, cJSON_CreateNumber((double)end));
    if (!good) return clf_fail_memory();
    w->declared = end;
    return CLF_OK;
}

// The data begin at a multiple of 8 bytes: blanks at the end of the header see to it.
static clf_status begin(clf_safetensors_writer *w) {
    static const char blanks[] = "       ";
    unsigned char length[8];
    w->begun = true;
    if (!w->notes->child) cJSON_DeleteItemFromObject(w->header, "__metadata__");
    char *text = cJSON_PrintUnformatted(w->header);
    if (!text) return clf_fail_memory();
    size_t size = strlen(text), padding = -size & 7;
    for (int i = 0; i < 8; i++) length[i] = (unsigned char)((uint64_t)(size + padding) >> 8 * i);
    clf_status status = clf_file_put(&w->file, length, sizeof length);
    if (status == CLF_OK) status = clf_file_put(&w->file, text, size);
    if (status == CLF_OK) status = clf_file_put(&w->file, blanks, padding);
    cJSON_free(text);
    return status;
}

clf_status clf_safetensors_put(clf_safetensors_writer *w, const void *data, size_t size) {
    if (!w->begun) CLF_TRY(begin(w));
    if (size > w->declared - w->put) return fail_use(w, "more data than were declared");
    w->put += size;
    return clf_file_put(&w->file, data, size);
}

clf_status clf_safetensors_finish(clf_safetensors_writer *w) {
    clf_status status = w->begun ? CLF_OK : begin(w);
    if (status == CLF_OK && w->put != w->declared) {
        status = fail_use(w, "less data than were declared");
    }
    if (status == CLF_OK) status = clf_file_commit(&w->file);
    clf_safetensors_cancel(w);
    return status;
}

void clf_safetensors_cancel(clf_safetensors_writer *w) {
    if (!w) return;
    clf_file_cancel(&w->file);
    cJSON_Delete(w->header);
    free(w);
}
