// SPDX-License-Identifier: MIT
// The best k of each row of V logits and their log-probabilities; see clf_op_topk. Two launches, so
// that few rows still use the whole device: `topk_segment` reduces segments of rows, `topk_merge`
// merges the segments of a row. `pick`: the log-probability of one given column per row.
//
//   CHUNK         see chunk.cl
//   K_MAX         bound of k
//   MAX_SEGMENTS  bound of segments per row

#ifndef K_MAX
#define K_MAX 64
#endif
#ifndef MAX_SEGMENTS
#define MAX_SEGMENTS 1024
#endif

#include "chunk.cl"

static float chunk_max(__local const float *chunk, int n) {
    floatv largest = -FLT_MAX;
    EACH_VECTOR(c, n) largest = fmax(largest, LOADV(chunk + c));
    return MAXV(largest);
}

static float chunk_sum(__local const float *chunk, int n, float top) {
    floatv sum = 0.0f;
    EACH_VECTOR(c, n) sum += exp_negative(LOADV(chunk + c) - top);
    return SUMV(sum);
}

// Adds a chunk, whose largest element is `most`, to the running maximum `top` and the sum of
// e^(x - top). A NaN stays in the sum.
#define ADD_CHUNK(chunk, n, most, top, sum)                                                        \
    do {                                                                                           \
        float before_ = top;                                                                       \
        top = fmax(top, most);                                                                     \
        sum = sum * exp(before_ - top) + row_sum(chunk_sum(chunk, n, top));                        \
    } while (0)

static bool better(float value, int column, float than_value, int than_column) {
    return value > than_value || (value == than_value && column < than_column);
}

#if LANES == 1
#define ARGMAX_SCRATCH
#define row_argmax(value, column)
#else
#define ARGMAX_SCRATCH                                                                             \
    float argmax_values[LANES];                                                                    \
    int argmax_columns[LANES];
// Gives every lane the best value and its column, the lowest among equals.
#define row_argmax(value, column)                                                                  \
    row_argmax_(&(value), &(column), locals->argmax_values, locals->argmax_columns)

