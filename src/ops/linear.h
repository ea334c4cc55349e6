// SPDX-License-Identifier: MIT
// Linear layers with the variant and layout forced: for tests, probes and the tuning search.
#ifndef CLF_OPS_LINEAR_H
#define CLF_OPS_LINEAR_H

#include "device/launch.h"
#include "ops/ops.h"

// clf_op_linear and clf_op_linear_backward by this variant, checked or not; CLBlast has only the
// first, and CLF_GEMM_BFLOAT needs scratch. CLBlast needs a plain weight, and cannot do
// `residual` = y together with an activation.
void clf_linear_run(clf_run *run, clf_gemm variant, clf_tensor y, clf_tensor x, clf_weight w,
                    clf_linear epilogue);
void clf_linear_backward_run(clf_run *run, clf_gemm variant, clf_weight dw, clf_tensor db,
                             clf_tensor x, clf_tensor dy, clf_arena *scratch);
// A launch of a kernel that has the arguments of cl/linear.cl.
void clf_linear_launch(clf_run *run, const clf_kernel_spec *spec, clf_range range, clf_tensor y,
                       clf_tensor x, clf_weight w, clf_linear e);

// clf_weight_take with the layout given: plain rows or packed panels.
clf_weight clf_weight_take_layout(clf_run *run, clf_arena *arena, int k, int n, bool plain);
// A weight of int8 for this kind, whether the device has it or not.
clf_weight clf_weight_take_int8(clf_run *run, clf_arena *arena, int k, int n, clf_int8 kind);

// What is stored of a value of int8, besides its scale: k-values side by side, and what is added.
static inline int clf_int8_interleave(clf_int8 kind) {
    return kind == CLF_INT8_PLAIN ? 1 : 4;
}
static inline int clf_int8_offset(clf_int8 kind) {
    return kind == CLF_INT8_PLAIN ? 0 : kind == CLF_INT8_MADDUBS ? 64 : 128;
}
static inline int clf_int8_limit(clf_int8 kind) {
    return kind == CLF_INT8_MADDUBS ? 63 : 127;
}
// The name under which it is tried (device/trial.h).
const char *clf_int8_name(clf_int8 kind);
// Compares products of this kind with the host's; with `faster` they must also take less time than
// CLF_INT8_PLAIN. May crash where the device does not have it.
bool clf_linear_check_int8(clf_run *run, clf_int8 kind, bool faster);
// clf_op_quantize, with `errors` if wanted.
clf_quantized clf_linear_quantize(clf_run *run, clf_arena *arena, clf_tensor x, clf_weight w,
                                  bool errors);
// clf_op_screen of any weight of float or half, for this kind.
clf_screen clf_screen_make(clf_run *run, clf_arena *arena, clf_weight w, clf_int8 kind);
// Whether the weight is float, half, or int8 with its scales.
bool clf_weight_fits(clf_weight w);

// The rows of a tile, at most `most`: equal blocks waste least, and an even number means that fewer
// kernels have to be compiled.
int clf_linear_tile_rows(int rows, int most);
// The groups of cl/linear.cl for tiles of that many rows, of x with `row_bytes` in a row.
clf_range clf_linear_range(const clf_device *device, int rows, int tile_rows, size_t row_bytes,
                           int column_groups);

// Half from float or float from half, `count` elements, a multiple of 16.
void clf_linear_convert(clf_run *run, clf_tensor to, clf_tensor from, int64_t count);

// Says of the launch what its groups (., y, .) read of w, each that many columns.
void clf_linear_stream(clf_range *range, clf_weight w, int columns);

// ---- matrix units (ops/linear_matrix.c, cl/linear_matrix*.cl) -----------------------------------

// UNIT of cl/matrix_unit.cl.
typedef enum clf_matrix_unit {
    CLF_MATRIX_EMULATED, // runs anywhere, for tests only
    CLF_MATRIX_NVIDIA,
    CLF_MATRIX_AMX, // of a CPU (ops/linear_amx.c)
    CLF_MATRIX_UNITS
} clf_matrix_unit;

// The name under which it is tried (device/trial.h).
const char *clf_matrix_name(clf_matrix_unit unit);
// The device's unit, CLF_MATRIX_EMULATED if it has none that is known to work.
clf_matrix_unit clf_linear_matrix_unit(clf_run *run);
// clf_op_linear on this unit, with any weight but int8 that is not CLF_INT8_PLAIN; on a CPU's, of
// float or half.
void clf_linear_run_matrix(clf_run *run, clf_matrix_unit unit, clf_tensor y, clf_tensor x,
                           clf_weight w, clf_linear epilogue);
