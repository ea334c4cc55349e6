// SPDX-License-Identifier: MIT
#include "base/array.h"

#include <stdlib.h>

bool clf_array_grow(void **data, size_t *capacity, size_t count, size_t more, size_t size) {
    if (more > SIZE_MAX / size - count) return false;
    size_t need = count + more;
    if (need <= *capacity) return true;
    size_t grown = *capacity + *capacity / 2;
    if (grown < need || grown > SIZE_MAX / size) grown = need;
    if (grown < 8) grown = 8;
    void *moved = realloc(*data, grown * size);
    if (!moved) return false;
    *data = moved;
    *capacity = grown;
    return true;
}
