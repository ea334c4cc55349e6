// SPDX-License-Identifier: MIT
// y (M, N) = act(x (M, K) . w (K, N) + bias (1, N)) + residual (M, N).
// Element (k, n) of w stands at panel_stride * (n / 16) + row_stride * k + n % 16.
//
// A work-item keeps MR rows x NC columns of y in registers, the columns as vectors of VW floats. A
// work-group has WX work-items along the columns and KL that share K: each sums one slice, then the
// slices are added in order. On a CPU both are 1. Groups are (tile of a block of rows, columns, block
// of rows): a panel of w stays in the first levels' cache while the tiles pass, the block in the
// second while the panels pass. An element of y is the same for every MR, NC and WX: the order of
// its sum depends on KL alone.
//
//   MR  1 to 12        NC  VW to 64, a power of two      WX, KL  any
//   FMA see muladd.cl
//   ACT clf_activation (prelude.cl)
//   HALF what is half: 1 x, 2 y and residual, 4 w; added up
//   PACKED 1: row_stride is 16
//   INT8 1: w is int8, times `scales` (1, N), which are padded to whole panels
//   DOT  not 0: the kernel for weights and inputs that are multiplied four or two at a time instead,
//        see below

#ifndef MR
#define MR 1
#endif
#ifndef NC
#define NC VW
#endif
#ifndef WX
#define WX 1
#endif
#ifndef KL
#define KL 1
#endif
#ifndef PACKED
#define PACKED 0
#endif
#ifndef INT8
#define INT8 0
#endif
#ifndef DOT
#define DOT 0
#endif

#include "finish.cl"

#if HALF & 1
#define X half
#else
#define X float
#endif
#if DOT > 4
#define BFLOAT (DOT - 4)
#include "bfloat.cl"
#define Q ushort
#define W ushort
#elif DOT
#define Q char
#define W uchar
#elif INT8
#define W char
#define LOAD_WEIGHTS(p) CONVERT_FLOATV(CAT(LOAD_CHAR, VW)(p))
#define LOAD_CHAR1(p) (*(p))
#define LOAD_CHAR2(p) vload2(0, p)
#define LOAD_CHAR4(p) vload4(0, p)
#define LOAD_CHAR8(p) vload8(0, p)
#define LOAD_CHAR16(p) vload16(0, p)
#elif HALF & 4
#define W half
#define LOAD_WEIGHTS(p) LOAD(W, p)
#else
#define W float
// Aligned: weights begin at a multiple of 16 floats.
#define LOAD_WEIGHTS(p) *(__global const floatv *)(p)
#endif

#define NV (NC / VW)
#define FIRST_ROW ((int)(get_group_id(2) * get_num_groups(0) + get_group_id(0)) * MR)

// A group brings the panels that come next into the cache while it works, or its share of them if
// there are groups for other rows: EACH_STEP(first, last, unit, multiply) is a loop of multiply(k, at),
// each of which reads `unit` elements from `at` on of every panel. It uses column, n, w, panels and
// panel_stride. As few other instructions as can be: they take a CPU's turns to multiply.
#define STEPS(first, last, unit, multiply, fetch)                                                  \
    for (size_t k = (size_t)(first), at = (unit)*k; k < (size_t)(last); k++, at += (unit)) {       \
        multiply(k, at)                                                                            \
        fetch                                                                                      \
    }
#if FETCHES && LANES == 1 && NC >= 16
#define FETCH_PANELS                                                                               \
    UNROLL                                                                                         \
    for (int v = 0; v < NV; v += 16 / VW) FETCH((size_t)(panels[v] + at) + ahead);
#define FETCH_SHARE                                                                                \
    FETCH(share);                                                                                  \
    share += pace;
#define EACH_STEP(first, last, unit, multiply)                                                     \
    const int next = max(min(column + NC, ((n + 15) & ~15) - NC), 0);                              \
    const size_t coming = (size_t)(w + panel_stride * (ulong)(next >> 4));                         \
    if (get_num_groups(0) == 1) {                                                                  \
        const size_t ahead = coming - (size_t)panels[0];                                           \
        STEPS(first, last, unit, multiply, FETCH_PANELS)                                           \
    } else {                                                                                       \
        const size_t pace = (NC * sizeof(*panels[0]) - 1) / get_num_groups(0) + 1;                 \
        size_t share = coming + pace * (get_group_id(0) * (size_t)((last) - (first)));             \
        STEPS(first, last, unit, multiply, FETCH_SHARE)                                            \
    }
#else
#define EACH_STEP(first, last, unit, multiply) STEPS(first, last, unit, multiply, )
#endif

#if PACKED
#define ROW_STRIDE 16
#else
#define ROW_STRIDE row_stride
#endif

#include "muladd.cl"

