// SPDX-License-Identifier: MIT
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/file.h"
#include "formats/json.h"
#include "train/recipe.h"

enum { LIMIT = 256 << 20 }; // bytes of a file

static clf_status locate(const char *directory, const char *name, char **path) {
    char *joined = clf_path_join(directory, name);
    if (!joined) return clf_fail_memory();
    if (clf_file_exists(joined)) {
        *path = joined;
    } else {
        free(joined);
    }
    return CLF_OK;
}

static clf_status find_id(const clf_json *json, const char *piece, int32_t *id) {
    int value = -1;
    CLF_TRY(clf_json_int(json, piece, 0, 1 << 24, &value));
    if (value < 0) {
        return clf_fail(CLF_ERROR_FORMAT, "%s: there is no %s; make it with clformer vocab",
                        json->path, piece);
    }
    *id = value;
    return CLF_OK;
}

// Size and special tokens of a vocab.json.
static clf_status read_vocabulary(const char *path, int *size, int32_t *eos, int32_t *pad) {
    clf_json json;
    CLF_TRY(clf_json_open(path, LIMIT, &json));
    *size = cJSON_GetArraySize(json.root);
    clf_status status = find_id(&json, "</s>", eos);
    if (status == CLF_OK) status = find_id(&json, "<pad>", pad);
    if (status == CLF_OK && *pad != *size - 1) {
        status = clf_fail(CLF_ERROR_FORMAT, "%s: <pad> must have the last id, %d", path, *size - 1);
    }
    clf_json_close(&json);
    return status;
}

// SentencePiece models beside a vocabulary of segmented text are somebody's oversight: readers of
// the model would go by one or the other.
static clf_status check_segmented(const char *directory, const clf_vocabulary_files *files) {
    char *path = NULL;
    clf_json json = {0};
    bool segmented = false;
    if (!files->source_spm) return CLF_OK;
    CLF_TRY(locate(directory, "tokenizer_config.json", &path));
    if (!path) return CLF_OK;
    clf_status status = clf_json_open(path, LIMIT, &json);
    if (status == CLF_OK) status = clf_json_bool(&json, "segmented", &segmented);
    if (status == CLF_OK && segmented) {
        status = clf_fail(CLF_ERROR_FORMAT,
                          "%s: the vocabulary is one of segmented text, but %s is there; remove it "
                          "and target.spm, or make another vocabulary",
                          path, files->source_spm);
    }
    clf_json_close(&json);
    free(path);
    return status;
}

static clf_status open_files(const char *directory, clf_vocabulary_files *files) {
    CLF_TRY(locate(directory, "vocab.json", &files->source_vocabulary));
    CLF_TRY(locate(directory, "target_vocab.json", &files->target_vocabulary));
    CLF_TRY(locate(directory, "source.spm", &files->source_spm));
    CLF_TRY(locate(directory, "target.spm", &files->target_spm));
    if (!files->source_vocabulary) {
        return clf_fail(CLF_ERROR_IO, "%s: there is no vocab.json; make one with clformer vocab",
                        directory);
    }
    if (!files->source_spm != !files->target_spm) {
        return clf_fail(CLF_ERROR_IO, "%s: one of source.spm and target.spm is missing", directory);
    }
    CLF_TRY(check_segmented(directory, files));
    CLF_TRY(
        read_vocabulary(files->source_vocabulary, &files->source_size, &files->eos, &files->pad));
    files->target_size = files->source_size;
    if (!files->target_vocabulary) return CLF_OK;
    int32_t eos = 0;
    CLF_TRY(read_vocabulary(files->target_vocabulary, &files->target_size, &eos, &files->pad));
    if (eos == files->eos) return CLF_OK;
    return clf_fail(CLF_ERROR_FORMAT, "%s: </s> has another id than in vocab.json",
                    files->target_vocabulary);
}

clf_status clf_vocabulary_files_open(const char *directory, clf_vocabulary_files *files) {
    clf_vocabulary_files found = {0};
    const clf_status status = open_files(directory, &found);
    if (status != CLF_OK) {
        clf_vocabulary_files_close(&found);
        return status;
    }
    *files = found;
    return CLF_OK;
}

void clf_vocabulary_files_close(clf_vocabulary_files *files) {
    free(files->source_spm);
    free(files->target_spm);
    free(files->source_vocabulary);
    free(files->target_vocabulary);
    *files = (clf_vocabulary_files){0};
}

clf_status clf_vocabulary_files_tokenizer(const clf_vocabulary_files *files,
                                          clf_tokenizer **tokenizer) {
    const clf_tokenizer_files opened = {.source_spm = files->source_spm,
                                        .target_spm = files->target_spm,
                                        .source_vocabulary = files->source_vocabulary,
                                        .target_vocabulary = files->target_vocabulary,
                                        .source_size = files->source_size,
                                        .target_size = files->target_size,
                                        .unk = "<unk>",
                                        .eos = "</s>",
                                        .append_eos = true};
    return clf_tokenizer_open(&opened, tokenizer);
}
