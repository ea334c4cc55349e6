// SPDX-License-Identifier: MIT
// y[r] = scale * E[ids[r]] + positions[where[r]]; see clf_op_embed. Row id of E is column id of a
// weight (C, V) in panels of 16 columns. positions may be NULL.
//   HALF  1: y and the table are half

__kernel void embed(MATRIX(act, y), TENSOR(const act, table), const ulong panel_stride,
                    const ulong row_stride, const int V, TENSOR(const int, ids),
                    MATRIX(const float, positions), const int last_position,
                    TENSOR(const int, where), const int rows, const int C, const float scale) {
    USE(table);
    USE(ids);
    USE(where);
    EACH_ROW(row, rows) {
        int id = ids[row];
        bool known = id >= 0 && id < V;
        ulong at = known ? panel_stride * (ulong)(id / 16) + (ulong)(id % 16) : 0;
        __global const float *position = positions;
        if (positions) position = ROW(positions, clamp(where[row], 0, last_position));
        __global act *to = ROW(y, row);
        for (int c = LANE; c < C; c += LANES) {
            float v = known ? scale * GETA(table, at + row_stride * (ulong)c) : 0.0f;
            SETA(position ? v + position[c] : v, to, c);
        }
    }
}
