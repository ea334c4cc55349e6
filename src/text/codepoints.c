// SPDX-License-Identifier: MIT
#include "text/codepoints.h"

#include <stdlib.h>
#include <string.h>

#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include "base/fail.h"

bool clf_codepoint_is_blank(int32_t c) {
    if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1C && c <= 0x1F);
    return u_isUWhiteSpace(c);
}

clf_status clf_codepoints_decode(const char *text, clf_ids *codepoints) {
    if (!text) return clf_fail(CLF_ERROR_ARGUMENT, "a segment is missing");
    size_t size = strlen(text);
    codepoints->count = 0;
    if (!clf_array_reserve(codepoints, size)) return clf_fail_memory();
    for (size_t i = 0; i < size;) {
        UChar32 c;
        U8_NEXT_OR_FFFD(text, i, size, c);
        codepoints->data[codepoints->count++] = c;
    }
    return CLF_OK;
}

enum { CAPITAL_I_DOT = 0x130, DOT_ABOVE = 0x307, CAPITAL_SIGMA = 0x3A3, FINAL_SIGMA = 0x3C2 };

// Whether the first character from `i` on in direction `step` that is not ignored is a letter with
// case.
static bool meets_cased(const clf_ids *text, size_t i, int step) {
    // Before the beginning, an index wraps to a large number.
    for (i += (size_t)step; i < text->count; i += (size_t)step) {
        if (u_hasBinaryProperty(text->data[i], UCHAR_CASE_IGNORABLE)) continue;
        return u_hasBinaryProperty(text->data[i], UCHAR_CASED);
    }
    return false;
}

// The only two that Unicode's SpecialCasing.txt has for the lower case of every language.
clf_status clf_codepoints_lower(clf_ids *text) {
    size_t dotted = 0;
    for (size_t i = 0; i < text->count; i++) {
        dotted += text->data[i] == CAPITAL_I_DOT;
        if (text->data[i] == CAPITAL_SIGMA && meets_cased(text, i, -1) &&
            !meets_cased(text, i, 1)) {
            text->data[i] = FINAL_SIGMA;
        }
    }
    if (!clf_array_reserve(text, dotted)) return clf_fail_memory();
    size_t to = text->count += dotted;
    for (size_t from = to - dotted; from-- > 0;) {
        int32_t c = text->data[from];
        if (c == CAPITAL_I_DOT) text->data[--to] = DOT_ABOVE;
        text->data[--to] = c == CAPITAL_I_DOT ? 'i' : u_tolower(c);
    }
    return CLF_OK;
}
