// SPDX-License-Identifier: MIT
// The operations of a Transformer on device tensors. They check shapes, pick the variant for this
// device and launch; failures stick in the run. Letters: B batch, S source length, T target
// length, C model width, H heads, D head width, F feed-forward width, V vocabulary, R rows.
//
// Sequences are packed without padding: the tokens of a batch stand one after another, (R, C) with
// R the sum of the lengths, and int32 tensors `starts` and `lengths` (1, B) say where each begins.
#ifndef CLF_OPS_OPS_H
#define CLF_OPS_OPS_H

#include <stdbool.h>

#include "device/memory.h"

typedef enum clf_activation {
    CLF_ACT_NONE,
    CLF_ACT_RELU,
    CLF_ACT_GELU,         // exact: x * Phi(x), by erf
    CLF_ACT_GELU_TANH,    // 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
    CLF_ACT_GELU_SIGMOID, // x * sigmoid(1.702 x)
    CLF_ACT_SILU          // x * sigmoid(x), also called swish
} clf_activation;

// Dropout without a stored mask: an element is made zero with probability `rate`, else divided by
// 1 - rate. Element (r, c) of a matrix draws from Philox with the counter (c, r, site, step) and
// the key `seed` (cl/dropout.cl), so that the gradient finds the same mask, on every device. `site`
// (below 2^16) tells apart the places of one pass, `step` the passes. A zeroed struct is no
// dropout.
typedef struct clf_dropout {
    float rate; // in [0, 1)
    uint32_t site, step;
    uint64_t seed;
} clf_dropout;

// ---- linear layers (ops/linear*.c, ops/weight.c, cl/linear*.cl) ---------------------------------

// How products with int8 weights are computed, all but the first with int8 inputs (cl/linear.cl).
typedef enum clf_int8 {
    CLF_INT8_PLAIN,        // weights become float in the loop; any device
    CLF_INT8_AMX_EMULATED, // on any CPU, for tests only
    CLF_INT8_DOT,          // cl_khr_integer_dot_product or cl_qcom_dot_product8
    CLF_INT8_MADDUBS,      // AVX2
    CLF_INT8_VNNI256,      // AVX-VNNI
    CLF_INT8_VNNI512,      // AVX-512 VNNI
    CLF_INT8_AMX,          // tile registers for many rows, AVX-512 VNNI for few
    CLF_INT8_KINDS
} clf_int8;

// The right-hand side of a matrix product, w (K, N): element (k, n) stands at
// panel_stride * (n / 16) + row_stride * k + n % 16. Packed panels (panel_stride 16 K, row_stride
// 16) keep a CPU's caches and TLB happy; plain rows (panel_stride 16, row_stride N rounded up to
// 16) are what CLBlast reads. Columns past N are zero.
//
// Elements are float, half, or int8 with a scale for each column: value = scales[n] * (element -
// offset). For inputs in int8 four k stand side by side: panel_stride * (n / 16) + row_stride *
// (k / 4) + 4 * (n % 16) + k % 4.
typedef struct clf_weight {
    clf_tensor data; // k * (n rounded up to 16) elements
    int k, n;
    uint64_t panel_stride, row_stride;
    clf_tensor scales; // int8: (1, n rounded up to 16) float
    clf_int8 int8;     // int8: who can read it
} clf_weight;

typedef enum clf_gemm {
    CLF_GEMM_PANEL,   // our kernel, either layout
    CLF_GEMM_CLBLAST, // plain layout only
    CLF_GEMM_MATRIX,  // our kernel for matrix units, where they were tried
    CLF_GEMM_BFLOAT   // our kernels of bfloat16, to which factors are rounded: half weights, CPUs
} clf_gemm;

// A part of a weight as files store it: (rows, cols) = (outputs, inputs), row-major on the host.
// value = element * scale, or element / scale if `divide`; `scales` has `scale_count` entries: 0
// (no scaling), 1, or one per row.
typedef struct clf_piece {
    const void *data;
    clf_dtype dtype;
    int rows, cols;
    const float *scales;
    int scale_count;
    bool divide;
} clf_piece;

// Takes device memory for a weight (K, N) in the layout this device prefers for it.
clf_weight clf_weight_take(clf_run *run, clf_arena *arena, int k, int n);
// The same with elements of another type: CLF_F16 or CLF_I8, in the layout of the best of clf_int8
// here.
clf_weight clf_weight_take_as(clf_run *run, clf_arena *arena, int k, int n, clf_dtype dtype);
// Writes rows of a file's matrix (outputs, inputs) into columns [first, first + rows) of w, rounded
// to its type: in int8 each column's largest element becomes 127 (63 where clf_int8 needs that).
// Uploads in slices through `staging`, which is rewound.
void clf_weight_write(clf_run *run, clf_weight w, int first, const clf_piece *piece,
                      clf_arena *staging);
// A float vector or row-major table (rows, cols) from a file's piece, through `staging` likewise.
void clf_tensor_write_piece(clf_run *run, clf_tensor t, const clf_piece *piece, clf_arena *staging);

