// SPDX-License-Identifier: MIT
#include "train_metrics.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "command.h"

// ---- replacing a file ---------------------------------------------------------------------------

bool replacement_open(replacement *r, const char *path) {
    *r = (replacement){.path = path};
    if (asprintf(&r->temporary, "%s.tmp", path) < 0) {
        r->temporary = NULL;
        return false;
    }
    r->file = fopen(r->temporary, "w");
    if (r->file) return true;
    free(r->temporary);
    return false;
}

bool replacement_finish(replacement *r) {
    bool written = !ferror(r->file);
    written = fclose(r->file) == 0 && written;
    written = written && rename(r->temporary, r->path) == 0;
    int error = errno;
    if (!written) unlink(r->temporary);
    free(r->temporary);
    errno = error;
    return written;
}

// ---- lines --------------------------------------------------------------------------------------

// Names of the numbers in a line and where they stand in the struct.
typedef struct field {
    const char *name;
    enum { FIELD_COUNT, FIELD_NUMBER } kind; // uint64_t or double
    size_t offset;
} field;

#define PROGRESS_FIELD(kind, name)                                                                 \
    { #name, kind, offsetof(clf_train_progress, name) }
static const field progress_fields[] = {
    PROGRESS_FIELD(FIELD_COUNT, update),
    PROGRESS_FIELD(FIELD_COUNT, updates),
    PROGRESS_FIELD(FIELD_COUNT, epoch),
    PROGRESS_FIELD(FIELD_NUMBER, epoch_share),
    PROGRESS_FIELD(FIELD_NUMBER, loss),
    PROGRESS_FIELD(FIELD_NUMBER, nll),
    PROGRESS_FIELD(FIELD_NUMBER, learning_rate),
    PROGRESS_FIELD(FIELD_NUMBER, gradient_norm),
    PROGRESS_FIELD(FIELD_NUMBER, tokens_per_second),
    PROGRESS_FIELD(FIELD_NUMBER, seconds),
    PROGRESS_FIELD(FIELD_COUNT, source_tokens),
    PROGRESS_FIELD(FIELD_COUNT, target_tokens),
    PROGRESS_FIELD(FIELD_COUNT, skipped_updates),
    {0},
};

#define VALIDATION_FIELD(kind, name)                                                               \
    { #name, kind, offsetof(clf_train_validation, name) }
static const field validation_fields[] = {
    VALIDATION_FIELD(FIELD_COUNT, update), VALIDATION_FIELD(FIELD_COUNT, epoch),
    VALIDATION_FIELD(FIELD_NUMBER, loss),  VALIDATION_FIELD(FIELD_NUMBER, nll),
    VALIDATION_FIELD(FIELD_NUMBER, bleu),  {0},
};

static void add_fields(cJSON *line, const field *fields, const void *values) {
    for (const field *f = fields; f->name; f++) {
        const char *place = (const char *)values + f->offset;
        char text[32] = "null";
        double number = f->kind == FIELD_NUMBER ? *(const double *)place : 0;
        if (f->kind == FIELD_COUNT) {
            snprintf(text, sizeof text, "%llu", (unsigned long long)*(const uint64_t *)place);
        } else if (isfinite(number)) {
            snprintf(text, sizeof text, "%.8g", number);
        }
        cJSON_AddRawToObject(line, f->name, text);
    }
}

static void read_fields(const cJSON *line, const field *fields, void *values) {
    for (const field *f = fields; f->name; f++) {
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(line, f->name);
        double number = cJSON_IsNumber(item) ? item->valuedouble : NAN;
        char *place = (char *)values + f->offset;
        if (f->kind == FIELD_NUMBER) *(double *)place = number;
        if (f->kind == FIELD_COUNT) *(uint64_t *)place = number > 0 ? (uint64_t)number : 0;
    }
}

static cJSON *line_create(const char *event) {
    cJSON *line = cJSON_CreateObject();
    cJSON_AddStringToObject(line, "event", event);
    return line;
}

// Writes the line, so that it is whole in the file for whoever reads along, and frees it.
static void line_write(metrics *m, cJSON *line) {
    char *text = m->file ? cJSON_PrintUnformatted(line) : NULL;
    cJSON_Delete(line);
    if (text) {
        if (fprintf(m->file, "%s\n", text) < 0 || fflush(m->file) != 0) {
            complain("warning: %s: cannot write: %s; the training goes on without it", m->path,
                     strerror(errno));
            fclose(m->file);
            m->file = NULL;
        }
    }
    free(text);
}

// ---- in memory ----------------------------------------------------------------------------------

// Appends an element; without memory the curve merely lacks it.
static void append(void **array, size_t *count, size_t *capacity, const void *element,
                   size_t size) {
    if (*count == *capacity) {
        size_t wanted = *capacity * 2 + 64;
        void *moved = realloc(*array, wanted * size);
        if (!moved) return;
        *array = moved;
        *capacity = wanted;
    }
    memcpy((char *)*array + (*count)++ * size, element, size);
}

static void keep_progress(metrics *m, const clf_train_progress *p) {
    append((void **)&m->progress, &m->progress_count, &m->progress_capacity, p, sizeof *p);
}

static void keep_validation(metrics *m, const clf_train_validation *v) {
    append((void **)&m->validations, &m->validation_count, &m->validation_capacity, v, sizeof *v);
}

// ---- the file -----------------------------------------------------------------------------------

// Takes over a line of an earlier run; false if it is damaged or of an update after `last`.
static bool take_line(metrics *m, const char *text, uint64_t last) {
    cJSON *line = cJSON_Parse(text);
    const cJSON *update = cJSON_GetObjectItemCaseSensitive(line, "update");
    const char *event = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(line, "event"));
    bool kept = event && cJSON_IsNumber(update) && update->valuedouble <= (double)last;
    if (kept && strcmp(event, "train") == 0) {
        clf_train_progress progress = {0};
        read_fields(line, progress_fields, &progress);
        keep_progress(m, &progress);
    } else if (kept && strcmp(event, "validation") == 0) {
        clf_train_validation validation = {0};
        read_fields(line, validation_fields, &validation);
        validation.best = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(line, "best"));
        keep_validation(m, &validation);
    }
    cJSON_Delete(line);
    return kept;
}

