// SPDX-License-Identifier: MIT
// What a search refuses: a model's output that is no distribution, and options out of range.
#include "harness.h"

#include <math.h>
#include <string.h>

#include "decode/search.h"

#define START 1 // any token will do

// The status of a first step in which sentence 1 is given this candidate.
static clf_status first_step(float logprob, int32_t token) {
    clf_search_options o = {.beam = 2,
                            .nbest = 2,
                            .length_penalty = 1,
                            .max_length = 6,
                            .eos_count = 1,
                            .forced_bos = -1,
                            .forced_eos = -1};
    clf_search *search;
    CLF_ASSERT_OK(clf_search_create(&o, 2, START, NULL, NULL, &search));
    const float logprobs[6] = {-1, -2, -3, logprob, -INFINITY, -INFINITY};
    const int32_t tokens[6] = {4, 0, 5, token, 6, -1};
    clf_search_candidates candidates = {logprobs, tokens, 3};
    clf_status status = clf_search_advance(search, &candidates);
    clf_search_destroy(search);
    return status;
}

static void test_bad_candidates(void) {
    CLF_ASSERT_OK(first_step(-1, 4));
    CLF_ASSERT_OK(first_step(-1, 0)); // the only hypothesis ends at once
    CU_ASSERT_EQUAL(first_step(NAN, 4), CLF_ERROR_NUMERIC);
    CU_ASSERT_STRING_EQUAL(clf_last_error(),
                           "sentence 1, position 0: the model gives no number as a "
                           "log-probability; its parameters may be damaged");
    CU_ASSERT_EQUAL(first_step(INFINITY, 4), CLF_ERROR_NUMERIC);
    CLF_ASSERT_OK(first_step(-1e30f, 4));
    CU_ASSERT_EQUAL(first_step(NAN, -1), CLF_ERROR_NUMERIC);
    CU_ASSERT_EQUAL(first_step(-INFINITY, 4), CLF_ERROR_ARGUMENT);
    CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), "no token is allowed"));
}

static void test_bad_options(void) {
    const clf_search_options good = {.beam = 2, .nbest = 2, .max_length = 5, .eos_count = 1};
    clf_search_options bad[11];
    for (int i = 0; i < 11; i++) bad[i] = good;
    bad[0].beam = 0;
    bad[1].nbest = 0;
    bad[2].nbest = 3;
    bad[3].max_length = 1;
    bad[4].max_length = INT32_MAX;
    bad[5].eos_count = 5;
    bad[6].eos_count = -1;
    bad[7].early_stopping = 3;
    bad[8].length_penalty = NAN;
    bad[9].beam = INT32_MAX;
    bad[10].early_stopping = -1;
    clf_search *search = NULL;
    for (int i = 0; i < 11; i++) {
        CU_ASSERT_EQUAL(clf_search_create(&bad[i], 1, START, NULL, NULL, &search),
                        CLF_ERROR_ARGUMENT);
    }
    const int32_t prefix[] = {1, 1, 1, 1};
    const int32_t *prefixes[] = {prefix};
    CU_ASSERT_EQUAL(clf_search_create(&good, 1, START, prefixes, (int[1]){4}, &search),
                    CLF_ERROR_ARGUMENT);
    CU_ASSERT_EQUAL(clf_search_create(&good, 1, START, prefixes, (int[1]){-1}, &search),
                    CLF_ERROR_ARGUMENT);
    CU_ASSERT_EQUAL(clf_search_create(&good, -1, START, NULL, NULL, &search), CLF_ERROR_ARGUMENT);
    CU_ASSERT_PTR_NULL(search);
    CLF_ASSERT_OK(clf_search_create(&good, 1, START, prefixes, (int[1]){3}, &search));
    clf_search_destroy(search);
}

static const clf_test tests[] = {
    {"candidates", test_bad_candidates},
    {"options", test_bad_options},
};

CLF_TEST_MAIN("search misuse", tests)
