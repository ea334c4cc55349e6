// SPDX-License-Identifier: MIT
// Rows in signed bytes, for several products with the same x.

#define QUANTIZED __global
#include "quantize_row.cl"

// q and stats, which are scale and sum of each row: see there.
__kernel void quantize(TENSOR(char, q), const int q_stride, TENSOR(float, stats),
                       MATRIX(const float, x), const int rows, const int k_count) {
    ROW_SCRATCH
    USE(stats);
    EACH_ROW(row, rows) {
        const float2 both =
            QUANTIZE_ROW(q + q_at + (size_t)row * q_stride, q_stride, ROW(x, row), k_count);
        if (LANE == 0) {
            stats[2 * row] = both.x;
            stats[2 * row + 1] = both.y;
        }
    }
}
