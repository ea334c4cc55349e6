// SPDX-License-Identifier: MIT
// Writing model directories.
#ifndef CLF_FORMATS_SAVE_H
#define CLF_FORMATS_SAVE_H

#include "formats/format.h"
#include "formats/values.h"
#include "model/model.h"

typedef enum clf_save_kind {
    CLF_SAVE_HUGGINGFACE, // config.json, generation_config.json, model.safetensors; Marian
    CLF_SAVE_CTRANSLATE2  // model.bin of version 6, config.json, vocabularies,
                          // generation_config.json
} clf_save_kind;

typedef struct clf_save_options {
    clf_save_kind kind;
    clf_dtype weights; // CLF_F32, CLF_F16, or CLF_I8 (CTranslate2 only: a scale for each row)
    // What goes into a Hugging Face config for those who train on: dropout rates.
    float dropout, attention_dropout, activation_dropout;
    // Vocabulary files, copied under the names that the format wants; as clf_tokenizer_files.
    const char *source_spm, *target_spm, *source_vocabulary, *target_vocabulary;
    const char *unk, *bos; // NULL: "<unk>", "<s>"
    bool prepend_bos;      // the source begins with `bos`
    bool no_eos;           // the source does not end with an end token
} clf_save_options;

// Writes a directory that the format's own library loads, made if it is absent. Each file appears
// whole or not at all; the weights come last. A model that is there is replaced. One that the
// format cannot say (pre-norm in Marian's) is CLF_ERROR_UNSUPPORTED. The caller holds the device's
// lock.
clf_status clf_format_save(const char *directory, clf_model *model,
                           const clf_generation *generation, const clf_save_options *options);
// The format for a model of this configuration: Hugging Face's, or CTranslate2's where Marian's
// cannot say the model. CLF_ERROR_UNSUPPORTED if neither can. `name` is what the message begins
// with.
clf_status clf_format_choose(const char *name, const clf_config *config,
                             const clf_generation *generation, clf_save_kind *kind);
// clf_format_save without a device.
clf_status clf_format_save_values(const char *directory, const clf_config *config,
                                  clf_values values, const clf_generation *generation,
                                  const clf_save_options *options);

#endif
