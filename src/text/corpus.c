// SPDX-License-Identifier: MIT
#include "text/corpus.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/file.h"
#include "text/corpus_file.h"

struct clf_corpus {
    clf_file_map map;
    const uint64_t *places; // of the blocks, and the last one's end
    clf_corpus_tail tail;
};

uint64_t clf_corpus_sum(uint64_t sum, const void *data, size_t size) {
    const uint32_t *words = data;
    // Both steps can be undone, so a single wrong word always changes the sum.
    for (size_t i = 0; i < size / sizeof *words; i++) {
        sum = (sum ^ words[i]) * 0x9e3779b97f4a7c15u;
        sum ^= sum >> 32;
    }
    return sum;
}

// ---- what the tokens were made from -------------------------------------------------------------

static clf_status hash_text(const char *path, clf_hash *hash) {
    struct stat info;
    if (stat(path, &info) != 0) {
        return clf_fail(CLF_ERROR_IO, "%s: cannot open: %s", path, strerror(errno));
    }
    int64_t facts[] = {info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec};
    *hash = clf_hash_string(*hash, path);
    *hash = clf_hash_bytes(*hash, facts, sizeof facts);
    return CLF_OK;
}

static clf_status make_key(const clf_corpus_options *options, const clf_tokenizer *tokenizer,
                           clf_hash *key) {
    int32_t numbers[] = {options->max_source, options->max_target, options->eos};
    clf_hash hash = clf_hash_bytes(clf_hash_start(), numbers, sizeof numbers);
    CLF_TRY(hash_text(options->source_path, &hash));
    CLF_TRY(hash_text(options->target_path, &hash));
    *key = clf_tokenizer_hash(tokenizer, hash);
    return CLF_OK;
}

// ---- opening a file of tokens -------------------------------------------------------------------

static clf_status fail_damaged(const clf_corpus *corpus, const char *what) {
    return clf_fail(CLF_ERROR_FORMAT, "%s: %s", corpus->map.path, what);
}

static uint64_t count_blocks(const clf_corpus *corpus) {
    return (corpus->tail.counts.pairs + CLF_CORPUS_BLOCK - 1) / CLF_CORPUS_BLOCK;
}

static uint64_t count_entries(const clf_corpus *corpus, uint64_t block) {
    uint64_t rest = corpus->tail.counts.pairs - block * CLF_CORPUS_BLOCK;
    return rest < CLF_CORPUS_BLOCK ? rest : CLF_CORPUS_BLOCK;
}

// Reads the tail and finds the places of the blocks.
static clf_status open_tail(clf_corpus *corpus, clf_hash key) {
    size_t size = corpus->map.size;
    clf_corpus_tail *tail = &corpus->tail;
    if (size < sizeof *tail || size % sizeof(uint64_t) != 0) {
        return fail_damaged(corpus, "cut short");
    }
    size -= sizeof *tail;
    memcpy(tail, corpus->map.data + size, sizeof *tail);
    if (memcmp(tail->magic, CLF_CORPUS_MAGIC, sizeof tail->magic) != 0 ||
        tail->version != CLF_CORPUS_VERSION) {
        return fail_damaged(corpus, "cut short, or of another version");
    }
    if (tail->key.high != key.high || tail->key.low != key.low) {
        return fail_damaged(corpus, "made from other texts, another tokenizer or other lengths");
    }
    // More pairs than bytes are a lie, and would overflow below.
    if (tail->counts.pairs == 0 || tail->counts.pairs > size) {
        return fail_damaged(corpus, "damaged");
    }
    uint64_t places = (count_blocks(corpus) + 1) * sizeof *corpus->places;
    if (places > size) return fail_damaged(corpus, "damaged");
    corpus->places = (const uint64_t *)(corpus->map.data + size - places);
    if (corpus->places[count_blocks(corpus)] != size - places) {
        return fail_damaged(corpus, "damaged");
    }
    return CLF_OK;
}

static bool entries_are_good(const clf_corpus *corpus, uint64_t block) {
    const clf_corpus_counts *counts = &corpus->tail.counts;
    uint64_t size = corpus->places[block + 1] - corpus->places[block];
    uint64_t count = count_entries(corpus, block), head = count * sizeof(clf_corpus_entry);
    if (size < head) return false;
    uint64_t tokens = (size - head) / sizeof(int32_t);
    const void *data = corpus->map.data + corpus->places[block];
    const clf_corpus_entry *entries = data;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t length = (uint64_t)entries[i].source_length + entries[i].target_length;
        if (entries[i].begin > tokens || length > tokens - entries[i].begin ||
            entries[i].source_length > (uint32_t)counts->longest_source ||
            entries[i].target_length > (uint32_t)counts->longest_target) {
            return false;
        }
    }
    return true;
}

