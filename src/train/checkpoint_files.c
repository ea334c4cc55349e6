// SPDX-License-Identifier: MIT
// The checkpoints of a directory: which there are, and which go.
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/fail.h"
#include "base/file.h"
#include "train/checkpoint.h"

static const char prefix[] = "update-", suffix[] = ".safetensors";

static bool ends_in(const char *text, const char *end) {
    size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcmp(text + length - tail, end) == 0;
}

// The update of "update-00001234.safetensors", -1 if it is another name.
static int64_t update_of(const char *name) {
    if (strncmp(name, prefix, sizeof prefix - 1) != 0) return -1;
    const char *digits = name + sizeof prefix - 1;
    size_t count = strspn(digits, "0123456789");
    if (count == 0 || count > 18 || strcmp(digits + count, suffix) != 0) return -1;
    return strtoll(digits, NULL, 10);
}

// What a killed process left of a checkpoint, or of a text's tokens.
static bool is_leftover(const char *name) {
    return ends_in(name, CLF_FILE_TEMPORARY);
}

typedef struct entry {
    char *path;
    int64_t update; // -1: a leftover
} entry;
typedef CLF_ARRAY(entry) entry_list;

static void free_entries(entry_list *list) {
    for (size_t i = 0; i < list->count; i++) free(list->data[i].path);
    clf_array_free(list);
}

static int compare_entries(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->update != y->update) return x->update > y->update ? -1 : 1;
    return strcmp(x->path, y->path);
}

// Checkpoints by falling update, then leftovers.
static clf_status read_entries(const char *directory, entry_list *list) {
    DIR *handle = opendir(directory);
    if (!handle && errno == ENOENT) return CLF_OK;
    if (!handle) {
        return clf_fail(CLF_ERROR_IO, "%s: cannot read: %s", directory, strerror(errno));
    }
    clf_status status = CLF_OK;
    for (struct dirent *item; status == CLF_OK && (item = readdir(handle));) {
        entry e = {.update = update_of(item->d_name)};
        if (e.update < 0 && !is_leftover(item->d_name)) continue;
        e.path = clf_path_join(directory, item->d_name);
        if (!e.path || !clf_array_push(list, e)) {
            free(e.path);
            status = clf_fail_memory();
        }
    }
    closedir(handle);
    if (list->count > 0) qsort(list->data, list->count, sizeof *list->data, compare_entries);
    if (status != CLF_OK) free_entries(list);
    return status;
}

clf_status clf_checkpoint_list(const char *directory, char ***paths, int *count) {
    entry_list list = {0};
    CLF_TRY(read_entries(directory, &list));
    char **made = calloc(list.count + 1, sizeof *made);
    if (!made) {
        free_entries(&list);
        return clf_fail_memory();
    }
    int found = 0;
    for (size_t i = 0; i < list.count; i++) {
        if (list.data[i].update < 0) continue;
        made[found++] = list.data[i].path;
        list.data[i].path = NULL;
    }
    free_entries(&list);
    *paths = made;
    *count = found;
    return CLF_OK;
}

void clf_checkpoint_list_free(char **paths, int count) {
    for (int i = 0; i < count; i++) free(paths[i]);
    free(paths);
}

clf_status clf_checkpoint_prune(const char *directory, int keep) {
    entry_list list = {0};
    CLF_TRY(read_entries(directory, &list));
    clf_status status = CLF_OK;
    for (size_t i = 0; i < list.count; i++) {
        const entry *e = &list.data[i];
        if (e->update >= 0 && (int64_t)i < keep) continue;
        if (unlink(e->path) != 0 && errno != ENOENT) {
            status = clf_fail(CLF_ERROR_IO, "%s: cannot remove: %s", e->path, strerror(errno));
        }
    }
    free_entries(&list);
    return status;
}
