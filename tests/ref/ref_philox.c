// SPDX-License-Identifier: MIT
#include "ref/ref_philox.h"

void ref_philox(uint32_t x[4], uint64_t key, int rounds) {
    uint32_t key0 = (uint32_t)key, key1 = (uint32_t)(key >> 32);
    for (int round = 0; round < rounds; round++) {
        const uint64_t a = 0xD2511F53u * (uint64_t)x[0], b = 0xCD9E8D57u * (uint64_t)x[2];
        x[0] = (uint32_t)(b >> 32) ^ x[1] ^ key0;
        x[1] = (uint32_t)b;
        x[2] = (uint32_t)(a >> 32) ^ x[3] ^ key1;
        x[3] = (uint32_t)a;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
}

double ref_dropout(uint32_t row, uint32_t column, const clf_dropout *d) {
    if (d->rate == 0) return 1;
    uint32_t x[4] = {column / 64 * 16 + column % 16, row, d->site, d->step};
    ref_philox(x, d->seed, 7);
    const double below = (double)d->rate * 4294967296.0; // of 2^32
    return x[column / 16 % 4] < (uint32_t)below ? 0 : 1 / (1 - (double)d->rate);
}
