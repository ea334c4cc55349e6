// SPDX-License-Identifier: MIT
// What every test program shares: a main function over CUnit, paths to data, a loop over devices.
#ifndef CLF_TESTS_HARNESS_H
#define CLF_TESTS_HARNESS_H

#include <stdbool.h>

#include <CUnit/CUnit.h>

#include <clformer/device.h>

typedef struct clf_test {
    const char *name;
    void (*function)(void);
} clf_test;

// Runs the tests (those whose name contains an argument, if there are arguments) and returns the
// exit code: 0, 1 if one failed, 77 if each of them was skipped. `--bench` sets clf_test_bench.
int clf_test_main(int argc, char **argv, const char *suite, const clf_test *tests, int count);
#define CLF_TEST_MAIN(suite, tests)                                                                \
    int main(int argc, char **argv) {                                                              \
        return clf_test_main(argc, argv, suite, tests, (int)(sizeof(tests) / sizeof *(tests)));    \
    }

extern bool clf_test_bench; // time the operation as well

// Says why the current test does not apply here.
void clf_test_skip(const char *reason);

// The path of a file or directory beside the project that may be absent (large models, corpora),
// NULL if it is; then the test should skip. Valid until the next call.
const char *clf_test_shared(const char *name);
// The path of a file in tests/golden/. Valid until the next call.
const char *clf_test_golden(const char *name);
// A fresh directory that the harness removes at exit. Valid for the whole run.
const char *clf_test_directory(void);

// Fails the test with clf_last_error() unless the status is CLF_OK.
#define CLF_ASSERT_OK(expression) clf_test_ok((expression), #expression, __FILE__, __LINE__)
bool clf_test_ok(clf_status status, const char *expression, const char *file, int line);

// Calls `function` with every usable device, in each kernel shape ("cpu", "gpu"). A device that
// does not open fails the test; no device at all skips it.
void clf_test_each_device(void (*function)(clf_device *device));

#endif
