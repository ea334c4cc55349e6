// SPDX-License-Identifier: MIT
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/file.h"
#include "text/sentencepiece.h"
#include "text/split.h"
#include "text/spm_check.h"
#include "text/vocabulary.h"

#define SPM_LIMIT  ((size_t)256 << 20) // bytes of a model
#define LINE_LIMIT ((size_t)256 << 20) // bytes of a text: SentencePiece counts in int
#define META_SPACE "\xE2\x96\x81"      // U+2581, a blank inside a piece

// One language: its model and its vocabulary, both owned by the tokenizer.
typedef struct side {
    const clf_spm *spm; // NULL: text comes segmented
    const clf_vocabulary *vocabulary;
    const char *path; // of the vocabulary, for messages
    int32_t unk;      // -1: there is none
} side;

struct clf_tokenizer {
    side source, target;
    clf_spm *spms[2];
    clf_vocabulary *vocabularies[2];
    char *paths[2];
    clf_hash spm_hash; // of the models' files
    int32_t bos, eos;  // of the source, -1: not wanted
    int32_t target_bos, target_eos;
    bool language_codes;
};

static clf_status open_spm(const clf_file_map *map, clf_spm **spm) {
    if (map->size > SPM_LIMIT) {
        return clf_fail(CLF_ERROR_FORMAT, "%s: too large for a SentencePiece model", map->path);
    }
    CLF_TRY(clf_spm_check(map->path, map->data, map->size));
    return clf_spm_open(map->path, map->data, map->size, spm);
}

static bool same_content(const clf_file_map *a, const clf_file_map *b) {
    return a->size == b->size && a->size > 0 && memcmp(a->data, b->data, a->size) == 0;
}

// Opens both SentencePiece models; one that serves both languages is loaded once, though there
// often are two equal files of it.
static clf_status open_spms(clf_tokenizer *t, const clf_tokenizer_files *files) {
    clf_file_map source = {0}, target = {0};
    clf_status status = CLF_OK;
    if (files->source_spm) status = clf_file_map_open(files->source_spm, &source);
    if (status == CLF_OK && files->target_spm) {
        status = clf_file_map_open(files->target_spm, &target);
    }
    if (status == CLF_OK && files->source_spm) status = open_spm(&source, &t->spms[0]);
    bool same = files->source_spm && files->target_spm && same_content(&source, &target);
    if (status == CLF_OK && files->target_spm && !same) status = open_spm(&target, &t->spms[1]);
    t->source.spm = t->spms[0];
    t->target.spm = same ? t->spms[0] : t->spms[1];
    t->spm_hash = clf_hash_bytes(clf_hash_start(), source.data, source.size);
    t->spm_hash = clf_hash_bytes(t->spm_hash, target.data, target.size);
    clf_file_map_close(&source);
    clf_file_map_close(&target);
    return status;
}

// Opens the vocabulary of one side: the file, or the pieces of the side's model.
static clf_status open_vocabulary(clf_tokenizer *t, int index, const clf_tokenizer_files *files) {
    side *s = index == 0 ? &t->source : &t->target;
    const char *path = index == 0 ? files->source_vocabulary : files->target_vocabulary;
    const char *spm_path = index == 0 ? files->source_spm : files->target_spm;
    int size = index == 0 ? files->source_size : files->target_size;
    bool shared = index == 0 && path && !files->target_vocabulary;
    if (shared && files->target_size < size) size = files->target_size;
    if (!path && !spm_path) {
        return clf_fail(CLF_ERROR_ARGUMENT, "a tokenizer needs a vocabulary or a SentencePiece "
                                            "model for each language");
    }
    t->paths[index] = strdup(path ? path : spm_path);
    if (!t->paths[index]) return clf_fail_memory();
    s->path = t->paths[index];
    if (path) {
        CLF_TRY(clf_vocabulary_open(path, size, files->unk, &t->vocabularies[index]));
    } else {
        CLF_TRY(clf_vocabulary_from_spm(s->spm, spm_path, size, &t->vocabularies[index]));
    }
    s->vocabulary = t->vocabularies[index];
    return CLF_OK;
}

static int32_t find(const side *s, const char *piece) {
    return piece ? clf_vocabulary_id(s->vocabulary, piece, strlen(piece)) : -1;
}

static clf_status find_needed(const side *s, const char *piece, int32_t *id) {
    *id = find(s, piece);
    if (*id >= 0) return CLF_OK;
    return clf_fail(CLF_ERROR_FORMAT, "%s: has no piece '%s', which the model needs", s->path,
                    piece);
}

