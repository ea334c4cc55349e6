// SPDX-License-Identifier: MIT
// Rounds the factors of a product to bfloat16, as linear_dot of cl/linear.cl reads them.
//
//   HALF    1: from half, else from float
//   BFLOAT  see cl/bfloat.cl

#include "bfloat.cl"

// The first `count` of VW numbers.
static void store_bfloats(uintv bits, __global ushort *to, int count) {
    const bfloats all = CONVERT_BFLOATS(bits);
    if (count >= VW) {
        *(__global bfloats *)to = all;
        return;
    }
    for (int i = 0; i < count; i++) to[i] = ((const ushort *)&all)[i];
}

// Rows of x, zeros up to an even number of columns.
__kernel void round_rows(TENSOR(ushort, to), const int to_stride, MATRIX(const act, x),
                         const int rows, const int k_count) {
    USE(to);
    EACH_ROW(row, rows) {
        __global const act *from = ROW(x, row);
        __global ushort *line = to + (size_t)row * to_stride;
        for (int c = 0; c < to_stride; c += VW)
            store_bfloats(bfloat_bits(LOAD_PARTA(from + c, k_count - c)), line + c, to_stride - c);
    }
}

#if HALF
// Panels of w, two k side by side. Group (panel, `share` k, an even number).
__kernel void pair_rows(TENSOR(ushort, to), const ulong to_panel, TENSOR(const half, w),
                        const ulong panel_stride, const ulong row_stride, const int k_count,
                        const int share) {
    USE(to);
    USE(w);
    const int first = (int)get_group_id(1) * share, end = min(k_count, first + share);
    w += panel_stride * get_group_id(0);
    to += to_panel * get_group_id(0);
    for (int k = first; k < end; k += 2) {
        for (int c = 0; c < 16; c += VW) {
            __global const half *from = w + row_stride * k + c;
            const floatv next = k + 1 < k_count ? LOADA(from + row_stride) : (floatv)(0.0f);
            *(__global intv *)(to + 16 * k + 2 * c) = bfloat_pairs(LOADA(from), next);
        }
    }
}
#endif
