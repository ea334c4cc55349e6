// SPDX-License-Identifier: MIT
// BLEU of a model directory on a validation text.
#ifndef CLF_TOOLS_TRAIN_BLEU_H
#define CLF_TOOLS_TRAIN_BLEU_H

#include <clformer/clformer.h>

typedef struct valid_text valid_text;

// Reads both files whole; NULL after a message. Segmented text is translated as it is and compared
// with its "@@ " joined.
valid_text *valid_text_open(const char *source_path, const char *target_path, bool segmented);
void valid_text_close(valid_text *text); // NULL is allowed

typedef struct valid_options {
    int beam;
    int max_length; // tokens of a translation: an untrained model does not find its end
    clf_bleu_tokenization tokenization;
    clf_progress_function *progress;
    void *user;
} valid_options;

// The BLEU, or the library's failure.
clf_status valid_text_score(const valid_text *text, clf_device *device, const char *model,
                            const valid_options *options, double *bleu);

#endif
