// SPDX-License-Identifier: MIT
#include "train_report.h"

#include <math.h>
#include <stdlib.h>

#include "chart.h"
#include "progress.h"

static const char head[] =
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";

static const char style[] =
    "<style>\n"
    ":root { color-scheme: light dark; --page: #fcfcfb; --ink: #1c1c1a; --soft: #6a6a65;\n"
    "  --line: #e4e4df; --s0: #2a78d6; --s1: #d95926; }\n"
    "@media (prefers-color-scheme: dark) { :root { --page: #1a1a19; --ink: #f0f0ec;\n"
    "  --soft: #a0a09a; --line: #383835; --s0: #5b9df0; --s1: #ee8355; } }\n"
    "body { font: 15px/1.45 system-ui, sans-serif; background: var(--page); color: var(--ink);\n"
    "  max-width: 1180px; margin: 0 auto; padding: 20px; }\n"
    "h1 { font-size: 1.4em; margin: 0; overflow-wrap: anywhere; }\n"
    "h2 { font-size: 1.1em; margin: 1.6em 0 .4em; }\n"
    ".state { color: var(--soft); margin: .2em 0 1.2em; }\n"
    ".charts { display: grid; gap: 20px 28px; "
    "grid-template-columns: repeat(auto-fit, minmax(min(100%, 430px), 1fr)); }\n"
    "figure { margin: 0; }\n"
    "figcaption { display: flex; flex-wrap: wrap; gap: 2px 14px; margin-bottom: 4px; }\n"
    "figcaption span { color: var(--soft); }\n"
    "figcaption i { display: inline-block; width: 14px; height: 3px; border-radius: 2px;\n"
    "  margin-right: 5px; vertical-align: middle; }\n"
    "i.s0 { background: var(--s0); } i.s1 { background: var(--s1); }\n"
    "svg { display: block; width: 100%; height: auto; }\n"
    "svg text { font-size: 11.5px; fill: var(--soft); }\n"
    "svg text.y { text-anchor: end; } svg text.x { text-anchor: middle; }\n"
    "svg .grid { stroke: var(--line); }\n"
    "svg .line { fill: none; stroke-width: 1.8; stroke-linejoin: round; }\n"
    "g.s0 { stroke: var(--s0); fill: var(--s0); } g.s1 { stroke: var(--s1); fill: var(--s1); }\n"
    "svg circle { stroke: var(--page); stroke-width: 1; }\n"
    ".wide { overflow-x: auto; }\n"
    "table { border-collapse: collapse; font-variant-numeric: tabular-nums; }\n"
    "th, td { text-align: left; vertical-align: top; padding: 3px 18px 3px 0;\n"
    "  border-bottom: 1px solid var(--line); }\n"
    "th { font-weight: normal; color: var(--soft); white-space: nowrap; }\n"
    ".numbers th, .numbers td { text-align: right; }\n"
    "code { overflow-wrap: anywhere; }\n"
    "</style>\n";

static void write_text(FILE *out, const char *text) {
    for (; *text; text++) {
        switch (*text) {
        case '&': fputs("&amp;", out); break;
        case '<': fputs("&lt;", out); break;
        case '>': fputs("&gt;", out); break;
        case '"': fputs("&quot;", out); break;
        default: fputc(*text, out);
        }
    }
}

// ---- curves -------------------------------------------------------------------------------------

static double get_loss(const clf_train_progress *p) {
    return p->loss;
}
static double get_perplexity(const clf_train_progress *p) {
    return exp(p->nll);
}
static double get_rate(const clf_train_progress *p) {
    return p->learning_rate;
}
static double get_speed(const clf_train_progress *p) {
    return p->tokens_per_second;
}

static double get_valid_loss(const clf_train_validation *v) {
    return v->loss;
}
static double get_valid_perplexity(const clf_train_validation *v) {
    return exp(v->nll);
}
static double get_bleu(const clf_train_validation *v) {
    return v->bleu;
}

typedef struct curve {
    const char *title;
    double (*progress)(const clf_train_progress *);     // NULL: no such line
    double (*validation)(const clf_train_validation *); // likewise
    bool logarithmic, from_zero;
} curve;

static const curve curves[] = {
    {"Loss (label-smoothed, per token)", get_loss, get_valid_loss, false, false},
    {"Perplexity", get_perplexity, get_valid_perplexity, true, false},
    {"BLEU of the validation text", NULL, get_bleu, false, true},
    {"Learning rate", get_rate, NULL, false, true},
    {"Source + target tokens per second", get_speed, NULL, false, true},
};

// `room` holds two numbers for each point.
static chart_series progress_series(const metrics *m, const curve *c, double *room) {
    double *x = room, *y = room + m->progress_count;
    for (size_t i = 0; i < m->progress_count; i++) {
        x[i] = (double)m->progress[i].update;
        y[i] = c->progress(&m->progress[i]);
    }
    return (chart_series){
        .name = c->validation ? "training" : "last", .x = x, .y = y, .count = m->progress_count};
}

static chart_series validation_series(const metrics *m, const curve *c, double *room) {
    double *x = room, *y = room + m->validation_count;
    for (size_t i = 0; i < m->validation_count; i++) {
        x[i] = (double)m->validations[i].update;
        y[i] = c->validation(&m->validations[i]);
    }
    return (chart_series){.name = c->progress ? "validation" : "last",
                          .x = x,
                          .y = y,
                          .count = m->validation_count,
                          .marks = true};
}

