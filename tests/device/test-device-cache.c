// SPDX-License-Identifier: MIT
// Compiled programs on disk: used again, and never trusted when damaged.
#include <clformer/log.h>

#include "harness.h"

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "device/launch.h"

static struct { int builds, warnings; } logged;

static void count_logs(void *user, clf_log_level level, const char *message) {
    (void)user;
    if (strncmp(message, "built cl/", 9) == 0) logged.builds++;
    if (level == CLF_LOG_WARNING) logged.warnings++;
}

// Doubles and shifts 16 numbers with the kernel built for vectors of `width`.
static void use_kernel(clf_device *device, int width) {
    clf_run run = clf_run_begin(device);
    clf_arena *arena;
    if (!CLF_ASSERT_OK(clf_arena_create(device, "test", "nothing", &arena))) return;
    clf_tensor x = clf_arena_take(&run, arena, 1, 16, CLF_F32);
    clf_tensor y = clf_arena_take(&run, arena, 1, 16, CLF_F32);
    float data[16], got[16] = {0};
    for (int i = 0; i < 16; i++) data[i] = (float)i;
    clf_write(&run, x, data);
    const clf_arg arguments[] = {clf_arg_tensor(y), clf_arg_tensor(x), clf_arg_float(2),
                                 clf_arg_float(1)};
    clf_launch(&run, &(clf_kernel_spec){"selftest", "stream", {{"VW", width}}},
               (clf_range){.groups = {(size_t)(16 / width)}}, (clf_cost){0}, arguments, 4);
    clf_read(&run, y, got);
    CLF_ASSERT_OK(run.status);
    for (int i = 0; i < 16; i++) CU_ASSERT_EQUAL(got[i], 2 * i + 1);
    clf_arena_destroy(arena);
}

// Opens the same device with another cache, uses two programs and returns how many were built.
static int count_builds(clf_device *device, const char *directory) {
    clf_device_info info;
    clf_device_get_info(device, &info);
    char select[32];
    snprintf(select, sizeof select, "%d:%d", info.platform_index, info.device_index);
    clf_device *other;
    logged.builds = 0;
    clf_device_options options = {.select = select, .cache_dir = directory};
    if (!CLF_ASSERT_OK(clf_device_open(&options, &other))) return -1;
    use_kernel(other, 2);
    use_kernel(other, 4);
    clf_device_close(other);
    return logged.builds;
}

// The paths of the entries in a directory: at most two.
static int list_entries(const char *directory, char *paths[2]) {
    int count = 0;
    DIR *opened = opendir(directory);
    for (struct dirent *entry; opened && (entry = readdir(opened));) {
        if (entry->d_name[0] == '.') continue;
        CU_ASSERT_FATAL(count < 2);
        paths[count++] = clf_path_join(directory, entry->d_name);
    }
    if (opened) closedir(opened);
    return count;
}

static void check_damage(clf_device *device, const char *directory, const char *path) {
    char *content;
    size_t size;
    if (!CLF_ASSERT_OK(clf_file_read(path, 1 << 28, &content, &size))) return;
    const size_t lengths[] = {0, 1, 8, 23, 24, 25, size / 2, size - 1};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        CLF_ASSERT_OK(clf_file_write(path, content, lengths[i]));
        CU_ASSERT_EQUAL(count_builds(device, directory), 1);
    }
    const size_t flips[] = {0, 7, 8, 23, 24, size / 2, size - 1};
    for (size_t i = 0; i < sizeof flips / sizeof *flips; i++) {
        content[flips[i]] ^= 1;
        CLF_ASSERT_OK(clf_file_write(path, content, size));
        content[flips[i]] ^= 1;
        CU_ASSERT_EQUAL(count_builds(device, directory), 1);
    }
    CU_ASSERT_EQUAL(count_builds(device, directory), 0);
    free(content);
}

static void check_cache(clf_device *device) {
    static int number;
    char directory[4096], *paths[2] = {NULL, NULL};
    snprintf(directory, sizeof directory, "%s/cache%d/deep", clf_test_directory(), number++);
    clf_log_set(count_logs, NULL, CLF_LOG_DEBUG);
    CU_ASSERT_EQUAL(count_builds(device, directory), 2);
    CU_ASSERT_EQUAL(count_builds(device, directory), 0);
    if (list_entries(directory, paths) == 2) {
        check_damage(device, directory, paths[0]);
        // Each under the other's name: both are rebuilt.
        char *aside = clf_path_join(directory, "aside");
        CU_ASSERT(rename(paths[0], aside) == 0 && rename(paths[1], paths[0]) == 0 &&
                  rename(aside, paths[1]) == 0);
        free(aside);
        CU_ASSERT_EQUAL(count_builds(device, directory), 2);
    } else {
        CU_FAIL("two entries expected");
    }
    free(paths[0]);
    free(paths[1]);
    CU_ASSERT_EQUAL(count_builds(device, ""), 2); // no cache
    CU_ASSERT_EQUAL(count_builds(device, ""), 2);
    clf_log_set(NULL, NULL, CLF_LOG_WARNING);
}

static void test_cache(void) {
    clf_test_each_device(check_cache);
}

// Directories that cannot be made, or vanish: one warning, and work goes on.
static void check_unwritable(clf_device *device) {
    char file[4096], directory[8192];
    snprintf(file, sizeof file, "%s/file", clf_test_directory());
    CLF_ASSERT_OK(clf_file_write(file, "", 0));
    clf_log_set(count_logs, NULL, CLF_LOG_DEBUG);
    logged.warnings = 0;
    snprintf(directory, sizeof directory, "%s/below", file);
    CU_ASSERT_EQUAL(count_builds(device, directory), 2);
    CU_ASSERT_EQUAL(logged.warnings, 1);

    clf_device_info info;
    clf_device_get_info(device, &info);
    char select[32];
    snprintf(select, sizeof select, "%d:%d", info.platform_index, info.device_index);
    snprintf(directory, sizeof directory, "%s/vanishing", clf_test_directory());
    clf_device_options options = {.select = select, .cache_dir = directory};
    clf_device *other;
    logged.warnings = 0;
    if (CLF_ASSERT_OK(clf_device_open(&options, &other))) {
        CU_ASSERT_STRING_EQUAL(clf_device_cache_directory(other), directory);
        CU_ASSERT_EQUAL(rmdir(directory), 0);
        use_kernel(other, 2);
        use_kernel(other, 4);
        CU_ASSERT_EQUAL(logged.warnings, 1);
        clf_device_close(other);
    }
    clf_log_set(NULL, NULL, CLF_LOG_WARNING);
}

static void test_unwritable(void) {
    clf_test_each_device(check_unwritable);
}

static const clf_test tests[] = {{"cache", test_cache}, {"unwritable", test_unwritable}};

CLF_TEST_MAIN("device-cache", tests)
