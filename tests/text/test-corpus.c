// SPDX-License-Identifier: MIT
// Texts are generated: words "w0", "w1", ... in a vocabulary with a piece per line. With --bench a
// corpus of five million lines is read and walked, and time and memory are printed.
#include "harness.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/array.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/rng.h"
#include "text/corpus.h"

enum { EOS = 0, WORDS = 500 };

// "directory/name"; valid until the fourth call after.
static const char *at(const char *name) {
    static char paths[4][4096];
    static int turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", clf_test_directory(), name);
    return path;
}

static void write_file(const char *name, const char *text, size_t size) {
    CLF_ASSERT_OK(clf_file_write(at(name), text, size));
}

static void write_text(const char *name, const char *text) {
    write_file(name, text, strlen(text));
}

static clf_tokenizer *open_tokenizer(int words) {
    FILE *file = fopen(at("words.txt"), "w");
    fputs("</s>\n<unk>\n", file);
    for (int i = 0; i < words; i++) fprintf(file, "w%d\n", i);
    fclose(file);
    clf_tokenizer_files files = {.source_vocabulary = at("words.txt"),
                                 .source_size = words + 2,
                                 .target_size = words + 2,
                                 .unk = "<unk>",
                                 .eos = "</s>",
                                 .append_eos = true};
    clf_tokenizer *tokenizer = NULL;
    CLF_ASSERT_OK(clf_tokenizer_open(&files, &tokenizer));
    return tokenizer;
}

static void write_words(FILE *file, clf_rng *rng, int count) {
    for (int i = 0; i < count; i++) {
        fprintf(file, "%sw%u", i > 0 ? " " : "", clf_rng_below(rng, WORDS));
    }
    fputc('\n', file);
}

// Lines of 1 to 30 words; the first word of source line i tells i modulo WORDS.
static void write_corpus(const char *source, const char *target, long lines) {
    FILE *a = fopen(at(source), "w"), *b = fopen(at(target), "w");
    clf_rng rng = {7};
    for (long i = 0; i < lines; i++) {
        int length = 1 + (int)clf_rng_below(&rng, 30);
        fprintf(a, "w%ld ", i % WORDS);
        write_words(a, &rng, length);
        write_words(b, &rng, length + (int)clf_rng_below(&rng, 4));
    }
    fclose(a);
    fclose(b);
}

static clf_corpus_options options_for(const char *source, const char *target) {
    static char paths[2][4096];
    snprintf(paths[0], sizeof paths[0], "%s", at(source));
    snprintf(paths[1], sizeof paths[1], "%s", at(target));
    return (clf_corpus_options){.source_path = paths[0],
                                .target_path = paths[1],
                                .max_source = 64,
                                .max_target = 64,
                                .eos = EOS};
}

// ---- texts --------------------------------------------------------------------------------------

static bool ids_are(const int32_t *ids, int count, int expected, ...) {
    bool same = count == expected;
    va_list list;
    va_start(list, expected);
    for (int i = 0; i < expected; i++) same = va_arg(list, int) == (same ? ids[i] : -1) && same;
    va_end(list);
    return same;
}

