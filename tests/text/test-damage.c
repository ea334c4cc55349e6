// SPDX-License-Identifier: MIT
// Damaged SentencePiece models and vocabulary files: an error that names the file, no crash.
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/rng.h"
#include "text/sentencepiece.h"
#include "text/spm_check.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"

typedef struct file {
    char *data;
    size_t size;
} file;

static file read_golden(const char *name) {
    file f = {0};
    CLF_ASSERT_OK(clf_file_read(clf_test_golden(name), 1 << 20, &f.data, &f.size));
    CU_ASSERT_PTR_NOT_NULL_FATAL(f.data);
    return f;
}

static clf_status ignore(void *user, const char *bytes, size_t size) {
    *(size_t *)user += size + (size > 0 ? (unsigned char)bytes[size - 1] : 0);
    return CLF_OK;
}

// Opens a model and, if that is possible, uses it.
static clf_status try_model(const char *data, size_t size) {
    static const char text[] = "the cat \xEF\xBD\x81 \xEF\xAC\x81 e\xCC\x81 \xF0\x9F\x98\x80";
    static const char *const pieces[] = {"the", "<0x41>", "</s>", "?"};
    clf_spm *spm;
    size_t sum = 0;
    clf_status status = clf_spm_check("small.spm", data, size);
    if (status == CLF_OK) status = clf_spm_open("small.spm", data, size, &spm);
    if (status != CLF_OK) {
        CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), "small.spm"));
        return status;
    }
    if (clf_spm_encode(spm, text, sizeof text - 1, ignore, &sum) == CLF_OK) {
        clf_spm_decode(spm, pieces, 4, ignore, &sum);
    }
    for (int i = 0; i < clf_spm_count(spm); i++) CU_ASSERT_PTR_NOT_NULL(clf_spm_piece(spm, i));
    clf_spm_close(spm);
    return CLF_OK;
}

