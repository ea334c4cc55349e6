// SPDX-License-Identifier: MIT
// dw (K, N) += x (R, K)^T . dy (R, N), and db (N) += the columns' sums of dy. Element (k, n) of dw
// stands at panel_stride * (n / 16) + row_stride * k + n % 16.
//
// Group (columns, k, slice of the rows) sums a block of dw over one slice of the rows. The first
// slice adds to dw and db themselves, the others each to a part of their own, all zero at first
// (dw, then db), which `add_parts` adds in order. MR k-values x NC columns of dw are in registers
// while rows pass.
//
//   MR  at most 8 (LANES 1)    NC  multiple of VW (LANES 1), any (LANES > 1: VW is not used)
//   LANES 1:   RB  rows that are summed before they are added to dw
//              NB  the most columns of a block, a multiple of NC
//              KB  the most k-values of a block of x, a multiple of MR
//   LANES > 1: WX  work-items side by side
//   FMA see muladd.cl
//   HALF  what is half: 1 x, 2 dy; added up
//   BFLOAT  not 0 (LANES 1): x and dy are rounded, and two rows multiplied at once; see cl/bfloat.cl

#if HALF & 1
#define X half
#else
#define X float
#endif
#if HALF & 2
#define DY half
#else
#define DY float
#endif

#ifndef MR
#define MR 4
#endif
#ifndef NC
#define NC VW
#endif
#ifndef RB
#define RB 32
#endif
#ifndef NB
#define NB NC
#endif
#ifndef KB
#define KB MR
#endif
#ifndef WX
#define WX LANES
#endif
#ifndef BFLOAT
#define BFLOAT 0
#endif

#pragma OPENCL FP_CONTRACT OFF

#include "muladd.cl"

#define PLACE(k, c) (panel_stride * (ulong)((c) >> 4) + row_stride * (ulong)(k) + ((c)&15))

#include "gradient_part.cl"

#if LANES == 1

#define NV (NC / VW)

// What is multiplied at once: TERMS rows of a column.
#if BFLOAT
#include "bfloat.cl"
#define TERMS 2
typedef int term;
typedef intv termv;
#define MULTIPLY(value, values, sum) dot2(sum, values, value)
#define SUM_TERMS(t) (first_of(t) + second_of(t))
#else
#define TERMS 1
typedef float term;
typedef floatv termv;
#define MULTIPLY(value, values, sum) MULADD((floatv)(value), values, sum)
#define SUM_TERMS(t) (t)
#endif

// Numbers from one panel or tile to the next: not RB rows alone, or all would share few cache sets.
#define PANEL (RB / TERMS * NC + 16)
#define TILE  (RB / TERMS * MR + 16)

inline void add_part(floatv value, __global float *to, int left) {
    if (left >= VW) {
        STOREV(LOADV(to) + value, to);
        return;
    }
    float part[VW];
    STOREV(value, part);
    for (int i = 0; i < left; i++) to[i] += part[i];
}

// VW columns, of which `left` exist, of the next TERMS rows, of which `rows` exist.
inline termv load_columns(__global const DY *dy, int stride, int rows, int left) {
    const floatv first = LOAD_PART(DY, dy, left);
#if BFLOAT
    return bfloat_pairs(first, rows > 1 ? LOAD_PART(DY, dy + stride, left) : (floatv)(0.0f));
#else
    return first;
#endif
}

// Copies a block of dy: panels of NC columns, each RB rows tall, so that rows far apart in memory
// cost neither cache sets nor TLB entries while the products run.
inline void pack_columns(__local termv *block, __global const DY *dy, int stride, int rows,
                         int columns) {
    for (int r = 0; r < rows; r += TERMS, dy += TERMS * stride) {
        __local termv *to = block + r / TERMS * NV;
        for (int c = 0; c < columns; c += NC, to += PANEL / VW) {
#pragma unroll
            for (int v = 0; v < NV; v++)
                to[v] = load_columns(dy + c + v * VW, stride, rows - r, max(columns - c - v * VW, 0));
        }
    }
}

// Eight columns of the next TERMS rows of x.
#if (HALF & 1) == 0
#define LOAD_X8(p) (float8)(vload4(0, p), vload4(0, (p) + 4))
#elif VW < 8
#define LOAD_X8(p) (float8)(vload_half4(0, p), vload_half4(0, (p) + 4))
#else
#define LOAD_X8(p) load_half8(p)
#endif
#if BFLOAT
inline int8 pairs8(float8 first, float8 second) {
#if VW == 16
    const uint16 bits = bfloat_bits((float16)(first, second));
    return as_int8(bits.lo | bits.hi << 16);
#elif VW == 8
    return bfloat_pairs(first, second);
#else
    return (int8)(bfloat_pairs(first.lo, second.lo), bfloat_pairs(first.hi, second.hi));
#endif
}
#define LOAD_TERMS8(x, stride, rows)                                                               \
    pairs8(LOAD_X8(x), (rows) > 1 ? LOAD_X8(x + stride) : (float8)(0.0f))
