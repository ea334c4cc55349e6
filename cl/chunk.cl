// SPDX-License-Identifier: MIT
// Included where rows of logits pass through local memory CHUNK at a time; there banned columns become
// minus infinity.
//   CHUNK  columns at a time, a multiple of VW

#ifndef CHUNK
#define CHUNK 1024
#endif

#define NONE INT_MAX // no column: higher than any, so that it loses every tie

#if LANES == 1
#define LOCAL_BARRIER
#else
#define LOCAL_BARRIER barrier(CLK_LOCAL_MEM_FENCE)
#endif

// Brings n <= CHUNK columns into `chunk`, filled up with minus infinity to whole vectors; returns
// that length.
static int chunk_load(__local float *chunk, __global const float *x, int n) {
    LOCAL_BARRIER;
    EACH_VECTOR(c, n) STOREV(LOADV(x + c), chunk + c);
    int padded = (n + VW - 1) / VW * VW;
    for (int c = n / VW * VW + LANE; c < padded; c += LANES) chunk[c] = c < n ? x[c] : -INFINITY;
    LOCAL_BARRIER;
    return padded;
}

static void chunk_ban(__local float *chunk, int first, int n, __global const int *banned,
                      int banned_count) {
    LOCAL_BARRIER;
    for (int i = LANE; i < banned_count; i += LANES) {
        int c = banned[i] - first;
        if (c >= 0 && c < n) chunk[c] = -INFINITY;
    }
    LOCAL_BARRIER;
}
