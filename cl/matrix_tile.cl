// SPDX-License-Identifier: MIT
// Included where products on matrix units go through local memory: a work-group has WM x WN warps, a
// tile of cl/matrix_step.cl each, with MT 4.

#include "matrix_step.cl"

#define GROUP_ROWS    (TILE_ROWS * WM)
#define GROUP_COLUMNS (TILE_COLUMNS * WN)
// Floats from one k to the next in local memory: t and g then never meet in a bank.
#define A_STRIDE (GROUP_ROWS + 8)
#define B_STRIDE (GROUP_COLUMNS + 8)
// Vectors of four that each work-item brings.
#define A_LOADS (GROUP_ROWS * STEP / 4 / ITEMS)
#define B_LOADS (GROUP_COLUMNS * STEP / 4 / ITEMS)

INLINE void multiply_tiles(float sum[MT][4][4], __local const float *a_tile,
                           __local const float *b_tile SCRATCH_PARAMETER) {
    float a[MT][2][4], b[4][4];
    UNROLL
    for (int k = 0; k < 4; k++) {
        __local const float *from = a_tile + (LANE_K + 4 * k) * A_STRIDE + MT * LANE_ROW;
        UNROLL
        for (int h = 0; h < 2; h++) {
            const float4 rows = *(__local const float4 *)(from + 8 * MT * h);
            a[0][h][k] = rows.x, a[1][h][k] = rows.y, a[2][h][k] = rows.z, a[3][h][k] = rows.w;
        }
        const float4 columns =
            *(__local const float4 *)(b_tile + (LANE_K + 4 * k) * B_STRIDE + 4 * LANE_ROW);
        b[0][k] = columns.x, b[1][k] = columns.y, b[2][k] = columns.z, b[3][k] = columns.w;
    }
    multiply_step(sum, a, b SCRATCH_ARGUMENT);
}

// Declares what follows, then walks k from `first` to `end`: while a step is multiplied, the next one
// is on its way. LOAD_A(i, k), LOAD_B(i, k) bring a work-item's i-th vector of the step at k,
// STORE_A(tile, value, i), STORE_B put it in place; EACH_STEP does more with a step's b_tile.
#define EACH_TILE(first, end)                                                                      \
    float4 a_next[A_LOADS], b_next[B_LOADS];                                                       \
    LOAD_STEP(first)                                                                               \
    for (int k_ = (first), turn = 0; k_ < (end); k_ += STEP, turn ^= 1) {                          \
        __local float *a_tile = locals->a_tiles + turn * (STEP * A_STRIDE);                        \
        __local float *b_tile = locals->b_tiles + turn * (STEP * B_STRIDE);                        \
        UNROLL                                                                                     \
        for (int i = 0; i < A_LOADS; i++) STORE_A(a_tile, a_next[i], i);                           \
        UNROLL                                                                                     \
        for (int i = 0; i < B_LOADS; i++) STORE_B(b_tile, b_next[i], i);                           \
        barrier(CLK_LOCAL_MEM_FENCE);                                                              \
        LOAD_STEP(k_ + STEP)                                                                       \
        EACH_STEP(b_tile)                                                                          \
        multiply_tiles(sum, a_tile + warp_row, b_tile + warp_column SCRATCH_ARGUMENT);             \
    }
#define LOAD_STEP(k)                                                                               \
    UNROLL                                                                                         \
    for (int i = 0; i < A_LOADS; i++) a_next[i] = LOAD_A(i, k);                                    \
    UNROLL                                                                                         \
    for (int i = 0; i < B_LOADS; i++) b_next[i] = LOAD_B(i, k);

#define WARP ((int)get_local_id(0) / 32)
#define TILES                                                                                      \
    LOCALS(float a_tiles[2 * STEP * A_STRIDE] __attribute__((aligned(16)));                        \
           float b_tiles[2 * STEP * B_STRIDE] __attribute__((aligned(16))); MATRIX_SCRATCH(ITEMS)) \
    USE_SCRATCH                                                                                    \
    const int warp_row = WARP % WM * TILE_ROWS, warp_column = WARP / WM * TILE_COLUMNS;            \
    float sum[MT][4][4];                                                                           \
    clear(sum);

// A work-item's i-th vector of a step.
#define VECTOR(i) ((i)*ITEMS + (int)get_local_id(0))
// Four columns of one k.
#define B_COLUMN(i) (VECTOR(i) % (GROUP_COLUMNS / 4) * 4)
#define B_ROW(i) (VECTOR(i) / (GROUP_COLUMNS / 4))
#define STORE_B(tile, value, i)                                                                    \
    (*(__local float4 *)(tile + B_ROW(i) * B_STRIDE + B_COLUMN(i)) = (value))
