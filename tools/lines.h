// SPDX-License-Identifier: MIT
// Reading lines in windows of bounded size, from files or standard input.
#ifndef CLF_TOOLS_LINES_H
#define CLF_TOOLS_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct line_reader line_reader;

// `paths` (count of them; none, or "-", is standard input) are read one after another. NULL with a
// message printed if memory is short.
line_reader *line_reader_open(char **paths, int count);
void line_reader_close(line_reader *reader); // NULL is allowed

// Reads the next window: at most `limit` lines and a few megabytes; fewer if the input pauses, so
// that somebody who types gets answers. `*lines` is valid until the next call. Returns the number
// of lines, 0 at the end, -1 after printing a message. NUL bytes become blanks; a carriage return
// at a line's end is dropped.
long line_reader_next(line_reader *reader, size_t limit, const char *const **lines);

// Bytes read so far, and in all (0 if unknown).
void line_reader_progress(const line_reader *reader, uint64_t *done, uint64_t *total);

#endif
