// SPDX-License-Identifier: MIT
#include "chart.h"

#include <math.h>
#include <stdlib.h>

// The drawing in its own units; the page scales it.
enum { WIDTH = 560, HEIGHT = 260, LEFT = 58, RIGHT = 20, TOP = 10, BOTTOM = 26 };

// One axis: values from `low` to `high` are drawn from pixel `from` to pixel `to`.
typedef struct axis {
    double low, high, from, to;
    bool logarithmic;
} axis;

static double place(const axis *a, double value) {
    double share = a->logarithmic ? log(value / a->low) / log(a->high / a->low)
                                  : (value - a->low) / (a->high - a->low);
    return a->from + share * (a->to - a->from);
}

static bool drawable(const axis *y, double value) {
    return isfinite(value) && (!y->logarithmic || value > 0);
}

// The largest of 1, 2, 5 times a power of ten that is at most `value`.
static double round_step(double value) {
    double power = pow(10, floor(log10(value))), digit = value / power;
    return power * (digit >= 5 ? 5 : digit >= 2 ? 2 : 1);
}

// "12,345", "0.00045", "3.21"
static void write_number(FILE *out, double value) {
    double size = fabs(value);
    if (size >= 1e7 || (size > 0 && size < 1e-3)) {
        fprintf(out, "%.3g", value);
    } else if (size >= 9999.5) {
        long whole = lround(value);
        fprintf(out, "%ld,%03ld", whole / 1000, labs(whole) % 1000);
    } else {
        fprintf(out, "%.4g", value);
    }
}

// ---- axes ---------------------------------------------------------------------------------------

static bool find_range(const chart *chart, axis *x, axis *y) {
    x->low = y->low = INFINITY;
    x->high = y->high = -INFINITY;
    for (int s = 0; s < chart->count; s++) {
        const chart_series *line = &chart->series[s];
        for (size_t i = 0; i < line->count; i++) {
            if (!drawable(y, line->y[i])) continue;
            x->low = fmin(x->low, line->x[i]);
            x->high = fmax(x->high, line->x[i]);
            y->low = fmin(y->low, line->y[i]);
            y->high = fmax(y->high, line->y[i]);
        }
    }
    if (x->low > x->high) return false;
    x->low = 0;
    if (x->high <= 0) x->high = 1;
    if (chart->from_zero) y->low = fmin(0, y->low);
    if (y->logarithmic) {
        y->low /= 1.05;
        y->high *= 1.05;
    } else {
        // Numbers that differ in their last digits only count as one.
        double span = y->high - y->low, size = fmax(fabs(y->low), fabs(y->high));
        double room = span > 1e-6 * size ? 0.04 * span : fmax(0.5, size / 2);
        y->high += room;
        if (!chart->from_zero) y->low -= room;
    }
    return true;
}

static void write_tick(FILE *out, const axis *a, double value, bool vertical) {
    double at = place(a, value);
    if (vertical) {
        fprintf(out,
                "<path class=\"grid\" d=\"M%d %.1fH%d\"/><text x=\"%d\" y=\"%.1f\" class=\"y\">",
                LEFT, at, WIDTH - RIGHT, LEFT - 6, at + 4);
    } else {
        fprintf(out, "<text x=\"%.1f\" y=\"%d\" class=\"x\">", at, HEIGHT - 8);
    }
    write_number(out, value);
    fputs("</text>\n", out);
}

// Powers of ten, and their double and fivefold where there are few.
static void write_logarithmic_ticks(FILE *out, const axis *a) {
    double decades = log10(a->high / a->low);
    int every = 1 + (int)(decades / 6);
    for (int power = (int)floor(log10(a->low)); pow(10, power) <= a->high; power++) {
        for (int digit = 1; digit < 10; digit++) {
            double value = digit * pow(10, power);
            bool wanted = digit == 1                 ? power % every == 0
                          : digit == 2 || digit == 5 ? decades < 2.5
                                                     : decades < 0.7;
            if (wanted && value >= a->low && value <= a->high) write_tick(out, a, value, true);
        }
    }
}

static void write_ticks(FILE *out, const axis *a, bool vertical) {
    double step = round_step((a->high - a->low) / 4);
    if (!vertical && step < 1) step = 1; // updates are counted
    for (double tick = ceil(a->low / step); tick * step <= a->high; tick++) {
        write_tick(out, a, tick * step, vertical);
    }
}

// ---- lines --------------------------------------------------------------------------------------

// Points are averaged in groups of `group`.
static void write_line(FILE *out, const chart_series *line, const axis *x, const axis *y) {
    size_t group = line->count / CHART_POINTS + 1;
    bool open = false;
    fputs("<path class=\"line\" d=\"", out);
    for (size_t i = 0; i < line->count; i += group) {
        double at = 0, value = 0, have = 0;
        for (size_t k = i; k < i + group && k < line->count; k++) {
            if (!drawable(y, line->y[k])) continue;
            at += line->x[k];
            value += line->y[k];
            have++;
        }
        if (have > 0) {
            fprintf(out, "%c%.1f %.1f", open ? 'L' : 'M', place(x, at / have),
                    place(y, value / have));
        }
        open = have > 0;
    }
    fputs("\"/>\n", out);
}

static void write_marks(FILE *out, const chart_series *line, const axis *x, const axis *y) {
    size_t from = line->count > CHART_POINTS ? line->count - CHART_POINTS : 0;
    for (size_t i = from; i < line->count; i++) {
        if (!drawable(y, line->y[i])) continue;
        fprintf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\"><title>", place(x, line->x[i]),
                place(y, line->y[i]));
        fprintf(out, "update %.0f: %.5g</title></circle>\n", line->x[i], line->y[i]);
    }
}

static void write_caption(FILE *out, const chart *chart) {
    fprintf(out, "<figure>\n<figcaption><b>%s</b>", chart->title);
    for (int s = 0; s < chart->count; s++) {
        const chart_series *line = &chart->series[s];
        size_t last = line->count;
        while (last > 0 && !isfinite(line->y[last - 1])) last--;
        if (last == 0) continue;
        fprintf(out, " <span><i class=\"s%d\"></i>%s ", s, line->name);
        write_number(out, line->y[last - 1]);
        fputs("</span>", out);
    }
    fputs("</figcaption>\n", out);
}

void chart_write(FILE *out, const chart *chart) {
    axis x = {.from = LEFT, .to = WIDTH - RIGHT};
    axis y = {.from = HEIGHT - BOTTOM, .to = TOP, .logarithmic = chart->logarithmic};
    if (!find_range(chart, &x, &y)) return;
    write_caption(out, chart);
    fprintf(out, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">\n", WIDTH, HEIGHT,
            chart->title);
    if (y.logarithmic) {
        write_logarithmic_ticks(out, &y);
    } else {
        write_ticks(out, &y, true);
    }
    write_ticks(out, &x, false);
    fprintf(out, "<text x=\"%d\" y=\"%d\" class=\"y\">update</text>\n", LEFT - 12, HEIGHT - 8);
    for (int s = 0; s < chart->count; s++) {
        fprintf(out, "<g class=\"s%d\">\n", s);
        write_line(out, &chart->series[s], &x, &y);
        if (chart->series[s].marks) write_marks(out, &chart->series[s], &x, &y);
        fputs("</g>\n", out);
    }
    fputs("</svg>\n</figure>\n", out);
}
