// SPDX-License-Identifier: MIT
// Moves what `rows` hypotheses still need of a key/value cache to a cache with that many slots: row
// t * rows + r of `to` is position t of hypothesis r, which stands in slot origin[r][t] of `from`.

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
