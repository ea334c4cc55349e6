// SPDX-License-Identifier: MIT
// A small generator for tests, probes and shuffles: splitmix64 (Steele, Lea, Flood, OOPSLA 2014).
#ifndef CLF_BASE_RNG_H
#define CLF_BASE_RNG_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

typedef struct clf_rng {
    uint64_t state; // any value is a good seed
} clf_rng;

static inline uint64_t clf_rng_next(clf_rng *rng) {
    uint64_t z = (rng->state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

// Uniform in [low, high).
static inline float clf_rng_uniform(clf_rng *rng, float low, float high) {
    return low + (high - low) * (float)(clf_rng_next(rng) >> 40) * 0x1p-24f;
}

// `count` numbers in [-1, 1), freed by free(); NULL if there is no memory.
static inline float *clf_rng_numbers(clf_rng *rng, size_t count) {
    float *numbers = malloc(count * sizeof *numbers);
    for (size_t i = 0; numbers && i < count; i++) numbers[i] = clf_rng_uniform(rng, -1, 1);
    return numbers;
}

// Uniform in [0, bound); bound > 0.
static inline uint32_t clf_rng_below(clf_rng *rng, uint32_t bound) {
    return (uint32_t)((clf_rng_next(rng) >> 32) * bound >> 32);
}

// Normal with mean 0 and variance 1 (Box, Muller 1958; the other number of the pair is not kept, so
// that the state is all there is).
static inline double clf_rng_normal(clf_rng *rng) {
    const double radius = (double)((clf_rng_next(rng) >> 11) + 1) * 0x1p-53; // (0, 1]
    const double turn = (double)(clf_rng_next(rng) >> 11) * 0x1p-53;
    return sqrt(-2 * log(radius)) * cos(6.283185307179586 * turn);
}

#endif
