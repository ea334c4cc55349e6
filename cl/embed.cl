// SPDX-License-Identifier: MIT
// y[r] = scale * E[ids[r]] + positions[where[r]]; see clf_op_embed. Row id of E is column id of a
// weight (C, V) in panels of 16 columns. positions may be NULL.
//   HALF  what is half: 1 y, 2 the table; added up
//   INT8  1: the table is int8, see clf_weight

#ifndef INT8
#define INT8 0
#endif
#if HALF & 1
#define Y half
#else
#define Y float
#endif
#if INT8
#define ELEMENT char
#elif HALF & 2
#define ELEMENT half
#else
#define ELEMENT float
#endif

__kernel void embed(MATRIX(Y, y), TENSOR(const ELEMENT, table), const ulong panel_stride,
                    const ulong row_stride, const int interleave, const int offset,
                    TENSOR(const float, table_scales), const int V, TENSOR(const int, ids),
                    MATRIX(const float, positions), const int last_position,
                    TENSOR(const int, where), const int rows, const int C, const float scale) {
    USE(table);
    USE(table_scales);
    USE(ids);
    USE(where);
    EACH_ROW(row, rows) {
        int id = ids[row];
        bool known = id >= 0 && id < V;
        ulong at = known ? panel_stride * (ulong)(id / 16) + (ulong)(id % 16 * interleave) : 0;
#if INT8
        const float unit = known ? scale * table_scales[id] : 0.0f;
#define VALUE(c)                                                                                   \
    (unit *                                                                                        \
     (float)(char)(table[at + row_stride * (ulong)((c) / interleave) + (c) % interleave] - offset))
#else
#define VALUE(c) (scale * GET(ELEMENT, table, at + row_stride * (ulong)(c)))
#endif
        __global const float *position = positions;
        if (positions) position = ROW(positions, clamp(where[row], 0, last_position));
        __global Y *to = ROW(y, row);
        for (int c = LANE; c < C; c += LANES) {
            float v = known ? VALUE(c) : 0.0f;
            SET(Y, position ? v + position[c] : v, to, c);
        }
    }
}
