// SPDX-License-Identifier: MIT
// A table of pieces and their ids. Immutable once opened, so thread-safe.
#ifndef CLF_TEXT_VOCABULARY_H
#define CLF_TEXT_VOCABULARY_H

#include <clformer/status.h>

#include "base/array.h"
#include "base/hash.h"
#include "text/sentencepiece.h"

typedef struct clf_vocabulary clf_vocabulary;

// Reads a file whose name ends in ".json", an object {piece: id} or a list of pieces, or a text
// file with a piece per line. Ids must be below `size`, each at most once and without a gap; ids
// at the end may lack a piece. Of equal pieces in a list or text file the first counts, and `unk`
// is added at its end if it is not there, both as in CTranslate2.
clf_status clf_vocabulary_open(const char *path, int size, const char *unk,
                               clf_vocabulary **vocabulary);
// The pieces and ids of a SentencePiece model, `path` in messages.
clf_status clf_vocabulary_from_spm(const clf_spm *spm, const char *path, int size,
                                   clf_vocabulary **vocabulary);
void clf_vocabulary_close(clf_vocabulary *vocabulary); // NULL is allowed

// The id of a piece, -1 if there is none.
int32_t clf_vocabulary_id(const clf_vocabulary *vocabulary, const char *piece, size_t size);
// The piece of an id, NULL if there is none. Lives as long as the vocabulary.
const char *clf_vocabulary_piece(const clf_vocabulary *vocabulary, int32_t id);
// Adds the pieces and their ids.
clf_hash clf_vocabulary_hash(const clf_vocabulary *vocabulary, clf_hash hash);

#endif