static void row_argmax_(float *value, int *column, __local float *values, __local int *columns) {
    int lane = LANE;
    values[lane] = *value;
    columns[lane] = *column;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int half_ = LANES / 2; half_ > 0; half_ /= 2) {
        if (lane < half_ &&
            better(values[lane + half_], columns[lane + half_], values[lane], columns[lane])) {
            values[lane] = values[lane + half_];
            columns[lane] = columns[lane + half_];
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    *value = values[0];
    *column = columns[0];
    barrier(CLK_LOCAL_MEM_FENCE);
}
#endif

#if LANES == 1
// One work-item walks a long segment; a chunk whose maximum is not above the k-th best so far
// cannot change the list.
static void select_best(__local const float *chunk, int n, int first, float most, float *values,
                        int *columns, int k) {
    if (!(most > values[k - 1])) return;
    for (int c = 0; c < n; c += VW) {
        if (!ANYV(LOADV(chunk + c) > values[k - 1])) continue;
        for (int i = c; i < c + VW; i++) {
            float value = chunk[i];
            if (!(value > values[k - 1])) continue;
            int at = k - 1;
            for (; at > 0 && values[at - 1] < value; at--) {
                values[at] = values[at - 1];
                columns[at] = columns[at - 1];
            }
            values[at] = value;
            columns[at] = first + i;
        }
    }
}
#else
static void lane_best(__local const float *chunk, int n, float *value, int *column) {
    *value = -INFINITY;
    *column = NONE;
    for (int c = LANE; c < n; c += LANES) {
        if (chunk[c] > *value) {
            *value = chunk[c];
            *column = c;
        }
    }
}
#endif

// Group (segment, row). parts (rows * segments, 2 + k): maximum, sum, best values in descending
// order; part_ids (rows * segments, k): their columns. With LANES > 1 a segment is one chunk.
// The logits may be a slice of n columns of the whole rows, from a segment's beginning on.
__kernel void topk_segment(TENSOR(float, parts), TENSOR(int, part_ids), MATRIX(const float, logits),
                           const int n_slice, const int segment, const int slice_segment,
                           const int segments, TENSOR(const int, banned), const int banned_count,
                           const int renormalize, const int k) {
    ROW_SCRATCH
    LOCALS(float chunk[CHUNK]; ARGMAX_SCRATCH)
    __local float *const chunk = locals->chunk;
    USE(banned);
    size_t part = get_group_id(1) * segments + slice_segment + get_group_id(0);
    parts += parts_at + part * (size_t)(2 + k);
    part_ids += part_ids_at + part * (size_t)k;
    // Columns count from the beginning of the whole row.
    const int slice = slice_segment * segment;
    __global const float *x = ROW(logits, get_group_id(1)) - slice;
    int begin = slice + (int)get_group_id(0) * segment, end = min(slice + n_slice, begin + segment);
    float top = -FLT_MAX, sum = 0.0f;

#if LANES == 1
    float values[K_MAX];
    int columns[K_MAX];
    for (int i = 0; i < k; i++) {
        values[i] = -INFINITY;
        columns[i] = NONE;
    }
    for (int first = begin; first < end; first += CHUNK) {
        int n = chunk_load(chunk, x + first, min(CHUNK, end - first));
        if (renormalize) chunk_ban(chunk, first, n, banned, banned_count);
        float most = chunk_max(chunk, n);
        ADD_CHUNK(chunk, n, most, top, sum);
        if (!renormalize) chunk_ban(chunk, first, n, banned, banned_count);
        select_best(chunk, n, first, most, values, columns, k);
    }
    for (int i = 0; i < k; i++) {
        parts[2 + i] = values[i];
        part_ids[i] = columns[i];
    }
#else
    int n = chunk_load(chunk, x + begin, end - begin);
    chunk_ban(chunk, begin, n, banned, renormalize ? banned_count : 0);
    float most = row_max(chunk_max(chunk, n));
    ADD_CHUNK(chunk, n, most, top, sum);
    chunk_ban(chunk, begin, n, banned, renormalize ? 0 : banned_count);
    float own_value;
    int own_column;
    lane_best(chunk, n, &own_value, &own_column);
    for (int i = 0; i < k; i++) {
        float value = own_value;
        int column = own_column;
        row_argmax(value, column);
        if (LANE == 0) {
            parts[2 + i] = value;
            part_ids[i] = column == NONE ? NONE : begin + column;
        }
        if (column == own_column && column != NONE) {
            chunk[column] = -INFINITY;
            lane_best(chunk, n, &own_value, &own_column);
        }
    }
#endif
    if (LANE == 0) {
        parts[0] = top;
        parts[1] = sum;
    }
}

// One row per group: the segments' sums added, their descending lists merged.
__kernel void topk_merge(MATRIX(float, values), MATRIX(int, ids), TENSOR(const float, parts),
                         TENSOR(const int, part_ids), const int rows, const int segments,
                         const int k) {
    ROW_SCRATCH
    LOCALS(int next[MAX_SEGMENTS]; ARGMAX_SCRATCH)
    __local int *const next = locals->next; // how much of each list is used up
    USE(parts);
    USE(part_ids);
    EACH_ROW(row, rows) {
        __global float *to = ROW(values, row);
        __global int *to_ids = ROW(ids, row);
        __global const float *part = parts + (size_t)row * segments * (2 + k);
        __global const int *part_id = part_ids + (size_t)row * segments * k;

        float top = -FLT_MAX, sum = 0.0f;
        for (int s = LANE; s < segments; s += LANES) {
            top = fmax(top, part[s * (2 + k)]);
            next[s] = 0;
        }
        top = row_max(top);
        for (int s = LANE; s < segments; s += LANES) {
            sum += part[s * (2 + k) + 1] * exp(part[s * (2 + k)] - top);
        }
        sum = row_sum(sum);
        float log_sum = log(sum);

        for (int i = 0; i < k; i++) {
            float value = -INFINITY;
            int column = NONE, from = 0;
            for (int s = LANE; s < segments; s += LANES) {
                if (next[s] == k) continue;
                float other = part[s * (2 + k) + 2 + next[s]];
                int other_column = part_id[s * k + next[s]];
                if (!better(other, other_column, value, column)) continue;
                value = other;
                column = other_column;
                from = s;
            }
            int own_column = column;
            row_argmax(value, column);
            if (column == own_column && column != NONE) next[from]++;
            if (LANE == 0) {
                bool found = column != NONE && sum == sum;
                to[i] = found ? (value - top) - log_sum : sum == sum ? -INFINITY : NAN;
                to_ids[i] = found ? column : -1;
            }
        }
    }
}

// One row per group: y[row] = log_softmax(logits[row])[ids[row]].
__kernel void pick(MATRIX(float, y), MATRIX(const float, logits), TENSOR(const int, ids),
                   TENSOR(const int, banned), const int banned_count, const int rows, const int V) {
    ROW_SCRATCH
    LOCALS(float chunk[CHUNK];)
    __local float *const chunk = locals->chunk;
    USE(ids);
    USE(banned);
    EACH_ROW(row, rows) {
        __global const float *x = ROW(logits, row);
        int id = ids[row];
        float top = -FLT_MAX, sum = 0.0f, picked = -INFINITY;
        for (int first = 0; first < V; first += CHUNK) {
            int n = chunk_load(chunk, x + first, min(CHUNK, V - first));
            chunk_ban(chunk, first, n, banned, banned_count);
            float most = row_max(chunk_max(chunk, n));
            ADD_CHUNK(chunk, n, most, top, sum);
            if (id >= first && id < first + n) picked = chunk[id - first];
        }
        if (LANE == 0) {
            float y_ = (picked - top) - log(sum);
            *ROW(y, row) = picked > -INFINITY || sum != sum ? y_ : -INFINITY;
        }
    }
}
