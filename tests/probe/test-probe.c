// SPDX-License-Identifier: MIT
// The probe of every device, and both ways of printing a probe.
#include "harness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "../tools/probe.h"

// ---- printing -----------------------------------------------------------------------------------

static char *print(const probe_report *report, bool json) {
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    CU_ASSERT_PTR_NOT_NULL_FATAL(out);
    if (json) {
        CU_ASSERT_TRUE(probe_print_json(out, report, 1));
    } else {
        probe_print_text(out, report);
    }
    fclose(out);
    return text;
}

static void check_text(const probe_report *report, const char *expected) {
    char *text = print(report, false);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, expected));
    for (const char *line = text; *line;) {
        const size_t length = strcspn(line, "\n");
        if (length > 100) fprintf(stderr, "\n%zu columns: %.*s\n", length, (int)length, line);
        CU_ASSERT_TRUE(length <= 100);
        CU_ASSERT_TRUE(length == 0 || line[length - 1] != ' ');
        for (size_t i = 0; i < length; i++) CU_ASSERT_TRUE((unsigned char)line[i] >= ' ');
        line += length + (line[length] == '\n');
    }
    free(text);
}

// The report's object, freed by the caller; NULL if it is not what the documentation promises.
static cJSON *parse(const probe_report *report) {
    char *text = print(report, true);
    cJSON *array = cJSON_Parse(text);
    cJSON *object = cJSON_DetachItemFromArray(array, 0);
    CU_ASSERT_EQUAL(cJSON_GetNumberValue(cJSON_GetObjectItem(object, "schema")), 1);
    CU_ASSERT_STRING_EQUAL(
        cJSON_GetStringValue(cJSON_GetObjectItem(cJSON_GetObjectItem(object, "device"), "name")),
        report->info.name);
    cJSON_Delete(array);
    free(text);
    return object;
}

// ---- real devices -------------------------------------------------------------------------------

// CLBlast may be wrong somewhere, which clformer then does not use; its own kernel may not.
static void check_products(const clf_probe_products *products) {
    CU_ASSERT_TRUE(products->measured);
    CU_ASSERT_STRING_EQUAL(products->error, "");
    for (int v = 0; v < CLF_PROBE_VARIANTS; v++) {
        for (int i = 0; i < CLF_PROBE_SHAPES * CLF_PROBE_ROWS; i++) {
            const clf_probe_product *cell =
                &products->cells[v][i / CLF_PROBE_ROWS][i % CLF_PROBE_ROWS];
            CU_ASSERT_NOT_EQUAL(cell->outcome, CLF_PROBE_FAILED);
            CU_ASSERT_TRUE(v != CLF_PROBE_PANEL || cell->outcome != CLF_PROBE_WRONG);
            CU_ASSERT_EQUAL(cell->outcome == CLF_PROBE_PASSED, cell->flops > 0);
        }
    }
    CU_ASSERT_EQUAL(products->cells[CLF_PROBE_PANEL][0][0].outcome, CLF_PROBE_PASSED);
}

static void check_rates(const clf_probe_rates *rates) {
    CU_ASSERT_STRING_EQUAL(rates->error, "");
    CU_ASSERT_TRUE(rates->launch > 0 && rates->launch_wait > 0);
    CU_ASSERT_TRUE(rates->host_to_device > 0 && rates->device_to_host > 0);
    CU_ASSERT_TRUE(rates->device_copy > 0 && rates->device_stream > 0);
    CU_ASSERT_TRUE(rates->fma > 0 && rates->build_new > 0);
}

static void check_json(const probe_report *report) {
    cJSON *object = parse(report);
    CU_ASSERT_TRUE(cJSON_IsTrue(cJSON_GetObjectItem(object, "runs")));
    CU_ASSERT_EQUAL(cJSON_GetArraySize(cJSON_GetObjectItem(object, "capabilities")),
                    CLF_PROBE_CAPABILITIES);
    CU_ASSERT_EQUAL(cJSON_GetArraySize(cJSON_GetObjectItem(object, "checks")),
                    report->probe->check_count);
    CU_ASSERT_TRUE(cJSON_IsNull(cJSON_GetObjectItem(object, "tuned_products")));
    cJSON_Delete(object);
}

static int count_ticks(void *user, double share, const char *what) {
    CU_ASSERT_TRUE(share >= 0 && share <= 1 && *what);
    ++*(int *)user;
    return 0;
}

static void probe_device(clf_device *device) {
    int ticks = 0;
    probe_report report = {0};
    const clf_probe_options options = {
        .product_seconds = 1, .progress = count_ticks, .user = &ticks};
    if (!CLF_ASSERT_OK(clf_probe_device(device, &options, &report.probe))) return;
    report.info = report.probe->info;
    for (int i = 0; i < report.probe->check_count; i++) {
        const clf_probe_check *check = &report.probe->checks[i];
        if (check->outcome != CLF_PROBE_PASSED) {
            fprintf(stderr, "\n%s: error %g %s\n", check->name, check->error, check->message);
        }
        CU_ASSERT_EQUAL(check->outcome, CLF_PROBE_PASSED);
    }
    CU_ASSERT_TRUE(ticks > report.probe->check_count);
    CU_ASSERT_TRUE(report.probe->runs);
    check_rates(&report.probe->rates);
    check_products(&report.probe->products);
    check_text(&report, "clformer runs here");
    check_json(&report);
    clf_probe_free(report.probe);
}

