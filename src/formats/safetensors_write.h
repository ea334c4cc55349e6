// SPDX-License-Identifier: MIT
// Writing safetensors piece by piece: first all tensors are declared, then their data follow in the
// same order. The file appears under its name only when it is whole and on the disk.
#ifndef CLF_FORMATS_SAFETENSORS_WRITE_H
#define CLF_FORMATS_SAFETENSORS_WRITE_H

#include <stdint.h>

#include "ops/ops.h"

typedef struct clf_safetensors_writer clf_safetensors_writer;

clf_status clf_safetensors_create(const char *path, clf_safetensors_writer **writer);
// Text in the header's "__metadata__".
clf_status clf_safetensors_note(clf_safetensors_writer *writer, const char *key, const char *text);
clf_status clf_safetensors_declare(clf_safetensors_writer *writer, const char *name,
                                   clf_dtype dtype, const int64_t *shape, int rank);
// `size` bytes; pieces of a tensor's data may come in several calls. The header is written at the
// first one.
clf_status clf_safetensors_put(clf_safetensors_writer *writer, const void *data, size_t size);
// Checks that all declared data came, syncs, renames. Frees the writer in any case.
clf_status clf_safetensors_finish(clf_safetensors_writer *writer);
// Gives up: removes the temporary file and frees the writer. NULL is allowed.
void clf_safetensors_cancel(clf_safetensors_writer *writer);

#endif
