// SPDX-License-Identifier: MIT
// y = norm(dropout(x) + residual) * scale + bias over rows of C columns; see clf_op_norm.
// residual, sum, bias and stats may be NULL.
//   LAYER     1: layer norm, 0: RMS norm
//   TRAINING  1: with the arguments for dropout and stats
//   DROPOUT   1: with dropout; TRAINING is 1 then
//   HALF      1: x, y, residual and sum are half

#include "dropout.cl"

#if !DROPOUT
// Each work-item later reads only what it wrote itself, so no barrier is needed.
static void add_row(__global act *to, __global const act *x, __global const act *residual, int C) {
    EACH_VECTOR(c, C) STOREA(residual ? LOADA(x + c) + LOADA(residual + c) : LOADA(x + c), to + c);
    EACH_REST(c, C) SETA(residual ? GETA(x, c) + GETA(residual, c) : GETA(x, c), to, c);
}
#endif

static float lane_sum(__global const act *x, int C) {
    floatv sum = 0.0f;
    EACH_VECTOR(c, C) sum += LOADA(x + c);
    float rest = 0.0f;
    EACH_REST(c, C) rest += GETA(x, c);
    return SUMV(sum) + rest;
}

static float lane_squares(__global const act *x, float mean, int C) {
    floatv sum = 0.0f;
    EACH_VECTOR(c, C) {
        floatv d = LOADA(x + c) - mean;
        sum += d * d;
    }
    float rest = 0.0f;
    EACH_REST(c, C) rest += (GETA(x, c) - mean) * (GETA(x, c) - mean);
    return SUMV(sum) + rest;
}

#if LANES > 1 && !DROPOUT && !HALF
// A row that fits into the registers of its work-items, KEPT vectors of each, is read once.
#define KEPT 4
#define EACH_KEPT(i, c, C)                                                                         \
    UNROLL                                                                                         \
    for (int i = 0, c = LANE * VW; i < KEPT; i++, c += LANES * VW)                                 \
        if (c < (C))
#endif

__kernel void norm(MATRIX(act, y), MATRIX(const act, x), MATRIX(const act, residual),
                   MATRIX(act, sum), TENSOR(const float, scale), TENSOR(const float, bias),
                   const int rows, const int C, const float epsilon
#if TRAINING
                   ,
                   MATRIX(float, stats), DROPOUT_ARGUMENTS
#endif
) {
    ROW_SCRATCH
    USE(scale);
    USE(bias);
    EACH_ROW(row, rows) {
        __global act *to = ROW(y, row);
        __global const act *from = ROW(x, row);
#ifdef KEPT
        if (C % VW == 0 && C <= KEPT * LANES * VW) {
            floatv kept[KEPT], total = 0.0f, squares = 0.0f;
            EACH_KEPT(i, c, C) {
                kept[i] = LOADV(from + c);
                if (residual) kept[i] += LOADV(ROW(residual, row) + c);
                if (sum) STOREV(kept[i], ROW(sum, row) + c);
                total += kept[i];
            }
            const float mean = LAYER ? row_sum(SUMV(total)) / (float)C : 0.0f;
            EACH_KEPT(i, c, C) {
                kept[i] -= mean;
                squares += kept[i] * kept[i];
            }
            const float inverse = 1.0f / sqrt(row_sum(SUMV(squares)) / (float)C + epsilon);
#if TRAINING
            if (stats && LANE == 0) {
                ROW(stats, row)[0] = mean;
                ROW(stats, row)[1] = inverse;
            }
#endif
            EACH_KEPT(i, c, C) {
                const floatv v = kept[i] * inverse * LOADV(scale + c);
                STOREV(bias ? v + LOADV(bias + c) : v, to + c);
            }
            continue;
        }
#endif
        if (residual || sum || DROPOUT) {
            __global act *kept = sum ? ROW(sum, row) : to;
            __global const act *added = residual ? ROW(residual, row) : residual;
#if DROPOUT
            EACH_DRAW(b, j, C) {
                DRAW(scales, b, j, row);
                UNROLL
                for (int w = 0; w < 4; w++) {
                    const int c = 64 * b + 16 * w + j, left = C - c;
                    if (left <= 0) continue;
                    floatv v = DROP(LOAD_PARTA(from + c, left), scales, w);
                    STORE_PARTA(added ? v + LOAD_PARTA(added + c, left) : v, kept + c, left);
                }
            }
#if LANES > 1
            barrier(CLK_GLOBAL_MEM_FENCE);
#endif
#else
            add_row(kept, from, added, C);
#endif
            from = kept;
        }
#if LAYER
        float mean = row_sum(lane_sum(from, C)) / (float)C;
#else
        float mean = 0.0f;
#endif
        // The centred sum, not E[x^2] - E[x]^2: that one cancels when the mean is large.
        float variance = row_sum(lane_squares(from, mean, C)) / (float)C;
        float inverse = 1.0f / sqrt(variance + epsilon);
#if TRAINING
        if (stats && LANE == 0) {
            ROW(stats, row)[0] = mean;
            ROW(stats, row)[1] = inverse;
        }
#endif
        EACH_VECTOR(c, C) {
            floatv v = (LOADA(from + c) - mean) * inverse * LOADV(scale + c);
            STOREA(bias ? v + LOADV(bias + c) : v, to + c);
        }
        EACH_REST(c, C) {
            float v = (GETA(from, c) - mean) * inverse * scale[c];
            SETA(bias ? v + bias[c] : v, to, c);
        }
    }
}
