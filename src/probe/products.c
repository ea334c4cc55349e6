// SPDX-License-Identifier: MIT
// The matrix products of Transformer-base, each variant checked before its time counts.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fail.h"
#include "base/rng.h"
#include "ops/linear.h"
#include "ops/tuning.h"
#include "probe/probe.h"

const int clf_probe_shapes[CLF_PROBE_SHAPES][2] = {
    {512, 512}, {512, 1536}, {512, 2048}, {2048, 512}, {512, 32000}};
const int clf_probe_rows[CLF_PROBE_ROWS] = {1, 8, 32, 128, 1024};

enum { MOST_ROWS = 1024, MOST_K = 2048, MOST_N = 32000, MOST_WEIGHTS = 512 * MOST_N };

#define BUDGET   0.08 // seconds for the repeats of one product
#define QUEUED   2e-3 // seconds of short products to queue before waiting
#define ONE_CALL 2.5  // seconds that a single product may be expected to take

typedef struct bench {
    clf_prober *p;
    clf_probe_products *products;
    clf_probe_variant variant;
    double deadline; // of this variant, on the clock of now()
    clf_arena *arena;
    float *host_x, *host_w; // (MOST_ROWS, MOST_K) and any (N, K)
    clf_tensor x, y;        // likewise, and the largest result that the memory is good for
    clf_weight w[CLF_PROBE_SHAPES];
    // The last product that was run, of each shape and of all: seconds per row * K * N.
    double pace[CLF_PROBE_SHAPES], last_pace;
} bench;

static double now(void) {
    return (double)clf_clock() * 1e-9;
}

static void note(clf_probe_products *products, const char *message) {
    if (!products->error[0]) snprintf(products->error, sizeof products->error, "%s", message);
}

// ---- one product --------------------------------------------------------------------------------

typedef struct product {
    clf_gemm gemm;
    clf_tensor y, x;
    clf_weight w;
    int count; // products queued one after another, as a model does
} product;

static void multiply(clf_run *run, void *data) {
    const product *job = data;
    for (int i = 0; i < job->count; i++) {
        clf_linear_run(run, job->gemm, job->y, job->x, job->w, (clf_linear){0});
    }
}

// |y - x . w| over what any order of a float sum may err: K roundings of the sum of magnitudes.
static double element_error(const float *x, const float *column, int k, float y) {
    double sum = 0, magnitude = 0;
    for (int i = 0; i < k; i++) {
        const double term = (double)x[i] * (double)column[i];
        sum += term;
        magnitude += fabs(term);
    }
    const double error = fabs((double)y - sum) / ((k + 1) * 0x1p-24 * magnitude);
    return isfinite(error) ? error : INFINITY;
}

// The first rows of a tensor that several shapes share.
static clf_tensor reshape(clf_tensor t, int rows, int cols) {
    t.rows = rows;
    t.cols = cols;
    t.stride = (uint64_t)cols;
    return t;
}

// Some rows are read back and some of their columns compared; the corners always are.
static double sampled_error(clf_run *run, const bench *b, const product *job, clf_rng *rng) {
    enum { ROWS = 8, COLUMNS = 80 };
    const int rows = job->y.rows, n = job->w.n, k = job->w.k;
    float *line = malloc((size_t)n * sizeof *line);
    double worst = 0;
    if (!line) clf_run_fail(run, clf_fail_memory());
    for (int i = 0; i < ROWS && i < rows && line; i++) {
        const int row = rows <= ROWS ? i
                        : i == 0     ? 0
                        : i == 1     ? rows - 1
                                     : (int)clf_rng_below(rng, (uint32_t)rows);
        clf_read(run, clf_tensor_rows(job->y, row, 1), line);
        if (run->status != CLF_OK) break;
        for (int j = 0; j < COLUMNS; j++) {
            const int column = j == 0 ? 0 : j == 1 ? n - 1 : (int)clf_rng_below(rng, (uint32_t)n);
            const double error =
                element_error(b->host_x + (size_t)row * (size_t)k,
                              b->host_w + (size_t)column * (size_t)k, k, line[column]);
            if (error > worst) worst = error;
        }
    }
    free(line);
    return worst;
}

static const clf_gemm gemms[CLF_PROBE_VARIANTS] = {
    [CLF_PROBE_CLBLAST_DEFAULT] = CLF_GEMM_CLBLAST,
    [CLF_PROBE_CLBLAST_TUNED] = CLF_GEMM_CLBLAST,
    [CLF_PROBE_PANEL] = CLF_GEMM_PANEL,
    [CLF_PROBE_MATRIX] = CLF_GEMM_MATRIX,
};

