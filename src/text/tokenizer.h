// SPDX-License-Identifier: MIT
// Text to token ids and back.
// Immutable once opened, so thread-safe.
#ifndef CLF_TEXT_TOKENIZER_H
#define CLF_TEXT_TOKENIZER_H

#include <stdbool.h>

#include <clformer/status.h>

#include "base/array.h"
#include "base/hash.h"

typedef struct clf_tokenizer clf_tokenizer;

// A vocabulary file: vocab.json as an object {piece: id} or a list of pieces, or a text file with a
// piece per line. Where the two SentencePiece models are NULL, text is already segmented: tokens
// separated by blanks, joined by blanks on the way out.
typedef struct clf_tokenizer_files {
    const char *source_spm, *target_spm; // NULL: text comes segmented
    const char *source_vocabulary;       // path; NULL: the SentencePiece ids themselves
    const char *target_vocabulary;       // NULL: the source's
    int source_size, target_size;        // V of the model: ids from files must be below
    const char *unk;                     // "<unk>"; its id replaces unknown pieces
    const char *eos;                     // "</s>": appended to the source if ...
    bool append_eos;                     // ... this is set
    const char *bos;                     // put before the source if not NULL
    bool language_codes; // leading ">>xxx<<" codes are single tokens (OPUS-MT multi-target models)
} clf_tokenizer_files;

clf_status clf_tokenizer_open(const clf_tokenizer_files *files, clf_tokenizer **tokenizer);
void clf_tokenizer_close(clf_tokenizer *tokenizer); // NULL is allowed

// Appends the ids of `size` bytes of source text to `ids`, the end token included where the model
// wants one. Invalid UTF-8 counts as U+FFFD, each byte. Special tokens written out in a text, such
// as "</s>", are text like any other, but for language codes.
clf_status clf_tokenizer_encode_source(const clf_tokenizer *tokenizer, const char *text,
                                       size_t size, clf_ids *ids);
// The same for target text, without start and end tokens: for scoring and forced prefixes.
clf_status clf_tokenizer_encode_target(const clf_tokenizer *tokenizer, const char *text,
                                       size_t size, clf_ids *ids);
// Appends the text of target ids to `text` (no NUL). Start, end and control pieces give nothing;
// nor does the unknown piece, but in segmented text. The caller must have left out padding.
clf_status clf_tokenizer_decode(const clf_tokenizer *tokenizer, const int32_t *ids, size_t count,
                                clf_string *text);
// The target piece of an id, "?" if there is none. Lives as long as the tokenizer.
const char *clf_tokenizer_target_piece(const clf_tokenizer *tokenizer, int32_t id);
// Adds what decides how texts become ids: equal for tokenizers that never differ.
clf_hash clf_tokenizer_hash(const clf_tokenizer *tokenizer, clf_hash hash);
// The id of a target piece, -1 if there is none.
int32_t clf_tokenizer_target_id(const clf_tokenizer *tokenizer, const char *piece);

#endif
