// SPDX-License-Identifier: MIT
// y (M, N) = act(x (M, K) . w (K, N) + bias (1, N)) + residual (M, N) and what belongs to it.
// Element (k, n) of w stands at panel_stride * (n / 16) + row_stride * k + n % 16.
//
// A work-item keeps MR rows x NC columns of y in registers, the columns as vectors of VW floats. A
// work-group has WX work-items along the columns and KL that share K: each sums one slice, then the
// slices are added in order. On a CPU both are 1. Groups count rows first, so that columns of w
// stay in the cache while the rows pass. An element of y is the same for every MR, NC and WX: the
// order of its sum depends on KL alone.
//
//   MR  1 to 12        NC  VW to 64, a power of two      WX, KL  any
//   FMA 1: the device promises that fma() is fast or right; 0: mad(), which may be fused too
//   ACT clf_activation (prelude.cl)
//   HALF what is half: 1 x, 2 y and residual, 4 w; added up

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
#ifndef FMA
#define FMA 1
#endif

#if HALF & 1
#define X half
#else
#define X float
#endif
#if HALF & 2
#define Y half
#else
#define Y float
#endif
#if HALF & 4
#define W half
#define LOAD_WEIGHTS(p) LOAD(W, p)
#else
#define W float
// Aligned: weights begin at a multiple of 16 floats.
#define LOAD_WEIGHTS(p) *(__global const floatv *)(p)
#endif

#define NV (NC / VW)

// Whether a compiler contracts a * b + c could depend on MR, and so the result.
#pragma OPENCL FP_CONTRACT OFF

#if FMA
#define MULADD(a, b, c) fma((floatv)(a), b, c)
#else
#define MULADD(a, b, c) mad((floatv)(a), b, c)
#endif

// For ACTIVATE (prelude.cl), scalars and vectors alike.
#define ERF(x) erf(x)
#define TANH(x) tanh(x)
#define SWISH(x, k) ((x) / (1.0f + exp(-(k) * (x))))

// Writes VW columns, of which `left` exist. bias and residual may be NULL.
static void finish(floatv value, __global Y *y, __global const float *bias,
                   __global const Y *residual, int left) {
    if (left >= VW) {
        if (bias) value += LOADV(bias);
        value = ACTIVATE(floatv, value);
        if (residual) value += LOAD(Y, residual);
        STORE(Y, value, y);
        return;
    }
    float part[VW];
    STOREV(value, part);
    for (int i = 0; i < left; i++) {
        float one = part[i];
        if (bias) one += bias[i];
        one = ACTIVATE(float, one);
        if (residual) one += GET(Y, residual, i);
        SET(Y, one, y, i);
    }
}

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
                     TENSOR(const float, bias), TENSOR(const Y, residual),
                     const ulong residual_stride, const int m, const int k_count, const int n) {
    USE(y);
    USE(x);
    USE(w);
    USE(bias);
    USE(residual);
    const int row = (int)get_group_id(0) * MR;
    const int column = ((int)get_group_id(1) * WX + (int)get_local_id(0)) * NC;
    const int slice = (int)get_local_id(1);
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
#ifdef BLOCK
    float block[MR][BLOCK];
#endif
    for (int k = slice * slice_length; k < end; k++) {
        floatv columns[NV];
#pragma unroll
        for (int v = 0; v < NV; v++) columns[v] = LOAD_WEIGHTS(panels[v] + row_stride * k);
#ifdef BLOCK
        const int i = (k - slice * slice_length) % BLOCK;
        for (int r = 0; i == 0 && r < MR; r++)
            load_block(block[r], x + min(row + r, m - 1) * x_stride + k, end - k);
#endif
#pragma unroll
        for (int r = 0; r < MR; r++) {
#ifdef BLOCK
            const float value = block[r][i];
#else
            const float value = GET(X, rows[r], k);
#endif
#pragma unroll
            for (int v = 0; v < NV; v++) sum[r][v] = MULADD(value, columns[v], sum[r][v]);
        }
    }

#if KL > 1
    __local floatv slices[KL * NV * WX];
    const int lane = (int)get_local_id(0);
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
            if (row + r < m && c < n)
                finish(sum[r][v], y + (row + r) * y_stride + c, bias ? bias + c : 0,
                       residual ? residual + (row + r) * residual_stride + c : 0, n - c);
        }
    }
}

// y = act(y + bias) + residual, after a product by CLBlast. Group (row, share of its columns).
__kernel void epilogue(TENSOR(Y, y), const ulong y_stride, TENSOR(const float, bias),
                       TENSOR(const Y, residual), const ulong residual_stride, const int n) {
    USE(y);
    USE(bias);
    USE(residual);
    const size_t row = get_group_id(0);
    y += row * y_stride;
    if (residual) residual += row * residual_stride;
    for (int c = (int)get_global_id(1) * VW; c < n; c += (int)get_global_size(1) * VW) {
        floatv value;
        if (c + VW <= n) {
            value = LOAD(Y, y + c);
        } else {
            float part[VW];
            for (int i = 0; i < VW; i++) part[i] = c + i < n ? GET(Y, y, c + i) : 0.0f;
            value = LOADV(part);
        }
        finish(value, y + c, bias ? bias + c : 0, residual ? residual + c : 0, n - c);
    }
}

// y (R, F) = act(x[:, 0:F]) * x[:, F:2F]. Group (row, share of its columns).
__kernel void gate(TENSOR(float, y), const ulong y_stride, TENSOR(const float, x),
                   const ulong x_stride, const int f) {
    USE(y);
    USE(x);
    y += get_group_id(0) * y_stride;
    x += get_group_id(0) * x_stride;
    const int step = (int)get_global_size(1) * VW;
    for (int c = (int)get_global_id(1) * VW; c < f; c += step) {
        if (c + VW <= f) {
            floatv value = LOADV(x + c);
            STOREV(ACTIVATE(floatv, value) * LOADV(x + f + c), y + c);
            continue;
        }
        for (int i = c; i < f; i++) y[i] = ACTIVATE(float, x[i]) * x[f + i];
    }
}
