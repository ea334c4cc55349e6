// SPDX-License-Identifier: MIT
#include "ref/ref_loss.h"

#include <math.h>

void ref_cross_entropy(double loss[2], double *gradient, const double *x, int V, int label,
                       int banned, double smoothing) {
    double top = -INFINITY, sum = 0;
    for (int j = 0; j < V; j++) top = j == banned ? top : fmax(top, x[j]);
    for (int j = 0; j < V; j++) sum += j == banned ? 0 : exp(x[j] - top);
    const double log_sum = log(sum), share = smoothing / (banned < 0 ? V : V - 1);
    loss[0] = 0;
    loss[1] = log_sum + (top - x[label]);
    for (int j = 0; j < V; j++) {
        const double target = j == banned ? 0 : (j == label ? 1 - smoothing : 0) + share;
        if (target > 0) loss[0] += target * (log_sum + (top - x[j]));
        if (gradient) gradient[j] = j == banned ? 0 : exp(x[j] - top) / sum - target;
    }
}