static void check_small(const clf_corpus *corpus) {
    const clf_corpus_counts *counts = clf_corpus_count(corpus);
    CU_ASSERT_EQUAL(counts->lines, 6);
    CU_ASSERT_EQUAL(counts->pairs, 3);
    CU_ASSERT_EQUAL(counts->empty, 2);
    CU_ASSERT_EQUAL(counts->too_long, 1);
    CU_ASSERT_EQUAL(counts->source_tokens, 3 + 2 + 4);
    CU_ASSERT_EQUAL(counts->target_tokens, 2 + 4 + 3);
    CU_ASSERT_EQUAL(counts->longest_source, 4);
    CU_ASSERT_EQUAL(counts->longest_target, 4);
    clf_corpus_pair pair = clf_corpus_get(corpus, 0);
    CU_ASSERT(ids_are(pair.source, pair.source_length, 3, 2, 3, EOS));
    CU_ASSERT(ids_are(pair.target, pair.target_length, 2, 4, EOS));
    CU_ASSERT_EQUAL(pair.line, 1);
    pair = clf_corpus_get(corpus, 1);
    CU_ASSERT(ids_are(pair.source, pair.source_length, 2, 5, EOS));
    CU_ASSERT(ids_are(pair.target, pair.target_length, 4, 6, 7, 1, EOS));
    CU_ASSERT_EQUAL(pair.line, 3);
    pair = clf_corpus_get(corpus, 2);
    CU_ASSERT(ids_are(pair.source, pair.source_length, 4, 2, 2, 2, EOS));
    CU_ASSERT(ids_are(pair.target, pair.target_length, 3, 3, 3, EOS));
    CU_ASSERT_EQUAL(pair.line, 6);
}

static void test_tokens(void) {
    clf_tokenizer *tokenizer = open_tokenizer(8);
    clf_corpus_options options = options_for("a", "b");
    options.max_source = options.max_target = 4;
    // A byte order mark, both line ends, lines empty and blank on both sides, one too long, one
    // just short enough, an unknown word, no newline at the end.
    write_text("a", "\xEF\xBB\xBFw0 w1\r\n\nw3\n \t\nw0 w1 w2 w3\nw0 w0 w0");
    write_text("b", "w2\n\r\nw4 w5 x\n\n w1\nw1 w1\n");
    clf_corpus *corpus = NULL;
    if (CLF_ASSERT_OK(clf_corpus_open(&options, tokenizer, &corpus))) check_small(corpus);
    clf_corpus_close(corpus);
    char cache[4096];
    snprintf(cache, sizeof cache, "%s", at("small.tokens"));
    options.cache_path = cache;
    for (int i = 0; i < 2; i++) { // made, then read
        corpus = NULL;
        if (CLF_ASSERT_OK(clf_corpus_open(&options, tokenizer, &corpus))) check_small(corpus);
        clf_corpus_close(corpus);
    }
    clf_tokenizer_close(tokenizer);
}

static void test_long_lines(void) {
    // Longer than any buffer of the reader, between short ones.
    enum { COUNT = 300000 };
    clf_string text = {0};
    for (int i = 0; i < COUNT + 2; i++) {
        const char *word = i == 0 || i == COUNT ? "w1\n" : "w0 ";
        if (!clf_array_reserve(&text, 3)) return;
        memcpy(text.data + text.count, word, 3);
        text.count += 3;
    }
    write_file("a", text.data, text.count);
    clf_array_free(&text);
    write_text("b", "w1\nw2\nw3");
    clf_tokenizer *tokenizer = open_tokenizer(8);
    clf_corpus_options options = options_for("a", "b");
    options.max_source = COUNT;
    clf_corpus *corpus = NULL;
    if (CLF_ASSERT_OK(clf_corpus_open(&options, tokenizer, &corpus))) {
        const clf_corpus_counts *counts = clf_corpus_count(corpus);
        CU_ASSERT_EQUAL(counts->pairs, 2);
        CU_ASSERT_EQUAL(counts->too_long, 1);
        clf_corpus_close(corpus);
        options.max_source++;
        CLF_ASSERT_OK(clf_corpus_open(&options, tokenizer, &corpus));
        CU_ASSERT_EQUAL(clf_corpus_get(corpus, 1).source_length, COUNT + 1);
        clf_corpus_close(corpus);
    }
    clf_tokenizer_close(tokenizer);
}

static void refuse(const char *source, size_t source_size, const char *target, clf_status expected,
                   const char *message) {
    clf_tokenizer *tokenizer = open_tokenizer(8);
    write_file("bad-a", source, source_size);
    write_text("bad-b", target);
    clf_corpus_options options = options_for("bad-a", "bad-b");
    clf_corpus *corpus = NULL;
    CU_ASSERT_EQUAL(clf_corpus_open(&options, tokenizer, &corpus), expected);
    CU_ASSERT_PTR_NULL(corpus);
    if (!strstr(clf_last_error(), message)) {
        fprintf(stderr, "\n'%s' does not say '%s'\n", clf_last_error(), message);
        CU_FAIL("message");
    }
    clf_corpus_close(corpus);
    clf_tokenizer_close(tokenizer);
}

