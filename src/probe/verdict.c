// SPDX-License-Identifier: MIT
// What all of it means to somebody who wants to translate.
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "probe/probe.h"

// ---- the estimate -------------------------------------------------------------------------------

// Transformer-base of "Attention Is All You Need", table 3, translating greedily.
enum { LAYERS = 6, WIDTH = 512, VOCABULARY = 32000, LENGTH = 25, SMALL_OPERATIONS = 10 };

// Indices into clf_probe_shapes.
enum { SQUARE, QKV, FFN_IN, FFN_OUT, OUTPUT };

// Seconds of a product with `rows` rows: measured at the next larger number of rows (or, if that
// was skipped, a smaller one) and scaled. 0 if nothing is known.
static double product_seconds(const clf_probe_products *products, int shape, int rows) {
    int i = 0;
    while (i < CLF_PROBE_ROWS - 1 && clf_probe_rows[i] < rows) i++;
    for (; i >= 0; i--) {
        const clf_probe_product *cell = &products->cells[products->used[i]][shape][i];
        if (cell->outcome == CLF_PROBE_PASSED) return cell->seconds * rows / clf_probe_rows[i];
    }
    return 0;
}

// The products that the layers of encoder and decoder share.
static double layer_seconds(const clf_probe_products *products, int rows) {
    return product_seconds(products, QKV, rows) + product_seconds(products, SQUARE, rows) +
           product_seconds(products, FFN_IN, rows) + product_seconds(products, FFN_OUT, rows);
}

// A step of the decoder: its products; the launches of its small operations and one wait; reading
// the keys and values so far (half of LENGTH on average), those of the source, and the logits.
static double step_seconds(const clf_probe *probe, int batch) {
    const clf_probe_products *products = probe->tuned.measured ? &probe->tuned : &probe->products;
    const clf_probe_rates *rates = &probe->rates;
    const double attention = LAYERS * (LENGTH / 2.0 + LENGTH) * 2 * WIDTH;
    const double bytes = 4.0 * batch * (attention + 3.0 * VOCABULARY);
    return LAYERS *
               (layer_seconds(products, batch) + 2 * product_seconds(products, SQUARE, batch)) +
           product_seconds(products, OUTPUT, batch) + LAYERS * SMALL_OPERATIONS * rates->launch +
           rates->launch_wait + bytes / rates->device_stream;
}

// The encoder, and the keys and values of its output (two thirds of QKV's shape).
static double source_seconds(const clf_probe *probe, int rows) {
    const clf_probe_products *products = probe->tuned.measured ? &probe->tuned : &probe->products;
    return LAYERS * (layer_seconds(products, rows) + product_seconds(products, QKV, rows) * 2 / 3);
}

static double estimate(const clf_probe *probe, int batch) {
    const clf_probe_products *products = probe->tuned.measured ? &probe->tuned : &probe->products;
    for (int shape = 0; shape < CLF_PROBE_SHAPES; shape++) {
        if (product_seconds(products, shape, batch) == 0) return 0;
    }
    if (probe->rates.device_stream == 0) return 0;
    return batch * LENGTH /
           (LENGTH * step_seconds(probe, batch) + source_seconds(probe, batch * LENGTH));
}

// ---- the words ----------------------------------------------------------------------------------

