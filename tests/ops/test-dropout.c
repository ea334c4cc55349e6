// SPDX-License-Identifier: MIT
// The reference of dropout itself; that kernels draw the same numbers is for the operations' tests.
#include <math.h>
#include <string.h>

#include "harness.h"
#include "ref/ref_philox.h"

// The test vectors of Random123, the authors' implementation.
static void test_vectors(void) {
    static const struct {
        int rounds;
        uint32_t counter[4];
        uint64_t key;
        uint32_t words[4];
    } vectors[] = {
        {7, {0, 0, 0, 0}, 0, {0x5f6fb709, 0x0d893f64, 0x4f121f81, 0x4f730a48}},
        {7, {~0u, ~0u, ~0u, ~0u}, ~0ull, {0x5207ddc2, 0x45165e59, 0x4d8ee751, 0x8c52f662}},
        {7,
         {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         0x299f31d0a4093822,
         {0x4dfccaba, 0x190a87f0, 0xc47362ba, 0xb6b5242a}},
        {10, {0, 0, 0, 0}, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
    };
    for (int i = 0; i < 4; i++) {
        uint32_t x[4];
        memcpy(x, vectors[i].counter, sizeof x);
        ref_philox(x, vectors[i].key, vectors[i].rounds);
        CU_ASSERT_EQUAL(memcmp(x, vectors[i].words, sizeof x), 0);
    }
}

static double kept(clf_dropout d, int rows, int cols) {
    int count = 0;
    for (int r = 0; r < rows; r++) {
        for (int c = 0; c < cols; c++) count += ref_dropout((uint32_t)r, (uint32_t)c, &d) > 0;
    }
    return (double)count / (rows * cols);
}

static void test_rates(void) {
    const clf_dropout none = {0}, d = {.rate = 0.25f, .site = 3, .step = 5, .seed = 1ull << 40};
    CU_ASSERT_EQUAL(kept(none, 9, 100), 1);
    CU_ASSERT_EQUAL(ref_dropout(1, 2, &none), 1);
    const double scale = ref_dropout(0, 0, &d);
    CU_ASSERT_TRUE(scale == 0 || scale == 1 / 0.75);
    // Six standard deviations of a binomial distribution.
    CU_ASSERT_TRUE(fabs(kept(d, 300, 130) - 0.75) < 6 * sqrt(0.25 * 0.75 / (300 * 130)));
}

// Every part of the address matters: about 2 * 0.25 * 0.75 of the elements differ.
static void test_streams(void) {
    const clf_dropout d = {.rate = 0.25f, .site = 3, .step = 5, .seed = 1ull << 40};
    clf_dropout others[] = {d, d, d, d};
    others[0].site++, others[1].step++, others[2].seed++, others[3].seed += 1ull << 32;
    int differ[6] = {0};
    for (uint32_t i = 0; i < 2000; i++) {
        const double scale = ref_dropout(7, i, &d);
        for (int o = 0; o < 4; o++) differ[o] += ref_dropout(7, i, &others[o]) != scale;
        differ[4] += ref_dropout(8, i, &d) != scale;
        differ[5] += ref_dropout(7, i + 2000, &d) != scale;
    }
    for (int o = 0; o < 6; o++) CU_ASSERT_TRUE(differ[o] > 600 && differ[o] < 900);
}

static const clf_test tests[] = {
    {"vectors", test_vectors}, {"rates", test_rates}, {"streams", test_streams}};
CLF_TEST_MAIN("op-dropout", tests)
