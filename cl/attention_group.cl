// SPDX-License-Identifier: MIT
// Scaled dot-product attention and its gradient where a work-group shares a tile of the other side
// (GPU): online softmax over tiles in local memory (Milakov, Gimelshein 2018; Dao et al. 2022). A
// query belongs to SPLIT work-items, each with D / SPLIT columns of q and of the result in
// registers; neighbours hold neighbouring queries and read the same key, a broadcast. The gradients
// of keys and values are made likewise, a block of keys against tiles of queries.
// Group (block, head, sequence), local size (TQ, SPLIT); see clf_op_attention.
//   D        head width, a multiple of VW * SPLIT
//   TQ       queries (or keys) per block
//   TK       keys (or queries) per tile; local memory is TK * (2 D + TQ * SPLIT) floats, with
//            another TK * TQ * SPLIT for the gradient
//   SPLIT    work-items per query (or key)
//   DROPOUT  1: with dropout on the weights
//   LSE      1: attention() writes lse
//   HALF     1: all but lse and delta are half
//   OF_KEYS  1: attention_backward() is for keys and values, 0: for queries

#include "dropout.cl"

#ifndef LSE
#define LSE 0
#endif
#ifndef OF_KEYS
#define OF_KEYS 0
#endif

#define PART (D / SPLIT)
#define VECTORS (PART / VW)
#define GROUP (TQ * SPLIT)
#define ITEM ((int)(get_local_id(1) * TQ + get_local_id(0)))

// Rows of a tile, zero past the last one.
static void load_tile(__local float *to, __global const act *from, size_t stride, int keys) {
    for (int i = ITEM * VW; i < TK * D; i += GROUP * VW) {
        int j = i / D;
        if (j < keys) STOREV(LOADA(from + j * stride + i % D), to + i);
        else STOREV((floatv)0.0f, to + i);
    }
}

__kernel void attention(MATRIX(act, y), MATRIX(const act, q), MATRIX(const act, k),
                        MATRIX(const act, v), TENSOR(const int, q_starts),
                        TENSOR(const int, q_lengths), TENSOR(const int, kv_starts),
                        TENSOR(const int, kv_lengths), const float scale, const int causal,
                        MATRIX(float, lse), DROPOUT_ARGUMENTS) {
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
        query[i] = scale * LOADA(ROW(q, q_row) + head + column + i * VW);
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
#if DROPOUT
            weight *= dropout_scale(first + j, q_row, DROPOUT_OF_HEAD(get_group_id(1)));
#endif
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
        STOREA(result[i] * inverse, ROW(y, q_row) + head + column + i * VW);
    }
#if LSE
    if (column == 0) ROW(lse, q_row)[get_group_id(1)] = sum == 0.0f ? LOWEST : top + log(sum);
#endif
}

// delta (R, H) = the sum of dy * y over each head. One work-item per element.
__kernel void attention_delta(MATRIX(float, delta), MATRIX(const act, dy), MATRIX(const act, y),
                              const int rows, const int heads) {
    int row = get_global_id(0) / heads, head = get_global_id(0) % heads;
    if (row >= rows) return;
    floatv sum = 0.0f;
    for (int d = head * D; d < head * D + D; d += VW) {
        sum += LOADA(ROW(dy, row) + d) * LOADA(ROW(y, row) + d);
    }
    ROW(delta, row)[head] = SUMV(sum);
}

