// SPDX-License-Identifier: MIT
#ifndef CLF_BASE_CLOCK_H
#define CLF_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

// Monotonic time in nanoseconds.
static inline int64_t clf_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

#endif
