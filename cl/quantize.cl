// SPDX-License-Identifier: MIT
// Rows in signed bytes with a scale for each row, for products of int8 (cl/linear.cl).

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
// stats[1] the sum of q. A row with a NaN or an infinity gets the scale NaN.
__kernel void quantize(TENSOR(char, q), const int q_stride, TENSOR(float, stats),
                       MATRIX(const float, x), const int rows, const int k_count) {
    // A fused x * inverse + t could round the other way.
#pragma OPENCL FP_CONTRACT OFF
    ROW_SCRATCH
    USE(stats);
    EACH_ROW(row, rows) {
        __global const float *from = ROW(x, row);
        __global char *to = q + q_at + (size_t)row * q_stride;
        // Magnitudes as integers, which is their order, NaN above all.
        intv tops = 0;
        int top_rest = 0;
        EACH_VECTOR(c, k_count) tops = max(tops, AS_INTV(LOADV(from + c)) & 0x7FFFFFFF);
        EACH_REST(c, k_count) top_rest = max(top_rest, as_int(from[c]) & 0x7FFFFFFF);
        const floatv most = AS_FLOATV(tops);
        const float rest = as_float(top_rest);
        const float top = row_max(fmax(MAXV(most), rest));
        // NaN if x has one or an infinity.
        const float zero = row_sum(SUMV(most * 0.0f) + rest * 0.0f);
        const float inverse = top > 0.0f && zero == 0.0f ? 127.0f / top : 0.0f;
        intv sums = 0;
        float sum = 0.0f;
        EACH_VECTOR(c, k_count) {
            // Rounds to even; the low bits of the sum are the integer.
            const intv i =
                AS_INTV(LOADV(from + c) * inverse + 12582912.0f) - AS_INTV((floatv)(12582912.0f));
            STORE_BYTES(i, to + c);
            sums += i;
        }
        EACH_REST(c, k_count) {
            const int i = as_int(from[c] * inverse + 12582912.0f) - as_int(12582912.0f);
            to[c] = (char)i;
            sum += (float)i;
        }
        for (int c = k_count + LANE; c < q_stride; c += LANES) to[c] = 0;
        const float total = row_sum(SUM_INTV(sums) + sum);
        if (LANE == 0) {
            stats[2 * row] = top * (1.0f / 127.0f) + zero;
            stats[2 * row + 1] = total;
        }
    }
}
