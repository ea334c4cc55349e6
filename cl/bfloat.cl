// SPDX-License-Identifier: MIT
// Included where products round their factors to bfloat16 and take two neighbours of a sum at once:
// the first in the low half of 32 bits, the second in the high one.
//
//   BFLOAT  1: vcvtneps2bf16 and vdpbf16ps of AVX-512 BF16, VW 16
//           2: by hand, to test what uses it on any device

typedef CAT(ushort, VW) bfloats __attribute__((aligned(2)));
#define CONVERT_BFLOATS(v) CAT(convert_ushort, VW)(v)

#if BFLOAT == 1
inline uint16 bfloat_bits(float16 x) {
    ushort16 bits;
    __asm__("vcvtneps2bf16 %1, %0" : "=v"(bits) : "v"(x));
    return convert_uint16(bits);
}
#else
// To the nearest, of two the even one; a NaN keeps what makes it one.
inline uintv bfloat_bits(floatv x) {
    const uintv bits = AS_UINTV(x);
    const uintv rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
    return (AS_INTV(bits) & 0x7FFFFFFF) > 0x7F800000 ? (bits >> 16) | 0x40u : rounded;
}
#endif

inline intv bfloat_pairs(floatv first, floatv second) {
    return AS_INTV(bfloat_bits(first) | bfloat_bits(second) << 16);
}

inline floatv first_of(intv pairs) { return AS_FLOATV(pairs << 16); }
inline floatv second_of(intv pairs) { return AS_FLOATV(pairs & (int)0xFFFF0000); }

// sum + the products of a's and b's two numbers, in each lane.
inline floatv dot2(floatv sum, intv a, int b) {
#if BFLOAT == 1
    __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"((int16)(b)));
    return sum;
#else
    sum += second_of(a) * second_of((intv)(b));
    return sum + first_of(a) * first_of((intv)(b));
#endif
}
