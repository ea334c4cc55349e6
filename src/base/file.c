// SPDX-License-Identifier: MIT
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
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

static bool write_all(int fd, const char *data, size_t size) {
    while (size > 0) {
        ssize_t done = write(fd, data, size);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return false;
        data += done;
        size -= (size_t)done;
    }
    return fsync(fd) == 0;
}

clf_status clf_file_write(const char *path, const void *data, size_t size) {
    size_t length = strlen(path) + sizeof ".XXXXXX";
    char *temporary = malloc(length);
    if (!temporary) return clf_fail_memory();
    snprintf(temporary, length, "%s.XXXXXX", path);
    clf_status status = CLF_OK;
    int fd = mkstemp(temporary);
    if (fd < 0) {
        status = fail_io("write", path);
    } else {
        bool good = write_all(fd, data, size);
        good = close(fd) == 0 && good;
        if (!good || rename(temporary, path) != 0) {
            status = fail_io("write", path);
            unlink(temporary);
        }
    }
    free(temporary);
    return status;
}

clf_status clf_file_make_directory(const char *path) {
    char *copy = strdup(path);
    if (!copy) return clf_fail_memory();
    clf_status status = CLF_OK;
    for (char *slash = copy + 1; *copy && (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        if (mkdir(copy, 0777) != 0 && errno != EEXIST) break;
        *slash = '/';
    }
    if (mkdir(path, 0700) != 0 && errno != EEXIST) status = fail_io("create directory", path);
    free(copy);
    return status;
}

char *clf_path_join(const char *directory, const char *name) {
    size_t length = strlen(directory) + strlen(name) + 2;
    char *path = malloc(length);
    if (path) snprintf(path, length, "%s/%s", directory, name);
    return path;
}
