// SPDX-License-Identifier: MIT
#include "ref/ref_attention.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "ref/ref_philox.h"

// One query: its weights before dropout, and what dropout multiplies them with.
typedef struct query {
    int row, count;     // keys that it sees
    size_t at, keys_at; // its first column, and that of key 0
    double *weights, *masks;
    double lse;
    double error; // of a float weight, relative to it
} query;

static void weigh(const ref_attention *a, int b, int h, int t, query *q) {
    const int C = a->heads * a->width, seen = a->causal ? t + 1 : a->kv_lengths[b];
    clf_dropout dropout = a->dropout;
    dropout.site += (uint32_t)h << 16;
    q->row = a->q_starts[b] + t;
    q->count = seen < a->kv_lengths[b] ? seen : a->kv_lengths[b];
    q->at = (size_t)q->row * (size_t)C + (size_t)(h * a->width);
    q->keys_at = (size_t)a->kv_starts[b] * (size_t)C + (size_t)(h * a->width);
    double top = -INFINITY, sum = 0, largest = 0;
    for (int j = 0; j < q->count; j++) {
        double score = 0, size = 0;
        for (int d = 0; d < a->width; d++) {
            const double product =
                a->scale * a->q[q->at + (size_t)d] * a->k[q->keys_at + (size_t)(j * C + d)];
            score += product;
            size += fabs(product);
        }
        q->weights[j] = score;
        q->masks[j] = ref_dropout((uint32_t)q->row, (uint32_t)j, &dropout);
        top = fmax(top, score);
        largest = fmax(largest, size);
    }
    for (int j = 0; j < q->count; j++) sum += exp(q->weights[j] - top);
    q->lse = q->count > 0 ? top + log(sum) : -3e38;
    for (int j = 0; j < q->count; j++) q->weights[j] = exp(q->weights[j] - q->lse);
    // A score is off by the rounding of its sum, and each weight by e to that.
    q->error = FLT_EPSILON * 2 * ((a->width / 8.0 + 16) * largest + q->count + 16);
}

// Calls `visit` with every query of every head.
static void each_query(const ref_attention *a,
                       void (*visit)(const ref_attention *a, const query *q, int head, void *user),
                       void *user) {
    for (int b = 0; b < a->batch; b++) {
        const size_t keys = (size_t)a->kv_lengths[b] + 1;
        query q = {.weights = malloc(sizeof(double) * keys),
                   .masks = malloc(sizeof(double) * keys)};
        for (int h = 0; h < a->heads; h++) {
            for (int t = 0; t < a->q_lengths[b]; t++) {
                weigh(a, b, h, t, &q);
                visit(a, &q, h, user);
            }
        }
        free(q.weights), free(q.masks);
    }
}

typedef struct results {
    double *y, *y_bound, *lse, *lse_bound;
} results;

static void attend(const ref_attention *a, const query *q, int head, void *user) {
    const results *to = user;
    const int C = a->heads * a->width, slot = q->row * a->heads + head;
    for (int d = 0; d < a->width; d++) {
        double sum = 0, largest = 0;
        for (int j = 0; j < q->count; j++) {
            const double value = q->masks[j] * a->v[q->keys_at + (size_t)(j * C + d)];
            sum += q->weights[j] * value;
            largest = fmax(largest, fabs(value));
        }
        to->y[q->at + (size_t)d] = sum;
        if (to->y_bound) to->y_bound[q->at + (size_t)d] = q->error * largest;
    }
    if (to->lse) to->lse[slot] = q->lse;
    if (to->lse_bound) to->lse_bound[slot] = q->error + 2 * FLT_EPSILON * fabs(q->lse);
}

void ref_attention_forward(const ref_attention *a, double *y, double *y_bound, double *lse,
                           double *lse_bound) {
    results to = {y, y_bound, lse, lse_bound};
    each_query(a, attend, &to);
}

typedef struct gradients {
    const double *dy;
    ref_bounded dq, dk, dv;
} gradients;

// Terms below FLT_MIN may be zero in float.
static void add(ref_bounded to, size_t at, double term, double bound) {
    to.value[at] += term;
    to.bound[at] += bound + (double)FLT_MIN;
}

// Through the softmax by its Jacobian: ds = p * (dp - sum of p dp).
static void differentiate(const ref_attention *a, const query *q, int head, void *user) {
    (void)head;
    const gradients *g = user;
    const int C = a->heads * a->width;
    const double *dy = g->dy + q->at;
    double mean = 0, mean_size = 0;
    double *dp = malloc(sizeof *dp * 2 * ((size_t)q->count + 1)), *size = dp + q->count + 1;
    for (int j = 0; j < q->count; j++) {
        dp[j] = size[j] = 0;
        for (int d = 0; d < a->width; d++) {
            const double term = dy[d] * a->v[q->keys_at + (size_t)(j * C + d)] * q->masks[j];
            dp[j] += term;
            size[j] += fabs(term);
        }
        mean += q->weights[j] * dp[j];
        mean_size += q->weights[j] * size[j];
    }
    // Sums over the width and of terms that have each the error of a weight.
    const double error = q->error + FLT_EPSILON * (a->width / 8.0 + 16);
    for (int j = 0; j < q->count; j++) {
        const double ds = a->scale * q->weights[j] * (dp[j] - mean);
        const double weight_bound = error * q->weights[j] + 2 * (double)FLT_MIN;
        const double ds_bound = weight_bound * a->scale * (size[j] + mean_size);
        const double p = q->weights[j] * q->masks[j], p_bound = weight_bound * q->masks[j];
        for (int d = 0; d < a->width; d++) {
            const size_t at = q->at + (size_t)d, key_at = q->keys_at + (size_t)(j * C + d);
            add(g->dq, at, ds * a->k[key_at], ds_bound * fabs(a->k[key_at]));
            add(g->dk, key_at, ds * a->q[at], ds_bound * fabs(a->q[at]));
            add(g->dv, key_at, p * dy[d], p_bound * fabs(dy[d]));
        }
    }
    free(dp);
}

void ref_attention_backward(const ref_attention *a, const double *dy, ref_bounded dq,
                            ref_bounded dk, ref_bounded dv) {
    gradients g = {dy, dq, dk, dv};
    each_query(a, differentiate, &g);
}
