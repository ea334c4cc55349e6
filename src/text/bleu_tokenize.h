// SPDX-License-Identifier: MIT
// sacreBLEU's tokenisations.
#ifndef CLF_TEXT_BLEU_TOKENIZE_H
#define CLF_TEXT_BLEU_TOKENIZE_H

#include <clformer/evaluate.h>

#include "base/array.h"

// Puts white space between the tokens of a segment, in place; `scratch` is used up.
clf_status clf_bleu_tokenize(clf_bleu_tokenization tokenization, clf_ids *text, clf_ids *scratch);

#endif
