// SPDX-License-Identifier: MIT
// Parameters as plain floats on the host, and floats in the types of files.
#ifndef CLF_FORMATS_VALUES_H
#define CLF_FORMATS_VALUES_H

#include "model/params.h"

// Where a writer of files gets parameters from: (rows, cols) floats, row-major.
typedef struct clf_values {
    void *self;
    clf_status (*read)(void *self, const clf_param *param, float *data);
} clf_values;

// The values of an open model directory. `source` must live as long as they are used.
clf_values clf_values_of_source(clf_param_source *source);

// Rounds to the nearest half, ties to even. False if a value is not a number or out of range.
bool clf_values_to_half(const float *values, size_t count, uint16_t *halves);

// CTranslate2's int8: each row times its scale, 127 / max |row|, rounded to the nearest. False if a
// value is not finite.
bool clf_values_to_int8(const float *values, int rows, int cols, int8_t *bytes, float *scales);

#endif
