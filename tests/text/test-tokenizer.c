// SPDX-License-Identifier: MIT
// Against transformers' MarianTokenizer: tests/golden/text/make.py wrote what is expected.
#include "harness.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>

#include "base/clock.h"
#include "base/file.h"
#include "text/tokenizer.h"

static char *golden(const char *name) {
    return strdup(clf_test_golden(name));
}

typedef struct paths {
    char *source, *target, *shared, *separate, *separate_target;
} paths;

static paths paths_make(void) {
    return (paths){golden("text/source.spm"), golden("text/target.spm"), golden("text/shared.json"),
                   golden("text/separate.json"), golden("text/separate_target.json")};
}

static void paths_free(paths *p) {
    free(p->source);
    free(p->target);
    free(p->shared);
    free(p->separate);
    free(p->separate_target);
}

static clf_tokenizer *open_golden(bool separate) {
    paths p = paths_make();
    clf_tokenizer_files files = {.source_spm = p.source,
                                 .target_spm = p.target,
                                 .source_vocabulary = separate ? p.separate : p.shared,
                                 .target_vocabulary = separate ? p.separate_target : NULL,
                                 .source_size = 1000,
                                 .target_size = 1000,
                                 .unk = "<unk>",
                                 .eos = "</s>",
                                 .append_eos = true,
                                 .language_codes = !separate};
    clf_tokenizer *tokenizer = NULL;
    CLF_ASSERT_OK(clf_tokenizer_open(&files, &tokenizer));
    paths_free(&p);
    return tokenizer;
}

static bool same_ids(const clf_ids *ids, const cJSON *expected) {
    size_t i = 0;
    for (const cJSON *id = expected->child; id; id = id->next, i++) {
        if (i >= ids->count || ids->data[i] != id->valueint) return false;
    }
    return i == ids->count;
}

static bool same_text(const clf_string *text, const char *expected) {
    if (text->count == 0) return *expected == '\0';
    return text->count == strlen(expected) && memcmp(text->data, expected, text->count) == 0;
}

static void check_encode(const clf_tokenizer *t, const char *text, const cJSON *source,
                         const cJSON *target) {
    clf_ids ids = {0};
    CLF_ASSERT_OK(clf_tokenizer_encode_source(t, text, strlen(text), &ids));
    if (!same_ids(&ids, source)) {
        fprintf(stderr, "\nsource ids of '%s'\n", text);
        CU_FAIL("source ids");
    }
    ids.count = 0;
    CLF_ASSERT_OK(clf_tokenizer_encode_target(t, text, strlen(text), &ids));
    if (!same_ids(&ids, target)) {
        fprintf(stderr, "\ntarget ids of '%s'\n", text);
        CU_FAIL("target ids");
    }
    clf_array_free(&ids);
}

static void check_decode(const clf_tokenizer *t, const cJSON *target, const char *expected) {
    clf_ids ids = {0};
    clf_string text = {0};
    for (const cJSON *id = target->child; id; id = id->next) {
        CU_ASSERT_FATAL(clf_array_push(&ids, id->valueint));
    }
    CLF_ASSERT_OK(clf_tokenizer_decode(t, ids.data, ids.count, &text));
    if (!same_text(&text, expected)) {
        fprintf(stderr, "\n'%.*s' instead of '%s'\n", (int)text.count, text.data, expected);
        CU_FAIL("decoded text");
    }
    clf_array_free(&ids);
    clf_array_free(&text);
}

static void test_golden(void) {
    char *json;
    size_t size;
    if (!CLF_ASSERT_OK(clf_file_read(clf_test_golden("text/cases.json"), 1 << 20, &json, &size))) {
        return;
    }
    cJSON *cases = cJSON_Parse(json);
    clf_tokenizer *shared = open_golden(false), *separate = open_golden(true);
    CU_ASSERT_FATAL(cases && shared && separate);
    CU_ASSERT(cJSON_GetArraySize(cases) > 100);
    for (const cJSON *row = cases->child; row; row = row->next) {
        const char *set = cJSON_GetStringValue(cJSON_GetObjectItem(row, "set"));
        const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(row, "text"));
        const cJSON *target = cJSON_GetObjectItem(row, "target");
        const clf_tokenizer *t = strcmp(set, "shared") == 0 ? shared : separate;
        if (text) check_encode(t, text, cJSON_GetObjectItem(row, "source"), target);
        check_decode(t, target, cJSON_GetStringValue(cJSON_GetObjectItem(row, "decoded")));
    }
    clf_tokenizer_close(shared);
    clf_tokenizer_close(separate);
    cJSON_Delete(cases);
    free(json);
}

