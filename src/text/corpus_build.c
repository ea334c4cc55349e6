// SPDX-License-Identifier: MIT
// Two texts to tokens on disk, a block in memory at a time.
#include "text/corpus_file.h"

#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/file.h"
#include "text/lines.h"
#include "text/split.h"

enum { PROGRESS_LINES = 1024 };

typedef struct builder {
    const clf_corpus_options *options;
    const clf_tokenizer *tokenizer;
    clf_lines *source, *target;
    clf_file_writer file;
    CLF_ARRAY(clf_corpus_entry) entries; // of the current block
    clf_ids tokens;                      // likewise
    CLF_ARRAY(uint64_t) places;
    clf_corpus_counts counts;
    uint64_t sum;
    size_t special; // tokens that the tokenizer adds to each source
} builder;

static clf_status put(builder *b, const void *data, size_t size) {
    b->sum = clf_corpus_sum(b->sum, data, size);
    return clf_file_put(&b->file, data, size);
}

static clf_status end_block(builder *b) {
    if (b->entries.count == 0) return CLF_OK;
    if (b->tokens.count % 2 && !clf_array_push(&b->tokens, 0)) return clf_fail_memory();
    CLF_TRY(put(b, b->entries.data, b->entries.count * sizeof *b->entries.data));
    CLF_TRY(put(b, b->tokens.data, b->tokens.count * sizeof *b->tokens.data));
    if (!clf_array_push(&b->places, b->file.size)) return clf_fail_memory();
    b->entries.count = b->tokens.count = 0;
    return CLF_OK;
}

static void count_pair(clf_corpus_counts *counts, size_t source, size_t target) {
    counts->pairs++;
    counts->source_tokens += source;
    counts->target_tokens += target;
    if ((int)source > counts->longest_source) counts->longest_source = (int)source;
    if ((int)target > counts->longest_target) counts->longest_target = (int)target;
}

// Adds a pair of lines that are not blank.
static clf_status add_pair(builder *b, const char *source, size_t source_size, const char *target,
                           size_t target_size) {
    clf_ids *ids = &b->tokens;
    size_t begin = ids->count;
    CLF_TRY(clf_tokenizer_encode_source(b->tokenizer, source, source_size, ids));
    size_t middle = ids->count;
    CLF_TRY(clf_tokenizer_encode_target(b->tokenizer, target, target_size, ids));
    // Characters that the tokenizer drops may leave nothing of a line.
    bool empty = ids->count == middle || middle - begin == b->special;
    if (!clf_array_push(ids, b->options->eos)) return clf_fail_memory();
    size_t length = middle - begin, target_length = ids->count - middle;
    if (empty) {
        b->counts.empty++;
    } else if (length > (size_t)b->options->max_source ||
               target_length > (size_t)b->options->max_target) {
        b->counts.too_long++;
    } else {
        clf_corpus_entry entry = {b->counts.lines, begin, (uint32_t)length,
                                  (uint32_t)target_length};
        if (!clf_array_push(&b->entries, entry)) return clf_fail_memory();
        count_pair(&b->counts, length, target_length);
        return b->entries.count == CLF_CORPUS_BLOCK ? end_block(b) : CLF_OK;
    }
    ids->count = begin;
    return CLF_OK;
}

static bool is_blank(const char *text, size_t size) {
    clf_span span = clf_utf8_trim(text, (clf_span){0, size});
    return span.begin == span.end;
}

static clf_status fail_empty(const clf_lines *empty, const clf_lines *other) {
    return clf_fail(CLF_ERROR_FORMAT,
                    "%s: line %llu is empty, but that of %s is not; do the files belong together?",
                    clf_lines_path(empty), (unsigned long long)clf_lines_number(empty),
                    clf_lines_path(other));
}

