// SPDX-License-Identifier: MIT
// Vocabularies from text. Ids are </s>, <unk>, the pieces, <pad> last: what Marian's format wants.
#include <clformer/train.h>

#include <stdlib.h>
#include <string.h>

#include <cJSON.h>
#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include "base/array.h"
#include "base/fail.h"
#include "base/file.h"
#include "base/json_write.h"
#include "base/rng.h"
#include "text/lines.h"
#include "text/spm_train.h"
#include "text/word_count.h"

#define DEFAULT_SENTENCES 2000000
#define LARGE_TEXT        ((double)(1 << 30)) // bytes

static const char *const reserved[] = {"</s>", "<unk>", "<pad>"};
enum { FIRST = 2 }; // id of the first piece of the text

// Lines of several files, one file after another.
typedef struct reader {
    const char *const *paths;
    int count, next; // paths; the one to open next
    clf_lines *lines;
} reader;

static clf_status read_line(reader *r, const char **text, size_t *size) {
    *text = NULL;
    while (r->lines || r->next < r->count) {
        if (!r->lines) CLF_TRY(clf_lines_open(r->paths[r->next++], &r->lines));
        CLF_TRY(clf_lines_next(r->lines, text, size));
        if (*text) return CLF_OK;
        clf_lines_close(r->lines);
        r->lines = NULL;
    }
    return CLF_OK;
}

// ---- SentencePiece ------------------------------------------------------------------------------

// Some of the usable lines of a text, drawn at random while they pass (Knuth, algorithm S).
typedef struct sample {
    reader reader;
    uint64_t left, wanted; // usable lines to come, and those of them to take
    clf_rng rng;
} sample;

// Whether SentencePiece can learn from a line: one that its normalisation leaves nothing of would
// end the process, and lines with its signs for blanks and unknown pieces are left out.
static bool is_usable(const char *text, size_t size) {
    bool good = false;
    UChar32 c;
    for (size_t i = 0; i < size;) {
        U8_NEXT(text, i, size, c);
        if (c == 0x2585) return false;
        bool seen = U_GET_GC_MASK(c) & (U_GC_L_MASK | U_GC_N_MASK | U_GC_P_MASK | U_GC_S_MASK);
        good = good || (seen && c != 0x2581 && c != 0xFFFD);
    }
    return good && size <= CLF_SPM_LINE;
}

static clf_status usable_line(reader *r, const char **text, size_t *size) {
    for (;;) {
        CLF_TRY(read_line(r, text, size));
        if (!*text || is_usable(*text, *size)) return CLF_OK;
    }
}

static clf_status give_line(void *user, const char **text, size_t *size) {
    sample *s = user;
    for (*text = NULL; s->wanted > 0;) {
        CLF_TRY(usable_line(&s->reader, text, size));
        if (!*text) return CLF_OK;
        uint64_t drawn =
            (uint64_t)((unsigned __int128)clf_rng_next(&s->rng) * s->left >> 64); // below `left`
        s->left--;
        if (drawn < s->wanted) {
            s->wanted--;
            return CLF_OK;
        }
        *text = NULL;
    }
    return CLF_OK;
}

static clf_status count_lines(const char *const *paths, int count, uint64_t *lines, double *bytes) {
    reader r = {.paths = paths, .count = count};
    const char *text = "";
    clf_status status = CLF_OK;
    *lines = 0;
    *bytes = 0;
    while (status == CLF_OK && text) {
        size_t size;
        status = usable_line(&r, &text, &size);
        if (status != CLF_OK || !text) break;
        *bytes += (double)size;
        ++*lines;
    }
    clf_lines_close(r.lines);
    if (status == CLF_OK && *lines == 0) {
        status = clf_fail(CLF_ERROR_FORMAT, "%s: no text to make a vocabulary from", paths[0]);
    }
    return status;
}

static clf_status take_model(void *user, const char *bytes, size_t size) {
    clf_string *model = user;
    if (!clf_array_reserve(model, size)) return clf_fail_memory();
    memcpy(model->data, bytes, size);
    model->count = size;
    return CLF_OK;
}

static clf_status train_spm(const char *name, const clf_vocabulary_options *o,
                            const char *const *paths, int count, clf_string *model) {
    uint64_t lines;
    double bytes;
    CLF_TRY(count_lines(paths, count, &lines, &bytes));
    uint64_t wanted = lines < (uint64_t)o->sentences ? lines : (uint64_t)o->sentences;
    clf_spm_recipe recipe = {.type = o->model_type,
                             .size = o->size,
                             .coverage = o->character_coverage,
                             .large = bytes * (double)wanted / (double)lines > LARGE_TEXT};
    sample s = {.reader = {.paths = paths, .count = count},
                .left = lines,
                .wanted = wanted,
                .rng = {o->seed}};
    clf_status status = clf_spm_train(name, &recipe, give_line, &s, take_model, model);
    clf_lines_close(s.reader.lines);
    return status;
}