// Splits a line at tabs, in place; missing fields are empty.
static void split_tabs(char *line, char *fields[], int count) {
    for (int i = 0; i < count; i++) {
        fields[i] = line;
        line += strcspn(line, "\t\n");
        if (*line) *line++ = '\0';
    }
}

static bool parse_ids(char *text, clf_ids *ids) {
    char *end;
    ids->count = 0;
    for (long id; id = strtol(text, &end, 10), end != text; text = end) {
        if (!clf_array_push(ids, (int32_t)id)) return false;
    }
    return true;
}

static bool equal(const clf_ids *a, const clf_ids *b) {
    return a->count == b->count && memcmp(a->data, b->data, a->count * sizeof *a->data) == 0;
}

static clf_tokenizer *open_shared(void) {
    const char *names[] = {"source.spm", "target.spm", "vocab.json"};
    char files[3][4096], name[64];
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "models/marian-zh-en/%s", names[i]);
        const char *path = clf_test_shared(name);
        if (!path) return NULL;
        snprintf(files[i], sizeof files[i], "%s", path);
    }
    clf_tokenizer_files all = {.source_spm = files[0],
                               .target_spm = files[1],
                               .source_vocabulary = files[2],
                               .source_size = 8001,
                               .target_size = 8001,
                               .unk = "<unk>",
                               .eos = "</s>",
                               .append_eos = true};
    clf_tokenizer *tokenizer = NULL;
    CLF_ASSERT_OK(clf_tokenizer_open(&all, &tokenizer));
    return tokenizer;
}

static void test_marian(void) {
    const char *path = clf_test_shared("models/marian-zh-en/golden/greedy.tsv");
    FILE *file = path ? fopen(path, "r") : NULL;
    clf_tokenizer *t = file ? open_shared() : NULL;
    if (!t) {
        if (file) fclose(file);
        clf_test_skip("no marian-zh-en");
        return;
    }
    char *line = NULL, *fields[5];
    size_t capacity = 0;
    int lines = 0;
    clf_ids expected = {0}, ids = {0};
    clf_string text = {0};
    while (getline(&line, &capacity, file) >= 0) {
        split_tabs(line, fields, 5);
        ids.count = text.count = 0;
        CU_ASSERT(parse_ids(fields[1], &expected));
        CLF_ASSERT_OK(clf_tokenizer_encode_source(t, fields[0], strlen(fields[0]), &ids));
        CU_ASSERT(equal(&ids, &expected));
        CU_ASSERT(parse_ids(fields[2], &expected));
        CLF_ASSERT_OK(clf_tokenizer_decode(t, expected.data, expected.count, &text));
        CU_ASSERT(same_text(&text, fields[4]));
        lines++;
    }
    CU_ASSERT(lines > 200);
    free(line);
    clf_array_free(&expected);
    clf_array_free(&ids);
    clf_array_free(&text);
    fclose(file);
    clf_tokenizer_close(t);
}

// Without vocabulary files the ids are SentencePiece's own.
static void test_own_ids(void) {
    paths p = paths_make();
    clf_tokenizer_files files = {.source_spm = p.source,
                                 .target_spm = p.target,
                                 .source_size = 400,
                                 .target_size = 400,
                                 .unk = "<unk>",
                                 .eos = "</s>",
                                 .append_eos = true,
                                 .bos = "\xE2\x96\x81"};
    clf_tokenizer *t = NULL;
    CLF_ASSERT_OK(clf_tokenizer_open(&files, &t));
    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    clf_ids ids = {0};
    clf_string text = {0};
    CLF_ASSERT_OK(clf_tokenizer_encode_source(t, "", 0, &ids));
    CU_ASSERT(ids.count == 2 && ids.data[1] == 0);
    ids.count = 0;
    CLF_ASSERT_OK(clf_tokenizer_encode_target(t, "die Katze", 9, &ids));
    for (size_t i = 0; i < ids.count; i++) {
        const char *piece = clf_tokenizer_target_piece(t, ids.data[i]);
        CU_ASSERT_EQUAL(clf_tokenizer_target_id(t, piece), ids.data[i]);
    }
    CLF_ASSERT_OK(clf_tokenizer_decode(t, ids.data, ids.count, &text));
    CU_ASSERT(same_text(&text, "die Katze"));
    clf_array_free(&ids);
    clf_array_free(&text);
    clf_tokenizer_close(t);
    t = NULL;
    files.target_size = 100;
    CU_ASSERT_EQUAL(clf_tokenizer_open(&files, &t), CLF_ERROR_FORMAT);
    CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), p.target));
    CU_ASSERT_PTR_NULL(t);
    paths_free(&p);
}