#if DOT == 0
#if HALF & 1 && LANES == 1
// A CPU converts halfs fast as vectors and slowly one by one.
#define BLOCK 16
static void load_block(float *values, __global const half *x, int left) {
    if (left >= BLOCK) {
#pragma unroll
        for (int i = 0; i < BLOCK; i += VW) STOREV(LOAD(X, x + i), values + i);
        return;
    }
    for (int i = 0; i < left; i++) values[i] = GET(X, x, i);
}
#endif

__kernel void linear(TENSOR(Y, y), const ulong y_stride, TENSOR(const X, x), const ulong x_stride,
                     TENSOR(const W, w), const ulong panel_stride, const ulong row_stride,
                     TENSOR(const float, scales), TENSOR(const float, bias),
                     TENSOR(const Y, residual), const ulong residual_stride, const int m,
                     const int k_count, const int n) {
    USE(y);
    USE(x);
    USE(w);
    USE(scales);
    USE(bias);
    USE(residual);
    const int row = FIRST_ROW;
#if KL == 1 // there are no barriers
    if (row >= m) return;
#endif
    const int lane = (int)get_local_id(0) % WX, slice = (int)get_local_id(0) / WX;
    const int column = ((int)get_group_id(1) * WX + lane) * NC;
    const int slice_length = (k_count + KL - 1) / KL;
    const int end = min(k_count, (slice + 1) * slice_length);

    // Rows and columns past the end repeat the last ones and are not written.
    __global const X *rows[MR];
#pragma unroll
    for (int r = 0; r < MR; r++) rows[r] = x + min(row + r, m - 1) * x_stride;
    // The vectors' places in the panels; those past the last panel repeat it.
    __global const W *panels[NV];
#pragma unroll
    for (int v = 0; v < NV; v++) {
        const int from = min(column + v * VW, ((n + 15) & ~15) - VW);
        panels[v] = w + panel_stride * (ulong)(from >> 4) + (from & 15);
    }

    floatv sum[MR][NV];
#pragma unroll
    for (int r = 0; r < MR; r++) {
#pragma unroll
        for (int v = 0; v < NV; v++) sum[r][v] = (floatv)(0.0f);
    }
    // All of the slice at once, or block by block of x.
#ifdef BLOCK
    float block[MR][BLOCK];
    for (int first = slice * slice_length; first < end; first += BLOCK) {
        const int last = min(first + BLOCK, end);
        for (int r = 0; r < MR; r++)
            load_block(block[r], x + min(row + r, m - 1) * x_stride + first, last - first);
#define VALUE(r, k) block[r][(k)-first]
#else
    {
        const int first = slice * slice_length, last = end;
#define VALUE(r, k) GET(X, rows[r], k)
#endif
#define MULTIPLY(k, at)                                                                            \
    floatv columns[NV];                                                                            \
    UNROLL                                                                                         \
    for (int v = 0; v < NV; v++) columns[v] = LOAD_WEIGHTS(panels[v] + at);                        \
    UNROLL                                                                                         \
    for (int r = 0; r < MR; r++) {                                                                 \
        const float value = VALUE(r, k);                                                           \
        UNROLL                                                                                     \
        for (int v = 0; v < NV; v++) sum[r][v] = MULADD((floatv)(value), columns[v], sum[r][v]);   \
    }
        EACH_STEP(first, last, ROW_STRIDE, MULTIPLY)
    }

#if KL > 1
    LOCALS(floatv slices[KL * NV * WX];)
    __local floatv *slices = locals->slices;
#pragma unroll
    for (int r = 0; r < MR; r++) {
#pragma unroll
        for (int v = 0; v < NV; v++) slices[(slice * NV + v) * WX + lane] = sum[r][v];
        barrier(CLK_LOCAL_MEM_FENCE);
        if (slice == 0) {
#pragma unroll
            for (int v = 0; v < NV; v++) {
                for (int s = 1; s < KL; s++) sum[r][v] += slices[(s * NV + v) * WX + lane];
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (slice > 0) return;
#endif
#pragma unroll
    for (int r = 0; r < MR; r++) {
#pragma unroll
        for (int v = 0; v < NV; v++) {
            const int c = column + v * VW;
            if (row + r >= m || c >= n) continue;
#if INT8
            sum[r][v] *= LOADV(scales + c);
#endif
            finish(sum[r][v], y + (row + r) * y_stride + c, bias ? bias + c : 0,
                   residual ? residual + (row + r) * residual_stride + c : 0, n - c);
        }
    }
}

#else

// Products of int8: q (M, K) holds rows of x in signed bytes (cl/quantize.cl), w unsigned bytes,
// OFFSET more than the value, four k of a column side by side:
//   element (k, n) at panel_stride * (n / 16) + 64 * (k / 4) + 4 * (n % 16) + k % 4.
// The integer sums are exact, so every variant gives the same bits. Products of bfloat16 likewise,
// two k side by side, without stats and scales.
//
//   DOT 1: vpdpbusd of AVX-512 VNNI, VW 16        2: of AVX-VNNI, VW 8
//       3: pmaddubsw of AVX2, VW 8; its sums of two products have 16 bits, so OFFSET is 64 and |w|
//          at most 63   4: cl_khr_integer_dot_product or cl_qcom_dot_product8, VW 1
//       5, 6: BFLOAT 1, 2 (cl/bfloat.cl)
//   OFFSET  128 or 64
//   With VW 1 the columns of a work-item are WX apart, so that neighbours read neighbours.

#ifndef OFFSET
#define OFFSET 128
#endif

#if DOT > 4
typedef floatv sumv;
#define DOT_STEP dot2
#else
typedef intv sumv;
#define DOT_STEP dot4
#if DOT == 4 && defined(cl_qcom_dot_product8)
#pragma OPENCL EXTENSION cl_qcom_dot_product8 : enable
#endif
// sum + the products of four unsigned bytes of w and four signed ones of x, in each lane.
inline intv dot4(intv sum, intv w, int x) {
#if DOT == 1
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(w), "v"((int16)(x)));
    return sum;
#elif DOT == 2
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(w), "x"((int8)(x)));
    return sum;
#elif DOT == 3
    typedef char bytes __attribute__((__vector_size__(32)));
    typedef short shorts __attribute__((__vector_size__(32)));
    const shorts pairs =
        __builtin_ia32_pmaddubsw256(__builtin_astype(w, bytes), __builtin_astype((int8)(x), bytes));
    const short16 ones = 1;
    return sum + __builtin_astype(
                     __builtin_ia32_pmaddwd256(pairs, __builtin_astype(ones, shorts)), int8);
#elif defined(__opencl_c_integer_dot_product_input_4x8bit_packed)
    return sum + dot_4x8packed_su_int((uint)x, (uint)w);
#elif defined(cl_qcom_dot_product8)
    return qcom_dot8_acc((uint)x, (uint)w, sum); // signed bytes, then unsigned ones
#else // for tests
    for (int i = 0; i < 32; i += 8) sum += (int)(uchar)(w >> i) * (int)(char)(x >> i);
    return sum;
#endif
}
#endif

// `steps`: numbers of 32 bits in a row of q.
__kernel void linear_dot(TENSOR(Y, y), const ulong y_stride, TENSOR(const Q, q), const int q_stride,
                         TENSOR(const float, stats), TENSOR(const W, w), const ulong panel_stride,
                         TENSOR(const float, scales), TENSOR(const float, bias),
                         TENSOR(const Y, residual), const ulong residual_stride, const int m,
                         const int steps, const int n) {
    USE(y);
    USE(q);
    USE(stats);
    USE(w);
    USE(scales);
    USE(bias);
    USE(residual);
    const int row = FIRST_ROW;
    if (row >= m) return;
    const int column = (int)get_group_id(1) * WX * NC + (int)get_local_id(0) * VW;
    const int last = ((n + 15) & ~15) - VW;

    __global const int *rows[MR];
    __global const int *panels[NV];
    sumv sum[MR][NV];
#pragma unroll
    for (int v = 0; v < NV; v++) {
        const int from = min(column + v * VW * WX, last);
        panels[v] =
            (__global const int *)(w + panel_stride * (ulong)(from >> 4)) + (from & 15);
    }
#pragma unroll
    for (int r = 0; r < MR; r++) {
        const int from = min(row + r, m - 1);
        rows[r] = (__global const int *)(q + (size_t)from * q_stride);
#if DOT > 4
        const float too_much = 0.0f;
#else
        // What OFFSET adds to each sum.
        const int too_much = OFFSET * (int)stats[2 * from + 1];
#endif
#pragma unroll
        for (int v = 0; v < NV; v++) sum[r][v] = (sumv)(-too_much);
    }
#define MULTIPLY(k, at)                                                                            \
    intv columns[NV];                                                                              \
    UNROLL                                                                                         \
    for (int v = 0; v < NV; v++) columns[v] = *(__global const intv *)(panels[v] + at);            \
    UNROLL                                                                                         \
    for (int r = 0; r < MR; r++) {                                                                 \
        const int value = rows[r][k];                                                              \
        UNROLL                                                                                     \
        for (int v = 0; v < NV; v++) sum[r][v] = DOT_STEP(sum[r][v], columns[v], value);           \
    }
    EACH_STEP(0, steps, 16, MULTIPLY)
#pragma unroll
    for (int r = 0; r < MR; r++) {
#pragma unroll
        for (int v = 0; v < NV; v++) {
            const int c = column + v * VW * WX;
            if (row + r >= m || c >= n) continue;
#if DOT > 4
            const floatv value = sum[r][v];
#else
            const floatv value =
                CONVERT_FLOATV(sum[r][v]) * (stats[2 * (row + r)] * LOADV(scales + c));
#endif
            finish(value, y + (row + r) * y_stride + c, bias ? bias + c : 0,
                   residual ? residual + (row + r) * residual_stride + c : 0, n - c);
        }
    }
}
#endif
