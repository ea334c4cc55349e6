// SPDX-License-Identifier: MIT
// Included where act(value + bias) + residual is written.
//   ACT clf_activation (prelude.cl)
//   HALF 2 is added where what is written, and the residual, are half

#if HALF & 2
#define Y half
#else
#define Y float
#endif

// For ACTIVATE (prelude.cl), scalars and vectors alike.
#define ERF(x) erf(x)
#define TANH(x) tanh(x)
#define SWISH(x, k) ((x) / (1.0f + exp(-(k) * (x))))

// Writes VW columns, of which `left` exist. bias and residual may be NULL.
static void finish(floatv value, __global Y *y, __global const float *bias,
                   __global const Y *residual, int left) {
    // Whether a compiler contracts a * b + c could depend on a tile's size, and so the result.
#pragma OPENCL FP_CONTRACT OFF
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