static void run_product(bench *b, int shape, int row) {
    const int rows = clf_probe_rows[row];
    clf_probe_product *cell = &b->products->cells[b->variant][shape][row];
    clf_run run = clf_run_begin(b->p->device);
    clf_rng rng = {.state = (uint64_t)rows};
    product job = {.gemm = gemms[b->variant],
                   .y = reshape(b->y, rows, b->w[shape].n),
                   .x = reshape(b->x, rows, b->w[shape].k),
                   .w = b->w[shape],
                   .count = 1};
    clf_fill_zero(&run, job.y); // or an earlier product's result would be taken for this one's
    clf_probe_time(&run, multiply, &job, 0); // compiles
    cell->error = sampled_error(&run, b, &job, &rng);
    if (run.status == CLF_OK && cell->error > 1) {
        cell->outcome = CLF_PROBE_WRONG;
        return;
    }
    const double once = clf_probe_time(&run, multiply, &job, 0).median;
    if (once > 0 && once < QUEUED) job.count = QUEUED / once < 32 ? (int)(QUEUED / once) : 32;
    const double seconds = clf_probe_time(&run, multiply, &job, BUDGET).median / job.count;
    if (run.status != CLF_OK) {
        cell->outcome = CLF_PROBE_FAILED;
        cell->error = 0;
        note(b->products, clf_last_error());
        return;
    }
    const double size = (double)rows * job.w.k * job.w.n;
    b->pace[shape] = b->last_pace = seconds / size;
    cell->outcome = CLF_PROBE_PASSED;
    cell->seconds = seconds;
    cell->flops = 2 * size / seconds;
}

// ---- one variant --------------------------------------------------------------------------------

static bool takes_too_long(const bench *b, double seconds) {
    return seconds > ONE_CALL || now() + 2 * seconds > b->deadline;
}

// Elements of the largest result: all of it where that leaves room for the weights.
static uint64_t result_size(const clf_caps *caps) {
    uint64_t size = (uint64_t)MOST_ROWS * MOST_N;
    if (size > caps->max_allocation / 8) size = caps->max_allocation / 8;
    if (size > caps->global_memory / 16) size = caps->global_memory / 16;
    return size;
}

// Puts the weights on the device, in the variant's layout, smallest first. On a slow or a small
// device some are left out: those have no K then. False if the device failed.
static bool prepare(bench *b) {
    const bool plain = b->variant != CLF_PROBE_PANEL;
    double pace = 0; // seconds per weight
    const clf_caps *caps = clf_device_caps(b->p->device);
    clf_run run = clf_run_begin(b->p->device);
    clf_arena_reset(b->arena);
    b->x = clf_arena_take(&run, b->arena, MOST_ROWS, MOST_K, CLF_F32);
    b->y = clf_arena_take(&run, b->arena, 1, (int)result_size(caps), CLF_F32);
    clf_write(&run, b->x, b->host_x);
    for (int i = 0; i < CLF_PROBE_SHAPES; i++) {
        const int k = clf_probe_shapes[i][0], n = clf_probe_shapes[i][1];
        const clf_piece piece = {.data = b->host_w, .dtype = CLF_F32, .rows = n, .cols = k};
        const double begin = now();
        b->w[i] = (clf_weight){0};
        if (takes_too_long(b, pace * k * n) || (uint64_t)k * n > caps->global_memory / 16) continue;
        clf_weight w = clf_weight_take_layout(&run, b->arena, k, n, plain);
        clf_weight_write(&run, w, 0, &piece, b->arena);
        if (clf_run_finish(&run) != CLF_OK) {
            note(b->products, clf_last_error());
            return false;
        }
        b->w[i] = w;
        pace = (now() - begin) / ((double)k * n);
    }
    return true;
}

