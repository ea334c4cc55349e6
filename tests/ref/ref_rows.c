// SPDX-License-Identifier: MIT
#include "ref/ref_rows.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

// A float sum of n terms rounds at most this often in a row: partial sums of 8 or more columns.
static double roundings(int n) {
    return n / 8.0 + 16;
}

void ref_norm(double *y, double *bound, const float *x, const float *scale, const float *bias,
              int C, clf_norm_kind kind, float epsilon) {
    double mean = 0, variance = 0, largest = 0;
    for (int c = 0; c < C; c++) {
        if (kind == CLF_NORM_LAYER) mean += (double)x[c] / C;
        largest = fmax(largest, fabs((double)x[c]));
    }
    for (int c = 0; c < C; c++) variance += ((double)x[c] - mean) * ((double)x[c] - mean) / C;
    double inverse = 1 / sqrt(variance + (double)epsilon);
    for (int c = 0; c < C; c++) {
        double b = bias ? (double)bias[c] : 0;
        y[c] = ((double)x[c] - mean) * inverse * (double)scale[c] + b;
        // The mean is off by the rounding of terms as large as the largest element.
        bound[c] = FLT_EPSILON * (roundings(C) * largest * inverse * fabs((double)scale[c]) +
                                  roundings(C) * fabs(y[c] - b) + fabs(b));
    }
}

static double top_of(const float *x, int V) {
    double top = -INFINITY;
    for (int c = 0; c < V; c++) top = fmax(top, (double)x[c]);
    return top;
}

void ref_softmax(double *y, double *bound, const float *x, int V, bool log_wanted) {
    double top = top_of(x, V), sum = 0;
    for (int c = 0; c < V && top == -INFINITY; c++) {
        y[c] = log_wanted ? -INFINITY : 0;
        bound[c] = 0;
    }
    if (top == -INFINITY) return;
    for (int c = 0; c < V; c++) sum += exp((double)x[c] - top);
    for (int c = 0; c < V; c++) {
        double below = (double)x[c] - top;
        y[c] = log_wanted ? below - log(sum) : exp(below) / sum;
        // x - top rounds once, e^x within 1 ulp, then the sum; e^x below 2^-126 may be zero.
        double relative = FLT_EPSILON * (4 + roundings(V) + (isinf(below) ? 0 : fabs(below)));
        bound[c] = log_wanted ? relative : relative * y[c] + 2 * (double)FLT_MIN;
    }
}

static bool is_among(int id, const int *ids, int count) {
    for (int i = 0; i < count; i++) {
        if (ids[i] == id) return true;
    }
    return false;
}

double ref_log_sum(double *bound, const float *x, int V, const int *banned, int banned_count) {
    double top = -INFINITY, sum = 0;
    for (int c = 0; c < V; c++) {
        if (!is_among(c, banned, banned_count)) top = fmax(top, (double)x[c]);
    }
    for (int c = 0; c < V; c++) {
        if (!is_among(c, banned, banned_count)) sum += exp((double)x[c] - top);
    }
    double result = top == -INFINITY ? top : top + log(sum);
    // A summand e^(x - top) <= 1: the rounding of x - top matters only where that is not tiny.
    *bound = FLT_EPSILON * (8 + fabs(result) + roundings(V));
    return result;
}

void ref_best(int *ids, const float *x, int V, int k, const int *banned, int banned_count) {
    for (int i = 0; i < k; i++) {
        ids[i] = -1;
        for (int c = 0; c < V; c++) {
            if (x[c] == -INFINITY || (ids[i] >= 0 && !(x[c] > x[ids[i]]))) continue;
            if (is_among(c, ids, i) || is_among(c, banned, banned_count)) continue;
            ids[i] = c;
        }
    }
}

void ref_attend(double *y, double *bound, const float *q, const float *k, const float *v,
                const int *rows, int stride, int count, int D, float scale) {
    double *weights = malloc(sizeof *weights * (size_t)(count + 1));
    double top = -INFINITY, sum = 0, products = 0, largest = 0;
    for (int j = 0; j < count; j++) {
        const float *key = k + (size_t)rows[j] * (size_t)stride;
        double score = 0, size = 0;
        for (int d = 0; d < D; d++) {
            double product = (double)scale * (double)q[d] * (double)key[d];
            score += product;
            size += fabs(product);
        }
        weights[j] = score;
        top = fmax(top, score);
        products = fmax(products, size);
    }
    for (int j = 0; j < count; j++) sum += weights[j] = exp(weights[j] - top);
    for (int d = 0; d < D; d++) {
        y[d] = 0;
        for (int j = 0; j < count; j++) {
            double value = (double)v[(size_t)rows[j] * (size_t)stride + (size_t)d];
            y[d] += weights[j] / sum * value;
            largest = fmax(largest, fabs(value));
        }
    }
    // A score is off by the rounding of its sum, and each weight by e to that.
    for (int d = 0; d < D; d++) {
        bound[d] = FLT_EPSILON * 2 * largest * (roundings(D) * products + roundings(8 * count));
    }
    free(weights);
}
