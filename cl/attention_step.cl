// SPDX-License-Identifier: MIT
// One query per row against many keys, for decoding: over the positions of a key/value cache
// (attention_step) or over a source sentence (attention_cross). Online softmax over blocks of BLOCK
// keys. Group (head, row), so that neighbours read neighbouring columns; local size LANES.
//   D      head width, a multiple of VW
//   BLOCK  keys at a time, at most LANES if that is more than 1

// Where key j stands: a row of k and v.
typedef struct {
    __global const int *origin; // slot of each position, or NULL
    int slots;                  // rows per position
    int first;                  // row of key 0 if there is no `origin`
    int count;
} keys_t;

static size_t key_row(keys_t keys, int j) {
    return keys.origin ? (size_t)j * keys.slots + keys.origin[j] : (size_t)(keys.first + j);
}

#if LANES == 1
#define STEP_SCRATCH
#define ATTEND(to, q, k, k_stride, v, v_stride, keys, scale)                                       \
    attend(to, q, k, k_stride, v, v_stride, keys, scale)

static float dot_key(const floatv *query, __global const float *k) {
    floatv sum = 0.0f;
    UNROLL
    for (int i = 0; i < D / VW; i++) sum += query[i] * LOADV(k + i * VW);
    return SUMV(sum);
}

// A head's part of a row is too short for a processor to guess what follows: the next group's, which
// is the next head of the same row.
static void fetch_next(__global const float *part) {
    UNROLL
    for (int i = 0; i < D; i += 16) FETCH(part + D + i);
}

static void attend(__global float *to, __global const float *q, __global const float *k,
                   int k_stride, __global const float *v, int v_stride, keys_t keys, float scale) {
    floatv query[D / VW], result[D / VW];
    UNROLL
    for (int i = 0; i < D / VW; i++) {
        query[i] = scale * LOADV(q + i * VW);
        result[i] = 0.0f;
    }
    float top = LOWEST, sum = 0.0f;
    for (int first = 0; first < keys.count; first += BLOCK) {
        int n = min(BLOCK, keys.count - first);
        size_t rows[BLOCK];
        float weights[BLOCK];
        for (int j = 0; j < n; j++) rows[j] = key_row(keys, first + j);
        for (int j = 0; j < n; j++) {
            fetch_next(k + rows[j] * k_stride);
            weights[j] = dot_key(query, k + rows[j] * k_stride);
        }
        for (int j = n; j < BLOCK; j++) weights[j] = LOWEST;

        floatv largest = top;
        for (int j = 0; j < BLOCK; j += VW) largest = fmax(largest, LOADV(weights + j));
        float most = MAXV(largest);
        floatv added = 0.0f;
        for (int j = 0; j < BLOCK; j += VW) {
            floatv e = exp_negative(LOADV(weights + j) - most);
            STOREV(e, weights + j);
            added += e;
        }
        float shrink = exp(top - most);
        sum = sum * shrink + SUMV(added);
        top = most;
        UNROLL
        for (int i = 0; i < D / VW; i++) result[i] *= shrink;
        for (int j = 0; j < n; j++) {
            __global const float *value = v + rows[j] * v_stride;
            fetch_next(value);
            UNROLL
            for (int i = 0; i < D / VW; i++) result[i] += weights[j] * LOADV(value + i * VW);
        }
    }
    float inverse = sum == 0.0f ? 0.0f : 1.0f / sum;
    UNROLL
    for (int i = 0; i < D / VW; i++) STOREV(result[i] * inverse, to + i * VW);
}

#else
// In local memory a key has one float more, so that keys side by side are in different banks.
#define KEY (D + 1)
#define STEP_SCRATCH                                                                               \
    ROW_SCRATCH                                                                                    \
    LOCALS(float query[D]; float weights[BLOCK]; float key_block[BLOCK * KEY];                     \
           float value_block[BLOCK * D]; ulong rows[BLOCK];)
#define ATTEND(to, q, k, k_stride, v, v_stride, keys, scale)                                       \
    attend(to, q, k, k_stride, v, v_stride, keys, scale, locals->query, locals->weights,           \
           locals->key_block, locals->value_block, locals->rows, row_scratch)

// Work-items bring a block of keys and values, all at once because that takes longest; then they
// stand for keys while the scores are made, and for columns.
static void attend(__global float *to, __global const float *q, __global const float *k,
                   int k_stride, __global const float *v, int v_stride, keys_t keys, float scale,
                   __local float *query, __local float *weights, __local float *key_block,
                   __local float *value_block, __local ulong *rows, __local float *row_scratch) {
    float result[(D + LANES - 1) / LANES];
    for (int d = LANE, i = 0; d < D; d += LANES, i++) {
        query[d] = scale * q[d];
        result[i] = 0.0f;
    }
    float top = LOWEST, sum = 0.0f;
    for (int first = 0; first < keys.count; first += BLOCK) {
        int n = min(BLOCK, keys.count - first);
        if (LANE < n) rows[LANE] = key_row(keys, first + LANE);
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int i = LANE; i < n * (D / VW); i += LANES) {
            int j = i / (D / VW), d = i % (D / VW) * VW;
            floatv key = LOADV(k + rows[j] * k_stride + d);
            floatv value = LOADV(v + rows[j] * v_stride + d);
            STOREV(key, key_block + j * KEY + d);
            STOREV(value, value_block + j * D + d);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        float score = LANE < n ? 0.0f : LOWEST;
        if (LANE < n) {
            UNROLL
            for (int d = 0; d < D; d++) score += query[d] * key_block[LANE * KEY + d];
        }
        float most = fmax(top, row_max(score));
        float weight = LANE < n ? exp(score - most) : 0.0f;
        if (LANE < n) weights[LANE] = weight;
        float shrink = exp(top - most);
        sum = sum * shrink + row_sum(weight);
        top = most;
        for (int d = LANE, i = 0; d < D; d += LANES, i++) {
            float value = result[i] * shrink;
            for (int j = 0; j < n; j++) value += weights[j] * value_block[j * D + d];
            result[i] = value;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    float inverse = sum == 0.0f ? 0.0f : 1.0f / sum;
    for (int d = LANE, i = 0; d < D; d += LANES, i++) to[d] = result[i] * inverse;
}
#endif

__kernel void attention_step(MATRIX(float, y), MATRIX(const float, q), MATRIX(const float, k),
                             MATRIX(const float, v), MATRIX(const int, origin), const int slots,
                             const int steps, const float scale) {
    STEP_SCRATCH
    int row = get_group_id(1), head = get_group_id(0) * D;
    keys_t keys = {ROW(origin, row), slots, 0, steps};
    ATTEND(ROW(y, row) + head, ROW(q, row) + head, k + k_at + head, k_stride, v + v_at + head,
           v_stride, keys, scale);
}

__kernel void attention_cross(MATRIX(float, y), MATRIX(const float, q), MATRIX(const float, k),
                              MATRIX(const float, v), TENSOR(const int, sentence),
                              TENSOR(const int, starts), TENSOR(const int, lengths),
                              const float scale) {
    STEP_SCRATCH
    int row = get_group_id(1), head = get_group_id(0) * D;
    int b = sentence[sentence_at + row];
    keys_t keys = {0, 0, starts[starts_at + b], lengths[lengths_at + b]};
    ATTEND(ROW(y, row) + head, ROW(q, row) + head, k + k_at + head, k_stride, v + v_at + head,
           v_stride, keys, scale);
}
