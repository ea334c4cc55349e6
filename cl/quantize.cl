// SPDX-License-Identifier: MIT
// Rows in signed bytes with a scale for each row, for products of int8 (cl/linear.cl).

// A fused x * inverse + t could round the other way.
#pragma OPENCL FP_CONTRACT OFF

#if VW == 1
#define STORE_BYTES(i, p) (*(p) = (char)(i))
#define SUM_INTV(i) (i)
#else
#define STORE_BYTES(i, p) CAT(vstore, VW)(CAT(convert_char, VW)(i), 0, p)
// Exact: the integers are small.
#define SUM_INTV(i) (int)SUMV(CONVERT_FLOATV(i))
#endif

// A row of x as signed bytes, x = stats[0] * q, |q| <= 127, zeros up to a multiple of four, and
// stats[1] the sum of q. A row with a NaN or an infinity gets the scale NaN.
__kernel void quantize(TENSOR(char, q), const int q_stride, TENSOR(float, stats),
                       MATRIX(const float, x), const int rows, const int k_count) {
    ROW_SCRATCH
    USE(stats);
    EACH_ROW(row, rows) {
        __global const float *from = ROW(x, row);
        __global char *to = q + q_at + (size_t)row * q_stride;
        floatv most = 0.0f, zeros = 0.0f;
        float most_rest = 0.0f, zeros_rest = 0.0f;
        EACH_VECTOR(c, k_count) {
            const floatv v = LOADV(from + c);
            most = fmax(most, fabs(v));
            zeros += v * 0.0f;
        }
        EACH_REST(c, k_count) {
            most_rest = fmax(most_rest, fabs(from[c]));
            zeros_rest += from[c] * 0.0f;
        }
        const float top = row_max(fmax(MAXV(most), most_rest));
        const float zero = row_sum(SUMV(zeros) + zeros_rest); // NaN if x has one or an infinity
        const float inverse = top > 0.0f && zero == 0.0f ? 127.0f / top : 0.0f;
        int sum = 0;
        EACH_VECTOR(c, k_count) {
            // Rounds to even; the low bits of the sum are the integer.
            const intv i =
                AS_INTV(LOADV(from + c) * inverse + 12582912.0f) - AS_INTV((floatv)(12582912.0f));
            STORE_BYTES(i, to + c);
            sum += SUM_INTV(i);
        }
        EACH_REST(c, k_count) {
            const int i = as_int(from[c] * inverse + 12582912.0f) - as_int(12582912.0f);
            to[c] = (char)i;
            sum += i;
        }
        for (int c = k_count + LANE; c < q_stride; c += LANES) to[c] = 0;
        const float total = row_sum((float)sum);
        if (LANE == 0) {
            stats[2 * row] = top * (1.0f / 127.0f) + zero;
            stats[2 * row + 1] = total;
        }
    }
}
