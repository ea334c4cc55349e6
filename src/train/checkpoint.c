// SPDX-License-Identifier: MIT
// A checkpoint is a safetensors file: tensors "model.NAME", "adam.m.NAME", "adam.v.NAME" and
// "average.NAME" for each parameter NAME, the state as notes, and a tensor "hash" over all of it.
#include "train/checkpoint.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/file.h"
#include "formats/safetensors.h"
#include "formats/safetensors_write.h"

#define KIND       "clformer checkpoint 1"
#define HASH_NAME  "hash"
#define HASH_CHARS (CLF_HASH_TEXT - 1) // stored without the NUL

enum { NAME_SIZE = 96, TEXT_SIZE = 64 };

// ---- the state as text --------------------------------------------------------------------------

static const struct {
    const char *name;
    enum { SIGNED, UNSIGNED, INTEGER, DOUBLE, SINGLE, TEXT } kind;
    size_t offset;
} fields[] = {
    {"updates", SIGNED, offsetof(clf_train_state, updates)},
    {"skipped", SIGNED, offsetof(clf_train_state, skipped)},
    {"passes", UNSIGNED, offsetof(clf_train_state, passes)},
    {"epoch", UNSIGNED, offsetof(clf_train_state, position.epoch)},
    {"batch", UNSIGNED, offsetof(clf_train_state, position.batch)},
    {"source_tokens", UNSIGNED, offsetof(clf_train_state, source_tokens)},
    {"target_tokens", UNSIGNED, offsetof(clf_train_state, target_tokens)},
    {"best", DOUBLE, offsetof(clf_train_state, best)},
    {"best_update", SIGNED, offsetof(clf_train_state, best_update)},
    {"since_best", INTEGER, offsetof(clf_train_state, since_best)},
    {"loss_scale", SINGLE, offsetof(clf_train_state, loss_scale)},
    {"recipe", TEXT, offsetof(clf_train_state, recipe)},
};
enum { FIELDS = sizeof fields / sizeof *fields };

static void print_field(const clf_train_state *state, int i, char text[TEXT_SIZE]) {
    const void *place = (const char *)state + fields[i].offset;
    switch (fields[i].kind) {
    case SIGNED: snprintf(text, TEXT_SIZE, "%" PRId64, *(const int64_t *)place); break;
    case UNSIGNED: snprintf(text, TEXT_SIZE, "%" PRIu64, *(const uint64_t *)place); break;
    case INTEGER: snprintf(text, TEXT_SIZE, "%d", *(const int *)place); break;
    case DOUBLE: snprintf(text, TEXT_SIZE, "%.17g", *(const double *)place); break;
    case SINGLE: snprintf(text, TEXT_SIZE, "%.9g", (double)*(const float *)place); break;
    case TEXT: snprintf(text, TEXT_SIZE, "%s", (const char *)place); break;
    }
}

// The hash has vouched for the text.
static void parse_field(const char *text, int i, clf_train_state *state) {
    void *place = (char *)state + fields[i].offset;
    switch (fields[i].kind) {
    case SIGNED: *(int64_t *)place = strtoll(text, NULL, 10); break;
    case UNSIGNED: *(uint64_t *)place = strtoull(text, NULL, 10); break;
    case INTEGER: *(int *)place = (int)strtol(text, NULL, 10); break;
    case DOUBLE: *(double *)place = strtod(text, NULL); break;
    case SINGLE: *(float *)place = strtof(text, NULL); break;
    case TEXT: snprintf(place, CLF_HASH_TEXT, "%s", text); break;
    }
}

static clf_hash hash_note(clf_hash hash, const char *name, const char *text) {
    return clf_hash_string(clf_hash_string(hash, name), text);
}

// ---- parameters and their copies ----------------------------------------------------------------

// The models of a checkpoint and what stands before their parameters' names.
typedef struct copy {
    const char *prefix;
    clf_model *model;
} copy;

typedef struct work {
    const char *path;
    copy copies[4];
    int copy_count;
    clf_param *params;
    int count;
    clf_arena *staging;
} work;

static void close_work(work *w) {
    free(w->params);
    clf_arena_destroy(w->staging);
}

