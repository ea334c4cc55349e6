// SPDX-License-Identifier: MIT
// What tests of operations share: tensors between guards, random numbers, comparisons, timing.
#ifndef CLF_TESTS_OPKIT_H
#define CLF_TESTS_OPKIT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/rng.h"
#include "device/memory.h"

// A run and an arena on a device for one test.
typedef struct opkit {
    clf_run run;
    clf_arena *arena;
} opkit;

bool opkit_init(opkit *kit, clf_device *device);
// Fails the test if the run failed.
void opkit_finish(opkit *kit);

// A (rows, cols) view in the middle of a larger tensor whose other elements must stay as they are.
typedef struct opkit_guarded {
    clf_tensor view, whole;
    unsigned char *image; // what `whole` held at first
} opkit_guarded;

// `data` are elements of four bytes: for CLF_F16 floats, which are rounded. Without data, the view
// too holds the marker, a NaN.
opkit_guarded opkit_put(opkit *kit, int rows, int cols, clf_dtype dtype, const void *data);
// Copies the view to `data` (floats for CLF_F16), fails the test if an element beside it changed,
// and frees the image.
void opkit_get(opkit *kit, opkit_guarded *guarded, void *data);
// Frees the image only.
void opkit_drop(opkit_guarded *guarded);

// `count` numbers in [-range, range) + shift, freed by free().
float *opkit_numbers(clf_rng *rng, size_t count, float range, float shift);

// Writes and reads tensors without gaps between rows as clf_write and clf_read do, but floats on
// the host for CLF_F16.
void opkit_write(opkit *kit, clf_tensor t, const float *data);
void opkit_read(opkit *kit, clf_tensor t, float *data);

// Half results: inputs as the device gets them, and bounds with the rounding of the result to half
// added. Nothing changes with another dtype.
void opkit_round(float *data, size_t count, clf_dtype dtype);
void opkit_widen(double *bound, const double *expected, size_t count, clf_dtype dtype);

// Fails the test, naming `what`, unless |y - expected| <= bound everywhere; NaN equals NaN and an
// infinity itself.
void opkit_compare(const char *what, const float *y, const double *expected, const double *bound,
                   size_t count);

// Expects that the run failed with CLF_ERROR_ARGUMENT and a message that contains `text`, and
// makes the run usable again.
void opkit_expect_argument_error(opkit *kit, const char *text);

// Times `launch` and prints milliseconds, GB/s and GFLOP/s per call.
void opkit_bench(opkit *kit, const char *name, double bytes, double flops,
                 void (*launch)(clf_run *run, void *user), void *user);

#endif
