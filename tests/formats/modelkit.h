// SPDX-License-Identifier: MIT
// Copies of golden models that tests may damage, and parameters as plain floats.
#ifndef CLF_TESTS_FORMATS_MODELKIT_H
#define CLF_TESTS_FORMATS_MODELKIT_H

#include "formats/format.h"

// A copy of a golden directory, without its golden outputs. Valid until the next call.
const char *modelkit_copy(const char *golden);
// A file of the latest copy: its path (valid until the next call), its content (freed by free()),
// replacing it, deleting it.
const char *modelkit_path(const char *name);
char *modelkit_read(const char *name, size_t *size);
void modelkit_write(const char *name, const void *data, size_t size);
void modelkit_delete(const char *name);
// Replaces the first occurrence of a text in a file by another; fails the test if there is none.
void modelkit_replace(const char *name, const char *from, const char *to);

// Opens the copy, which must fail with this status and a message with the directory and `word`.
void modelkit_refused(clf_status status, const char *word);
// Opens the copy, which may or may not fail, but cleanly. Returns whether it opened.
bool modelkit_survives(void);

// All values of a parameter, freed by free(); NULL (a failed test) if it is not found.
float *modelkit_values(clf_format *format, const clf_param *param);

#endif
