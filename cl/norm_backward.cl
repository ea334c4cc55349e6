// SPDX-License-Identifier: MIT
// The gradient of norm.cl; see clf_op_norm_backward. With n = (sum - mean) * inverse and
// g = dy * scale:
//     dsum = inverse * (g - average(g) - n * average(g n)) + extra    (RMS: without average(g))
//     dx = dropout(dsum),  dscale += the rows' sum of dy * n,  dbias += the rows' sum of dy
// A work-group adds up its rows' share of dscale and dbias in its row of `partial`, which
// norm_parameters then adds in order.
//   LAYER    1: layer norm, 0: RMS norm
//   BIAS     1: partial (groups, 2C) has dbias in its second half; 0: partial (groups, C)
//   DROPOUT  1: dx is not dsum but dropout(dsum)
//   HALF     1: dy, extra, sum, dsum and dx are half

#include "dropout.cl"

static void add_to(__global float *p, floatv v, int left, bool first) {
    store_part(first ? v : load_part(p, left) + v, p, left);
}

// extra and dx may be NULL.
__kernel void norm_backward(MATRIX(act, dsum), MATRIX(act, dx), MATRIX(const act, dy),
                            MATRIX(const act, extra), MATRIX(const act, sum),
                            MATRIX(const float, stats), TENSOR(const float, scale),
                            MATRIX(float, partial), const int rows, const int C,
                            DROPOUT_ARGUMENTS) {
    ROW_SCRATCH
    USE(scale);
    __global float *dscale = ROW(partial, get_group_id(0));
    EACH_ROW(row, rows) {
        __global const act *in = ROW(dy, row), *from = ROW(sum, row);
        __global const act *added = extra ? ROW(extra, row) : extra;
        __global act *to = ROW(dsum, row), *dropped = dx ? ROW(dx, row) : dx;
        const float mean = ROW(stats, row)[0], inverse = ROW(stats, row)[1];
        const bool first = row == (int)get_group_id(0);

        floatv sums = 0.0f, products = 0.0f;
        for (int c = LANE * VW; c < C; c += LANES * VW) {
            const int left = C - c;
            const floatv d = LOAD_PARTA(in + c, left);
            const floatv n = (LOAD_PARTA(from + c, left) - mean) * inverse;
            const floatv g = d * load_part(scale + c, left);
            add_to(dscale + c, d * n, left, first);
#if BIAS
            add_to(dscale + C + c, d, left, first);
#endif
            sums += g;
            products += g * n;
        }
#if LAYER
        const float average = row_sum(SUMV(sums)) / (float)C;
#else
        const float average = 0.0f;
#endif
        const float along = row_sum(SUMV(products)) / (float)C;

        EACH_DRAW(b, j, C) {
            DRAW(scales, b, j, row);
            UNROLL
            for (int w = 0; w < 4; w++) {
                const int c = 64 * b + 16 * w + j, left = C - c;
                if (left <= 0) continue;
                const floatv n = (LOAD_PARTA(from + c, left) - mean) * inverse;
                const floatv g = LOAD_PARTA(in + c, left) * load_part(scale + c, left);
                floatv d = (g - average - n * along) * inverse;
                if (added) d += LOAD_PARTA(added + c, left);
                STORE_PARTA(d, to + c, left);
                if (dropped) STORE_PARTA(DROP(d, scales, w), dropped + c, left);
            }
        }
    }
}

// dscale += the columns' sums of partial (groups, C or 2C), dbias likewise. With LANES 1 a work-item
// has VW columns, else one column and a share of the groups; local size at most (16, 16).
#if LANES == 1
__kernel void norm_parameters(TENSOR(float, dscale), TENSOR(float, dbias),
                              MATRIX(const float, partial), const int groups, const int C) {
    USE(dscale);
    USE(dbias);
    for (int c = (int)get_global_id(0) * VW; c < C; c += (int)get_global_size(0) * VW) {
        const int left = C - c;
        floatv scales = 0.0f, biases = 0.0f;
        for (int g = 0; g < groups; g++) {
            scales += load_part(ROW(partial, g) + c, left);
            if (BIAS) biases += load_part(ROW(partial, g) + C + c, left);
        }
        add_to(dscale + c, scales, left, false);
        if (BIAS) add_to(dbias + c, biases, left, false);
    }
}
#else
__kernel void norm_parameters(TENSOR(float, dscale), TENSOR(float, dbias),
                              MATRIX(const float, partial), const int groups, const int C) {
    __local float shares[2][16][16];
    USE(dscale);
    USE(dbias);
    const int column = (int)get_local_id(0), share = (int)get_local_id(1);
    const int c = (int)get_global_id(0), step = (int)get_local_size(1);
    float scale = 0.0f, bias = 0.0f;
    for (int g = share; g < groups && c < C; g += step) {
        scale += ROW(partial, g)[c];
        if (BIAS) bias += ROW(partial, g)[C + c];
    }
    shares[0][share][column] = scale;
    shares[1][share][column] = bias;
    barrier(CLK_LOCAL_MEM_FENCE);
    if (share > 0 || c >= C) return;
    for (int s = 1; s < step; s++) {
        scale += shares[0][s][column];
        bias += shares[1][s][column];
    }
    dscale[c] += scale;
    if (BIAS) dbias[c] += bias;
}
#endif
