// SPDX-License-Identifier: MIT
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fail.h"

static clf_status fail_io(const char *verb, const char *path) {
    return clf_fail(CLF_ERROR_IO, "%s: cannot %s: %s", path, verb, strerror(errno));
}

// Opens a regular file for reading; the caller closes `*fd`.
static clf_status open_regular(const char *path, int *fd, size_t *size) {
    struct stat info;
    int opened = open(path, O_RDONLY | O_CLOEXEC);
    if (opened < 0) return fail_io("open", path);
    if (fstat(opened, &info) != 0) {
        clf_status status = fail_io("read", path);
        close(opened);
        return status;
    }
    if (!S_ISREG(info.st_mode)) {
        close(opened);
        return clf_fail(CLF_ERROR_IO, "%s: not a regular file", path);
    }
    *fd = opened;
    *size = (size_t)info.st_size;
    return CLF_OK;
}

clf_status clf_file_map_open(const char *path, clf_file_map *map) {
    int fd;
    size_t size;
    CLF_TRY(open_regular(path, &fd, &size));
    void *data = NULL;
    if (size > 0) data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    clf_status status = data == MAP_FAILED ? fail_io("map", path) : CLF_OK;
    close(fd);
    CLF_TRY(status);
    char *name = strdup(path);
    if (!name) {
        if (data) munmap(data, size);
        return clf_fail_memory();
    }
    *map = (clf_file_map){.data = data, .size = size, .path = name};
    return CLF_OK;
}

void clf_file_map_close(clf_file_map *map) {
    if (map->data) munmap((void *)(uintptr_t)map->data, map->size);
    free(map->path);
    *map = (clf_file_map){0};
}

void clf_file_map_forget(const void *data, size_t size) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = (uintptr_t)data & ~(page - 1);
    uintptr_t last = ((uintptr_t)data + size) & ~(page - 1);
    if (last > first) madvise((void *)first, last - first, MADV_DONTNEED);
}

bool clf_file_exists(const char *path) {
    return access(path, F_OK) == 0;
}

bool clf_file_is_directory(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

clf_status clf_file_read(const char *path, size_t limit, char **text, size_t *size) {
    int fd;
    size_t expected, done = 0;
    CLF_TRY(open_regular(path, &fd, &expected));
    if (expected > limit) {
        close(fd);
        return clf_fail(CLF_ERROR_FORMAT, "%s: %zu bytes is more than the %zu such a file may have",
                        path, expected, limit);
    }
    char *buffer = malloc(expected + 1);
    while (buffer && done < expected) {
        ssize_t got = read(fd, buffer + done, expected - done);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        done += (size_t)got;
    }
    clf_status status = CLF_OK;
    if (!buffer) {
        status = clf_fail_memory();
    } else if (done < expected) {
        status = fail_io("read", path);
    }
    close(fd);
    if (status != CLF_OK) {
        free(buffer);
        return status;
    }
    buffer[done] = '\0';
    *text = buffer;
    *size = done;
    return CLF_OK;
}

enum { BUFFER_SIZE = 1 << 16, MAX_TRIES = 1000 };

static bool write_all(int fd, const unsigned char *data, size_t size) {
    while (size > 0) {
        ssize_t done = write(fd, data, size);
        if (done < 0 && errno == EINTR) continue;
        if (done == 0) errno = ENOSPC;
        if (done <= 0) return false;
        data += done;
        size -= (size_t)done;
    }
    return true;
}

// A file that was not there before; mkstemp would make one that only its owner may read.
static int open_new(const char *path, char *temporary, size_t length) {
    static atomic_uint number;
    int fd = -1;
    for (int i = 0; i < MAX_TRIES; i++) {
        snprintf(temporary, length, "%s.%ld-%u" CLF_FILE_TEMPORARY, path, (long)getpid(),
                 atomic_fetch_add(&number, 1));
        fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != EEXIST) break;
    }
    return fd;
}

