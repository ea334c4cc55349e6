// SPDX-License-Identifier: MIT
// What a linear layer is, in double.
#ifndef CLF_TESTS_REF_LINEAR_H
#define CLF_TESTS_REF_LINEAR_H

#include "ops/ops.h"

double ref_activate(clf_activation activation, double x);

// y (m, n) = act(x (m, k) . w^T + bias) + residual, all tight; w (n, k) as files store it. bias and
// residual may be NULL. `bound` (m, n) is how far a float result may be from y.
void ref_linear(double *y, double *bound, const float *x, const float *w, const float *bias,
                const float *residual, int m, int k, int n, clf_activation activation);

#endif
