// SPDX-License-Identifier: MIT
// What an OpenCL device can really do, and how well clformer runs on it: capabilities,
// measurements, matrix products and operations checked against the host, a verdict.
#ifndef CLFORMER_PROBE_H
#define CLFORMER_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <clformer/device.h>
#include <clformer/status.h>

#ifdef __cplusplus
extern "C" {
#endif

// ---- capabilities ----

typedef enum clf_probe_use {
    CLF_PROBE_USED,
    CLF_PROBE_NOT_NEEDED, // whether the device has it or not
    CLF_PROBE_FALLBACK,   // the device lacks it and clformer does it another way
    CLF_PROBE_REQUIRED    // the device lacks it and clformer cannot run
} clf_probe_use;

typedef struct clf_probe_capability {
    const char *key;  // "half_arithmetic"
    const char *name; // "half arithmetic"
    bool present;
    char value[32]; // "yes", "no", "256 work-items"
    clf_probe_use use;
    const char *note; // what clformer does with it, or instead of it
} clf_probe_capability;

#define CLF_PROBE_CAPABILITIES 19

// ---- measurements: medians of several repeats; 0 where something could not be measured ----

typedef struct clf_probe_rates {
    double launch;      // seconds for one of many launches in a row
    double launch_wait; // seconds for a launch and waiting for it
    // Bytes per second. Copies on the device count what they read and what they write.
    double host_to_device, device_to_host, device_copy, device_stream;
    uint64_t transfer_bytes[4]; // size of one transfer, for each of the four above
    double fma;                 // floating-point operations per second of multiply-adds, at best
    int fma_vector;             // floats per vector with which that was reached
    double build_new;           // seconds to build a kernel never seen before and run it once
    double build_cached;        // the same in the next process
    char error[256];            // why something above is missing; empty if nothing is
} clf_probe_rates;

// ---- matrix products of Transformer-base ----

typedef enum clf_probe_variant {
    CLF_PROBE_CLBLAST_DEFAULT, // with the parameters that CLBlast brings
    CLF_PROBE_CLBLAST_TUNED,   // with the parameters of this device's tuning file
    CLF_PROBE_PANEL,           // clformer's own kernel
    CLF_PROBE_MATRIX,          // clformer's kernel for matrix units, where there is one
    CLF_PROBE_VARIANTS
} clf_probe_variant;

typedef enum clf_probe_outcome {
    CLF_PROBE_ABSENT, // does not exist here: no tuning file
    CLF_PROBE_PASSED, // ran, and the result is right
    CLF_PROBE_WRONG,  // ran, and the result is not right
    CLF_PROBE_FAILED, // did not run
    CLF_PROBE_SKIPPED // would have taken too much time or memory
} clf_probe_outcome;

typedef struct clf_probe_product {
    clf_probe_outcome outcome;
    double seconds; // median; 0 unless passed
    double flops;   // operations per second; 0 unless passed
    // Largest deviation from sums in double, over the bound that any order of summation keeps:
    // at most 1 if passed.
    double error;
} clf_probe_product;

#define CLF_PROBE_SHAPES 5
#define CLF_PROBE_ROWS   5
extern CLF_API const int clf_probe_shapes[CLF_PROBE_SHAPES][2]; // K and N
extern CLF_API const int clf_probe_rows[CLF_PROBE_ROWS];

typedef struct clf_probe_products {
    bool measured;
    clf_probe_product cells[CLF_PROBE_VARIANTS][CLF_PROBE_SHAPES][CLF_PROBE_ROWS];
    clf_probe_variant used[CLF_PROBE_ROWS]; // what clformer takes for this number of rows
    char error[256];                        // the first failure; empty if there is none
} clf_probe_products;

// ---- self-test ----

typedef struct clf_probe_check {
    const char *name;          // the operation: "layer norm"
    clf_probe_outcome outcome; // passed, wrong or failed
    double error;              // largest deviation over the allowed one
    char message[256];         // why it failed; empty if it did not
} clf_probe_check;

#define CLF_PROBE_MAX_CHECKS 24

// ---- everything ----

typedef struct clf_probe {
    clf_device_info info;
    char profile[64];     // the shape of the kernels: "CPU, one work-item per row, vectors of 8"
    char tuning[512];     // the tuning file in use; empty: none
    double tune_seconds;  // that the search took; 0: no search
    char tune_error[256]; // why there was none although it was asked for; else empty
    clf_probe_capability capabilities[CLF_PROBE_CAPABILITIES];
    clf_probe_rates rates;
    clf_probe_products products;
    clf_probe_products tuned; // measured again after the search, if there was one
    clf_probe_check checks[CLF_PROBE_MAX_CHECKS];
    int check_count;
    bool runs;                   // every operation is right and the device can be used
    double tokens_per_second[2]; // estimated for Transformer-base at batch 1 and 32; 0: unknown
    char verdict[1024];          // sentences, one per line
} clf_probe;

// Called between measurements with the share that is done, 0 to 1, and what comes next; a non-zero
// result cancels the probe, which then returns CLF_ERROR_CANCELLED.
typedef int clf_probe_progress(void *user, double share, const char *what);

// Zero means default everywhere.
typedef struct clf_probe_options {
    // Search for better tiles and parameters, and write the tuning file. Emulators are not tuned.
    bool tune;
    double tune_seconds;    // about how long; default 60
    double product_seconds; // budget of each variant of the products; default 20, emulators 5
    clf_probe_progress *progress;
    void *user;
} clf_probe_options;

// Probes an open device, best before anything else was done with it: CLBlast's own parameters can
// no longer be measured once a tuning file has replaced them in this process.
// Failures of the device are part of `*probe`, which is freed with clf_probe_free; the status tells
// of cancellation and of a lack of host memory.
CLF_API clf_status clf_probe_device(clf_device *device, const clf_probe_options *options,
                                    clf_probe **probe);
CLF_API void clf_probe_free(clf_probe *probe); // NULL is allowed

#ifdef __cplusplus
}
#endif
#endif
