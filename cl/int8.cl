// SPDX-License-Identifier: MIT
// Included where floats are rounded to int8.

// Magnitudes as integers, which is their order: infinity, and above it NaN. Not every compiler keeps
// 0 * NaN.
#define MAGNITUDE 0x7FFFFFFF
#define INFINITE  0x7F800000

// 1.5 * 2^23: what is added to it is rounded to even, and the low bits of the sum are the integer.
#define INTEGERS 12582912.0f
