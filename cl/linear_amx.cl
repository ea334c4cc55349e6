// SPDX-License-Identifier: MIT
// `linear` of cl/linear.cl and `weight_gradient` of cl/linear_backward.cl, with the same arguments, on
// the tile registers of AMX: see cl/amx_bfloat.cl.
//
// A group (rows, columns) of `linear` computes its share of y, KB terms at a time: it copies so much
// of w, then for each EDGE rows so much of x, and multiplies one by the other.
// A group (columns, k, slice of the rows) of `weight_gradient` does the same with KB rows of dy and,
// for each EDGE k-values, of x. The copies stay in the second level's cache.
//
//   RB, NB  the most rows and columns of a group, multiples of EDGE    KB  a multiple of STEP
//   SUMS    rows of sums that are kept: RB if there are more terms than KB, else EDGE
//   ACT     clf_activation (prelude.cl)
//   HALF    what is half: 1 x, 2 y and residual, or dy, 4 w; added up

#ifndef RB
#define RB 32
#endif
#ifndef NB
#define NB 32
#endif
#ifndef KB
#define KB 32
#endif
#ifndef SUMS
#define SUMS RB
#endif

#include "amx_bfloat.cl"
#include "finish.cl"
#include "gradient_part.cl"

#if HALF & 1
#define X half
#else
#define X float
#endif
#if HALF & 4
#define W half
#else
#define W float
#endif

#define BLOCK_PAIRS (KB / STEP * STEP_PAIRS)

// Equal shares for so many groups; the last ones may be smaller, or nothing.
#define SHARE(count, groups) (((count) + (groups)*EDGE - 1) / ((groups)*EDGE) * EDGE)

// sums (EDGE x columns) of rows of NB, or zero unless `add`, + left . right, so many steps of x at a
// time that they stay in the first level's cache while the columns pass.
#define CLOSE_STEPS (PARTS == 1 ? 8 : 4)
inline void multiply_columns(__local float *sums, bool add, __local const int *left,
                             __local const int *right, int steps, int columns) {
    for (int s = 0; s < steps; s += CLOSE_STEPS) {
        for (int c = 0; c < columns; c += EDGE)
            multiply_blocks(sums + c, NB, add || s > 0, left + s * STEP_PAIRS,
                            right + c / EDGE * BLOCK_PAIRS + s * STEP_PAIRS, min(CLOSE_STEPS, steps - s));
    }
}

PACK_LEFT(pack_x, X)
PACK_RIGHT(pack_w, W)

__kernel void linear(TENSOR(Y, y), const ulong y_stride, TENSOR(const X, x), const ulong x_stride,
                     TENSOR(const W, w), const ulong panel_stride, const ulong row_stride,
                     TENSOR(const float, scales), TENSOR(const float, bias),
                     TENSOR(const Y, residual), const ulong residual_stride, const int m,
                     const int k_count, const int n) {
    __local int left[BLOCK_PAIRS] __attribute__((aligned(64)));
    __local int right[NB / EDGE * BLOCK_PAIRS] __attribute__((aligned(64)));
    __local float sums[SUMS * NB] __attribute__((aligned(64)));
    USE(y);
    USE(x);
    USE(w);
    USE(bias);
    USE(residual);
    const int row_block = SHARE(m, (int)get_num_groups(0));
    const int column_block = SHARE(n, (int)get_num_groups(1));
    const int first_row = (int)get_group_id(0) * row_block, end = min(m, first_row + row_block);
    const int column = (int)get_group_id(1) * column_block, columns = min(column_block, n - column);
    w += panel_stride * (ulong)(column >> 4);
    begin_tiles(16, 16, 16);
    for (int k = 0; k < k_count; k += KB) {
        const int count = min(KB, k_count - k);
        for (int c = 0; c < columns; c += EDGE)
            pack_w(right + c / EDGE * BLOCK_PAIRS, w + panel_stride * (ulong)(c >> 4) + row_stride * k,
                   panel_stride, row_stride, count, columns - c);
        for (int row = first_row; row < end; row += EDGE) {
            __local float *sum = sums + (SUMS == EDGE ? 0 : (row - first_row) * NB);
            pack_x(left, x + row * x_stride + k, x_stride, end - row, count);
            for (int r = row; r < min(row + EDGE, end) && k + KB >= k_count; r++) {
                for (int c = 0; c < columns; c += VW) FETCH(y + r * y_stride + column + c);
            }
            multiply_columns(sum, k > 0, left, right, STEPS(count), columns);
            if (k + KB < k_count) continue;
            for (int r = row; r < min(row + EDGE, end); r++, sum += NB) {
                for (int c = 0; c < columns; c += VW)
                    finish(*(__local const floatv *)(sum + c), y + r * y_stride + column + c,
                           bias ? bias + column + c : 0,
                           residual ? residual + r * residual_stride + column + c : 0, columns - c);
            }
        }
    }
    end_tiles();
}