static clf_status fail_end(const clf_lines *ended, const clf_lines *other) {
    return clf_fail(CLF_ERROR_FORMAT, "%s: ends after %llu lines, but %s goes on",
                    clf_lines_path(ended), (unsigned long long)clf_lines_number(ended),
                    clf_lines_path(other));
}

static clf_status report(const builder *b) {
    const clf_corpus_options *o = b->options;
    uint64_t total = clf_lines_total(b->source) + clf_lines_total(b->target);
    uint64_t done = clf_lines_done(b->source) + clf_lines_done(b->target);
    if (!o->progress || o->progress(o->user, total ? (double)done / (double)total : 1) == 0) {
        return CLF_OK;
    }
    return clf_fail(CLF_ERROR_CANCELLED, "%s: reading was cancelled", o->source_path);
}

// Adds the next line of both texts; `*ended` if there is none.
static clf_status add_line(builder *b, bool *ended) {
    const char *source, *target;
    size_t source_size, target_size;
    CLF_TRY(clf_lines_next(b->source, &source, &source_size));
    CLF_TRY(clf_lines_next(b->target, &target, &target_size));
    *ended = !source && !target;
    if (*ended) return CLF_OK;
    if (!source) return fail_end(b->source, b->target);
    if (!target) return fail_end(b->target, b->source);
    if (b->counts.lines++ % PROGRESS_LINES == 0) CLF_TRY(report(b));
    bool no_source = is_blank(source, source_size), no_target = is_blank(target, target_size);
    if (no_source && no_target) {
        b->counts.empty++;
        return CLF_OK;
    }
    if (no_source) return fail_empty(b->source, b->target);
    if (no_target) return fail_empty(b->target, b->source);
    return add_pair(b, source, source_size, target, target_size);
}

static clf_status check_counts(const builder *b) {
    const clf_corpus_options *o = b->options;
    const clf_corpus_counts *c = &b->counts;
    if (c->pairs > 0) return CLF_OK;
    return clf_fail(CLF_ERROR_FORMAT,
                    "%s, %s: no pair to learn from: of %llu lines %llu are empty and %llu have "
                    "more than %d and %d tokens",
                    o->source_path, o->target_path, (unsigned long long)c->lines,
                    (unsigned long long)c->empty, (unsigned long long)c->too_long, o->max_source,
                    o->max_target);
}

static clf_status write_all(builder *b, clf_hash key) {
    clf_ids none = {0};
    clf_status status = clf_tokenizer_encode_source(b->tokenizer, "", 0, &none);
    b->special = none.count;
    clf_array_free(&none);
    CLF_TRY(status);
    if (!clf_array_push(&b->places, 0)) return clf_fail_memory();
    for (bool ended = false; !ended;) CLF_TRY(add_line(b, &ended));
    CLF_TRY(check_counts(b));
    CLF_TRY(end_block(b));
    CLF_TRY(put(b, b->places.data, b->places.count * sizeof *b->places.data));
    clf_corpus_tail tail = {CLF_CORPUS_MAGIC, CLF_CORPUS_VERSION, key, b->counts, b->sum};
    CLF_TRY(clf_file_put(&b->file, &tail, sizeof tail));
    return report(b);
}

clf_status clf_corpus_build(const char *path, const clf_corpus_options *options,
                            const clf_tokenizer *tokenizer, clf_hash key) {
    builder b = {.options = options, .tokenizer = tokenizer};
    clf_status status = clf_lines_open(options->source_path, &b.source);
    if (status == CLF_OK) status = clf_lines_open(options->target_path, &b.target);
    if (status == CLF_OK) status = clf_file_create(path, &b.file);
    if (status == CLF_OK) status = write_all(&b, key);
    if (status == CLF_OK) {
        status = clf_file_commit(&b.file);
    } else {
        clf_file_cancel(&b.file);
    }
    clf_lines_close(b.source);
    clf_lines_close(b.target);
    clf_array_free(&b.entries);
    clf_array_free(&b.tokens);
    clf_array_free(&b.places);
    return status;
}
