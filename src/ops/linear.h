// SPDX-License-Identifier: MIT
// Linear layers with the variant and layout forced: for tests, probes and the tuning search.
#ifndef CLF_OPS_LINEAR_H
#define CLF_OPS_LINEAR_H

#include "ops/ops.h"

// clf_op_linear by this variant, checked or not. CLBlast needs a plain weight, and cannot do
// `residual` = y together with an activation.
void clf_linear_run(clf_run *run, clf_gemm variant, clf_tensor y, clf_tensor x, clf_weight w,
                    clf_linear epilogue);

// clf_weight_take with the layout given: plain rows or packed panels.
clf_weight clf_weight_take_layout(clf_run *run, clf_arena *arena, int k, int n, bool plain);

// Compares the variant with sums in double on the host, at an awkward shape of this row class
// (ops/tuning.h). False if it differs or does not run, which is logged.
bool clf_linear_check(clf_device *device, clf_gemm variant, int row_class);

#endif
