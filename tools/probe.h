// SPDX-License-Identifier: MIT
// What `clformer probe` found on one device, and the two ways to print it.
#ifndef CLF_TOOLS_PROBE_H
#define CLF_TOOLS_PROBE_H

#include <stdbool.h>
#include <stdio.h>

#include <clformer/clformer.h>

typedef struct probe_report {
    clf_device_info info;
    clf_probe *probe; // NULL if the device could not be opened
    char error[512];  // then why
} probe_report;

// For people, at most 100 columns.
void probe_print_text(FILE *out, const probe_report *report);
// For programs: an array with an object per report (docs/probe-json.md). False if memory is short.
bool probe_print_json(FILE *out, const probe_report *reports, size_t count);

#endif