// ---- the tables ---------------------------------------------------------------------------------

static clf_status add_piece(cJSON *table, const char *piece, int id) {
    return cJSON_AddNumberToObject(table, piece, id) ? CLF_OK : clf_fail_memory();
}

static bool is_reserved(const char *piece, size_t size) {
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++) {
        if (strlen(reserved[i]) == size && memcmp(piece, reserved[i], size) == 0) return true;
    }
    return false;
}

static clf_status add_spm(const char *name, const clf_string *model, cJSON *table, int *size) {
    clf_spm *spm;
    CLF_TRY(clf_spm_open(name, model->data, model->count, &spm));
    clf_status status = CLF_OK;
    *size = clf_spm_count(spm);
    for (int id = 0; id < *size && status == CLF_OK; id++) {
        const char *piece = clf_spm_piece(spm, id);
        if (id >= FIRST && is_reserved(piece, strlen(piece))) {
            status = clf_fail(CLF_ERROR_FORMAT, "%s: the text has '%s', which is a special token",
                              name, piece);
        } else {
            status = add_piece(table, piece, id);
        }
    }
    clf_spm_close(spm);
    return status;
}

static clf_status count_words(const char *const *paths, int count, clf_word_count *words) {
    reader r = {.paths = paths, .count = count};
    const char *text;
    size_t size;
    clf_status status = read_line(&r, &text, &size);
    while (status == CLF_OK && text) {
        for (size_t end, begin = 0; begin < size && status == CLF_OK; begin = end + 1) {
            for (end = begin; end < size && text[end] != ' ' && text[end] != '\t';) end++;
            if (end == begin || is_reserved(text + begin, end - begin)) continue;
            status = clf_word_count_add(words, text + begin, end - begin);
        }
        if (status == CLF_OK) status = read_line(&r, &text, &size);
    }
    clf_lines_close(r.lines);
    if (status == CLF_OK && words->words.count == 0) {
        status = clf_fail(CLF_ERROR_FORMAT, "%s: no text to make a vocabulary from", paths[0]);
    }
    return status;
}

static clf_status add_words(const clf_vocabulary_options *o, const char *const *paths, int count,
                            cJSON *table, int *size) {
    clf_word_count words = {0};
    clf_status status = count_words(paths, count, &words);
    if (status == CLF_OK) clf_word_count_sort(&words);
    for (*size = 0; status == CLF_OK && *size < FIRST; ++*size) {
        status = add_piece(table, reserved[*size], *size);
    }
    for (size_t i = 0; status == CLF_OK && i < words.words.count && *size < o->size; i++) {
        status = add_piece(table, words.text.data + words.words.data[i].begin, (*size)++);
    }
    clf_word_count_free(&words);
    return status;
}

// ---- the directory ------------------------------------------------------------------------------

// Where one side's vocabulary, or that of both, is written.
typedef struct place {
    const char *directory, *table;
    const char *models[2]; // one may be NULL
} place;

static clf_status make_side(const place *to, const clf_vocabulary_options *o,
                            const char *const *paths, int count) {
    clf_string model = {0};
    int size = 0;
    cJSON *table = cJSON_CreateObject();
    clf_status status = table ? CLF_OK : clf_fail_memory();
    if (status == CLF_OK && o->segmented) {
        status = add_words(o, paths, count, table, &size);
    } else if (status == CLF_OK) {
        status = train_spm(to->directory, o, paths, count, &model);
        if (status == CLF_OK) status = add_spm(to->directory, &model, table, &size);
    }
    if (status == CLF_OK) status = add_piece(table, "<pad>", size);
    for (int i = 0; i < 2 && status == CLF_OK; i++) {
        if (!to->models[i]) continue;
        if (o->segmented) {
            clf_file_remove_in(to->directory, to->models[i]); // of an earlier vocabulary
        } else {
            status = clf_file_write_in(to->directory, to->models[i], model.data, model.count);
        }
    }
    if (status == CLF_OK) {
        status = clf_json_write(to->directory, to->table, table);
        table = NULL;
    }
    if (status == CLF_OK && size < o->size) {
        clf_log(CLF_LOG_WARNING, "%s/%s: the text has only %d pieces, not %d", to->directory,
                to->table, size, o->size);
    }
    cJSON_Delete(table);
    clf_array_free(&model);
    return status;
}

