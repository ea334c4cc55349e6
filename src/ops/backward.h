// SPDX-License-Identifier: MIT
// What training needs beside ops.h: gradients, dropout, the loss, the optimizer. The gradient of
// the loss with respect to x is dx and has x's shape; gradients of parameters (dw, db, dscale) are
// added to what is there, so that micro-batches accumulate. Sums have a fixed order: a run repeats
// bit for bit on one device. `scratch` lends memory until the call returns.
//
// Activations, their gradients and weights (but not gradients of parameters) may be half (CLF_F16):
// a storage type, computed with in float. Tensors of a call that are not said to be float have one
// type.
#ifndef CLF_OPS_BACKWARD_H
#define CLF_OPS_BACKWARD_H

#include "ops/ops.h"

// ---- linear layers (ops/linear_backward.c, cl/linear_backward.cl) -------------------------------

// dx = dy . w^T is clf_op_linear with the transposed weight, whose layout is the device's
// favourite.
clf_weight clf_weight_take_transposed(clf_run *run, clf_arena *arena, clf_weight w); // (N, K)
void clf_op_transpose(clf_run *run, clf_weight to, clf_weight w); // both float or both half
// to (half) = w (float) rounded; a copy of the same layout for training in half.
void clf_op_round(clf_run *run, clf_weight to, clf_weight w);

// dw (K, N) += x (R, K)^T . dy (R, N), and db (1, N) += the columns' sums of dy; db may be absent.
// dw has any layout of clf_weight, the forward weight's; its columns past N stay as they are.
void clf_op_linear_backward(clf_run *run, clf_weight dw, clf_tensor db, clf_tensor x, clf_tensor dy,
                            clf_arena *scratch);

// The values of a float weight as files have them, (outputs, inputs) = (N, K) row-major, on the
// host.
void clf_weight_read(clf_run *run, clf_weight w, float *data, clf_arena *staging);

// ---- element by element (ops/activation.c, cl/activation.cl) ------------------------------------

// y = dropout(act(x)), (R, F); y may be x.
void clf_op_activate(clf_run *run, clf_tensor y, clf_tensor x, clf_activation activation,
                     clf_dropout dropout);
// dx = act'(x) * dropout(dy); dx may be dy.
void clf_op_activate_backward(clf_run *run, clf_tensor dx, clf_tensor dy, clf_tensor x,
                              clf_activation activation, clf_dropout dropout);

// ---- normalisation (ops/norm.c, cl/norm_backward.cl) --------------------------------------------

// The gradient of clf_op_norm, called with the forward call's kind, epsilon, scale, bias, sum,
// stats and dropout (`sum` and `stats` must be there; `sum` is x if nothing was added to it):
//     dsum = d norm(sum) / d sum applied to dy, plus `extra` if present (which may be dsum)
//     dx = dropout(dsum)   if dx is present (it may not be dsum unless the rate is 0)
//     dscale (1, C) and dbias (1, C, may be absent) += over the rows
// dsum is the residual's gradient as well.
typedef struct clf_norm_gradient {
    clf_tensor dy, extra, dsum, dx;
    clf_tensor dscale, dbias;
    clf_arena *scratch;
} clf_norm_gradient;
void clf_op_norm_backward(clf_run *run, clf_norm norm, clf_norm_gradient g);

// ---- attention (ops/attention_backward.c, cl/attention_{tile,group}.cl) -------------------------

// The gradient of clf_op_attention, called with the forward call's `a` (lse included) and its
// result y: dq, dk, dv are written, views like q, k, v. P is recomputed from q, k and lse (Dao et
// al. 2022). Rows of dk and dv that belong to no sequence are not touched.
void clf_op_attention_backward(clf_run *run, clf_tensor dq, clf_tensor dk, clf_tensor dv,
                               clf_tensor dy, clf_tensor y, clf_attention a, clf_arena *scratch);

// ---- embedding (ops/embed_backward.c, cl/embed_backward.cl) -------------------------------------

// Which rows of a batch belong to which key (token id or position), made on the host, so that rows
// are summed in a fixed order: the rows of key keys[u] are rows[first[u]] ... rows[first[u + 1] -
// 1]. Keys ascend. All int32 tensors of one row.
typedef struct clf_index {
    clf_tensor rows;  // (1, R')
    clf_tensor keys;  // (1, U)
    clf_tensor first; // (1, U + 1)
} clf_index;

// dtable[:, key] += scale * the sum of its rows of dy (R, C). `dtable` is (C, V) as in
// clf_op_embed.
void clf_op_embed_backward(clf_run *run, clf_weight dtable, clf_tensor dy, clf_index index,
                           float scale);
// dpositions[key] (P, C) += the sum of its rows of dy.
void clf_op_positions_backward(clf_run *run, clf_tensor dpositions, clf_tensor dy, clf_index index);

// ---- loss (ops/cross_entropy.c, cl/cross_entropy.cl) --------------------------------------------

// Cross-entropy with label smoothing (Szegedy et al. 2016) of rows of logits (R, V), in place:
// `logits` becomes the gradient of the sum of the rows' losses, times `factor` (1, or the loss
// scale of training in half). The target distribution is 1 -
// smoothing on the label and smoothing / V' spread over all V' columns that count (all but
// `banned`, -1: none, which has probability and gradient zero).
//     losses[r] (R, 2) = the smoothed loss, and the plain negative log-likelihood of the label
// A label of -1: the row is no part of the loss; its losses and gradient are zero.
// logits may be a view whose stride exceeds V: columns past V are not touched.
void clf_op_cross_entropy(clf_run *run, clf_tensor losses, clf_tensor logits, clf_tensor labels,
                          int banned, float smoothing, float factor);

// ---- optimizer (ops/optimizer.c, cl/optimizer.cl) -----------------------------------------------

// Adam (Kingma, Ba 2015) with decoupled weight decay (Loshchilov, Hutter 2019), on vectors (1, n):
//     g = gradient * scale
//     m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g^2
//     p = p - rate * (m / correction1 / (sqrt(v / correction2) + epsilon) + decay p)
//     average = average + average_rate (p - average)   if present
// correction = 1 - beta^step, computed by the caller in double. The gradient becomes zero, ready
// for the next update's sums.
typedef struct clf_adam {
    float rate, beta1, beta2, epsilon, decay, scale;
    float correction1, correction2;
    float average_rate;
} clf_adam;
void clf_op_adam(clf_run *run, clf_tensor p, clf_tensor gradient, clf_tensor m, clf_tensor v,
                 clf_tensor average, clf_adam adam);

// partial (1, CLF_PARTIALS) = sums of the squares of x (1, n), which together are |x|^2. Not finite
// if an element is not.
#define CLF_PARTIALS 256
void clf_op_square_sums(clf_run *run, clf_tensor partial, clf_tensor x);

// y (1, n) = a * x + b * y
void clf_op_blend(clf_run *run, clf_tensor y, clf_tensor x, float a, float b);

#endif
