// SPDX-License-Identifier: MIT
#include "translate/translator.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/fail.h"
#include "formats/format.h"

// Sinusoidal positions can be computed for any length; this many are planned at least.
enum { SINUSOID_POSITIONS = 2048 };

static int plan_positions(const clf_config *config, const clf_translator_options *options) {
    int wanted = options ? options->max_positions : 0;
    if (config->positions == CLF_POSITIONS_LEARNED) {
        return wanted > 0 && wanted < config->max_positions ? wanted : config->max_positions;
    }
    if (wanted > 0) return wanted;
    return config->max_positions > SINUSOID_POSITIONS ? config->max_positions : SINUSOID_POSITIONS;
}

static clf_dtype choose_weights(clf_format *format, const clf_translator_options *options) {
    switch (options ? options->weights : CLF_WEIGHTS_MODEL) {
    case CLF_WEIGHTS_F16: return CLF_F16;
    case CLF_WEIGHTS_INT8: return CLF_I8;
    case CLF_WEIGHTS_F32: return CLF_F32;
    default: return clf_format_weights(format) == CLF_I8 ? CLF_I8 : CLF_F32;
    }
}

static clf_status load(clf_translator *t, const char *directory,
                       const clf_translator_options *options) {
    clf_format *format = NULL;
    int64_t phase = clf_phase_begin(t->device);
    CLF_TRY(clf_format_open(directory, &format));
    const clf_config *config = clf_format_config(format);
    t->generation = *clf_format_generation(format);
    t->positions = plan_positions(config, options);
    clf_status status = clf_format_tokenizer(format, &t->tokenizer);
    if (status == CLF_OK) {
        status = clf_model_create(t->device, config, clf_format_params(format), t->positions,
                                  choose_weights(format, options), &t->model);
    }
    if (status == CLF_OK) status = clf_generator_create(t->device, t->model, &t->generator);
    clf_format_close(format);
    clf_phase_end(t->device, "load model", phase);
    return status;
}

static void destroy(clf_translator *t) {
    clf_generator_destroy(t->generator);
    clf_model_destroy(t->model);
    clf_tokenizer_close(t->tokenizer);
    free(t);
}

clf_status clf_translator_open(clf_device *device, const char *model_directory,
                               const clf_translator_options *options, clf_translator **translator) {
    if (!device || !model_directory || !translator) {
        return clf_fail(CLF_ERROR_ARGUMENT, "clf_translator_open: an argument is NULL");
    }
    if (options && options->max_positions < 0) {
        return clf_fail(CLF_ERROR_ARGUMENT, "max_positions is %d; it must not be negative",
                        options->max_positions);
    }
    if (options && (unsigned)options->weights > CLF_WEIGHTS_INT8) {
        return clf_fail(CLF_ERROR_ARGUMENT, "weights is %d; it must be one of clf_weights",
                        (int)options->weights);
    }
    clf_translator *made = calloc(1, sizeof *made);
    if (!made) return clf_fail_memory();
    made->device = device;
    clf_device_lock(device);
    clf_status status = load(made, model_directory, options);
    if (status != CLF_OK) destroy(made);
    clf_device_unlock(device);
    if (status == CLF_OK) *translator = made;
    return status;
}

void clf_translator_close(clf_translator *translator) {
    if (!translator) return;
    clf_device *device = translator->device;
    clf_device_lock(device);
    destroy(translator);
    clf_device_unlock(device);
}

void clf_translator_get_info(const clf_translator *translator, clf_model_info *info) {
    const clf_config *config = clf_model_config(translator->model);
    *info = (clf_model_info){
        .width = config->width,
        .encoder_layers = config->encoder.layers,
        .decoder_layers = config->decoder.layers,
        .encoder_heads = config->encoder.heads,
        .decoder_heads = config->decoder.heads,
        .ffn = config->encoder.ffn,
        .source_vocabulary = config->source_vocabulary,
        .target_vocabulary = config->target_vocabulary,
        .default_beam = translator->generation.num_beams,
        .default_max_length = translator->generation.max_length,
        .parameters = clf_model_parameters(translator->model),
        .device_bytes = clf_model_device_bytes(translator->model),
    };
    snprintf(info->family, sizeof info->family, "%s", config->family);
}
