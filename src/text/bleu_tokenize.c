// SPDX-License-Identifier: MIT
// The rules are those of mteval-v13a.pl as sacreBLEU 2 has them: a few regular expressions, each
// replacing from left to right without overlaps, one after another.
#include "text/bleu_tokenize.h"

#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "text/codepoints.h"

static bool is_digit(int32_t c) {
    return c >= '0' && c <= '9';
}

static bool is_not_digit(int32_t c) {
    return !is_digit(c);
}

static bool is_stop(int32_t c) {
    return c == '.' || c == ',';
}

static bool is_hyphen(int32_t c) {
    return c == '-';
}

// Blanks and ASCII punctuation but ' , - .
static bool is_symbol(int32_t c) {
    return (c >= ' ' && c <= '+' && c != '\'') || c == '/' || (c >= ':' && c <= '@') ||
           (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
}

// The characters that zh sets apart. Two ranges of the planes above FFFF were meant, but written
// so that they begin and end elsewhere; scores are made with what was written.
static bool is_chinese(int32_t c) {
    static const struct {
        int32_t first, last;
    } ranges[] = {
        {0x2001, 0x2A6D}, // all symbols from general punctuation on; was meant to be extension B
        {0x2E80, 0x2FDF}, // radicals
        {0x2FF0, 0x303F}, // description of characters, punctuation
        {0x3100, 0x312F}, // bopomofo
        {0x31A0, 0x31EF}, // more of it, strokes
        {0x3200, 0x33FF}, // enclosed and squared
        {0x3400, 0x4DB5}, // extension A
        {0x4E00, 0x9FBB}, // unified ideographs
        {0xF900, 0xFA2D}, // compatibility ideographs
        {0xFA30, 0xFA6A}, //
        {0xFA70, 0xFAD9}, //
        {0xFE10, 0xFE1F}, // vertical forms
        {0xFE30, 0xFE4F}, // compatibility forms
        {0xFF00, 0xFFEF}, // full width
    };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        if (c >= ranges[i].first && c <= ranges[i].last) return true;
    }
    return false;
}

static bool is_any(int32_t c) {
    (void)c;
    return true;
}

static void swap(clf_ids *a, clf_ids *b) {
    clf_ids kept = *a;
    *a = *b;
    *b = kept;
}

// A blank on each side of every character of a class.
static clf_status set_apart(bool (*in_class)(int32_t), clf_ids *text, clf_ids *scratch) {
    scratch->count = 0;
    if (text->count > SIZE_MAX / 3 || !clf_array_reserve(scratch, 3 * text->count)) {
        return clf_fail_memory();
    }
    int32_t *out = scratch->data;
    for (size_t i = 0; i < text->count; i++) {
        bool apart = in_class(text->data[i]);
        if (apart) *out++ = ' ';
        *out++ = text->data[i];
        if (apart) *out++ = ' ';
    }
    scratch->count = (size_t)(out - scratch->data);
    swap(text, scratch);
    return CLF_OK;
}

// Each pair of neighbours of two classes: "ab" becomes "a b ", or " a b" if `before`.
static clf_status part(bool (*first)(int32_t), bool (*second)(int32_t), bool before, clf_ids *text,
                       clf_ids *scratch) {
    scratch->count = 0;
    if (text->count > SIZE_MAX / 2 || !clf_array_reserve(scratch, 2 * text->count)) {
        return clf_fail_memory();
    }
    int32_t *out = scratch->data;
    for (size_t i = 0; i < text->count; i++) {
        const int32_t *at = text->data + i;
        if (i + 1 == text->count || !first(at[0]) || !second(at[1])) {
            *out++ = *at;
            continue;
        }
        if (before) *out++ = ' ';
        *out++ = at[0];
        *out++ = ' ';
        *out++ = at[1];
        if (!before) *out++ = ' ';
        i++;
    }
    scratch->count = (size_t)(out - scratch->data);
    swap(text, scratch);
    return CLF_OK;
}

static clf_status split_punctuation(clf_ids *text, clf_ids *scratch) {
    CLF_TRY(set_apart(is_symbol, text, scratch));
    CLF_TRY(part(is_not_digit, is_stop, false, text, scratch));
    CLF_TRY(part(is_stop, is_not_digit, true, text, scratch));
    return part(is_digit, is_hyphen, false, text, scratch);
}

static bool begins_with(const int32_t *text, size_t count, const char *ascii) {
    size_t i = 0;
    while (ascii[i] && i < count && text[i] == ascii[i]) i++;
    return ascii[i] == '\0';
}

// Replaces every `old` by `new`, which is not longer.
static void replace(clf_ids *text, const char *old, const char *new) {
    size_t to = 0, length = strlen(old);
    for (size_t from = 0; from < text->count;) {
        if (begins_with(text->data + from, text->count - from, old)) {
            for (const char *c = new; *c; c++) text->data[to++] = *c;
            from += length;
        } else {
            text->data[to++] = text->data[from++];
        }
    }
    text->count = to;
}

static clf_status tokenize_13a(clf_ids *text, clf_ids *scratch) {
    static const char *const replaced[][2] = {{"<skipped>", ""}, {"-\n", ""},    {"\n", " "},
                                              {"&quot;", "\""},  {"&amp;", "&"}, {"&lt;", "<"},
                                              {"&gt;", ">"}};
    for (size_t i = 0; i < sizeof replaced / sizeof *replaced; i++) {
        replace(text, replaced[i][0], replaced[i][1]);
    }
    // A full stop at either end has a neighbour then.
    if (!clf_array_reserve(text, 2)) return clf_fail_memory();
    memmove(text->data + 1, text->data, text->count * sizeof *text->data);
    text->data[0] = text->data[text->count + 1] = ' ';
    text->count += 2;
    return split_punctuation(text, scratch);
}

static void strip_end(clf_ids *text) {
    while (text->count > 0 && clf_codepoint_is_blank(text->data[text->count - 1])) text->count--;
}

static void strip_begin(clf_ids *text) {
    size_t begin = 0;
    while (begin < text->count && clf_codepoint_is_blank(text->data[begin])) begin++;
    text->count -= begin;
    memmove(text->data, text->data + begin, text->count * sizeof *text->data);
}

clf_status clf_bleu_tokenize(clf_bleu_tokenization tokenization, clf_ids *text, clf_ids *scratch) {
    strip_end(text);
    if (text->count == 0) return CLF_OK;
    switch (tokenization) {
    case CLF_BLEU_13A: return tokenize_13a(text, scratch);
    case CLF_BLEU_CHAR: return set_apart(is_any, text, scratch);
    case CLF_BLEU_ZH:
        strip_begin(text);
        CLF_TRY(set_apart(is_chinese, text, scratch));
        return split_punctuation(text, scratch);
    default: return CLF_OK;
    }
}
