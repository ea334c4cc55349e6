// SPDX-License-Identifier: MIT
#include <math.h>
#include <stdlib.h>

#include "base/fail.h"
#include "ops/linear.h"
#include "ops/shape.h"

void clf_op_embed(clf_run *run, clf_tensor y, clf_weight table, clf_tensor ids,
                  clf_tensor positions, clf_tensor where, float scale) {
    const int rows = y.rows, width = y.cols;
    if (!clf_shape_is_real(run, "embed", "y", y, rows, table.k) ||
        !clf_shape_require(run, clf_weight_fits(table), "embed", "the table's type is unknown") ||
        !clf_shape_is(run, "embed", "ids", ids, 1, rows, CLF_I32) ||
        !clf_shape_is_or_absent(run, "embed", "positions", positions, CLF_ANY, width, CLF_F32)) {
        return;
    }
    if (positions.chunk &&
        (!clf_shape_require(run, positions.rows > 0, "embed", "positions has no rows") ||
         !clf_shape_is(run, "embed", "where", where, 1, rows, CLF_I32))) {
        return;
    }
    const clf_kernel_spec spec = {
        .file = "embed",
        .kernel = "embed",
        .defines = {{"HALF", clf_is_half(y) + 2 * clf_is_half(table.data)},
                    {"INT8", table.data.dtype == CLF_I8}}};
    const clf_arg arguments[] = {
        CLF_ARG_MATRIX(y),
        clf_arg_tensor(table.data),
        clf_arg_long((int64_t)table.panel_stride),
        clf_arg_long((int64_t)table.row_stride),
        clf_arg_int(clf_int8_interleave(table.int8)),
        clf_arg_int(clf_int8_offset(table.int8)),
        clf_arg_tensor(table.scales),
        clf_arg_int(table.n),
        clf_arg_tensor(ids),
        CLF_ARG_MATRIX(positions),
        clf_arg_int(positions.rows - 1),
        clf_arg_tensor(where),
        clf_arg_int(rows),
        clf_arg_int(width),
        clf_arg_float(scale),
    };
    const clf_cost cost = {.bytes = (double)clf_dtype_size(y.dtype) * rows * width *
                                    (positions.chunk ? 3 : 2)};
    clf_launch(run, &spec, clf_row_range(run->device, rows), cost, arguments, CLF_COUNT(arguments));
}

void clf_sinusoid_row(float *row, int width, int position, double denominator) {
    const int sines = (width + 1) / 2;
    for (int j = 0; j < sines; j++) {
        double angle = position * pow(10000, -j / denominator);
        row[j] = (float)sin(angle);
        if (sines + j < width) row[sines + j] = (float)cos(angle);
    }
}

void clf_sinusoid_write(clf_run *run, clf_tensor table, int offset, double denominator) {
    if (!clf_shape_is(run, "sinusoid", "the table", table, CLF_ANY, CLF_ANY, CLF_F32)) return;
    const int width = table.cols;
    float *data = malloc((size_t)table.rows * (size_t)width * sizeof *data);
    if (!data && table.rows > 0) {
        clf_run_fail(run, clf_fail_memory());
        return;
    }
    for (int t = 0; t < table.rows; t++) {
        clf_sinusoid_row(data + (size_t)t * (size_t)width, width, t + offset, denominator);
    }
    clf_write(run, table, data);
    free(data);
}
