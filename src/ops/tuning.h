// SPDX-License-Identifier: MIT
// What is chosen by measurement for linear layers: which variant for how many rows, the tiles of
// the panel kernel, CLBlast's parameters. Defaults follow from the device's capabilities; a tuning
// file in the device's cache directory replaces them.
#ifndef CLF_OPS_TUNING_H
#define CLF_OPS_TUNING_H

#include <stdbool.h>
#include <stddef.h>

#include "ops/linear.h"

// Products are classed by their rows: 1, 2 to 8, 9 to 32, 33 to 128, more.
#define CLF_ROW_CLASSES 5
int clf_row_class(int rows);

#define CLF_TILE_ROWS 12 // the most rows that a tile may have

// The panel kernel's tile (cl/linear.cl): at most `rows` x `columns` a work-item (MR, NC), `lanes`
// work-items side by side (WX). None of the three changes a result.
typedef struct clf_tile {
    int rows, columns, lanes;
} clf_tile;

// CLBlast's parameters that can be set.
typedef enum clf_clblast_kernel {
    CLF_CLBLAST_XGEMM,
    CLF_CLBLAST_XGEMM_DIRECT,
    CLF_CLBLAST_ROUTINE, // from which size on Xgemm is used rather than XgemmDirect
    CLF_CLBLAST_KERNELS
} clf_clblast_kernel;

#define CLF_CLBLAST_PARAMETERS 16

typedef struct clf_clblast_parameters {
    const char *kernel; // CLBlast's name
    int count;
    const char *names[CLF_CLBLAST_PARAMETERS];
} clf_clblast_parameters;
extern const clf_clblast_parameters clf_clblast_table[CLF_CLBLAST_KERNELS];

typedef struct clf_tuning {
    // `vector` (VW) and `slices` (KL) are the same for every number of rows, so that a row's result
    // does not depend on how many other rows there are.
    int vector, slices;
    clf_tile tile[CLF_ROW_CLASSES];
    clf_gemm gemm[CLF_ROW_CLASSES];
    struct {
        bool set;
        size_t values[CLF_CLBLAST_PARAMETERS]; // in the order of clf_clblast_table
    } clblast[CLF_CLBLAST_KERNELS];
} clf_tuning;

typedef enum clf_trust { CLF_TRUST_UNKNOWN, CLF_TRUST_PASSED, CLF_TRUST_FAILED } clf_trust;

// What the linear layers remember about a device.
typedef struct clf_linear_state {
    clf_tuning tuning;
    clf_trust clblast[CLF_ROW_CLASSES]; // outcome of the numeric check
    // The panel kernel's lanes that the device accepts, by row class, rows of the tile and
    // activation, and types; 0: not asked yet.
    short lanes[CLF_ROW_CLASSES][CLF_TILE_ROWS + 1][CLF_ACT_SILU + 1][16];
    clf_int8 int8; // the best one here
    bool int8_known;
    clf_matrix_unit unit;
    bool unit_known;
    clf_bfloat bfloat;
    bool bfloat_known;
} clf_linear_state;

// The device's state, made at first use from the tuning file or the defaults. NULL on failure,
// which is then the run's.
clf_linear_state *clf_linear_state_get(clf_run *run);

// Replaces the tuning in use; what was checked before is forgotten, CLBlast's parameters are set.
clf_status clf_tuning_use(clf_device *device, const clf_tuning *tuning);

void clf_tuning_default(const clf_device *device, clf_tuning *tuning);
// The tuning file's path, freed by free(); NULL if there is no cache directory or no memory.
char *clf_tuning_path(const clf_device *device);
// False: there is no file, or it is damaged (then a warning is logged) and `tuning` is unchanged.
bool clf_tuning_load(const clf_device *device, clf_tuning *tuning);
clf_status clf_tuning_save(const clf_device *device, const clf_tuning *tuning);

// Called after each measurement with the share of the budget that is used; non-zero ends the search
// early (with what it has found).
typedef int clf_tuning_progress(void *user, double share, const char *what);

// Measures tiles and CLBlast's parameters for at most about `seconds`, each candidate checked
// against a reference before it counts. The best is in use and saved as the search goes on (a
// device without cache directory: only in use). The caller holds the device's lock.
clf_status clf_tuning_search(clf_device *device, double seconds, clf_tuning_progress *progress,
                             void *user, clf_tuning *result);

#endif
