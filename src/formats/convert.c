// SPDX-License-Identifier: MIT
#include <clformer/convert.h>

#include <stdlib.h>

#include "base/fail.h"
#include "base/file.h"
#include "formats/internal.h"
#include "formats/save.h"

// Another model's files, or this one's, are never written over.
static clf_status check_output(const char *output) {
    static const char *const names[] = {"config.json", "model.bin", "model.safetensors"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = clf_path_join(output, names[i]);
        if (!path) return clf_fail_memory();
        bool found = clf_file_exists(path);
        free(path);
        if (found) {
            return clf_fail(CLF_ERROR_ARGUMENT,
                            "%s: holds a model already (%s); choose another directory", output,
                            names[i]);
        }
    }
    return CLF_OK;
}

static clf_status choose_kind(const clf_format *format, const clf_convert_options *options,
                              clf_save_kind *kind) {
    bool ctranslate2 = format->kind == &clf_ctranslate2 || options->weights == CLF_CONVERT_INT8;
    if (options->format != CLF_CONVERT_SAME) {
        ctranslate2 = options->format == CLF_CONVERT_CTRANSLATE2;
    }
    *kind = ctranslate2 ? CLF_SAVE_CTRANSLATE2 : CLF_SAVE_HUGGINGFACE;
    if (ctranslate2 || options->weights != CLF_CONVERT_INT8) return CLF_OK;
    return clf_fail(CLF_ERROR_ARGUMENT, "int8 weights need CTranslate2's format");
}

static clf_status convert(clf_format *format, const char *output,
                          const clf_convert_options *options) {
    static const clf_dtype dtypes[] = {
        [CLF_CONVERT_F32] = CLF_F32, [CLF_CONVERT_F16] = CLF_F16, [CLF_CONVERT_INT8] = CLF_I8};
    const clf_format_text *text = &format->text;
    clf_param_source source = clf_format_params(format);
    clf_save_options save = {.weights = dtypes[options->weights],
                             .source_spm = text->source_spm,
                             .target_spm = text->target_spm,
                             .source_vocabulary = text->source_vocabulary,
                             .target_vocabulary = text->target_vocabulary,
                             .unk = text->unk,
                             .bos = text->bos,
                             .prepend_bos = text->prepend_bos,
                             .no_eos = !text->append_eos};
    CLF_TRY(choose_kind(format, options, &save.kind));
    return clf_format_save_values(output, &format->config, clf_values_of_source(&source),
                                  &format->generation, &save);
}

clf_status clf_convert(const char *model, const char *output, const clf_convert_options *options) {
    static const clf_convert_options defaults = {0};
    clf_format *format;
    if (!model || !output) return clf_fail(CLF_ERROR_ARGUMENT, "clf_convert: an argument is NULL");
    if (!options) options = &defaults;
    if (options->format > CLF_CONVERT_CTRANSLATE2 || options->weights > CLF_CONVERT_INT8) {
        return clf_fail(CLF_ERROR_ARGUMENT, "clf_convert: there is no format %d or no weights %d",
                        (int)options->format, (int)options->weights);
    }
    CLF_TRY(check_output(output));
    CLF_TRY(clf_format_open(model, &format));
    clf_status status = convert(format, output, options);
    clf_format_close(format);
    return status;
}
