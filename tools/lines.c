// SPDX-License-Identifier: MIT
#include "lines.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"

enum {
    WINDOW_BYTES = 4 << 20, // text of a window; one longer line still fits
    LINE_BYTES = 256 << 20, // a longer line is refused
    READ_BYTES = 64 << 10,
    PAUSE_MS = 30 // the input counts as paused after this
};

struct line_reader {
    char **paths;
    int count, next; // files, and the one to open next
    int fd;          // -1: none open
    const char *path;
    bool ended;
    char *text; // unread bytes: the window handed out, then what came after it
    size_t size, capacity;
    size_t taken; // bytes at the front that the last window used
    const char **lines;
    size_t line_capacity;
    uint64_t done, total;
};

line_reader *line_reader_open(char **paths, int count) {
    static char standard_input[] = "-", *alone[] = {standard_input};
    line_reader *reader = calloc(1, sizeof *reader);
    if (!reader) {
        complain("out of memory");
        return NULL;
    }
    reader->paths = count > 0 ? paths : alone;
    reader->count = count > 0 ? count : 1;
    reader->fd = -1;
    bool known = true;
    for (int i = 0; i < reader->count; i++) {
        struct stat info;
        bool standard = strcmp(reader->paths[i], "-") == 0;
        int got = standard ? fstat(0, &info) : stat(reader->paths[i], &info);
        if (got == 0 && S_ISREG(info.st_mode)) {
            reader->total += (uint64_t)info.st_size;
        } else {
            known = false;
        }
    }
    if (!known) reader->total = 0;
    return reader;
}

void line_reader_close(line_reader *reader) {
    if (!reader) return;
    if (reader->fd > 0) close(reader->fd);
    free(reader->text);
    free(reader->lines);
    free(reader);
}

// Opens the next file; false at the end or after a message (then reader->fd stays -1).
static bool open_next(line_reader *reader, bool *failed) {
    if (reader->next == reader->count) return false;
    reader->path = reader->paths[reader->next++];
    if (strcmp(reader->path, "-") == 0) {
        reader->fd = 0;
        reader->path = "standard input";
        return true;
    }
    reader->fd = open(reader->path, O_RDONLY | O_CLOEXEC);
    if (reader->fd < 0) {
        complain("%s: cannot open: %s", reader->path, strerror(errno));
        *failed = true;
        return false;
    }
    return true;
}

static bool reserve(line_reader *reader) {
    if (reader->size + READ_BYTES <= reader->capacity) return true;
    size_t capacity = reader->capacity * 2 + READ_BYTES;
    char *moved = realloc(reader->text, capacity);
    if (!moved) {
        complain("out of memory");
        return false;
    }
    reader->text = moved;
    reader->capacity = capacity;
    return true;
}

// A file that ends without a newline gets one, so that files do not run together.
static void end_file(line_reader *reader) {
    if (reader->size > reader->taken && reader->text[reader->size - 1] != '\n') {
        reader->text[reader->size++] = '\n';
    }
    if (reader->fd > 0) close(reader->fd);
    reader->fd = -1;
}

// Appends what can be read now to the buffer. False after a message.
static bool fill(line_reader *reader) {
    bool failed = false;
    if (reader->fd < 0 && !open_next(reader, &failed)) {
        reader->ended = true;
        return !failed;
    }
    if (!reserve(reader)) return false;
    ssize_t got = read(reader->fd, reader->text + reader->size, READ_BYTES - 1);
    if (got < 0 && errno == EINTR) return true;
    if (got < 0) {
        complain("%s: cannot read: %s", reader->path, strerror(errno));
        return false;
    }
    if (got == 0) end_file(reader);
    for (char *nul = reader->text + reader->size, *end = nul + got; nul < end; nul++) {
        if (*nul == '\0') *nul = ' ';
    }
    reader->size += (size_t)got;
    reader->done += (uint64_t)got;
    return true;
}

