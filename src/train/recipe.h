// SPDX-License-Identifier: MIT
// What a training is to do, with every default filled in: the options of clf_train made whole.
// Private to src/train/.
#ifndef CLF_TRAIN_RECIPE_H
#define CLF_TRAIN_RECIPE_H

#include <clformer/train.h>

#include "base/hash.h"
#include "model/config.h"
#include "text/corpus.h"
#include "train/optimizer.h"
#include "train/pass.h"

// The files of a vocabulary directory. Strings are owned; NULL: there is no such file.
typedef struct clf_vocabulary_files {
    char *source_spm, *target_spm, *source_vocabulary, *target_vocabulary;
    int source_size, target_size; // V, padding included
    int32_t eos, pad;
} clf_vocabulary_files;

clf_status clf_vocabulary_files_open(const char *directory, clf_vocabulary_files *files);
void clf_vocabulary_files_close(clf_vocabulary_files *files); // a zeroed one is allowed
clf_status clf_vocabulary_files_tokenizer(const clf_vocabulary_files *files,
                                          clf_tokenizer **tokenizer);

// The options with zeros replaced by defaults and -1 by zero. Impossible values are
// CLF_ERROR_ARGUMENT.
clf_status clf_recipe_resolve(const clf_train_options *options, clf_train_options *resolved);

// The configuration of a new model of this shape.
clf_status clf_recipe_config(const clf_train_shape *shape, const clf_vocabulary_files *files,
                             clf_config *config);
// How the model is to be searched when it is used: not for more tokens than it has learnt to make.
clf_generation clf_recipe_generation(int max_length, const clf_vocabulary_files *files);

clf_pass_options clf_recipe_pass(const clf_train_options *options);
clf_optimizer_options clf_recipe_optimizer(const clf_train_options *options);
// `updates`: of the whole training.
clf_schedule clf_recipe_schedule(const clf_train_options *options, int64_t updates);

// Hash of all that must stay the same for a resumed training to be the same training: model,
// recipe, text. `passes` is the number of micro-batches of an update.
void clf_recipe_hash(const clf_train_options *options, const clf_config *config,
                     const clf_corpus_counts *text, int passes, char hash[CLF_HASH_TEXT]);

// Random first values: uniform by Glorot and Bengio (2010) for the layers' matrices, normal with
// deviation C^-1/2 for embeddings (the padding row is zero), ones for norms, zeros for biases. The
// source must be freed by clf_initial_destroy.
typedef struct clf_initial clf_initial;
clf_status clf_initial_create(const clf_config *config, uint64_t seed, clf_initial **initial);
void clf_initial_destroy(clf_initial *initial); // NULL is allowed
clf_param_source clf_initial_source(clf_initial *initial);

#endif