// Columns [first, first + count) of w, first a multiple of 16. A view: nothing is copied.
clf_weight clf_weight_cols(clf_weight w, int first, int count);

// Rows of x (R, K) rounded to int8, each with a scale of its own, as products with a weight like w
// take them; absent if they take x itself. Made once for several products with the same x.
typedef struct clf_quantized {
    clf_tensor rows;   // int8 (R, K rounded up to 4)
    clf_tensor stats;  // (R, 2): scale, sum of the row
    clf_tensor errors; // (R, 2): norms of x and of what rounding changed, where they were asked for
} clf_quantized;
clf_quantized clf_op_quantize(clf_run *run, clf_arena *arena, clf_tensor x, clf_weight w);

// y (R, N) = act(x (R, K) . w (K, N) + bias (1, N)) + residual (R, N).
// bias and residual may be absent (chunk NULL). residual may be y itself. x, y and residual, and w
// may each be half. With an int8 weight x and y are float, and `quantized` is what clf_op_quantize
// gives; if it is absent, it is made in memory that `scratch` lends until the call returns. A CPU
// uses `scratch`, if there is one, for a half weight when x has many rows: at most 4 MiB, and with
// `coarse` room for x in half. `coarse` allows that x and a half weight are rounded to bfloat16
// where the device multiplies that faster.
typedef struct clf_linear {
    clf_tensor bias, residual;
    clf_activation activation;
    clf_quantized quantized;
    clf_arena *scratch;
    bool coarse;
} clf_linear;
void clf_op_linear(clf_run *run, clf_tensor y, clf_tensor x, clf_weight w, clf_linear epilogue);

// The variant that would run for this number of rows, for probes and tests.
clf_gemm clf_linear_variant(clf_device *device, int rows, int k, int n);
// The best way to compute with int8 weights that this device has.
clf_int8 clf_linear_int8(clf_run *run);

// y (R, F) = act(x[:, 0:F]) * x[:, F:2F], the gate of gated feed-forward layers.
void clf_op_gate(clf_run *run, clf_tensor y, clf_tensor x, clf_activation activation);

// ---- embedding (ops/embed.c, cl/embed.cl) -------------------------------------------------------

// y[r] = scale * E[ids[r]] + positions[where[r]]. `table` is (C, V) as an output projection's
// weight, so tied embeddings are stored once: row id of E is column id of the weight. An id that is
// not in [0, V) is a zero vector. positions (P, C) may be absent; ids and where are int32 (1, R);
// positions past the table use its last row.
void clf_op_embed(clf_run *run, clf_tensor y, clf_weight table, clf_tensor ids,
                  clf_tensor positions, clf_tensor where, float scale);

// The sinusoidal table of "Attention Is All You Need", 3.5, in halves (sines, then cosines):
// P[t][j] = sin((t + offset) * 10000^(-j / denominator)), the usual denominators being C/2 (Hugging
// Face Marian) and C/2 - 1 (fairseq, tensor2tensor, OpenNMT). An odd C has one more sine.
// Written to a float table (P, C), or one of its rows to the host.
void clf_sinusoid_write(clf_run *run, clf_tensor table, int offset, double denominator);
void clf_sinusoid_row(float *row, int width, int position, double denominator);

// ---- normalisation (ops/norm.c, cl/norm.cl) -----------------------------------------------------

typedef enum clf_norm_kind { CLF_NORM_LAYER, CLF_NORM_RMS } clf_norm_kind;

// y = norm(dropout(x) + residual) * scale + bias, each row over C columns, biased variance (Ba,
// Kiros, Hinton 2016; Zhang, Sennrich 2019 for RMS). residual and bias may be absent; `sum`, if
// present, receives dropout(x) + residual (it may be x or residual); `stats` (R, 2), if present,
// each row's mean (0 for RMS) and 1 / sqrt(variance + epsilon), for clf_op_norm_backward.
typedef struct clf_norm {
    clf_norm_kind kind;
    float epsilon;
    clf_tensor scale, bias; // (1, C)
    clf_tensor residual, sum, stats;
    clf_dropout dropout;
} clf_norm;
void clf_op_norm(clf_run *run, clf_tensor y, clf_tensor x, clf_norm norm);

// ---- attention (ops/attention.c, cl/attention_*.cl) ---------------------------------------------

// Scaled dot-product attention ("Attention Is All You Need", 3.2) of H heads of width D = C / H.
// q, k, v are views of packed sequences, heads side by side in the columns; y (R, C).
// Sequence b's queries are rows q_starts[b] ... + q_lengths[b], its keys kv_starts[b] ... . With
// `causal`, query t sees keys 0 ... t of its sequence. No (T x S) matrix in global memory.
// `dropout` acts on the attention weights; element (query, key) of head h is element (row of q,
// number of the key in its sequence) of site + (h << 16). `lse` (R, H), if present, receives the
// logarithm of each softmax's denominator, log sum exp(scale q . k), for the backward pass.
typedef struct clf_attention {
    clf_tensor q, k, v;
    clf_tensor q_starts, q_lengths, kv_starts, kv_lengths; // int32 (1, B)
    int max_q_length;                                      // the largest of q_lengths
    int heads;
    float scale;
    bool causal;
    clf_tensor lse;
    clf_dropout dropout;
} clf_attention;
void clf_op_attention(clf_run *run, clf_tensor y, clf_attention a);

