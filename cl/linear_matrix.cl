// SPDX-License-Identifier: MIT
// The products of cl/linear.cl and cl/linear_backward.cl, with the same arguments, on matrix units.
//
// A factor that is float is split in two (cl/matrix_unit.cl), and of the four products the smallest
// is left out: each is right within 2^-21, sums are float ("3xTF32"; Ootomo, Yokota 2022). What is
// half or int8 is one number of the unit, so its products are exact. An infinity may become a NaN.
//
// 32 work-items, a warp, sum a tile of 16 MT rows x 32 columns. In steps of 16 k work-item (g, t)
// holds for its four k
//   of a  rows MT g + i + 8 MT h (i < MT, h < 2)      of b  columns 4 g + j (j < 4)
// which are neighbours in memory, and receives columns 8 t + 4 e + j (e < 2) of those rows.
//
//   PART 0: linear, through local memory: a work-group has WM x WN warps, a tile each
//        1: linear, straight from global memory: a work-group has WM warps (4 at least), which share K
//        2: weight_gradient, as 0
//   MT   4; with PART 1 any      UNIT  see cl/matrix_unit.cl      ACT  clf_activation (prelude.cl)
//   HALF what is half: 1 x; 2 y and residual, or dy; 4 w; added up
//   INT8 1: w is int8, times `scales`
//   WIDE 1: rows of x (and of dy) begin at multiples of four elements, and have multiples of four
//   VW   4

#ifndef PART
#define PART 0
#endif
#ifndef MT
#define MT 4
#endif
#ifndef WM
#define WM 4
#endif
#ifndef WN
#define WN 1
#endif
#ifndef INT8
#define INT8 0
#endif
#ifndef WIDE
#define WIDE 0
#endif

#include "finish.cl"
#include "matrix_unit.cl"

#define LANE_ROW     ((int)get_local_id(0) % 32 / 4) // g
#define LANE_K       ((int)get_local_id(0) % 4)      // t
#define ITEMS        (32 * WM * WN)
#define GROUP        __attribute__((reqd_work_group_size(ITEMS, 1, 1)))
#define STEP         16
#define TILE_ROWS    (16 * MT)
#define TILE_COLUMNS 32

#if HALF & 1
#define X half
#else
#define X float
#endif
#if PART == 2 && HALF & 2
#define B half
#elif PART == 2
#define B float
#elif INT8
#define B char
#elif HALF & 4
#define B half
#else
#define B float
#endif
#define SPLIT_A ((HALF & 1) == 0)
#define SPLIT_B (INT8 == 0 && (PART == 2 ? HALF & 2 : HALF & 4) == 0)

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
INLINE void multiply_step(float sum[MT][4][4], float a[MT][2][4], float b[4][4] SCRATCH_PARAMETER) {
    float b_high[4][4], b_low[4][4];
    UNROLL
    for (int j = 0; j < 4; j++) split(b_high[j], b_low[j], b[j], SPLIT_B);
    UNROLL
    for (int i = 0; i < MT; i++) {
        float a_high[2][4], a_low[2][4], part[4][4];
        UNROLL
        for (int h = 0; h < 2; h++) split(a_high[h], a_low[h], a[i][h], SPLIT_A);
        UNROLL
        for (int j = 0; j < 4; j++) {
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
                for (int j = 0; j < 4; j++) {
                    const float two[2] = {p == 1 ? b_low[j][k] : b_high[j][k],
                                          p == 1 ? b_low[j][k + 1] : b_high[j][k + 1]};
                    MATRIX_MULTIPLY(part[j], four, two);
                }
            }
        }
        UNROLL
        for (int j = 0; j < 4; j++) {
            UNROLL
            for (int e = 0; e < 4; e++) sum[i][j][e] += part[j][e];
        }
    }
}

INLINE void clear(float sum[MT][4][4]) {
    UNROLL
    for (int i = 0; i < 16 * MT; i++) sum[i / 16][i / 4 % 4][i % 4] = 0.0f;
}

// The four columns of sum that belong to one row: element q = 2 h + e of each j.
#define SUM4(sum, i, q) ((float4)(sum[i][0][q], sum[i][1][q], sum[i][2][q], sum[i][3][q]))
#define SUM_ROW(i, q) (MT * LANE_ROW + (i) + 8 * MT * ((q) / 2))
#define SUM_COLUMN(q) (8 * LANE_K + 4 * ((q) % 2))

