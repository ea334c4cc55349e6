// SPDX-License-Identifier: MIT
// An open model directory from the inside, and what each file format provides.
#ifndef CLF_FORMATS_INTERNAL_H
#define CLF_FORMATS_INTERNAL_H

#include "formats/format.h"
#include "formats/store.h"

enum { CLF_NAME_SIZE = 128 }; // room for any tensor's name that is looked for

typedef struct clf_format_kind {
    // Reads the directory's configuration and tensors into the format.
    clf_status (*open)(clf_format *format);
    // The pieces of one parameter; any failure names the file.
    clf_status (*find)(clf_format *format, const clf_param *param, clf_piece pieces[CLF_MAX_PIECES],
                       int *count);
    // Called when each parameter was found once; may be NULL.
    clf_status (*check)(const clf_format *format);
} clf_format_kind;

extern const clf_format_kind clf_huggingface, clf_ctranslate2;

// What clf_tokenizer_files points to; each string is owned and may be NULL.
typedef struct clf_format_text {
    char *source_spm, *target_spm, *source_vocabulary, *target_vocabulary;
    char *unk, *bos, *eos;
    bool append_eos, prepend_bos, language_codes;
} clf_format_text;

struct clf_format {
    const clf_format_kind *kind;
    char *directory;
    clf_config config;
    clf_generation generation;
    clf_store store;
    clf_format_text text;
};

// "directory/name" in `*path` if that file exists, else NULL. Frees what `*path` held.
clf_status clf_format_locate(const clf_format *format, const char *name, char **path);
// The same for a file that must exist.
clf_status clf_format_require(const clf_format *format, const char *name, char **path);

#endif
