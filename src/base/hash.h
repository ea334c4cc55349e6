// SPDX-License-Identifier: MIT
// FNV-1a, 128 bits: names of cache entries and keys of tables. Not for secrets.
// Source: Fowler, Noll, Vo; IETF draft-eastlake-fnv.
#ifndef CLF_BASE_HASH_H
#define CLF_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

typedef struct clf_hash {
    uint64_t high, low;
} clf_hash;

#define CLF_HASH_TEXT 33 // characters of a hash in hexadecimal, the NUL included

clf_hash clf_hash_start(void);
clf_hash clf_hash_bytes(clf_hash hash, const void *data, size_t size);
// Adds the string and its NUL, so that ("ab", "c") differs from ("a", "bc").
clf_hash clf_hash_string(clf_hash hash, const char *text);
void clf_hash_text(clf_hash hash, char text[CLF_HASH_TEXT]);

#endif
