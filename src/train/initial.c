// SPDX-License-Identifier: MIT
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/rng.h"
#include "train/recipe.h"

struct clf_initial {
    clf_config config;
    uint64_t seed;
    float *values; // of the parameter that was found last
};

clf_status clf_initial_create(const clf_config *config, uint64_t seed, clf_initial **initial) {
    clf_initial *created = calloc(1, sizeof *created);
    if (!created) return clf_fail_memory();
    created->config = *config;
    created->seed = seed;
    *initial = created;
    return CLF_OK;
}

void clf_initial_destroy(clf_initial *initial) {
    if (!initial) return;
    free(initial->values);
    free(initial);
}

static bool is_norm_scale(clf_param_kind kind) {
    return kind == CLF_PARAM_EMBEDDING_NORM || kind == CLF_PARAM_SELF_NORM ||
           kind == CLF_PARAM_CROSS_NORM || kind == CLF_PARAM_FFN_NORM ||
           kind == CLF_PARAM_FINAL_NORM;
}

static void fill_normal(clf_rng *rng, float *values, size_t count, double deviation) {
    for (size_t i = 0; i < count; i++) values[i] = (float)(deviation * clf_rng_normal(rng));
}

// Queries, keys and values are matrices of their own that share memory.
static double glorot_limit(const clf_param *param) {
    int outputs = param->rows;
    if (param->kind == CLF_PARAM_SELF_QKV) outputs /= 3;
    if (param->kind == CLF_PARAM_CROSS_KV) outputs /= 2;
    return sqrt(6.0 / (outputs + param->cols));
}

static void fill(const clf_initial *initial, const clf_param *param, clf_rng *rng, float *values) {
    const size_t count = (size_t)param->rows * (size_t)param->cols;
    const double narrow = 1 / sqrt(initial->config.width);
    const int pad = initial->config.pad_token;
    if (param->kind == CLF_PARAM_EMBEDDING || param->kind == CLF_PARAM_OUTPUT) {
        fill_normal(rng, values, count, narrow);
        if (pad >= 0 && pad < param->rows) {
            memset(values + (size_t)pad * (size_t)param->cols, 0,
                   (size_t)param->cols * sizeof *values);
        }
    } else if (param->kind == CLF_PARAM_POSITIONS) {
        fill_normal(rng, values, count, narrow);
    } else if (param->matrix) {
        const float limit = (float)glorot_limit(param);
        for (size_t i = 0; i < count; i++) values[i] = clf_rng_uniform(rng, -limit, limit);
    } else {
        const float value = is_norm_scale(param->kind) ? 1 : 0;
        for (size_t i = 0; i < count; i++) values[i] = value;
    }
}

// Each parameter draws from a generator of its own, so that its values depend on its name and the
// seed alone.
static clf_status find(void *self, const clf_param *param, clf_piece pieces[CLF_MAX_PIECES],
                       int *count) {
    clf_initial *initial = self;
    const size_t size = (size_t)param->rows * (size_t)param->cols * sizeof(float);
    float *values = realloc(initial->values, size);
    if (!values) return clf_fail_memory();
    initial->values = values;
    clf_hash hash = clf_hash_string(clf_hash_start(), param->name);
    clf_rng rng = {hash.low ^ initial->seed * 0x9e3779b97f4a7c15u};
    fill(initial, param, &rng, values);
    pieces[0] =
        (clf_piece){.data = values, .dtype = CLF_F32, .rows = param->rows, .cols = param->cols};
    *count = 1;
    return CLF_OK;
}

static void release(void *self, const clf_piece *piece) {
    (void)self;
    (void)piece;
}

clf_param_source clf_initial_source(clf_initial *initial) {
    return (clf_param_source){.self = initial, .find = find, .release = release};
}
