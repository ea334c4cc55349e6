// SPDX-License-Identifier: MIT
// Attention over packed sequences and its gradient, in double. Matrices are tight.
#ifndef CLF_TESTS_REF_ATTENTION_H
#define CLF_TESTS_REF_ATTENTION_H

#include "ops/ops.h"

typedef struct ref_attention {
    const double *q, *k, *v; // (rows, heads * width)
    int batch, heads, width;
    const int *q_starts, *q_lengths, *kv_starts, *kv_lengths;
    double scale;
    bool causal;
    clf_dropout dropout;
} ref_attention;

// Writes the rows of y and lse (rows, heads) that belong to a sequence; without a key lse is -3e38.
// The bounds say how far a float result may be. Any pointer but y may be NULL.
void ref_attention_forward(const ref_attention *a, double *y, double *y_bound, double *lse,
                           double *lse_bound);

// A matrix and how far a float result may be from it.
typedef struct ref_bounded {
    double *value, *bound;
} ref_bounded;

// Adds to the rows that belong to a sequence.
void ref_attention_backward(const ref_attention *a, const double *dy, ref_bounded dq,
                            ref_bounded dk, ref_bounded dv);

#endif
