// SPDX-License-Identifier: MIT
// Numbers as files store them, (rows, cols) row-major, converted to float and put in place: element
// (r, c) goes to panel_stride * (R / 16) + lane_stride * (R % 16) + column_stride * c, R = first +
// r. A work-item converts 16 x 16 elements.
//
//   SOURCE  clf_dtype of the file's elements

#ifndef SOURCE
#define SOURCE 0
#endif

#if SOURCE == 0
typedef float source;
#define VALUE(p, i) ((p)[i])
#elif SOURCE == 1
typedef half source;
#define VALUE(p, i) vload_half(i, p)
#elif SOURCE == 2
typedef ushort source;
#define VALUE(p, i) as_float((uint)(p)[i] << 16)
#elif SOURCE == 4
typedef short source;
#define VALUE(p, i) ((float)(p)[i])
#else
typedef char source;
#define VALUE(p, i) ((float)(p)[i])
#endif

// value = element * scale, or element / scale if `divide`; scale_count is 0, 1 or `rows`.
__kernel void pack(TENSOR(float, to), const ulong panel_stride, const ulong lane_stride,
                   const ulong column_stride, const int first, TENSOR(const source, from),
                   const int rows, const int cols, TENSOR(const float, scales),
                   const int scale_count, const int divide) {
    USE(to);
    USE(from);
    USE(scales);
    const int column = (int)get_global_id(0) * 16;
    const int row = (int)get_global_id(1) * 16;
    const int column_end = min(column + 16, cols);
    const int row_end = min(row + 16, rows);
    for (int r = row; r < row_end; r++) {
        const float scale = scale_count == 0 ? 1.0f : scales[scale_count == 1 ? 0 : r];
        const int at = first + r;
        __global float *line = to + panel_stride * (ulong)(at >> 4) + lane_stride * (ulong)(at & 15);
        __global const source *element = from + (ulong)r * cols;
        for (int c = column; c < column_end; c++) {
            const float value = VALUE(element, c);
            line[column_stride * c] = divide ? value / scale : value * scale;
        }
    }
}
