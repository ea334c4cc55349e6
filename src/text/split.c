// SPDX-License-Identifier: MIT
#include "text/split.h"

#include <stdbool.h>
#include <string.h>

#include <unicode/ubrk.h>
#include <unicode/uchar.h>
#include <unicode/utext.h>
#include <unicode/utf8.h>

#include "base/fail.h"
#include "text/codepoints.h"

#define REPLACEMENT 0xFFFD

// ICU counts in int32_t.
static clf_status check_size(size_t size) {
    if (size <= INT32_MAX) return CLF_OK;
    return clf_fail(CLF_ERROR_ARGUMENT, "a line of %zu bytes is too long", size);
}

typedef struct breaks {
    UBreakIterator *iterator;
    UText *text;
} breaks;

static void breaks_finish(breaks *b) {
    if (b->iterator) ubrk_close(b->iterator);
    if (b->text) utext_close(b->text);
}

static clf_status fail_icu(UErrorCode code) {
    return clf_fail(CLF_ERROR_UNSUPPORTED, "ICU cannot find boundaries in text: %s",
                    u_errorName(code));
}

// The root locale's rules serve every language.
static clf_status breaks_init(UBreakIteratorType type, breaks *b) {
    UErrorCode code = U_ZERO_ERROR;
    *b = (breaks){.iterator = ubrk_open(type, "", NULL, 0, &code)};
    return U_SUCCESS(code) ? CLF_OK : fail_icu(code);
}

// Moves to the beginning of a text, whose positions are bytes.
static clf_status breaks_set(breaks *b, const char *text, size_t size) {
    UErrorCode code = U_ZERO_ERROR;
    b->text = utext_openUTF8(b->text, text, (int64_t)size, &code);
    ubrk_setUText(b->iterator, b->text, &code);
    return U_SUCCESS(code) ? CLF_OK : fail_icu(code);
}

// The character before `*end`, which moves before it; begin < *end.
static UChar32 previous_character(const char *text, size_t begin, size_t *end) {
    size_t from = *end - begin > U8_MAX_LENGTH ? *end - U8_MAX_LENGTH : begin;
    int32_t offset = (int32_t)(*end - from);
    UChar32 c;
    U8_PREV(text + from, 0, offset, c);
    *end = from + (size_t)offset;
    return c;
}

clf_span clf_utf8_trim(const char *text, clf_span span) {
    UChar32 c;
    while (span.begin < span.end) {
        size_t next = span.begin;
        U8_NEXT(text, next, span.end, c);
        if (!clf_codepoint_is_blank(c)) break;
        span.begin = next;
    }
    while (span.end > span.begin) {
        size_t previous = span.end;
        if (!clf_codepoint_is_blank(previous_character(text, span.begin, &previous))) break;
        span.end = previous;
    }
    return span;
}

static clf_status push_trimmed(const char *text, size_t begin, size_t end, clf_spans *spans) {
    clf_span span = clf_utf8_trim(text, (clf_span){begin, end});
    if (span.begin == span.end) return CLF_OK;
    return clf_array_push(spans, span) ? CLF_OK : clf_fail_memory();
}

clf_status clf_split_sentences(const char *text, size_t size, clf_spans *spans) {
    breaks b;
    CLF_TRY(check_size(size));
    CLF_TRY(breaks_init(UBRK_SENTENCE, &b));
    size_t count = spans->count;
    clf_status status = breaks_set(&b, text, size);
    int32_t begin = 0, end;
    while (status == CLF_OK && (end = ubrk_next(b.iterator)) != UBRK_DONE) {
        status = push_trimmed(text, (size_t)begin, (size_t)end, spans);
        begin = end;
    }
    if (status != CLF_OK) spans->count = count;
    breaks_finish(&b);
    return status;
}

// Whether punctuation such as a full stop or comma, perhaps quoted, stands before `end`.
static bool follows_punctuation(const char *text, size_t begin, size_t end) {
    end = clf_utf8_trim(text, (clf_span){begin, end}).end;
    while (end > begin) {
        UChar32 c = previous_character(text, begin, &end);
        if (u_hasBinaryProperty(c, UCHAR_TERMINAL_PUNCTUATION)) return true;
        if (!u_hasBinaryProperty(c, UCHAR_QUOTATION_MARK) && u_charType(c) != U_END_PUNCTUATION) {
            return false;
        }
    }
    return false;
}

// Where to cut `text` of more than `limit` bytes: at the last line break after punctuation in the
// limit's second half, else at the last line break, else between characters.
static size_t find_cut(UBreakIterator *lines, const char *text, size_t size, size_t limit) {
    size_t end = limit;
    while (end > 0 && U8_IS_TRAIL(text[end])) end--;
    if (end == 0) { // not even one character fits
        for (end = 1; end < size && U8_IS_TRAIL(text[end]);) end++;
        return end;
    }
    bool fits = ubrk_isBoundary(lines, (int32_t)end); // the iterator then stands there
    size_t last = fits ? end : (size_t)ubrk_preceding(lines, (int32_t)end);
    for (size_t cut = last; cut > limit / 2; cut = (size_t)ubrk_previous(lines)) {
        if (follows_punctuation(text, 0, cut)) return cut;
    }
    return last > 0 ? last : end;
}

clf_status clf_split_bytes(const char *text, size_t size, size_t limit, clf_spans *spans) {
    // ICU sees one part at a time, since a step back in it can cost as much as the whole line.
    enum { CONTEXT = 64 };
    breaks b;
    CLF_TRY(check_size(size));
    if (limit == 0) return clf_fail(CLF_ERROR_ARGUMENT, "cannot split text into parts of 0 bytes");
    CLF_TRY(breaks_init(UBRK_LINE, &b));
    size_t count = spans->count, begin = 0;
    clf_status status = CLF_OK;
    while (status == CLF_OK && size - begin > limit) {
        size_t rest = size - begin, window = rest - limit > CONTEXT ? limit + CONTEXT : rest;
        status = breaks_set(&b, text + begin, window);
        if (status != CLF_OK) break;
        size_t end = begin + find_cut(b.iterator, text + begin, rest, limit);
        status = push_trimmed(text, begin, end, spans);
        begin = end;
    }
    if (status == CLF_OK) status = push_trimmed(text, begin, size, spans);
    if (status != CLF_OK) spans->count = count;
    breaks_finish(&b);
    return status;
}

bool clf_utf8_valid(const char *text, size_t size) {
    UChar32 c;
    for (size_t i = 0; i < size;) {
        U8_NEXT(text, i, size, c);
        if (c < 0) return false;
    }
    return true;
}

clf_status clf_utf8_clean(const char *text, size_t size, clf_string *clean) {
    // The worst case is a replacement of three bytes for each.
    if (size > SIZE_MAX / 3 || !clf_array_reserve(clean, 3 * size)) return clf_fail_memory();
    UChar32 c;
    for (size_t i = 0; i < size;) {
        size_t begin = i;
        U8_NEXT(text, i, size, c);
        if (c < 0) {
            U8_APPEND_UNSAFE(clean->data, clean->count, REPLACEMENT);
        } else if (c < ' ' && c != '\t') {
            clean->data[clean->count++] = ' ';
        } else {
            memcpy(clean->data + clean->count, text + begin, i - begin);
            clean->count += i - begin;
        }
    }
    return CLF_OK;
}