static clf_status open_work(const char *path, clf_model *model, clf_optimizer *optimizer, work *w) {
    static const char *const prefixes[] = {"adam.m", "adam.v", "average"};
    work made = {.path = path, .copies = {{"model", model}}, .copy_count = 1};
    for (int i = 0; i < 3 && optimizer; i++) {
        clf_model *state = clf_optimizer_state(optimizer, i);
        if (state) made.copies[made.copy_count++] = (copy){prefixes[i], state};
    }
    clf_status status = clf_params_list(clf_model_config(model), &made.params, &made.count);
    if (status == CLF_OK) {
        status = clf_arena_create(clf_model_device(model), "the staging of parameters",
                                  "a device with more memory", &made.staging);
    }
    if (status == CLF_OK) {
        *w = made;
    } else {
        close_work(&made);
    }
    return status;
}

static size_t size_of(const clf_param *param) {
    return (size_t)param->rows * (size_t)param->cols;
}

// Room for `element` bytes for each value of any parameter.
static void *make_room(const work *w, size_t element) {
    size_t largest = 1;
    for (int i = 0; i < w->count; i++) {
        if (size_of(&w->params[i]) > largest) largest = size_of(&w->params[i]);
    }
    return malloc(largest * element);
}

static void name_of(const copy *c, const clf_param *param, char name[NAME_SIZE]) {
    snprintf(name, NAME_SIZE, "%s.%s", c->prefix, param->name);
}

// ---- saving -------------------------------------------------------------------------------------

static clf_status write_notes(clf_safetensors_writer *writer, const clf_train_state *state,
                              clf_hash *hash) {
    CLF_TRY(clf_safetensors_note(writer, "kind", KIND));
    *hash = hash_note(clf_hash_start(), "kind", KIND);
    for (int i = 0; i < FIELDS; i++) {
        char text[TEXT_SIZE];
        print_field(state, i, text);
        CLF_TRY(clf_safetensors_note(writer, fields[i].name, text));
        *hash = hash_note(*hash, fields[i].name, text);
    }
    return CLF_OK;
}

static clf_status declare_all(const work *w, clf_safetensors_writer *writer) {
    const int64_t hash_shape[] = {HASH_CHARS};
    for (int c = 0; c < w->copy_count; c++) {
        for (int i = 0; i < w->count; i++) {
            const int64_t shape[] = {w->params[i].rows, w->params[i].cols};
            char name[NAME_SIZE];
            name_of(&w->copies[c], &w->params[i], name);
            CLF_TRY(clf_safetensors_declare(writer, name, CLF_F32, shape, 2));
        }
    }
    return clf_safetensors_declare(writer, HASH_NAME, CLF_U8, hash_shape, 1);
}

static clf_status write_tensors(const work *w, float *data, clf_safetensors_writer *writer,
                                clf_hash *hash) {
    for (int c = 0; c < w->copy_count; c++) {
        for (int i = 0; i < w->count; i++) {
            const clf_param *param = &w->params[i];
            const size_t size = size_of(param) * sizeof *data;
            char name[NAME_SIZE];
            clf_run run = clf_run_begin(clf_model_device(w->copies[c].model));
            clf_model_read(&run, w->copies[c].model, param, data, w->staging);
            CLF_TRY(clf_run_finish(&run));
            name_of(&w->copies[c], param, name);
            *hash = clf_hash_bytes(clf_hash_string(*hash, name), data, size);
            CLF_TRY(clf_safetensors_put(writer, data, size));
        }
    }
    return CLF_OK;
}

static clf_status write_checkpoint(const work *w, const clf_train_state *state,
                                   clf_safetensors_writer *writer) {
    clf_hash hash;
    char text[CLF_HASH_TEXT];
    float *data = make_room(w, sizeof *data);
    if (!data) return clf_fail_memory();
    clf_status status = write_notes(writer, state, &hash);
    if (status == CLF_OK) status = declare_all(w, writer);
    if (status == CLF_OK) status = write_tensors(w, data, writer, &hash);
    clf_hash_text(hash, text);
    if (status == CLF_OK) status = clf_safetensors_put(writer, text, HASH_CHARS);
    free(data);
    return status;
}

