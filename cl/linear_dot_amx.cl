// SPDX-License-Identifier: MIT
// linear_dot of cl/linear.cl for int8, with the same arguments, on the tile registers of AMX: a group
// (tile of a block of rows, columns, block of rows) computes 32 rows x NC columns.
//
//   NC   a multiple of 32
//   AMX  see cl/amx.cl
//   ACT  clf_activation (prelude.cl)

#ifndef NC
#define NC 64
#endif
#define OFFSET 128

#include "amx.cl"
#include "finish.cl"

// sums (32 x 32), or zero unless `add`, + `steps` times `terms` numbers of 32 bits of rows, each four
// values, the lower tile's from `lower` on, times those of two panels.
#if AMX == 1
inline void multiply_tiles(int *sums, bool add, __global const char *upper,
                           __global const char *lower, long stride, __global const uchar *first,
                           __global const uchar *second, int steps, int terms) {
    if (add)
        ALL_SUMS(LOAD_SUM, sums, sums + 512, 128);
    else
        CLEAR_SUMS;
    for (int s = 0; s < steps; s++, upper += 64, lower += 64, first += 1024, second += 1024)
        __asm__ volatile("tileloadd (%0,%2,1), %%tmm4\n\ttileloadd (%1,%2,1), %%tmm5\n\t"
                         "tileloadd (%3,%5,1), %%tmm6\n\ttileloadd (%4,%5,1), %%tmm7\n\t"
                         PRODUCTS("tdpbsud")
                         :
                         : "r"(upper), "r"(lower), "r"(stride), "r"(first), "r"(second), "r"(64L)
                         : "memory");
    ALL_SUMS(STORE_SUM, sums, sums + 512, 128);
}
#else
inline void multiply_tiles(int *sums, bool add, __global const char *upper,
                           __global const char *lower, long stride, __global const uchar *first,
                           __global const uchar *second, int steps, int terms) {
    for (int i = 0; i < 1024; i++) {
        const int c = i % 32, r = i / 32 % 16;
        __global const char *row = i < 512 ? upper : lower;
        __global const uchar *panel = c < 16 ? first : second;
        int sum = add ? sums[i] : 0;
        for (int k = 0; k < 4 * terms * steps; k++)
            sum += row[r * stride + k] * panel[k / 4 * 64 + c % 16 * 4 + k % 4];
        sums[i] = sum;
    }
}
#endif

__kernel void linear_dot(TENSOR(Y, y), const ulong y_stride, TENSOR(const char, q), const int q_stride,
                         TENSOR(const float, stats), TENSOR(const uchar, w),
                         const ulong panel_stride, TENSOR(const float, scales),
                         TENSOR(const float, bias), TENSOR(const Y, residual),
                         const ulong residual_stride, const int m, const int steps, const int n) {
    USE(y);
    USE(q);
    USE(stats);
    USE(w);
    USE(scales);
    USE(bias);
    USE(residual);
    const int row = (int)(get_group_id(2) * get_num_groups(0) + get_group_id(0)) * 32;
    if (row >= m) return;
    const int column = (int)get_group_id(1) * NC;
    // A tile without rows repeats the last one.
    const int upper = min(16, m - row), lower = max(1, min(16, m - row - 16));
    __global const char *rows = q + (size_t)row * q_stride;
    __global const char *more = q + (size_t)min(row + 16, m - 1) * q_stride;
    const int whole = steps / 16, rest = steps % 16;
    int sums[1024] __attribute__((aligned(64)));
    if (rest == 0) begin_tiles(upper, lower, 16);
    for (int c = column; c < min(column + NC, n); c += 32) {
        __global const uchar *first = w + panel_stride * (ulong)(c >> 4);
        __global const uchar *second = c + 16 < n ? first + panel_stride : first;
        if (rest > 0) begin_tiles(upper, lower, 16);
        multiply_tiles(sums, false, rows, more, q_stride, first, second, whole, 16);
        if (rest > 0) {
            begin_tiles(upper, lower, rest);
            multiply_tiles(sums, true, rows + 64 * whole, more + 64 * whole, q_stride,
                           first + 1024 * whole, second + 1024 * whole, 1, rest);
        }
        for (int r = row; r < min(row + 32, m); r++) {
            const float scale = stats[2 * r];
            const int too_much = OFFSET * (int)stats[2 * r + 1];
            for (int at = c; at < min(c + 32, n); at += VW) {
                const intv sum = *(const intv *)(sums + 32 * (r - row) + at - c) - too_much;
                finish(CONVERT_FLOATV(sum) * (scale * LOADV(scales + at)), y + r * y_stride + at,
                       bias ? bias + at : 0, residual ? residual + r * residual_stride + at : 0,
                       n - at);
            }
        }
    }
    end_tiles();
}
