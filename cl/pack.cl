// SPDX-License-Identifier: MIT
// Numbers as files store them, (rows, cols) row-major, converted and put in place: element (r, c)
// goes to panel_stride * (R / 16) + lane_stride * (R % 16) + column_stride * c, R = first +
// r. A work-item converts 16 x 16 elements.
//
//   SOURCE  clf_dtype of the file's elements
//   HALF    1: converted to half, else to float

#ifndef SOURCE
#define SOURCE 0
#endif

#include "int8.cl"

// VALUES: four from p on.
#if SOURCE == 0
typedef float source;
#define VALUE(p, i) ((p)[i])
#define VALUES(p) vload4(0, p)
#elif SOURCE == 1
typedef half source;
#define VALUE(p, i) vload_half(i, p)
#define VALUES(p) vload_half4(0, p)
#elif SOURCE == 2
typedef ushort source;
#define VALUE(p, i) as_float((uint)(p)[i] << 16)
#define VALUES(p) as_float4(convert_uint4(vload4(0, p)) << 16)
#else
#if SOURCE == 4
typedef short source;
#else
typedef char source;
#endif
#define VALUE(p, i) ((float)(p)[i])
#define VALUES(p) convert_float4(vload4(0, p))
#endif

#if HALF
#if SOURCE == 1
#define FROM half
#define TO float
#else
#define FROM float
#define TO half
#endif
// Half from float or float from half: n elements, a multiple of 16.
__kernel void convert(TENSOR(TO, to), TENSOR(const FROM, from), const ulong n) {
    USE(to);
    USE(from);
    for (ulong i = get_global_id(0) * VW; i < n; i += get_global_size(0) * VW)
        STORE(TO, LOAD(FROM, from + i), to + i);
}
#endif

// value = element * scale, or element / scale if `divide`; scale_count is 0, 1 or `rows`.
__kernel void pack(TENSOR(act, to), const ulong panel_stride, const ulong lane_stride,
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
        __global act *line = to + panel_stride * (ulong)(at >> 4) + lane_stride * (ulong)(at & 15);
        __global const source *element = from + (ulong)r * cols;
        for (int c = column; c < column_end; c++) {
            const float value = VALUE(element, c);
            SETA(divide ? value / scale : value * scale, line, column_stride * c);
        }
    }
}

// The same for a weight of int8 (ops/ops.h, clf_weight): row r of the file becomes column R of w in
// `interleave` rows side by side, offset + element / to_scales[R]. A work-item converts a row.
__kernel void pack_int8(TENSOR(char, to), const ulong panel_stride, const ulong row_stride,
                        const int interleave, const int first, TENSOR(float, to_scales),
                        const int limit, const int offset, TENSOR(const source, from),
                        const int rows, const int cols, TENSOR(const float, scales),
                        const int scale_count, const int divide) {
    const int r = (int)get_global_id(0);
    if (r >= rows) return;
    USE(to);
    USE(to_scales);
    USE(from);
    USE(scales);
    const float scale = scale_count == 0 ? 1.0f : scales[scale_count == 1 ? 0 : r];
    __global const source *element = from + (ulong)r * cols;
    const int fours = cols & ~3;
    int4 tops = 0;
    for (int c = 0; c < fours; c += 4)
        tops = max(tops, as_int4(VALUES(element + c)) & MAGNITUDE);
    int top = max(max(tops.x, tops.y), max(tops.z, tops.w));
    for (int c = fours; c < cols; c++) top = max(top, as_int(VALUE(element, c)) & MAGNITUDE);
    const float most = as_float(top);
    const bool finite = top < INFINITE;
    const float inverse = top > 0 && finite ? (float)limit / most : 0.0f;
    const int at = first + r;
    to += panel_stride * (ulong)(at >> 4) + (ulong)((at & 15) * interleave);
    for (int c = 0; c < fours; c += 4) {
        const char4 q = convert_char4(convert_int4(rint(VALUES(element + c) * inverse)) + offset);
        if (interleave == 4) {
            *(__global char4 *)(to + row_stride * (c / 4)) = q;
        } else {
            __global char *line = to + row_stride * c;
            line[0] = q.x;
            line[row_stride] = q.y;
            line[2 * row_stride] = q.z;
            line[3 * row_stride] = q.w;
        }
    }
    for (int c = fours; c < cols; c++) {
        const int value = (int)rint(VALUE(element, c) * inverse) + offset;
        to[row_stride * (c / interleave) + c % interleave] = (char)value;
    }
    const float unit = finite ? most / (float)limit : NAN;
    to_scales[at] = divide ? unit / scale : unit * scale;
}
