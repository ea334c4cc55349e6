// SPDX-License-Identifier: MIT
// Included where products run on matrix units: MATRIX_MULTIPLY(c, a, b) is c (16, 8) += a (16, 8) .
// b (8, 8), shared by 32 neighbouring work-items, all of which must come along. With g = lane / 4
// and t = lane % 4 a work-item holds
//   c[4]: (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1)
//   a[4]: (g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4)        b[2]: (t, g), (t + 4, g)
// Of a and b only the first 10 bits of the fraction count (TF32), products and sums are float.
//
//   UNIT 0: by hand through local memory, to test what uses it on any device
//        1: mma.sync of NVIDIA's compute capability 8.0 and later (PTX ISA, 9.7.14)

#ifndef UNIT
#define UNIT 0
#endif

// Arrays that a function works on are registers only if it is no call.
#define INLINE static inline __attribute__((always_inline))
// By hand a multiplication is too long for copies.
#if UNIT == 0
#undef UNROLL
#define UNROLL _Pragma("unroll 1")
#endif

#if UNIT == 1
// A member of LOCALS, then its name.
#define MATRIX_SCRATCH(items)
#define USE_SCRATCH
#define MATRIX_MULTIPLY(c, a, b) matrix_multiply(c, a, b)
INLINE void matrix_multiply(float c[4], const float a[4], const float b[2]) {
    __asm__("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
            "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(as_uint(a[0])), "r"(as_uint(a[1])), "r"(as_uint(a[2])), "r"(as_uint(a[3])),
              "r"(as_uint(b[0])), "r"(as_uint(b[1])));
}
#else
#define MATRIX_SCRATCH(items) float matrix_scratch[6 * (items)];
#define USE_SCRATCH           __local float *matrix_scratch = locals->matrix_scratch;
#define MATRIX_MULTIPLY(c, a, b) matrix_multiply(c, a, b, matrix_scratch)
INLINE float tf32(float x) { return as_float(as_uint(x) & 0xFFFFE000u); }
INLINE void matrix_multiply(float c[4], const float a[4], const float b[2],
                            __local float *scratch) {
    const int item = (int)get_local_id(0), lane = item % 32;
    for (int i = 0; i < 4; i++) scratch[6 * item + i] = tf32(a[i]);
    for (int i = 0; i < 2; i++) scratch[6 * item + 4 + i] = tf32(b[i]);
    barrier(CLK_LOCAL_MEM_FENCE);
    __local const float *all = scratch + 6 * (item - lane);
    UNROLL
    for (int e = 0; e < 4; e++) {
        const int row = lane / 4 + e / 2 * 8, column = lane % 4 * 2 + e % 2;
        for (int k = 0; k < 8; k++)
            c[e] += all[6 * (row % 8 * 4 + k % 4) + row / 8 + k / 4 * 2] *
                    all[6 * (column * 4 + k % 4) + 4 + k / 4];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}
#endif

// A float is the sum of two such numbers, but for the last bit: high, rounded to nearest, and low.
#define MATRIX_HIGH(x) as_float((as_uint(x) + 0x1000u) & 0xFFFFE000u)
