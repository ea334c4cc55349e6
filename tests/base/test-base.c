// SPDX-License-Identifier: MIT
#include "harness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/fail.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/rng.h"

static void test_fail(void) {
    CU_ASSERT_EQUAL(clf_fail(CLF_ERROR_IO, "a\nb %d", 3), CLF_ERROR_IO);
    CU_ASSERT_STRING_EQUAL(clf_last_error(), "a b 3");
    for (int i = 0; i < CLF_STATUS_COUNT; i++) CU_ASSERT(strlen(clf_status_text(i)) > 5);
}

static void test_array(void) {
    clf_ids ids = {0};
    for (int i = 0; i < 1000; i++) CU_ASSERT(clf_array_push(&ids, i));
    CU_ASSERT_EQUAL(ids.count, 1000);
    CU_ASSERT_EQUAL(ids.data[999], 999);
    CU_ASSERT_FALSE(clf_array_reserve(&ids, SIZE_MAX / 2));
    CU_ASSERT_EQUAL(ids.count, 1000);
    clf_array_free(&ids);
    CU_ASSERT_PTR_NULL(ids.data);
}

// Vectors of the FNV reference: the empty string and "foobar".
static void test_hash(void) {
    char text[CLF_HASH_TEXT];
    clf_hash_text(clf_hash_start(), text);
    CU_ASSERT_STRING_EQUAL(text, "6c62272e07bb014262b821756295c58d");
    clf_hash_text(clf_hash_bytes(clf_hash_start(), "foobar", 6), text);
    CU_ASSERT_STRING_EQUAL(text, "343e1662793c64bf6f0d3597ba446f18");
}

static void test_rng(void) {
    clf_rng rng = {0}; // the first outputs of splitmix64 for seed 0
    CU_ASSERT_EQUAL(clf_rng_next(&rng), 0xe220a8397b1dcdafu);
    CU_ASSERT_EQUAL(clf_rng_next(&rng), 0x6e789e6aa1b965f4u);
    for (int i = 0; i < 1000; i++) {
        CU_ASSERT(clf_rng_below(&rng, 7) < 7);
        float x = clf_rng_uniform(&rng, -2, 3);
        CU_ASSERT(x >= -2 && x < 3);
    }
}

// Moments of 1 << 18 numbers, each within six of its own standard deviations, and both tails.
static void test_normal(void) {
    enum { COUNT = 1 << 18 };
    static const double expected[] = {0, 1, 0, 3}, variance[] = {1, 2, 15, 96};
    clf_rng rng = {1};
    double sums[4] = {0}, product = 0, last = 0, least = 0, most = 0;
    for (int i = 0; i < COUNT; i++) {
        const double x = clf_rng_normal(&rng);
        for (int k = 0; k < 4; k++) sums[k] += pow(x, k + 1);
        product += x * last, last = x;
        least = fmin(least, x), most = fmax(most, x);
    }
    for (int k = 0; k < 4; k++) {
        CU_ASSERT_DOUBLE_EQUAL(sums[k] / COUNT, expected[k], 6 * sqrt(variance[k] / COUNT));
    }
    CU_ASSERT_DOUBLE_EQUAL(product / COUNT, 0, 6 / sqrt(COUNT)); // neighbours are independent
    CU_ASSERT(least > -7 && least < -3.5 && most > 3.5 && most < 7);
}

static void test_file(void) {
    char deep[4096];
    snprintf(deep, sizeof deep, "%s/a/b", clf_test_directory());
    CLF_ASSERT_OK(clf_file_make_directory(deep));
    CLF_ASSERT_OK(clf_file_make_directory(deep));
    CU_ASSERT(clf_file_is_directory(deep));
    char *path = clf_path_join(deep, "file");
    CLF_ASSERT_OK(clf_file_write(path, "hello", 5));
    CLF_ASSERT_OK(clf_file_write(path, "world!", 6));
    char *text;
    size_t size;
    if (CLF_ASSERT_OK(clf_file_read(path, 100, &text, &size))) {
        CU_ASSERT_EQUAL(size, 6);
        CU_ASSERT_STRING_EQUAL(text, "world!");
        free(text);
    }
    CU_ASSERT_EQUAL(clf_file_read(path, 5, &text, &size), CLF_ERROR_FORMAT);
    CU_ASSERT_EQUAL(clf_file_read(deep, 5, &text, &size), CLF_ERROR_IO);
    clf_file_map map;
    if (CLF_ASSERT_OK(clf_file_map_open(path, &map))) {
        CU_ASSERT_EQUAL(map.size, 6);
        CU_ASSERT_EQUAL(memcmp(map.data, "world!", 6), 0);
        clf_file_map_close(&map);
    }
    free(path);
    path = clf_path_join(deep, "absent");
    CU_ASSERT_EQUAL(clf_file_map_open(path, &map), CLF_ERROR_IO);
    CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), "absent: cannot open"));
    free(path);
}

static const clf_test tests[] = {{"fail", test_fail}, {"array", test_array},   {"hash", test_hash},
                                 {"rng", test_rng},   {"normal", test_normal}, {"file", test_file}};

CLF_TEST_MAIN("base", tests)