static clf_status make_joint(const char *directory, const clf_vocabulary_options *o) {
    int count = o->source_count + o->target_count;
    const char **paths = malloc((size_t)count * sizeof *paths);
    if (!paths) return clf_fail_memory();
    for (int i = 0; i < count; i++) {
        paths[i] = i < o->source_count ? o->source_files[i] : o->target_files[i - o->source_count];
    }
    place to = {directory, "vocab.json", {"source.spm", "target.spm"}};
    clf_file_remove_in(directory, "target_vocab.json"); // of an earlier vocabulary
    clf_status status = make_side(&to, o, paths, count);
    free(paths);
    return status;
}

static clf_status make_separate(const char *directory, const clf_vocabulary_options *o) {
    place source = {directory, "vocab.json", {"source.spm"}};
    place target = {directory, "target_vocab.json", {"target.spm"}};
    CLF_TRY(make_side(&source, o, o->source_files, o->source_count));
    return make_side(&target, o, o->target_files, o->target_count);
}

static clf_status write_config(const char *directory, const clf_vocabulary_options *o) {
    cJSON *root = cJSON_CreateObject();
    const char *kind = o->segmented ? "segmented" : "tokenizer_class";
    bool good = root &&
                (o->segmented ? cJSON_AddTrueToObject(root, kind)
                              : cJSON_AddStringToObject(root, kind, "MarianTokenizer")) &&
                cJSON_AddStringToObject(root, "eos_token", reserved[0]) &&
                cJSON_AddStringToObject(root, "unk_token", reserved[1]) &&
                cJSON_AddStringToObject(root, "pad_token", reserved[2]) &&
                cJSON_AddBoolToObject(root, "separate_vocabs", o->separate);
    if (!good) {
        cJSON_Delete(root);
        root = NULL;
    }
    return clf_json_write(directory, "tokenizer_config.json", root);
}

static clf_status check_options(const clf_vocabulary_options *o) {
    static const char *const types[] = {"unigram", "bpe", "char", "word"};
    bool known = false;
    for (int i = 0; i < 4; i++) known = known || strcmp(o->model_type, types[i]) == 0;
    if (!known) {
        return clf_fail(CLF_ERROR_ARGUMENT,
                        "a model type '%.40s' is not known; use unigram, bpe, char or word",
                        o->model_type);
    }
    if (o->size <= FIRST || o->size > 1 << 24) {
        return clf_fail(CLF_ERROR_ARGUMENT, "a vocabulary of %d pieces is not possible", o->size);
    }
    if (!(o->character_coverage >= 0.98f && o->character_coverage <= 1)) {
        return clf_fail(CLF_ERROR_ARGUMENT,
                        "a character coverage of %g is not possible; use 0.98 "
                        "to 1",
                        (double)o->character_coverage);
    }
    if (o->sentences < 1 || o->source_count < 0 || o->target_count < 0) {
        return clf_fail(CLF_ERROR_ARGUMENT, "a vocabulary from less than one sentence");
    }
    if (o->separate ? o->source_count == 0 || o->target_count == 0
                    : o->source_count + o->target_count == 0) {
        return clf_fail(CLF_ERROR_ARGUMENT, "a vocabulary needs text%s",
                        o->separate ? " of both languages" : "");
    }
    return CLF_OK;
}

// A model's tokens would lose their meaning.
static clf_status check_directory(const char *directory) {
    char *path = clf_path_join(directory, "config.json");
    if (!path) return clf_fail_memory();
    bool is_model = clf_file_exists(path);
    free(path);
    if (!is_model) return CLF_OK;
    return clf_fail(CLF_ERROR_ARGUMENT,
                    "%s: holds a model, which a new vocabulary would spoil; use another directory",
                    directory);
}

clf_status clf_vocabulary_train(const char *directory, const clf_vocabulary_options *options) {
    if (!directory || !options) {
        return clf_fail(CLF_ERROR_ARGUMENT, "clf_vocabulary_train: an argument is NULL");
    }
    clf_vocabulary_options o = *options;
    if (o.size == 0) o.size = 8000;
    if (!o.model_type) o.model_type = "unigram";
    if (o.character_coverage == 0) o.character_coverage = 0.9995f;
    if (o.sentences == 0) o.sentences = DEFAULT_SENTENCES;
    CLF_TRY(check_options(&o));
    CLF_TRY(check_directory(directory));
    CLF_TRY(clf_file_make_public_directory(directory));
    // It comes last, and so tells whether a vocabulary is whole.
    clf_file_remove_in(directory, "tokenizer_config.json");
    CLF_TRY(o.separate ? make_separate(directory, &o) : make_joint(directory, &o));
    return write_config(directory, &o);
}