clf_status clf_checkpoint_save(const char *path, clf_model *model, clf_optimizer *optimizer,
                               const clf_train_state *state) {
    work w = {0};
    clf_safetensors_writer *writer = NULL;
    clf_status status = open_work(path, model, optimizer, &w);
    if (status == CLF_OK) status = clf_safetensors_create(path, &writer);
    if (status == CLF_OK) status = write_checkpoint(&w, state, writer);
    if (status == CLF_OK) {
        status = clf_safetensors_finish(writer);
    } else {
        clf_safetensors_cancel(writer);
    }
    close_work(&w);
    return status;
}

// ---- loading ------------------------------------------------------------------------------------

// An open file whose hash is right.
typedef struct opened {
    clf_store store;
    clf_json notes;
} opened;

static clf_status fail_damaged(const char *path, const char *what) {
    return clf_fail(CLF_ERROR_FORMAT, "%s: %s; it is no checkpoint, or damaged", path, what);
}

static void close_file(opened *file) {
    clf_store_close(&file->store);
    clf_json_close(&file->notes);
}

static clf_status hash_notes(const opened *file, clf_hash *hash) {
    *hash = clf_hash_start();
    for (int i = -1; i < FIELDS; i++) {
        const char *name = i < 0 ? "kind" : fields[i].name;
        const cJSON *note = clf_json_find(&file->notes, name);
        if (!cJSON_IsString(note)) return fail_damaged(file->notes.path, "a number is missing");
        *hash = hash_note(*hash, name, note->valuestring);
    }
    return CLF_OK;
}

static int compare_data(const void *a, const void *b) {
    const clf_stored *x = *(const clf_stored *const *)a, *y = *(const clf_stored *const *)b;
    return (x->data > y->data) - (x->data < y->data);
}

static size_t stored_size(const clf_stored *tensor) {
    size_t size = (size_t)clf_dtype_size(tensor->dtype);
    for (int i = 0; i < tensor->rank; i++) size *= (size_t)tensor->shape[i];
    return size;
}

// Tensors in the order of the file, but for the hash itself.
static clf_status hash_tensors(const opened *file, clf_hash *hash) {
    const size_t count = file->store.tensors.count;
    const clf_stored **order = malloc((count + 1) * sizeof *order);
    if (!order) return clf_fail_memory();
    for (size_t i = 0; i < count; i++) order[i] = &file->store.tensors.data[i];
    qsort(order, count, sizeof *order, compare_data);
    clf_status status = CLF_OK;
    for (size_t i = 0; i < count && status == CLF_OK; i++) {
        const clf_stored *tensor = order[i];
        if (strcmp(tensor->name, HASH_NAME) == 0) continue;
        if (!tensor->usable || tensor->dtype != CLF_F32 || (uintptr_t)tensor->data % 4 != 0) {
            status = fail_damaged(tensor->path, "a tensor is not of floats");
            break;
        }
        *hash =
            clf_hash_bytes(clf_hash_string(*hash, tensor->name), tensor->data, stored_size(tensor));
        clf_file_map_forget(tensor->data, stored_size(tensor));
    }
    free(order);
    return status;
}

static clf_status verify(const opened *file) {
    const char *path = file->notes.path;
    const clf_stored *stored = clf_store_find(&file->store, HASH_NAME);
    char text[CLF_HASH_TEXT];
    clf_hash hash;
    if (!stored || strcmp(stored->type, "U8") != 0 || stored->rank != 1 ||
        stored->shape[0] != HASH_CHARS) {
        return fail_damaged(path, "it has no hash");
    }
    CLF_TRY(hash_notes(file, &hash));
    CLF_TRY(hash_tensors(file, &hash));
    clf_hash_text(hash, text);
    if (memcmp(text, stored->data, HASH_CHARS) != 0) return fail_damaged(path, "its hash differs");
    const cJSON *kind = clf_json_find(&file->notes, "kind");
    if (strcmp(kind->valuestring, KIND) == 0) return CLF_OK;
    return clf_fail(CLF_ERROR_FORMAT, "%s: a checkpoint of another version of clformer", path);
}

static clf_status open_file(const char *path, opened *file) {
    *file = (opened){0};
    clf_status status = clf_safetensors_open_file(path, &file->store, &file->notes);
    if (status == CLF_OK) status = clf_store_sort(&file->store);
    if (status == CLF_OK) status = verify(file);
    if (status != CLF_OK) close_file(file);
    return status;
}

