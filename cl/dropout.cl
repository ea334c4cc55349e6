// SPDX-License-Identifier: MIT
// Included where elements may be dropped out: the generator, and a walk that needs it least often.
//
//   DROPOUT  1: the kernel is built with dropout

#ifndef DROPOUT
#define DROPOUT 0
#endif

// The arguments of a kernel (CLF_ARG_DROPOUT in ops/shape.h). An element is kept if its
// random number is at least `drop_below`, and multiplied by `drop_scale` then.
#define DROPOUT_ARGUMENTS                                                                          \
    const uint drop_below, const float drop_scale, const uint drop_site, const uint drop_step,     \
        const uint drop_seed0, const uint drop_seed1

#if DROPOUT
#if VW == 8
typedef ulong4 ulongh; // half as many, twice as wide
#define AS_ULONGH(v) as_ulong4(v)
#elif VW == 16
typedef ulong8 ulongh;
#define AS_ULONGH(v) as_ulong8(v)
#endif
// The halves of by * x.
inline void multiply_long(uintv x, uint by, uintv *high, uintv *low) {
#if LANES == 1 && VW >= 8
    // Even and odd lanes apart, as the vector units of CPUs multiply: a third faster.
    const ulongh all = AS_ULONGH(x), mask = 0xFFFFFFFFul;
    const ulongh even = (all & mask) * (ulong)by, odd = (all >> 32) * (ulong)by;
    *high = AS_UINTV(even >> 32 | (odd & ~mask));
    *low = AS_UINTV((even & mask) | odd << 32);
#else
    *high = mul_hi((uintv)by, x);
    *low = by * x;
#endif
}

// Philox4x32 with 7 rounds, the fewest that pass BigCrush (Salmon, Moraes, Dror, Shaw, SC 2011), a
// counter in each lane; x goes in as the counter and comes out as four random words.
inline void philox(uintv x[4], uint key0, uint key1) {
    UNROLL
    for (int round = 0; round < 7; round++) {
        uintv high0, low0, high1, low1;
        multiply_long(x[0], 0xD2511F53u, &high0, &low0);
        multiply_long(x[2], 0xCD9E8D57u, &high1, &low1);
        x[0] = high1 ^ x[1] ^ key0;
        x[1] = low1;
        x[2] = high0 ^ x[3] ^ key1;
        x[3] = low0;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
}

#if VW == 1
#define LANE_NUMBERS ((uint)0)
#elif VW == 2
#define LANE_NUMBERS ((uint2)(0, 1))
#elif VW == 4
#define LANE_NUMBERS ((uint4)(0, 1, 2, 3))
#elif VW == 8
#define LANE_NUMBERS ((uint8)(0, 1, 2, 3, 4, 5, 6, 7))
#else
#define LANE_NUMBERS ((uint16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))
#endif

// What to multiply with in row `row`: scales[w] is for columns 64 b + 16 w + j on, VW of them, j < 16
// a multiple of VW. So one call serves four vectors of a block of 64 columns, and column c draws
// word c / 16 % 4 of the counter (c / 64 * 16 + c % 16, row, site, step), whatever VW is.
inline void dropout_scales(floatv scales[4], int b, int j, uint row, uint below, float scale,
                           uint site, uint step, uint seed0, uint seed1) {
    uintv x[4] = {(uint)(16 * b + j) + LANE_NUMBERS, (uintv)row, (uintv)site, (uintv)step};
    philox(x, seed0, seed1);
    UNROLL
    for (int w = 0; w < 4; w++) scales[w] = x[w] >= below ? (floatv)scale : (floatv)0.0f;
}

// The same for one element.
inline float dropout_scale(int c, uint row, uint below, float scale, uint site, uint step,
                           uint seed0, uint seed1) {
    floatv scales[4];
    dropout_scales(scales, c / 64, c % 16 / VW * VW, row, below, scale, site, step, seed0, seed1);
    float all[4 * VW];
    UNROLL
    for (int w = 0; w < 4; w++) STOREV(scales[w], all + w * VW);
    return all[c / 16 % 4 * VW + c % VW];
}

#define DROPOUT_SCALES(scales, b, j, row)                                                          \
    dropout_scales(scales, b, j, row, drop_below, drop_scale, drop_site, drop_step, drop_seed0,    \
                   drop_seed1)
#define DROPOUT_SCALE(c, row)                                                                      \
    dropout_scale(c, row, drop_below, drop_scale, drop_site, drop_step, drop_seed0, drop_seed1)
// The DROPOUT_ARGUMENTS of one head of attention, a site of its own, to hand on to a function.
#define DROPOUT_OF_HEAD(head)                                                                      \
    drop_below, drop_scale, drop_site + ((uint)(head) << 16), drop_step, drop_seed0, drop_seed1
#endif

// A walk of a row for elementwise work with dropout, or without it if DROPOUT is 0:
//   EACH_DRAW(b, j, n) {
//       DRAW(scales, b, j, row);
//       UNROLL
//       for (int w = 0; w < 4; w++) {
//           const int c = 64 * b + 16 * w + j, left = n - c;
//           if (left > 0) ... DROP(value, scales, w) ...
//       }
//   }
// Another work-item than in EACH_VECTOR may have a column.
#define EACH_DRAW(b, j, n)                                                                         \
    for (int i_ = LANE, b = i_ / (16 / VW), j = i_ % (16 / VW) * VW; 64 * b + j < (n);             \
         i_ += LANES, b = i_ / (16 / VW), j = i_ % (16 / VW) * VW)
#if DROPOUT
#define DRAW(scales, b, j, row)                                                                    \
    floatv scales[4];                                                                              \
    DROPOUT_SCALES(scales, b, j, row)
#define DROP(value, scales, w) ((value)*scales[w])
#else
#define DRAW(scales, b, j, row)
#define DROP(value, scales, w) (value)
#endif