#if PART < 2
#define LINEAR_ARGUMENTS                                                                           \
    TENSOR(Y, y), const ulong y_stride, TENSOR(const X, x), const ulong x_stride,                  \
        TENSOR(const B, w), const ulong panel_stride, const ulong row_stride,                      \
        TENSOR(const float, scales), TENSOR(const float, bias), TENSOR(const Y, residual),         \
        const ulong residual_stride, const int m, const int k_count, const int n

// Where column c of w begins; those past the last panel repeat its end.
#define COLUMN(c) (w + panel_stride * (ulong)(COLUMN_OF(c) >> 4) + (COLUMN_OF(c) & 15))
#define COLUMN_OF(c) min(c, ((n + 15) & ~15) - 4)

#if INT8
#define SCALED(value, c) ((value)*vload4(0, scales + (c)))
#else
#define SCALED(value, c) (value)
#endif
// Writes a row's four columns from c on, if they exist.
#define FINISH(value, row, c)                                                                      \
    if ((row) < m && (c) < n)                                                                      \
    finish(SCALED(value, c), y + (row)*y_stride + (c), bias ? bias + (c) : 0,                      \
           residual ? residual + (row)*residual_stride + (c) : 0, n - (c))
#endif

// ---- through local memory -------------------------------------------------------------------------

#if PART != 1
#define GROUP_ROWS    (TILE_ROWS * WM)
#define GROUP_COLUMNS (TILE_COLUMNS * WN)
// Floats from one k to the next in local memory: t and g then never meet in a bank.
#define A_STRIDE (GROUP_ROWS + 8)
#define B_STRIDE (GROUP_COLUMNS + 8)
// Vectors of four that each work-item brings.
#define A_LOADS (GROUP_ROWS * STEP / 4 / ITEMS)
#define B_LOADS (GROUP_COLUMNS * STEP / 4 / ITEMS)

INLINE void multiply_tiles(float sum[MT][4][4], __local const float *a_tile,
                           __local const float *b_tile SCRATCH_PARAMETER) {
    float a[MT][2][4], b[4][4];
    UNROLL
    for (int k = 0; k < 4; k++) {
        __local const float *from = a_tile + (LANE_K + 4 * k) * A_STRIDE + MT * LANE_ROW;
        UNROLL
        for (int h = 0; h < 2; h++) {
            const float4 rows = *(__local const float4 *)(from + 8 * MT * h);
            a[0][h][k] = rows.x, a[1][h][k] = rows.y, a[2][h][k] = rows.z, a[3][h][k] = rows.w;
        }
        const float4 columns =
            *(__local const float4 *)(b_tile + (LANE_K + 4 * k) * B_STRIDE + 4 * LANE_ROW);
        b[0][k] = columns.x, b[1][k] = columns.y, b[2][k] = columns.z, b[3][k] = columns.w;
    }
    multiply_step(sum, a, b SCRATCH_ARGUMENT);
}

// Declares what follows, then walks k from `first` to `end`: while a step is multiplied, the next one
// is on its way. LOAD_A(i, k), LOAD_B(i, k) bring a work-item's i-th vector of the step at k,
// STORE_A(tile, value, i), STORE_B put it in place; EACH_STEP does more with a step's b_tile.
#define EACH_TILE(first, end)                                                                      \
    float4 a_next[A_LOADS], b_next[B_LOADS];                                                       \
    LOAD_STEP(first)                                                                               \
    for (int k_ = (first), turn = 0; k_ < (end); k_ += STEP, turn ^= 1) {                          \
        __local float *a_tile = a_tiles + turn * (STEP * A_STRIDE);                                \
        __local float *b_tile = b_tiles + turn * (STEP * B_STRIDE);                                \
        UNROLL                                                                                     \
        for (int i = 0; i < A_LOADS; i++) STORE_A(a_tile, a_next[i], i);                           \
        UNROLL                                                                                     \
        for (int i = 0; i < B_LOADS; i++) STORE_B(b_tile, b_next[i], i);                           \
        barrier(CLK_LOCAL_MEM_FENCE);                                                              \
        LOAD_STEP(k_ + STEP)                                                                       \
        EACH_STEP(b_tile)                                                                          \
        multiply_tiles(sum, a_tile + warp_row, b_tile + warp_column SCRATCH_ARGUMENT);             \
    }
