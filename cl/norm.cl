// SPDX-License-Identifier: MIT
// y = norm(dropout(x) + residual) * scale + bias over rows of C columns; see clf_op_norm.
// residual, sum, bias and stats may be NULL.
//   LAYER     1: layer norm, 0: RMS norm
//   TRAINING  1: with the arguments for dropout and stats
//   DROPOUT   1: with dropout; TRAINING is 1 then

#if !DROPOUT
// Each work-item later reads only what it wrote itself, so no barrier is needed.
static void add_row(__global float *to, __global const float *x, __global const float *residual,
                    int C) {
    EACH_VECTOR(c, C) STOREV(residual ? LOADV(x + c) + LOADV(residual + c) : LOADV(x + c), to + c);
    EACH_REST(c, C) to[c] = residual ? x[c] + residual[c] : x[c];
}
#endif

static float lane_sum(__global const float *x, int C) {
    floatv sum = 0.0f;
    EACH_VECTOR(c, C) sum += LOADV(x + c);
    float rest = 0.0f;
    EACH_REST(c, C) rest += x[c];
    return SUMV(sum) + rest;
}

static float lane_squares(__global const float *x, float mean, int C) {
    floatv sum = 0.0f;
    EACH_VECTOR(c, C) {
        floatv d = LOADV(x + c) - mean;
        sum += d * d;
    }
    float rest = 0.0f;
    EACH_REST(c, C) rest += (x[c] - mean) * (x[c] - mean);
    return SUMV(sum) + rest;
}

__kernel void norm(MATRIX(float, y), MATRIX(const float, x), MATRIX(const float, residual),
                   MATRIX(float, sum), TENSOR(const float, scale), TENSOR(const float, bias),
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
        __global float *to = ROW(y, row);
        __global const float *from = ROW(x, row);
        if (residual || sum || DROPOUT) {
            __global float *kept = sum ? ROW(sum, row) : to;
            __global const float *added = residual ? ROW(residual, row) : residual;
#if DROPOUT
            EACH_DRAW(b, j, C) {
                DRAW(scales, b, j, row);
                UNROLL
                for (int w = 0; w < 4; w++) {
                    const int c = 64 * b + 16 * w + j, left = C - c;
                    if (left <= 0) continue;
                    floatv v = DROP(load_part(from + c, left), scales, w);
                    store_part(added ? v + load_part(added + c, left) : v, kept + c, left);
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
            floatv v = (LOADV(from + c) - mean) * inverse * LOADV(scale + c);
            STOREV(bias ? v + LOADV(bias + c) : v, to + c);
        }
        EACH_REST(c, C) {
            float v = (from[c] - mean) * inverse * scale[c];
            to[c] = bias ? v + bias[c] : v;
        }
    }
}
