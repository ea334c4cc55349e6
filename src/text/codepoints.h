// SPDX-License-Identifier: MIT
// Text as Unicode code points, with the meanings of white space and lower case that Python has.
#ifndef CLF_TEXT_CODEPOINTS_H
#define CLF_TEXT_CODEPOINTS_H

#include <stdbool.h>
#include <stdint.h>

#include <clformer/status.h>

#include "base/array.h"

// White space as Python's str.split() and str.strip(), thus Hugging Face's tokenizers and
// sacreBLEU, see it.
bool clf_codepoint_is_blank(int32_t c);

// Replaces `*codepoints` by those of a string; U+FFFD stands for each invalid sequence, as it does
// after Python's decode("utf-8", "replace"). No string at all is CLF_ERROR_ARGUMENT.
clf_status clf_codepoints_decode(const char *text, clf_ids *codepoints);

// In place, by the rules of no language: as Python's str.lower().
clf_status clf_codepoints_lower(clf_ids *codepoints);

#endif
