// SPDX-License-Identifier: MIT
// Reading CTranslate2's model.bin: a head, variables with their names, aliases of variables.
#ifndef CLF_FORMATS_MODELBIN_H
#define CLF_FORMATS_MODELBIN_H

#include "formats/store.h"

typedef struct clf_modelbin {
    uint32_t version;  // of the file format: 1 to 6
    uint32_t revision; // of the specification
    char spec[64];     // its name, "" in files of version 1
} clf_modelbin;

// Maps the file and adds its variables to the store, which is not sorted yet. An alias is added as
// a tensor of its own with the same data, and so is the alias's scale.
clf_status clf_modelbin_open(const char *path, clf_store *store, clf_modelbin *head);

#endif
