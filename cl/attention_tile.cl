// SPDX-License-Identifier: MIT
// Scaled dot-product attention and its gradient where one work-item is one work-group (CPU): online
// softmax over tiles of keys (Milakov, Gimelshein 2018; Dao et al. 2022), each tile two small
// matrix products in the first-level cache: p = q . k^T, vectors along keys, then o += p . v,
// vectors along D. The gradient has five, of the same two kinds.
// Group (query block, head, sequence); see clf_op_attention.
//   D        head width, a multiple of VW
//   TQ       queries per block, a multiple of 4
//   TK       keys per tile, a power of two up to 64, a multiple of 2 VW
//   DROPOUT  1: with dropout on the weights
//   LSE      1: attention() writes lse
//   HALF     1: all but lse are half; gradients are summed in float over a tile

#include "dropout.cl"

#ifndef LSE
#define LSE 0
#endif

// Vectors of D that add_values handles at once.
#if D / VW % 2 == 0
#define WIDE 2
#else
#define WIDE 1
#endif

#if HALF
#define LOAD4(p) vload_half4(0, p)
#define QUERY(i, d) floats[i][d]
#else
#define LOAD4(p) vload4(0, p)
#define QUERY(i, d) row[i][d]
#endif

// Copies rows transposed and scaled; columns from `keys` to `all` are zero.
static void load_keys(__local float *kt, __global const act *k, size_t stride, int keys, int all,
                      float scale) {
#if D % 4 == 0 && TK % 4 == 0
    for (int j = 0; j < keys; j += 4) {
        const int more = keys - 1 - j;
        __global const act *row[4];
        UNROLL
        for (int i = 0; i < 4; i++) row[i] = k + (j + min(i, more)) * stride;
        for (int d = 0; d < D; d += 4) {
            float4 a = scale * LOAD4(row[0] + d), b = scale * LOAD4(row[1] + d);
            float4 c = scale * LOAD4(row[2] + d), e = scale * LOAD4(row[3] + d);
            if (more < 1) b = 0.0f;
            if (more < 2) c = 0.0f;
            if (more < 3) e = 0.0f;
            __local float *to = kt + d * TK + j;
            vstore4((float4)(a.x, b.x, c.x, e.x), 0, to);
            vstore4((float4)(a.y, b.y, c.y, e.y), 0, to + TK);
            vstore4((float4)(a.z, b.z, c.z, e.z), 0, to + 2 * TK);
            vstore4((float4)(a.w, b.w, c.w, e.w), 0, to + 3 * TK);
        }
    }
    keys = (keys + 3) / 4 * 4;
#else
    for (int j = 0; j < keys; j++) {
        for (int d = 0; d < D; d++) kt[d * TK + j] = scale * GETA(k, j * stride + d);
    }
#endif
    for (int j = keys; j < all; j++) {
        for (int d = 0; d < D; d++) kt[d * TK + j] = 0.0f;
    }
}

// p[0:4, 0:keys] = q . kt for four rows of queries, `more` of them after the first one; a row that
// is not there is the last one again.
static void multiply_keys(__local float *p, __global const act *q, size_t stride, int more,
                          __local const float *kt, int keys) {
    __global const act *row[4];
    UNROLL
    for (int i = 0; i < 4; i++) row[i] = q + min(i, more) * stride;
#if HALF
    // Halfs convert slowly one by one.
    float floats[4][D];
    for (int d = 0; d < D; d += VW) {
        UNROLL
        for (int i = 0; i < 4; i++) STOREV(LOADA(row[i] + d), floats[i] + d);
    }
#endif
    int j = 0;
    for (; j + VW < keys; j += 2 * VW) {
        floatv a[4], b[4];
        UNROLL
        for (int i = 0; i < 4; i++) a[i] = b[i] = 0.0f;
        for (int d = 0; d < D; d++) {
            floatv k0 = LOADV(kt + d * TK + j), k1 = LOADV(kt + d * TK + j + VW);
            UNROLL
            for (int i = 0; i < 4; i++) {
                a[i] += QUERY(i, d) * k0;
                b[i] += QUERY(i, d) * k1;
            }
        }
        UNROLL
        for (int i = 0; i < 4; i++) {
            STOREV(a[i], p + i * TK + j);
            STOREV(b[i], p + i * TK + j + VW);
        }
    }
    if (j >= keys) return;
    floatv a[4];
    UNROLL
    for (int i = 0; i < 4; i++) a[i] = 0.0f;
    for (int d = 0; d < D; d++) {
        floatv k0 = LOADV(kt + d * TK + j);
        UNROLL
        for (int i = 0; i < 4; i++) a[i] += QUERY(i, d) * k0;
    }
    UNROLL
    for (int i = 0; i < 4; i++) STOREV(a[i], p + i * TK + j);
}

