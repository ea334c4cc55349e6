// SPDX-License-Identifier: MIT
// Rows in signed bytes with a scale for each row, for products of int8 (cl/linear.cl).

#include "int8.cl"

#if VW == 1
#define STORE_BYTES(i, p) (*(p) = (char)(i))
#define SUM_INTV(i) (float)(i)
#else
// Rows begin at multiples of four; vstore would write byte by byte on PoCL.
#if VW >= 8
typedef CAT(char, VW) bytes_t __attribute__((aligned(4)));
#else
typedef CAT(char, VW) bytes_t;
#endif
#define STORE_BYTES(i, p) (*(__global bytes_t *)(p) = CAT(convert_char, VW)(i))
// Exact: the integers are small.
#define SUM_INTV(i) SUMV(CONVERT_FLOATV(i))
#endif

// A row of x as signed bytes, x = stats[0] * q, |q| <= 127, zeros up to a multiple of four, and
// stats[1] the sum of q. A row with a NaN or an infinity gets the scale NaN. errors (R, 2) may be NULL:
// the norms |x| and |x - stats[0] * q|.
__kernel void quantize(TENSOR(char, q), const int q_stride, TENSOR(float, stats),
                       TENSOR(float, errors), MATRIX(const float, x), const int rows,
                       const int k_count) {
    // A fused x * inverse + t could round the other way.
#pragma OPENCL FP_CONTRACT OFF
    ROW_SCRATCH
    USE(stats);
    USE(errors);
    EACH_ROW(row, rows) {
        __global const float *from = ROW(x, row);
        __global char *to = q + q_at + (size_t)row * q_stride;
        intv tops = 0;
        int top_rest = 0;
        EACH_VECTOR(c, k_count) tops = max(tops, AS_INTV(LOADV(from + c)) & MAGNITUDE);
        EACH_REST(c, k_count) top_rest = max(top_rest, as_int(from[c]) & MAGNITUDE);
        const floatv most = AS_FLOATV(tops);
        const float top = row_max(fmax(MAXV(most), as_float(top_rest)));
        const bool lane_finite = !ANYV(tops >= INFINITE) && top_rest < INFINITE;
        const bool finite = row_max(lane_finite ? 0.0f : 1.0f) == 0.0f;
        const float inverse = top > 0.0f && finite ? 127.0f / top : 0.0f;
        const float scale = finite ? top * (1.0f / 127.0f) : NAN;
        intv sums = 0;
        float sum = 0.0f, size_rest = 0.0f, loss_rest = 0.0f;
        floatv sizes = 0.0f, losses = 0.0f;
        EACH_VECTOR(c, k_count) {
            const floatv value = LOADV(from + c);
            const intv i = AS_INTV(value * inverse + INTEGERS) - AS_INTV((floatv)(INTEGERS));
            const floatv loss = value - CONVERT_FLOATV(i) * scale;
            STORE_BYTES(i, to + c);
            sums += i;
            sizes += value * value;
            losses += loss * loss;
        }
        EACH_REST(c, k_count) {
            const float value = from[c];
            const int i = as_int(value * inverse + INTEGERS) - as_int(INTEGERS);
            const float loss = value - (float)i * scale;
            to[c] = (char)i;
            sum += (float)i;
            size_rest += value * value;
            loss_rest += loss * loss;
        }
        for (int c = k_count + LANE; c < q_stride; c += LANES) to[c] = 0;
        const float total = row_sum(SUM_INTV(sums) + sum);
        if (LANE == 0) {
            stats[2 * row] = scale;
            stats[2 * row + 1] = total;
        }
        if (errors) {
            const float size = row_sum(SUMV(sizes) + size_rest);
            const float loss = row_sum(SUMV(losses) + loss_rest);
            if (LANE == 0) {
                errors[2 * row] = sqrt(size);
                errors[2 * row + 1] = sqrt(loss);
            }
        }
    }
}
