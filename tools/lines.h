// SPDX-License-Identifier: MIT
// Reading lines from files or standard input: in windows of bounded size, or all at once.
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

// Zeroed, it has no lines.
typedef struct text_lines {
    char **lines;
    size_t count, capacity;
} text_lines;

// Appends all lines of a file ("-" is standard input). False after a message.
bool text_lines_read(text_lines *text, const char *path);
// Appends a copy. False if memory is short.
bool text_lines_add(text_lines *text, const char *line);
void text_lines_free(text_lines *text);

#endif
