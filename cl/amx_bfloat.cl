// SPDX-License-Identifier: MIT
// Products of bfloat16 on the tile registers of AMX: for kernels of one work-item a group, VW 16.
//
//   AMX    see cl/amx.cl
//   PARTS  1: factors are rounded to bfloat16
//          3: a factor is the sum of three bfloat16, and of the nine products the three smallest
//             are left out, together at most 2^-24 of the whole: as right as a product of floats.
//             An infinite factor gives NaN.
//
// What is multiplied is copied to blocks of EDGE lines (rows of the left factor, columns of the right
// one), STEP terms at a time: STEP_PAIRS pairs of bfloat16, tiles of 16 x 16 pairs one behind the other,
//   at 512 * part + 256 * (line / 16)
// the left factor's with a line of terms in a row, the right factor's with two terms of each line.

#ifndef PARTS
#define PARTS 3
#endif

#include "amx.cl"
#define BFLOAT AMX
#include "bfloat.cl"

#define EDGE 32
#define STEP 32
#define STEP_PAIRS (512 * PARTS)
#define STEPS(count) (((count) + STEP - 1) / STEP)

#if AMX == 1
#define LEFT(at) "tileloadd " #at "(%0,%2,1), %%tmm4\n\ttileloadd 1024+" #at "(%0,%2,1), %%tmm5\n\t"
#define RIGHT(at) "tileloadd " #at "(%1,%2,1), %%tmm6\n\ttileloadd 1024+" #at "(%1,%2,1), %%tmm7\n\t"
#define ROUND PRODUCTS("tdpbf16ps")

// sum (EDGE x EDGE), or zero unless `add`, + the products over so many steps of terms.
inline void multiply_blocks(__local float *sum, int stride, bool add, __local const int *left,
                            __local const int *right, int steps) {
    __local float *const bottom = sum + 16 * stride;
    if (add)
        ALL_SUMS(LOAD_SUM, sum, bottom, 4 * stride);
    else
        CLEAR_SUMS;
    for (int s = 0; s < steps; s++, left += STEP_PAIRS, right += STEP_PAIRS)
#if PARTS == 1
        __asm__ volatile(LEFT(0) RIGHT(0) ROUND : : "r"(left), "r"(right), "r"(64L) : "memory");
#else
        __asm__ volatile(LEFT(0) RIGHT(4096) ROUND RIGHT(2048) ROUND RIGHT(0) ROUND LEFT(4096)
                             ROUND LEFT(2048) ROUND RIGHT(2048) ROUND
                         :
                         : "r"(left), "r"(right), "r"(64L)
                         : "memory");
#endif
    ALL_SUMS(STORE_SUM, sum, bottom, 4 * stride);
}

// A tile's lines become its columns: rows 2^i apart swap their blocks of 2^i.
#define SWAP(a, b, first, second)                                                                  \
    {                                                                                              \
        const int16 kept = a;                                                                      \
        a = __builtin_shufflevector(kept, b, first);                                               \
        b = __builtin_shufflevector(kept, b, second);                                              \
    }
