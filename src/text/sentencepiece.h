// SPDX-License-Identifier: MIT
// SentencePiece through a C interface. Immutable once opened, so thread-safe.
#ifndef CLF_TEXT_SENTENCEPIECE_H
#define CLF_TEXT_SENTENCEPIECE_H

#include <stddef.h>

#include <clformer/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct clf_spm clf_spm;

// Opens the model in the `size` bytes at `data`, which are only needed during the call and must
// have passed clf_spm_check. `path` names the file in messages.
clf_status clf_spm_open(const char *path, const void *data, size_t size, clf_spm **spm);
void clf_spm_close(clf_spm *spm); // NULL is allowed

int clf_spm_count(const clf_spm *spm); // pieces
// The piece of an id in [0, count). Lives as long as the model.
const char *clf_spm_piece(const clf_spm *spm, int id);

// Takes a piece of an encoded text, or a decoded text (no NUL at its end); another result than
// CLF_OK ends the call with that status.
typedef clf_status clf_spm_take(void *user, const char *bytes, size_t size);

// Gives the pieces of a text to `take` in order. A piece may be one that the model does not have: a
// run of unknown characters.
clf_status clf_spm_encode(const clf_spm *spm, const char *text, size_t size, clf_spm_take *take,
                          void *user);
// Gives the text of `count` pieces to `take`, once. Control pieces give nothing; pieces that the
// model does not have give themselves.
clf_status clf_spm_decode(const clf_spm *spm, const char *const *pieces, size_t count,
                          clf_spm_take *take, void *user);

#ifdef __cplusplus
}
#endif
#endif