#if DROPOUT
// Applies dropout to row `row` of a tile whose first key is number `first`.
static void drop(__local float *p, int first, uint row, DROPOUT_ARGUMENTS) {
    for (int j = 0; j < 16; j += VW) {
        floatv scales[4];
        DROPOUT_SCALES(scales, first / 64, j, row);
        for (int w = 0; w < 4; w++) {
            int at = first / 64 * 64 + 16 * w + j - first;
            if (at >= 0 && at < TK) STOREV(LOADV(p + at) * scales[w], p + at);
        }
    }
}
#endif

// Turns `all` scores of a row into weights e^(score - top), zero from `keys` on, with the row's new
// running maximum `top`; returns the sum of the weights.
static float weigh(__local float *p, int keys, int all, __local float *top) {
    for (int j = max(keys, 0); j < all; j++) p[j] = LOWEST;
    floatv largest = *top;
    for (int j = 0; j < all; j += VW) largest = fmax(largest, LOADV(p + j));
    *top = MAXV(largest);
    floatv sum = 0.0f;
    for (int j = 0; j < all; j += VW) {
        floatv e = exp_negative(LOADV(p + j) - *top);
        STOREV(e, p + j);
        sum += e;
    }
    return SUMV(sum);
}

// o[0:4, 0:D] = shrink[0:4] * o + p[0:4, 0:keys] . v
static void add_values(__local float *o, __local const float *p, __local const float *shrink,
                       __global const act *v, size_t stride, int keys) {
    for (int d = 0; d < D; d += VW * WIDE) {
        floatv a[4][WIDE];
        UNROLL
        for (int i = 0; i < 4; i++) {
            UNROLL
            for (int w = 0; w < WIDE; w++) a[i][w] = shrink[i] * LOADV(o + i * D + d + w * VW);
        }
        for (int j = 0; j < keys; j++) {
            UNROLL
            for (int w = 0; w < WIDE; w++) {
                floatv value = LOADA(v + j * stride + d + w * VW);
                UNROLL
                for (int i = 0; i < 4; i++) a[i][w] += p[i * TK + j] * value;
            }
        }
        UNROLL
        for (int i = 0; i < 4; i++) {
            UNROLL
            for (int w = 0; w < WIDE; w++) STOREV(a[i][w], o + i * D + d + w * VW);
        }
    }
}

