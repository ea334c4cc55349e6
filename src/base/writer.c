// SPDX-License-Identifier: MIT
#include "base/writer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fail.h"

enum { BUFFER = 256 << 10 };

struct clf_writer {
    int fd; // -1: closed
    char *path, *temporary;
    size_t used; // bytes in the buffer
    uint64_t size;
    unsigned char buffer[BUFFER];
};

static clf_status fail_write(const clf_writer *writer) {
    return clf_fail(CLF_ERROR_IO, "%s: cannot write: %s", writer->path, strerror(errno));
}

clf_status clf_writer_create(const char *path, clf_writer **writer) {
    size_t length = strlen(path) + sizeof ".XXXXXX";
    clf_writer *w = calloc(1, sizeof *w);
    if (!w) return clf_fail_memory();
    w->fd = -1;
    w->path = strdup(path);
    w->temporary = calloc(1, length);
    clf_status status = CLF_OK;
    if (!w->path || !w->temporary) {
        status = clf_fail_memory();
    } else {
        snprintf(w->temporary, length, "%s.XXXXXX", path);
        w->fd = mkstemp(w->temporary);
        if (w->fd < 0) {
            status = fail_write(w);
            *w->temporary = '\0'; // there is nothing to remove
        }
    }
    if (status != CLF_OK) {
        clf_writer_cancel(w);
        return status;
    }
    *writer = w;
    return CLF_OK;
}

static clf_status write_all(clf_writer *writer, const unsigned char *data, size_t size) {
    while (size > 0) {
        ssize_t done = write(writer->fd, data, size);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return fail_write(writer);
        data += done;
        size -= (size_t)done;
    }
    return CLF_OK;
}

static clf_status flush(clf_writer *writer) {
    size_t used = writer->used;
    writer->used = 0;
    return write_all(writer, writer->buffer, used);
}

clf_status clf_writer_put(clf_writer *writer, const void *data, size_t size) {
    writer->size += size;
    if (size > sizeof writer->buffer - writer->used) CLF_TRY(flush(writer));
    if (size >= sizeof writer->buffer) return write_all(writer, data, size);
    if (size > 0) memcpy(writer->buffer + writer->used, data, size);
    writer->used += size;
    return CLF_OK;
}

uint64_t clf_writer_size(const clf_writer *writer) {
    return writer->size;
}

clf_status clf_writer_finish(clf_writer *writer) {
    clf_status status = flush(writer);
    if (status == CLF_OK && fsync(writer->fd) != 0) {
        status = fail_write(writer);
    }
    if (close(writer->fd) != 0 && status == CLF_OK) status = fail_write(writer);
    writer->fd = -1;
    if (status == CLF_OK && rename(writer->temporary, writer->path) != 0) {
        status = fail_write(writer);
    }
    if (status == CLF_OK) *writer->temporary = '\0';
    clf_writer_cancel(writer);
    return status;
}

void clf_writer_cancel(clf_writer *writer) {
    if (!writer) return;
    if (writer->fd >= 0) close(writer->fd);
    if (writer->temporary && *writer->temporary) unlink(writer->temporary);
    free(writer->path);
    free(writer->temporary);
    free(writer);
}
