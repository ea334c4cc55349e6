// SPDX-License-Identifier: MIT
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/rng.h"
#include "text/split.h"

// The parts joined by "|".
static void check_parts(const char *text, const clf_spans *spans, const char *expected) {
    char got[4096];
    size_t length = 0;
    got[0] = '\0';
    for (size_t i = 0; i < spans->count; i++) {
        clf_span s = spans->data[i];
        CU_ASSERT_FATAL(s.begin < s.end && length + (s.end - s.begin) + 2 < sizeof got);
        length += (size_t)snprintf(got + length, sizeof got - length, "%s%.*s", i > 0 ? "|" : "",
                                   (int)(s.end - s.begin), text + s.begin);
    }
    if (strcmp(got, expected) != 0) fprintf(stderr, "\n'%s' instead of '%s'\n", got, expected);
    CU_ASSERT_STRING_EQUAL(got, expected);
}

static void check_sentences(const char *text, const char *expected) {
    clf_spans spans = {0};
    CLF_ASSERT_OK(clf_split_sentences(text, strlen(text), &spans));
    check_parts(text, &spans, expected);
    clf_array_free(&spans);
}

static void test_sentences(void) {
    check_sentences("", "");
    check_sentences(" \t\xE3\x80\x80 ", "");
    check_sentences("one", "one");
    check_sentences("  One two.  Three four?Five!  ", "One two.|Three four?|Five!");
    check_sentences("He paid 3.50 dollars. She left.", "He paid 3.50 dollars.|She left.");
    check_sentences("“Is it?” he asked. Yes.", "“Is it?”|he asked.|Yes.");
    check_sentences("他来了。他走了！真的吗？是的", "他来了。|他走了！|真的吗？|是的");
    check_sentences("他说：“来了。”　他走了。", "他说：“来了。”|他走了。");
    check_sentences("Он ушёл. Она осталась.", "Он ушёл.|Она осталась.");
    check_sentences("वह आया। वह गया।", "वह आया।|वह गया।");
}

static void check_bytes(const char *text, size_t limit, const char *expected) {
    clf_spans spans = {0};
    CLF_ASSERT_OK(clf_split_bytes(text, strlen(text), limit, &spans));
    check_parts(text, &spans, expected);
    clf_array_free(&spans);
}

static void test_bytes(void) {
    check_bytes("", 5, "");
    check_bytes("   ", 2, "");
    check_bytes("short", 5, "short");
    check_bytes("one two three", 8, "one two|three");
    check_bytes("one two, three four", 13, "one two,|three four"); // after punctuation
    check_bytes("a, three four five", 14, "a, three four|five");   // but not a tiny part
    check_bytes("say (one two!) three four", 20, "say (one two!)|three four");
    check_bytes("abcdefghij", 4, "abcd|efgh|ij");
    check_bytes("他来了，他走了", 15, "他来了，|他走了");
    check_bytes("小猫小猫小", 7, "小猫|小猫|小");
    check_bytes("小猫", 1, "小|猫"); // less than a character: characters
    check_bytes("😀😀", 5, "😀|😀");
    check_bytes("ab 小", 3, "ab|小");
    clf_spans spans = {0};
    CU_ASSERT_EQUAL(clf_split_bytes("a", 1, 0, &spans), CLF_ERROR_ARGUMENT);
    CU_ASSERT_EQUAL(spans.count, 0);
}

// Random text: parts in order, within the limit, whole characters, and nothing but blanks between.
static void test_bytes_random(void) {
    static const char *const units[] = {"a", "bc ", "小", "。", ", ", "😀", " ", "e\xCC\x81", "ก"};
    clf_rng rng = {3};
    clf_spans spans = {0};
    for (int round = 0; round < 500; round++) {
        char text[512] = "";
        size_t size = 0, limit = 4 + clf_rng_below(&rng, 40), at = 0;
        for (uint32_t n = clf_rng_below(&rng, 100); n > 0; n--) {
            size += (size_t)snprintf(text + size, sizeof text - size, "%s",
                                     units[clf_rng_below(&rng, 9)]);
        }
        spans.count = 0;
        CLF_ASSERT_OK(clf_split_bytes(text, size, limit, &spans));
        for (size_t i = 0; i <= spans.count; i++) {
            size_t begin = i < spans.count ? spans.data[i].begin : size;
            CU_ASSERT_FATAL(begin >= at && strspn(text + at, " ") >= begin - at);
            if (i == spans.count) break;
            at = spans.data[i].end;
            CU_ASSERT(at > begin && at - begin <= limit && at <= size);
            CU_ASSERT((text[begin] & 0xC0) != 0x80 && (text[at] & 0xC0) != 0x80);
        }
    }
    clf_array_free(&spans);
}