// The second factor is dy, whose elements have the type that `linear` writes.
PACK_RIGHT(pack_dy, Y)
PACK_RIGHT(pack_columns, X)

// Adds the sums of a block's lines to db, of which `columns` exist.
inline void sum_columns(__global float *db, __local const int *block, int steps, int columns) {
    for (int c = 0; c < min(EDGE, columns); c += 16, block += 256) {
        float16 sum = 0.0f;
        for (int s = 0; s < steps; s++) {
            for (int i = 0; i < 16 * PARTS; i++) {
                const int16 pairs =
                    *(__local const int16 *)(block + s * STEP_PAIRS + i / 16 * 512 + i % 16 * 16);
                sum += first_of(pairs) + second_of(pairs);
            }
        }
        store_part(load_part(db + c, columns - c) + sum, db + c, columns - c);
    }
}

__kernel void weight_gradient(TENSOR(float, dw), const ulong panel_stride, const ulong row_stride,
                              TENSOR(float, db), MATRIX(const X, x), MATRIX(const Y, dy),
                              TENSOR(float, parts), const ulong part_size, const ulong weight_size,
                              const int rows, const int k_count, const int n, const int slice_rows,
                              const int k_block, const int column_block) {
    __local int left[BLOCK_PAIRS] __attribute__((aligned(64)));
    __local int right[NB / EDGE * BLOCK_PAIRS] __attribute__((aligned(64)));
    __local float sums[EDGE * NB] __attribute__((aligned(64)));
    USE(dw);
    USE(db);
    USE(parts);
    const int slice = (int)get_group_id(2);
    CHOOSE_PART(slice)
    const int column = (int)get_group_id(0) * column_block;
    const int columns = min(column_block, n - column);
    const int k_begin = (int)get_group_id(1) * k_block, k_end = min(k_count, k_begin + k_block);
    const int end = min(rows, (slice + 1) * slice_rows);
    begin_tiles(16, 16, 16);
    for (int row = slice * slice_rows; row < end; row += KB) {
        const int count = min(KB, end - row), steps = STEPS(count);
        for (int c = 0; c < columns; c += EDGE) {
            __local int *block = right + c / EDGE * BLOCK_PAIRS;
            pack_dy(block, ROW(dy, row) + column + c, 16, dy_stride, count, columns - c);
            if (db && k_begin == 0) sum_columns(db + column + c, block, steps, columns - c);
        }
        for (int k = k_begin; k < k_end; k += EDGE) {
            pack_columns(left, ROW(x, row) + k, 16, x_stride, count, k_end - k);
            for (int i = 0; i < 2 * PARTS * steps; i++) transpose_tile(left + 256 * i);
            multiply_columns(sums, false, left, right, steps, columns);
            for (int i = 0; i < min(EDGE, k_end - k); i++) {
                for (int c = 0; c < columns; c += VW) {
                    const int at = column + c, exist = n - at;
                    __global float *to =
                        dw + panel_stride * (ulong)(at >> 4) + row_stride * (ulong)(k + i);
                    store_part(load_part(to, exist) + *(__local const floatv *)(sums + i * NB + c), to,
                               exist);
                }
            }
        }
    }
    end_tiles();
}
