// SPDX-License-Identifier: MIT
#include "command.h"

#include <errno.h>
#include <float.h>
#include <getopt.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// ---- messages -----------------------------------------------------------------------------------

void complain(const char *format, ...) {
    va_list arguments;
    fputs("clformer: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

int complain_status(clf_status status) {
    if (status == CLF_ERROR_CANCELLED && interrupted()) return EXIT_INTERRUPTED;
    const char *message = clf_last_error();
    complain("%s", *message ? message : clf_status_text(status));
    return status == CLF_ERROR_ARGUMENT ? EXIT_USAGE : EXIT_FAILED;
}

int complain_output(void) {
    if (errno == EPIPE) return EXIT_PIPE; // the reader has seen enough
    complain("standard output: cannot write: %s", strerror(errno));
    return EXIT_FAILED;
}

static void log_line(void *user, clf_log_level level, const char *message) {
    (void)user;
    fprintf(stderr, "clformer: %s%s\n", level == CLF_LOG_WARNING ? "warning: " : "", message);
}

void show_log(bool verbose) {
    clf_log_set(log_line, NULL, verbose ? CLF_LOG_DEBUG : CLF_LOG_WARNING);
}

// ---- options ------------------------------------------------------------------------------------

static void print_option(const option_row *row) {
    enum { COLUMN = 28 };
    char left[96], letter[8] = "    ";
    if (row->letter) snprintf(letter, sizeof letter, "-%c, ", row->letter);
    snprintf(left, sizeof left, "%s--%s%s%s", letter, row->name, row->argument ? " " : "",
             row->argument ? row->argument : "");
    bool fits = strlen(left) <= COLUMN;
    printf("  %-*s%s%s\n", COLUMN, left, fits ? " " : "\n                               ",
           row->help);
}

static void print_help(const command *command) {
    printf("usage: clformer %s %s\n\n%s\n\n", command->name, command->usage, command->summary);
    if (command->details) printf("%s\n\n", command->details);
    if (command->options->kind != OPTION_GROUP) puts("options:");
    for (const option_row *row = command->options; row->name; row++) {
        if (row->kind == OPTION_GROUP) {
            printf("%s%s:\n", row == command->options ? "" : "\n", row->help);
        } else {
            print_option(row);
        }
    }
}

static bool store_int64(const char *text, int64_t *value) {
    char *end;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (end == text || *end || errno) return false;
    *value = number;
    return true;
}

static bool store_int(const char *text, int *value) {
    int64_t number;
    if (!store_int64(text, &number) || number < INT_MIN || number > INT_MAX) return false;
    *value = (int)number;
    return true;
}

static bool store_double(const char *text, double *value) {
    char *end;
    double number = strtod(text, &end);
    if (end == text || *end || !isfinite(number)) return false;
    *value = number;
    return true;
}

static bool store_float(const char *text, float *value) {
    double number;
    if (!store_double(text, &number) || fabs(number) > FLT_MAX) return false;
    *value = (float)number;
    return true;
}

static bool is_choice(const option_row *row) {
    return row->argument && strchr(row->argument, '|');
}

static bool choose(const option_row *row, const char *text, int *value) {
    size_t size = strlen(text);
    int place = 0;
    for (const char *at = row->argument; at; place++) {
        if (strcspn(at, "|") == size && strncmp(at, text, size) == 0) {
            *value = place;
            return true;
        }
        at = strchr(at, '|');
        if (at) at++;
    }
    return false;
}

static bool store(const option_row *row, void *values, const char *text) {
    void *place = (char *)values + row->offset;
    int unused;
    switch (row->kind) {
    case OPTION_FLAG: *(bool *)place = true; return true;
    case OPTION_STRING:
        *(const char **)place = text;
        return !is_choice(row) || choose(row, text, &unused);
    case OPTION_INT: return store_int(text, place);
    case OPTION_INT64: return store_int64(text, place);
    case OPTION_FLOAT: return store_float(text, place);
    case OPTION_DOUBLE: return store_double(text, place);
    case OPTION_CHOICE: return choose(row, text, place);
    default: return false;
    }
}

enum { MAX_OPTIONS = 96, FIRST_LONG = 256 };

// getopt tells a short option by its letter, which may stand among others: -qZ.
static void complain_option(const char *argument, const char *command) {
    char letter[] = {'-', (char)optopt, '\0'};
    bool is_short = optopt > 0 && optopt < FIRST_LONG;
    complain("unknown option %s; see clformer %s --help", is_short ? letter : argument, command);
}

bool parse_options(const command *command, void *values, int *argc, char ***argv, int *code) {
    struct option long_options[MAX_OPTIONS + 1] = {0};
    char letters[2 * MAX_OPTIONS + 2] = ":", *letter = letters + 1;
    for (int i = 0, used = 0; command->options[i].name && i < MAX_OPTIONS; i++) {
        const option_row *row = &command->options[i];
        if (row->kind == OPTION_GROUP) continue;
        long_options[used++] =
            (struct option){row->name, row->kind == OPTION_FLAG ? no_argument : required_argument,
                            NULL, FIRST_LONG + i};
        if (row->letter) *letter++ = row->letter;
        if (row->letter && row->kind != OPTION_FLAG) *letter++ = ':';
    }
    *code = EXIT_USAGE;
    optind = 1;
    opterr = 0;
    for (int got; (got = getopt_long(*argc, *argv, letters, long_options, NULL)) != -1;) {
        const option_row *row = NULL;
        for (int i = 0; command->options[i].name; i++) {
            if (got == FIRST_LONG + i || got == command->options[i].letter) {
                row = &command->options[i];
            }
        }
        if (got == ':') {
            complain("%s needs a value; see clformer %s --help", (*argv)[optind - 1],
                     command->name);
            return false;
        }
        if (!row) {
            complain_option((*argv)[optind - 1], command->name);
            return false;
        }
        if (!store(row, values, optarg)) {
            complain("--%s %s: %s%s", row->name, optarg, is_choice(row) ? "use " : "not a number",
                     is_choice(row) ? row->argument : "");
            return false;
        }
    }
    *argc -= optind;
    *argv += optind;
    if (((const common_options *)values)->help) {
        print_help(command);
        *code = EXIT_OK;
        return false;
    }
    return true;
}

// ---- the device ---------------------------------------------------------------------------------

const char *program;

// The path of this program, which need not be what it was called; false if it is not known.
static bool find_program(char *path, size_t size) {
    ssize_t length = readlink("/proc/self/exe", path, size);
    if (length > 0 && (size_t)length < size) {
        path[length] = '\0';
        return true;
    }
    return program && strchr(program, '/') && (size_t)snprintf(path, size, "%s", program) < size;
}

clf_status open_device(const common_options *options, clf_device **device) {
    show_log(options->verbose);
    char path[4096];
    const char *trial[] = {path, "try", NULL, NULL, NULL};
    if (options->cache_dir) {
        trial[2] = "--cache-dir";
        trial[3] = options->cache_dir;
    }
    clf_device_options wanted = {.select = options->device,
                                 .cache_dir = options->cache_dir,
                                 .trace_path = options->trace,
                                 .profile = options->profile,
                                 .gemm = options->gemm,
                                 .trial_command = find_program(path, sizeof path) ? trial : NULL};
    return clf_device_open(&wanted, device);
}

static void print_profile(clf_device *device) {
    clf_profile_entry *entries;
    size_t count;
    double total = 0;
    if (clf_device_profile_report(device, &entries, &count) != CLF_OK) {
        complain_status(CLF_ERROR_DEVICE);
        return;
    }
    for (size_t i = 0; i < count; i++) total += entries[i].seconds;
    fprintf(stderr, "%-28s %9s %11s %6s %9s %9s\n", "kernel", "calls", "ms", "%", "GB/s",
            "GFLOP/s");
    for (size_t i = 0; i < count; i++) {
        const clf_profile_entry *e = &entries[i];
        double seconds = e->seconds > 0 ? e->seconds : 1e-9;
        fprintf(stderr, "%-28s %9llu %11.3f %6.1f %9.2f %9.2f\n", e->name,
                (unsigned long long)e->calls, e->seconds * 1e3,
                total > 0 ? 100 * e->seconds / total : 0, e->bytes / seconds / 1e9,
                e->flops / seconds / 1e9);
    }
    fprintf(stderr, "%-28s %9s %11.3f\n", "total", "", total * 1e3);
    free(entries);
}

void close_device(const common_options *options, clf_device *device) {
    if (device && options->profile) print_profile(device);
    clf_device_close(device);
}

// ---- interruption -------------------------------------------------------------------------------

static volatile sig_atomic_t interrupt_flag;

static void on_interrupt(int number) {
    interrupt_flag = 1;
    signal(number, SIG_DFL);
}

void catch_interrupts(void) {
    struct sigaction action = {.sa_handler = on_interrupt}; // no SA_RESTART: reads return
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN); // a closed pipe is seen as a failed write
}

bool interrupted(void) {
    return interrupt_flag;
}
