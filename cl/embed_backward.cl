// SPDX-License-Identifier: MIT
// to[key] += scale * the sum of the key's rows of dy (R, C), in their order; see
// clf_op_embed_backward and clf_op_positions_backward. Keys that `to` does not have are skipped.
// Column c of key k of `to` is at panel_stride * (k / 16) + key_stride * (k % 16) + row_stride * c.
// A work-group takes a run of neighbouring keys, which share the panels' cache lines on a CPU.
//   HALF  1: dy is half

__kernel void embed_backward(TENSOR(float, to), const ulong panel_stride, const ulong key_stride,
                             const ulong row_stride, const int key_end, MATRIX(const act, dy),
                             TENSOR(const int, rows), TENSOR(const int, keys),
                             TENSOR(const int, first), const int count, const int C,
                             const float scale) {
    USE(to);
    USE(rows);
    USE(keys);
    USE(first);
    const long group = (long)get_group_id(0), groups = (long)get_num_groups(0);
    const int end = (int)((group + 1) * count / groups);
    for (int u = (int)(group * count / groups); u < end; u++) {
        const int key = keys[u], row = first[u], last = first[u + 1];
        if (key < 0 || key >= key_end) continue;
        __global float *at = to + panel_stride * (ulong)(key / 16) + key_stride * (ulong)(key % 16);
        EACH_VECTOR(c, C) {
            floatv sum = 0.0f;
            for (int i = row; i < last; i++) sum += LOADA(ROW(dy, rows[i]) + c);
            float each[VW];
            STOREV(sum, each);
            UNROLL
            for (int j = 0; j < VW; j++) at[row_stride * (ulong)(c + j)] += scale * each[j];
        }
        EACH_REST(c, C) {
            float sum = 0.0f;
            for (int i = row; i < last; i++) sum += GETA(ROW(dy, rows[i]), c);
            at[row_stride * (ulong)c] += scale * sum;
        }
    }
}
