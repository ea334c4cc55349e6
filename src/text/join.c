// SPDX-License-Identifier: MIT
#include "text/split.h"

#include <string.h>
#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include "base/fail.h"

// Wide characters stand next to each other without blanks, except in Korean.
static bool joins(UChar32 c) {
    int width = u_getIntPropertyValue(c, UCHAR_EAST_ASIAN_WIDTH);
    if (width != U_EA_WIDE && width != U_EA_FULLWIDTH) return false;
    return u_getIntPropertyValue(c, UCHAR_HANGUL_SYLLABLE_TYPE) == U_HST_NOT_APPLICABLE;
}

static bool needs_blank(const clf_string *text, const char *sentence, size_t size) {
    if (text->count == 0 || size == 0) return false;
    int32_t last = (int32_t)text->count, first = 0;
    UChar32 before, after;
    U8_PREV_OR_FFFD(text->data, 0, last, before);
    U8_NEXT_OR_FFFD(sentence, first, (int32_t)(size < 8 ? size : 8), after);
    return !joins(before) && !joins(after);
}

clf_status clf_text_append_sentence(clf_string *text, const char *sentence, size_t size) {
    if (!clf_array_reserve(text, size + 1)) return clf_fail_memory();
    if (needs_blank(text, sentence, size)) text->data[text->count++] = ' ';
    if (size > 0) memcpy(text->data + text->count, sentence, size);
    text->count += size;
    return CLF_OK;
}