#define LOAD_STEP(k)                                                                               \
    UNROLL                                                                                         \
    for (int i = 0; i < A_LOADS; i++) a_next[i] = LOAD_A(i, k);                                    \
    UNROLL                                                                                         \
    for (int i = 0; i < B_LOADS; i++) b_next[i] = LOAD_B(i, k);

#define WARP ((int)get_local_id(0) / 32)
#define TILES                                                                                      \
    __local float a_tiles[2 * STEP * A_STRIDE] __attribute__((aligned(16)));                       \
    __local float b_tiles[2 * STEP * B_STRIDE] __attribute__((aligned(16)));                       \
    MATRIX_SCRATCH(ITEMS)                                                                          \
    const int warp_row = WARP % WM * TILE_ROWS, warp_column = WARP / WM * TILE_COLUMNS;            \
    float sum[MT][4][4];                                                                           \
    clear(sum);

// A work-item's i-th vector of a step.
#define VECTOR(i) ((i)*ITEMS + (int)get_local_id(0))
// Four columns of one k.
#define B_COLUMN(i) (VECTOR(i) % (GROUP_COLUMNS / 4) * 4)
#define B_ROW(i) (VECTOR(i) / (GROUP_COLUMNS / 4))
#define STORE_B(tile, value, i)                                                                    \
    (*(__local float4 *)(tile + B_ROW(i) * B_STRIDE + B_COLUMN(i)) = (value))
#endif

#if PART == 0

// Four k of one row.
#define A_ROW(i) (VECTOR(i) % GROUP_ROWS)
#define A_K(i) (VECTOR(i) / GROUP_ROWS * 4)
#define LOAD_A(i, k)                                                                               \
    LOAD4_PART(X, x + min(row + A_ROW(i), m - 1) * x_stride + (k) + A_K(i), k_count - (k)-A_K(i))
#define STORE_A(tile, value, i)                                                                    \
    {                                                                                              \
        __local float *to = tile + A_K(i) * A_STRIDE + A_ROW(i);                                   \
        to[0] = (value).x, to[A_STRIDE] = (value).y;                                               \
        to[2 * A_STRIDE] = (value).z, to[3 * A_STRIDE] = (value).w;                                \
    }
#define LOAD_B(i, k)                                                                               \
    ((k) + B_ROW(i) < k_count                                                                      \
         ? LOAD4(B, COLUMN(column + B_COLUMN(i)) + row_stride * ((k) + B_ROW(i)))                  \
         : (float4)(0.0f))
#define EACH_STEP(tile)

__kernel GROUP void linear(LINEAR_ARGUMENTS) {
    TILES
    USE(y);
    USE(x);
    USE(w);
    USE(scales);
    USE(bias);
    USE(residual);
    const int row = (int)get_group_id(0) * GROUP_ROWS;
    const int column = (int)get_group_id(1) * GROUP_COLUMNS;
    EACH_TILE(0, k_count)
    UNROLL
    for (int i = 0; i < MT; i++) {
        UNROLL
        for (int q = 0; q < 4; q++) {
            const int r = row + warp_row + SUM_ROW(i, q);
            const int c = column + warp_column + SUM_COLUMN(q);
            FINISH(SUM4(sum, i, q), r, c);
        }
    }
}

// ---- straight from global memory ------------------------------------------------------------------

#elif PART == 1

