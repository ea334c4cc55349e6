// SPDX-License-Identifier: MIT
// The parts of reading a Hugging Face Marian directory.
#ifndef CLF_FORMATS_HUGGINGFACE_H
#define CLF_FORMATS_HUGGINGFACE_H

#include "formats/internal.h"
#include "formats/json.h"

// Fills the format's search settings and the start and padding tokens from generation_config.json
// and config.json (`config`). The vocabularies' sizes must be known.
clf_status clf_huggingface_generation(clf_format *format, const clf_json *config);

// The tensors that make up a parameter of a layer; returns their number, 0 for a parameter that
// stands outside the layers.
int clf_huggingface_names(const clf_param *param, char names[CLF_MAX_PIECES][CLF_NAME_SIZE]);
// What config.json calls an activation, NULL if it has no name.
const char *clf_huggingface_activation(clf_activation activation);

// The numbers of a search that the file names: beams, length penalty, early stopping, lengths. The
// others stay as they are.
clf_status clf_huggingface_search(const clf_json *json, clf_generation *generation);

#define CLF_CONFIG_LIMIT ((size_t)4 << 20) // bytes that a configuration file may have

#endif
