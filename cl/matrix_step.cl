// SPDX-License-Identifier: MIT
// Included where products run on matrix units: a step of 16 k of a warp, 32 work-items, which sum a
// tile of 16 MT rows x 8 NT columns. Who includes it defines A and B, the types of the factors, and
// SPLIT_A, SPLIT_B: 1 where a factor is float.
//
// A factor that is float is split in two (cl/matrix_unit.cl), and of the four products the smallest
// is left out: each is right within 2^-21, sums are float ("3xTF32"; Ootomo, Yokota 2022). What is
// half or int8 is one number of the unit, so its products are exact. An infinity may become a NaN.
//
// Work-item (g, t) holds for its four k
//   of a  rows MT g + i + 8 MT h (i < MT, h < 2)      of b  columns NT g + j (j < NT)
// which are neighbours in memory, and receives columns NT (2 t + e) + j (e < 2) of those rows.
//
//   MT, NT  row and column tiles of a warp, NT 4 or 1      UNIT  see cl/matrix_unit.cl
//   WIDE 1: rows of what is no weight begin at multiples of four elements, and have multiples of four

#ifndef WIDE
#define WIDE 0
#endif
#ifndef NT
#define NT 4
#endif

#include "matrix_unit.cl"

#define LANE_ROW     ((int)get_local_id(0) % 32 / 4) // g
#define LANE_K       ((int)get_local_id(0) % 4)      // t
#define ITEMS        (32 * WM * WN)
#define GROUP        __attribute__((reqd_work_group_size(ITEMS, 1, 1)))
#define STEP         16
#define TILE_ROWS    (16 * MT)
#define TILE_COLUMNS (8 * NT)

// ---- four neighbours, of which the first `left` exist; the others are zero ------------------------

#define LOAD4(type, p) CAT(LOAD4_, type)(p)
#if WIDE
#define LOAD4_float(p) (*(__global const float4 *)(p))
#else
#define LOAD4_float(p) vload4(0, p)
#endif
#if WIDE && HALF
INLINE float4 LOAD4_half(__global const half *p) {
    const ushort4 bits = *(__global const ushort4 *)p;
    return vload_half4(0, (const half *)&bits);
}
#else
#define LOAD4_half(p) vload_half4(0, p)
#endif
#define LOAD4_char(p) convert_float4(*(__global const char4 *)(p))
#define GET_char(p, i) ((float)(p)[i])

#if WIDE
#define LOAD4_PART(type, p, left) ((left) > 0 ? LOAD4(type, p) : (float4)(0.0f))
#else
#define LOAD4_PART(type, p, left)                                                                  \
    ((left) >= 4 ? LOAD4(type, p)                                                                  \
                 : (float4)((left) > 0 ? GET(type, p, 0) : 0.0f, (left) > 1 ? GET(type, p, 1) : 0.0f, \
                            (left) > 2 ? GET(type, p, 2) : 0.0f, 0.0f))
#endif

// ---- a step of a warp -----------------------------------------------------------------------------

// Without `both` x is high already.
INLINE void split(float high[4], float low[4], const float x[4], const bool both) {
    UNROLL
    for (int i = 0; i < 4; i++) {
        high[i] = both ? MATRIX_HIGH(x[i]) : x[i];
        low[i] = x[i] - high[i];
    }
}

#if UNIT == 0
#define SCRATCH_PARAMETER , __local float *matrix_scratch
#define SCRATCH_ARGUMENT , matrix_scratch
#else
#define SCRATCH_PARAMETER
#define SCRATCH_ARGUMENT
#endif

// sum[i][j] += a . b; a[i][h][k], b[j][k]. The smaller products come first, and a step is summed on
// its own because a unit rounds its sums towards zero.
INLINE void multiply_step(float sum[MT][NT][4], float a[MT][2][4],
                          float b[NT][4] SCRATCH_PARAMETER) {
    float b_high[NT][4], b_low[NT][4];
    UNROLL
    for (int j = 0; j < NT; j++) split(b_high[j], b_low[j], b[j], SPLIT_B);
    UNROLL
    for (int i = 0; i < MT; i++) {
        float a_high[2][4], a_low[2][4], part[NT][4];
        UNROLL
        for (int h = 0; h < 2; h++) split(a_high[h], a_low[h], a[i][h], SPLIT_A);
        UNROLL
        for (int j = 0; j < NT; j++) {
            UNROLL
            for (int e = 0; e < 4; e++) part[j][e] = 0.0f;
        }
        // low . high, high . low, high . high
        UNROLL
        for (int p = 0; p < 3; p++) {
            if (p == 0 ? !SPLIT_A : p == 1 ? !SPLIT_B : 0) continue;
            UNROLL
            for (int k = 0; k < 4; k += 2) {
                float four[4];
                UNROLL
                for (int f = 0; f < 4; f++)
                    four[f] = p == 0 ? a_low[f % 2][k + f / 2] : a_high[f % 2][k + f / 2];
                UNROLL
                for (int j = 0; j < NT; j++) {
                    const float two[2] = {p == 1 ? b_low[j][k] : b_high[j][k],
                                          p == 1 ? b_low[j][k + 1] : b_high[j][k + 1]};
                    MATRIX_MULTIPLY(part[j], four, two);
                }
            }
        }
        UNROLL
        for (int j = 0; j < NT; j++) {
            UNROLL
            for (int e = 0; e < 4; e++) sum[i][j][e] += part[j][e];
        }
    }
}

INLINE void clear(float sum[MT][NT][4]) {
    UNROLL
    for (int i = 0; i < 4 * NT * MT; i++) sum[i / (4 * NT)][i / 4 % NT][i % 4] = 0.0f;
}

// With NT 4, the four columns of sum that belong to one row: element q = 2 h + e of each j.
#define SUM4(sum, i, q) ((float4)(sum[i][0][q], sum[i][1][q], sum[i][2][q], sum[i][3][q]))
#define SUM_ROW(i, q) (MT * LANE_ROW + (i) + 8 * MT * ((q) / 2))
#define SUM_COLUMN(q) (8 * LANE_K + 4 * ((q) % 2))