static void test_devices(void) {
    clf_test_each_device(probe_device);
}

static int cancel_later(void *user, double share, const char *what) {
    (void)share, (void)what;
    return --*(int *)user < 0;
}

static void cancel_on_device(clf_device *device) {
    for (int calls = 0; calls < 7; calls += 3) {
        int left = calls;
        clf_probe *probe = NULL;
        const clf_probe_options options = {
            .product_seconds = 1, .progress = cancel_later, .user = &left};
        CU_ASSERT_EQUAL(clf_probe_device(device, &options, &probe), CLF_ERROR_CANCELLED);
        CU_ASSERT_PTR_NULL(probe);
        CU_ASSERT_EQUAL(left, -1); // not asked again
    }
}

static void test_cancel(void) {
    clf_test_each_device(cancel_on_device);
}

// With a cache directory of its own, where no tuning is yet.
static void test_tune(void) {
    const clf_device_options open = {.cache_dir = clf_test_directory()};
    const clf_probe_options options = {.tune = true, .tune_seconds = 1, .product_seconds = 1};
    clf_device_info *devices;
    clf_device *device;
    size_t count;
    probe_report report = {0};
    if (!CLF_ASSERT_OK(clf_device_list(&devices, &count))) return;
    clf_device_list_free(devices);
    if (count == 0) {
        clf_test_skip("no OpenCL device");
        return;
    }
    if (!CLF_ASSERT_OK(clf_device_open(&open, &device))) return;
    if (CLF_ASSERT_OK(clf_probe_device(device, &options, &report.probe))) {
        report.info = report.probe->info;
        const bool tuned = report.info.kind != CLF_DEVICE_EMULATOR;
        const char *directory = clf_test_directory();
        CU_ASSERT_EQUAL(report.probe->tune_seconds > 0, tuned);
        CU_ASSERT_EQUAL(report.probe->tune_error[0] == '\0', tuned);
        CU_ASSERT_EQUAL(report.probe->tuned.measured, tuned);
        CU_ASSERT_EQUAL(strncmp(report.probe->tuning, directory, strlen(directory)) == 0, tuned);
        check_text(&report, tuned ? "after tuning" : "too slow to be tuned");
        cJSON *object = parse(&report);
        CU_ASSERT_EQUAL(cJSON_IsObject(cJSON_GetObjectItem(object, "tuned_products")), tuned);
        cJSON_Delete(object);
    }
    clf_probe_free(report.probe);
    clf_device_close(device);
}

// ---- devices that fail --------------------------------------------------------------------------

static void test_unusable(void) {
    probe_report report = {.info = {.name = "Bro\"ken", .kind = CLF_DEVICE_CPU}};
    memset(report.error, 'x', sizeof report.error - 1); // a single long word
    check_text(&report, "unusable");
    cJSON *object = parse(&report);
    CU_ASSERT_TRUE(cJSON_IsFalse(cJSON_GetObjectItem(object, "runs")));
    CU_ASSERT_STRING_EQUAL(cJSON_GetStringValue(cJSON_GetObjectItem(object, "error")),
                           report.error);
    cJSON_Delete(object);
}

// Nothing measured, everything wrong, texts as long as they can be.
static void test_wrong(void) {
    clf_probe *probe = calloc(1, sizeof *probe);
    CU_ASSERT_PTR_NOT_NULL_FATAL(probe);
    probe_report report = {.probe = probe};
    memset(report.info.name, 'n', sizeof report.info.name - 1);
    memset(report.info.driver, 'd', sizeof report.info.driver - 1);
    memset(report.info.version, 'v', sizeof report.info.version - 1);
    for (int i = 0; i < CLF_PROBE_CAPABILITIES; i++) {
        probe->capabilities[i] = (clf_probe_capability){
            .key = "key", .name = "name", .use = CLF_PROBE_REQUIRED, .note = "note"};
    }
    clf_probe_product *cells = &probe->products.cells[0][0][0];
    for (int i = 0; i < CLF_PROBE_VARIANTS * CLF_PROBE_SHAPES * CLF_PROBE_ROWS; i++) {
        cells[i].outcome = (clf_probe_outcome)(1 + i % 4);
        cells[i].flops = 1e15;
        cells[i].error = INFINITY;
    }
    probe->products.measured = true;
    probe->tuned = probe->products;
    for (probe->check_count = 0; probe->check_count < CLF_PROBE_MAX_CHECKS;) {
        clf_probe_check *check = &probe->checks[probe->check_count++];
        *check = (clf_probe_check){.name = "attention", .error = INFINITY};
        check->outcome = (clf_probe_outcome)(1 + probe->check_count % 3);
        memset(check->message, 'm', sizeof check->message - 1);
    }
    check_text(&report, "WRONG");
    cJSON *object = parse(&report);
    cJSON *check = cJSON_GetArrayItem(cJSON_GetObjectItem(object, "checks"), 0);
    CU_ASSERT_STRING_EQUAL(cJSON_GetStringValue(cJSON_GetObjectItem(check, "outcome")), "wrong");
    CU_ASSERT_TRUE(cJSON_IsNull(cJSON_GetObjectItem(check, "error")));
    cJSON_Delete(object);
    clf_probe_free(probe);
}

static const clf_test tests[] = {
    {"devices", test_devices},   {"cancel", test_cancel}, {"tune", test_tune},
    {"unusable", test_unusable}, {"wrong", test_wrong},
};
CLF_TEST_MAIN("probe", tests)