// Any bytes: no crash, progress, spans inside the text.
static void test_invalid(void) {
    clf_rng rng = {5};
    clf_spans spans = {0};
    for (int round = 0; round < 300; round++) {
        size_t size = clf_rng_below(&rng, 60);
        char *text = malloc(size + 1);
        CU_ASSERT_PTR_NOT_NULL_FATAL(text);
        for (size_t i = 0; i < size; i++) text[i] = (char)(clf_rng_next(&rng) | 0x80);
        char *exact = realloc(text, size ? size : 1);
        spans.count = 0;
        CLF_ASSERT_OK(clf_split_sentences(exact, size, &spans));
        CLF_ASSERT_OK(clf_split_bytes(exact, size, 1 + clf_rng_below(&rng, 9), &spans));
        for (size_t i = 0; i < spans.count; i++) CU_ASSERT(spans.data[i].end <= size);
        free(exact);
    }
    clf_array_free(&spans);
}

static void check_clean(const char *text, size_t size, const char *expected) {
    clf_string clean = {0};
    CLF_ASSERT_OK(clf_utf8_clean(text, size, &clean));
    CU_ASSERT_EQUAL(clean.count, strlen(expected));
    CU_ASSERT(memcmp(clean.data, expected, clean.count) == 0);
    clf_array_free(&clean);
}

#define FFFD "\xEF\xBF\xBD"

static void test_clean(void) {
    static const char plain[] = "plain 小 😀\t\x7f";
    check_clean(plain, sizeof plain - 1, plain);
    check_clean("a\0b\x01\n\r\x1f", 7, "a b    ");
    check_clean("\x80", 1, FFFD);
    check_clean("a\xFF\xFE", 3, "a" FFFD FFFD);
    check_clean("\xE5\xB0", 2, FFFD);                        // cut short
    check_clean("\xE5\xB0z", 3, FFFD "z");                   //
    check_clean("\xC0\xAF", 2, FFFD FFFD);                   // overlong
    check_clean("\xED\xA0\x80", 3, FFFD FFFD FFFD);          // surrogate
    check_clean("\xF4\x90\x80\x80", 4, FFFD FFFD FFFD FFFD); // beyond U+10FFFF
    check_clean("\xF0\x9F\x98", 3, FFFD);
    clf_string clean = {0};
    CLF_ASSERT_OK(clf_utf8_clean("", 0, &clean));
    CU_ASSERT_EQUAL(clean.count, 0);
    clf_array_free(&clean);
}

static void check_joined(const char *first, const char *second, const char *expected) {
    clf_string text = {0};
    CLF_ASSERT_OK(clf_text_append_sentence(&text, first, strlen(first)));
    CLF_ASSERT_OK(clf_text_append_sentence(&text, second, strlen(second)));
    CU_ASSERT_EQUAL(text.count, strlen(expected));
    CU_ASSERT(memcmp(text.data, expected, text.count) == 0);
    clf_array_free(&text);
}

static void test_join(void) {
    check_joined("One.", "Two.", "One. Two.");
    check_joined("来了。", "走了。", "来了。走了。");
    check_joined("왔다.", "갔다.", "왔다. 갔다.");
    check_joined("", "Two.", "Two.");
    check_joined("One.", "", "One.");
}

static void test_long_line(void) {
    static const char *const units[] = {"word and, word. ", "小猫。", "a", "ก", " "};
    size_t size = 1 << 20;
    char *line = malloc(size);
    CU_ASSERT_PTR_NOT_NULL_FATAL(line);
    for (int i = 0; i < 5; i++) {
        size_t unit = strlen(units[i]), whole = size - size % unit;
        for (size_t at = 0; at < whole; at++) line[at] = units[i][at % unit];
        clf_spans spans = {0};
        int64_t start = clf_clock();
        CLF_ASSERT_OK(clf_split_sentences(line, whole, &spans));
        CLF_ASSERT_OK(clf_split_bytes(line, whole, 500, &spans));
        double seconds = (double)(clf_clock() - start) * 1e-9;
        CU_ASSERT(seconds < 60);
        if (clf_test_bench) printf("'%s': %.2f s ", units[i], seconds);
        clf_array_free(&spans);
    }
    free(line);
}

static const clf_test tests[] = {
    {"sentences", test_sentences}, {"bytes", test_bytes}, {"bytes-random", test_bytes_random},
    {"invalid", test_invalid},     {"clean", test_clean}, {"join", test_join},
    {"long-line", test_long_line},
};

CLF_TEST_MAIN("text-split", tests)
