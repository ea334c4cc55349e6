// SPDX-License-Identifier: MIT
// A model directory of any supported format, opened: configuration, search settings, parameters by
// name and the files of its tokenizer. Everything in it is checked when it is opened: a damaged or
// lying file gives CLF_ERROR_FORMAT with the file's name, never a crash later.
// Thread-safety: one thread at a time.
#ifndef CLF_FORMATS_FORMAT_H
#define CLF_FORMATS_FORMAT_H

#include "model/params.h"
#include "text/tokenizer.h"

typedef struct clf_format clf_format;

// Recognises the format by what the directory holds: model.bin (CTranslate2) or config.json with
// model.safetensors or model.safetensors.index.json (Hugging Face).
clf_status clf_format_open(const char *directory, clf_format **format);
void clf_format_close(clf_format *format); // NULL is allowed

const clf_config *clf_format_config(const clf_format *format);
const clf_generation *clf_format_generation(const clf_format *format);
clf_param_source clf_format_params(clf_format *format);
// The type in which the files hold matrices; of several the first one's.
clf_dtype clf_format_weights(clf_format *format);
// A new tokenizer for the model, which does not depend on `format` afterwards.
clf_status clf_format_tokenizer(const clf_format *format, clf_tokenizer **tokenizer);

#endif
