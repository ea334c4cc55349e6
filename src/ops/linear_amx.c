// SPDX-License-Identifier: MIT
// Products on the tile registers of AMX: of bfloat16, or of floats as sums of three of them.
#if defined(__linux__) && defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "base/fail.h"
#include "device/launch.h"
#include "ops/linear.h"
#include "ops/shape.h"

enum { EDGE = 32 }; // of cl/amx_bfloat.cl

// RB, NB and KB of cl/linear_amx.cl.
typedef struct blocks {
    int rows, columns, terms;
} blocks;

static uint64_t local_bytes(blocks b, int parts) {
    return 2 * (uint64_t)parts * (uint64_t)b.terms * (uint64_t)(EDGE + b.columns) +
           4 * (uint64_t)b.rows * (uint64_t)b.columns;
}

clf_amx clf_linear_amx(clf_run *run, clf_gemm variant) {
    if (clf_device_profile(run->device)->lanes > 1) return (clf_amx){0};
    if (variant == CLF_GEMM_MATRIX)
        return (clf_amx){3, clf_linear_matrix_unit(run) != CLF_MATRIX_AMX};
    const clf_bfloat kind =
        variant == CLF_GEMM_BFLOAT ? clf_linear_bfloat(run) : CLF_BFLOAT_EMULATED;
    if (kind != CLF_BFLOAT_AMX && kind != CLF_BFLOAT_AMX_EMULATED) return (clf_amx){0};
    return (clf_amx){1, kind == CLF_BFLOAT_AMX_EMULATED};
}

// So that w's copy is used for many rows and x's for many columns, and both stay, with the sums, in
// a second level of 2 MiB; by hand as little as shows all of the kernel.
static blocks blocks_for(const clf_device *device, clf_amx amx) {
    blocks b = {amx.parts == 1 ? 512 : 256, 256, 512};
    if (amx.emulated) b = (blocks){64, 64, 64};
    while (local_bytes(b, amx.parts) > clf_device_caps(device)->local_memory && b.columns > EDGE) {
        b.rows /= 2;
        b.columns /= 2;
    }
    return b;
}

static bool system_allows(void) {
#if defined(__linux__) && defined(__x86_64__)
    enum { REQUEST = 0x1023, TILE_DATA = 18 }; // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
#else
    return false;
#endif
}

bool clf_amx_is_candidate(const clf_device *device) {
    const clf_caps *caps = clf_device_caps(device);
    return clf_device_profile(device)->lanes == 1 && caps->kind == CLF_DEVICE_CPU &&
           caps->native_float_width >= 16 && system_allows();
}

void clf_linear_run_amx(clf_run *run, clf_amx amx, clf_tensor y, clf_tensor x, clf_weight w,
                        clf_linear e) {
    const int units = clf_device_caps(run->device)->compute_units;
    const blocks b = blocks_for(run->device, amx);
    int rows = clf_ceil_divide(y.rows, b.rows), columns = clf_ceil_divide(w.n, b.columns);
    while (rows * columns < units && rows * EDGE < y.rows) rows++;
    while (rows * columns < units && columns * EDGE < w.n) columns++;
    const clf_kernel_spec spec = {
        .file = "linear_amx",
        .kernel = "linear",
        .defines = {{"VW", 16},
                    {"AMX", amx.emulated ? 2 : 1},
                    {"PARTS", amx.parts},
                    {"RB", b.rows},
                    {"NB", b.columns},
                    {"KB", b.terms},
                    {"SUMS", w.k > b.terms ? b.rows : EDGE},
                    {"ACT", e.activation},
                    {"HALF", clf_is_half(x) + 2 * clf_is_half(y) + 4 * clf_is_half(w.data)}}};
    const clf_range range = {.groups = {(size_t)rows, (size_t)columns}, .local = {1}};
    clf_linear_launch(run, &spec, range, y, x, w, e);
}

clf_matrix_tile clf_linear_amx_tile(const clf_device *device, clf_amx amx) {
    return (clf_matrix_tile){EDGE, blocks_for(device, amx).columns, 1};
}

clf_kernel_spec clf_linear_amx_gradient(const clf_device *device, clf_amx amx, clf_tensor x,
                                        clf_tensor dy) {
    const blocks b = blocks_for(device, amx);
    return (clf_kernel_spec){.file = "linear_amx",
                             .kernel = "weight_gradient",
                             .defines = {{"VW", 16},
                                         {"AMX", amx.emulated ? 2 : 1},
                                         {"PARTS", amx.parts},
                                         {"NB", b.columns},
                                         {"KB", b.terms},
                                         {"HALF", clf_is_half(x) + 2 * clf_is_half(dy)}}};
}