// Copies the lines that stay to a new file; false with errno set.
static bool cut_after(metrics *m, uint64_t last) {
    FILE *old = fopen(m->path, "r");
    replacement new;
    char *line = NULL;
    size_t capacity = 0;
    if (!old) return errno == ENOENT;
    if (!replacement_open(&new, m->path)) {
        fclose(old);
        return false;
    }
    while (getline(&line, &capacity, old) > 0) {
        if (take_line(m, line, last)) fputs(line, new.file);
    }
    free(line);
    fclose(old);
    return replacement_finish(&new);
}

static void write_start(metrics *m, const metrics_start *start) {
    const clf_train_plan *plan = start->plan;
    char when[32];
    time_t now = time(NULL);
    struct tm utc;
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    cJSON *line = line_create("start");
    cJSON_AddNumberToObject(line, "update", (double)start->update);
    cJSON_AddStringToObject(line, "time", when);
    cJSON_AddStringToObject(line, "device", start->device);
    cJSON_AddStringToObject(line, "command", start->command);
    cJSON_AddNumberToObject(line, "parameters", (double)plan->parameters);
    cJSON_AddNumberToObject(line, "pairs", (double)plan->pairs);
    cJSON_AddNumberToObject(line, "source_tokens", (double)plan->source_tokens);
    cJSON_AddNumberToObject(line, "target_tokens", (double)plan->target_tokens);
    cJSON_AddNumberToObject(line, "too_long", (double)plan->too_long);
    cJSON_AddNumberToObject(line, "empty", (double)plan->empty);
    cJSON_AddNumberToObject(line, "updates", (double)plan->updates);
    cJSON_AddNumberToObject(line, "state_bytes", (double)plan->state_bytes);
    cJSON_AddNumberToObject(line, "activation_bytes", (double)plan->activation_bytes);
    cJSON_AddNumberToObject(line, "batch_tokens", plan->batch_tokens);
    cJSON_AddNumberToObject(line, "ranks", plan->ranks);
    line_write(m, line);
}

void metrics_open(metrics *m, const char *path, const metrics_start *start) {
    *m = (metrics){.path = strdup(path)};
    bool cut = m->path && (start->update == 0 || cut_after(m, start->update));
    if (cut) m->file = fopen(m->path, start->update == 0 ? "w" : "a");
    if (m->file) {
        write_start(m, start);
    } else {
        complain("warning: %s: cannot write: %s; the training goes on without it", path,
                 strerror(errno));
    }
}

void metrics_add_progress(metrics *m, const clf_train_progress *progress) {
    cJSON *line = line_create("train");
    add_fields(line, progress_fields, progress);
    line_write(m, line);
    keep_progress(m, progress);
}

void metrics_add_validation(metrics *m, const clf_train_validation *validation) {
    cJSON *line = line_create("validation");
    add_fields(line, validation_fields, validation);
    cJSON_AddBoolToObject(line, "best", validation->best);
    line_write(m, line);
    keep_validation(m, validation);
}

void metrics_add_checkpoint(metrics *m, uint64_t update, const char *path) {
    cJSON *line = line_create("checkpoint");
    cJSON_AddNumberToObject(line, "update", (double)update);
    cJSON_AddStringToObject(line, "path", path);
    line_write(m, line);
}

void metrics_close(metrics *m) {
    if (m->file) fclose(m->file);
    free(m->progress);
    free(m->validations);
    free(m->path);
    *m = (metrics){0};
}