static void test_bad_texts(void) {
#define REFUSE(source, target, message)                                                            \
    refuse(source, sizeof(source) - 1, target, CLF_ERROR_FORMAT, message)
    REFUSE("w1\nw2\n", "w1\n", "bad-b: ends after 1 lines, but ");
    REFUSE("w1\nw2", "w1\nw2\nw3", "bad-a: ends after 2 lines, but ");
    REFUSE("w1\n", "", "bad-b: ends after 0 lines, but ");
    REFUSE("w1\n \nw3\n", "w1\nw2\nw3\n", "bad-a: line 2 is empty, but that of ");
    REFUSE("w1\nw2\nw3\n", "w1\nw2\n\t\n", "bad-b: line 3 is empty, but that of ");
    REFUSE("w1\nw\0w\n", "w1\nw2\n", "bad-a: line 2 has a NUL character");
    REFUSE("w1\nw2\nw\xC3\n", "w1\nw2\nw3\n", "bad-a: line 3 is not valid UTF-8");
    REFUSE("w\xED\xA0\x80\n", "w1\n", "bad-a: line 1 is not valid UTF-8");
    REFUSE("w\xC0\x80\n", "w1\n", "bad-a: line 1 is not valid UTF-8");
    REFUSE("", "", "no pair to learn from: of 0 lines");
    REFUSE("\n\n", "\n\n", "of 2 lines 2 are empty");
    clf_tokenizer *tokenizer = open_tokenizer(8);
    clf_corpus_options options = options_for("bad-a", "absent");
    clf_corpus *corpus = NULL;
    CU_ASSERT_EQUAL(clf_corpus_open(&options, tokenizer, &corpus), CLF_ERROR_IO);
    CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), "absent: cannot open"));
    options = options_for("bad-a", ".");
    CU_ASSERT_EQUAL(clf_corpus_open(&options, tokenizer, &corpus), CLF_ERROR_IO);
    CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), "not a regular file"));
    options.max_target = 0;
    CU_ASSERT_EQUAL(clf_corpus_open(&options, tokenizer, &corpus), CLF_ERROR_ARGUMENT);
    clf_tokenizer_close(tokenizer);
}

// ---- the file of tokens -------------------------------------------------------------------------

typedef struct count_calls {
    int calls, cancel_at; // 0: never
    double last;
} count_calls;

static int on_progress(void *user, double share) {
    count_calls *count = user;
    CU_ASSERT(share >= count->last && share <= 1);
    count->last = share;
    return ++count->calls == count->cancel_at;
}

// Whether opening made the file anew.
static bool is_made(clf_corpus_options *options, const clf_tokenizer *tokenizer) {
    count_calls count = {0};
    options->progress = on_progress;
    options->user = &count;
    clf_corpus *corpus = NULL;
    CLF_ASSERT_OK(clf_corpus_open(options, tokenizer, &corpus));
    if (count.calls > 0) CU_ASSERT_EQUAL(count.last, 1);
    clf_corpus_close(corpus);
    return count.calls > 0;
}

