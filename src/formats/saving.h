// SPDX-License-Identifier: MIT
// Writing a model directory from the inside, and what each file format provides.
#ifndef CLF_FORMATS_SAVING_H
#define CLF_FORMATS_SAVING_H

#include <cJSON.h>

#include "formats/save.h"
#include "text/vocabulary.h"

typedef struct clf_saving {
    const char *directory;
    const clf_config *config;
    const clf_generation *generation;
    const clf_save_options *options;
    clf_values values;
    clf_param *params;
    int count;
    clf_vocabulary *source, *target; // `target` is `source` if there is one file
    float *data;                     // of the latest clf_saving_read
    void *packed;                    // room for the same in another type
    float *scales;                   // room for one of each row
} clf_saving;

typedef struct clf_saving_kind {
    // Refuses what the format cannot say.
    clf_status (*check)(const clf_saving *s);
    clf_status (*write)(clf_saving *s);
} clf_saving_kind;

extern const clf_saving_kind clf_save_huggingface, clf_save_ctranslate2;

// The numbers of a search as Hugging Face names them (clf_huggingface_search), into an object.
bool clf_saving_add_search(cJSON *object, const clf_generation *generation);
// Copies the SentencePiece models into the directory. Without any, removes those that are there:
// they would be taken for the model's.
clf_status clf_saving_spms(const clf_saving *s);

// The values of a parameter in `s->data`.
clf_status clf_saving_read(clf_saving *s, const clf_param *param);
// The status of values that a type cannot hold.
clf_status clf_saving_fail_range(const clf_saving *s, const char *name, const char *type);

// Refuses attention that neither format can say.
clf_status clf_saving_check_stack(const clf_saving *s, const clf_stack_config *stack);
// CLF_ERROR_UNSUPPORTED: "directory: a model with `what` cannot be saved in ... format".
clf_status clf_saving_refuse(const clf_saving *s, const char *what);
// Adds a number in the fewest digits that give this float.
bool clf_saving_add_float(cJSON *object, const char *key, float value);

#endif
