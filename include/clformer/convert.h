// SPDX-License-Identifier: MIT
// From one model directory to another.
#ifndef CLFORMER_CONVERT_H
#define CLFORMER_CONVERT_H

#include <clformer/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum clf_convert_format {
    CLF_CONVERT_SAME, // as it was read; CTranslate2's for int8
    CLF_CONVERT_HUGGINGFACE,
    CLF_CONVERT_CTRANSLATE2
} clf_convert_format;

typedef enum clf_convert_weights {
    CLF_CONVERT_F32,
    CLF_CONVERT_F16,
    CLF_CONVERT_INT8 // a scale for each row; CTranslate2's format only
} clf_convert_weights;

// Zero means default everywhere.
typedef struct clf_convert_options {
    clf_convert_format format;
    clf_convert_weights weights;
} clf_convert_options;

// Reads a model directory that clf_translator_open takes and writes `output`, which must not hold a
// model yet. Uses no device. A model that the format cannot say is CLF_ERROR_UNSUPPORTED.
CLF_API clf_status clf_convert(const char *model, const char *output,
                               const clf_convert_options *options);

#ifdef __cplusplus
}
#endif
#endif