__kernel void attention(MATRIX(act, y), MATRIX(const act, q), MATRIX(const act, k),
                        MATRIX(const act, v), TENSOR(const int, q_starts),
                        TENSOR(const int, q_lengths), TENSOR(const int, kv_starts),
                        TENSOR(const int, kv_lengths), const float scale, const int causal,
                        MATRIX(float, lse), DROPOUT_ARGUMENTS) {
    __local float kt[D * TK], p[TQ * TK], o[TQ * D], top[TQ], shrink[TQ], sum[TQ];
    int block = get_group_id(0) * TQ, head = get_group_id(1) * D, sequence = get_group_id(2);
    int rows = min(TQ, q_lengths[q_lengths_at + sequence] - block);
    if (rows <= 0) return;
    int q_row = q_starts[q_starts_at + sequence] + block;
    int kv_row = kv_starts[kv_starts_at + sequence];
    int kv_length = kv_lengths[kv_lengths_at + sequence];
    if (causal) kv_length = min(kv_length, block + rows);

    for (int t = 0; t < TQ; t++) {
        top[t] = LOWEST;
        sum[t] = 0.0f;
    }
    for (int i = 0; i < TQ * D; i++) o[i] = 0.0f;

    for (int first = 0; first < kv_length; first += TK) {
        int keys = min(TK, kv_length - first);
        const int all = (keys + VW - 1) / VW * VW;
        load_keys(kt, ROW(k, kv_row + first) + head, k_stride, keys, all, scale);
        for (int t = 0; t < rows; t += 4) {
            multiply_keys(p + t * TK, ROW(q, q_row + t) + head, q_stride, rows - 1 - t, kt, keys);
        }
        for (int t = 0; t < rows; t++) {
            float before = top[t];
            int seen = causal ? min(keys, block + t + 1 - first) : keys;
            float added = weigh(p + t * TK, seen, all, top + t);
            shrink[t] = before < top[t] ? exp(before - top[t]) : 1.0f;
            sum[t] = sum[t] * shrink[t] + added;
#if DROPOUT
            drop(p + t * TK, first, q_row + t, DROPOUT_OF_HEAD(get_group_id(1)));
#endif
        }
        for (int t = 0; t < rows; t += 4) {
            add_values(o + t * D, p + t * TK, shrink + t, ROW(v, kv_row + first) + head, v_stride,
                       keys);
        }
    }

    for (int t = 0; t < rows; t++) {
        __global act *to = ROW(y, q_row + t) + head;
        float inverse = sum[t] == 0.0f ? 0.0f : 1.0f / sum[t];
        for (int d = 0; d < D; d += VW) STOREA(LOADV(o + t * D + d) * inverse, to + d);
#if LSE
        ROW(lse, q_row + t)[get_group_id(1)] = sum[t] == 0.0f ? LOWEST : top[t] + log(sum[t]);
#endif
    }
}

// to[0:4, 0:D] = a . b, or += with `add`, where b has `steps` rows; a row of `to` that is not there
// is the last one again, there being `more` after the first. Element (i, s) of a stands at
// a + i * a_row + s * a_step.
static void multiply_rows(__global act *to, size_t to_stride, int more, __local const float *a,
                          int a_row, int a_step, __global const act *b, size_t b_stride,
                          int steps, bool add) {
    __global act *row[4];
    __local const float *factors[4];
    UNROLL
    for (int i = 0; i < 4; i++) {
        row[i] = to + min(i, more) * to_stride;
        factors[i] = a + min(i, more) * a_row;
    }
    for (int d = 0; d < D; d += VW * WIDE) {
        floatv sum[4][WIDE];
        UNROLL
        for (int i = 0; i < 4; i++) {
            UNROLL
            for (int w = 0; w < WIDE; w++) {
                sum[i][w] = add ? LOADA(row[i] + d + w * VW) : (floatv)0.0f;
            }
        }
        for (int s = 0; s < steps; s++) {
            UNROLL
            for (int w = 0; w < WIDE; w++) {
                floatv value = LOADA(b + s * b_stride + d + w * VW);
                UNROLL
                for (int i = 0; i < 4; i++) sum[i][w] += factors[i][s * a_step] * value;
            }
        }
        UNROLL
        for (int i = 0; i < 4; i++) {
            UNROLL
            for (int w = 0; w < WIDE; w++) STOREA(sum[i][w], row[i] + d + w * VW);
        }
    }
}

static void clear(__global act *to, size_t stride, int rows) {
    for (int r = 0; r < rows; r++) {
        for (int d = 0; d < D; d += VW) STOREA((floatv)0.0f, to + r * stride + d);
    }
}

static float dot_rows(__global const act *a, __global const act *b) {
    floatv sum = 0.0f;
    for (int d = 0; d < D; d += VW) sum += LOADA(a + d) * LOADA(b + d);
    return SUMV(sum);
}

// Turns a row of products q . k into weights, those of keys that were not seen zero, and ds from
// dy . v into the gradient of the products.
static void differentiate(__local float *p, __local float *ds, int seen, int keys, float scale,
                          float lse, float delta, __local const float *mask) {
    for (int j = 0; j < keys; j += VW) {
        floatv weight = exp_negative(scale * LOADV(p + j) - lse), slope = LOADV(ds + j);
#if DROPOUT
        slope *= LOADV(mask + j);
        STOREV(weight * LOADV(mask + j), p + j);
#else
        STOREV(weight, p + j);
#endif
        STOREV(scale * weight * (slope - delta), ds + j);
    }
    for (int j = max(seen, 0); j < keys; j++) p[j] = ds[j] = 0.0f;
}