inline term load_term(__global const X *x, int stride, int rows) {
    return bfloat_pairs((floatv)(GET(X, x, 0)), (floatv)(rows > 1 ? GET(X, x, stride) : 0.0f)).s0;
}
#else
#define LOAD_TERMS8(x, stride, rows) LOAD_X8(x)
#define load_term(x, stride, rows)   GET(X, x, 0)
#endif

// Copies a block of x: tiles of MR columns, each RB rows tall. Eight columns at once, of which the
// next row overwrites those past MR.
inline void pack_rows(__local term *tiles, __global const X *x, int stride, int rows, int count) {
    for (int r = 0; r < rows; r += TERMS, x += TERMS * stride) {
        __local term *to = tiles + r / TERMS * MR;
        int k = 0;
        for (; k + 8 <= count; k += MR, to += TILE)
            vstore8(LOAD_TERMS8(x + k, stride, rows - r), 0, to);
        for (; k < count; k += MR, to += TILE) {
            for (int i = 0; i < MR; i++)
                to[i] = k + i < count ? load_term(x + k + i, stride, rows - r) : 0;
        }
    }
}

inline void sum_columns(__global float *db, __local const termv *block, int rows, int columns) {
    for (int c = 0; c < columns; c += VW) {
        __local const termv *from = block + c / NC * (PANEL / VW) + c % NC / VW;
        floatv sum = (floatv)(0.0f);
        for (int r = 0; r < rows; r += TERMS) sum += SUM_TERMS(from[r / TERMS * NV]);
        add_part(sum, db + c, columns - c);
    }
}

// Adds tile^T . panel to the MR k-values from k on and the NC columns from `column` on, of which `ks`
// and `columns` exist. Meanwhile it brings rows of the next blocks into the cache.
inline void multiply_tile(__global float *dw, const ulong panel_stride, const ulong row_stride,
                          __local const term *tile, __local const termv *panel, int rows, int k,
                          int ks, int column, int columns, __global const X *next_x,
                          __global const DY *next_dy) {
    floatv sum[MR][NV];
#pragma unroll
    for (int i = 0; i < MR; i++) {
#pragma unroll
        for (int v = 0; v < NV; v++) sum[i][v] = (floatv)(0.0f);
    }
    const int steps = (rows + TERMS - 1) / TERMS;
    for (int r = 0; r < steps; r++) {
        termv values[NV];
#pragma unroll
        for (int v = 0; v < NV; v++) values[v] = panel[r * NV + v];
        if (NC >= 16 && r % 8 == 0) {
            FETCH(next_x + r / 8 * (64 / sizeof(X)));
            FETCH(next_dy + r / 8 * (64 / sizeof(DY)));
        }
#pragma unroll
        for (int i = 0; i < MR; i++) {
            const term value = tile[r * MR + i];
#pragma unroll
            for (int v = 0; v < NV; v++) sum[i][v] = MULTIPLY(value, values[v], sum[i][v]);
        }
    }
#pragma unroll
    for (int i = 0; i < MR; i++) {
#pragma unroll
        for (int v = 0; v < NV; v++) {
            if (i < ks && v * VW < columns)
                add_part(sum[i][v], dw + PLACE(k + i, column + v * VW), columns - v * VW);
        }
    }
}

__kernel void weight_gradient(TENSOR(float, dw), const ulong panel_stride, const ulong row_stride,
                              TENSOR(float, db), MATRIX(const X, x), MATRIX(const DY, dy),
                              TENSOR(float, parts), const ulong part_size, const ulong weight_size,
                              const int rows, const int k_count, const int n, const int slice_rows,
                              const int k_block, const int column_block) {
    __local termv block[NB / NC * PANEL / VW];
    __local term tiles[KB / MR * TILE];
    USE(dw);
    USE(db);
    USE(parts);
    CHOOSE_PART(get_group_id(2))
    const int column = (int)get_group_id(0) * column_block;
    const int columns = min(column_block, n - column);
    const int k_begin = (int)get_group_id(1) * k_block, k_end = min(k_count, k_begin + k_block);
    const int end = min(rows, ((int)get_group_id(2) + 1) * slice_rows);
    for (int row = (int)get_group_id(2) * slice_rows; row < end; row += RB) {
        const int count = min(RB, end - row);
        pack_columns(block, ROW(dy, row) + column, dy_stride, count, columns);
        if (db && get_group_id(1) == 0) sum_columns(db + column, block, count, columns);
        for (int first = k_begin; first < k_end; first += KB) {
            const int ks = min(KB, k_end - first);
            pack_rows(tiles, ROW(x, row) + first, x_stride, count, ks);
            // The next block of x, and the next of dy if that belongs to other rows.
            const bool last = first + KB >= k_end;
            const int next = last ? k_begin : first + KB, next_row = last ? row + RB : row;
            int r = 0;
            // A panel stays in the first level's cache while the tiles pass.
            for (int c = 0; c < columns; c += NC) {
                for (int k = 0; k < ks; k += MR, r++) {
                    multiply_tile(dw, panel_stride, row_stride, tiles + k / MR * TILE,
                                  block + c / NC * (PANEL / VW), count, first + k, ks - k, column + c,
                                  columns - c, ROW(x, min(next_row + r, rows - 1)) + next,
                                  ROW(dy, min(row + RB + r, rows - 1)) + column);
                }
            }
        }
    }
}