// The block of dw (K, N) that a work-group of weight_gradient sums, and its work-items; the kernel
// has the arguments of the one in cl/linear_backward.cl.
typedef struct clf_matrix_tile {
    int rows, columns, items;
} clf_matrix_tile;
clf_matrix_tile clf_linear_matrix_tile(void);
clf_kernel_spec clf_linear_matrix_gradient(clf_matrix_unit unit, clf_tensor x, clf_tensor dy);
// Makes this the device's unit and compares its products with the host's; with `faster` they must
// also take less time than CLF_GEMM_PANEL's. May crash where the device does not have it.
bool clf_linear_check_matrix(clf_run *run, clf_matrix_unit unit, bool faster);

// ---- factors that are multiplied four or two at a time (linear_dot of cl/linear.cl) -------------

// VW, MR, NC and WX of the kernel.
typedef struct clf_dot_tile {
    int vector, rows, columns, lanes;
} clf_dot_tile;
typedef struct clf_dot {
    clf_dot_tile tile;
    int kind, offset; // DOT, OFFSET
} clf_dot;
// q: x as the kernel reads it.
void clf_linear_dot(clf_run *run, const clf_dot *dot, clf_tensor y, clf_tensor q, clf_weight w,
                    clf_linear epilogue);

// clf_op_linear with a weight of int8 that is not CLF_INT8_PLAIN (ops/linear_int8.c).
void clf_linear_run_int8(clf_run *run, clf_tensor y, clf_tensor x, clf_weight w,
                         clf_linear epilogue);

// Products of bfloat16 (ops/linear_bfloat.c): BFLOAT of cl/bfloat.cl.
typedef enum clf_bfloat {
    CLF_BFLOAT_EMULATED,     // runs on any CPU, for tests only
    CLF_BFLOAT_AMX_EMULATED, // likewise
    CLF_BFLOAT_AVX512,
    CLF_BFLOAT_AMX, // ops/linear_amx.c: rounds factors in the product
    CLF_BFLOAT_KINDS
} clf_bfloat;

// The name under which it is tried (device/trial.h).
const char *clf_bfloat_name(clf_bfloat kind);
// The device's kind, CLF_BFLOAT_EMULATED if it has none that is known to work.
clf_bfloat clf_linear_bfloat(clf_run *run);
// Whether products that may be coarse are of bfloat16 here.
bool clf_linear_rounds(clf_run *run);
// BFLOAT of the kernels.
int clf_bfloat_define(clf_bfloat kind);
// x rounded, in memory of `arena`: (R, K rounded up to 2).
clf_tensor clf_bfloat_rows(clf_run *run, clf_arena *arena, clf_bfloat kind, clf_tensor x);
// Memory for a weight (K, N) of pairs, then what is in it, from a weight of half, and a product.
clf_weight clf_bfloat_take(clf_run *run, clf_arena *arena, int k, int n);
void clf_bfloat_pair(clf_run *run, clf_bfloat kind, clf_weight to, clf_weight w);
void clf_bfloat_multiply(clf_run *run, clf_bfloat kind, clf_tensor y, clf_tensor rows, clf_weight w,
                         clf_linear epilogue);
// As clf_linear_check_matrix.
bool clf_linear_check_bfloat(clf_run *run, clf_bfloat kind, bool faster);

// ---- tile registers of AMX (ops/linear_amx.c, cl/linear_amx.cl) ---------------------------------

// A factor is rounded to bfloat16 (`parts` 1), or the sum of three of them (3), with which a
// product is as right as one of floats. 0: not these kernels.
typedef struct clf_amx {
    int parts;
    bool emulated;
} clf_amx;

#define CLF_AMX_ROWS 256 // from which on copying the factors for 3 parts pays

// Whether kernels with these registers are worth a trial on the device; asks the system to let this
// process use them, so it comes before their first use.
bool clf_amx_is_candidate(const clf_device *device);
// What CLF_GEMM_MATRIX and CLF_GEMM_BFLOAT are on this device, as far as they are these kernels.
clf_amx clf_linear_amx(clf_run *run, clf_gemm variant);
// clf_op_linear with a weight of float or half.
void clf_linear_run_amx(clf_run *run, clf_amx amx, clf_tensor y, clf_tensor x, clf_weight w,
                        clf_linear epilogue);
// As clf_linear_matrix_tile; blocks may be any multiple of `rows` high and up to `columns` wide.
clf_matrix_tile clf_linear_amx_tile(const clf_device *device, clf_amx amx);
clf_kernel_spec clf_linear_amx_gradient(const clf_device *device, clf_amx amx, clf_tensor x,
                                        clf_tensor dy);

// Compares the variant with sums in double on the host, at an awkward shape of this row class
// (ops/tuning.h). False if it differs or does not run, which is logged.
bool clf_linear_check(clf_device *device, clf_gemm variant, int row_class);

#endif
