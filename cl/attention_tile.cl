// SPDX-License-Identifier: MIT
// Scaled dot-product attention where one work-item is one work-group (CPU): online softmax over
// tiles of keys (Milakov, Gimelshein 2018; Dao et al. 2022), each tile two small matrix products in
// the first-level cache: p = q . k^T, vectors along keys, then o += p . v, vectors along D.
// Group (query block, head, sequence); see clf_op_attention.
//   D   head width, a multiple of VW
//   TQ  queries per block, a multiple of 4
//   TK  keys per tile, a multiple of 2 VW

// Vectors of D that add_values handles at once.
#if D / VW % 2 == 0
#define WIDE 2
#else
#define WIDE 1
#endif

// Copies keys transposed and scaled; columns past the last key are zero.
static void load_keys(__local float *kt, __global const float *k, size_t stride, int keys,
                      float scale) {
    for (int j = 0; j < keys; j++) {
        for (int d = 0; d < D; d++) kt[d * TK + j] = scale * k[j * stride + d];
    }
    for (int j = keys; j < TK; j++) {
        for (int d = 0; d < D; d++) kt[d * TK + j] = 0.0f;
    }
}

// p[0:4, 0:TK] = q . kt for four rows of queries, `more` of them after the first one; a row that is
// not there is the last one again.
static void multiply_keys(__local float *p, __global const float *q, size_t stride, int more,
                          __local const float *kt) {
    __global const float *row[4];
    UNROLL
    for (int i = 0; i < 4; i++) row[i] = q + min(i, more) * stride;
    for (int j = 0; j < TK; j += 2 * VW) {
        floatv a[4], b[4];
        UNROLL
        for (int i = 0; i < 4; i++) a[i] = b[i] = 0.0f;
        for (int d = 0; d < D; d++) {
            floatv k0 = LOADV(kt + d * TK + j), k1 = LOADV(kt + d * TK + j + VW);
            UNROLL
            for (int i = 0; i < 4; i++) {
                a[i] += row[i][d] * k0;
                b[i] += row[i][d] * k1;
            }
        }
        UNROLL
        for (int i = 0; i < 4; i++) {
            STOREV(a[i], p + i * TK + j);
            STOREV(b[i], p + i * TK + j + VW);
        }
    }
}

// Turns a row of scores into weights e^(score - top), zero from `keys` on, with the row's new
// running maximum `top`; returns the sum of the weights.
static float weigh(__local float *p, int keys, __local float *top) {
    for (int j = max(keys, 0); j < TK; j++) p[j] = LOWEST;
    floatv largest = *top;
    for (int j = 0; j < TK; j += VW) largest = fmax(largest, LOADV(p + j));
    *top = MAXV(largest);
    floatv sum = 0.0f;
    for (int j = 0; j < TK; j += VW) {
        floatv e = exp_negative(LOADV(p + j) - *top);
        STOREV(e, p + j);
        sum += e;
    }
    return SUMV(sum);
}

// o[0:4, 0:D] = shrink[0:4] * o + p[0:4, 0:keys] . v
static void add_values(__local float *o, __local const float *p, __local const float *shrink,
                       __global const float *v, size_t stride, int keys) {
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
                floatv value = LOADV(v + j * stride + d + w * VW);
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

__kernel void attention(MATRIX(float, y), MATRIX(const float, q), MATRIX(const float, k),
                        MATRIX(const float, v), TENSOR(const int, q_starts),
                        TENSOR(const int, q_lengths), TENSOR(const int, kv_starts),
                        TENSOR(const int, kv_lengths), const float scale, const int causal) {
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
        load_keys(kt, ROW(k, kv_row + first) + head, k_stride, keys, scale);
        for (int t = 0; t < rows; t += 4) {
            multiply_keys(p + t * TK, ROW(q, q_row + t) + head, q_stride, rows - 1 - t, kt);
        }
        for (int t = 0; t < rows; t++) {
            float before = top[t];
            int seen = causal ? min(keys, block + t + 1 - first) : keys;
            float added = weigh(p + t * TK, seen, top + t);
            shrink[t] = before < top[t] ? exp(before - top[t]) : 1.0f;
            sum[t] = sum[t] * shrink[t] + added;
        }
        for (int t = 0; t < rows; t += 4) {
            add_values(o + t * D, p + t * TK, shrink + t, ROW(v, kv_row + first) + head, v_stride,
                       keys);
        }
    }

    for (int t = 0; t < rows; t++) {
        __global float *to = ROW(y, q_row + t) + head;
        float inverse = sum[t] == 0.0f ? 0.0f : 1.0f / sum[t];
        for (int d = 0; d < D; d += VW) STOREV(LOADV(o + t * D + d) * inverse, to + d);
    }
}
