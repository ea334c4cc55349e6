// SPDX-License-Identifier: MIT
// Files: mapped, read whole, written atomically. Messages name the file.
#ifndef CLF_BASE_FILE_H
#define CLF_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <clformer/status.h>

// A read-only mapping of a whole file.
typedef struct clf_file_map {
    const unsigned char *data; // NULL if the file is empty
    size_t size;
    char *path;
} clf_file_map;

clf_status clf_file_map_open(const char *path, clf_file_map *map);
void clf_file_map_close(clf_file_map *map); // a zeroed map is allowed
// Tells the system that [data, data + size), a part of a map, will not be read again soon, so that
// its pages leave the resident set.
void clf_file_map_forget(const void *data, size_t size);

bool clf_file_exists(const char *path);
bool clf_file_is_directory(const char *path);

// Reads a file of at most `limit` bytes; `*text` gets a NUL after `*size` bytes, freed by free().
clf_status clf_file_read(const char *path, size_t limit, char **text, size_t *size);

// Writes to a temporary file beside `path` and renames it: readers see the old or the new content.
clf_status clf_file_write(const char *path, const void *data, size_t size);

// The same for "directory/name".
clf_status clf_file_write_in(const char *directory, const char *name, const void *data,
                             size_t size);
// Removes "directory/name" if it is there and can be removed.
void clf_file_remove_in(const char *directory, const char *name);

// A file written piece by piece, otherwise as by clf_file_write. The temporary file is called
// `path`, a number and CLF_FILE_TEMPORARY; what a killed process left behind is known by that.
#define CLF_FILE_TEMPORARY ".tmp"
typedef struct clf_file_writer {
    char *path, *temporary;
    uint64_t size;         // bytes that were put
    unsigned char *buffer; // of small pieces
    size_t used;
    int fd;
} clf_file_writer;
clf_status clf_file_create(const char *path, clf_file_writer *writer);
clf_status clf_file_put(clf_file_writer *writer, const void *data, size_t size);
// Syncs file and directory and renames. Ends the writer in any case.
clf_status clf_file_commit(clf_file_writer *writer);
// Removes the temporary file and ends the writer. A zeroed or ended one is allowed.
void clf_file_cancel(clf_file_writer *writer);

// Creates a directory and its parents, the last one with mode 0700.
clf_status clf_file_make_directory(const char *path);
// The same with the mode that the umask says.
clf_status clf_file_make_public_directory(const char *path);

// "directory/name", freed by free(); NULL if memory is short.
char *clf_path_join(const char *directory, const char *name);

#endif
