// SPDX-License-Identifier: MIT
#include "probe.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { COLUMNS = 100, LABEL = 13 };

// ---- words --------------------------------------------------------------------------------------

static void heading(FILE *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Bold on a terminal.
static void heading(FILE *out, const char *format, ...) {
    const bool bold = isatty(fileno(out));
    va_list arguments;
    if (bold) fputs("\033[1m", out);
    va_start(arguments, format);
    vfprintf(out, format, arguments);
    va_end(arguments);
    if (bold) fputs("\033[0m", out);
    fputc('\n', out);
}

// Prints a paragraph whose lines begin in column `indent`, where the cursor stands already.
static void wrap(FILE *out, const char *text, int indent) {
    int column = indent;
    while (*text) {
        const int length = (int)strcspn(text, " \n");
        if (column > indent && column + 1 + length > COLUMNS) {
            fprintf(out, "\n%*s", indent, "");
            column = indent;
        } else if (column > indent) {
            fputc(' ', out);
            column++;
        }
        // A word longer than a line is cut into lines.
        for (int i = 0; i < length; i++) {
            if (column == COLUMNS) {
                fprintf(out, "\n%*s", indent, "");
                column = indent;
            }
            fputc(text[i], out);
            column++;
        }
        text += length;
        text += strspn(text, " \n");
    }
    fputc('\n', out);
}

static void field(FILE *out, const char *label, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void field(FILE *out, const char *label, const char *format, ...) {
    char text[1200];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (!text[0]) return;
    fprintf(out, "    %-*s", LABEL, label);
    wrap(out, text, 4 + LABEL);
}

// "512 KiB", "22.3 GiB"; valid until four further calls.
static const char *bytes_text(uint64_t bytes) {
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    static char texts[4][32];
    static int next;
    char *text = texts[next++ % 4];
    double value = (double)bytes;
    int unit = 0;
    while (value >= 1024 && unit < 4) {
        value /= 1024;
        unit++;
    }
    const bool whole = value >= 100 || value == (double)(long)value;
    snprintf(text, sizeof texts[0], "%.*f %s", whole ? 0 : 1, value, units[unit]);
    return text;
}

// ---- sections -----------------------------------------------------------------------------------

static void print_identity(FILE *out, const probe_report *report) {
    const clf_device_info *info = &report->info;
    heading(out, "%d:%d  %.90s", info->platform_index, info->device_index, info->name);
    char clock[32] = "";
    if (info->clock_mhz > 0) snprintf(clock, sizeof clock, " at %d MHz", info->clock_mhz);
    field(out, "kind", "%s, %d compute unit%s%s", clf_device_kind_text(info->kind),
          info->compute_units, info->compute_units == 1 ? "" : "s", clock);
    field(out, "platform", "%s", info->platform);
    field(out, "vendor", "%s", info->vendor);
    field(out, "driver", "%s", info->driver);
    field(out, "version", "%s; %s", info->version, info->c_version);
    field(out, "memory", "%s, largest allocation %s, local %s, cache %s",
          bytes_text(info->global_memory), bytes_text(info->max_allocation),
          bytes_text(info->local_memory), bytes_text(info->cache));
}

static void print_capabilities(FILE *out, const clf_probe *probe) {
    static const char *const uses[] = {"used", "not needed", "fallback", "MISSING"};
    heading(out, "\n  %-26s %-13s clformer", "Capabilities", "here");
    for (int i = 0; i < CLF_PROBE_CAPABILITIES; i++) {
        const clf_probe_capability *c = &probe->capabilities[i];
        fprintf(out, "    %-24s %-13s %-11s %s\n", c->name, c->value, uses[c->use], c->note);
    }
}

// One measured value; `note` may be empty.
static void measured(FILE *out, const char *name, double value, const char *unit,
                     const char *note) {
    fprintf(out, "    %-36s ", name);
    if (value > 0) {
        const int digits = value < 1 ? 3 : value < 100 ? 1 : 0;
        fprintf(out, "%9.*f %s", digits, value, unit);
        if (*note) fprintf(out, "%*s%s", 9 - (int)strlen(unit), "", note);
        fputc('\n', out);
    } else {
        fprintf(out, "%9s\n", "-");
    }
}

static void print_rates(FILE *out, const clf_probe *probe) {
    const clf_probe_rates *r = &probe->rates;
    static const char *const names[] = {"host to device", "device to host",
                                        "copy on the device, read and write",
                                        "streaming kernel, read and write"};
    const double rates[] = {r->host_to_device, r->device_to_host, r->device_copy, r->device_stream};
    char note[64];
    heading(out, "\n  Measured");
    measured(out, "kernel launch, many in a row", r->launch * 1e6, "us", "each");
    measured(out, "kernel launch and wait", r->launch_wait * 1e6, "us", "");
    for (int i = 0; i < 4; i++) {
        snprintf(note, sizeof note, "%s at a time", bytes_text(r->transfer_bytes[i]));
        measured(out, names[i], rates[i] * 1e-9, "GB/s", note);
    }
    snprintf(note, sizeof note, "in vectors of %d", r->fma_vector);
    measured(out, "multiply-add, peak", r->fma * 1e-9, "GFLOP/s", note);
    measured(out, "kernel build and first run, new", r->build_new * 1e3, "ms", "");
    measured(out, "kernel build and first run, cached", r->build_cached * 1e3, "ms", "");
    if (r->error[0]) field(out, "incomplete:", "%s", r->error);
}

static void print_cell(FILE *out, const clf_probe_product *cell) {
    static const char *const words[] = {"-", "", "WRONG", "failed", "skipped"};
    if (cell->outcome == CLF_PROBE_PASSED) {
        const double rate = cell->flops * 1e-9;
        fprintf(out, rate < 0.1 ? "  %9.2g" : rate < 10 ? "  %9.2f" : "  %9.1f", rate);
    } else {
        fprintf(out, "  %9s", words[cell->outcome]);
    }
}

// Whether a line has anything to tell.
static bool was_run(const clf_probe_products *products, int variant, int row) {
    for (int s = 0; s < CLF_PROBE_SHAPES; s++) {
        const clf_probe_outcome outcome = products->cells[variant][s][row].outcome;
        if (outcome != CLF_PROBE_ABSENT && outcome != CLF_PROBE_SKIPPED) return true;
    }
    return false;
}

static bool any_skipped(const clf_probe_products *products) {
    const clf_probe_product *cells = &products->cells[0][0][0];
    for (int i = 0; i < CLF_PROBE_VARIANTS * CLF_PROBE_SHAPES * CLF_PROBE_ROWS; i++) {
        if (cells[i].outcome == CLF_PROBE_SKIPPED) return true;
    }
    return false;
}

static void print_shapes(FILE *out) {
    for (int s = 0; s < CLF_PROBE_SHAPES; s++) {
        char shape[32];
        snprintf(shape, sizeof shape, "%dx%d", clf_probe_shapes[s][0], clf_probe_shapes[s][1]);
        fprintf(out, "  %9s", shape);
    }
    fputc('\n', out);
}

static void print_products(FILE *out, const clf_probe_products *products, const char *title) {
    static const char *const names[] = {"CLBlast default", "CLBlast tuned", "panel kernel",
                                        "matrix unit"};
    double worst = 0;
    heading(out, "\n  %s, GFLOP/s (* what clformer uses)", title);
    fprintf(out, "    %4s   %-16s", "rows", "variant  K x N:");
    print_shapes(out);
    for (int i = 0; i < CLF_PROBE_ROWS; i++) {
        char rows[16];
        snprintf(rows, sizeof rows, "%d", clf_probe_rows[i]);
        for (int v = 0; v < CLF_PROBE_VARIANTS; v++) {
            if (!was_run(products, v, i)) continue;
            fprintf(out, "    %4s %c %-16s", rows,
                    products->used[i] == (clf_probe_variant)v ? '*' : ' ', names[v]);
            rows[0] = '\0';
            for (int s = 0; s < CLF_PROBE_SHAPES; s++) {
                const clf_probe_product *cell = &products->cells[v][s][i];
                print_cell(out, cell);
                if (cell->outcome == CLF_PROBE_PASSED && cell->error > worst) worst = cell->error;
            }
            fputc('\n', out);
        }
    }
    fprintf(out,
            "    Each was compared with sums in double first; largest error %.2f of the bound.\n",
            worst);
    if (any_skipped(products))
        fputs(
            "    Skipped, or not shown: would have taken more than its share of time or memory.\n",
            out);
    if (products->error[0]) field(out, "failed:", "%s", products->error);
}

// Seconds of what is in use before, over those after.
static void print_gain(FILE *out, const clf_probe *probe) {
    heading(out, "\n  Times as fast as before tuning");
    fprintf(out, "    %4s   %-16s", "rows", "");
    print_shapes(out);
    for (int i = 0; i < CLF_PROBE_ROWS; i++) {
        fprintf(out, "    %4d   %-16s", clf_probe_rows[i], "what is used");
        for (int s = 0; s < CLF_PROBE_SHAPES; s++) {
            const double before = probe->products.cells[probe->products.used[i]][s][i].seconds;
            const double after = probe->tuned.cells[probe->tuned.used[i]][s][i].seconds;
            if (before > 0 && after > 0) {
                fprintf(out, "  %9.2f", before / after);
            } else {
                fprintf(out, "  %9s", "-");
            }
        }
        fputc('\n', out);
    }
}

static void print_checks(FILE *out, const clf_probe *probe) {
    char names[1024] = "";
    size_t used = 0;
    int passed = 0;
    double worst = 0;
    for (int i = 0; i < probe->check_count; i++) {
        const clf_probe_check *check = &probe->checks[i];
        if (check->outcome != CLF_PROBE_PASSED) continue;
        used += (size_t)snprintf(names + used, used < sizeof names ? sizeof names - used : 0,
                                 "%s%s", passed ? ", " : "", check->name);
        if (used >= sizeof names) used = sizeof names;
        if (check->error > worst) worst = check->error;
        passed++;
    }
    heading(out, "\n  Self-test");
    fprintf(out, "    %d of %d operations are right; largest error %.2f of the allowed one.\n",
            passed, probe->check_count, worst);
    if (passed > 0) field(out, "right:", "%s", names);
    for (int i = 0; i < probe->check_count; i++) {
        const clf_probe_check *check = &probe->checks[i];
        if (check->outcome == CLF_PROBE_WRONG) {
            field(out, "WRONG:", "%s, %.3g times the allowed error", check->name, check->error);
        } else if (check->outcome == CLF_PROBE_FAILED) {
            field(out, "failed:", "%s: %s", check->name, check->message);
        }
    }
}

static void print_verdict(FILE *out, const clf_probe *probe) {
    heading(out, "\n  Verdict");
    for (const char *line = probe->verdict; *line;) {
        char text[sizeof probe->verdict];
        const int length = (int)strcspn(line, "\n");
        snprintf(text, sizeof text, "%.*s", length, line);
        fputs("    ", out);
        wrap(out, text, 4);
        line += length + (line[length] == '\n');
    }
}

void probe_print_text(FILE *out, const probe_report *report) {
    const clf_probe *probe = report->probe;
    print_identity(out, report);
    if (!probe) {
        field(out, "unusable:", "%s", report->error);
        return;
    }
    print_capabilities(out, probe);
    print_rates(out, probe);
    print_products(out, &probe->products, "Matrix products");
    if (probe->tuned.measured) {
        print_products(out, &probe->tuned, "Matrix products after tuning");
        print_gain(out, probe);
    }
    if (probe->tune_error[0]) {
        heading(out, "\n  Tuning");
        field(out, "failed:", "%s", probe->tune_error);
    }
    print_checks(out, probe);
    print_verdict(out, probe);
}
