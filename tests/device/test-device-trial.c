// SPDX-License-Identifier: MIT
// Trials of variants in another process, which is this program again: whatever ends it, the outcome
// is known, and remembered if it says something about the variant.
#include <clformer/log.h>

#include "harness.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "device/trial.h"

// ---- the other process --------------------------------------------------------------------------

#define TRIAL "--trial" // TRIAL FILE SELECTOR VARIANT: adds a line to the file, and does as told

static int act(char **argv) {
    const char *variant = argv[4];
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    FILE *file = fopen(argv[2], "a");
    if (!file || fprintf(file, "%s %s\n", argv[3], variant) < 0 || fclose(file) != 0) return 3;
    if (getchar() != EOF || puts("the reader of standard output must not see this") < 0) return 4;
    if (strcmp(variant, "passes") == 0) return 0;
    if (strcmp(variant, "crashes") == 0) raise(SIGSEGV);
    if (strcmp(variant, "is-illegal") == 0) raise(SIGILL);
    if (strcmp(variant, "is-ended") == 0) raise(SIGTERM);
    while (strcmp(variant, "hangs") == 0) sleep(1);
    return 1;
}

// ---- this one -----------------------------------------------------------------------------------

static const char *program;
static char selector[32];
static char started[4096]; // the file with a line for each trial
static struct { int tried, warnings; } logged;

static void count_logs(void *user, clf_log_level level, const char *message) {
    (void)user;
    if (level == CLF_LOG_DEBUG && strncmp(message, "tried ", 6) == 0) logged.tried++;
    if (level == CLF_LOG_WARNING) logged.warnings++;
}

// Begins anew: no trial yet, and a cache directory without any.
static void begin(char directory[4096]) {
    static int number;
    snprintf(started, sizeof started, "%s/started%d", clf_test_directory(), number);
    snprintf(directory, 4096, "%s/cache%d", clf_test_directory(), number++);
    memset(&logged, 0, sizeof logged);
}

static clf_device *open_with(const char *directory, const char *command) {
    const char *const words[] = {command, TRIAL, started, NULL};
    const clf_device_options options = {
        .select = selector, .cache_dir = directory, .trial_command = command ? words : NULL};
    clf_device *device = NULL;
    CLF_ASSERT_OK(clf_device_open(&options, &device));
    CU_ASSERT_FATAL(device != NULL);
    return device;
}

// What clf_trial_passed says on a device that was just opened, twice.
static bool ask(const char *directory, const char *command, const char *variant) {
    clf_device *device = open_with(directory, command);
    bool passed = clf_trial_passed(device, variant);
    CU_ASSERT_EQUAL(clf_trial_passed(device, variant), passed);
    clf_device_close(device);
    return passed;
}

static bool did_start(const char *expected) {
    char *text = NULL;
    size_t size;
    if (!clf_file_exists(started)) return !*expected;
    if (!CLF_ASSERT_OK(clf_file_read(started, 1 << 16, &text, &size))) return false;
    bool same = strcmp(text, expected) == 0;
    if (!same) fprintf(stderr, "\nstarted:\n%sexpected:\n%s", text, expected);
    free(text);
    return same;
}

// The path of the file of outcomes, freed by free(); NULL if there is none.
static char *find_file(const char *directory) {
    char command[8192], path[4096] = "";
    snprintf(command, sizeof command, "ls %s/trials-*.json 2>/dev/null", directory);
    FILE *list = popen(command, "r");
    if (list && fgets(path, sizeof path, list)) path[strcspn(path, "\n")] = '\0';
    if (list) pclose(list);
    return *path ? strdup(path) : NULL;
}

// ---- how trials end -----------------------------------------------------------------------------

static void check_ends(void) {
    static const struct {
        const char *variant;
        double limit;
        clf_trial_outcome outcome;
    } cases[] = {
        {"passes", 60, CLF_TRIAL_PASSED},  {"fails", 60, CLF_TRIAL_FAILED},
        {"crashes", 60, CLF_TRIAL_FAILED}, {"is-illegal", 60, CLF_TRIAL_FAILED},
        {"hangs", 0.3, CLF_TRIAL_FAILED},  {"is-ended", 60, CLF_TRIAL_UNKNOWN},
    };
    char directory[4096];
    begin(directory);
    clf_device *device = open_with("", program);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CU_ASSERT_EQUAL(clf_trial_run(device, cases[i].variant, cases[i].limit), cases[i].outcome);
        // Nobody is left behind.
        CU_ASSERT(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
    }
    CU_ASSERT_EQUAL(logged.tried, 6);
    CU_ASSERT_EQUAL(logged.warnings, 0);
    clf_device_close(device);
}

// A program that lets the system wait for its children still gets no wrong answer.
static void check_lost(void) {
    char directory[4096];
    begin(directory);
    clf_device *device = open_with("", program);
    signal(SIGCHLD, SIG_IGN);
    CU_ASSERT_EQUAL(clf_trial_run(device, "passes", 60), CLF_TRIAL_UNKNOWN);
    signal(SIGCHLD, SIG_DFL);
    CU_ASSERT_EQUAL(logged.warnings, 1);
    clf_device_close(device);
}

static void check_missing(void) {
    char directory[4096];
    begin(directory);
    clf_device *device = open_with(directory, "/nowhere/program");
    CU_ASSERT_FALSE(clf_trial_passed(device, "passes"));
    CU_ASSERT_FALSE(clf_trial_passed(device, "fails"));
    CU_ASSERT_EQUAL(logged.warnings, 1);
    clf_device_close(device);
    CU_ASSERT_PTR_NULL(find_file(directory));
    CU_ASSERT_TRUE(ask(directory, program, "passes"));
}

