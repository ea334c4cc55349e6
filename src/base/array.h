// SPDX-License-Identifier: MIT
// A growable array of any type: struct { T *data; size_t count, capacity; }.
#ifndef CLF_BASE_ARRAY_H
#define CLF_BASE_ARRAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLF_ARRAY(type)                                                                            \
    struct {                                                                                       \
        type *data;                                                                                \
        size_t count, capacity;                                                                    \
    }

typedef CLF_ARRAY(int32_t) clf_ids; // token ids
typedef CLF_ARRAY(char) clf_string; // bytes; not NUL-terminated unless somebody pushed one

// Makes room for `more` further elements; false if memory is short (the array is unchanged).
#define clf_array_reserve(array, more)                                                             \
    clf_array_grow((void **)&(array)->data, &(array)->capacity, (array)->count, (more),            \
                   sizeof *(array)->data)

// Appends one element; false if memory is short.
#define clf_array_push(array, value)                                                               \
    (clf_array_reserve(array, 1) ? ((array)->data[(array)->count++] = (value), true) : false)

// Frees the elements' memory and leaves an empty array.
#define clf_array_free(array)                                                                      \
    (free((array)->data), (array)->data = NULL, (array)->count = (array)->capacity = 0)

bool clf_array_grow(void **data, size_t *capacity, size_t count, size_t more, size_t size);

#endif