static void test_cache(void) {
    clf_tokenizer *tokenizer = open_tokenizer(WORDS), *other = open_tokenizer(WORDS - 1);
    write_corpus("a", "b", 3000);
    clf_corpus_options options = options_for("a", "b");
    char cache[4096];
    snprintf(cache, sizeof cache, "%s", at("cache.tokens"));
    options.cache_path = cache;
    CU_ASSERT_TRUE(is_made(&options, tokenizer));
    CU_ASSERT_FALSE(is_made(&options, tokenizer));
    CU_ASSERT_TRUE(is_made(&options, other));
    CU_ASSERT_TRUE(is_made(&options, tokenizer));
    options.max_target--;
    CU_ASSERT_TRUE(is_made(&options, tokenizer));
    options.eos++;
    CU_ASSERT_TRUE(is_made(&options, tokenizer));
    struct timespec times[2] = {{1000, 0}, {1000, 1}}; // another time of change
    CU_ASSERT_EQUAL(utimensat(AT_FDCWD, options.target_path, times, 0), 0);
    CU_ASSERT_TRUE(is_made(&options, tokenizer));
    CU_ASSERT_FALSE(is_made(&options, tokenizer));
    write_corpus("a", "b", 2999);
    CU_ASSERT_TRUE(is_made(&options, tokenizer));
    CU_ASSERT_FALSE(is_made(&options, tokenizer));
    clf_tokenizer_close(tokenizer);
    clf_tokenizer_close(other);
}

static void test_damage(void) {
    clf_tokenizer *tokenizer = open_tokenizer(WORDS);
    write_corpus("a", "b", 1100);
    clf_corpus_options options = options_for("a", "b");
    char cache[4096], *good;
    size_t size;
    snprintf(cache, sizeof cache, "%s", at("damaged.tokens"));
    options.cache_path = cache;
    CU_ASSERT_TRUE(is_made(&options, tokenizer));
    CLF_ASSERT_OK(clf_file_read(cache, 1 << 30, &good, &size));
    size_t lengths[] = {0, 1, 8, 103, 104, 120, size / 2, size - 8, size - 1};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        write_file("damaged.tokens", good, lengths[i]);
        CU_ASSERT_TRUE(is_made(&options, tokenizer));
    }
    // Any byte, though not every one of them: the ends and some between.
    for (size_t i = 0; i < size; i += i < 64 || size - i < 200 ? 1 : 4099) {
        good[i] ^= 0x55;
        write_file("damaged.tokens", good, size);
        bool made = is_made(&options, tokenizer);
        if (!made) fprintf(stderr, "\nbyte %zu of %zu\n", i, size);
        CU_ASSERT_TRUE(made);
        good[i] ^= 0x55;
    }
    char *again;
    size_t again_size;
    CLF_ASSERT_OK(clf_file_read(cache, 1 << 30, &again, &again_size));
    CU_ASSERT(again_size == size && memcmp(again, good, size) == 0);
    free(again);
    free(good);
    clf_tokenizer_close(tokenizer);
}

static void test_cancel(void) {
    clf_tokenizer *tokenizer = open_tokenizer(WORDS);
    write_corpus("a", "b", 3000);
    clf_corpus_options options = options_for("a", "b");
    count_calls count = {.cancel_at = 2};
    options.progress = on_progress;
    options.user = &count;
    char cache[4096];
    snprintf(cache, sizeof cache, "%s", at("cancelled.tokens"));
    options.cache_path = cache;
    clf_corpus *corpus = NULL;
    CU_ASSERT_EQUAL(clf_corpus_open(&options, tokenizer, &corpus), CLF_ERROR_CANCELLED);
    CU_ASSERT_PTR_NULL(corpus);
    CU_ASSERT_FALSE(clf_file_exists(cache));
    clf_tokenizer_close(tokenizer);
}

// ---- batches ------------------------------------------------------------------------------------

// Lines of one to three words; many of them are made quickly.
static void write_short(const char *source, const char *target, long lines) {
    FILE *a = fopen(at(source), "w"), *b = fopen(at(target), "w");
    for (long i = 0; i < lines; i++) {
        fputs(&"w3 w2 w1\n"[3 * (i % 3)], a);
        fputs(&"w4 w5 w6\n"[3 * (i * 7 / 5 % 3)], b);
    }
    fclose(a);
    fclose(b);
}