clf_status clf_file_create(const char *path, clf_file_writer *writer) {
    size_t length = strlen(path) + 64;
    clf_file_writer w = {
        .path = strdup(path), .temporary = malloc(length), .buffer = malloc(BUFFER_SIZE), .fd = -1};
    clf_status status = CLF_OK;
    if (!w.path || !w.temporary || !w.buffer) {
        status = clf_fail_memory();
    } else if ((w.fd = open_new(path, w.temporary, length)) < 0) {
        status = fail_io("write", path);
    }
    if (status == CLF_OK) {
        *writer = w;
    } else {
        clf_file_cancel(&w);
    }
    return status;
}

static clf_status flush(clf_file_writer *w) {
    size_t used = w->used;
    w->used = 0;
    return write_all(w->fd, w->buffer, used) ? CLF_OK : fail_io("write", w->path);
}

clf_status clf_file_put(clf_file_writer *w, const void *data, size_t size) {
    w->size += size;
    if (size > BUFFER_SIZE - w->used) CLF_TRY(flush(w));
    if (size > BUFFER_SIZE) {
        return write_all(w->fd, data, size) ? CLF_OK : fail_io("write", w->path);
    }
    if (size > 0) memcpy(w->buffer + w->used, data, size);
    w->used += size;
    return CLF_OK;
}

// A rename is on the disk when its directory is. Some file systems cannot sync directories.
static bool sync_directory(const char *path) {
    const char *slash = strrchr(path, '/');
    char *directory = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : NULL;
    int fd = slash && !directory ? -1 : open(slash ? directory : ".", O_RDONLY | O_CLOEXEC);
    bool good = fd >= 0 && (fsync(fd) == 0 || errno == EINVAL || errno == EROFS);
    if (fd >= 0) close(fd);
    free(directory);
    return good;
}

clf_status clf_file_commit(clf_file_writer *w) {
    clf_status status = flush(w);
    if (status == CLF_OK && fsync(w->fd) != 0) status = fail_io("write", w->path);
    if (close(w->fd) != 0 && status == CLF_OK) status = fail_io("write", w->path);
    w->fd = -1;
    if (status == CLF_OK && rename(w->temporary, w->path) != 0) status = fail_io("write", w->path);
    if (status != CLF_OK) {
        unlink(w->temporary);
    } else if (!sync_directory(w->path)) {
        status = fail_io("write", w->path);
    }
    clf_file_cancel(w);
    return status;
}

void clf_file_cancel(clf_file_writer *w) {
    if (w->path && w->fd >= 0) {
        close(w->fd);
        unlink(w->temporary);
    }
    free(w->path);
    free(w->temporary);
    free(w->buffer);
    *w = (clf_file_writer){0};
}

clf_status clf_file_write(const char *path, const void *data, size_t size) {
    clf_file_writer writer;
    CLF_TRY(clf_file_create(path, &writer));
    clf_status status = clf_file_put(&writer, data, size);
    if (status == CLF_OK) return clf_file_commit(&writer);
    clf_file_cancel(&writer);
    return status;
}

clf_status clf_file_write_in(const char *directory, const char *name, const void *data,
                             size_t size) {
    char *path = clf_path_join(directory, name);
    clf_status status = path ? clf_file_write(path, data, size) : clf_fail_memory();
    free(path);
    return status;
}

void clf_file_remove_in(const char *directory, const char *name) {
    char *path = clf_path_join(directory, name);
    if (path) unlink(path);
    free(path);
}

static clf_status make_directory(const char *path, mode_t mode) {
    char *copy = strdup(path);
    if (!copy) return clf_fail_memory();
    clf_status status = CLF_OK;
    for (char *slash = copy + 1; *copy && (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        if (mkdir(copy, 0777) != 0 && errno != EEXIST) break;
        *slash = '/';
    }
    if (mkdir(path, mode) != 0 && (errno != EEXIST || !clf_file_is_directory(path))) {
        status = fail_io("create directory", path);
    }
    free(copy);
    return status;
}

clf_status clf_file_make_directory(const char *path) {
    return make_directory(path, 0700);
}

clf_status clf_file_make_public_directory(const char *path) {
    return make_directory(path, 0777);
}

char *clf_path_join(const char *directory, const char *name) {
    size_t length = strlen(directory) + strlen(name) + 2;
    char *path = malloc(length);
    if (path) snprintf(path, length, "%s/%s", directory, name);
    return path;
}
