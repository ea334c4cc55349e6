// SPDX-License-Identifier: MIT
// The tensors of a model's files by name, wherever they lie in which mapped file.
#ifndef CLF_FORMATS_STORE_H
#define CLF_FORMATS_STORE_H

#include <stdint.h>

#include "base/array.h"
#include "base/file.h"
#include "ops/ops.h"

#define CLF_STORE_RANK 4

typedef struct clf_stored {
    char *name;                // owned by the store
    const char *path;          // of the file
    const unsigned char *data; // not aligned for its type
    int rank;
    int64_t shape[CLF_STORE_RANK];
    char type[12]; // as the file calls it
    bool usable;   // pieces may have this type
    clf_dtype dtype;
    bool used; // see clf_store_piece
} clf_stored;

// A scale of quantised values, copied from its file for alignment. Pieces point into it.
typedef struct clf_scales {
    const unsigned char *data; // in the file
    float *values;
    int count;
} clf_scales;

typedef struct clf_store {
    CLF_ARRAY(clf_file_map) maps;
    CLF_ARRAY(clf_stored) tensors;
    CLF_ARRAY(clf_scales) scales;
} clf_store;

void clf_store_close(clf_store *store); // a zeroed one is allowed

// Maps a file; `*map` lives as long as the store and may move: copy it.
clf_status clf_store_map(clf_store *store, const char *path, clf_file_map *map);
// Adds a copy of a tensor under `name`; the store keeps a copy of the name.
clf_status clf_store_add(clf_store *store, const char *name, clf_stored tensor);
// Call once after the last addition, before the first look-up. Refuses names that occur twice.
clf_status clf_store_sort(clf_store *store);

// NULL if there is none.
clf_stored *clf_store_find(const clf_store *store, const char *name);

// Fills a piece (rows, cols) with a tensor of that shape and a type that clformer reads. Leading
// dimensions of 1 do not matter. `exact` false: the tensor may have more rows, the first count.
// Marks the tensor as used.
clf_status clf_store_piece(clf_stored *tensor, int rows, int cols, bool exact, clf_piece *piece);
// Attaches the scale of quantised values: one float, or one for each row.
clf_status clf_store_scale(clf_store *store, clf_stored *scale, clf_piece *piece);

#endif
