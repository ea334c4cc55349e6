// SPDX-License-Identifier: MIT
// Launches, transfers, arithmetic and compilation: what the device itself can do.
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fail.h"
#include "base/file.h"
#include "device/launch.h"
#include "probe/probe.h"

// A measured call should take this long, seconds: far above the clock's and the launch's noise, far
// below what a display driver's watchdog accepts.
#define LONG_ENOUGH 0.005
#define BUDGET      0.12 // seconds for the repeats of one measurement

// ---- time ---------------------------------------------------------------------------------------

static int compare_doubles(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

clf_probe_timing clf_probe_time(clf_run *run, clf_probe_work *work, void *data, double seconds) {
    enum { MOST = 101 };
    double times[MOST];
    int count = 0;
    const int64_t begin = clf_clock();
    do {
        const int64_t start = clf_clock();
        work(run, data);
        if (clf_run_finish(run) != CLF_OK) return (clf_probe_timing){0};
        times[count++] = (double)(clf_clock() - start) * 1e-9;
    } while (count < MOST && (double)(clf_clock() - begin) * 1e-9 < seconds);
    qsort(times, (size_t)count, sizeof *times, compare_doubles);
    return (clf_probe_timing){.median = times[count / 2], .shortest = times[0]};
}

// Multiplies `*amount` by 4, up to `most`, until a call takes long enough even when nothing else
// delays it, then measures it well.
static clf_probe_timing time_growing(clf_run *run, clf_probe_work *work, void *data, int *amount,
                                     int most) {
    work(run, data); // compiles
    clf_run_finish(run);
    while (*amount <= most / 4 &&
           clf_probe_time(run, work, data, BUDGET / 8).shortest < LONG_ENOUGH) {
        *amount *= 4;
    }
    return clf_probe_time(run, work, data, BUDGET);
}

// ---- launches -----------------------------------------------------------------------------------

typedef struct launches {
    clf_tensor y;
    int count;
} launches;

static void launch_empty(clf_run *run, void *data) {
    const launches *l = data;
    const clf_kernel_spec spec = {.file = "selftest", .kernel = "empty"};
    const clf_arg argument = clf_arg_tensor(l->y);
    for (int i = 0; i < l->count; i++) {
        clf_launch(run, &spec, (clf_range){.groups = {1}}, (clf_cost){0}, &argument, 1);
    }
}

static void measure_launches(clf_run *run, clf_arena *arena, clf_probe_rates *rates) {
    launches l = {.y = clf_arena_take(run, arena, 1, 16, CLF_F32), .count = 1};
    launch_empty(run, &l);
    clf_run_finish(run);
    rates->launch_wait = clf_probe_time(run, launch_empty, &l, BUDGET).median;
    rates->launch = time_growing(run, launch_empty, &l, &l.count, 4096).median / l.count;
}

// ---- transfers ----------------------------------------------------------------------------------

typedef struct transfer {
    clf_tensor a, b;
    float *host;
    int count; // floats
} transfer;

static clf_tensor part(const transfer *t, clf_tensor whole) {
    return clf_tensor_cols(whole, 0, t->count);
}

static void write_host(clf_run *run, void *data) {
    const transfer *t = data;
    clf_write(run, part(t, t->a), t->host);
}

static void read_host(clf_run *run, void *data) {
    const transfer *t = data;
    clf_read(run, part(t, t->a), t->host);
}

static void copy(clf_run *run, void *data) {
    const transfer *t = data;
    clf_copy(run, part(t, t->b), part(t, t->a));
}

static void stream(clf_run *run, void *data) {
    const transfer *t = data;
    const clf_profile *profile = clf_device_profile(run->device);
    const clf_kernel_spec spec = {.file = "selftest", .kernel = "stream"};
    // A work-item handles one vector, so a CPU too gets groups of many.
    const size_t local = profile->lanes > 1 ? (size_t)profile->lanes : 64;
    const clf_range range = {.groups = {(size_t)t->count / (local * (size_t)profile->vector_width)},
                             .local = {local}};
    const clf_arg arguments[] = {clf_arg_tensor(t->b), clf_arg_tensor(t->a), clf_arg_float(0.5f),
                                 clf_arg_float(1.0f)};
    clf_launch(run, &spec, range, (clf_cost){.bytes = 8.0 * t->count}, arguments, 4);
}

static void measure_transfers(clf_run *run, clf_arena *arena, clf_probe_rates *rates) {
    enum { FIRST = 1 << 14, LARGEST = 1 << 24 };
    const clf_caps *caps = clf_device_caps(run->device);
    struct {
        clf_probe_work *work;
        double *rate;
        int touched; // bytes per byte transferred
    } const kinds[] = {{write_host, &rates->host_to_device, 1},
                       {read_host, &rates->device_to_host, 1},
                       {copy, &rates->device_copy, 2},
                       {stream, &rates->device_stream, 2}};
    int most = LARGEST;
    while (most > FIRST && (uint64_t)most * 4 > caps->max_allocation / 2) most /= 4;
    while (most > FIRST && (uint64_t)most * 4 > caps->global_memory / 16) most /= 4;
    transfer t = {.a = clf_arena_take(run, arena, 1, most, CLF_F32),
                  .b = clf_arena_take(run, arena, 1, most, CLF_F32),
                  .host = malloc((size_t)most * sizeof(float))};
    if (!t.host) {
        clf_run_fail(run, clf_fail_memory());
        return;
    }
    memset(t.host, 0, (size_t)most * sizeof(float)); // so that its pages exist
    clf_fill_zero(run, t.b);
    for (int i = 0; i < 4; i++) {
        t.count = FIRST;
        const double seconds = time_growing(run, kinds[i].work, &t, &t.count, most).median;
        if (seconds > 0) *kinds[i].rate = 4.0 * kinds[i].touched * t.count / seconds;
        rates->transfer_bytes[i] = (uint64_t)t.count * 4;
    }
    free(t.host);
}

// ---- arithmetic and compilation -----------------------------------------------------------------

typedef struct arithmetic {
    clf_tensor y;
    clf_kernel_spec spec;
    clf_range range;
    int rounds;
} arithmetic;

static void multiply_add(clf_run *run, void *data) {
    const arithmetic *a = data;
    const clf_arg arguments[] = {clf_arg_tensor(a->y), clf_arg_int(a->rounds)};
    clf_launch(run, &a->spec, a->range, (clf_cost){0}, arguments, 2);
}

static clf_range busy_range(const clf_device *device) {
    const clf_caps *caps = clf_device_caps(device);
    const size_t units = caps->compute_units > 0 ? (size_t)caps->compute_units : 1;
    const size_t most = caps->max_group < 256 ? (size_t)caps->max_group : 256;
    const bool cpu = clf_device_profile(device)->lanes == 1;
    return (clf_range){.groups = {units * (cpu ? 8 : 32)}, .local = {cpu ? 1 : most}};
}

// A scalar compiler wants wide vectors, a GPU or a vectorising compiler often none: best of all.
static void measure_arithmetic(clf_run *run, clf_arena *arena, clf_probe_rates *rates) {
    static const int widths[] = {1, 4, 8, 16};
    arithmetic a = {.range = busy_range(run->device)};
    const size_t items = a.range.groups[0] * a.range.local[0];
    a.y = clf_arena_take(run, arena, 16, (int)items, CLF_F32);
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        a.spec = (clf_kernel_spec){
            .file = "selftest",
            .kernel = "fma_peak",
            .defines = {{"VW", widths[i]}, {"FMA", clf_device_caps(run->device)->fma}}};
        a.rounds = 16;
        const double seconds = time_growing(run, multiply_add, &a, &a.rounds, 1 << 20).shortest;
        const double flops = 32.0 * widths[i] * a.rounds * (double)items;
        if (seconds > 0 && flops / seconds > rates->fma) {
            rates->fma = flops / seconds;
            rates->fma_vector = widths[i];
        }
    }
}

