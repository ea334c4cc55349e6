// SPDX-License-Identifier: MIT
// Times products as a model runs them, for tools/bench: reads lines "ROWS K N" and answers each
// with the seconds of one product. Usage: bench-linear DEVICE KIND (auto, clblast, panel)
// [CLFORMER], the command that tries variants, as it does for itself
#include <stdio.h>
#include <stdlib.h>

#include <clformer/device.h>

#include "base/clock.h"
#include "base/fail.h"
#include "base/rng.h"
#include "ops/ops.h"

#define REPEATS 5
#define REPEAT  0.03 // seconds of products that are queued before waiting, at least

typedef struct product {
    clf_tensor y, x;
    clf_weight w;
} product;

static double seconds_of(clf_run *run, const product *p, int calls) {
    const int64_t begin = clf_clock();
    for (int i = 0; i < calls; i++) clf_op_linear(run, p->y, p->x, p->w, (clf_linear){0});
    clf_run_finish(run);
    return 1e-9 * (double)(clf_clock() - begin) / calls;
}

static int compare_seconds(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// The first call compiles and the second says how many to queue.
static double median_seconds(clf_run *run, const product *p) {
    double seconds[REPEATS];
    seconds_of(run, p, 1);
    const int calls = 1 + (int)(REPEAT / seconds_of(run, p, 1));
    for (int i = 0; i < REPEATS; i++) seconds[i] = seconds_of(run, p, calls);
    qsort(seconds, REPEATS, sizeof *seconds, compare_seconds);
    return seconds[REPEATS / 2];
}

static clf_status time_product(clf_device *device, clf_arena *arena, const int size[3],
                               double *seconds) {
    const int rows = size[0], k = size[1], n = size[2], most = rows > n ? rows : n;
    float *numbers = malloc((size_t)most * (size_t)k * sizeof *numbers);
    if (!numbers) return clf_fail_memory();
    clf_rng rng = {.state = 1};
    for (size_t i = 0; i < (size_t)most * (size_t)k; i++) {
        numbers[i] = clf_rng_uniform(&rng, -1, 1);
    }
    clf_run run = clf_run_begin(device);
    clf_arena_reset(arena);
    const product p = {.y = clf_arena_take(&run, arena, rows, n, CLF_F32),
                       .x = clf_arena_take(&run, arena, rows, k, CLF_F32),
                       .w = clf_weight_take(&run, arena, k, n)};
    const clf_piece piece = {.data = numbers, .dtype = CLF_F32, .rows = n, .cols = k};
    clf_write(&run, p.x, numbers);
    clf_weight_write(&run, p.w, 0, &piece, arena);
    *seconds = median_seconds(&run, &p);
    clf_status status = clf_run_finish(&run);
    free(numbers);
    return status;
}

int main(int argc, char **argv) {
    const char *const trial[] = {argc > 3 ? argv[3] : NULL, "try", NULL};
    const clf_device_options options = {.select = argc > 1 ? argv[1] : NULL,
                                        .gemm = argc > 2 ? argv[2] : NULL,
                                        .trial_command = argc > 3 ? trial : NULL};
    clf_device *device = NULL;
    clf_arena *arena = NULL;
    int size[3];
    clf_status status = clf_device_open(&options, &device);
    if (status == CLF_OK)
        status = clf_arena_create(device, "the benchmark", "smaller products", &arena);
    while (status == CLF_OK && scanf("%d %d %d", &size[0], &size[1], &size[2]) == 3) {
        double seconds = 0;
        status = time_product(device, arena, size, &seconds);
        if (status != CLF_OK) break;
        printf("%.9f\n", seconds);
        fflush(stdout);
    }
    if (status != CLF_OK) fprintf(stderr, "bench-linear: %s\n", clf_last_error());
    clf_arena_destroy(arena);
    clf_device_close(device);
    return status == CLF_OK ? 0 : 1;
}
