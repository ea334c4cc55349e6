// SPDX-License-Identifier: MIT
// What must hold for a SentencePiece model before its library may see it: the library trusts the
// tables inside the file, and reads out of bounds or exits where they lie.
#ifndef CLF_TEXT_SPM_CHECK_H
#define CLF_TEXT_SPM_CHECK_H

#include <stddef.h>

#include <clformer/status.h>

// Checks the `size` bytes of a model file; `path` names it in messages.
clf_status clf_spm_check(const char *path, const void *data, size_t size);

#endif