#define EVEN_1 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30
#define ODD_1  1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31
#define EVEN_2 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29
#define ODD_2  2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31
#define EVEN_4 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27
#define ODD_4  4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31
#define EVEN_8 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23
#define ODD_8  8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31
#define SWAP_ROWS(distance)                                                                        \
    UNROLL                                                                                         \
    for (int i = 0; i < 16; i++)                                                                   \
        if ((i & distance) == 0) SWAP(line[i], line[i + distance], EVEN_##distance, ODD_##distance)

inline void transpose_tile(__local int *tile) {
    int16 line[16];
    UNROLL
    for (int i = 0; i < 16; i++) line[i] = *(__local const int16 *)(tile + 16 * i);
    SWAP_ROWS(1)
    SWAP_ROWS(2)
    SWAP_ROWS(4)
    SWAP_ROWS(8)
    UNROLL
    for (int i = 0; i < 16; i++) *(__local int16 *)(tile + 16 * i) = line[i];
}

#else

inline float number_of(int pair, int which) {
    return as_float(which ? (uint)pair & 0xFFFF0000u : (uint)pair << 16);
}

inline void multiply_blocks(__local float *sum, int stride, bool add, __local const int *left,
                            __local const int *right, int steps) {
    for (int r = 0; r < EDGE; r++) {
        for (int c = 0; c < EDGE; c++) {
            float total = add ? sum[r * stride + c] : 0.0f;
            for (int i = 0; i < steps * 16; i++) {
                __local const int *l = left + i / 16 * STEP_PAIRS + r * 16 + i % 16;
                __local const int *t = right + i / 16 * STEP_PAIRS + c / 16 * 256 + i % 16 * 16 + c % 16;
                for (int p = 0; p < PARTS; p++) {
                    for (int q = 0; p + q < PARTS; q++) {
                        total += number_of(l[512 * p], 0) * number_of(t[512 * q], 0);
                        total += number_of(l[512 * p], 1) * number_of(t[512 * q], 1);
                    }
                }
            }
            sum[r * stride + c] = total;
        }
    }
}

inline void transpose_tile(__local int *tile) {
    for (int i = 0; i < 16; i++) {
        for (int j = 0; j < i; j++) {
            const int kept = tile[16 * i + j];
            tile[16 * i + j] = tile[16 * j + i];
            tile[16 * j + i] = kept;
        }
    }
}
#endif

// The bits of the next part of x, in the high halves; x becomes what is left of it.
inline uint16 take_part(float16 *x, int part) {
#if PARTS == 1
    return bfloat_bits(*x) << 16;
#else
    const uint16 bits = as_uint16(*x);
    // The last part is what it is, and keeps what makes a NaN one.
    const uint16 high = (part < PARTS - 1 ? bits + 0x8000u : bits) & 0xFFFF0000u;
    *x -= as_float16(high);
    return high;
#endif
}

// The high halves of 32 numbers' bits, one behind the other.
inline int16 join_halves(uint16 first, uint16 second) {
#if AMX == 1
    typedef ushort halves __attribute__((__vector_size__(64)));
    return __builtin_astype(
        __builtin_shufflevector(__builtin_astype(first, halves), __builtin_astype(second, halves), 1,
                                3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31, 33, 35, 37,
                                39, 41, 43, 45, 47, 49, 51, 53, 55, 57, 59, 61, 63),
        int16);
#else
    const ushort16 low = convert_ushort16(first >> 16), high = convert_ushort16(second >> 16);
    return (int16)(as_int8(low), as_int8(high));
#endif
}

// The left factor's block from rows of x, of which `rows` and `count` numbers exist; the next block's
// are fetched.
#define PACK_LEFT(name, X)                                                                         \
    inline void name(__local int *block, __global const X *x, ulong stride, int rows, int count) { \
        for (int r = 0; r < EDGE; r++, x += stride) {                                              \
            __local int *to = block + 16 * r;                                                      \
            for (int k = 0; k < count; k += STEP, to += STEP_PAIRS) {                              \
                const int left = r < rows ? count - k : 0;                                         \
                FETCH(x + k + EDGE * stride);                                                      \
                FETCH(x + k + EDGE * stride + STEP / 2);                                           \
                float16 low = LOAD_PART(X, x + k, left);                                           \
                float16 high = LOAD_PART(X, x + k + 16, left - 16);                                \
                UNROLL                                                                             \
                for (int part = 0; part < PARTS; part++) {                                         \
                    const uint16 first = take_part(&low, part);                                    \
                    *(__local int16 *)(to + 512 * part) = join_halves(first, take_part(&high, part)); \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }

#define AHEAD 32 // rows that may lie far apart are fetched

// The right factor's block from `count` rows of EDGE numbers, of which `columns` exist: 16 in a
// row, then from `panel` on.
#define PACK_RIGHT(name, W)                                                                        \
    inline void name(__local int *block, __global const W *w, ulong panel, ulong stride,           \
                     int count, int columns) {                                                     \
        for (int c = 0; c < EDGE; c += 16, w += panel, block += 256) {                             \
            __global const W *row = w;                                                             \
            for (int k = 0; k < STEPS(count) * STEP; k += 2, row += 2 * stride) {                  \
                __local int *to = block + k / STEP * STEP_PAIRS + k % STEP * 8;                    \
                FETCH(row + AHEAD * stride);                                                       \
                FETCH(row + (AHEAD + 1) * stride);                                                 \
                float16 first = LOAD_PART(W, row, k < count ? columns - c : 0);                    \
                float16 second = LOAD_PART(W, row + stride, k + 1 < count ? columns - c : 0);      \
                UNROLL                                                                             \
                for (int part = 0; part < PARTS; part++) {                                         \
                    const uint16 low = take_part(&first, part) >> 16;                              \
                    *(__local uint16 *)(to + 512 * part) = low | take_part(&second, part);         \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }
