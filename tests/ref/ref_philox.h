// SPDX-License-Identifier: MIT
// The random numbers behind dropout, as plain C.
#ifndef CLF_TESTS_REF_PHILOX_H
#define CLF_TESTS_REF_PHILOX_H

#include "ops/ops.h"

// Philox4x32 (Salmon, Moraes, Dror, Shaw, SC 2011): x is the counter, then the random words.
void ref_philox(uint32_t x[4], uint64_t key, int rounds);

// What dropout multiplies element (row, column) with: 0 or 1 / (1 - rate).
double ref_dropout(uint32_t row, uint32_t column, const clf_dropout *d);

#endif