// Few rows first: they take least and tell most, and what more rows take follows from them.
static void run_variant(bench *b, double share, double share_end) {
    static const char *const names[] = {"CLBlast, default", "CLBlast, tuned", "panel kernel",
                                        "matrix unit"};
    const double given = b->p->options->product_seconds;
    const bool emulated = b->p->result->info.kind == CLF_DEVICE_EMULATOR;
    b->deadline = now() + (given > 0 ? given : emulated ? 5 : 20);
    b->last_pace = 0;
    for (int i = 0; i < CLF_PROBE_SHAPES; i++) b->pace[i] = 0;
    const bool prepared = prepare(b);
    for (int i = 0; i < CLF_PROBE_ROWS * CLF_PROBE_SHAPES; i++) {
        const int row = i / CLF_PROBE_SHAPES, shape = i % CLF_PROBE_SHAPES;
        const int k = clf_probe_shapes[shape][0], n = clf_probe_shapes[shape][1];
        const double pace = b->pace[shape] > 0 ? b->pace[shape] : b->last_pace;
        char what[64];
        snprintf(what, sizeof what, "%s, %d x %d by %d rows", names[b->variant], k, n,
                 clf_probe_rows[row]);
        if (!clf_prober_tick(b->p,
                             share + (share_end - share) * i / (CLF_PROBE_ROWS * CLF_PROBE_SHAPES),
                             what)) {
            return;
        }
        clf_probe_outcome *outcome = &b->products->cells[b->variant][shape][row].outcome;
        if (b->w[shape].k == 0) {
            *outcome = prepared ? CLF_PROBE_SKIPPED : CLF_PROBE_FAILED;
        } else if (takes_too_long(b, pace * clf_probe_rows[row] * (double)k * n) ||
                   (int64_t)clf_probe_rows[row] * n > b->y.cols) {
            *outcome = CLF_PROBE_SKIPPED;
        } else {
            run_product(b, shape, row);
        }
    }
}

// ---- all of them --------------------------------------------------------------------------------

// Whether the tuning in use, which may be read from its file now, sets CLBlast's parameters.
static bool clblast_is_tuned(clf_prober *p) {
    clf_run run = clf_run_begin(p->device);
    const clf_linear_state *state = clf_linear_state_get(&run);
    bool tuned = false;
    for (int i = 0; state && i < CLF_CLBLAST_KERNELS; i++) {
        tuned = tuned || state->tuning.clblast[i].set;
    }
    return tuned;
}

// CLBlast's parameters are set in the process, not in the device: once they are, the defaults are
// gone.
static bool exists(clf_prober *p, clf_probe_variant variant) {
    if (variant == CLF_PROBE_PANEL) return true;
    if (variant == CLF_PROBE_MATRIX) {
        clf_run run = clf_run_begin(p->device);
        return clf_linear_matrix_unit(&run) != CLF_MATRIX_EMULATED;
    }
    if (variant == CLF_PROBE_CLBLAST_DEFAULT && !clf_device_get_slot(p->device)->data) return true;
    return clblast_is_tuned(p) == (variant == CLF_PROBE_CLBLAST_TUNED);
}

static void find_used(clf_prober *p, clf_probe_products *products) {
    const bool tuned = clblast_is_tuned(p);
    for (int i = 0; i < CLF_PROBE_ROWS; i++) {
        const clf_gemm gemm = clf_linear_variant(p->device, clf_probe_rows[i], 512, 512);
        products->used[i] = gemm == CLF_GEMM_PANEL    ? CLF_PROBE_PANEL
                            : gemm == CLF_GEMM_MATRIX ? CLF_PROBE_MATRIX
                            : tuned                   ? CLF_PROBE_CLBLAST_TUNED
                                                      : CLF_PROBE_CLBLAST_DEFAULT;
    }
}

void clf_probe_products_measure(clf_prober *p, clf_probe_variant first,
                                clf_probe_products *products) {
    clf_rng rng = {.state = 1};
    bench b = {.p = p,
               .products = products,
               .host_x = clf_rng_numbers(&rng, (size_t)MOST_ROWS * MOST_K),
               .host_w = clf_rng_numbers(&rng, MOST_WEIGHTS)};
    clf_status status = b.host_x && b.host_w ? CLF_OK : clf_fail_memory();
    if (status == CLF_OK) {
        status = clf_arena_create(p->device, "probe", "a device with more memory", &b.arena);
    }
    if (status != CLF_OK) note(products, clf_last_error());
    for (int v = first; v < CLF_PROBE_VARIANTS && status == CLF_OK && !p->cancelled; v++) {
        b.variant = (clf_probe_variant)v;
        const int count = CLF_PROBE_VARIANTS - (int)first;
        if (exists(p, b.variant)) {
            run_variant(&b, (double)(v - (int)first) / count, (double)(v - (int)first + 1) / count);
        }
    }
    find_used(p, products);
    products->measured = status == CLF_OK;
    clf_arena_destroy(b.arena);
    free(b.host_x);
    free(b.host_w);
}
