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
    LOCALS(float query[D]; float scores[BLOCK]; float weights[BLOCK]; float shares[LANES];         \
           float key_block[BLOCK * KEY]; float value_block[BLOCK * D]; ulong rows[BLOCK];)
#define ATTEND(to, q, k, k_stride, v, v_stride, keys, scale)                                       \
    attend(to, q, k, k_stride, v, v_stride, keys, scale, locals->query, locals->scores,            \
           locals->weights, locals->shares, locals->key_block, locals->value_block, locals->rows)

#define OF_KEY    (LANES / BLOCK)               // work-items that share a key
#define OF_COLUMN (LANES >= D ? LANES / D : 1)  // and a column
#define COLUMNS   ((D + LANES - 1) / LANES)     // of a work-item

// Work-items bring a block of keys and values, all at once because that takes longest; then they
// share out the scores, and the columns.
static void attend(__global float *to, __global const float *q, __global const float *k,
                   int k_stride, __global const float *v, int v_stride, keys_t keys, float scale,
                   __local float *query, __local float *scores, __local float *weights,
                   __local float *shares, __local float *key_block, __local float *value_block,
                   __local ulong *rows) {
    const int key = LANE / OF_KEY, column = OF_COLUMN > 1 ? LANE % D : LANE, share = LANE / D;
    float result[COLUMNS];
    for (int d = LANE; d < D; d += LANES) query[d] = scale * q[d];
    for (int i = 0; i < COLUMNS; i++) result[i] = 0.0f;
    float top = LOWEST, sum = 0.0f;
    for (int first = 0; first < keys.count; first += BLOCK) {
        const int n = min(BLOCK, keys.count - first);
        if (LANE < n) rows[LANE] = key_row(keys, first + LANE);
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int i = LANE; i < n * (D / VW); i += LANES) {
            const int j = i / (D / VW), d = i % (D / VW) * VW;
            const floatv one = LOADV(k + rows[j] * k_stride + d);
            const floatv value = LOADV(v + rows[j] * v_stride + d);
            STOREV(one, key_block + j * KEY + d);
            STOREV(value, value_block + j * D + d);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        float score = 0.0f;
        if (key < n) {
            for (int d = LANE % OF_KEY; d < D; d += OF_KEY)
                score += query[d] * key_block[key * KEY + d];
        }
        shares[LANE] = score;
        barrier(CLK_LOCAL_MEM_FENCE);
        if (LANE < n) {
            score = 0.0f;
            for (int i = 0; i < OF_KEY; i++) score += shares[LANE * OF_KEY + i];
            scores[LANE] = score;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        float most = top;
        for (int j = 0; j < n; j++) most = fmax(most, scores[j]);
        if (LANE < n) weights[LANE] = exp(score - most);
        barrier(CLK_LOCAL_MEM_FENCE);
        const float shrink = exp(top - most);
        sum *= shrink;
        for (int j = 0; j < n; j++) sum += weights[j];
        top = most;
        for (int i = 0, d = column; i < COLUMNS && d < D && share < OF_COLUMN; i++, d += LANES) {
            float value = result[i] * shrink;
            for (int j = share; j < n; j += OF_COLUMN) value += weights[j] * value_block[j * D + d];
            result[i] = value;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    const float inverse = sum == 0.0f ? 0.0f : 1.0f / sum;
#if LANES >= 2 * D
    shares[LANE] = result[0];
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int i = 1; share == 0 && i < OF_COLUMN; i++) result[0] += shares[i * D + LANE];
#endif
    for (int i = 0, d = LANE; d < D; i++, d += LANES) to[d] = result[i] * inverse;
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
