// SPDX-License-Identifier: MIT
#include "ref/ref_linear.h"

#include <math.h>

double ref_activate(clf_activation activation, double x) {
    switch (activation) {
    case CLF_ACT_NONE: break;
    case CLF_ACT_RELU: return x < 0 ? 0 : x;
    case CLF_ACT_GELU: return 0.5 * x * (1 + erf(x / sqrt(2)));
    case CLF_ACT_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
    case CLF_ACT_GELU_SIGMOID: return x / (1 + exp(-1.702 * x));
    case CLF_ACT_SILU: return x / (1 + exp(-x));
    }
    return x;
}

// The bound: a float sum of k products is within k rounding errors of the sum of magnitudes,
// whatever its order; no activation's slope exceeds 1.2; OpenCL allows erf 16 and tanh and exp with
// a division about 8 units in the last place, of values up to twice |x|.
void ref_linear(double *y, double *bound, const float *x, const float *w, const float *bias,
                const float *residual, int m, int k, int n, clf_activation activation) {
    for (int row = 0; row < m; row++) {
        for (int column = 0; column < n; column++) {
            const int at = row * n + column;
            double sum = bias ? bias[column] : 0, magnitude = fabs(sum);
            for (int i = 0; i < k; i++) {
                const double product = (double)x[row * k + i] * w[column * k + i];
                sum += product;
                magnitude += fabs(product);
            }
            const double extra = residual ? residual[at] : 0;
            const double slope = activation == CLF_ACT_NONE ? 1 : 1.2;
            const double function = activation > CLF_ACT_RELU ? 32 * fabs(sum) : 0;
            y[at] = ref_activate(activation, sum) + extra;
            bound[at] =
                0x1p-24 * ((k + 2) * slope * magnitude + function + 2 * fabs(extra)) + 1e-30;
        }
    }
}