#else

// Work-items take every WX-th column, so that neighbours read neighbours. Rows and columns past the
// end repeat the last ones and are not written.
__kernel void weight_gradient(TENSOR(float, dw), const ulong panel_stride, const ulong row_stride,
                              TENSOR(float, db), MATRIX(const X, x), MATRIX(const DY, dy),
                              TENSOR(float, parts), const ulong part_size, const ulong weight_size,
                              const int rows, const int k_count, const int n, const int slice_rows,
                              const int k_block, const int column_block) {
    USE(dw);
    USE(db);
    USE(parts);
    CHOOSE_PART(get_group_id(2))
    const int column = (int)get_group_id(0) * column_block + (int)get_local_id(0);
    const int k = (int)get_group_id(1) * k_block;
    const int from = (int)get_group_id(2) * slice_rows;
    const int end = min(rows, from + slice_rows);
    int columns[NC], ks[MR];
    float sum[MR][NC], total[NC];
#pragma unroll
    for (int v = 0; v < NC; v++) columns[v] = min(column + v * WX, n - 1), total[v] = 0.0f;
#pragma unroll
    for (int i = 0; i < MR; i++) {
        ks[i] = min(k + i, k_count - 1);
#pragma unroll
        for (int v = 0; v < NC; v++) sum[i][v] = 0.0f;
    }
    for (int r = from; r < end; r++) {
        __global const X *inputs = ROW(x, r);
        __global const DY *gradients = ROW(dy, r);
        float values[NC];
#pragma unroll
        for (int v = 0; v < NC; v++) values[v] = GET(DY, gradients, columns[v]), total[v] += values[v];
#pragma unroll
        for (int i = 0; i < MR; i++) {
            const float value = GET(X, inputs, ks[i]);
#pragma unroll
            for (int v = 0; v < NC; v++) sum[i][v] = MULADD(value, values[v], sum[i][v]);
        }
    }
#pragma unroll
    for (int v = 0; v < NC; v++) {
        const int c = column + v * WX;
        if (c >= n) continue;
        if (db && k == 0) db[c] += total[v];
#pragma unroll
        for (int i = 0; i < MR; i++) {
            if (k + i < k_count) dw[PLACE(k + i, c)] += sum[i][v];
        }
    }
}

#endif

// to[i] += parts[i] + parts[i + part_size] + ...
__kernel void add_parts(TENSOR(float, to), TENSOR(const float, parts), const ulong part_size,
                        const int part_count, const ulong n) {
    USE(to);
    USE(parts);
    for (ulong i = get_global_id(0); i < n; i += get_global_size(0)) {
        float sum = to[i];
        for (int p = 0; p < part_count; p++) sum += parts[p * part_size + i];
        to[i] = sum;
    }
}

// to (N, K) = from (K, N) transposed, both with panels as above, both half if HALF is not 0. Group
// (16 columns of from, 16 of to); no column past the end is written.
#if HALF
#define ELEMENT ushort // a half that is only moved
#else
#define ELEMENT float
#endif
__kernel void transpose(TENSOR(ELEMENT, to), const ulong to_panel, const ulong to_row,
                        TENSOR(const ELEMENT, from), const ulong from_panel, const ulong from_row,
                        const int k_count, const int n) {
    USE(to);
    USE(from);
    const int column = (int)get_group_id(0) * 16, k = (int)get_group_id(1) * 16;
    const int columns = min(16, n - column), ks = min(16, k_count - k);
    from += from_panel * get_group_id(0) + from_row * k;
    to += to_panel * get_group_id(1) + to_row * column;
#if LANES == 1
    for (int c = 0; c < columns; c++) {
        __global ELEMENT *line = to + to_row * c;
        for (int i = 0; i < ks; i++) line[i] = from[from_row * i + c];
    }
#else
    __local ELEMENT tile[16][17];
    const int lane = (int)get_local_id(0);
    for (int i = (int)get_local_id(1); i < ks; i += (int)get_local_size(1)) {
        if (lane < columns) tile[i][lane] = from[from_row * i + lane];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int c = (int)get_local_id(1); c < columns; c += (int)get_local_size(1)) {
        if (lane < ks) to[to_row * c + lane] = tile[lane][c];
    }
#endif
}
