// SPDX-License-Identifier: MIT
// Reading safetensors: eight bytes with the size of a JSON header, the header, the data.
#ifndef CLF_FORMATS_SAFETENSORS_H
#define CLF_FORMATS_SAFETENSORS_H

#include "formats/json.h"
#include "formats/store.h"

// Maps model.safetensors of a directory, or the files that model.safetensors.index.json names, and
// adds their tensors to the store, which is not sorted yet.
clf_status clf_safetensors_open(const char *directory, clf_store *store);
// The same for one file. `notes`, unless it is NULL, receives the header's "__metadata__".
clf_status clf_safetensors_open_file(const char *path, clf_store *store, clf_json *notes);

#endif
