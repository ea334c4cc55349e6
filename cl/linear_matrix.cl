// SPDX-License-Identifier: MIT
// The product of cl/linear.cl, with the same arguments, on matrix units: see cl/matrix_step.cl.
//
//   STRAIGHT 0: through local memory, see cl/matrix_tile.cl
//            1: from global memory: a work-group has WM warps (4 at least) and one tile, they share K
//   MT, NT, WM, WN, UNIT, WIDE   see there (NT 1 only with STRAIGHT)      ACT, HALF 2   see cl/finish.cl
//   HALF what is half: 1 x, 2 y and residual, 4 w; added up
//   INT8 1: w is int8, times `scales`
//   VW   4

#ifndef STRAIGHT
#define STRAIGHT 0
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

#include "finish.cl"

#if HALF & 1
#define A half
#else
#define A float
#endif
#if INT8
#define B char
#elif HALF & 4
#define B half
#else
#define B float
#endif
#define SPLIT_A ((HALF & 1) == 0)
#define SPLIT_B (INT8 == 0 && (HALF & 4) == 0)

#if STRAIGHT
#include "matrix_step.cl"
#else
#include "matrix_tile.cl"
#endif

#define LINEAR_ARGUMENTS                                                                           \
    TENSOR(Y, y), const ulong y_stride, TENSOR(const A, x), const ulong x_stride,                  \
        TENSOR(const B, w), const ulong panel_stride, const ulong row_stride,                      \
        TENSOR(const float, scales), TENSOR(const float, bias), TENSOR(const Y, residual),         \
        const ulong residual_stride, const int m, const int k_count, const int n
#define USE_ARGUMENTS                                                                              \
    USE(y);                                                                                        \
    USE(x);                                                                                        \
    USE(w);                                                                                        \
    USE(scales);                                                                                   \
    USE(bias);                                                                                     \
    USE(residual);

// Where column c of w begins; those past the last panel repeat its end.
#define COLUMN(c) (w + panel_stride * (ulong)(COLUMN_OF(c) >> 4) + (COLUMN_OF(c) & 15))
#define COLUMN_OF(c) min(c, ((n + 15) & ~15) - NT)

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

#if STRAIGHT

// Steps whose factors are on their way at a time: as many as there are registers for.
#define DEPTH (NT == 1 || (MT == 1 && WM <= 8) ? 4 : 2)

// Warp s sums steps s, s + WM, ...; the warps' sums are added in order.
__kernel GROUP void linear(LINEAR_ARGUMENTS) {
    LOCALS(float sums[WM][4][32][NT]; MATRIX_SCRATCH(ITEMS))
    USE_SCRATCH
    USE_ARGUMENTS
    const int row = (int)get_group_id(0) * TILE_ROWS, column = (int)get_group_id(1) * TILE_COLUMNS;
    const int lane = (int)get_local_id(0) % 32, warp = (int)get_local_id(0) / 32;
    __global const B *columns = COLUMN(column + NT * LANE_ROW);
    float sum[MT][NT][4];
    clear(sum);
    // All warps make as many steps: zeros past the end.
    for (int from = 0; from < k_count; from += STEP * WM * DEPTH) {
        float a[DEPTH][MT][2][4], b[DEPTH][NT][4];
        UNROLL
        for (int s = 0; s < DEPTH; s++) {
            const int k = from + STEP * (WM * s + warp) + 4 * LANE_K;
            UNROLL
            for (int i = 0; i < 2 * MT; i++) {
                const int r = min(row + MT * LANE_ROW + i % MT + 8 * MT * (i / MT), m - 1);
                const float4 four = LOAD4_PART(A, x + r * x_stride + k, k_count - k);
                vstore4(four, 0, a[s][i % MT][i / MT]);
            }
            UNROLL
            for (int i = 0; i < 4; i++) {
                __global const B *one = columns + row_stride * (k + i);
#if NT == 1
                b[s][0][i] = k + i < k_count ? GET(B, one, 0) : 0.0f;
#else
                const float4 four = k + i < k_count ? LOAD4(B, one) : (float4)(0.0f);
                b[s][0][i] = four.x, b[s][1][i] = four.y, b[s][2][i] = four.z, b[s][3][i] = four.w;
#endif
            }
        }
        UNROLL
        for (int s = 0; s < DEPTH; s++) multiply_step(sum, a[s], b[s] SCRATCH_ARGUMENT);
    }
    UNROLL
    for (int i = 0; i < MT; i++) {
        UNROLL
        for (int q = 0; q < 4; q++) {
            UNROLL
            for (int j = 0; j < NT; j++) locals->sums[warp][q][lane][j] = sum[i][j][q];
        }
        barrier(CLK_LOCAL_MEM_FENCE);
#if NT == 1
        // Two work-items for each row, four of its columns each.
        if (warp == 0) {
            const int h = lane / 2 % 2, from = lane / 4 * 4 + lane % 2 * 2;
            float4 total = 0.0f;
            for (int s = 0; s < WM; s++) {
                __local const float(*even)[1] = locals->sums[s][2 * h] + from;
                __local const float(*odd)[1] = locals->sums[s][2 * h + 1] + from;
                total += (float4)(even[0][0], odd[0][0], even[1][0], odd[1][0]);
            }
            const int r = row + MT * LANE_ROW + i + 8 * MT * h, c = column + lane % 2 * 4;
            FINISH(total, r, c);
        }
#else
        if (warp < 4) {
            float4 total = 0.0f;
            for (int s = 0; s < WM; s++) total += vload4(0, locals->sums[s][warp][lane]);
            const int r = row + SUM_ROW(i, warp), c = column + SUM_COLUMN(warp);
            FINISH(total, r, c);
        }
#endif
        barrier(CLK_LOCAL_MEM_FENCE);
    }
}

#else

// Four k of one row.
#define A_ROW(i) (VECTOR(i) % GROUP_ROWS)
#define A_K(i) (VECTOR(i) / GROUP_ROWS * 4)
#define LOAD_A(i, k)                                                                               \
    LOAD4_PART(A, x + min(row + A_ROW(i), m - 1) * x_stride + (k) + A_K(i), k_count - (k)-A_K(i))
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
    USE_ARGUMENTS
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
#endif
