// SPDX-License-Identifier: MIT
#include "formats/internal.h"

clf_status clf_format_tokenizer(const clf_format *format, clf_tokenizer **tokenizer) {
    const clf_format_text *text = &format->text;
    clf_tokenizer_files files = {
        .source_spm = text->source_spm,
        .target_spm = text->target_spm,
        .source_vocabulary = text->source_vocabulary,
        .target_vocabulary = text->target_vocabulary,
        .source_size = format->config.source_vocabulary,
        .target_size = format->config.target_vocabulary,
        .unk = text->unk,
        .eos = text->eos,
        .append_eos = text->append_eos,
        .bos = text->prepend_bos ? text->bos : NULL,
        .language_codes = text->language_codes,
    };
    return clf_tokenizer_open(&files, tokenizer);
}