// A copy of exactly `size` bytes, so that tools see reads beyond.
static char *copy(const char *data, size_t size) {
    char *copied = malloc(size ? size : 1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(copied);
    memcpy(copied, data, size);
    return copied;
}

static void check_prefixes(const char *name) {
    file f = read_golden(name);
    for (size_t size = 0; size < f.size; size++) {
        char *prefix = copy(f.data, size);
        CU_ASSERT_EQUAL(try_model(prefix, size), CLF_ERROR_FORMAT);
        free(prefix);
    }
    CLF_ASSERT_OK(try_model(f.data, f.size));
    free(f.data);
}

static void test_spm_prefixes(void) {
    check_prefixes("text/source.spm");
    check_prefixes("text/target.spm");
}

// Lying bytes anywhere: any status, but no crash.
static void test_spm_bytes(void) {
    file f = read_golden("text/source.spm");
    clf_rng rng = {1};
    int refused = 0, rounds = 3000;
    for (int i = 0; i < rounds; i++) {
        char *lying = copy(f.data, f.size);
        for (uint32_t n = 1 + clf_rng_below(&rng, 3); n > 0; n--) {
            lying[clf_rng_below(&rng, (uint32_t)f.size)] = (char)clf_rng_next(&rng);
        }
        refused += try_model(lying, f.size) != CLF_OK;
        free(lying);
    }
    CU_ASSERT(refused > rounds / 10 && refused < rounds);
    free(f.data);
}

typedef struct message {
    char data[4096];
    size_t size;
} message;

static void put(message *m, const void *data, size_t size) {
    CU_ASSERT_FATAL(m->size + size <= sizeof m->data);
    memcpy(m->data + m->size, data, size);
    m->size += size;
}

// A protocol-buffer field that holds bytes.
static void put_field(message *m, int number, const void *data, size_t size) {
    const unsigned char head[] = {(unsigned char)(number << 3 | 2), (unsigned char)(size | 0x80),
                                  (unsigned char)(size >> 7)};
    put(m, head, sizeof head);
    put(m, data, size);
}

// Tries a model of two pieces with a character map: the first `count` of `units`, "x" and a NUL of
// which `tail` bytes are there.
static clf_status try_charsmap(const uint32_t *units, uint32_t count, size_t tail) {
    message model = {0}, normalizer = {0}, map = {0};
    uint32_t size = 4 * count;
    put(&map, &size, 4);
    put(&map, units, size);
    put(&map, "x", tail);
    put_field(&normalizer, 2, map.data, map.size);
    put_field(&model, 1, "\x0A\x05<unk>\x18\x02", 9);
    put_field(&model, 1, "\x0A\x01t", 3);
    put_field(&model, 2, "", 0);
    put_field(&model, 3, normalizer.data, normalizer.size);
    char *exact = copy(model.data, model.size);
    clf_status status = try_model(exact, model.size);
    free(exact);
    return status;
}

// Units of a trie: see spm_check.c. All children here are in the block from 256 on.
#define UNIT(index, label, base) ((label) | ((uint32_t)(index) ^ (base)) << 10)
enum { HAS_LEAF = 0x100 };
#define LEAF(value) (0x80000000u | (value))

static void test_charsmap(void) {
    uint32_t units[768] = {[0] = UNIT(0, 0, 256)};
    for (uint32_t i = 256; i < 768; i++) units[i] = LEAF(0); // children of nobody
    CLF_ASSERT_OK(try_charsmap(units, 768, 2));
    units[256 + 't'] = UNIT(256 + 't', 't', 512) | HAS_LEAF; // "t" becomes "x"
    CLF_ASSERT_OK(try_charsmap(units, 768, 2));
    CU_ASSERT_EQUAL(try_charsmap(units, 768, 1), CLF_ERROR_FORMAT); // no NUL at the end
    units[512] = LEAF(2);                                           // just beyond the texts
    CU_ASSERT_EQUAL(try_charsmap(units, 768, 2), CLF_ERROR_FORMAT);
    units[512] = LEAF(1);
    CLF_ASSERT_OK(try_charsmap(units, 768, 2));
    CU_ASSERT_EQUAL(try_charsmap(units, 767, 2), CLF_ERROR_FORMAT); // children beyond the trie
    CU_ASSERT_EQUAL(try_charsmap(units, 0, 2), CLF_ERROR_FORMAT);
    units[512 + 'h'] = UNIT(512 + 'h', 'h', 512); // "th", "thh", ...: a cycle
    CU_ASSERT_EQUAL(try_charsmap(units, 768, 2), CLF_ERROR_FORMAT);
    units[512 + 'h'] = UNIT(512 + 'h', 'h', 1024);
    CU_ASSERT_EQUAL(try_charsmap(units, 768, 2), CLF_ERROR_FORMAT);
}

static clf_status try_vocabulary(const char *name, const char *content, size_t size) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", clf_test_directory(), name);
    CLF_ASSERT_OK(clf_file_write(path, content, size));
    clf_vocabulary *v = NULL;
    clf_status status = clf_vocabulary_open(path, 4, "<unk>", &v);
    if (status != CLF_OK) {
        CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), name));
        CU_ASSERT_PTR_NULL(v);
    }
    clf_vocabulary_close(v);
    return status;
}

static void test_vocabulary_good(void) {
    static const char *const good[] = {
        "{\"a\": 0}",
        " {\"a\":1,\"b\":0,\"\":2,\"\\u0e01\":3}\n",
        "[\"a\"]",
        "[\"a\",\"b\",\"a\"]",
        "{\"a\": 0.0, \"b\": 1e0}",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        CLF_ASSERT_OK(try_vocabulary("v.json", good[i], strlen(good[i])));
    }
}

