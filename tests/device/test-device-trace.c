// SPDX-License-Identifier: MIT
// The trace file, the profile, and devices in several threads.
#include "harness.h"

#include <cJSON.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "device/launch.h"

static clf_device *reopen(clf_device *device, clf_device_options options) {
    clf_device_info info;
    clf_device_get_info(device, &info);
    char select[32];
    snprintf(select, sizeof select, "%d:%d", info.platform_index, info.device_index);
    options.select = select;
    clf_device *other = NULL;
    CLF_ASSERT_OK(clf_device_open(&options, &other));
    return other;
}

// Writes a number, adds one to it `times` times on the device, reads it back.
static float count_up(clf_device *device, int times) {
    clf_run run = clf_run_begin(device);
    clf_arena *arena;
    float number = 5;
    if (clf_arena_create(device, "test", "nothing", &arena) != CLF_OK) return -1;
    clf_tensor x = clf_arena_take(&run, arena, 1, 1, CLF_F32);
    clf_tensor y = clf_arena_take(&run, arena, 1, 1, CLF_F32);
    clf_write(&run, x, &number);
    for (int i = 0; i < times; i++) {
        const clf_arg arguments[] = {clf_arg_tensor(y), clf_arg_tensor(x), clf_arg_float(1),
                                     clf_arg_float(1)};
        clf_launch(&run, &(clf_kernel_spec){"selftest", "stream", {{"VW", 1}}},
                   (clf_range){.groups = {1}}, (clf_cost){.bytes = 8, .flops = 2}, arguments, 4);
        clf_copy(&run, x, y);
    }
    clf_read(&run, x, &number);
    clf_status status = clf_run_finish(&run);
    clf_arena_destroy(arena);
    return status == CLF_OK ? number : -1;
}

static void check_profile(clf_device *device) {
    clf_profile_entry *entries;
    size_t count = 0;
    CU_ASSERT_EQUAL(clf_device_profile_report(device, &entries, &count), CLF_ERROR_ARGUMENT);
    clf_device *other = reopen(device, (clf_device_options){.profile = true});
    if (!other) return;
    CU_ASSERT_EQUAL(count_up(other, 9), 14);
    CU_ASSERT_EQUAL(count_up(other, 1), 6);
    if (CLF_ASSERT_OK(clf_device_profile_report(other, &entries, &count))) {
        CU_ASSERT_EQUAL(count, 4);
        for (size_t i = 0; i < count; i++) {
            if (i > 0) CU_ASSERT(entries[i].seconds <= entries[i - 1].seconds);
            CU_ASSERT(entries[i].seconds >= 0 && entries[i].seconds < 60);
            if (strcmp(entries[i].name, "stream") == 0) {
                CU_ASSERT_EQUAL(entries[i].calls, 10);
                CU_ASSERT_EQUAL(entries[i].bytes, 80);
                CU_ASSERT_EQUAL(entries[i].flops, 20);
                CU_ASSERT(entries[i].seconds > 0);
            } else if (strcmp(entries[i].name, "copy") == 0) {
                CU_ASSERT_EQUAL(entries[i].calls, 10);
            } else {
                CU_ASSERT(!strcmp(entries[i].name, "read") || !strcmp(entries[i].name, "write"));
                CU_ASSERT_EQUAL(entries[i].calls, 2);
                CU_ASSERT_EQUAL(entries[i].bytes, 8);
            }
        }
        free(entries);
    }
    clf_device_close(other);
}

static void test_profile(void) {
    clf_test_each_device(check_profile);
}

static double number_of(const cJSON *event, const char *key) {
    const cJSON *item = cJSON_GetObjectItem(event, key);
    return cJSON_IsNumber(item) ? item->valuedouble : -1e30;
}