static clf_status open_all(clf_tokenizer *t, const clf_tokenizer_files *files) {
    CLF_TRY(open_spms(t, files));
    CLF_TRY(open_vocabulary(t, 0, files));
    if (files->target_vocabulary || !files->source_vocabulary) {
        CLF_TRY(open_vocabulary(t, 1, files));
    } else {
        t->target.vocabulary = t->source.vocabulary;
        t->target.path = t->source.path;
    }
    t->source.unk = find(&t->source, files->unk);
    t->target.unk = find(&t->target, files->unk);
    t->target_bos = find(&t->target, files->bos);
    t->target_eos = find(&t->target, files->eos);
    t->bos = t->eos = -1;
    if (files->bos) CLF_TRY(find_needed(&t->source, files->bos, &t->bos));
    if (files->append_eos) CLF_TRY(find_needed(&t->source, files->eos, &t->eos));
    t->language_codes = files->language_codes;
    return CLF_OK;
}

clf_status clf_tokenizer_open(const clf_tokenizer_files *files, clf_tokenizer **tokenizer) {
    if (files->source_size <= 0 || files->target_size <= 0 || !files->unk ||
        (files->append_eos && !files->eos)) {
        return clf_fail(CLF_ERROR_ARGUMENT,
                        "a tokenizer needs vocabulary sizes and names of the special tokens");
    }
    clf_tokenizer *t = calloc(1, sizeof *t);
    if (!t) return clf_fail_memory();
    clf_status status = open_all(t, files);
    if (status == CLF_OK) {
        *tokenizer = t;
    } else {
        clf_tokenizer_close(t);
    }
    return status;
}

void clf_tokenizer_close(clf_tokenizer *tokenizer) {
    if (!tokenizer) return;
    for (int i = 0; i < 2; i++) {
        clf_spm_close(tokenizer->spms[i]);
        clf_vocabulary_close(tokenizer->vocabularies[i]);
        free(tokenizer->paths[i]);
    }
    free(tokenizer);
}

clf_hash clf_tokenizer_hash(const clf_tokenizer *tokenizer, clf_hash hash) {
    const clf_tokenizer *t = tokenizer;
    int32_t settings[] = {t->source.unk, t->target.unk, t->bos, t->eos, t->language_codes};
    hash = clf_hash_bytes(hash, settings, sizeof settings);
    hash = clf_hash_bytes(hash, &t->spm_hash, sizeof t->spm_hash);
    hash = clf_vocabulary_hash(t->source.vocabulary, hash);
    return clf_vocabulary_hash(t->target.vocabulary, hash);
}

static clf_status push_id(clf_ids *ids, int32_t id) {
    return clf_array_push(ids, id) ? CLF_OK : clf_fail_memory();
}

typedef struct piece_sink {
    const side *side;
    clf_ids *ids;
} piece_sink;

static clf_status take_piece(void *user, const char *piece, size_t size) {
    piece_sink *sink = user;
    int32_t id = clf_vocabulary_id(sink->side->vocabulary, piece, size);
    if (id < 0) id = sink->side->unk;
    if (id >= 0) return push_id(sink->ids, id);
    return clf_fail(CLF_ERROR_FORMAT, "%s: has neither the piece '%.*s' nor one for the unknown",
                    sink->side->path, (int)(size < 64 ? size : 64), piece);
}

static clf_status take_segmented(const char *text, size_t size, piece_sink *sink) {
    for (size_t begin = 0; begin < size;) {
        size_t end = begin;
        while (end < size && text[end] != ' ' && text[end] != '\t') end++;
        if (end > begin) CLF_TRY(take_piece(sink, text + begin, end - begin));
        begin = end + 1;
    }
    return CLF_OK;
}

// The bytes of a leading ">>xxx<<" whose id is `*id`, 0 if the text has none or nobody knows it.
static size_t find_language_code(const side *s, const char *text, size_t size, int32_t *id) {
    if (size < 4 || memcmp(text, ">>", 2) != 0) return 0;
    const char *end = memmem(text, size, "<<", 2);
    if (!end) return 0;
    size_t length = (size_t)(end + 2 - text);
    *id = clf_vocabulary_id(s->vocabulary, text, length);
    return *id < 0 ? 0 : length;
}

