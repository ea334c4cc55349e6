// SPDX-License-Identifier: MIT
// SentencePiece's trainer through a C interface.
#ifndef CLF_TEXT_SPM_TRAIN_H
#define CLF_TEXT_SPM_TRAIN_H

#include <stdbool.h>

#include "text/sentencepiece.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { CLF_SPM_LINE = 4192 }; // bytes; SentencePiece leaves out longer lines

typedef struct clf_spm_recipe {
    const char *type; // "unigram", "bpe", "char", "word"
    int size;         // pieces at most, </s> (id 0) and <unk> (id 1) included
    float coverage;   // share of characters that become pieces, 0.98 to 1
    bool large;       // more than a gigabyte of text: counts in 64 bits
} clf_spm_recipe;

// Gives the next line, valid until the next call; NULL at the end. Another result than CLF_OK ends
// the training with that status.
typedef clf_status clf_spm_give(void *user, const char **line, size_t *size);

// Gives the bytes of a model file to `take`, once. `name` is what messages begin with. The same
// lines give the same model. Its normalisation must leave something of each line.
clf_status clf_spm_train(const char *name, const clf_spm_recipe *recipe, clf_spm_give *give,
                         void *giver, clf_spm_take *take, void *taker);

#ifdef __cplusplus
}
#endif
#endif
