// SPDX-License-Identifier: MIT
// Half precision (IEEE 754 binary16) on the host.
#ifndef CLF_BASE_HALF_H
#define CLF_BASE_HALF_H

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline float clf_half_to_float(uint16_t half) {
    const int exponent = half >> 10 & 31, fraction = half & 1023;
    const float value = exponent == 31  ? (fraction ? NAN : INFINITY)
                        : exponent == 0 ? ldexpf((float)fraction, -24)
                                        : ldexpf((float)(fraction + 1024), exponent - 25);
    return half & 0x8000 ? -value : value;
}

// The nearest half, ties to even; infinity from 65520 on.
static inline uint16_t clf_half_from_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint32_t sign = bits >> 16 & 0x8000;
    uint32_t magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return (uint16_t)(sign | 0x7e00); // NaN
    if (magnitude >= 0x477ff000) return (uint16_t)(sign | 0x7c00);
    if (magnitude < 0x38800000) { // below 2^-14 halves are multiples of 2^-24
        return (uint16_t)(sign | (uint32_t)lrintf(fabsf(value) * 0x1p24f));
    }
    magnitude += 0xfff + (magnitude >> 13 & 1);
    return (uint16_t)(sign | (magnitude - 0x38000000) >> 13);
}

#endif