// Reads the whole file once, which takes seconds where making it anew takes minutes.
static clf_status check_blocks(const clf_corpus *corpus) {
    uint64_t blocks = count_blocks(corpus), sum = 0;
    const uint64_t *places = corpus->places;
    bool good = places[0] == 0;
    for (uint64_t i = 0; good && i < blocks; i++) {
        good = places[i] <= places[i + 1] && places[i + 1] <= places[blocks] &&
               places[i + 1] % sizeof(uint64_t) == 0 && entries_are_good(corpus, i);
        if (!good) break;
        const unsigned char *data = corpus->map.data + places[i];
        sum = clf_corpus_sum(sum, data, places[i + 1] - places[i]);
        clf_file_map_forget(data, places[i + 1] - places[i]);
    }
    sum = clf_corpus_sum(sum, places, (blocks + 1) * sizeof *places);
    return good && sum == corpus->tail.sum ? CLF_OK : fail_damaged(corpus, "damaged");
}

static clf_status load(const char *path, clf_hash key, clf_corpus **corpus) {
    clf_corpus *c = calloc(1, sizeof *c);
    if (!c) return clf_fail_memory();
    clf_status status = clf_file_map_open(path, &c->map);
    if (status == CLF_OK) status = open_tail(c, key);
    if (status == CLF_OK) status = check_blocks(c);
    if (status == CLF_OK) {
        *corpus = c;
    } else {
        clf_corpus_close(c);
    }
    return status;
}

static clf_status build_and_load(const char *path, const clf_corpus_options *options,
                                 const clf_tokenizer *tokenizer, clf_hash key,
                                 clf_corpus **corpus) {
    CLF_TRY(clf_corpus_build(path, options, tokenizer, key));
    return load(path, key, corpus);
}

// A file that nobody sees any more once it is open.
static clf_status open_unnamed(const clf_corpus_options *options, const clf_tokenizer *tokenizer,
                               clf_hash key, clf_corpus **corpus) {
    char path[] = "/tmp/clformer-corpus-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0) return clf_fail(CLF_ERROR_IO, "%s: cannot write: %s", path, strerror(errno));
    close(fd);
    clf_status status = build_and_load(path, options, tokenizer, key, corpus);
    unlink(path);
    return status;
}

clf_status clf_corpus_open(const clf_corpus_options *options, const clf_tokenizer *tokenizer,
                           clf_corpus **corpus) {
    clf_hash key;
    const char *path = options->cache_path;
    if (options->max_source <= 0 || options->max_target <= 0) {
        return clf_fail(CLF_ERROR_ARGUMENT, "the longest source and target must be above 0 tokens");
    }
    CLF_TRY(make_key(options, tokenizer, &key));
    if (!path) return open_unnamed(options, tokenizer, key, corpus);
    if (clf_file_exists(path)) {
        clf_status status = load(path, key, corpus);
        if (status == CLF_OK || status == CLF_ERROR_MEMORY) return status;
        clf_log(CLF_LOG_INFO, "%s; making it anew", clf_last_error());
    }
    return build_and_load(path, options, tokenizer, key, corpus);
}

void clf_corpus_close(clf_corpus *corpus) {
    if (!corpus) return;
    clf_file_map_close(&corpus->map);
    free(corpus);
}

// ---- what it holds ------------------------------------------------------------------------------

const clf_corpus_counts *clf_corpus_count(const clf_corpus *corpus) {
    return &corpus->tail.counts;
}

clf_corpus_pair clf_corpus_get(const clf_corpus *corpus, uint64_t pair) {
    uint64_t block = pair / CLF_CORPUS_BLOCK;
    const void *data = corpus->map.data + corpus->places[block];
    const clf_corpus_entry *entries = data;
    const clf_corpus_entry *entry = &entries[pair % CLF_CORPUS_BLOCK];
    const void *tokens = entries + count_entries(corpus, block);
    const int32_t *source = (const int32_t *)tokens + entry->begin;
    return (clf_corpus_pair){.source = source,
                             .target = source + entry->source_length,
                             .source_length = (int)entry->source_length,
                             .target_length = (int)entry->target_length,
                             .line = entry->line};
}

void clf_corpus_forget(const clf_corpus *corpus) {
    clf_file_map_forget(corpus->map.data, corpus->map.size);
}