// Text that is segmented already, with the vocabulary `content`.
static clf_tokenizer *open_segmented(const char *content) {
    char path[4096];
    snprintf(path, sizeof path, "%s/vocabulary.txt", clf_test_directory());
    CLF_ASSERT_OK(clf_file_write(path, content, strlen(content)));
    clf_tokenizer_files files = {.source_vocabulary = path,
                                 .source_size = 6,
                                 .target_size = 6,
                                 .unk = "<unk>",
                                 .eos = "</s>",
                                 .append_eos = true,
                                 .language_codes = true};
    clf_tokenizer *t = NULL;
    CLF_ASSERT_OK(clf_tokenizer_open(&files, &t));
    return t;
}

// `expected` without the end token, which has the id 0.
static void check_segmented(const char *vocabulary, const char *text, const char *expected,
                            const char *decoded) {
    clf_tokenizer *t = open_segmented(vocabulary);
    clf_ids ids = {0};
    clf_string out = {0};
    char got[256];
    size_t length = 0;
    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    CLF_ASSERT_OK(clf_tokenizer_encode_source(t, text, strlen(text), &ids));
    CU_ASSERT(ids.count > 0 && ids.data[--ids.count] == 0);
    for (size_t i = 0; i < ids.count; i++) {
        length += (size_t)snprintf(got + length, sizeof got - length, "%d ", ids.data[i]);
    }
    got[length > 0 ? length - 1 : 0] = '\0';
    CU_ASSERT_STRING_EQUAL(got, expected);
    CLF_ASSERT_OK(clf_tokenizer_decode(t, ids.data, ids.count, &out));
    CU_ASSERT(same_text(&out, decoded));
    clf_array_free(&ids);
    clf_array_free(&out);
    clf_tokenizer_close(t);
}

static void test_segmented(void) {
    const char *text = " b a\t zz  a ", *decoded = "b a <unk> a";
    check_segmented("</s>\n<unk>\na\nb\n", text, "3 2 1 2", decoded);
    check_segmented("</s>\n<unk>\na\nb", text, "3 2 1 2", decoded);
    check_segmented("</s>\r\n<unk>\r\na\r\nb\r\n", text, "3 2 1 2", decoded);
    check_segmented("</s>\r\n<unk>\r\na\r\nb", text, "3 2 1 2", decoded);
    check_segmented("</s>\n<unk>\n\na\n\n\n", "a  zz", "3 1",
                    "a <unk>"); // an empty line is a piece
    check_segmented("</s>\n<unk>\na\r\na\n", "a a\r", "3 2", "a a\r");
    check_segmented("</s>\na\na\nb", text, "3 1 4 1", decoded); // equal pieces; <unk> comes last
    check_segmented("</s>\n>>b<<\na\n>>\nb", ">>b<<a >>b<< >>", "1 2 1 3", ">>b<< a >>b<< >>");
    check_segmented("</s>\n>>b<<\na\n>>\nb", ">>c<<a >>c", "5 5", "<unk> <unk>");
    check_segmented("</s>\na", "", "", "");
}

static void test_no_unk(void) {
    clf_tokenizer *t = open_segmented("</s>\na\nb\nc\nd\ne");
    clf_ids ids = {0};
    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    CU_ASSERT_EQUAL(clf_tokenizer_encode_source(t, "a b x c", 7, &ids), CLF_ERROR_FORMAT);
    CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), "vocabulary.txt"));
    CU_ASSERT_EQUAL(ids.count, 0);
    clf_array_free(&ids);
    clf_tokenizer_close(t);
}

// Ids that the vocabulary does not have must not be read from anywhere.
static void test_out_of_range(void) {
    const int32_t ids[] = {-1, INT32_MIN, INT32_MAX, 1000, 999};
    clf_tokenizer *t = open_golden(false);
    clf_string text = {0};
    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    for (int i = 0; i < 5; i++) CU_ASSERT_STRING_EQUAL(clf_tokenizer_target_piece(t, ids[i]), "?");
    CLF_ASSERT_OK(clf_tokenizer_decode(t, ids, 5, &text));
    CU_ASSERT(same_text(&text, "?????"));
    CU_ASSERT_EQUAL(clf_tokenizer_target_id(t, "no such piece"), -1);
    clf_array_free(&text);
    clf_tokenizer_close(t);
}

