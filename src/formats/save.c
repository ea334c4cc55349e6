// SPDX-License-Identifier: MIT
#include "formats/saving.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/file.h"

// ---- what the formats share ---------------------------------------------------------------------

clf_status clf_saving_refuse(const clf_saving *s, const char *what) {
    return clf_fail(
        CLF_ERROR_UNSUPPORTED, "%s: a model with %s cannot be saved in %s format%s", s->directory,
        what, s->options->kind == CLF_SAVE_HUGGINGFACE ? "Hugging Face Marian's" : "CTranslate2's",
        s->options->kind == CLF_SAVE_HUGGINGFACE ? "; CTranslate2's may do" : "");
}

clf_status clf_saving_check_stack(const clf_saving *s, const clf_stack_config *stack) {
    if (stack->heads * stack->head_width != s->config->width) {
        return clf_saving_refuse(s, "attention that is wider or narrower than the model");
    }
    if (stack->attention_scale != 1 / sqrtf((float)stack->head_width)) {
        return clf_saving_refuse(s, "an attention scale of its own");
    }
    return CLF_OK;
}

static clf_status copy(const clf_saving *s, const char *from, const char *name) {
    clf_file_map map;
    CLF_TRY(clf_file_map_open(from, &map));
    clf_status status = clf_file_write_in(s->directory, name, map.data, map.size);
    clf_file_map_close(&map);
    return status;
}

clf_status clf_saving_spms(const clf_saving *s) {
    const clf_save_options *o = s->options;
    if (!o->source_spm) {
        clf_file_remove_in(s->directory, "source.spm");
        clf_file_remove_in(s->directory, "target.spm");
        return CLF_OK;
    }
    CLF_TRY(copy(s, o->source_spm, "source.spm"));
    return copy(s, o->target_spm, "target.spm");
}

clf_status clf_saving_read(clf_saving *s, const clf_param *param) {
    return s->values.read(s->values.self, param, s->data);
}

clf_status clf_saving_fail_range(const clf_saving *s, const char *name, const char *type) {
    return clf_fail(CLF_ERROR_NUMERIC, "%s: %s has values that %s cannot hold; save it as f32",
                    s->directory, name, type);
}

bool clf_saving_add_float(cJSON *object, const char *key, float value) {
    char text[32];
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value) break;
    }
    return cJSON_AddNumberToObject(object, key, strtod(text, NULL)) != NULL;
}

// ---- the door -----------------------------------------------------------------------------------

static clf_status check_arguments(const clf_saving *s) {
    const clf_save_options *o = s->options;
    const clf_generation *g = s->generation;
    if (!o->source_vocabulary || !o->source_spm != !o->target_spm) {
        return clf_fail(CLF_ERROR_ARGUMENT,
                        "%s: to save a model takes its vocabulary, and both SentencePiece models "
                        "or none",
                        s->directory);
    }
    if (o->weights != CLF_F32 && o->weights != CLF_F16 &&
        (o->weights != CLF_I8 || o->kind != CLF_SAVE_CTRANSLATE2)) {
        return clf_fail(CLF_ERROR_UNSUPPORTED,
                        "%s: weights are saved as f32 or f16, in CTranslate2's format as int8 too",
                        s->directory);
    }
    if (g->eos_count < 1) {
        return clf_fail(CLF_ERROR_ARGUMENT, "%s: no end token", s->directory);
    }
    return CLF_OK;
}

static clf_status open_vocabularies(clf_saving *s) {
    const clf_save_options *o = s->options;
    const char *unk = o->unk ? o->unk : "<unk>";
    const char *path = o->target_vocabulary ? o->target_vocabulary : o->source_vocabulary;
    bool same = strcmp(path, o->source_vocabulary) == 0;
    CLF_TRY(
        clf_vocabulary_open(o->source_vocabulary, s->config->source_vocabulary, unk, &s->source));
    s->target = s->source;
    if (same && s->config->source_vocabulary == s->config->target_vocabulary) return CLF_OK;
    s->target = NULL;
    return clf_vocabulary_open(path, s->config->target_vocabulary, unk, &s->target);
}

static const clf_saving_kind *const kinds[] = {
    [CLF_SAVE_HUGGINGFACE] = &clf_save_huggingface, [CLF_SAVE_CTRANSLATE2] = &clf_save_ctranslate2};

clf_status clf_format_choose(const char *name, const clf_config *config,
                             const clf_generation *generation, clf_save_kind *kind) {
    clf_status status = CLF_OK;
    for (int i = CLF_SAVE_HUGGINGFACE; i <= CLF_SAVE_CTRANSLATE2; i++) {
        const clf_save_options options = {.kind = (clf_save_kind)i};
        const clf_saving s = {
            .directory = name, .config = config, .generation = generation, .options = &options};
        status = kinds[i]->check(&s);
        if (status != CLF_OK) continue;
        *kind = options.kind;
        break;
    }
    return status;
}

// Room for the largest parameter. Positions that are computed may become one.
static clf_status make_room(clf_saving *s) {
    size_t largest = (size_t)s->config->max_positions * (size_t)s->config->width, rows = 1;
    for (int i = 0; i < s->count; i++) {
        size_t size = (size_t)s->params[i].rows * (size_t)s->params[i].cols;
        if (size > largest) largest = size;
        if ((size_t)s->params[i].rows > rows) rows = (size_t)s->params[i].rows;
    }
    s->data = malloc(largest * sizeof *s->data);
    s->packed = malloc(largest * sizeof(uint16_t));
    s->scales = malloc(rows * sizeof *s->scales);
    return s->data && s->packed && s->scales ? CLF_OK : clf_fail_memory();
}

clf_status clf_format_save_values(const char *directory, const clf_config *config,
                                  clf_values values, const clf_generation *generation,
                                  const clf_save_options *options) {
    const clf_saving_kind *kind = kinds[options->kind];
    clf_saving s = {.directory = directory,
                    .config = config,
                    .generation = generation,
                    .options = options,
                    .values = values};
    clf_status status = check_arguments(&s);
    if (status == CLF_OK) status = kind->check(&s);
    if (status == CLF_OK) status = clf_params_list(config, &s.params, &s.count);
    if (status == CLF_OK) status = open_vocabularies(&s);
    if (status == CLF_OK) status = make_room(&s);
    if (status == CLF_OK) status = clf_file_make_public_directory(directory);
    if (status == CLF_OK) status = kind->write(&s);
    if (s.target != s.source) clf_vocabulary_close(s.target);
    clf_vocabulary_close(s.source);
    free(s.params);
    free(s.data);
    free(s.packed);
    free(s.scales);
    return status;
}

typedef struct device_values {
    clf_model *model;
    clf_device *device;
    clf_arena *staging;
} device_values;

static clf_status read_device(void *self, const clf_param *param, float *data) {
    const device_values *v = self;
    clf_run run = clf_run_begin(v->device);
    clf_model_read(&run, v->model, param, data, v->staging);
    return clf_run_finish(&run);
}

clf_status clf_format_save(const char *directory, clf_model *model,
                           const clf_generation *generation, const clf_save_options *options) {
    device_values v = {.model = model, .device = clf_model_device(model)};
    CLF_TRY(clf_arena_create(v.device, "the staging of parameters", "a device with more memory",
                             &v.staging));
    clf_status status =
        clf_format_save_values(directory, clf_model_config(model),
                               (clf_values){.self = &v, .read = read_device}, generation, options);
    clf_arena_destroy(v.staging);
    return status;
}
