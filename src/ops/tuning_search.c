// SPDX-License-Identifier: MIT
#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fail.h"
#include "base/rng.h"
#include "ops/linear.h"
#include "ops/tuning.h"

// The product that is timed: the first feed-forward layer of Transformer-base.
#define K 512
#define N 2048
static const int class_rows[CLF_ROW_CLASSES] = {1, 8, 32, 128, 1024};
// Sets of row classes.
#define FEW_ROWS  0x06u
#define MANY_ROWS 0x18u
#define ALL_ROWS  0x1fu

#define WORTHWHILE 0.98 // a candidate must take less than this share of the time

// ---- dials: the numbers that are tried ----------------------------------------------------------

typedef enum dial_kind { VECTOR, SLICES, ROWS, COLUMNS, LANES, CLBLAST } dial_kind;

// One number of a tuning, or two of CLBlast's that move together, and what it may be.
typedef struct dial {
    dial_kind kind;
    int first, second; // CLBlast: places in clf_clblast_table; second is -1 if there is none
    int count;
    int values[8];
} dial;

#define DIAL(kind, ...)                                                                            \
    {                                                                                              \
        kind, -1, -1, sizeof((int[]){__VA_ARGS__}) / sizeof(int), {                                \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define CLBLAST_DIAL(first, second, ...)                                                           \
    {                                                                                              \
        CLBLAST, first, second, sizeof((int[]){__VA_ARGS__}) / sizeof(int), {                      \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }

static const dial cpu_dials[] = {DIAL(VECTOR, 4, 8, 16)};
static const dial cpu_tile_dials[] = {DIAL(ROWS, 4, 6, 8, 12), DIAL(COLUMNS, 8, 16, 32)};
static const dial gpu_dials[] = {DIAL(SLICES, 1, 2, 4, 8, 16), DIAL(VECTOR, 1, 2, 4)};
static const dial gpu_tile_dials[] = {DIAL(COLUMNS, 1, 2, 4, 8), DIAL(LANES, 8, 16, 32, 64, 128),
                                      DIAL(ROWS, 4, 8, 12)};

// Places in clf_clblast_table[CLF_CLBLAST_XGEMM].
enum { GEMMK, KREG, KWG, KWI, MDIMA, MDIMC, MWG, NDIMB, NDIMC, NWG, SA, SB, STRM, STRN, VWM, VWN };
// On a CPU a work-item alone keeps a tile in registers; on a GPU 8 x 8 share a larger one.
static const size_t xgemm_cpu[] = {
    [KREG] = 1,  [KWG] = 16,  [KWI] = 2, [MDIMA] = 1, [MDIMC] = 1, [MWG] = 16,
    [NDIMB] = 1, [NDIMC] = 1, [NWG] = 8, [VWM] = 8,   [VWN] = 8};
static const size_t xgemm_gpu[] = {
    [KREG] = 1,  [KWG] = 16,  [KWI] = 2,  [MDIMA] = 8, [MDIMC] = 8, [MWG] = 64,
    [NDIMB] = 8, [NDIMC] = 8, [NWG] = 64, [VWM] = 4,   [VWN] = 4};
static const dial xgemm_dials[] = {
    CLBLAST_DIAL(VWM, -1, 1, 2, 4, 8),
    CLBLAST_DIAL(VWN, -1, 1, 2, 4, 8),
    CLBLAST_DIAL(MDIMC, MDIMA, 1, 2, 4, 8, 16, 32),
    CLBLAST_DIAL(NDIMC, NDIMB, 1, 2, 4, 8, 16, 32),
    CLBLAST_DIAL(MWG, -1, 8, 16, 32, 64, 128),
    CLBLAST_DIAL(NWG, -1, 8, 16, 32, 64, 128),
    CLBLAST_DIAL(KWG, -1, 16, 32),
    CLBLAST_DIAL(KWI, -1, 2, 8),
    CLBLAST_DIAL(SA, SB, 0, 1),
    CLBLAST_DIAL(STRM, STRN, 0, 1),
};

// Places in clf_clblast_table[CLF_CLBLAST_XGEMM_DIRECT].
enum { KWID, MDIMAD, MDIMCD, NDIMBD, NDIMCD, PADA, PADB, VWMD, VWND, WGD };
static const size_t direct_cpu[] = {[KWID] = 2,   [MDIMAD] = 1, [MDIMCD] = 1, [NDIMBD] = 1,
                                    [NDIMCD] = 1, [VWMD] = 8,   [VWND] = 8,   [WGD] = 8};
static const size_t direct_gpu[] = {
    [KWID] = 2, [MDIMAD] = 8, [MDIMCD] = 8, [NDIMBD] = 8, [NDIMCD] = 8,
    [PADA] = 1, [PADB] = 1,   [VWMD] = 1,   [VWND] = 1,   [WGD] = 16};
static const dial direct_dials[] = {
    CLBLAST_DIAL(WGD, -1, 8, 16, 32, 64),
    CLBLAST_DIAL(VWMD, -1, 1, 2, 4, 8),
    CLBLAST_DIAL(VWND, -1, 1, 2, 4, 8),
    CLBLAST_DIAL(MDIMCD, MDIMAD, 1, 2, 4, 8, 16),
    CLBLAST_DIAL(NDIMCD, NDIMBD, 1, 2, 4, 8, 16),
    CLBLAST_DIAL(KWID, -1, 2, 8, 16),
    CLBLAST_DIAL(PADA, PADB, 0, 1),
};

// Sizes n such that a product of more than n * n * n multiplications uses Xgemm: none, all, some.
#define ALWAYS_DIRECT (1 << 14)
#define NEVER_DIRECT  1
static const dial routine_dials[] = {
    CLBLAST_DIAL(0, -1, NEVER_DIRECT, 128, 256, 384, 512, 1024, ALWAYS_DIRECT)};

#define COUNT(dials) ((int)(sizeof(dials) / sizeof *(dials)))

// ---- the search ---------------------------------------------------------------------------------

typedef struct search {
    clf_device *device;
    clf_arena *arena;
    clf_tensor x, y;
    clf_weight panels, plain;
    int64_t begin;
    double seconds; // budget
    clf_tuning_progress *progress;
    void *user;
    bool stopped;
    clf_tuning best;
    double panel[CLF_ROW_CLASSES], clblast[CLF_ROW_CLASSES]; // seconds that `best` takes
} search;

// What one descent turns: dials of a kind, the classes that count, the share of the budget at which
// it ends.
typedef struct descent {
    const char *what;
    const dial *dials;
    int count;
    int where; // row class of a tile, or clf_clblast_kernel
    clf_gemm variant;
    unsigned classes;
    double end;
} descent;

static double used_share(const search *s) {
    return 1e-9 * (double)(clf_clock() - s->begin) / s->seconds;
}

static void set_dial(clf_tuning *t, const descent *d, const dial *dial, int value) {
    switch (dial->kind) {
    case VECTOR:
        t->vector = value;
        for (int i = 0; i < CLF_ROW_CLASSES; i++) {
            if (t->tile[i].columns < value) t->tile[i].columns = value;
        }
        break;
    case SLICES: t->slices = value; break;
    case ROWS: t->tile[d->where].rows = value; break;
    case COLUMNS: t->tile[d->where].columns = value; break;
    case LANES: t->tile[d->where].lanes = value; break;
    case CLBLAST:
        t->clblast[d->where].values[dial->first] = (size_t)value;
        if (dial->second >= 0) t->clblast[d->where].values[dial->second] = (size_t)value;
    }
}

static bool tiles_are_valid(const clf_caps *caps, const clf_tuning *t) {
    for (int i = 0; i < CLF_ROW_CLASSES; i++) {
        const clf_tile *tile = &t->tile[i];
        const int group = tile->lanes * t->slices;
        if (tile->columns < t->vector || group > caps->max_group ||
            (t->slices > 1 && 4u * (unsigned)(group * tile->columns) > caps->local_memory))
            return false;
    }
    return true;
}

static bool divides(size_t a, size_t b) {
    return a > 0 && b % a == 0;
}

// The conditions under which CLBlast's Xgemm kernel is right, from its tuner.
static bool xgemm_is_valid(const clf_caps *caps, const size_t *v) {
    const size_t group = v[MDIMC] * v[NDIMC];
    return group <= (size_t)caps->max_group && divides(v[MDIMC] * v[VWM], v[MWG]) &&
           divides(v[NDIMC] * v[VWN], v[NWG]) && divides(v[MDIMA] * v[VWM], v[MWG]) &&
           divides(v[NDIMB] * v[VWN], v[NWG]) && divides(group / v[MDIMA], v[KWG]) &&
           divides(group / v[NDIMB], v[KWG]) && divides(v[KWI], v[KWG]) &&
           4 * v[KWG] * (v[SA] * v[MWG] + v[SB] * v[NWG]) <= caps->local_memory;
}

static bool direct_is_valid(const clf_caps *caps, const size_t *v) {
    const size_t group = v[MDIMCD] * v[NDIMCD];
    return group <= (size_t)caps->max_group && divides(v[KWID], v[WGD]) &&
           divides(v[MDIMCD] * v[VWMD], v[WGD]) && divides(v[NDIMCD] * v[VWND], v[WGD]) &&
           divides(v[MDIMAD] * v[VWMD], v[WGD]) && divides(v[NDIMBD] * v[VWND], v[WGD]) &&
           divides(group / v[MDIMAD], v[WGD]) && divides(group / v[NDIMBD], v[WGD]) &&
           4 * v[WGD] * (2 * v[WGD] + v[PADA] + v[PADB]) <= caps->local_memory;
}

static bool is_valid(const search *s, const clf_tuning *t) {
    const clf_caps *caps = clf_device_caps(s->device);
    return tiles_are_valid(caps, t) &&
           (!t->clblast[CLF_CLBLAST_XGEMM].set ||
            xgemm_is_valid(caps, t->clblast[CLF_CLBLAST_XGEMM].values)) &&
           (!t->clblast[CLF_CLBLAST_XGEMM_DIRECT].set ||
            direct_is_valid(caps, t->clblast[CLF_CLBLAST_XGEMM_DIRECT].values));
}

static void product(search *s, clf_run *run, clf_gemm variant, int rows) {
    clf_linear_run(run, variant, clf_tensor_rows(s->y, 0, rows), clf_tensor_rows(s->x, 0, rows),
                   variant == CLF_GEMM_PANEL ? s->panels : s->plain, (clf_linear){0});
}

// Seconds of one product with the tuning in use; infinite if it does not run.
static double time_product(search *s, clf_gemm variant, int rows) {
    clf_run run = clf_run_begin(s->device);
    product(s, &run, variant, rows); // builds the kernel
    if (clf_run_finish(&run) != CLF_OK) {
        clf_log(CLF_LOG_DEBUG, "tuning: a candidate does not run: %s", clf_last_error());
        return INFINITY;
    }
    double best = INFINITY;
    for (int round = 0; round < 4; round++) {
        const int calls = round == 0 ? 1 : 1 + (int)(0.01 / best);
        const int64_t begin = clf_clock();
        for (int i = 0; i < calls; i++) product(s, &run, variant, rows);
        if (clf_run_finish(&run) != CLF_OK) return INFINITY;
        const double seconds = 1e-9 * (double)(clf_clock() - begin) / calls;
        if (seconds < best) best = seconds;
        if (seconds > 0.3) break;
    }
    return best;
}

// Puts the tuning in use and times each class; the result is the sum of the logarithms, so that a
// tenth less counts the same in every class.
static double time_classes(search *s, const descent *d, const clf_tuning *t, double *seconds) {
    double sum = 0;
    if (clf_tuning_use(s->device, t) != CLF_OK) return INFINITY;
    for (int i = 0; i < CLF_ROW_CLASSES && sum < INFINITY; i++) {
        if (!(d->classes >> i & 1)) continue;
        seconds[i] = time_product(s, d->variant, class_rows[i]);
        sum += log(seconds[i]);
    }
    if (s->progress && s->progress(s->user, fmin(used_share(s), 1), d->what)) s->stopped = true;
    return sum;
}

static bool check_classes(search *s, const descent *d) {
    for (int i = 0; i < CLF_ROW_CLASSES; i++) {
        if ((d->classes >> i & 1) && !clf_linear_check(s->device, d->variant, i)) return false;
    }
    return true;
}

// CLBlast serves a class where it is faster. A CPU keeps its packed panels, which CLBlast cannot
// read.
static void save(search *s) {
    for (int i = 0; i < CLF_ROW_CLASSES; i++) {
        const bool faster = s->clblast[i] < WORTHWHILE * s->panel[i];
        s->best.gemm[i] =
            faster && clf_device_profile(s->device)->lanes > 1 ? CLF_GEMM_CLBLAST : CLF_GEMM_PANEL;
    }
    if (clf_device_cache_directory(s->device) && clf_tuning_save(s->device, &s->best) != CLF_OK)
        clf_log(CLF_LOG_WARNING, "%s", clf_last_error());
}

static bool is_over(const search *s, const descent *d) {
    return s->stopped || used_share(s) > d->end;
}

// Turns one dial after another to where it is fastest, until no dial helps or time is up. Returns
// the time of `t`, which it leaves in use.
static double descend(search *s, const descent *d, clf_tuning *t, double *seconds) {
    double best = time_classes(s, d, t, seconds);
    for (bool better = true; better && !is_over(s, d);) {
        better = false;
        for (int i = 0; i < d->count; i++) {
            for (int j = 0; j < d->dials[i].count && !is_over(s, d); j++) {
                clf_tuning candidate = *t;
                double taken[CLF_ROW_CLASSES] = {0};
                set_dial(&candidate, d, &d->dials[i], d->dials[i].values[j]);
                if (!is_valid(s, &candidate)) continue;
                const double time = time_classes(s, d, &candidate, taken);
                if (!(time < best + log(WORTHWHILE)) || !check_classes(s, d)) continue;
                best = time;
                *t = candidate;
                for (int c = 0; c < CLF_ROW_CLASSES; c++) {
                    if (d->classes >> c & 1) seconds[c] = taken[c];
                }
                better = true;
            }
        }
    }
    if (clf_tuning_use(s->device, t) != CLF_OK) return INFINITY;
    return best;
}

static void search_tiles(search *s) {
    const bool cpu = clf_device_profile(s->device)->lanes == 1;
    descent d = {.what = "panel kernel, all rows",
                 .dials = cpu ? cpu_dials : gpu_dials,
                 .count = cpu ? COUNT(cpu_dials) : COUNT(gpu_dials),
                 .variant = CLF_GEMM_PANEL,
                 .classes = ALL_ROWS,
                 .end = 0.2};
    static const char *const names[] = {"panel kernel, 1 row", "panel kernel, 8 rows",
                                        "panel kernel, 32 rows", "panel kernel, 128 rows",
                                        "panel kernel, 1024 rows"};
    descend(s, &d, &s->best, s->panel);
    save(s);
    d.dials = cpu ? cpu_tile_dials : gpu_tile_dials;
    d.count = cpu ? COUNT(cpu_tile_dials) : COUNT(gpu_tile_dials);
    for (int i = 0; i < CLF_ROW_CLASSES; i++) {
        d.what = names[i];
        d.where = i;
        d.classes = 1u << i;
        d.end += 0.06;
        descend(s, &d, &s->best, s->panel);
        save(s);
    }
}

// Searches one of CLBlast's kernels, forced by `threshold`.
static void search_kernel(search *s, descent d, const size_t *start, int threshold) {
    clf_tuning t = s->best;
    double seconds[CLF_ROW_CLASSES] = {0};
    const int count = clf_clblast_table[d.where].count;
    for (int i = 0; i < count; i++) t.clblast[d.where].values[i] = start[i];
    t.clblast[d.where].set = true;
    t.clblast[CLF_CLBLAST_ROUTINE].set = true;
    t.clblast[CLF_CLBLAST_ROUTINE].values[0] = (size_t)threshold;
    if (!is_valid(s, &t) || !(descend(s, &d, &t, seconds) < INFINITY) || !check_classes(s, &d))
        return;
    s->best.clblast[d.where] = t.clblast[d.where];
}

// CLBlast's defaults cannot be had back once they are overridden, so they are timed first.
static void search_clblast(search *s) {
    const bool cpu = clf_device_profile(s->device)->lanes == 1;
    descent d = {
        .what = "CLBlast, as it comes", .variant = CLF_GEMM_CLBLAST, .classes = ALL_ROWS, .end = 1};
    const double untuned = time_classes(s, &d, &s->best, s->clblast);
    const clf_tuning before = s->best;
    search_kernel(s,
                  (descent){"CLBlast, Xgemm", xgemm_dials, COUNT(xgemm_dials), CLF_CLBLAST_XGEMM,
                            CLF_GEMM_CLBLAST, MANY_ROWS, 0.75},
                  cpu ? xgemm_cpu : xgemm_gpu, NEVER_DIRECT);
    search_kernel(s,
                  (descent){"CLBlast, XgemmDirect", direct_dials, COUNT(direct_dials),
                            CLF_CLBLAST_XGEMM_DIRECT, CLF_GEMM_CLBLAST, FEW_ROWS, 0.95},
                  cpu ? direct_cpu : direct_gpu, ALWAYS_DIRECT);
    clf_tuning t = s->best;
    double seconds[CLF_ROW_CLASSES];
    t.clblast[CLF_CLBLAST_ROUTINE].set = true;
    t.clblast[CLF_CLBLAST_ROUTINE].values[0] = 256;
    d = (descent){"CLBlast, threshold",
                  routine_dials,
                  COUNT(routine_dials),
                  CLF_CLBLAST_ROUTINE,
                  CLF_GEMM_CLBLAST,
                  ALL_ROWS,
                  1};
    if (descend(s, &d, &t, seconds) < untuned && check_classes(s, &d)) {
        s->best = t;
        for (int i = 0; i < CLF_ROW_CLASSES; i++) s->clblast[i] = seconds[i];
    } else {
        s->best = before;
    }
    save(s);
}

static clf_status prepare(search *s) {
    const bool cpu = clf_device_profile(s->device)->lanes == 1;
    const int rows = class_rows[CLF_ROW_CLASSES - 1];
    clf_rng rng = {.state = 1};
    clf_run run = clf_run_begin(s->device);
    float *numbers = clf_rng_numbers(&rng, (size_t)K * N);
    if (!numbers) return clf_fail_memory();
    clf_run_fail(&run, clf_arena_create(s->device, "tuning", "nothing", &s->arena));
    if (run.status != CLF_OK) goto done;
    s->x = clf_arena_take(&run, s->arena, rows, K, CLF_F32);
    s->y = clf_arena_take(&run, s->arena, rows, N, CLF_F32);
    s->plain = clf_weight_take_layout(&run, s->arena, K, N, true);
    s->panels = cpu ? clf_weight_take_layout(&run, s->arena, K, N, false) : s->plain;
    clf_write(&run, s->x, numbers);
    clf_write(&run, s->plain.data, numbers);
    clf_write(&run, s->panels.data, numbers);
done:
    free(numbers);
    return clf_run_finish(&run);
}

clf_status clf_tuning_search(clf_device *device, double seconds, clf_tuning_progress *progress,
                             void *user, clf_tuning *result) {
    search s = {.device = device,
                .begin = clf_clock(),
                .seconds = seconds,
                .progress = progress,
                .user = user};
    for (int i = 0; i < CLF_ROW_CLASSES; i++) s.panel[i] = s.clblast[i] = INFINITY;
    clf_tuning_default(device, &s.best);
    clf_status status = prepare(&s);
    if (status == CLF_OK) {
        search_tiles(&s);
        if (!s.stopped) search_clblast(&s);
        status = clf_tuning_use(device, &s.best);
    }
    clf_arena_destroy(s.arena);
    if (status == CLF_OK) *result = s.best;
    return status;
}