static clf_corpus *open_corpus(void (*write)(const char *, const char *, long), long lines) {
    clf_tokenizer *tokenizer = open_tokenizer(WORDS);
    write("a", "b", lines);
    clf_corpus_options options = options_for("a", "b");
    clf_corpus *corpus = NULL;
    CLF_ASSERT_OK(clf_corpus_open(&options, tokenizer, &corpus));
    clf_tokenizer_close(tokenizer);
    return corpus;
}

typedef struct epoch {
    CLF_ARRAY(uint64_t) pairs;
    CLF_ARRAY(int) counts; // of each batch
    uint64_t tokens, padded;
} epoch;

static void free_epoch(epoch *e) {
    clf_array_free(&e->pairs);
    clf_array_free(&e->counts);
}

static bool same_epochs(const epoch *a, const epoch *b) {
    return a->pairs.count == b->pairs.count && a->counts.count == b->counts.count &&
           memcmp(a->pairs.data, b->pairs.data, a->pairs.count * sizeof *a->pairs.data) == 0 &&
           memcmp(a->counts.data, b->counts.data, a->counts.count * sizeof *a->counts.data) == 0;
}

static void add_batch(epoch *e, const clf_corpus *corpus, const clf_batches_options *options,
                      const uint64_t *pairs, int count) {
    int tokens = 0, source = 0, target = 0;
    for (int i = 0; i < count; i++) {
        clf_corpus_pair pair = clf_corpus_get(corpus, pairs[i]);
        if (pair.source[pair.source_length - 1] != EOS ||
            pair.target[pair.target_length - 1] != EOS) {
            CU_FAIL("a pair without its end");
        }
        tokens += pair.source_length + pair.target_length;
        if (pair.source_length > source) source = pair.source_length;
        if (pair.target_length > target) target = pair.target_length;
        if (!clf_array_push(&e->pairs, pairs[i])) CU_FAIL("memory");
    }
    if (!clf_array_push(&e->counts, count)) CU_FAIL("memory");
    e->tokens += (uint64_t)tokens;
    e->padded += (uint64_t)(source + target) * (uint64_t)count;
    if (tokens > options->tokens && count > 1) CU_FAIL("more tokens than a batch may have");
    if (options->sentences > 0 && count > options->sentences) CU_FAIL("too many sentences");
}

// Walks to the end of the epoch.
static epoch walk(clf_batches *batches, const clf_corpus *corpus,
                  const clf_batches_options *options) {
    epoch e = {0};
    clf_batches_position begin = clf_batches_tell(batches);
    for (;;) {
        const uint64_t *pairs;
        int count;
        clf_batches_position position = clf_batches_tell(batches);
        CU_ASSERT_EQUAL(position.epoch, begin.epoch);
        CU_ASSERT_EQUAL(position.batch, begin.batch + e.counts.count);
        if (!CLF_ASSERT_OK(clf_batches_next(batches, &pairs, &count)) || count == 0) break;
        add_batch(&e, corpus, options, pairs, count);
    }
    clf_batches_position end = clf_batches_tell(batches);
    CU_ASSERT_EQUAL(end.epoch, begin.epoch + 1);
    CU_ASSERT_EQUAL(end.batch, 0);
    return e;
}

static bool has_each_once(const epoch *e, uint64_t pairs) {
    char *seen = calloc(pairs, 1);
    bool good = e->pairs.count == pairs;
    for (size_t i = 0; good && i < pairs; i++) {
        good = e->pairs.data[i] < pairs && !seen[e->pairs.data[i]];
        if (good) seen[e->pairs.data[i]] = 1;
    }
    free(seen);
    return good;
}

static bool same_pairs(const uint64_t *a, const uint64_t *b, size_t count) {
    return memcmp(a, b, count * sizeof *a) == 0;
}

