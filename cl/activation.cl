// SPDX-License-Identifier: MIT
// y = dropout(act(x)) over rows of F columns, and its gradient; see clf_op_activate.
//   ACT      clf_activation
//   DROPOUT  1: with dropout
//   HALF     1: all are half

#include "dropout.cl"

// By exp_negative, which is several times as fast as exp() on a CPU.
inline floatv sigmoid(floatv x) {
    const floatv e = exp_negative(-fabs(x));
    return (x < 0.0f ? e : (floatv)1.0f) / (1.0f + e);
}

// Within 1.2e-7: erfc(t) = e^(-t q(t)) for t >= 0, q a polynomial fitted to t < 4.2, beyond which
// it keeps growing.
inline floatv erf_fast(floatv x) {
    const floatv t = fabs(x);
    floatv q = 7.6826427e-7f * t - 1.5338806e-5f;
    q = q * t + 1.3242838e-4f;
    q = q * t - 6.3100428e-4f;
    q = q * t + 1.5981555e-3f;
    q = q * t - 3.1722433e-5f;
    q = q * t - 1.9260883e-2f;
    q = q * t + 1.0282230e-1f;
    q = q * t + 6.3661116e-1f;
    q = q * t + 1.1283797f;
    const floatv e = exp_negative(-t * q);
    return x < 0.0f ? e - 1.0f : 1.0f - e;
}

#define SWISH(x, k) ((x)*sigmoid((k) * (x)))
// 2 sigmoid(2x) - 1, but for its value plus one only.
#define TANH(x) (2.0f * sigmoid(2.0f * (x)) - 1.0f)
#define ERF(x)  erf_fast(x)

// act'(x)
static floatv slope(floatv x) {
#if ACT == ACT_NONE
    return 1.0f;
#elif ACT == ACT_RELU
    return x <= 0.0f ? (floatv)0.0f : (floatv)1.0f;
#elif ACT == ACT_GELU
    const floatv density = 0.39894228f * exp_negative(-0.5f * x * x);
    return 0.5f * (1.0f + ERF(x * 0.70710678f)) + x * density;
#else
    // act(x) = x sigmoid(z), and `rise` = x dz/dx.
#if ACT == ACT_GELU_TANH
    const floatv z = 2.0f * GELU_INNER(x);
    const floatv rise = 1.59576912f * x * (1.0f + 0.134145f * x * x);
#else
    const floatv z = SWISH_FACTOR * x, rise = z;
#endif
    const floatv s = sigmoid(z), all = s + s * sigmoid(-z) * rise;
    return fabs(z) > 87.0f ? s : all; // where `rise` may be infinite
#endif
}

__kernel void activate(MATRIX(act, y), MATRIX(const act, x), const int rows, const int F,
                       DROPOUT_ARGUMENTS) {
    EACH_ROW(row, rows) {
        __global act *to = ROW(y, row);
        __global const act *from = ROW(x, row);
        EACH_DRAW(b, j, F) {
            DRAW(scales, b, j, row);
            UNROLL
            for (int w = 0; w < 4; w++) {
                const int c = 64 * b + 16 * w + j, left = F - c;
                if (left <= 0) continue;
                const floatv v = LOAD_PARTA(from + c, left);
                STORE_PARTA(DROP(ACTIVATE(floatv, v), scales, w), to + c, left);
            }
        }
    }
}

__kernel void activate_backward(MATRIX(act, dx), MATRIX(const act, dy), MATRIX(const act, x),
                                const int rows, const int F, DROPOUT_ARGUMENTS) {
    EACH_ROW(row, rows) {
        __global act *to = ROW(dx, row);
        __global const act *in = ROW(dy, row), *at = ROW(x, row);
        EACH_DRAW(b, j, F) {
            DRAW(scales, b, j, row);
            UNROLL
            for (int w = 0; w < 4; w++) {
                const int c = 64 * b + 16 * w + j, left = F - c;
                if (left <= 0) continue;
                const floatv d = DROP(LOAD_PARTA(in + c, left), scales, w);
                STORE_PARTA(d * slope(LOAD_PARTA(at + c, left)), to + c, left);
            }
        }
    }
}
