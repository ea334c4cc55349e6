// SPDX-License-Identifier: MIT
#include "ops/chain_check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fail.h"
#include "base/rng.h"
#include "device/launch.h"
#include "ops/ops.h"

// A decoder's step in small: 3 LAYERS launches, of one row.
enum { LAYERS = 20, WIDTH = 256, FFN = 512, ROUNDS = 20 };

typedef struct sequence {
    clf_arena *arena;
    clf_tensor x, inner; // (1, WIDTH), (1, FFN)
    clf_tensor scale;    // (1, WIDTH)
    clf_weight in, out;
} sequence;

static clf_weight random_weight(clf_run *run, clf_arena *arena, clf_rng *rng, int k, int n) {
    const clf_weight w = clf_weight_take(run, arena, k, n);
    float *numbers = clf_rng_numbers(rng, k * n);
    if (!numbers) clf_run_fail(run, clf_fail_memory());
    const clf_piece piece = {.data = numbers, .dtype = CLF_F32, .rows = n, .cols = k};
    if (numbers) clf_weight_write(run, w, 0, &piece, arena);
    free(numbers);
    return w;
}

static void prepare(clf_run *run, sequence *s) {
    clf_rng rng = {.state = 1};
    float *scale = clf_rng_numbers(&rng, WIDTH);
    if (!scale) clf_run_fail(run, clf_fail_memory());
    s->x = clf_arena_take(run, s->arena, 1, WIDTH, CLF_F32);
    s->inner = clf_arena_take(run, s->arena, 1, FFN, CLF_F32);
    s->scale = clf_arena_take(run, s->arena, 1, WIDTH, CLF_F32);
    if (scale) clf_write(run, s->scale, scale);
    free(scale);
    s->in = random_weight(run, s->arena, &rng, WIDTH, FFN);
    s->out = random_weight(run, s->arena, &rng, FFN, WIDTH);
}

static void apply(clf_run *run, const sequence *s, clf_chaining chaining, float x[WIDTH]) {
    clf_chain_choose(run->device, chaining);
    clf_write(run, s->x, x);
    clf_chain_begin(run);
    for (int i = 0; i < LAYERS; i++) {
        clf_op_linear(run, s->inner, s->x, s->in, (clf_linear){.activation = CLF_ACT_RELU});
        clf_op_linear(run, s->x, s->inner, s->out, (clf_linear){.residual = s->x});
        clf_op_norm(run, s->x, s->x, (clf_norm){.epsilon = 1e-5f, .scale = s->scale});
    }
    clf_read(run, s->x, x);
    clf_chain_end(run);
}

// Norms keep numbers near 1. Where LANES is 1 bits must agree, elsewhere sums round differently.
static bool agree(clf_run *run, const float *joined, const float *single) {
    if (clf_device_profile(run->device)->lanes == 1)
        return memcmp(joined, single, WIDTH * sizeof *joined) == 0;
    for (int i = 0; i < WIDTH; i++) {
        if (!(fabsf(joined[i] - single[i]) < 1e-3f)) return false;
    }
    return true;
}

// Each round goes on from the result of the one before, and is made twice, since it must repeat.
static bool is_right(clf_run *run, const sequence *s) {
    float first[WIDTH], joined[WIDTH], single[WIDTH];
    for (int i = 0; i < WIDTH; i++) first[i] = (float)(i % 7) - 3;
    for (int i = 0; i < ROUNDS; i++) {
        memcpy(joined, first, sizeof first);
        memcpy(single, first, sizeof first);
        apply(run, s, CLF_CHAIN_NEVER, single);
        apply(run, s, CLF_CHAIN_ALWAYS, joined);
        apply(run, s, CLF_CHAIN_ALWAYS, first);
        if (run->status != CLF_OK || !clf_chain_was_joined(run->device) ||
            memcmp(first, joined, sizeof first) != 0 || !agree(run, joined, single))
            return false;
    }
    return true;
}

static double seconds_of(clf_run *run, const sequence *s, clf_chaining chaining) {
    float x[WIDTH] = {1};
    double best = INFINITY;
    for (int i = 0; i < ROUNDS; i++) {
        const int64_t begin = clf_clock();
        apply(run, s, chaining, x);
        const double seconds = 1e-9 * (double)(clf_clock() - begin);
        if (seconds < best) best = seconds;
    }
    return best;
}

bool clf_chain_check(clf_run *run, bool faster) {
    sequence s = {0};
    clf_run_fail(run, clf_arena_create(run->device, "numeric check", "nothing", &s.arena));
    if (run->status == CLF_OK) prepare(run, &s);
    bool good = is_right(run, &s);
    if (good && faster)
        good = seconds_of(run, &s, CLF_CHAIN_ALWAYS) < seconds_of(run, &s, CLF_CHAIN_NEVER);
    clf_chain_choose(run->device, CLF_CHAIN_IF_FASTER);
    clf_arena_destroy(s.arena);
    return good;
}
