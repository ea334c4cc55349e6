// SPDX-License-Identifier: MIT
// A linear layer or its gradient against the reference in double, whatever the types.
#ifndef CLF_TESTS_LINEARKIT_H
#define CLF_TESTS_LINEARKIT_H

#include "ops/ops.h"

typedef struct linear_problem {
    int rows, k, n;
    clf_dtype x, w, y; // and the residual's; of a gradient y is dy
    bool bias, residual, transpose;
    clf_gemm gemm; // CLF_GEMM_PANEL: what the device prefers, but for a gradient with half x
    bool aligned;  // x and dy are tensors of their own, not views of others
    clf_activation activation;
} linear_problem;

// A matrix unit's products are right within 2^-21, while terms + 2 in a float sum's bound are 2^-24
// each.
void linearkit_allow_unit(double *bound, size_t count, clf_gemm gemm, int terms);

// Whether products of this kind can be tested here.
bool linearkit_has_int8(clf_device *device, clf_int8 kind);

void linearkit_multiply(clf_device *device, const linear_problem *p);
void linearkit_differentiate(clf_device *device, const linear_problem *p);

#endif