static void write_curve(FILE *out, const metrics *m, const curve *c, double *room) {
    chart_series series[2] = {{.name = "training"}};
    if (c->progress) series[0] = progress_series(m, c, room);
    if (c->validation) series[1] = validation_series(m, c, room + 2 * m->progress_count);
    chart_write(out, &(chart){.title = c->title,
                              .series = series,
                              .count = 2,
                              .logarithmic = c->logarithmic,
                              .from_zero = c->from_zero});
}

// Without memory the page has no curves.
static void write_curves(FILE *out, const metrics *m) {
    double *room = malloc((m->progress_count + m->validation_count) * 2 * sizeof *room + 1);
    if (!room) return;
    for (size_t i = 0; i < sizeof curves / sizeof *curves; i++) {
        write_curve(out, m, &curves[i], room);
    }
    free(room);
}

// ---- tables -------------------------------------------------------------------------------------

static void write_cell(FILE *out, const char *format, double value) {
    fputs("<td>", out);
    if (isfinite(value)) fprintf(out, format, value);
    fputs("</td>", out);
}

// The newest rows, and those that were the best, tell all.
static void write_validations(FILE *out, const metrics *m) {
    enum { ROWS = 200 };
    if (m->validation_count == 0) return;
    fputs("<h2>Validations</h2>\n<div class=\"wide\"><table class=\"numbers\">\n"
          "<tr><th>update</th><th>epoch</th><th>loss</th><th>perplexity</th><th>BLEU</th>"
          "<th></th></tr>\n",
          out);
    for (size_t i = m->validation_count; i-- > 0;) {
        const clf_train_validation *v = &m->validations[i];
        if (m->validation_count - i > ROWS && !v->best) continue;
        fprintf(out, "<tr><td>%llu</td><td>%llu</td>", (unsigned long long)v->update,
                (unsigned long long)v->epoch);
        write_cell(out, "%.4f", v->loss);
        write_cell(out, "%.2f", exp(v->nll));
        write_cell(out, "%.2f", v->bleu);
        fprintf(out, "<td>%s</td></tr>\n", v->best ? "best so far" : "");
    }
    fputs("</table></div>\n", out);
}

static void write_plan(FILE *out, const clf_train_plan *plan) {
    fprintf(out, "<tr><th>model</th><td>%.2f million parameters</td></tr>\n",
            (double)plan->parameters * 1e-6);
    fprintf(out,
            "<tr><th>text</th><td>%llu pairs, %llu + %llu tokens; left out: %llu too long, %llu "
            "empty</td></tr>\n",
            (unsigned long long)plan->pairs, (unsigned long long)plan->source_tokens,
            (unsigned long long)plan->target_tokens, (unsigned long long)plan->too_long,
            (unsigned long long)plan->empty);
    fprintf(out,
            "<tr><th>device memory</th><td>%.0f MiB of parameters, gradients and moments, %.0f MiB "
            "of activations</td></tr>\n",
            (double)plan->state_bytes / 0x1p20, (double)plan->activation_bytes / 0x1p20);
    fprintf(out,
            "<tr><th>training</th><td>%llu updates; batches of at most %d tokens on each of %d "
            "device%s</td></tr>\n",
            (unsigned long long)plan->updates, plan->batch_tokens, plan->ranks,
            plan->ranks == 1 ? "" : "s");
}

static void write_recipe(FILE *out, const report *r) {
    fputs("<section>\n<b>Recipe</b>\n<table>\n<tr><th>command</th><td><code>", out);
    write_text(out, r->command);
    fputs("</code></td></tr>\n<tr><th>device</th><td>", out);
    write_text(out, r->device);
    fputs("</td></tr>\n", out);
    write_plan(out, r->plan);
    fputs("</table>\n</section>\n", out);
}

static void write_state(FILE *out, const report *r) {
    fprintf(out, "<p class=\"state\">%s", r->state);
    if (r->last) {
        char spent[32], left[32];
        progress_format_time(r->last->seconds, spent, sizeof spent);
        progress_format_time(r->last->seconds_left, left, sizeof left);
        fprintf(out, " &middot; update %llu of %llu &middot; epoch %llu &middot; %s since the %s",
                (unsigned long long)r->last->update, (unsigned long long)r->last->updates,
                (unsigned long long)r->last->epoch, spent, "last start");
        if (r->running && isfinite(r->last->seconds_left)) fprintf(out, ", %s left", left);
        if (r->last->skipped_updates > 0) {
            fprintf(out, " &middot; %llu updates skipped",
                    (unsigned long long)r->last->skipped_updates);
        }
    }
    fputs("</p>\n", out);
}

bool report_write(const char *path, const report *r) {
    replacement new;
    if (!replacement_open(&new, path)) return false;
    FILE *out = new.file;
    fputs(head, out);
    if (r->running) fputs("<meta http-equiv=\"refresh\" content=\"30\">\n", out);
    fputs("<title>", out);
    write_text(out, r->output);
    fputs(" - clformer train</title>\n", out);
    fputs(style, out);
    fputs("</head>\n<body>\n<h1>", out);
    write_text(out, r->output);
    fputs("</h1>\n", out);
    write_state(out, r);
    fputs("<div class=\"charts\">\n", out);
    write_curves(out, r->metrics);
    write_recipe(out, r);
    fputs("</div>\n", out);
    write_validations(out, r->metrics);
    fputs("</body>\n</html>\n", out);
    return replacement_finish(&new);
}
