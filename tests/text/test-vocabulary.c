// SPDX-License-Identifier: MIT
// Vocabularies made from generated text of two invented languages.
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <clformer/log.h>
#include <clformer/train.h>

#include "base/file.h"
#include "base/rng.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"

// "directory/name"; valid until the eighth call after.
static const char *at(const char *name) {
    static char paths[8][4096];
    static int turn;
    char *path = paths[turn++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", clf_test_directory(), name);
    return path;
}

static void write_text(const char *name, const char *text) {
    CLF_ASSERT_OK(clf_file_write(at(name), text, strlen(text)));
}

// Words of one to three syllables.
static void write_language(const char *name, const char *consonants, const char *vowels) {
    FILE *file = fopen(at(name), "w");
    clf_rng rng = {(uint64_t)consonants[0]};
    for (int line = 0; line < 400; line++) {
        for (uint32_t word = 0, words = 2 + clf_rng_below(&rng, 6); word < words; word++) {
            if (word > 0) fputc(' ', file);
            for (uint32_t i = 0, syllables = 1 + clf_rng_below(&rng, 3); i < syllables; i++) {
                fputc(consonants[clf_rng_below(&rng, (uint32_t)strlen(consonants))], file);
                fputc(vowels[clf_rng_below(&rng, (uint32_t)strlen(vowels))], file);
            }
        }
        fputs(".\n", file);
    }
    fclose(file);
}

static int warnings;

static void on_log(void *user, clf_log_level level, const char *message) {
    (void)user;
    if (level == CLF_LOG_WARNING && strstr(message, "pieces, not")) warnings++;
}

// Trains and returns the number of warnings about the size.
static int train(const char *directory, const clf_vocabulary_options *options) {
    warnings = 0;
    clf_log_set(on_log, NULL, CLF_LOG_WARNING);
    CLF_ASSERT_OK(clf_vocabulary_train(directory, options));
    clf_log_set(NULL, NULL, CLF_LOG_WARNING);
    return warnings;
}

static char *in(const char *directory, const char *name) {
    char *path = clf_path_join(directory, name);
    bool exists = clf_file_exists(path);
    if (exists) return path;
    free(path);
    return NULL;
}

// The number of pieces of a table, which must begin and end as Marian's do.
static int check_table(const char *directory, const char *name) {
    char *path = in(directory, name);
    clf_vocabulary *v = NULL;
    int size = 0;
    CU_ASSERT_PTR_NOT_NULL(path);
    if (path && CLF_ASSERT_OK(clf_vocabulary_open(path, 1 << 20, "<unk>", &v))) {
        while (clf_vocabulary_piece(v, size)) size++;
        CU_ASSERT_STRING_EQUAL(clf_vocabulary_piece(v, 0), "</s>");
        CU_ASSERT_STRING_EQUAL(clf_vocabulary_piece(v, 1), "<unk>");
        CU_ASSERT_STRING_EQUAL(clf_vocabulary_piece(v, size - 1), "<pad>");
    }
    clf_vocabulary_close(v);
    free(path);
    return size;
}

static clf_tokenizer *open_tokenizer(const char *directory) {
    char *paths[4] = {in(directory, "source.spm"), in(directory, "target.spm"),
                      in(directory, "vocab.json"), in(directory, "target_vocab.json")};
    clf_tokenizer_files files = {.source_spm = paths[0],
                                 .target_spm = paths[1],
                                 .source_vocabulary = paths[2],
                                 .target_vocabulary = paths[3],
                                 .source_size = 1 << 20,
                                 .target_size = 1 << 20,
                                 .unk = "<unk>",
                                 .eos = "</s>",
                                 .append_eos = true};
    clf_tokenizer *tokenizer = NULL;
    CLF_ASSERT_OK(clf_tokenizer_open(&files, &tokenizer));
    for (int i = 0; i < 4; i++) free(paths[i]);
    return tokenizer;
}

// The target text of a target text's tokens.
static void check_text(const char *directory, const char *text, const char *expected) {
    clf_tokenizer *tokenizer = open_tokenizer(directory);
    clf_ids ids = {0};
    clf_string got = {0};
    if (!tokenizer) return;
    CLF_ASSERT_OK(clf_tokenizer_encode_target(tokenizer, text, strlen(text), &ids));
    CLF_ASSERT_OK(clf_tokenizer_decode(tokenizer, ids.data, ids.count, &got));
    bool same = got.count == strlen(expected) && memcmp(got.data, expected, got.count) == 0;
    if (!same) fprintf(stderr, "\n'%.*s' is not '%s'\n", (int)got.count, got.data, expected);
    CU_ASSERT_TRUE(same);
    ids.count = 0;
    CLF_ASSERT_OK(clf_tokenizer_encode_source(tokenizer, "", 0, &ids));
    CU_ASSERT(ids.count == 1 && ids.data[0] == 0);
    clf_array_free(&ids);
    clf_array_free(&got);
    clf_tokenizer_close(tokenizer);
}

static bool same_file(const char *a, const char *b, const char *name) {
    char *paths[2] = {in(a, name), in(b, name)}, *texts[2] = {NULL, NULL};
    size_t sizes[2] = {0, 1};
    for (int i = 0; i < 2 && paths[i]; i++) {
        CLF_ASSERT_OK(clf_file_read(paths[i], 1 << 24, &texts[i], &sizes[i]));
    }
    bool same =
        texts[0] && texts[1] && sizes[0] == sizes[1] && memcmp(texts[0], texts[1], sizes[0]) == 0;
    for (int i = 0; i < 2; i++) {
        free(paths[i]);
        free(texts[i]);
    }
    return same;
}

static void test_joint(void) {
    write_language("a.txt", "kmtnrs", "aiu");
    write_language("b.txt", "bdglvz", "eoy");
    const char *source = at("a.txt"), *target = at("b.txt");
    clf_vocabulary_options options = {.source_files = &source,
                                      .source_count = 1,
                                      .target_files = &target,
                                      .target_count = 1,
                                      .size = 60};
    const char *directory = at("deep/joint"), *again = at("again");
    CU_ASSERT_EQUAL(train(directory, &options), 0);
    CU_ASSERT_EQUAL(check_table(directory, "vocab.json"), 61);
    CU_ASSERT_TRUE(same_file(directory, directory, "source.spm"));
    CU_ASSERT_PTR_NULL(in(directory, "target_vocab.json"));
    check_text(directory, "debolo kamuti.", "debolo kamuti.");
    // The same again; and with a part of the lines, always the same one.
    train(again, &options);
    CU_ASSERT_TRUE(same_file(directory, again, "source.spm"));
    CU_ASSERT_TRUE(same_file(directory, again, "vocab.json"));
    options.sentences = 100;
    train(again, &options);
    CU_ASSERT_FALSE(same_file(directory, again, "vocab.json"));
    train(directory, &options);
    CU_ASSERT_TRUE(same_file(directory, again, "target.spm"));
    options.seed = 1;
    train(again, &options);
    CU_ASSERT_FALSE(same_file(directory, again, "target.spm"));
}

static void test_types(void) {
    static const char *const types[] = {"unigram", "bpe", "char", "word"};
    write_language("a.txt", "kmtnrs", "aiu");
    const char *source = at("a.txt"), *directory = at("types");
    for (int i = 0; i < 4; i++) {
        clf_vocabulary_options options = {.source_files = &source,
                                          .source_count = 1,
                                          .size = 5000,
                                          .model_type = types[i],
                                          .character_coverage = 1};
        CU_ASSERT_EQUAL(train(directory, &options), 1); // the text has not so many
        int size = check_table(directory, "vocab.json");
        CU_ASSERT(size > 3 && size < 5000);
        if (i < 3) check_text(directory, "kamuti sana.", "kamuti sana.");
    }
}

static void test_separate(void) {
    write_language("a.txt", "kmtnrs", "aiu");
    write_language("b.txt", "bdglvz", "eoy");
    const char *source = at("a.txt"), *target = at("b.txt"), *directory = at("separate");
    clf_vocabulary_options options = {.source_files = &source,
                                      .source_count = 1,
                                      .target_files = &target,
                                      .target_count = 1,
                                      .size = 50,
                                      .separate = true};
    CU_ASSERT_EQUAL(train(directory, &options), 0);
    CU_ASSERT_EQUAL(check_table(directory, "vocab.json"), 51);
    CU_ASSERT_EQUAL(check_table(directory, "target_vocab.json"), 51);
    check_text(directory, "debolo vyzo.", "debolo vyzo.");
    clf_tokenizer *tokenizer = open_tokenizer(directory);
    if (tokenizer) CU_ASSERT(clf_tokenizer_target_id(tokenizer, "k") < 0);
    clf_tokenizer_close(tokenizer);
    // Nothing of it is left over.
    options.separate = false;
    options.segmented = true;
    CU_ASSERT_EQUAL(train(directory, &options), 0);
    CU_ASSERT_EQUAL(check_table(directory, "vocab.json"), 51);
    CU_ASSERT_PTR_NULL(in(directory, "target_vocab.json"));
    CU_ASSERT_PTR_NULL(in(directory, "source.spm"));
    CU_ASSERT_PTR_NULL(in(directory, "target.spm"));
}

static void check_content(const char *directory, const char *name, const char *expected) {
    char *path = in(directory, name), *text = NULL;
    size_t size = 0, kept = 0;
    CU_ASSERT_PTR_NOT_NULL(path);
    if (path && CLF_ASSERT_OK(clf_file_read(path, 1 << 20, &text, &size))) {
        for (size_t i = 0; i < size; i++) {
            if (!strchr(" \t\n", text[i])) text[kept++] = text[i];
        }
        text[kept] = '\0';
        CU_ASSERT_STRING_EQUAL(text, expected);
    }
    free(text);
    free(path);
}

static void test_segmented(void) {
    write_text("one.txt", "\xEF\xBB\xBF"
                          "b@@ a  c\r\n\nc </s> <pad>\td\n");
    write_text("two.txt", "\xC3\xA9 c b@@");
    const char *files[] = {at("one.txt"), at("two.txt")}, *directory = at("segmented");
    clf_vocabulary_options options = {
        .source_files = files, .source_count = 2, .segmented = true, .size = 7};
    CU_ASSERT_EQUAL(train(directory, &options), 0);
    check_content(directory, "vocab.json",
                  "{\"</s>\":0,\"<unk>\":1,\"c\":2,\"b@@\":3,\"a\":4,\"d\":5,\"\xC3\xA9\":6,"
                  "\"<pad>\":7}");
    check_content(directory, "tokenizer_config.json",
                  "{\"segmented\":true,\"eos_token\":\"</s>\",\"unk_token\":\"<unk>\","
                  "\"pad_token\":\"<pad>\",\"separate_vocabs\":false}");
    check_text(directory, "a b@@ x  d", "a b@@ <unk> d");
    options.size = 4;
    CU_ASSERT_EQUAL(train(directory, &options), 0);
    check_content(directory, "vocab.json",
                  "{\"</s>\":0,\"<unk>\":1,\"c\":2,\"b@@\":3,\"<pad>\":4}");
    options.size = 8;
    CU_ASSERT_EQUAL(train(directory, &options), 1);
    CU_ASSERT_EQUAL(check_table(directory, "vocab.json"), 8);
}

static void refuse(const clf_vocabulary_options *options, clf_status expected,
                   const char *message) {
    CU_ASSERT_EQUAL(clf_vocabulary_train(at("refused"), options), expected);
    bool said = strstr(clf_last_error(), message) != NULL;
    if (!said) fprintf(stderr, "\n'%s' does not say '%s'\n", clf_last_error(), message);
    CU_ASSERT_TRUE(said);
}

static void test_bad_input(void) {
    write_text("good.txt", "a b c d e f g h i j k l m n o p\n");
    const char *file = at("good.txt");
    const clf_vocabulary_options good = {.source_files = &file, .source_count = 1};
    clf_vocabulary_options bad = good;
    bad.size = 10;
    refuse(&bad, CLF_ERROR_UNSUPPORTED, "Vocabulary size is smaller than required_chars");
    bad.size = 2;
    refuse(&bad, CLF_ERROR_ARGUMENT, "2 pieces");
    bad = good;
    bad.model_type = "magic";
    refuse(&bad, CLF_ERROR_ARGUMENT, "unigram, bpe, char or word");
    bad = good;
    bad.character_coverage = 0.5f;
    refuse(&bad, CLF_ERROR_ARGUMENT, "coverage");
    bad = good;
    bad.sentences = -1;
    refuse(&bad, CLF_ERROR_ARGUMENT, "sentence");
    bad = good;
    bad.separate = true;
    refuse(&bad, CLF_ERROR_ARGUMENT, "both languages");
    bad.separate = false;
    bad.source_count = 0;
    refuse(&bad, CLF_ERROR_ARGUMENT, "needs text");
    // Texts of which nothing is left.
    static const char *const nothing[] = {"", "\n \n", "\xE2\x80\x8B\n", "\xE2\x96\x85 a\n"};
    for (int i = 0; i < 4; i++) {
        write_text("good.txt", nothing[i]);
        refuse(&good, CLF_ERROR_FORMAT, "good.txt: no text");
    }
    write_text("good.txt", "a\nb\xFF\n");
    refuse(&good, CLF_ERROR_FORMAT, "good.txt: line 2 is not valid UTF-8");
    bad = good;
    bad.segmented = true;
    refuse(&bad, CLF_ERROR_FORMAT, "good.txt: line 2 is not valid UTF-8");
    file = at("absent.txt");
    refuse(&good, CLF_ERROR_IO, "absent.txt: cannot open");
    CLF_ASSERT_OK(clf_file_make_directory(at("refused")));
    write_text("refused/config.json", "{}");
    refuse(&good, CLF_ERROR_ARGUMENT, "holds a model");
}

static const clf_test tests[] = {
    {"joint", test_joint},         {"types", test_types},         {"separate", test_separate},
    {"segmented", test_segmented}, {"bad input", test_bad_input},
};

CLF_TEST_MAIN("text-vocabulary", tests)
