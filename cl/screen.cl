// SPDX-License-Identifier: MIT
// The largest logit of each row of x . w, w (K, N), without reading all of w: a copy of w in int8 says
// how large each logit is within a bound, and only what may be the largest is computed from w; see
// clf_screen. With x = x' + dx and w = w' + dw, x' and w' rounded to int8,
//   |x.w - x'.w'| = |dx.w' + x.dw| <= |dx| |w'| + |x| |dw|    (Cauchy and Schwarz)
// for each row and column, and what floats add in rounding is in the bound too.
//   HALF   1: w is half
//   FMA    see muladd.cl
//   CHUNK  see chunk.cl

#include "chunk.cl"
#include "int8.cl"
#include "muladd.cl"

#define PANEL 16                // columns of w that are computed together
#define MORE 1.001f             // norms are sums of floats
#define TINY 1.0e-17f           // the norm of numbers whose squares underflow
#define ROUNDING 5.96046448e-8f // 2^-24, of one float operation

// VW columns of the copy: `to` with `offset` added, laid out as DOT of cl/linear.cl wants it, their
// scales, and norms (2, N padded): |dw|, the larger of |w| and |w'|. Infinite |dw|: a column that
// cannot be rounded.
__kernel void screen_weight(TENSOR(uchar, to), const ulong to_panel_stride, TENSOR(float, scales),
                            MATRIX(float, norms), const int limit, const int offset,
                            TENSOR(const act, w), const ulong panel_stride, const ulong row_stride,
                            const int k_count, const int n_padded) {
    const int column = (int)get_global_id(0) * VW;
    if (column >= n_padded) return;
    __global const act *from = w + w_at + panel_stride * (ulong)(column >> 4) + (column & 15);
    __global int *fours = (__global int *)(to + to_at + to_panel_stride * (ulong)(column >> 4));
    intv tops = 0;
    for (int k = 0; k < k_count; k++)
        tops = max(tops, AS_INTV(LOADA(from + row_stride * k)) & MAGNITUDE);
    const intv finite = tops < INFINITE;
    const floatv unit = AS_FLOATV(tops) / (float)limit;
    const floatv inverse = tops > 0 && finite ? 1.0f / unit : (floatv)(0.0f);
    floatv lost = 0.0f, whole = 0.0f, rounded = 0.0f;
    for (int first = 0; first < k_count; first += 4) {
        intv four = 0;
        for (int k = first; k < min(first + 4, k_count); k++) {
            const floatv value = LOADA(from + row_stride * k);
            const intv i = AS_INTV(value * inverse + INTEGERS) - AS_INTV((floatv)(INTEGERS));
            const floatv back = CONVERT_FLOATV(i) * unit;
            lost += (value - back) * (value - back);
            whole += value * value;
            rounded += back * back;
            four |= ((i + offset) & 255) << 8 * (k - first);
        }
#if VW == 1
        fours[16 * (first / 4) + (column & 15)] = four;
#else
        *(__global intv *)(fours + 16 * (first / 4) + (column & 15)) = four;
#endif
    }
    STOREV(unit, scales + scales_at + column);
    STOREV(finite ? MORE * sqrt(lost) + TINY : (floatv)(INFINITY), ROW(norms, 0) + column);
    STOREV(MORE * sqrt(fmax(whole, rounded)) + TINY, ROW(norms, 1) + column);
}

// Group (segment, row), of logits x'.w' as topk_segment (topk.cl) of those of x.w. errors (R, 2): |x|
// and |dx|. lowers (R, segments): a bound from below of the segment's largest logit; uppers (R, N /
// PANEL): bounds from above of every panel's.
__kernel void screen_segment(TENSOR(float, lowers), MATRIX(float, uppers),
                             MATRIX(const float, logits), const int n_slice, const int segment,
                             const int slice_segment, const int segments,
                             TENSOR(const float, errors), MATRIX(const float, norms),
                             const int k_count, TENSOR(const int, banned), const int banned_count) {
    ROW_SCRATCH
    LOCALS(float chunk[CHUNK];)
    __local float *const chunk = locals->chunk;
    USE(banned);
    const int row = (int)get_group_id(1), slice = slice_segment * segment;
    const int begin = slice + (int)get_group_id(0) * segment;
    const int end = min(slice + n_slice, begin + segment);
    __global const float *x = ROW(logits, row) - slice;
    __global const float *lost = ROW(norms, 0), *whole = ROW(norms, 1);
    errors += errors_at + 2 * row;
    const float size = MORE * errors[0] + TINY;
    const float off = MORE * errors[1] + TINY + size * ((k_count + 8) * ROUNDING);
    floatv lower = -INFINITY;
    for (int first = begin; first < end; first += CHUNK) {
        const int n = chunk_load(chunk, x + first, min(CHUNK, end - first));
        chunk_ban(chunk, first, n, banned, banned_count);
        for (int p = LANE * PANEL; p < n; p += LANES * PANEL) {
            floatv upper = -INFINITY;
            for (int c = p; c < min(p + PANEL, n); c += VW) {
                const floatv logit = LOADV(chunk + c);
                // What is banned is minus infinity, and stays it.
                const floatv error = size * LOADV(lost + first + c) +
                                     off * LOADV(whole + first + c) +
                                     4 * ROUNDING * fabs(fmax(logit, -FLT_MAX));
                lower = fmax(lower, logit - error);
                const floatv high = logit + error;
                upper = fmax(upper, high == high ? high : (floatv)(INFINITY));
            }
            ROW(uppers, row)[(first + p) / PANEL] = MAXV(upper);
        }
    }
    const float least = row_max(MAXV(lower));
    if (LANE == 0) lowers[lowers_at + row * segments + (int)get_group_id(0) + slice_segment] = least;
}

