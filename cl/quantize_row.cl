// SPDX-License-Identifier: MIT
// Included where rows become signed bytes with a scale for each row, for products of int8
// (cl/linear.cl). QUANTIZED is the address space of the bytes.

// A fused x * inverse + t could round the other way.
#pragma OPENCL FP_CONTRACT OFF

#if VW == 1
#define STORE_BYTES(i, p) (*(p) = (char)(i))
#define SUM_INTV(i) (float)(i)
#else
#define STORE_BYTES(i, p) CAT(vstore, VW)(CAT(convert_char, VW)(i), 0, p)
// Exact: the integers are small.
#define SUM_INTV(i) SUMV(CONVERT_FLOATV(i))
#endif

#if LANES == 1
#define QUANTIZE_ROW(to, length, x, k_count) quantize_row(to, length, x, k_count)
#define ROW_SCRATCH_PARAMETER
#else
#define QUANTIZE_ROW(to, length, x, k_count) quantize_row(to, length, x, k_count, row_scratch)
#define ROW_SCRATCH_PARAMETER , __local float *row_scratch
#endif

// x = scale * to, |to| <= 127, zeros up to `length`. Returns the scale and the sum of `to`, all
// lanes the same. A row with a NaN or an infinity gets the scale NaN.
inline float2 quantize_row(QUANTIZED char *to, int length, __global const float *x,
                           int k_count ROW_SCRATCH_PARAMETER) {
    floatv most = 0.0f, zeros = 0.0f;
    float most_rest = 0.0f, zeros_rest = 0.0f;
    EACH_VECTOR(c, k_count) {
        const floatv v = LOADV(x + c);
        most = fmax(most, fabs(v));
        zeros += v * 0.0f;
    }
    EACH_REST(c, k_count) {
        most_rest = fmax(most_rest, fabs(x[c]));
        zeros_rest += x[c] * 0.0f;
    }
    const float top = row_max(fmax(MAXV(most), most_rest));
    const float zero = row_sum(SUMV(zeros) + zeros_rest); // NaN if x has one or an infinity
    const float inverse = top > 0.0f && zero == 0.0f ? 127.0f / top : 0.0f;
    intv sums = 0;
    float sum = 0.0f;
    EACH_VECTOR(c, k_count) {
        // Rounds to even; the low bits of the sum are the integer.
        const intv i =
            AS_INTV(LOADV(x + c) * inverse + 12582912.0f) - AS_INTV((floatv)(12582912.0f));
        STORE_BYTES(i, to + c);
        sums += i;
    }
    EACH_REST(c, k_count) {
        const int i = as_int(x[c] * inverse + 12582912.0f) - as_int(12582912.0f);
        to[c] = (char)i;
        sum += (float)i;
    }
    for (int c = k_count + LANE; c < length; c += LANES) to[c] = 0;
    return (float2)(top * (1.0f / 127.0f) + zero, row_sum(SUM_INTV(sums) + sum));
}
