// SPDX-License-Identifier: MIT
// Sentence boundaries of long lines, by ICU's break iterator.
#ifndef CLF_TEXT_SPLIT_H
#define CLF_TEXT_SPLIT_H

#include <stdbool.h>
#include <stddef.h>

#include <clformer/status.h>

#include "base/array.h"

// A part of a line: bytes [begin, end), without the white space around it.
typedef struct clf_span {
    size_t begin, end;
} clf_span;
typedef CLF_ARRAY(clf_span) clf_spans;

// Appends the sentences of a line in order. Blank sentences are left out. `text` is valid UTF-8
// (see clf_utf8_clean).
clf_status clf_split_sentences(const char *text, size_t size, clf_spans *spans);

// Cuts [0, size) into parts of at most `limit` bytes, preferring to cut after punctuation, then
// between words (ICU line breaks), then between characters; never inside a character, even where
// one alone is longer. `text` is valid UTF-8.
clf_status clf_split_bytes(const char *text, size_t size, size_t limit, clf_spans *spans);

// The span without the white space at both ends; empty if there is nothing else.
clf_span clf_utf8_trim(const char *text, clf_span span);

bool clf_utf8_valid(const char *text, size_t size);

// Appends `text` with every invalid UTF-8 sequence, NUL and other C0 control character (but tab)
// replaced: invalid by U+FFFD, controls by a blank.
clf_status clf_utf8_clean(const char *text, size_t size, clf_string *clean);

// Appends a translated sentence after those already in `text`: with a blank between, but without
// one next to scripts that are written without blanks (Chinese, Japanese).
clf_status clf_text_append_sentence(clf_string *text, const char *sentence, size_t size);

#endif