// Seeks to some batches of epoch 1 and compares what follows; then to both of its ends.
static void check_seek(clf_batches *batches, const epoch *e) {
    size_t first = 0, count = e->counts.count;
    for (size_t i = 0; i < count; i++) {
        if (i < 2 || i + 2 > count || i % (count / 7 + 1) == 0) {
            const uint64_t *pairs;
            int got;
            CLF_ASSERT_OK(clf_batches_seek(batches, (clf_batches_position){1, i}));
            CU_ASSERT_EQUAL(clf_batches_tell(batches).batch, i);
            CLF_ASSERT_OK(clf_batches_next(batches, &pairs, &got));
            CU_ASSERT(got == e->counts.data[i] &&
                      same_pairs(pairs, e->pairs.data + first, (size_t)got));
        }
        first += (size_t)e->counts.data[i];
    }
    const uint64_t *pairs;
    int got = -1;
    CLF_ASSERT_OK(clf_batches_seek(batches, (clf_batches_position){1, count}));
    CLF_ASSERT_OK(clf_batches_next(batches, &pairs, &got));
    CU_ASSERT_EQUAL(got, 0);
    CU_ASSERT_EQUAL(clf_batches_tell(batches).epoch, 2);
    CU_ASSERT_EQUAL(clf_batches_seek(batches, (clf_batches_position){1, count + 1}),
                    CLF_ERROR_ARGUMENT);
}

static void check_walks(const clf_corpus *corpus, clf_batches_options options, double waste) {
    clf_batches *batches = NULL, *other = NULL;
    uint64_t pairs = clf_corpus_count(corpus)->pairs;
    if (!CLF_ASSERT_OK(clf_batches_create(corpus, &options, &batches))) return;
    epoch first = walk(batches, corpus, &options), second = walk(batches, corpus, &options);
    CU_ASSERT_TRUE(has_each_once(&first, pairs));
    CU_ASSERT_TRUE(has_each_once(&second, pairs));
    CU_ASSERT_EQUAL(same_epochs(&first, &second), options.ordered || pairs == 1);
    CU_ASSERT((double)first.padded <= (1 + waste) * (double)first.tokens);
    if ((double)first.padded > (1 + waste) * (double)first.tokens) {
        fprintf(stderr, "\n%llu tokens are %llu with padding\n", (unsigned long long)first.tokens,
                (unsigned long long)first.padded);
    }
    check_seek(batches, &second);

    // The same order again, and another with another seed.
    CLF_ASSERT_OK(clf_batches_create(corpus, &options, &other));
    epoch again = walk(other, corpus, &options);
    CU_ASSERT_TRUE(same_epochs(&first, &again));
    free_epoch(&again);
    clf_batches_destroy(other);
    options.seed++;
    CLF_ASSERT_OK(clf_batches_create(corpus, &options, &other));
    again = walk(other, corpus, &options);
    CU_ASSERT_EQUAL(same_epochs(&first, &again), options.ordered || pairs == 1);
    free_epoch(&again);
    clf_batches_destroy(other);
    clf_batches_destroy(batches);
    free_epoch(&first);
    free_epoch(&second);
}

static void test_small_corpus(void) {
    clf_corpus *corpus = open_corpus(write_corpus, 5000);
    if (!corpus) return;
    check_walks(corpus, (clf_batches_options){.seed = 1, .tokens = 1000}, 0.03);
    check_walks(corpus, (clf_batches_options){.tokens = 4000, .sentences = 7}, 0.03);
    check_walks(corpus, (clf_batches_options){.tokens = 1}, 0);
    check_walks(corpus, (clf_batches_options){.seed = 5, .tokens = 1000, .ordered = true}, 0.03);
    clf_batches *batches;
    clf_batches_options bad = {.tokens = 0};
    CU_ASSERT_EQUAL(clf_batches_create(corpus, &bad, &batches), CLF_ERROR_ARGUMENT);
    clf_corpus_close(corpus);
}

static void test_one_pair(void) {
    clf_corpus *corpus = open_corpus(write_corpus, 1);
    if (corpus) check_walks(corpus, (clf_batches_options){.tokens = 1000}, 0);
    clf_corpus_close(corpus);
}

