// SPDX-License-Identifier: MIT
// Tiny kernels that show what a device can do at best, and that launching works.

// Nothing: what a launch costs.
__kernel void empty(TENSOR(float, y)) {
    (void)y;
    (void)y_at;
}

// y = x * scale + shift, elementwise; VW elements per work-item. What the memory can do.
__kernel void stream(TENSOR(float, y), TENSOR(const float, x), const float scale,
                     const float shift) {
    USE(y);
    USE(x);
    size_t i = get_global_id(0) * VW;
    STOREV(LOADV(x + i) * scale + shift, y + i);
}

#include "muladd.cl"

// `rounds` times 16 dependent chains of multiply-adds on vectors of VW: 32 * VW * rounds
// floating-point operations per work-item. What the arithmetic can do.
__kernel void fma_peak(TENSOR(float, y), const int rounds) {
    USE(y);
    floatv a[16];
    for (int j = 0; j < 16; j++) a[j] = (floatv)((float)j);
    const floatv scale = (floatv)(0.5f), shift = (floatv)((float)get_global_id(0));
    for (int i = 0; i < rounds; i++) {
#pragma unroll
        for (int j = 0; j < 16; j++) a[j] = MULADD(a[j], scale, shift);
    }
    floatv sum = a[0];
    for (int j = 1; j < 16; j++) sum += a[j];
    STOREV(sum, y + get_global_id(0) * VW);
}

// y[r] = the sum of row r of x: the prelude's row reduction, one work-group of LANES per row.
__kernel void sum_rows(TENSOR(float, y), TENSOR(const float, x), const ulong stride, const int n) {
    ROW_SCRATCH
    USE(y);
    USE(x);
    x += get_group_id(0) * stride;
    floatv sums = (floatv)(0.0f);
    for (int c = LANE * VW; c + VW <= n; c += LANES * VW) sums += LOADV(x + c);
    float sum = SUMV(sums);
    for (int c = n / VW * VW + LANE; c < n; c += LANES) sum += x[c];
    sum = row_sum(sum);
    if (LANE == 0) y[get_group_id(0)] = sum;
}

// y[0] = what a random number generator makes of y[0] in `passes` steps.
__kernel void long_loop(TENSOR(uint, y), const int passes) {
    USE(y);
    uint x = y[0];
    for (int i = 0; i < passes; i++) x = x * 1664525u + 1013904223u;
    y[0] = x;
}
