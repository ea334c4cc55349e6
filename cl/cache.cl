// SPDX-License-Identifier: MIT
// Hypotheses in a key/value cache: position t of hypothesis r stands in slot origin[r][t].

// Moves what `rows` hypotheses still need to a cache with that many slots: row t * rows + r of `to`
// is position t of hypothesis r.
__kernel void compact(MATRIX(float, to), MATRIX(const float, from), MATRIX(const int, origin),
                      const int slots, const int steps, const int rows, const int cols) {
    EACH_ROW(at, steps * rows) {
        const int t = at / rows;
        __global float *target = ROW(to, at);
        __global const float *source = ROW(from, t * slots + ROW(origin, at - t * rows)[t]);
        EACH_VECTOR(c, cols) STOREV(LOADV(source + c), target + c);
        EACH_REST(c, cols) target[c] = source[c];
    }
}

// Beams change places: to[r][t] = from[parent[r]][t] for t < steps, to[r][steps] = r.
__kernel void reorder(MATRIX(int, to), MATRIX(const int, from), TENSOR(const int, parent),
                      const int rows, const int steps) {
    EACH_ROW(row, rows) {
        __global const int *source = ROW(from, parent[parent_at + row]);
        __global int *target = ROW(to, row);
        for (int t = LANE; t < steps; t += LANES) target[t] = source[t];
        if (LANE == 0) target[steps] = row;
    }
}