static clf_status find(const opened *file, const copy *c, const clf_param *param,
                       const float **data) {
    char name[NAME_SIZE];
    clf_piece piece;
    name_of(c, param, name);
    clf_stored *tensor = clf_store_find(&file->store, name);
    if (!tensor) {
        return clf_fail(CLF_ERROR_FORMAT, "%s: no %s; it belongs to another training",
                        file->notes.path, name);
    }
    CLF_TRY(clf_store_piece(tensor, param->rows, param->cols, true, &piece));
    *data = piece.data;
    return CLF_OK;
}

// Everything must be there, and nothing else, before anything is changed.
static clf_status check_tensors(const work *w, const opened *file) {
    const float *data = NULL;
    for (int c = 0; c < w->copy_count; c++) {
        for (int i = 0; i < w->count; i++) {
            CLF_TRY(find(file, &w->copies[c], &w->params[i], &data));
        }
    }
    if (file->store.tensors.count == (size_t)w->copy_count * (size_t)w->count + 1) return CLF_OK;
    return clf_fail(CLF_ERROR_FORMAT,
                    "%s: more parameters than the model has; it belongs to "
                    "another training",
                    w->path);
}

static clf_status load_tensors(const work *w, const opened *file) {
    for (int c = 0; c < w->copy_count; c++) {
        clf_run run = clf_run_begin(clf_model_device(w->copies[c].model));
        for (int i = 0; i < w->count; i++) {
            const float *data = NULL;
            CLF_TRY(find(file, &w->copies[c], &w->params[i], &data));
            clf_model_write(&run, w->copies[c].model, &w->params[i], data, w->staging);
            clf_file_map_forget(data, size_of(&w->params[i]) * sizeof *data);
        }
        CLF_TRY(clf_run_finish(&run));
    }
    return CLF_OK;
}

clf_status clf_checkpoint_load(const char *path, clf_model *model, clf_optimizer *optimizer,
                               clf_train_state *state) {
    work w = {0};
    opened file;
    CLF_TRY(open_file(path, &file));
    clf_status status = open_work(path, model, optimizer, &w);
    if (status == CLF_OK) status = check_tensors(&w, &file);
    if (status == CLF_OK) status = load_tensors(&w, &file);
    if (status == CLF_OK) {
        for (int i = 0; i < FIELDS; i++) {
            parse_field(clf_json_find(&file.notes, fields[i].name)->valuestring, i, state);
        }
        clf_optimizer_set_updates(optimizer, state->updates);
    }
    close_work(&w);
    close_file(&file);
    return status;
}

// ---- averaging ----------------------------------------------------------------------------------

// `sums` and `mean` have room for any parameter.
static clf_status average_param(const work *w, const opened *files, int count,
                                const clf_param *param, double *sums, float *mean) {
    const size_t size = size_of(param);
    for (int f = 0; f < count; f++) {
        const float *data = NULL;
        CLF_TRY(find(&files[f], &w->copies[0], param, &data));
        for (size_t i = 0; i < size; i++) sums[i] = (f > 0 ? sums[i] : -0.0) + data[i];
    }
    for (size_t i = 0; i < size; i++) mean[i] = (float)(sums[i] / count);
    clf_run run = clf_run_begin(clf_model_device(w->copies[0].model));
    clf_model_write(&run, w->copies[0].model, param, mean, w->staging);
    return clf_run_finish(&run);
}

clf_status clf_checkpoint_average(char *const *paths, int count, clf_model *model) {
    if (count < 1) return clf_fail(CLF_ERROR_ARGUMENT, "no checkpoints to average");
    work w = {0};
    int open = 0;
    float *mean = NULL;
    double *sums = NULL;
    opened *files = calloc((size_t)count, sizeof *files);
    clf_status status = files ? open_work(paths[0], model, NULL, &w) : clf_fail_memory();
    for (; open < count && status == CLF_OK; open += status == CLF_OK) {
        status = open_file(paths[open], &files[open]);
    }
    if (status == CLF_OK) {
        mean = make_room(&w, sizeof *mean);
        sums = make_room(&w, sizeof *sums);
        if (!mean || !sums) status = clf_fail_memory();
    }
    for (int i = 0; i < w.count && status == CLF_OK; i++) {
        status = average_param(&w, files, count, &w.params[i], sums, mean);
    }
    while (open > 0) close_file(&files[--open]);
    free(files);
    free(mean);
    free(sums);
    close_work(&w);
    return status;
}
