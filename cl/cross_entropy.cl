// SPDX-License-Identifier: MIT
// The loss of rows of logits and its gradient in their place; see clf_op_cross_entropy. Three
// sweeps over a row: the maximum; the exponentials, their sum and that of the logits' distances
// from the maximum; the gradient. All sums are of one sign, so nothing cancels:
//     -log p(j) = log_sum + (top - x[j])
//
// Single columns are read and written by the lane that sweeps over them, which therefore needs no
// barrier.

// Columns summed before they go to the compensated total: few, since small terms that come after a
// large one are rounded to its precision.
#define BLOCK (16 * VW * LANES)

// Whether EACH_VECTOR and EACH_REST give column c of n to this lane.
inline bool is_mine(int c, int n) {
    int rest = n / VW * VW;
    return (c < rest ? c / VW : c - rest) % LANES == LANE;
}

static float lane_max(__global const float *x, int V) {
    floatv largest = -FLT_MAX;
    EACH_VECTOR(c, V) largest = fmax(largest, LOADV(x + c));
    float top = MAXV(largest);
    EACH_REST(c, V) top = fmax(top, x[c]);
    return top;
}

// total += part, with what rounding added kept in `excess` (Kahan 1965).
inline void add_compensated(floatv *total, floatv *excess, floatv part) {
    floatv rest = part - *excess, sum = *total + rest;
    *excess = (sum - *total) - rest;
    *total = sum;
}

// x = exp(x - top) in this lane's columns; returns their sum and that of top - x.
static float2 lane_exponentials(__global float *x, int V, float top) {
    floatv sums = 0.0f, sums_excess = 0.0f, gaps = 0.0f, gaps_excess = 0.0f;
    for (int first = 0; first < V; first += BLOCK) {
        int end = min(first + BLOCK, V);
        floatv block_sums = 0.0f, block_gaps = 0.0f;
        for (int c = first + LANE * VW; c + VW <= end; c += LANES * VW) {
            floatv below = LOADV(x + c) - top;
            floatv e = exp_negative(below);
            STOREV(e, x + c);
            block_sums += e;
            block_gaps -= below;
        }
        add_compensated(&sums, &sums_excess, block_sums);
        add_compensated(&gaps, &gaps_excess, block_gaps);
    }
    float2 all = (float2)(SUMV(sums), SUMV(gaps));
    EACH_REST(c, V) {
        float below = x[c] - top;
        x[c] = exp(below);
        all += (float2)(x[c], -below);
    }
    return all;
}

__kernel void cross_entropy(MATRIX(float, losses), MATRIX(float, logits), TENSOR(const int, labels),
                            const int rows, const int V, const int banned, const float smoothing,
                            const float factor) {
    ROW_SCRATCH
    USE(labels);
    const int counted = V - (banned >= 0);
    const float share = smoothing / counted; // of each column in the target distribution
    EACH_ROW(row, rows) {
        __global float *x = ROW(logits, row);
        __global float *loss = ROW(losses, row);
        const int label = labels[row];
        // A row without a good label is swept as an empty one: PoCL 3.1 compiles barriers under
        // conditions wrongly, even if the whole group agrees.
        const bool asked = label >= 0 && label < V && label != banned;
        const int n = asked ? V : 0;
        const bool owns_label = asked && is_mine(label, V);
        const bool owns_banned = asked && banned >= 0 && is_mine(banned, V);
        const float at_label = owns_label ? x[label] : 0.0f;

        // The banned column neither is the maximum nor counts: its exponential is 1 exactly and its
        // distance 0.
        if (owns_banned) x[banned] = LOWEST;
        float top = row_max(lane_max(x, n));
        if (owns_banned) x[banned] = top;
        float2 mine = lane_exponentials(x, n, top);
        float sum = row_sum(mine.x) - (float)(banned >= 0), gaps = row_sum(mine.y);

        const float inverse = factor / sum, part = factor * share;
        EACH_VECTOR(c, n) STOREV(LOADV(x + c) * inverse - part, x + c);
        EACH_REST(c, n) x[c] = x[c] * inverse - part;
        if (owns_banned) x[banned] = 0.0f;
        if (owns_label) {
            x[label] -= factor * (1.0f - smoothing);
            float log_sum = log(sum), nll = log_sum + (top - at_label);
            float spread = log_sum + gaps / counted; // the mean of -log p
            loss[0] = smoothing > 0.0f ? (1.0f - smoothing) * nll + smoothing * spread : nll;
            loss[1] = nll;
        }
        if (!asked) {
            EACH_VECTOR(c, V) STOREV((floatv)0.0f, x + c);
            EACH_REST(c, V) x[c] = 0.0f;
            if (LANE == 0) loss[0] = loss[1] = label == -1 ? 0.0f : NAN;
        }
    }
}