// Opens the device anew with this cache directory, builds a kernel and runs it once; some drivers
// compile at the first launch.
static clf_status time_build(const clf_device *device, const char *directory, int salt,
                             double *seconds) {
    char select[32];
    clf_device_info info;
    clf_device *fresh;
    clf_arena *arena = NULL;
    clf_device_get_info(device, &info);
    snprintf(select, sizeof select, "%d:%d", info.platform_index, info.device_index);
    const clf_device_options options = {.select = select, .cache_dir = directory};
    CLF_TRY(clf_device_open(&options, &fresh));
    clf_run run = clf_run_begin(fresh);
    clf_run_fail(&run, clf_arena_create(fresh, "probe", "nothing", &arena));
    if (run.status == CLF_OK) {
        arithmetic a = {
            .y = clf_arena_take(&run, arena, 1, 16, CLF_F32),
            .spec = {.file = "selftest", .kernel = "fma_peak", .defines = {{"SALT", salt}}},
            .range = {.groups = {1}, .local = {1}},
            .rounds = 1};
        *seconds = clf_probe_time(&run, multiply_add, &a, 0).median;
    }
    clf_arena_destroy(arena);
    clf_device_close(fresh);
    return run.status;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *ftw) {
    (void)status, (void)type, (void)ftw;
    return remove(path);
}

// The salt is in no cache. What nobody needs again goes to a directory of its own; without a cache
// directory there is nothing to come back from.
static void measure_build(clf_run *run, clf_arena *arena, clf_probe_rates *rates) {
    (void)arena;
    const char *cache = clf_device_cache_directory(run->device);
    const int salt = (int)(clf_clock() / 1000 & 0x3fffffff);
    char *directory = cache ? clf_path_join(cache, "probe-XXXXXX") : NULL;
    if (!directory || !mkdtemp(directory)) {
        clf_run_fail(run, time_build(run->device, "", salt, &rates->build_new));
    } else {
        clf_status status = time_build(run->device, directory, salt, &rates->build_new);
        if (status == CLF_OK) {
            status = time_build(run->device, directory, salt, &rates->build_cached);
        }
        clf_run_fail(run, status);
        nftw(directory, remove_entry, 4, FTW_DEPTH | FTW_PHYS);
    }
    free(directory);
}

// ---- all of it ----------------------------------------------------------------------------------

typedef void measure_with_memory(clf_run *run, clf_arena *arena, clf_probe_rates *rates);

// Each with memory and a first failure of its own.
static void measure(clf_prober *p, double share, const char *what, measure_with_memory *work) {
    clf_probe_rates *rates = &p->result->rates;
    clf_run run = clf_run_begin(p->device);
    clf_arena *arena = NULL;
    if (!clf_prober_tick(p, share, what)) return;
    clf_run_fail(&run, clf_arena_create(p->device, "probe", "a device with more memory", &arena));
    if (run.status == CLF_OK) work(&run, arena, rates);
    clf_arena_destroy(arena);
    if (run.status != CLF_OK && !rates->error[0]) {
        snprintf(rates->error, sizeof rates->error, "%s", clf_last_error());
    }
}

void clf_probe_rates_measure(clf_prober *p) {
    measure(p, 0.0, "launches", measure_launches);
    measure(p, 0.1, "transfers", measure_transfers);
    measure(p, 0.4, "arithmetic", measure_arithmetic);
    measure(p, 0.8, "compilation", measure_build);
}
