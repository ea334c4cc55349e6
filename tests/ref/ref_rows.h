// SPDX-License-Identifier: MIT
// Operations on rows and attention, in double. Matrices are tight. `bound` receives how far a float
// result may be from y; where an infinity or NaN is expected it does not matter.
#ifndef CLF_TESTS_REF_ROWS_H
#define CLF_TESTS_REF_ROWS_H

#include "ops/ops.h"

// One row of C columns. bias may be NULL.
void ref_norm(double *y, double *bound, const float *x, const float *scale, const float *bias,
              int C, clf_norm_kind kind, float epsilon);

// One row of V columns.
void ref_softmax(double *y, double *bound, const float *x, int V, bool log_wanted);

// log sum exp over the columns that are not banned, and a bound for it.
double ref_log_sum(double *bound, const float *x, int V, const int *banned, int banned_count);

// The best k columns that are not banned, lowest first among equals; -1 when there are no more
// above minus infinity.
void ref_best(int *ids, const float *x, int V, int k, const int *banned, int banned_count);

// One query of width D against `count` keys; key j starts at k + rows[j] * stride, its value at
// v + rows[j] * stride.
void ref_attend(double *y, double *bound, const float *q, const float *k, const float *v,
                const int *rows, int stride, int count, int D, float scale);

#endif
