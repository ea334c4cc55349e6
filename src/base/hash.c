// SPDX-License-Identifier: MIT
#include "base/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

clf_hash clf_hash_start(void) {
    return (clf_hash){0x6c62272e07bb0142u, 0x62b821756295c58du};
}

clf_hash clf_hash_bytes(clf_hash hash, const void *data, size_t size) {
    const unsigned __int128 prime = ((unsigned __int128)1 << 88) + 0x13b;
    unsigned __int128 state = (unsigned __int128)hash.high << 64 | hash.low;
    for (const unsigned char *byte = data; size > 0; size--) state = (state ^ *byte++) * prime;
    return (clf_hash){(uint64_t)(state >> 64), (uint64_t)state};
}

clf_hash clf_hash_string(clf_hash hash, const char *text) {
    return clf_hash_bytes(hash, text, strlen(text) + 1);
}

void clf_hash_text(clf_hash hash, char text[CLF_HASH_TEXT]) {
    snprintf(text, CLF_HASH_TEXT, "%016" PRIx64 "%016" PRIx64, hash.high, hash.low);
}
