// SPDX-License-Identifier: MIT
// The loss in double.
#ifndef CLF_TESTS_REF_LOSS_H
#define CLF_TESTS_REF_LOSS_H

// One row of V logits as clf_op_cross_entropy has it, with a label that counts. loss[0] is the
// smoothed loss, loss[1] the negative log-likelihood; `gradient` (V), that of loss[0], may be NULL.
void ref_cross_entropy(double loss[2], double *gradient, const double *x, int V, int label,
                       int banned, double smoothing);

#endif