static void say(clf_probe *probe, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(clf_probe *probe, const char *format, ...) {
    const size_t used = strlen(probe->verdict);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(probe->verdict + used, sizeof probe->verdict - used, format, arguments);
    va_end(arguments);
}

static const char *variant_name(clf_probe_variant variant) {
    static const char *const names[] = {"CLBlast with its default parameters",
                                        "CLBlast with tuned parameters", "the panel kernel",
                                        "the matrix unit"};
    return names[variant];
}

static void say_whether(clf_probe *probe) {
    int bad = 0;
    for (int i = 0; i < probe->check_count; i++) {
        bad += probe->checks[i].outcome != CLF_PROBE_PASSED;
    }
    probe->runs = bad == 0 && probe->check_count > 0;
    for (int i = 0; i < CLF_PROBE_CAPABILITIES; i++) {
        if (probe->capabilities[i].use != CLF_PROBE_REQUIRED) continue;
        probe->runs = false;
        say(probe, "The device lacks what clformer needs: %s.\n", probe->capabilities[i].name);
    }
    if (probe->runs) {
        say(probe, "clformer runs here: every operation gives the right result.\n");
        if (probe->info.kind == CLF_DEVICE_EMULATOR) {
            say(probe, "This is an emulator or a software renderer: right, but not fast.\n");
        }
    } else {
        say(probe, "clformer does not run here: %d of %d operations fail the self-test.\n", bad,
            probe->check_count);
    }
}

// "the panel kernel up to 32 rows, CLBlast with ... from 33 rows on", in runs of equal choices.
static void say_products(clf_probe *probe, const clf_probe_products *products) {
    say(probe, "Matrix products go to ");
    for (int i = 0; i < CLF_PROBE_ROWS;) {
        int end = i;
        while (end < CLF_PROBE_ROWS && products->used[end] == products->used[i]) end++;
        say(probe, "%s%s", i > 0 ? ", " : "", variant_name(products->used[i]));
        if (end < CLF_PROBE_ROWS) {
            say(probe, " up to %d row%s", clf_probe_rows[end - 1], end > 1 ? "s" : "");
        } else if (i > 0) {
            say(probe, " above");
        }
        i = end;
    }
    say(probe, ".\n");
}

static void say_wrong(clf_probe *probe, const clf_probe_products *products) {
    for (int v = 0; v < CLF_PROBE_VARIANTS; v++) {
        int wrong = 0, failed = 0;
        for (int i = 0; i < CLF_PROBE_SHAPES * CLF_PROBE_ROWS; i++) {
            const clf_probe_outcome outcome =
                products->cells[v][i / CLF_PROBE_ROWS][i % CLF_PROBE_ROWS].outcome;
            wrong += outcome == CLF_PROBE_WRONG;
            failed += outcome == CLF_PROBE_FAILED;
        }
        if (wrong > 0) say(probe, "Wrong results from %s: do not use it here.\n", variant_name(v));
        if (failed > 0) say(probe, "Not every product could be run by %s.\n", variant_name(v));
        if (v == CLF_PROBE_PANEL && wrong > 0) probe->runs = false;
    }
}

// How much faster the best measured variant is than the one in use, at its best.
static double gain(const clf_probe_products *products) {
    double best = 1;
    for (int i = 0; i < CLF_PROBE_ROWS; i++) {
        double used = 0, fastest[CLF_PROBE_VARIANTS] = {0};
        for (int shape = 0; shape < CLF_PROBE_SHAPES; shape++) {
            const double in_use = products->cells[products->used[i]][shape][i].seconds;
            used += in_use;
            for (int v = 0; v < CLF_PROBE_VARIANTS; v++) {
                const double seconds = products->cells[v][shape][i].seconds;
                fastest[v] += seconds > 0 ? seconds : 1e9; // a gap: not comparable
            }
        }
        for (int v = 0; v < CLF_PROBE_VARIANTS; v++) {
            if (used / fastest[v] > best) best = used / fastest[v];
        }
    }
    return best;
}

static void say_speed(clf_probe *probe, const clf_probe_products *products) {
    if (probe->tokens_per_second[0] > 0) {
        say(probe,
            "Transformer-base would translate about %.*f tokens per second one sentence at a time "
            "and %.*f in batches of 32. That is an estimate for greedy search and sentences of %d "
            "tokens, from the figures above.\n",
            probe->tokens_per_second[0] < 10, probe->tokens_per_second[0],
            probe->tokens_per_second[1] < 10, probe->tokens_per_second[1], LENGTH);
    } else {
        say(probe, "Too little could be measured to estimate a speed.\n");
    }
    const double faster = gain(products);
    if (probe->info.kind == CLF_DEVICE_EMULATOR) return;
    if (!probe->tuning[0]) {
        say(probe, "Nothing is tuned for this device yet; clformer probe --tune looks for better "
                   "settings.\n");
        return;
    }
    say(probe, "The settings for this device come from %s.\n", probe->tuning);
    if (faster > 1.2) {
        say(probe,
            "Another choice was up to %.1f times faster; clformer probe --tune chooses "
            "again.\n",
            faster);
    }
}

void clf_probe_judge(clf_prober *p) {
    static const int batches[2] = {1, 32};
    clf_probe *probe = p->result;
    const clf_probe_products *products = probe->tuned.measured ? &probe->tuned : &probe->products;
    say_whether(probe);
    say_wrong(probe, products);
    if (!probe->runs) return;
    for (int i = 0; i < 2; i++) probe->tokens_per_second[i] = estimate(probe, batches[i]);
    say(probe, "It uses %s.\n", probe->profile);
    say_products(probe, products);
    say_speed(probe, products);
}
