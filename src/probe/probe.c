// SPDX-License-Identifier: MIT
#include "probe/probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fail.h"
#include "base/file.h"
#include "ops/tuning.h"

bool clf_prober_tick(clf_prober *p, double share, const char *what) {
    const clf_probe_options *options = p->options;
    const double whole = p->share_begin + share * (p->share_end - p->share_begin);
    if (!p->cancelled && options->progress && options->progress(options->user, whole, what) != 0) {
        p->cancelled = true;
    }
    return !p->cancelled;
}

// ---- the search for better settings -------------------------------------------------------------

static int on_search(void *user, double share, const char *what) {
    return !clf_prober_tick(user, share, what);
}

// A failure leaves what was in use before and is part of the result.
static void tune(clf_prober *p) {
    clf_probe *probe = p->result;
    clf_tuning tuning;
    const double seconds = p->options->tune_seconds > 0 ? p->options->tune_seconds : 60;
    const int64_t begin = clf_clock();
    clf_status status = probe->info.kind == CLF_DEVICE_EMULATOR
                            ? clf_fail(CLF_ERROR_UNSUPPORTED, "an emulator is too slow to be tuned")
                            : clf_tuning_search(p->device, seconds, on_search, p, &tuning);
    if (status == CLF_OK) {
        probe->tune_seconds = (double)(clf_clock() - begin) * 1e-9;
    } else {
        snprintf(probe->tune_error, sizeof probe->tune_error, "%s", clf_last_error());
    }
}

// CLBlast's own parameters may be what is used still, but cannot be measured any more.
static void measure_tuned(clf_prober *p) {
    clf_probe_products *tuned = &p->result->tuned;
    if (p->result->tune_error[0]) return;
    memcpy(tuned->cells[CLF_PROBE_CLBLAST_DEFAULT],
           p->result->products.cells[CLF_PROBE_CLBLAST_DEFAULT],
           sizeof tuned->cells[CLF_PROBE_CLBLAST_DEFAULT]);
    clf_probe_products_measure(p, CLF_PROBE_CLBLAST_TUNED, tuned);
}

static void measure_products(clf_prober *p) {
    clf_probe_products_measure(p, CLF_PROBE_CLBLAST_DEFAULT, &p->result->products);
}

static void name_tuning(clf_prober *p) {
    char *path = clf_tuning_path(p->device);
    if (path && clf_file_exists(path)) {
        snprintf(p->result->tuning, sizeof p->result->tuning, "%s", path);
    }
    free(path);
}

// ---- everything in turn -------------------------------------------------------------------------

static void probe_all(clf_prober *p) {
    // The products come before what looks at the tuning file: see clf_probe_device.
    const struct {
        void (*run)(clf_prober *p);
        double weight; // its share of the time, roughly
    } parts[] = {
        {clf_probe_rates_measure, 3},
        {measure_products, 8},
        {clf_probe_capabilities, 1},
        {clf_probe_self_test, 3},
        {tune, p->options->tune ? 40 : 0},
        {measure_tuned, p->options->tune ? 6 : 0},
        {name_tuning, 0},
        {clf_probe_judge, 0},
    };
    enum { PARTS = sizeof parts / sizeof *parts };
    double whole = 0, done = 0;
    for (int i = 0; i < PARTS; i++) whole += parts[i].weight;
    for (int i = 0; i < PARTS && !p->cancelled; i++) {
        const bool tuning = parts[i].run == tune || parts[i].run == measure_tuned;
        if (tuning && !p->options->tune) continue;
        p->share_begin = done / whole;
        done += parts[i].weight;
        p->share_end = done / whole;
        parts[i].run(p);
    }
}

clf_status clf_probe_device(clf_device *device, const clf_probe_options *options,
                            clf_probe **probe) {
    static const clf_probe_options defaults;
    clf_probe *made = calloc(1, sizeof *made);
    if (!made) return clf_fail_memory();
    clf_prober prober = {
        .device = device, .options = options ? options : &defaults, .result = made};
    clf_device_get_info(device, &made->info);
    clf_device_lock(device);
    probe_all(&prober);
    clf_device_unlock(device);
    if (prober.cancelled) {
        clf_fail(CLF_ERROR_CANCELLED, "%s: the probe was cancelled", made->info.name);
        clf_probe_free(made);
        return CLF_ERROR_CANCELLED;
    }
    *probe = made;
    return CLF_OK;
}

void clf_probe_free(clf_probe *probe) {
    free(probe);
}