static void test_invalid_utf8(void) {
    // Each invalid byte counts as U+FFFD, so both columns give the same ids.
    static const char *const pairs[][2] = {
        {"the \xFF cat", "the \xEF\xBF\xBD cat"},
        {"\x80", "\xEF\xBF\xBD"},
        {"\xE5\xB0", "\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"\xC0\xAF", "\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"\xF4\x90\x80\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
    };
    clf_tokenizer *t = open_golden(false);
    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    clf_ids left = {0}, right = {0};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        left.count = right.count = 0;
        CLF_ASSERT_OK(clf_tokenizer_encode_target(t, pairs[i][0], strlen(pairs[i][0]), &left));
        CLF_ASSERT_OK(clf_tokenizer_encode_target(t, pairs[i][1], strlen(pairs[i][1]), &right));
        CU_ASSERT(left.count > 0 && equal(&left, &right));
    }
    left.count = right.count = 0;
    CLF_ASSERT_OK(clf_tokenizer_encode_source(t, "cat\0cat", 7, &left)); // a NUL is a character
    CU_ASSERT(left.count > 3);
    clf_array_free(&left);
    clf_array_free(&right);
    clf_tokenizer_close(t);
}

static void test_long_line(void) {
    clf_tokenizer *t = open_golden(false);
    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    static const char *const units[] = {"the cat ", "a", "\xE5\xB0\x8F", "\xF0\x9F\x98\x80", " "};
    for (int i = 0; i < 5; i++) {
        // SentencePiece takes quadratic time for a run of unknown characters.
        size_t unit = strlen(units[i]), size = unit == 4 ? 1 << 17 : 1 << 20;
        char *line = malloc(size);
        CU_ASSERT_PTR_NOT_NULL_FATAL(line);
        for (size_t at = 0; at < size; at++) line[at] = units[i][at % unit];
        clf_ids ids = {0};
        int64_t start = clf_clock();
        CLF_ASSERT_OK(clf_tokenizer_encode_source(t, line, size, &ids));
        CLF_ASSERT_OK(clf_tokenizer_encode_target(t, line, size, &ids));
        double seconds = (double)(clf_clock() - start) * 1e-9;
        CU_ASSERT(seconds < 60);
        if (clf_test_bench) printf("'%s': %.2f s ", units[i], seconds);
        clf_array_free(&ids);
        free(line);
    }
    clf_tokenizer_close(t);
}

typedef struct worker {
    const clf_tokenizer *tokenizer;
    clf_ids expected;
    bool failed;
} worker;

static const char sentence[] = "the old \xE5\xB0\x8F cat \xF0\x9F\x98\x80 sat, die K\xC3\xA4se";

static void *work(void *argument) {
    worker *w = argument;
    clf_ids ids = {0};
    clf_string text = {0};
    for (int i = 0; i < 500 && !w->failed; i++) {
        ids.count = text.count = 0;
        w->failed =
            clf_tokenizer_encode_target(w->tokenizer, sentence, sizeof sentence - 1, &ids) ||
            clf_tokenizer_decode(w->tokenizer, ids.data, ids.count, &text) ||
            !same_text(&text, sentence) || !equal(&ids, &w->expected);
    }
    clf_array_free(&ids);
    clf_array_free(&text);
    return NULL;
}

static void test_threads(void) {
    clf_tokenizer *t = open_golden(true);
    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    clf_ids ids = {0};
    CLF_ASSERT_OK(clf_tokenizer_encode_target(t, sentence, sizeof sentence - 1, &ids));
    worker workers[4];
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        workers[i] = (worker){.tokenizer = t, .expected = ids};
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        CU_ASSERT_FALSE(workers[i].failed);
    }
    clf_array_free(&ids);
    clf_tokenizer_close(t);
}

static const clf_test tests[] = {
    {"golden", test_golden},
    {"marian", test_marian},
    {"own-ids", test_own_ids},
    {"segmented", test_segmented},
    {"no-unk", test_no_unk},
    {"out-of-range", test_out_of_range},
    {"invalid-utf8", test_invalid_utf8},
    {"long-line", test_long_line},
    {"threads", test_threads},
};

CLF_TEST_MAIN("text-tokenizer", tests)
