// SPDX-License-Identifier: MIT
// Scaled dot-product attention where a work-group shares keys and values (GPU): online softmax over
// tiles in local memory (Milakov, Gimelshein 2018; Dao et al. 2022). A query belongs to SPLIT
// work-items, each with D / SPLIT columns of q and of the result in registers; neighbours hold
// neighbouring queries and read the same key, a broadcast.
// Group (query block, head, sequence), local size (TQ, SPLIT); see clf_op_attention.
//   D      head width, a multiple of VW * SPLIT
//   TQ     queries per block
//   TK     keys per tile; local memory is TK * (2 D + TQ * SPLIT) floats
//   SPLIT  work-items per query

#define PART (D / SPLIT)
#define VECTORS (PART / VW)
#define GROUP (TQ * SPLIT)
#define ITEM ((int)(get_local_id(1) * TQ + get_local_id(0)))

// Rows of a tile, zero past the last one.
static void load_tile(__local float *to, __global const float *from, size_t stride, int keys) {
    for (int i = ITEM * VW; i < TK * D; i += GROUP * VW) {
        int j = i / D;
        if (j < keys) STOREV(LOADV(from + j * stride + i % D), to + i);
        else STOREV((floatv)0.0f, to + i);
    }
}

__kernel void attention(MATRIX(float, y), MATRIX(const float, q), MATRIX(const float, k),
                        MATRIX(const float, v), TENSOR(const int, q_starts),
                        TENSOR(const int, q_lengths), TENSOR(const int, kv_starts),
                        TENSOR(const int, kv_lengths), const float scale, const int causal) {
    __local float kt[TK * D], vt[TK * D], partial[TK * GROUP];
    int block = get_group_id(0) * TQ, head = get_group_id(1) * D, sequence = get_group_id(2);
    int rows = min(TQ, q_lengths[q_lengths_at + sequence] - block);
    if (rows <= 0) return; // the whole group
    int kv_row = kv_starts[kv_starts_at + sequence];
    int kv_length = kv_lengths[kv_lengths_at + sequence];
    if (causal) kv_length = min(kv_length, block + rows);

    int t = get_local_id(0), column = get_local_id(1) * PART;
    int q_row = q_starts[q_starts_at + sequence] + block + min(t, rows - 1);
    int seen = causal ? min(kv_length, block + t + 1) : kv_length;
    floatv query[VECTORS], result[VECTORS];
    UNROLL
    for (int i = 0; i < VECTORS; i++) {
        query[i] = scale * LOADV(ROW(q, q_row) + head + column + i * VW);
        result[i] = 0.0f;
    }
    float top = LOWEST, sum = 0.0f;

    for (int first = 0; first < kv_length; first += TK) {
        int keys = min(TK, kv_length - first);
        load_tile(kt, ROW(k, kv_row + first) + head, k_stride, keys);
        load_tile(vt, ROW(v, kv_row + first) + head, v_stride, keys);
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int j = 0; j < TK; j++) {
            floatv score = 0.0f;
            UNROLL
            for (int i = 0; i < VECTORS; i++) {
                score += query[i] * LOADV(kt + j * D + column + i * VW);
            }
            partial[j * GROUP + ITEM] = SUMV(score);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        float scores[TK], most = top;
        for (int j = 0; j < TK; j++) {
            scores[j] = 0.0f;
            for (int s = 0; s < SPLIT; s++) scores[j] += partial[j * GROUP + s * TQ + t];
            if (first + j >= seen) scores[j] = LOWEST;
            most = fmax(most, scores[j]);
        }
        float shrink = exp(top - most);
        top = most;
        sum *= shrink;
        UNROLL
        for (int i = 0; i < VECTORS; i++) result[i] *= shrink;
        for (int j = 0; j < TK; j++) {
            float weight = first + j < seen ? exp(scores[j] - top) : 0.0f;
            sum += weight;
            UNROLL
            for (int i = 0; i < VECTORS; i++) {
                result[i] += weight * LOADV(vt + j * D + column + i * VW);
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }

    if (t >= rows) return;
    float inverse = sum == 0.0f ? 0.0f : 1.0f / sum;
    UNROLL
    for (int i = 0; i < VECTORS; i++) {
        STOREV(result[i] * inverse, ROW(y, q_row) + head + column + i * VW);
    }
}