// The gradients of queries (x, g, tx, tg = q, dy, k, v; dx = dq, dg unused) or of keys and values
// (x, g, tx, tg = k, v, q, dy; dx = dk, dg = dv): with weights p = e^(scale x . tx - lse) and their
// dropout m, dx = sum of scale p (m g . tg - delta) tx and dg = sum of p m tg.
__kernel void attention_backward(MATRIX(act, dx), MATRIX(act, dg), MATRIX(const act, x),
                                 MATRIX(const act, g), MATRIX(const act, tx),
                                 MATRIX(const act, tg), TENSOR(const int, starts),
                                 TENSOR(const int, lengths), TENSOR(const int, tile_starts),
                                 TENSOR(const int, tile_lengths), const float scale,
                                 const int causal, MATRIX(const float, lse),
                                 MATRIX(const float, delta), DROPOUT_ARGUMENTS) {
    __local float xt[TK * D], gt[TK * D], scores[TK * GROUP], slopes[TK * GROUP];
    const int head = get_group_id(1), sequence = get_group_id(2), t = get_local_id(0);
    const int part = get_local_id(1) * PART, column = head * D + part;
    const int start = starts[starts_at + sequence], length = lengths[lengths_at + sequence];
    const int tile_row = tile_starts[tile_starts_at + sequence];
    const int tile_length = tile_lengths[tile_lengths_at + sequence];

    // The host does not know the most keys of a sequence, so a group may have several blocks.
    for (int block = get_group_id(0) * TQ; block < length; block += get_num_groups(0) * TQ) {
        const int rows = min(TQ, length - block), row = start + block + min(t, rows - 1);
        floatv xs[VECTORS], gs[VECTORS], dxs[VECTORS], dgs[VECTORS];
        UNROLL
        for (int i = 0; i < VECTORS; i++) {
            xs[i] = LOADA(ROW(x, row) + column + i * VW);
            gs[i] = LOADA(ROW(g, row) + column + i * VW);
            dxs[i] = dgs[i] = 0.0f;
        }
        int begin = 0, end = tile_length;
#if OF_KEYS
        if (causal) begin = block; // earlier queries see no key of the block
#else
        if (causal) end = min(end, block + rows);
#endif
        for (int first = begin; first < end; first += TK) {
            const int count = min(TK, end - first);
            load_tile(xt, ROW(tx, tile_row + first) + head * D, tx_stride, count);
            load_tile(gt, ROW(tg, tile_row + first) + head * D, tg_stride, count);
            barrier(CLK_LOCAL_MEM_FENCE);
            for (int j = 0; j < count; j++) {
                floatv score = 0.0f, slope = 0.0f;
                UNROLL
                for (int i = 0; i < VECTORS; i++) {
                    score += xs[i] * LOADV(xt + j * D + part + i * VW);
                    slope += gs[i] * LOADV(gt + j * D + part + i * VW);
                }
                scores[j * GROUP + ITEM] = SUMV(score);
                slopes[j * GROUP + ITEM] = SUMV(slope);
            }
            barrier(CLK_LOCAL_MEM_FENCE);
            for (int j = 0; j < count; j++) {
                const int query = OF_KEYS ? first + j : block + t;
                const int key = OF_KEYS ? block + t : first + j;
                const int query_row = OF_KEYS ? tile_row + query : row;
                float score = 0.0f, slope = 0.0f;
                for (int s = 0; s < SPLIT; s++) {
                    score += scores[j * GROUP + s * TQ + t];
                    slope += slopes[j * GROUP + s * TQ + t];
                }
                float weight = exp(scale * score - ROW(lse, query_row)[head]), kept = weight;
                if (causal && key > query) kept = weight = 0.0f;
#if DROPOUT
                const float mask = dropout_scale(key, query_row, DROPOUT_OF_HEAD(head));
                kept *= mask;
                slope *= mask;
#endif
                slope = scale * weight * (slope - ROW(delta, query_row)[head]);
                UNROLL
                for (int i = 0; i < VECTORS; i++) {
                    dxs[i] += slope * LOADV(xt + j * D + part + i * VW);
                    dgs[i] += kept * LOADV(gt + j * D + part + i * VW);
                }
            }
            barrier(CLK_LOCAL_MEM_FENCE);
        }
        if (t >= rows) continue;
        UNROLL
        for (int i = 0; i < VECTORS; i++) {
            STOREA(dxs[i], ROW(dx, row) + column + i * VW);
            if (OF_KEYS) STOREA(dgs[i], ROW(dg, row) + column + i * VW);
        }
    }
}