static void test_vocabulary_bad(void) {
    static const char *const bad[] = {
        "",
        "{}",
        "[]",
        "null",
        "5",
        "\"a\"",
        "{\"a\": 0} x",
        "{\"a\": 4}",                                // not below the model's size
        "{\"a\": -1}",                               //
        "{\"a\": 0.5}",                              //
        "{\"a\": 1e300}",                            //
        "{\"a\": \"0\"}",                            //
        "{\"a\": null}",                             //
        "{\"a\": [0]}",                              //
        "{\"a\": 0, \"b\": 0}",                      // one id, two pieces
        "{\"a\": 0, \"a\": 1}",                      // one piece, two ids
        "{\"a\": 0, \"b\": 2}",                      // a gap
        "{\"a\":0,\"b\":1,\"c\":2,\"d\":3,\"e\":4}", // too many
        "[\"a\", 1]",
        "[\"a\", \"b\", \"c\", \"d\", \"e\"]",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CU_ASSERT_EQUAL(try_vocabulary("v.json", bad[i], strlen(bad[i])), CLF_ERROR_FORMAT);
    }
    CU_ASSERT_EQUAL(try_vocabulary("v.txt", "", 0), CLF_ERROR_FORMAT);
    CU_ASSERT_EQUAL(try_vocabulary("v.txt", "a\nb\nc\nd\ne", 9), CLF_ERROR_FORMAT);
    CU_ASSERT_EQUAL(try_vocabulary("v.txt", "a\n\0\nb", 5), CLF_ERROR_FORMAT);
    CLF_ASSERT_OK(try_vocabulary("v.txt", "a\nb\nc\nd", 7));
}

static void test_vocabulary_prefixes(void) {
    const char *object = "{\"</s>\": 0, \"\\u2581a\": 2, \"<unk>\": 1, \"b\\\"\": 3}";
    const char *list = "[\"</s>\", \"\xE2\x96\x81\", \"\\ud83d\\ude00\"]";
    for (size_t size = 0; size < strlen(object); size++) {
        CU_ASSERT_EQUAL(try_vocabulary("v.json", object, size), CLF_ERROR_FORMAT);
    }
    for (size_t size = 0; size < strlen(list); size++) {
        CU_ASSERT_EQUAL(try_vocabulary("v.json", list, size), CLF_ERROR_FORMAT);
    }
    CLF_ASSERT_OK(try_vocabulary("v.json", object, strlen(object)));
    CLF_ASSERT_OK(try_vocabulary("v.json", list, strlen(list)));
}

// Each wrong setting gives a status and its own message.
static void check_open(clf_tokenizer_files files, clf_status expected, const char *message) {
    clf_tokenizer *t = NULL;
    CU_ASSERT_EQUAL(clf_tokenizer_open(&files, &t), expected);
    CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), message));
    CU_ASSERT_PTR_NULL(t);
    clf_tokenizer_close(t);
}

static void test_open(void) {
    char *spm = strdup(clf_test_golden("text/source.spm"));
    char *json = strdup(clf_test_golden("text/shared.json"));
    clf_tokenizer_files good = {.source_spm = spm,
                                .target_spm = spm,
                                .source_vocabulary = json,
                                .source_size = 999,
                                .target_size = 999,
                                .unk = "<unk>",
                                .eos = "</s>",
                                .append_eos = true};
    clf_tokenizer_files files = good;
    files.source_spm = "/nowhere/absent.spm";
    check_open(files, CLF_ERROR_IO, "absent.spm");
    files = good;
    files.target_spm = json;
    check_open(files, CLF_ERROR_FORMAT, "shared.json");
    files = good;
    files.target_vocabulary = "/nowhere/absent.json";
    check_open(files, CLF_ERROR_IO, "absent.json");
    files = good;
    files.source_vocabulary = spm;
    check_open(files, CLF_ERROR_FORMAT, "source.spm");
    files = good;
    files.target_size = 100; // one vocabulary serves both
    check_open(files, CLF_ERROR_FORMAT, "100");
    files = good;
    files.eos = "<end>";
    check_open(files, CLF_ERROR_FORMAT, "<end>");
    files = good;
    files.bos = "<begin>";
    check_open(files, CLF_ERROR_FORMAT, "<begin>");
    files = good;
    files.unk = NULL;
    check_open(files, CLF_ERROR_ARGUMENT, "");
    files = (clf_tokenizer_files){.source_size = 1, .target_size = 1, .unk = "<unk>"};
    check_open(files, CLF_ERROR_ARGUMENT, "");
    free(spm);
    free(json);
}

static const clf_test tests[] = {
    {"spm-prefixes", test_spm_prefixes},
    {"spm-bytes", test_spm_bytes},
    {"charsmap", test_charsmap},
    {"vocabulary-good", test_vocabulary_good},
    {"vocabulary-bad", test_vocabulary_bad},
    {"vocabulary-prefixes", test_vocabulary_prefixes},
    {"open", test_open},
};

CLF_TEST_MAIN("text-damage", tests)