static bool input_waits(const line_reader *reader) {
    if (reader->fd < 0) return true; // the next file
    struct pollfd poll_one = {.fd = reader->fd, .events = POLLIN};
    return poll(&poll_one, 1, PAUSE_MS) != 0;
}

static bool push_line(line_reader *reader, size_t index, char *begin, char *end) {
    if (index == reader->line_capacity) {
        size_t capacity = index * 2 + 64;
        const char **moved = realloc(reader->lines, capacity * sizeof *moved);
        if (!moved) {
            complain("out of memory");
            return false;
        }
        reader->lines = moved;
        reader->line_capacity = capacity;
    }
    if (end > begin && end[-1] == '\r') end--;
    *end = '\0';
    reader->lines[index] = begin;
    return true;
}

// The whole lines at the front of the buffer. -1 after a message.
static long take_lines(line_reader *reader, size_t limit) {
    size_t count = 0, at = 0;
    while (count < limit && at < WINDOW_BYTES) {
        char *end = memchr(reader->text + at, '\n', reader->size - at);
        if (!end) break;
        if (!push_line(reader, count++, reader->text + at, end)) return -1;
        at = (size_t)(end - reader->text) + 1;
    }
    reader->taken = at;
    return (long)count;
}

static size_t count_lines(const char *text, size_t size) {
    size_t count = 0;
    for (const char *c = text; (c = memchr(c, '\n', (size_t)(text + size - c))) != NULL; c++) {
        count++;
    }
    return count;
}

long line_reader_next(line_reader *reader, size_t limit, const char *const **lines) {
    reader->size -= reader->taken;
    if (reader->taken > 0) memmove(reader->text, reader->text + reader->taken, reader->size);
    reader->taken = 0;
    size_t have = reader->size > 0 ? count_lines(reader->text, reader->size) : 0;
    while (!reader->ended && have < limit && (have == 0 || reader->size < WINDOW_BYTES)) {
        if (interrupted()) return 0;
        if (have > 0 && !input_waits(reader)) break;
        size_t before = reader->size;
        if (!fill(reader)) return -1;
        if (reader->size > before)
            have += count_lines(reader->text + before, reader->size - before);
        if (have == 0 && reader->size > LINE_BYTES) {
            complain("%s: a line of more than %d MiB; is this text?", reader->path,
                     LINE_BYTES >> 20);
            return -1;
        }
    }
    long count = reader->size > 0 ? take_lines(reader, limit) : 0;
    *lines = reader->lines;
    return count;
}

void line_reader_progress(const line_reader *reader, uint64_t *done, uint64_t *total) {
    *done = reader->done - (reader->size - reader->taken);
    *total = reader->total;
}

// ---- all lines at once --------------------------------------------------------------------------

bool text_lines_add(text_lines *text, const char *line) {
    if (text->count == text->capacity) {
        size_t capacity = text->capacity * 2 + 1024;
        char **moved = realloc(text->lines, capacity * sizeof *moved);
        if (!moved) return false;
        text->lines = moved;
        text->capacity = capacity;
    }
    char *copy = strdup(line);
    if (copy) text->lines[text->count++] = copy;
    return copy != NULL;
}

bool text_lines_read(text_lines *text, const char *path) {
    enum { WINDOW_LINES = 4096 };
    char *paths[] = {(char *)path};
    const char *const *lines;
    line_reader *reader = line_reader_open(paths, 1);
    long count = reader ? 1 : -1;
    while (count > 0 && (count = line_reader_next(reader, WINDOW_LINES, &lines)) > 0) {
        for (long i = 0, window = count; i < window && count > 0; i++) {
            if (text_lines_add(text, lines[i])) continue;
            complain("out of memory");
            count = -1;
        }
    }
    line_reader_close(reader);
    return count == 0;
}

void text_lines_free(text_lines *text) {
    for (size_t i = 0; i < text->count; i++) free(text->lines[i]);
    free(text->lines);
    *text = (text_lines){0};
}
