// SPDX-License-Identifier: MIT
#include "formats/format.h"

#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/file.h"
#include "formats/internal.h"

clf_status clf_format_locate(const clf_format *format, const char *name, char **path) {
    char *joined = clf_path_join(format->directory, name);
    if (!joined) return clf_fail_memory();
    free(*path);
    *path = joined;
    if (!clf_file_exists(joined)) {
        free(joined);
        *path = NULL;
    }
    return CLF_OK;
}

clf_status clf_format_require(const clf_format *format, const char *name, char **path) {
    CLF_TRY(clf_format_locate(format, name, path));
    if (*path) return CLF_OK;
    return clf_fail(CLF_ERROR_IO, "%s/%s: missing; the model cannot be used without it",
                    format->directory, name);
}

static bool has_file(const clf_format *format, const char *name, clf_status *status) {
    char *path = NULL;
    if (*status == CLF_OK) *status = clf_format_locate(format, name, &path);
    bool found = path != NULL;
    free(path);
    return found;
}

// An Argos package keeps its CTranslate2 files one level down.
static clf_status enter_package(clf_format *format) {
    char *inner = clf_path_join(format->directory, "model");
    if (!inner) return clf_fail_memory();
    free(format->directory);
    format->directory = inner;
    return CLF_OK;
}

static clf_status recognise(clf_format *format) {
    clf_status status = CLF_OK;
    if (has_file(format, "model.bin", &status)) {
        format->kind = &clf_ctranslate2;
    } else if (has_file(format, "model/model.bin", &status)) {
        format->kind = &clf_ctranslate2;
        return enter_package(format);
    } else if (has_file(format, "model.safetensors", &status) ||
               has_file(format, "model.safetensors.index.json", &status) ||
               has_file(format, "config.json", &status)) {
        format->kind = &clf_huggingface;
    } else if (status == CLF_OK) {
        status = clf_fail(CLF_ERROR_FORMAT,
                          "%s: no model in this directory: neither model.bin (CTranslate2) nor "
                          "config.json and model.safetensors (Hugging Face)",
                          format->directory);
    }
    return status;
}

// Looks up every parameter now, so that a lying file is found out before any work begins.
static clf_status check_params(clf_format *format) {
    clf_param *params;
    int count, pieces_count;
    clf_piece pieces[CLF_MAX_PIECES];
    CLF_TRY(clf_params_list(&format->config, &params, &count));
    clf_status status = CLF_OK;
    for (int i = 0; i < count && status == CLF_OK; i++) {
        status = format->kind->find(format, &params[i], pieces, &pieces_count);
    }
    free(params);
    if (status == CLF_OK && format->kind->check) status = format->kind->check(format);
    return status;
}

static clf_status open_directory(clf_format *format) {
    CLF_TRY(recognise(format));
    CLF_TRY(format->kind->open(format));
    CLF_TRY(clf_config_check(&format->config, format->directory));
    return check_params(format);
}

clf_status clf_format_open(const char *directory, clf_format **format) {
    if (!clf_file_is_directory(directory)) {
        if (!clf_file_exists(directory)) {
            return clf_fail(CLF_ERROR_IO, "%s: no such directory", directory);
        }
        return clf_fail(CLF_ERROR_IO, "%s: a model is a directory, this is a file", directory);
    }
    clf_format *f = calloc(1, sizeof *f);
    if (!f) return clf_fail_memory();
    f->directory = strdup(directory);
    clf_status status = f->directory ? open_directory(f) : clf_fail_memory();
    if (status != CLF_OK) {
        clf_format_close(f);
        return status;
    }
    *format = f;
    return CLF_OK;
}

void clf_format_close(clf_format *format) {
    if (!format) return;
    clf_store_close(&format->store);
    free(format->text.source_spm);
    free(format->text.target_spm);
    free(format->text.source_vocabulary);
    free(format->text.target_vocabulary);
    free(format->text.unk);
    free(format->text.bos);
    free(format->text.eos);
    free(format->directory);
    free(format);
}

const clf_config *clf_format_config(const clf_format *format) {
    return &format->config;
}

const clf_generation *clf_format_generation(const clf_format *format) {
    return &format->generation;
}

static clf_status find_param(void *self, const clf_param *param, clf_piece pieces[CLF_MAX_PIECES],
                             int *count) {
    clf_format *format = self;
    return format->kind->find(format, param, pieces, count);
}

static void release_piece(void *self, const clf_piece *piece) {
    (void)self;
    size_t size = piece->dtype == CLF_F32 ? 4 : piece->dtype == CLF_I8 ? 1 : 2;
    clf_file_map_forget(piece->data, size * (size_t)piece->rows * (size_t)piece->cols);
}

clf_param_source clf_format_params(clf_format *format) {
    return (clf_param_source){.self = format, .find = find_param, .release = release_piece};
}

clf_dtype clf_format_weights(clf_format *format) {
    const clf_param param = {.kind = CLF_PARAM_SELF_QKV,
                             .side = CLF_ENCODER,
                             .rows = 3 * format->config.encoder.heads *
                                     format->config.encoder.head_width,
                             .cols = format->config.width,
                             .matrix = true};
    clf_piece pieces[CLF_MAX_PIECES];
    int count = 0;
    const bool found = format->kind->find(format, &param, pieces, &count) == CLF_OK && count > 0;
    return found ? pieces[0].dtype : CLF_F32;
}