static bool is_banned(int column, __global const int *banned, int banned_count) {
    for (int i = 0; i < banned_count; i++) {
        if (banned[i] == column) return true;
    }
    return false;
}

#if LANES > 1
#define SHARES (LANES > PANEL ? LANES / PANEL : 1)
#define EACH_COLUMN(c) for (int c = LANE % PANEL; c < PANEL; c += LANES)

// sums[0 ... PANEL): a panel's products with x. The lanes share its columns and K.
static void panel_multiply(__local float *sums, __global const act *w, ulong row_stride,
                           __global const float *x, int k_count) {
    const int share = LANE / PANEL;
    EACH_COLUMN(c) {
        float sum = 0.0f;
        for (int k = share; k < k_count; k += SHARES)
            sum = MULADD(x[k], GETA(w, row_stride * k + c), sum);
        sums[share * PANEL + c] = sum;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (share == 0) {
        EACH_COLUMN(c) {
            for (int s = 1; s < SHARES; s++) sums[c] += sums[s * PANEL + c];
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}
#else
#define SHARES 1

// In the order of cl/linear.cl, so that it gives the same bits.
static void panel_multiply(__local float *sums, __global const act *w, ulong row_stride,
                           __global const float *x, int k_count) {
    for (int c = 0; c < PANEL; c += VW) {
        floatv sum = 0.0f;
        for (int k = 0; k < k_count; k++)
            sum = MULADD((floatv)(x[k]), LOADA(w + row_stride * k + c), sum);
        STOREV(sum, sums + c);
    }
}
#endif

// Group (segment, row): the largest logit of the segment that may be the row's largest, from x and w
// themselves. parts and part_ids as those of topk_segment for k = 1, but that the sum is 1: merged,
// the log-probability is one among the segments' best.
__kernel void screen_check(TENSOR(float, parts), TENSOR(int, part_ids), TENSOR(const float, lowers),
                           MATRIX(const float, uppers), const int n, const int segment,
                           const int segments, MATRIX(const float, x), TENSOR(const act, w),
                           const ulong panel_stride, const ulong row_stride, const int k_count,
                           TENSOR(const float, bias), TENSOR(const int, banned),
                           const int banned_count) {
    LOCALS(float sums[SHARES * PANEL];)
    __local float *const sums = locals->sums;
    USE(lowers);
    USE(w);
    USE(bias);
    USE(banned);
    const int row = (int)get_group_id(1), begin = (int)get_group_id(0) * segment;
    float top = -FLT_MAX, sum = 0.0f;
    int column = NONE;
    float known = -INFINITY;
    for (int s = 0; s < segments; s++) known = fmax(known, lowers[row * segments + s]);
    for (int first = begin; first < min(begin + segment, n); first += PANEL) {
        if (ROW(uppers, row)[first / PANEL] < known) continue;
        panel_multiply(sums, w + panel_stride * (ulong)(first / PANEL), row_stride, ROW(x, row),
                       k_count);
        for (int c = first; c < min(first + PANEL, n); c++) {
            const float value = sums[c - first] + (bias ? bias[c] : 0.0f);
            if (!(value < INFINITY)) sum = NAN;
            if (!(value > top) || is_banned(c, banned, banned_count)) continue;
            top = value;
            column = c;
        }
        known = fmax(known, top);
        LOCAL_BARRIER;
    }
    if (LANE > 0) return;
    const size_t part = (size_t)row * segments + get_group_id(0);
    parts += parts_at + 3 * part;
    parts[0] = top;
    parts[1] = column == NONE ? sum : sum + 1.0f;
    parts[2] = column == NONE ? -INFINITY : top;
    part_ids[part_ids_at + part] = column;
}