static clf_status encode(const clf_tokenizer *t, const side *s, const char *text, size_t size,
                         clf_ids *ids) {
    if (size > LINE_LIMIT) {
        return clf_fail(CLF_ERROR_ARGUMENT, "a line of %zu bytes is too long", size);
    }
    if (size == 0) return CLF_OK; // `text` may be NULL then
    int32_t id;
    size_t code = t->language_codes ? find_language_code(s, text, size, &id) : 0;
    if (code > 0) CLF_TRY(push_id(ids, id));
    piece_sink sink = {s, ids};
    if (!s->spm) return take_segmented(text + code, size - code, &sink);
    return clf_spm_encode(s->spm, text + code, size - code, take_piece, &sink);
}

clf_status clf_tokenizer_encode_source(const clf_tokenizer *tokenizer, const char *text,
                                       size_t size, clf_ids *ids) {
    size_t count = ids->count;
    clf_status status = CLF_OK;
    if (tokenizer->bos >= 0) status = push_id(ids, tokenizer->bos);
    if (status == CLF_OK) status = encode(tokenizer, &tokenizer->source, text, size, ids);
    if (status == CLF_OK && tokenizer->eos >= 0) status = push_id(ids, tokenizer->eos);
    if (status != CLF_OK) ids->count = count;
    return status;
}

clf_status clf_tokenizer_encode_target(const clf_tokenizer *tokenizer, const char *text,
                                       size_t size, clf_ids *ids) {
    size_t count = ids->count;
    clf_status status = encode(tokenizer, &tokenizer->target, text, size, ids);
    if (status != CLF_OK) ids->count = count;
    return status;
}

static clf_status append(clf_string *text, const char *bytes, size_t size) {
    if (size == 0) return CLF_OK;
    if (!clf_array_reserve(text, size)) return clf_fail_memory();
    memcpy(text->data + text->count, bytes, size);
    text->count += size;
    return CLF_OK;
}

static clf_status take_text(void *user, const char *bytes, size_t size) {
    return append(user, bytes, size);
}

static clf_status join_segmented(const char *const *pieces, size_t count, clf_string *text) {
    for (size_t i = 0; i < count; i++) {
        if (i > 0) CLF_TRY(append(text, " ", 1));
        CLF_TRY(append(text, pieces[i], strlen(pieces[i])));
    }
    return CLF_OK;
}

// Turns the blanks of pieces that the model did not know into blanks, in place, and drops those at
// both ends, from byte `begin` on.
static void tidy(clf_string *text, size_t begin) {
    if (text->count == begin) return;
    size_t to = begin, meta = strlen(META_SPACE);
    for (size_t i = begin; i < text->count;) {
        bool blank = text->count - i >= meta && memcmp(text->data + i, META_SPACE, meta) == 0;
        text->data[to++] = blank ? ' ' : text->data[i];
        i += blank ? meta : 1;
    }
    clf_span kept = clf_utf8_trim(text->data, (clf_span){begin, to});
    memmove(text->data + begin, text->data + kept.begin, kept.end - kept.begin);
    text->count = begin + kept.end - kept.begin;
}

clf_status clf_tokenizer_decode(const clf_tokenizer *tokenizer, const int32_t *ids, size_t count,
                                clf_string *text) {
    const clf_tokenizer *t = tokenizer;
    const char **pieces = malloc((count + 1) * sizeof *pieces);
    if (!pieces) return clf_fail_memory();
    size_t kept = 0, begin = text->count;
    for (size_t i = 0; i < count; i++) {
        bool special = ids[i] == t->target_eos || ids[i] == t->target_bos ||
                       (t->target.spm && ids[i] == t->target.unk);
        if (ids[i] < 0 || !special) pieces[kept++] = clf_tokenizer_target_piece(t, ids[i]);
    }
    clf_status status;
    if (t->target.spm) {
        status = clf_spm_decode(t->target.spm, pieces, kept, take_text, text);
        if (status == CLF_OK) tidy(text, begin);
    } else {
        status = join_segmented(pieces, kept, text);
    }
    if (status != CLF_OK) text->count = begin;
    free(pieces);
    return status;
}

const char *clf_tokenizer_target_piece(const clf_tokenizer *tokenizer, int32_t id) {
    const char *piece = clf_vocabulary_piece(tokenizer->target.vocabulary, id);
    return piece ? piece : "?";
}

int32_t clf_tokenizer_target_id(const clf_tokenizer *tokenizer, const char *piece) {
    return find(&tokenizer->target, piece);
}
