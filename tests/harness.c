// SPDX-License-Identifier: MIT
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <CUnit/Basic.h>

#include <clformer/log.h>

#include "base/file.h"

bool clf_test_bench;
static int skipped;

static void log_line(void *user, clf_log_level level, const char *message) {
    (void)user;
    (void)level;
    fprintf(stderr, "clformer: %s\n", message);
}

static bool wanted(int argc, char **argv, const char *name) {
    bool filtered = false;
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] == '-') continue;
        if (strstr(name, argv[i])) return true;
        filtered = true;
    }
    return !filtered;
}

int clf_test_main(int argc, char **argv, const char *suite, const clf_test *tests, int count) {
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--bench") == 0) clf_test_bench = true;
    }
    clf_log_set(log_line, NULL, CLF_LOG_WARNING);
    if (CU_initialize_registry() != CUE_SUCCESS) return 1;
    CU_pSuite cu_suite = CU_add_suite(suite, NULL, NULL);
    for (int i = 0; i < count; i++) {
        if (wanted(argc, argv, tests[i].name)) {
            CU_add_test(cu_suite, tests[i].name, tests[i].function);
        }
    }
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    int failed = (int)CU_get_number_of_tests_failed();
    int run = (int)CU_get_number_of_tests_run();
    CU_cleanup_registry();
    if (failed > 0 || run == 0) return 1;
    return skipped == run ? 77 : 0;
}

void clf_test_skip(const char *reason) {
    printf("skipped: %s ", reason);
    skipped++;
}

const char *clf_test_shared(const char *name) {
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", CLF_TEST_SHARED, name);
    return clf_file_exists(path) ? path : NULL;
}

const char *clf_test_golden(const char *name) {
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", CLF_TEST_GOLDEN, name);
    return path;
}

static char directory[] = "/tmp/clformer-test-XXXXXX";

static void remove_directory(void) {
    char command[sizeof directory + 16];
    snprintf(command, sizeof command, "rm -rf '%s'", directory);
    if (system(command) != 0) fprintf(stderr, "%s stays behind\n", directory);
}

const char *clf_test_directory(void) {
    static bool made;
    if (!made && mkdtemp(directory)) {
        made = true;
        atexit(remove_directory);
    }
    return directory;
}

bool clf_test_ok(clf_status status, const char *expression, const char *file, int line) {
    if (status != CLF_OK) {
        fprintf(stderr, "\n%s:%d: %s: %s\n", file, line, expression, clf_last_error());
    }
    CU_assertImplementation(status == CLF_OK, (unsigned)line, expression, file, "", CU_FALSE);
    return status == CLF_OK;
}
