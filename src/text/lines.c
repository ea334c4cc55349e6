// SPDX-License-Identifier: MIT
#include "text/lines.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/array.h"
#include "base/fail.h"
#include "text/split.h"

#define READ_BYTES ((size_t)256 << 10)
#define LINE_LIMIT ((size_t)16 << 20)

static const char byte_order_mark[] = "\xEF\xBB\xBF";

struct clf_lines {
    char *path;
    int fd;
    bool ended;
    clf_string text; // bytes read; the next line begins at `at`
    size_t at;
    uint64_t number, done, total;
};

static clf_status open_file(clf_lines *lines) {
    struct stat info;
    lines->fd = open(lines->path, O_RDONLY | O_CLOEXEC);
    if (lines->fd < 0 || fstat(lines->fd, &info) != 0) {
        return clf_fail(CLF_ERROR_IO, "%s: cannot open: %s", lines->path, strerror(errno));
    }
    // Other files cannot be known again, nor read a second time.
    if (!S_ISREG(info.st_mode)) {
        return clf_fail(CLF_ERROR_IO, "%s: not a regular file, and it is read more than once",
                        lines->path);
    }
    lines->total = (uint64_t)info.st_size;
    return CLF_OK;
}

clf_status clf_lines_open(const char *path, clf_lines **lines) {
    clf_lines *l = calloc(1, sizeof *l);
    if (!l) return clf_fail_memory();
    l->fd = -1;
    l->path = strdup(path);
    clf_status status = l->path ? open_file(l) : clf_fail_memory();
    if (status == CLF_OK) {
        *lines = l;
    } else {
        clf_lines_close(l);
    }
    return status;
}

void clf_lines_close(clf_lines *lines) {
    if (!lines) return;
    if (lines->fd >= 0) close(lines->fd);
    clf_array_free(&lines->text);
    free(lines->path);
    free(lines);
}

// Appends what the file has next, after dropping the lines that were handed out.
static clf_status fill(clf_lines *lines) {
    clf_string *text = &lines->text;
    text->count -= lines->at;
    if (lines->at > 0) memmove(text->data, text->data + lines->at, text->count);
    lines->at = 0;
    if (text->count > LINE_LIMIT) {
        return clf_fail(CLF_ERROR_FORMAT, "%s: line %llu has more than %zu MiB; is this text?",
                        lines->path, (unsigned long long)lines->number + 1, LINE_LIMIT >> 20);
    }
    if (!clf_array_reserve(text, READ_BYTES)) return clf_fail_memory();
    ssize_t got;
    do {
        got = read(lines->fd, text->data + text->count, READ_BYTES);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return clf_fail(CLF_ERROR_IO, "%s: cannot read: %s", lines->path, strerror(errno));
    }
    text->count += (size_t)got;
    lines->done += (uint64_t)got;
    lines->ended = got == 0;
    return CLF_OK;
}

static clf_status check(const clf_lines *lines, const char *text, size_t size) {
    const char *wrong = NULL;
    if (memchr(text, 0, size)) {
        wrong = "has a NUL character; is this text?";
    } else if (!clf_utf8_valid(text, size)) {
        wrong = "is not valid UTF-8";
    }
    if (!wrong) return CLF_OK;
    return clf_fail(CLF_ERROR_FORMAT, "%s: line %llu %s", lines->path,
                    (unsigned long long)lines->number, wrong);
}

clf_status clf_lines_next(clf_lines *lines, const char **text, size_t *size) {
    clf_string *read = &lines->text;
    char *end = NULL;
    for (size_t seen = lines->at; !end;) {
        if (read->count > seen) end = memchr(read->data + seen, '\n', read->count - seen);
        if (end || lines->ended) break;
        seen = read->count - lines->at;
        CLF_TRY(fill(lines));
    }
    size_t rest = read->count - lines->at;
    if (!end && rest == 0) {
        *text = NULL;
        *size = 0;
        return CLF_OK;
    }
    const char *begin = read->data + lines->at;
    size_t length = end ? (size_t)(end - begin) : rest;
    lines->at += length + (end ? 1 : 0);
    lines->number++;
    if (length > 0 && begin[length - 1] == '\r') length--;
    if (lines->number == 1 && length >= 3 && memcmp(begin, byte_order_mark, 3) == 0) {
        begin += 3;
        length -= 3;
    }
    CLF_TRY(check(lines, begin, length));
    *text = begin;
    *size = length;
    return CLF_OK;
}

const char *clf_lines_path(const clf_lines *lines) {
    return lines->path;
}

uint64_t clf_lines_number(const clf_lines *lines) {
    return lines->number;
}

uint64_t clf_lines_done(const clf_lines *lines) {
    return lines->done;
}

uint64_t clf_lines_total(const clf_lines *lines) {
    return lines->total;
}
