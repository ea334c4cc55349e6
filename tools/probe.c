// SPDX-License-Identifier: MIT
// clformer probe: what the OpenCL devices can do, and whether clformer runs on them.
#include "command.h"
#include "probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct probe_options {
    common_options common;
    bool json, tune;
    float seconds, tune_seconds;
} probe_options;

#define AT(member) offsetof(probe_options, member)

static const option_row options[] = {
    {"json", 'j', OPTION_FLAG, AT(json), NULL, "print JSON (docs/probe-json.md) instead of text"},
    {"tune", 't', OPTION_FLAG, AT(tune), NULL, "look for faster settings and keep them"},
    {"tune-seconds", 0, OPTION_FLOAT, AT(tune_seconds), "N", "about how long (default: 60)"},
    {"seconds", 's', OPTION_FLOAT, AT(seconds), "N",
     "for each kind of matrix product (default: 20)"},
    COMMON_OPTIONS,
    {0},
};

static int run_probe(int argc, char **argv);

const command command_probe = {
    .name = "probe",
    .summary = "Measures what the OpenCL devices can do and checks that clformer runs on them.",
    .usage = "[options]",
    .details =
        "Without --device every device is probed, best first. Matrix products and operations are\n"
        "compared with the host. --tune writes a tuning file that translate uses from then on.\n"
        "The exit code is 1 if clformer runs on none of the devices.",
    .options = options,
    .run = run_probe,
};

// ---- progress -----------------------------------------------------------------------------------

static int on_progress(void *user, double share, const char *what) {
    if (isatty(STDERR_FILENO)) {
        fprintf(stderr, "\r%3.0f%%  %s: %s\033[K", share * 100, (const char *)user, what);
        fflush(stderr);
    }
    return interrupted();
}

static void clear_progress(void) {
    if (isatty(STDERR_FILENO)) fputs("\r\033[K", stderr);
}

// ---- devices ------------------------------------------------------------------------------------

static void note_error(probe_report *report, clf_status status) {
    const char *message = clf_last_error();
    snprintf(report->error, sizeof report->error, "%s",
             *message ? message : clf_status_text(status));
}

// A device that cannot be opened or probed is part of the report; only cancellation ends the
// command.
static clf_status probe_one(const probe_options *given, const char *select, probe_report *report) {
    common_options common = given->common;
    clf_device *device = NULL;
    common.device = select;
    clf_status status = open_device(&common, &device);
    if (status != CLF_OK) {
        note_error(report, status);
        return CLF_OK;
    }
    clf_device_get_info(device, &report->info);
    const clf_probe_options wanted = {.tune = given->tune,
                                      .tune_seconds = given->tune_seconds,
                                      .product_seconds = given->seconds,
                                      .progress = on_progress,
                                      .user = report->info.name};
    status = clf_probe_device(device, &wanted, &report->probe);
    clear_progress();
    if (status != CLF_OK) note_error(report, status);
    close_device(&common, device);
    return status == CLF_ERROR_CANCELLED ? status : CLF_OK;
}

static clf_status probe_each(const probe_options *given, probe_report *reports, size_t count) {
    for (size_t i = 0; i < count; i++) {
        char select[32];
        const clf_device_info *info = &reports[i].info;
        snprintf(select, sizeof select, "%d:%d", info->platform_index, info->device_index);
        clf_status status =
            probe_one(given, given->common.device ? given->common.device : select, &reports[i]);
        if (status != CLF_OK) return status;
        if (!reports[i].info.name[0]) complain("%s", reports[i].error); // no such device
        if (given->json || !reports[i].info.name[0]) continue;
        if (i > 0) putchar('\n');
        probe_print_text(stdout, &reports[i]);
        fflush(stdout);
    }
    return CLF_OK;
}

// One report for each device that is to be probed. NULL after a message.
static probe_report *list_reports(const probe_options *given, size_t *count) {
    clf_device_info *devices;
    clf_status status = clf_device_list(&devices, count);
    if (status != CLF_OK) {
        complain_status(status);
        return NULL;
    }
    const bool one = given->common.device;
    if (*count == 0) complain("there is no OpenCL device");
    if (*count == 0 && given->json) puts("[]");
    probe_report *reports = *count > 0 ? calloc(one ? 1 : *count, sizeof *reports) : NULL;
    if (one && *count > 0) *count = 1;
    for (size_t i = 0; i < *count && reports && !one; i++) reports[i].info = devices[i];
    clf_device_list_free(devices);
    return reports;
}

static int run_probe(int argc, char **argv) {
    probe_options given = {0};
    size_t count, running = 0;
    int code;
    if (!parse_options(&command_probe, &given, &argc, &argv, &code)) return code;
    if (argc > 0 || given.seconds < 0 || given.tune_seconds < 0) {
        complain("%s; see clformer probe --help",
                 argc > 0 ? "probe takes no file" : "seconds must not be negative");
        return EXIT_USAGE;
    }
    catch_interrupts();
    probe_report *reports = list_reports(&given, &count);
    if (!reports) return EXIT_FAILED;
    clf_status status = probe_each(&given, reports, count);
    if (status != CLF_OK) {
        code = complain_status(status);
    } else {
        if (given.json && !probe_print_json(stdout, reports, count)) complain("out of memory");
        for (size_t i = 0; i < count; i++) {
            running += reports[i].probe && reports[i].probe->runs;
        }
        code = running > 0 ? EXIT_OK : EXIT_FAILED;
        if (fflush(stdout) != 0 || ferror(stdout)) code = complain_output();
    }
    for (size_t i = 0; i < count; i++) clf_probe_free(reports[i].probe);
    free(reports);
    return code;
}
