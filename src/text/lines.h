// SPDX-License-Identifier: MIT
// A text file line by line, through a buffer that is as large as its longest line.
#ifndef CLF_TEXT_LINES_H
#define CLF_TEXT_LINES_H

#include <stddef.h>
#include <stdint.h>

#include <clformer/status.h>

typedef struct clf_lines clf_lines;

clf_status clf_lines_open(const char *path, clf_lines **lines);
void clf_lines_close(clf_lines *lines); // NULL is allowed

// The next line without its end ("\n" or "\r\n"; the last line may lack one) and without a byte
// order mark, valid until the next call; NULL at the end of the file. Invalid UTF-8, NUL and lines
// of more than 16 MiB are CLF_ERROR_FORMAT with the line's number.
clf_status clf_lines_next(clf_lines *lines, const char **text, size_t *size);

const char *clf_lines_path(const clf_lines *lines);
uint64_t clf_lines_number(const clf_lines *lines); // lines so far
// Bytes read so far, and in all.
uint64_t clf_lines_done(const clf_lines *lines);
uint64_t clf_lines_total(const clf_lines *lines);

#endif
