// SPDX-License-Identifier: MIT
// The parts of reading a Hugging Face Marian directory.
#ifndef CLF_FORMATS_HUGGINGFACE_H
#define CLF_FORMATS_HUGGINGFACE_H

#include "formats/internal.h"
#include "formats/json.h"

// Fills the format's search settings and the start and padding tokens from generation_config.json
// and config.json (`config`). The vocabularies' sizes must be known.
clf_status clf_huggingface_generation(clf_format *format, const clf_json *config);

#define CLF_CONFIG_LIMIT ((size_t)4 << 20) // bytes that a configuration file may have

#endif
