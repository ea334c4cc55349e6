// SPDX-License-Identifier: MIT
// What follows a product that could not do it itself (cl/linear.cl does).
//   ACT, HALF  as in cl/finish.cl

#include "finish.cl"

// A work-item's columns.
#define FIRST (((int)get_group_id(1) * LANES + LANE) * VW)
#define STEP  ((int)get_num_groups(1) * LANES * VW)

// y = act(y + bias) + residual, after a product by CLBlast. Group (row, share of its columns).
__kernel void epilogue(TENSOR(Y, y), const ulong y_stride, TENSOR(const float, bias),
                       TENSOR(const Y, residual), const ulong residual_stride, const int n) {
    USE(y);
    USE(bias);
    USE(residual);
    const size_t row = get_group_id(0);
    y += row * y_stride;
    if (residual) residual += row * residual_stride;
    for (int c = FIRST; c < n; c += STEP) {
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
    for (int c = FIRST; c < f; c += STEP) {
        if (c + VW <= f) {
            floatv value = LOADV(x + c);
            STOREV(ACTIVATE(floatv, value) * LOADV(x + f + c), y + c);
            continue;
        }
        for (int i = c; i < f; i++) y[i] = ACTIVATE(float, x[i]) * x[f + i];
    }
}
