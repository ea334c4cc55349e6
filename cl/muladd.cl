// SPDX-License-Identifier: MIT
// Included where a * b + c is summed up.
//   FMA  1: the device promises that fma() is fast or right; 0: mad(), which may be fused too

#ifndef FMA
#define FMA 1
#endif

#if FMA
#define MULADD(a, b, c) fma(a, b, c)
#else
#define MULADD(a, b, c) mad(a, b, c)
#endif
