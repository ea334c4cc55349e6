// SPDX-License-Identifier: MIT
// weight_gradient of cl/linear_backward.cl, with the same arguments, on matrix units: see
// cl/matrix_tile.cl.
//
//   MT 4, WM, WN, UNIT, WIDE   see there      HALF what is half: 1 x, 2 dy; added up

#ifndef MT
#define MT 4
#endif
#ifndef WM
#define WM 2
#endif
#ifndef WN
#define WN 2
#endif

#if HALF & 1
#define A half
#else
#define A float
#endif
#if HALF & 2
#define B half
#else
#define B float
#endif
#define SPLIT_A ((HALF & 1) == 0)
#define SPLIT_B ((HALF & 2) == 0)

#include "gradient_part.cl"
#include "matrix_tile.cl"

// a is x transposed: rows of the tile are k, steps go along the rows of x and dy.
#define A_COLUMN(i) (VECTOR(i) % (GROUP_ROWS / 4) * 4)
#define A_ROW(i) (VECTOR(i) / (GROUP_ROWS / 4))
#define LOAD_A(i, r)                                                                               \
    LOAD4_PART(A, ROW(x, (r) + A_ROW(i)) + k + A_COLUMN(i),                                        \
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
                TENSOR(float, db), MATRIX(const A, x), MATRIX(const B, dy), TENSOR(float, parts),
                const ulong part_size, const ulong weight_size, const int rows, const int k_count,
                const int n, const int slice_rows, const int k_block, const int column_block) {
    TILES
    USE(dw);
    USE(db);
    USE(parts);
    const int slice = (int)get_group_id(2);
    CHOOSE_PART(slice)
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
