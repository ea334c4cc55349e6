// SPDX-License-Identifier: MIT
// Included where rows become signed bytes with a scale for each row, for products of int8
// (cl/linear.cl). QUANTIZED is the address space of the bytes.

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
#define STORE_BYTES(i, p) (*(QUANTIZED bytes_t *)(p) = CAT(convert_char, VW)(i))
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
    // A fused x * inverse + t could round the other way.
#pragma OPENCL FP_CONTRACT OFF
    // Magnitudes as integers, which is their order, NaN above all.
    intv tops = 0;
    int top_rest = 0;
    EACH_VECTOR(c, k_count) tops = max(tops, AS_INTV(LOADV(x + c)) & 0x7FFFFFFF);
    EACH_REST(c, k_count) top_rest = max(top_rest, as_int(x[c]) & 0x7FFFFFFF);
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
