// SPDX-License-Identifier: MIT
// Line charts as SVG, for a page whose style sheet gives the colours.
#ifndef CLF_TOOLS_CHART_H
#define CLF_TOOLS_CHART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

typedef struct chart_series {
    const char *name;
    const double *x, *y; // x rises; a y that is not finite breaks the line
    size_t count;
    bool marks; // a dot at each point, which tells its numbers when pointed at
} chart_series;

enum { CHART_POINTS = 1000 }; // of a line at most; more are averaged

typedef struct chart {
    const char *title;
    const chart_series *series; // drawn in the classes "s0", "s1", ...
    int count;
    bool logarithmic; // the y axis, for positive numbers
    bool from_zero;   // the y axis begins at 0
} chart;

// Writes a <figure>: the title, each line's name and last number, the drawing. Nothing if there is
// nothing to draw.
void chart_write(FILE *out, const chart *chart);

#endif