// One decoding step over a key/value cache. Row r of q (R, C) is the newest position of a
// hypothesis. The cache is position-major: position t of slot s is row t * slots + s of k and v.
// Keys of row r: positions 0 ... steps - 1, position t taken from slot origin[r][t]; so beams are
// reordered by rewriting `origin` (R, >= steps), int32, and the cache never moves.
typedef struct clf_attention_step {
    clf_tensor q, k, v; // k and v: (positions * slots, C) views
    clf_tensor origin;
    int slots, steps, heads;
    float scale;
} clf_attention_step;
void clf_op_attention_step(clf_run *run, clf_tensor y, clf_attention_step a);

// One decoding step of cross-attention: row r attends to all keys of source sentence sentence[r],
// rows starts[sentence] ... + lengths[sentence] of k and v.
typedef struct clf_attention_cross {
    clf_tensor q, k, v;
    clf_tensor sentence;        // int32 (1, R)
    clf_tensor starts, lengths; // int32 (1, B)
    int heads;
    float scale;
} clf_attention_cross;
void clf_op_attention_cross(clf_run *run, clf_tensor y, clf_attention_cross a);

// Beams reordered by index: to[r][t] = from[parent[r]][t] for t < steps, and to[r][steps] = r (the
// slot that row r writes at this step) (ops/cache.c, cl/cache.cl). int32; `to` and `from` are
// different tensors.
void clf_op_reorder(clf_run *run, clf_tensor to, clf_tensor from, clf_tensor parent, int steps);

// A cache whose batch has shrunk, moved to one of origin.rows slots (ops/cache.c, cl/cache.cl): row
// t * origin.rows + r of `to` = row t * slots + origin[r][t] of `from`, for t < steps.
void clf_op_compact(clf_run *run, clf_tensor to, clf_tensor from, clf_tensor origin, int slots,
                    int steps);

// ---- rows of logits (ops/softmax.c, topk.c, screen.c and their kernels) -------------------------

void clf_op_softmax(clf_run *run, clf_tensor y, clf_tensor x);     // may be in place
void clf_op_log_softmax(clf_run *run, clf_tensor y, clf_tensor x); // may be in place

// A copy in int8 of an output projection's weight w (K, N), with which the largest logit of a row
// is found without reading all of w: w.x is known within a bound from the copy, and only columns
// that may be the largest are computed from w. The result is that of w, to the last bit on a CPU.
typedef struct clf_screen {
    clf_weight weight; // absent (data.chunk NULL): none
    clf_tensor norms;  // (2, N rounded up to 16), see cl/screen.cl
} clf_screen;
// Made in memory of `arena`, K N + 12 N bytes. None of a weight in int8, or where the device
// multiplies no int8; the first call on a device tries that, which takes seconds.
clf_screen clf_op_screen(clf_run *run, clf_arena *arena, clf_weight w);

// The best k of each row of logits (R, V), in descending order, lowest id first among equals.
// values (R, k) are log-probabilities: logit - log sum exp. The ids of `banned` (int32, 1 x n, may
// be absent) are never chosen; with `renormalize` they are left out of the sum as well.
// ids (R, k) is int32. k is at most CLF_TOPK_MAX. Fewer than k choices: value -infinity, id -1.
// A row whose sum is not a number (a NaN or plus infinity in it): value NaN, id -1.
#define CLF_TOPK_MAX 64
typedef struct clf_topk {
    clf_tensor banned;
    bool renormalize;
    int k;
    clf_arena *scratch; // memory until the call returns: about R k V / 250 bytes, at least 16 R k
} clf_topk;
void clf_op_topk(clf_run *run, clf_tensor values, clf_tensor ids, clf_tensor logits, clf_topk t);
// The same for logits = x . w + bias (which may be absent), of which there are never more in memory
// than a slice of the columns. With a screen, k must be 1 and the values are upper bounds of the
// log-probabilities; a row with a NaN or plus infinity among its logits has the value NaN only if
// that column was looked at, which is certain for a NaN.
void clf_op_linear_topk(clf_run *run, clf_tensor values, clf_tensor ids, clf_tensor x, clf_weight w,
                        clf_tensor bias, clf_screen screen, clf_topk t);

// y[r] (R, 1) = log_softmax(logits[r])[ids[r]], ids int32 (1, R). The ids of `banned` (int32, 1 x
// n, may be absent) are left out of the sum, their own log-probability is -infinity, and so is that
// of an id outside the row.
void clf_op_pick(clf_run *run, clf_tensor y, clf_tensor logits, clf_tensor ids, clf_tensor banned);

#endif
