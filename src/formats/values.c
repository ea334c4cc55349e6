// SPDX-License-Identifier: MIT
#include "formats/values.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/half.h"

// An element of a piece as it is stored; files do not align their data.
static float stored(const clf_piece *piece, size_t index) {
    const unsigned char *data =
        (const unsigned char *)piece->data + index * (size_t)clf_dtype_size(piece->dtype);
    uint16_t half;
    int16_t word;
    uint32_t bits;
    float value;
    switch (piece->dtype) {
    case CLF_F32: memcpy(&value, data, sizeof value); return value;
    case CLF_F16: memcpy(&half, data, sizeof half); return clf_half_to_float(half);
    case CLF_BF16:
        memcpy(&half, data, sizeof half);
        bits = (uint32_t)half << 16;
        memcpy(&value, &bits, sizeof value);
        return value;
    case CLF_I16: memcpy(&word, data, sizeof word); return word;
    default: return (signed char)*data;
    }
}

static void unpack(const clf_piece *piece, float *values) {
    for (int row = 0; row < piece->rows; row++) {
        float scale = piece->scale_count == 0   ? 1
                      : piece->scale_count == 1 ? piece->scales[0]
                                                : piece->scales[row];
        for (int col = 0; col < piece->cols; col++) {
            float value = stored(piece, (size_t)row * (size_t)piece->cols + (size_t)col);
            *values++ = piece->divide ? value / scale : value * scale;
        }
    }
}

static clf_status read_source(void *self, const clf_param *param, float *data) {
    clf_param_source *source = self;
    clf_piece pieces[CLF_MAX_PIECES];
    int count;
    clf_status status = source->find(source->self, param, pieces, &count);
    if (status != CLF_OK) return status;
    if (count == 0) memset(data, 0, (size_t)param->rows * (size_t)param->cols * sizeof *data);
    for (int i = 0; i < count; i++) {
        unpack(&pieces[i], data);
        data += (size_t)pieces[i].rows * (size_t)pieces[i].cols;
        source->release(source->self, &pieces[i]);
    }
    return CLF_OK;
}

clf_values clf_values_of_source(clf_param_source *source) {
    return (clf_values){.self = source, .read = read_source};
}

bool clf_values_to_half(const float *values, size_t count, uint16_t *halves) {
    for (size_t i = 0; i < count; i++) {
        if (!(fabsf(values[i]) < 65520)) return false; // would round to infinity
        halves[i] = clf_half_from_float(values[i]);
    }
    return true;
}

bool clf_values_to_int8(const float *values, int rows, int cols, int8_t *bytes, float *scales) {
    for (int row = 0; row < rows; row++) {
        const float *in = values + (size_t)row * (size_t)cols;
        int8_t *out = bytes + (size_t)row * (size_t)cols;
        float largest = 0;
        for (int i = 0; i < cols; i++) {
            if (!isfinite(in[i])) return false;
            largest = fmaxf(largest, fabsf(in[i]));
        }
        // A row of zeros has the scale 1; that of a tiny row must stay finite.
        scales[row] = 127 / (largest == 0 ? 127 : fmaxf(largest, 127 / FLT_MAX));
        for (int i = 0; i < cols; i++) out[i] = (int8_t)rintf(in[i] * scales[row]);
    }
    return true;
}
