// SPDX-License-Identifier: MIT
// A file written piece by piece through a buffer. It appears under its name only when it is whole
// and on the disk; until then it is a temporary file beside it. Messages name the file.
#ifndef CLF_BASE_WRITER_H
#define CLF_BASE_WRITER_H

#include <stddef.h>
#include <stdint.h>

#include <clformer/status.h>

typedef struct clf_writer clf_writer;

clf_status clf_writer_create(const char *path, clf_writer **writer);
clf_status clf_writer_put(clf_writer *writer, const void *data, size_t size);
uint64_t clf_writer_size(const clf_writer *writer); // bytes that were put
// Syncs and renames. Frees the writer in any case.
clf_status clf_writer_finish(clf_writer *writer);
// Gives up: removes the temporary file and frees the writer. NULL is allowed.
void clf_writer_cancel(clf_writer *writer);

#endif