// ---- what is remembered -------------------------------------------------------------------------

static void check_memory(void) {
    char directory[4096], expected[256];
    begin(directory);
    CU_ASSERT_FALSE(ask(directory, NULL, "passes"));
    CU_ASSERT_TRUE(ask(directory, program, "passes"));
    CU_ASSERT_FALSE(ask(directory, program, "crashes"));
    CU_ASSERT_TRUE(ask(directory, program, "passes"));
    CU_ASSERT_FALSE(ask(directory, program, "crashes"));
    CU_ASSERT_TRUE(ask(directory, NULL, "passes"));
    CU_ASSERT_FALSE(ask(directory, NULL, "crashes"));
    // What something else ended is tried again by the next process.
    CU_ASSERT_FALSE(ask(directory, program, "is-ended"));
    CU_ASSERT_FALSE(ask(directory, program, "is-ended"));
    snprintf(expected, sizeof expected, "%1$s passes\n%1$s crashes\n%1$s is-ended\n%1$s is-ended\n",
             selector);
    CU_ASSERT_TRUE(did_start(expected));
    CU_ASSERT_EQUAL(logged.tried, 4);
    CU_ASSERT_EQUAL(logged.warnings, 0);
}

// Without a place on disk an outcome lives as long as the device is open.
static void check_no_cache(void) {
    char directory[4096], expected[256];
    begin(directory);
    CU_ASSERT_TRUE(ask("", program, "passes"));
    CU_ASSERT_TRUE(ask("", program, "passes"));
    clf_device *device = open_with(directory, program);
    CU_ASSERT_EQUAL(rmdir(directory), 0);
    CU_ASSERT_TRUE(clf_trial_passed(device, "passes"));
    CU_ASSERT_FALSE(clf_trial_passed(device, "fails"));
    CU_ASSERT_TRUE(clf_trial_passed(device, "passes"));
    clf_device_close(device);
    CU_ASSERT_EQUAL(logged.warnings, 1);
    snprintf(expected, sizeof expected, "%1$s passes\n%1$s passes\n%1$s passes\n%1$s fails\n",
             selector);
    CU_ASSERT_TRUE(did_start(expected));
}

static void check_damage(void) {
    static const char *const damaged[] = {
        "",
        "{",
        "[]",
        "{\"format\": 1}",
        "{\"format\": 2, \"variants\": {\"passes\": false}}",
        "{\"format\": 1, \"variants\": [\"passes\"]}",
        "{\"format\": 1, \"variants\": {\"passes\": false, \"other\": 1}}",
        "{\"format\": 1, \"variants\": {\"a name that is longer than any may be\": true}}",
    };
    char directory[4096];
    begin(directory);
    CU_ASSERT_TRUE(ask(directory, program, "passes"));
    char *path = find_file(directory);
    CU_ASSERT_PTR_NOT_NULL_FATAL(path);
    for (int i = 0; i < (int)(sizeof damaged / sizeof *damaged); i++) {
        CLF_ASSERT_OK(clf_file_write(path, damaged[i], strlen(damaged[i])));
        CU_ASSERT_TRUE(ask(directory, program, "passes"));
        CU_ASSERT_EQUAL(logged.warnings, i + 1);
        CU_ASSERT_EQUAL(logged.tried, i + 2);
        CU_ASSERT_TRUE(ask(directory, NULL, "passes")); // it is sound again
        CU_ASSERT_EQUAL(logged.warnings, i + 1);
    }
    free(path);
}

// ---- what a trial calls -------------------------------------------------------------------------

static void check_try(void) {
    clf_device *device = open_with("", NULL);
    CU_ASSERT_EQUAL(clf_device_try(device, "no such variant"), CLF_ERROR_ARGUMENT);
    CU_ASSERT_EQUAL(clf_device_try(device, ""), CLF_ERROR_ARGUMENT);
    clf_device_close(device);
}

// -------------------------------------------------------------------------------------------------

static void (*current)(void);

static void with_selector(clf_device *device) {
    clf_device_info info;
    clf_device_get_info(device, &info);
    snprintf(selector, sizeof selector, "%d:%d", info.platform_index, info.device_index);
    current();
}

static void on_each_device(void (*function)(void)) {
    current = function;
    clf_log_set(count_logs, NULL, CLF_LOG_DEBUG);
    clf_test_each_device(with_selector);
    clf_log_set(NULL, NULL, CLF_LOG_WARNING);
}

static void test_ends(void) {
    on_each_device(check_ends);
}

static void test_lost(void) {
    on_each_device(check_lost);
}

static void test_missing(void) {
    on_each_device(check_missing);
}

static void test_memory(void) {
    on_each_device(check_memory);
}

static void test_no_cache(void) {
    on_each_device(check_no_cache);
}

static void test_damage(void) {
    on_each_device(check_damage);
}

static void test_try(void) {
    on_each_device(check_try);
}

static const clf_test tests[] = {
    {"ends", test_ends},     {"lost", test_lost},         {"missing", test_missing},
    {"memory", test_memory}, {"no cache", test_no_cache}, {"damage", test_damage},
    {"try", test_try},
};

int main(int argc, char **argv) {
    if (argc == 5 && strcmp(argv[1], TRIAL) == 0) return act(argv);
    program = argv[0];
    return clf_test_main(argc, argv, "device-trial", tests, (int)(sizeof tests / sizeof *tests));
}