// Which part of a corpus of several windows the pairs of an epoch's first part come from.
static void check_spread(const clf_corpus *corpus, uint64_t pairs) {
    clf_batches_options options = {.seed = 3, .tokens = 2000};
    clf_batches *batches = NULL;
    uint64_t parts[10] = {0}, seen = 0;
    CLF_ASSERT_OK(clf_batches_create(corpus, &options, &batches));
    while (seen < pairs / 4) {
        const uint64_t *numbers;
        int count;
        CLF_ASSERT_OK(clf_batches_next(batches, &numbers, &count));
        for (int i = 0; i < count; i++) parts[numbers[i] * 10 / pairs]++;
        seen += (uint64_t)count;
    }
    for (int i = 0; i < 10; i++) CU_ASSERT(parts[i] > 0 && parts[i] < seen / 2);
    clf_batches_destroy(batches);
}

static void test_windows(void) {
    enum { PAIRS = 3 * (1 << 17) + 77 };
    clf_corpus *corpus = open_corpus(write_short, PAIRS);
    if (!corpus) return;
    CU_ASSERT_EQUAL(clf_corpus_count(corpus)->pairs, PAIRS);
    check_walks(corpus, (clf_batches_options){.seed = 1, .tokens = 2000}, 0.01);
    check_walks(corpus, (clf_batches_options){.tokens = 2000, .ordered = true}, 0.01);
    check_spread(corpus, PAIRS);
    clf_corpus_close(corpus);
}

// ---- time and memory ----------------------------------------------------------------------------

static double peak_mib(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss / 1024;
}

static void test_large_corpus(void) {
    enum { PAIRS = 5000000 };
    if (!clf_test_bench) {
        clf_test_skip("a measurement, for --bench");
        return;
    }
    clf_tokenizer *tokenizer = open_tokenizer(WORDS);
    write_corpus("large-a", "large-b", PAIRS);
    clf_corpus_options options = options_for("large-a", "large-b");
    char cache[4096];
    snprintf(cache, sizeof cache, "%s", at("large.tokens"));
    options.cache_path = cache;
    printf("\n%d lines; peak before: %.0f MiB\n", PAIRS, peak_mib());
    for (int i = 0; i < 2; i++) {
        clf_corpus *corpus = NULL;
        int64_t begin = clf_clock();
        if (!CLF_ASSERT_OK(clf_corpus_open(&options, tokenizer, &corpus))) return;
        printf("%s: %.2f s, peak %.0f MiB\n", i ? "opened again" : "made",
               (double)(clf_clock() - begin) * 1e-9, peak_mib());
        if (i) {
            clf_batches_options walk_options = {.seed = 1, .tokens = 8192};
            clf_batches *batches = NULL;
            begin = clf_clock();
            CLF_ASSERT_OK(clf_batches_create(corpus, &walk_options, &batches));
            epoch e = walk(batches, corpus, &walk_options);
            printf("an epoch of %zu batches: %.2f s, peak %.0f MiB, of which the test's %.0f MiB; "
                   "padding %.2f%%\n",
                   e.counts.count, (double)(clf_clock() - begin) * 1e-9, peak_mib(),
                   (double)(e.pairs.capacity * 8 + e.counts.capacity * 4) / 1048576,
                   100 * ((double)e.padded / (double)e.tokens - 1));
            free_epoch(&e);
            clf_batches_destroy(batches);
        }
        clf_corpus_close(corpus);
    }
    clf_tokenizer_close(tokenizer);
}

static const clf_test tests[] = {
    {"tokens", test_tokens},
    {"long lines", test_long_lines},
    {"bad texts", test_bad_texts},
    {"cache", test_cache},
    {"damage", test_damage},
    {"cancellation", test_cancel},
    {"a small corpus", test_small_corpus},
    {"one pair", test_one_pair},
    {"windows", test_windows},
    {"large corpus", test_large_corpus},
};

CLF_TEST_MAIN("text-corpus", tests)