// Counts spans of a name in a trace and checks that they lie inside the host phase around them.
static int count_spans(const cJSON *trace, const char *wanted, double begin, double end) {
    int count = 0;
    const cJSON *event;
    cJSON_ArrayForEach(event, trace) {
        const char *name = cJSON_GetStringValue(cJSON_GetObjectItem(event, "name"));
        if (!name || strcmp(name, wanted) != 0) continue;
        count++;
        CU_ASSERT_STRING_EQUAL(cJSON_GetStringValue(cJSON_GetObjectItem(event, "ph")), "X");
        CU_ASSERT(number_of(event, "dur") >= 0);
        // The clocks are aligned to within a round trip to the device.
        CU_ASSERT(number_of(event, "ts") > begin - 5000);
        CU_ASSERT(number_of(event, "ts") + number_of(event, "dur") < end + 5000);
    }
    return count;
}

static void check_trace(clf_device *device) {
    static const char phase[] = "count \"up\"\n\\";
    char path[4096], *text;
    size_t size;
    snprintf(path, sizeof path, "%s/trace.json", clf_test_directory());
    clf_device *other = reopen(device, (clf_device_options){.trace_path = path});
    if (!other) return;
    int64_t begin = clf_phase_begin(other);
    CU_ASSERT_EQUAL(count_up(other, 3), 8);
    clf_phase_end(other, phase, begin);
    clf_device_close(other);
    if (!CLF_ASSERT_OK(clf_file_read(path, 1 << 24, &text, &size))) return;
    cJSON *trace = cJSON_Parse(text);
    free(text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(trace);
    CU_ASSERT(cJSON_IsArray(trace));
    const cJSON *event, *host = NULL;
    int tracks = 0;
    cJSON_ArrayForEach(event, trace) {
        const char *name = cJSON_GetStringValue(cJSON_GetObjectItem(event, "name"));
        CU_ASSERT_PTR_NOT_NULL_FATAL(name);
        if (strcmp(name, phase) == 0) host = event;
        tracks += strcmp(name, "thread_name") == 0;
    }
    CU_ASSERT_PTR_NOT_NULL(host);
    CU_ASSERT(tracks >= 3); // kernels, transfers, host
    if (host) {
        double from = number_of(host, "ts"), to = from + number_of(host, "dur");
        CU_ASSERT_EQUAL(count_spans(trace, "stream", from, to), 3);
        CU_ASSERT_EQUAL(count_spans(trace, "copy", from, to), 3);
        CU_ASSERT_EQUAL(count_spans(trace, "write", from, to), 1);
        CU_ASSERT_EQUAL(count_spans(trace, "read", from, to), 1);
    }
    cJSON_Delete(trace);
    clf_device *none = NULL;
    snprintf(path, sizeof path, "%s/absent/trace.json", clf_test_directory());
    clf_device_options options = {.trace_path = path};
    CU_ASSERT_EQUAL(clf_device_open(&options, &none), CLF_ERROR_IO);
    CU_ASSERT_PTR_NULL(none);
}

static void test_trace(void) {
    clf_test_each_device(check_trace);
}

typedef struct work {
    clf_device *device;
    int wrong;
} work;

static void *work_locked(void *data) {
    work *w = data;
    for (int i = 1; i <= 20; i++) {
        clf_device_lock(w->device);
        w->wrong += count_up(w->device, i) != 5.0f + (float)i;
        clf_device_unlock(w->device);
    }
    return NULL;
}

static int run_threads(clf_device *first, clf_device *second) {
    work works[] = {{first, 0}, {second, 0}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, work_locked, &works[i]), 0);
    }
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    return works[0].wrong + works[1].wrong;
}

// Two threads with a device each, then with one between them.
static void check_threads(clf_device *device) {
    clf_device_info info;
    clf_device_get_info(device, &info);
    if (strstr(info.platform, "Oclgrind")) return; // it only works in the main thread
    clf_device *first = reopen(device, (clf_device_options){.profile = true});
    clf_device *second = reopen(device, (clf_device_options){0});
    if (first && second) {
        CU_ASSERT_EQUAL(run_threads(first, second), 0);
        CU_ASSERT_EQUAL(run_threads(first, first), 0);
    }
    clf_device_close(first);
    clf_device_close(second);
}

static void test_threads(void) {
    clf_test_each_device(check_threads);
}

static const clf_test tests[] = {
    {"profile", test_profile}, {"trace", test_trace}, {"threads", test_threads}};

CLF_TEST_MAIN("device-trace", tests)