// Group (head, sequence).
__kernel void attention_backward(MATRIX(act, dq), MATRIX(act, dk), MATRIX(act, dv),
                                 MATRIX(const act, dy), MATRIX(const act, y),
                                 MATRIX(const act, q), MATRIX(const act, k),
                                 MATRIX(const act, v), TENSOR(const int, q_starts),
                                 TENSOR(const int, q_lengths), TENSOR(const int, kv_starts),
                                 TENSOR(const int, kv_lengths), const float scale,
                                 const int causal, MATRIX(const float, lse), DROPOUT_ARGUMENTS) {
    __local float kt[D * TK], vt[D * TK], p[TQ * TK], ds[TQ * TK], mask[TK];
    const int head = get_group_id(0) * D, sequence = get_group_id(1);
    const int q_start = q_starts[q_starts_at + sequence];
    const int q_length = q_lengths[q_lengths_at + sequence];
    const int kv_start = kv_starts[kv_starts_at + sequence];
    const int kv_length = kv_lengths[kv_lengths_at + sequence];
    if (kv_length == 0) clear(ROW(dq, q_start) + head, dq_stride, q_length);

    for (int first = 0; first < kv_length; first += TK) {
        const int keys = min(TK, kv_length - first), kv_row = kv_start + first;
        const int begin = causal ? first / TQ * TQ : 0;
        if (begin >= q_length) { // no query sees these keys
            clear(ROW(dk, kv_row) + head, dk_stride, keys);
            clear(ROW(dv, kv_row) + head, dv_stride, keys);
        }
        const int all = (keys + VW - 1) / VW * VW;
        load_keys(kt, ROW(k, kv_row) + head, k_stride, keys, all, 1.0f);
        load_keys(vt, ROW(v, kv_row) + head, v_stride, keys, all, 1.0f);
        for (int block = begin; block < q_length; block += TQ) {
            const int rows = min(TQ, q_length - block), q_row = q_start + block;
            __global const act *queries = ROW(q, q_row) + head, *slopes = ROW(dy, q_row) + head;
            for (int t = 0; t < rows; t += 4) {
                const int seen = causal ? min(keys, block + t + 4 - first) : keys;
                multiply_keys(p + t * TK, queries + t * q_stride, q_stride, rows - 1 - t, kt, seen);
                multiply_keys(ds + t * TK, slopes + t * dy_stride, dy_stride, rows - 1 - t, vt,
                              seen);
            }
            for (int t = 0; t < rows; t++) {
#if DROPOUT
                for (int j = 0; j < TK; j++) mask[j] = 1.0f;
                drop(mask, first, q_row + t, DROPOUT_OF_HEAD(get_group_id(0)));
#endif
                differentiate(p + t * TK, ds + t * TK,
                              causal ? min(keys, block + t + 1 - first) : keys, keys, scale,
                              ROW(lse, q_row + t)[get_group_id(0)],
                              dot_rows(slopes + t * dy_stride, ROW(y, q_row + t) + head), mask);
            }
            for (int t = 0; t < rows; t += 4) {
                multiply_rows(ROW(dq, q_row + t) + head, dq_stride, rows - 1 - t, ds + t * TK, TK,
                              1, ROW(k, kv_row) + head, k_stride,
                              causal ? clamp(block + t + 4 - first, 0, keys) : keys, first > 0);
            }
            for (int j = 0; j < keys; j += 4) {
                const int t = causal ? clamp(first + j - block, 0, rows) : 0;
                multiply_rows(ROW(dk, kv_row + j) + head, dk_stride, keys - 1 - j, ds + t * TK + j,
                              1, TK, queries + t * q_stride, q_stride, rows - t, block > begin);
                multiply_rows(ROW(dv, kv_row + j) + head, dv_stride, keys - 1 - j, p + t * TK + j,
                              1, TK, slopes + t * dy_stride, dy_stride, rows - t, block > begin);
            }
        }
    }
}