// Warp s sums steps s, s + WM, ...; the warps' sums are added in order.
__kernel GROUP void linear(LINEAR_ARGUMENTS) {
    __local float4 sums[WM][4][32];
    MATRIX_SCRATCH(ITEMS)
    USE(y);
    USE(x);
    USE(w);
    USE(scales);
    USE(bias);
    USE(residual);
    const int row = (int)get_group_id(0) * TILE_ROWS, column = (int)get_group_id(1) * TILE_COLUMNS;
    const int lane = (int)get_local_id(0) % 32, warp = (int)get_local_id(0) / 32;
    __global const B *columns = COLUMN(column + 4 * LANE_ROW);
    float sum[MT][4][4];
    clear(sum);
    // All warps make as many steps: zeros past the end.
    for (int from = 0; from < k_count; from += STEP * WM) {
        const int k = from + STEP * warp + 4 * LANE_K;
        float a[MT][2][4], b[4][4];
        UNROLL
        for (int i = 0; i < 2 * MT; i++) {
            const int r = min(row + MT * LANE_ROW + i % MT + 8 * MT * (i / MT), m - 1);
            const float4 four = LOAD4_PART(X, x + r * x_stride + k, k_count - k);
            vstore4(four, 0, a[i % MT][i / MT]);
        }
        UNROLL
        for (int i = 0; i < 4; i++) {
            const float4 four =
                k + i < k_count ? LOAD4(B, columns + row_stride * (k + i)) : (float4)(0.0f);
            b[0][i] = four.x, b[1][i] = four.y, b[2][i] = four.z, b[3][i] = four.w;
        }
        multiply_step(sum, a, b SCRATCH_ARGUMENT);
    }
    UNROLL
    for (int i = 0; i < MT; i++) {
        UNROLL
        for (int q = 0; q < 4; q++) sums[warp][q][lane] = SUM4(sum, i, q);
        barrier(CLK_LOCAL_MEM_FENCE);
        if (warp < 4) {
            float4 total = sums[0][warp][lane];
            for (int s = 1; s < WM; s++) total += sums[s][warp][lane];
            const int r = row + SUM_ROW(i, warp), c = column + SUM_COLUMN(warp);
            FINISH(total, r, c);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
}

#else

// a is x transposed: rows of the tile are k, steps go along the rows of x and dy.
#define A_COLUMN(i) (VECTOR(i) % (GROUP_ROWS / 4) * 4)
#define A_ROW(i) (VECTOR(i) / (GROUP_ROWS / 4))
#define LOAD_A(i, r)                                                                               \
    LOAD4_PART(X, ROW(x, (r) + A_ROW(i)) + k + A_COLUMN(i),                                        \
               (r) + A_ROW(i) < end ? k_count - k - A_COLUMN(i) : 0)
#define STORE_A(tile, value, i)                                                                    \
    (*(__local float4 *)(tile + A_ROW(i) * A_STRIDE + A_COLUMN(i)) = (value))
#define LOAD_B(i, r)                                                                               \
    LOAD4_PART(B, ROW(dy, (r) + B_ROW(i)) + column + B_COLUMN(i),                                  \
               (r) + B_ROW(i) < end ? n - column - B_COLUMN(i) : 0)
#define EACH_STEP(tile)                                                                            \
    if (sums_dy && get_local_id(0) < GROUP_COLUMNS) {                                              \
        for (int r = 0; r < STEP; r++) total += tile[r * B_STRIDE + (int)get_local_id(0)];         \
    }

// Group (columns, k, slice of the rows).
__kernel GROUP void
weight_gradient(TENSOR(float, dw), const ulong panel_stride, const ulong row_stride,
                TENSOR(float, db), MATRIX(const X, x), MATRIX(const B, dy), TENSOR(float, parts),
                const ulong part_size, const ulong weight_size, const int rows, const int k_count,
                const int n, const int slice_rows, const int k_block, const int column_block) {
    TILES
    USE(dw);
    USE(db);
    USE(parts);
    const int slice = (int)get_group_id(2);
    if (slice > 0) {
        dw = parts + (ulong)(slice - 1) * part_size;
        if (db) db = dw + weight_size;
    }
    const int column = (int)get_group_id(0) * column_block;
    const int k = (int)get_group_id(1) * k_block;
    const int end = min(rows, (slice + 1) * slice_rows);
    const bool sums_dy = db && k == 0;
    float total = 0.0f;
    EACH_TILE(slice * slice_rows, end)
    if (sums_dy && get_local_id(0) < GROUP_COLUMNS && column + (int)get_local_id(0) < n)
        db[column + (int)get_local_id(0)] += total;
    UNROLL
    for (int i = 0; i < MT; i++) {
        UNROLL
        for (int q = 0; q < 4; q++) {
            const int r = k + warp_row + SUM_ROW(i, q);
            const int c = column + warp_column + SUM_COLUMN(q);
            if (r >= k_count || c >= n) continue;
            // Columns up to the end of a panel are there, and stay zero.
            __global float4 *to = (__global float4 *)(dw + panel_stride * (ulong)(c >> 4) +
                                                      row_stride * (ulong)r + (c & 15));
            *to += SUM4(sum, i, q);
        }
    }
}
#endif
