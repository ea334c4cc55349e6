// SPDX-License-Identifier: MIT
// The tile registers of AMX, for kernels of one work-item a group: registers 0 to 3 are the sums of two
// tiles of rows (0 and 1, 2 and 3) by two of columns, 4 and 5 the left factor's rows, 6 and 7 the right
// factor's columns.
//
//   AMX  1: its instructions        2: by hand, to test what uses them on any CPU

#ifndef AMX
#define AMX 2
#endif

#if AMX == 1
typedef struct tile_config {
    uchar palette, start, reserved[14];
    ushort bytes[16];
    uchar rows[16];
} tile_config;

// Before products: rows of the two tiles, 1 to 16, and the numbers of 32 bits in a row of the left
// factor. What registers held is lost.
inline void begin_tiles(int upper, int lower, int terms) {
    const ushort bytes = (ushort)(4 * terms);
    const tile_config config = {
        .palette = 1,
        .bytes = {64, 64, 64, 64, bytes, bytes, 64, 64},
        .rows = {upper, upper, lower, lower, upper, lower, terms, terms}};
    __asm__ volatile("ldtilecfg %0" : : "m"(config));
}
// After the last product of a work-item.
inline void end_tiles(void) { __asm__ volatile("tilerelease"); }

#define PRODUCTS(instruction)                                                                      \
    instruction " %%tmm6, %%tmm4, %%tmm0\n\t" instruction " %%tmm7, %%tmm4, %%tmm1\n\t"            \
    instruction " %%tmm6, %%tmm5, %%tmm2\n\t" instruction " %%tmm7, %%tmm5, %%tmm3\n\t"

// Sums of 32 bits, `stride` bytes from row to row.
#define ALL_SUMS(what, upper, lower, stride)                                                       \
    __asm__ volatile(what(0, "(%0,%2,1)") what(1, "64(%0,%2,1)") what(2, "(%1,%2,1)")              \
                         what(3, "64(%1,%2,1)")                                                    \
                     :                                                                             \
                     : "r"(upper), "r"(lower), "r"((long)(stride))                                 \
                     : "memory")
#define LOAD_SUM(i, from) "tileloadd " from ", %%tmm" #i "\n\t"
#define STORE_SUM(i, to)  "tilestored %%tmm" #i ", " to "\n\t"
#define CLEAR_SUMS                                                                                 \
    __asm__ volatile("tilezero %%tmm0\n\ttilezero %%tmm1\n\ttilezero %%tmm2\n\ttilezero %%tmm3"    \
                     :                                                                             \
                     :                                                                             \
                     : "memory")
#else
inline void begin_tiles(int upper, int lower, int terms) {}
inline void end_tiles(void) {}
#endif
