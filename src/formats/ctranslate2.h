// SPDX-License-Identifier: MIT
// The parts of reading a CTranslate2 directory.
#ifndef CLF_FORMATS_CTRANSLATE2_H
#define CLF_FORMATS_CTRANSLATE2_H

#include "formats/internal.h"

// "encoder" or "decoder".
const char *clf_ctranslate2_side(clf_side side);

// The variable of a parameter (for a gated CLF_PARAM_FFN_IN the first of two).
void clf_ctranslate2_name(clf_param_kind kind, clf_side side, int layer, char name[CLF_NAME_SIZE]);
clf_stored *clf_ctranslate2_variable(const clf_store *store, clf_param_kind kind, clf_side side,
                                     int layer);

// The clf_format_kind functions.
clf_status clf_ctranslate2_find(clf_format *format, const clf_param *param,
                                clf_piece pieces[CLF_MAX_PIECES], int *count);
// Refuses variables that nobody asked for: they mean a computation that clformer does not have.
clf_status clf_ctranslate2_check(const clf_format *format);

#endif
