// SPDX-License-Identifier: MIT
#include "harness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <clformer/evaluate.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/rng.h"
#include "text/bleu_tokenize.h"
#include "text/codepoints.h"

// Scores agree but for the rounding of exp, log and the printed figure.
#define TOLERANCE 1e-9

enum { MOST = 128 }; // segments, fields of a line

static bool near(double got, double expected, double tolerance, const char *what) {
    if (fabs(got - expected) <= tolerance) return true;
    fprintf(stderr, "\n%s: %.17g instead of %.17g\n", what, got, expected);
    return false;
}

// ---- tokenisation -------------------------------------------------------------------------------

// The text as UTF-8 with one blank between words.
static void join_words(const clf_ids *text, char *out) {
    bool between = false;
    char *begin = out;
    for (size_t i = 0; i < text->count; i++) {
        int32_t c = text->data[i];
        if (clf_codepoint_is_blank(c)) {
            between = true;
            continue;
        }
        if (between && out > begin) *out++ = ' ';
        between = false;
        if (c < 0x80) {
            *out++ = (char)c;
        } else {
            if (c >= 0x10000) *out++ = (char)(0xF0 | c >> 18);
            if (c >= 0x800) *out++ = (char)((c >= 0x10000 ? 0x80 : 0xE0) | (c >> 12 & 0x3F));
            *out++ = (char)((c >= 0x800 ? 0x80 : 0xC0) | (c >> 6 & 0x3F));
            *out++ = (char)(0x80 | (c & 0x3F));
        }
    }
    *out = '\0';
}

static void check_tokens(clf_bleu_tokenization how, const char *text, const char *expected) {
    clf_ids codepoints = {0}, scratch = {0};
    char got[512];
    CLF_ASSERT_OK(clf_codepoints_decode(text, &codepoints));
    CLF_ASSERT_OK(clf_bleu_tokenize(how, &codepoints, &scratch));
    CU_ASSERT_FATAL(codepoints.count * 4 < sizeof got);
    join_words(&codepoints, got);
    if (strcmp(got, expected) != 0) fprintf(stderr, "\n'%s' instead of '%s'\n", got, expected);
    CU_ASSERT_STRING_EQUAL(got, expected);
    clf_array_free(&codepoints);
    clf_array_free(&scratch);
}

static void test_tokens(void) {
    static const char *const cases[][2] = {
        {"It's 3.14, e.g. 1,000-2 (ok) 5-6 end.",
         "It's 3.14 , e . g . 1,000 - 2 ( ok ) 5 - 6 end ."},
        {"The year 1999.", "The year 1999 ."},
        {"Wait... what?", "Wait . . . what ?"},
        {"3.,5 x.,y", "3 . , 5 x . , y"},
        {"-5 5- a-5 5-a", "-5 5 - a-5 5 - a"},
        {"&amp;lt; &quot;x&quot; a<skipped>b -", "< \" x \" ab -"},
        {"well-\nknown\nnames-\n", "wellknown names-"},
        {".", "."},
        {" \t\n", ""},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check_tokens(CLF_BLEU_13A, cases[i][0], cases[i][1]);
    }
    check_tokens(CLF_BLEU_ZH, "我喜欢ABC公司3.5%的“产品”。",
                 "我 喜 欢 ABC 公 司 3.5 % 的 “ 产 品 ” 。");
    check_tokens(CLF_BLEU_ZH, " The year 1999. ", "The year 1999.");
    check_tokens(CLF_BLEU_ZH, "𠀀𠀁—→ &lt;", "𠀀𠀁 — → & lt ;");
    check_tokens(CLF_BLEU_CHAR, "a 小\u3000😀b", "a 小 😀 b");
    check_tokens(CLF_BLEU_NONE, "a, b.\u00A0c\u3000d\u200Be", "a, b. c d\u200Be");
}

static void check_lower(const char *text, const char *expected) {
    clf_ids codepoints = {0};
    char got[512];
    CLF_ASSERT_OK(clf_codepoints_decode(text, &codepoints));
    CLF_ASSERT_OK(clf_codepoints_lower(&codepoints));
    join_words(&codepoints, got);
    CU_ASSERT_STRING_EQUAL(got, expected);
    clf_array_free(&codepoints);
}

static void test_lower(void) {
    check_lower("", "");
    check_lower("AbC ÄÖÜ ẞ 小Ⅷ", "abc äöü ß 小ⅷ");
    check_lower("İİxİ", "i\u0307i\u0307xi\u0307");
    check_lower("ΣΑΣ ΟΔΟΣ. Σ ΑΣ'Α ΑΣ' 'Σ", "σας οδος. σ ασ'α ας' 'σ");
}

// ---- scores -------------------------------------------------------------------------------------

static const char *const dog[] = {"The dog bit the man.", "It wasn't surprising.",
                                  "The man had just bitten him."};
static const char *const dog_a[] = {"The dog bit the man.", "It was not unexpected.",
                                    "The man bit him first."};
static const char *const dog_b[] = {"The dog had bit the man.", "No one was surprised.",
                                    "The man had bitten the dog."};
static const char *const *const dog_refs[] = {dog_a, dog_b};

static void check_dog(clf_bleu_options options, double expected, double tolerance) {
    clf_bleu_score score;
    CLF_ASSERT_OK(clf_bleu(dog, dog_refs, 2, 3, &options, &score));
    CU_ASSERT(near(score.score, expected, tolerance, "dog"));
}

static void test_dog(void) {
    clf_bleu_score score;
    CLF_ASSERT_OK(clf_bleu(dog, dog_refs, 2, 3, NULL, &score));
    const long counts[] = {14, 7, 5, 3}, totals[] = {17, 14, 11, 8};
    CU_ASSERT(near(score.score, 48.530827, 1e-6, "score"));
    CU_ASSERT(near(score.brevity_penalty, 0.9428731, 1e-7, "brevity penalty"));
    CU_ASSERT(near(score.ratio, 17.0 / 18, 1e-15, "ratio"));
    CU_ASSERT_EQUAL(score.orders, 4);
    CU_ASSERT_EQUAL(score.hypothesis_length, 17);
    CU_ASSERT_EQUAL(score.reference_length, 18);
    for (int n = 0; n < 4; n++) {
        CU_ASSERT_EQUAL(score.counts[n], counts[n]);
        CU_ASSERT_EQUAL(score.totals[n], totals[n]);
        CU_ASSERT(near(score.precisions[n], 100.0 * (double)counts[n] / (double)totals[n], 1e-12,
                       "precision"));
    }
    CU_ASSERT_STRING_EQUAL(score.signature,
                           "nrefs:2|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0");
    check_dog((clf_bleu_options){.tokenization = CLF_BLEU_NONE}, 49.1919566, 1e-7);
    static const double by_order[] = {77.65, 60.50, 53.93, 48.53, 46.14, 43.28};
    for (int n = 0; n < 6; n++) {
        check_dog((clf_bleu_options){.max_order = n + 1}, by_order[n], 5e-3);
    }
}

// One hypothesis and one reference.
static double bleu_of(const char *hypothesis, const char *reference, const char *smoothing,
                      double value, bool effective_order) {
    const char *const *refs[] = {&reference};
    clf_bleu_options options = {
        .smoothing = smoothing, .smoothing_value = value, .effective_order = effective_order};
    clf_bleu_score score = {.score = -1};
    CLF_ASSERT_OK(clf_bleu(&hypothesis, refs, 1, 1, &options, &score));
    return score.score;
}

static void test_smoothing(void) {
    static const struct {
        const char *hypothesis, *reference, *smoothing;
        double value;
        bool effective_order;
        double expected;
    } cases[] = {
        {"the cat is on a mat", "the cat sat on the mat", NULL, 0, false, 19.304870},
        {"the cat is on a mat", "the cat sat on the mat", "exp", 0, false, 19.304870},
        {"the cat is on a mat", "the cat sat on the mat", "floor", 0, false, 10.266901},
        {"the cat is on a mat", "the cat sat on the mat", "add-k", 0, false, 32.466792},
        {"the cat is on a mat", "the cat sat on the mat", "none", 0, false, 0},
        {"the cat sat", "the cat sat", NULL, 0, false, 0},
        {"the cat sat", "the cat sat on the mat", NULL, 0, true, 36.787944},
        {"test", "a test", "floor", 0.01, true, 36.787944},
        {"a little test", "a test", "floor", 0.01, true, 3.218298},
        {"this is a cat", "okay thanks", "exp", 0, false, 0},
        {"this is a cat", "okay thanks", "floor", 0, true, 0},
        {"this is a cat", "okay thanks", "add-k", 0, false, 0},
        {"", "okay thanks", "exp", 0, false, 0},
        {"okay", "", "exp", 0, true, 0},
        {"", "", "exp", 0, true, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double got = bleu_of(cases[i].hypothesis, cases[i].reference, cases[i].smoothing,
                             cases[i].value, cases[i].effective_order);
        CU_ASSERT(near(got, cases[i].expected, 1e-6, cases[i].hypothesis));
    }
}

static void check_chrf(const char *hypothesis, const char *first, const char *second, bool smooth,
                       double expected) {
    const char *const *refs[] = {&first, &second};
    clf_chrf_options options = {.beta = 3, .smooth = smooth};
    clf_chrf_score score;
    CLF_ASSERT_OK(clf_chrf(&hypothesis, refs, second ? 2 : 1, 1, &options, &score));
    CU_ASSERT(near(score.score, expected, 5e-5, hypothesis));
    CU_ASSERT_STRING_EQUAL(score.name, "chrF3");
}

static void test_chrf(void) {
    clf_chrf_score score;
    CLF_ASSERT_OK(clf_chrf(dog, dog_refs, 2, 3, NULL, &score));
    CU_ASSERT(near(score.score, 59.727518, 1e-6, "chrF2"));
    CU_ASSERT_STRING_EQUAL(score.name, "chrF2");
    CU_ASSERT_STRING_EQUAL(score.signature,
                           "nrefs:2|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.6.0");
    CLF_ASSERT_OK(clf_chrf(dog, dog_refs, 2, 3, &(clf_chrf_options){.word_order = 2}, &score));
    CU_ASSERT(near(score.score, 59.153104, 1e-6, "chrF2++"));
    CU_ASSERT_STRING_EQUAL(score.name, "chrF2++");
    CLF_ASSERT_OK(clf_chrf(dog, dog_refs, 2, 3, &(clf_chrf_options){.whitespace = true}, &score));
    CU_ASSERT(near(score.score, 65.876487, 1e-6, "chrF2 with blanks"));
    check_chrf("aa", "ab", NULL, false, 25);
    check_chrf("a", "a", "c", false, 100);
    check_chrf("b", "a", "c", false, 0);
    check_chrf("a b c", "abc", NULL, false, 100);
    check_chrf("aa", "ab", NULL, true, 8.3333);
    check_chrf("a", "a", NULL, true, 16.6667);
    check_chrf("a b c", "abc", NULL, true, 50);
    check_chrf("", "abc", NULL, false, 0);
    check_chrf("abc", "", NULL, false, 0);
}

// ---- what sacreBLEU says (make_bleu.py) ---------------------------------------------------------

typedef struct golden {
    char *text; // the file, cut into lines and fields
    const char *segments[MOST];
    size_t count;
} golden;

// Splits a string in place; returns the number of parts.
static int cut(char *text, char separator, char **parts) {
    int count = 0;
    for (char *at = text; at && count < MOST; count++) {
        parts[count] = at;
        at = strchr(at, separator);
        if (at) *at++ = '\0';
    }
    return count;
}

static void unescape(char *text) {
    char *to = text;
    for (const char *from = text; *from; from++) {
        char c = *from;
        if (c == '\\') {
            c = *++from;
            c = c == 't' ? '\t' : c == 'n' ? '\n' : c == 'r' ? '\r' : c;
        }
        *to++ = c;
    }
    *to = '\0';
}

// "3,1,2" -> segments.
static size_t pick(const golden *data, char *numbers, const char **segments) {
    char *parts[MOST];
    int count = cut(numbers, ',', parts);
    for (int i = 0; i < count; i++) {
        size_t number = strtoul(parts[i], NULL, 10);
        CU_ASSERT_FATAL(number < data->count);
        segments[i] = data->segments[number];
    }
    return (size_t)count;
}

// The segments of a case.
typedef struct example {
    const char *hypotheses[MOST], *lines[8][MOST];
    const char *const *refs[8];
    int references;
    size_t count;
} example;

static void make_example(const golden *data, char *hypotheses, char *references, example *made) {
    char *parts[MOST];
    made->count = pick(data, hypotheses, made->hypotheses);
    made->references = cut(references, ';', parts);
    CU_ASSERT_FATAL(made->references <= 8);
    for (int r = 0; r < made->references; r++) {
        CU_ASSERT_EQUAL_FATAL(pick(data, parts[r], made->lines[r]), made->count);
        made->refs[r] = made->lines[r];
    }
}

static const char *const tokenizations[] = {[CLF_BLEU_13A] = "13a",
                                            [CLF_BLEU_ZH] = "zh",
                                            [CLF_BLEU_CHAR] = "char",
                                            [CLF_BLEU_NONE] = "none"};

static void check_bleu_line(const golden *data, char **fields) {
    example e;
    char *precisions[MOST];
    clf_bleu_options options = {.lowercase = *fields[2] == '1',
                                .effective_order = *fields[3] == '1',
                                .max_order = atoi(fields[4]),
                                .smoothing = fields[5],
                                .smoothing_value = atof(fields[6])};
    while (strcmp(fields[1], tokenizations[options.tokenization]) != 0) options.tokenization++;
    make_example(data, fields[7], fields[8], &e);
    clf_bleu_score score;
    CLF_ASSERT_OK(clf_bleu(e.hypotheses, e.refs, e.references, e.count, &options, &score));
    bool good = near(score.score, atof(fields[9]), TOLERANCE, fields[14]);
    good &= near(score.brevity_penalty, atof(fields[10]), TOLERANCE, "brevity penalty");
    good &= score.hypothesis_length == atol(fields[11]);
    good &= score.reference_length == atol(fields[12]);
    good &= score.orders == cut(fields[13], ',', precisions);
    for (int n = 0; good && n < score.orders; n++) {
        good &= near(score.precisions[n], atof(precisions[n]), TOLERANCE, "precision");
    }
    CU_ASSERT(good);
    CU_ASSERT_STRING_EQUAL(score.signature, fields[14]);
}

static void check_chrf_line(const golden *data, char **fields) {
    example e;
    clf_chrf_options options = {.char_order = atoi(fields[1]),
                                .word_order = atoi(fields[2]),
                                .beta = atof(fields[3]),
                                .lowercase = *fields[4] == '1',
                                .whitespace = *fields[5] == '1',
                                .smooth = *fields[6] == '1'};
    make_example(data, fields[7], fields[8], &e);
    clf_chrf_score score;
    CLF_ASSERT_OK(clf_chrf(e.hypotheses, e.refs, e.references, e.count, &options, &score));
    CU_ASSERT(near(score.score, atof(fields[9]), TOLERANCE, fields[11]));
    CU_ASSERT_STRING_EQUAL(score.name, fields[10]);
    CU_ASSERT_STRING_EQUAL(score.signature, fields[11]);
}

// Hands each line's fields to `check` if its first is `kind`; returns how many there were.
static int each_golden(const char *kind, int fields,
                       void (*check)(const golden *data, char **fields)) {
    golden data = {0};
    char *parts[MOST], *next;
    size_t size;
    int done = 0;
    if (!CLF_ASSERT_OK(clf_file_read(clf_test_golden("bleu.tsv"), 1 << 20, &data.text, &size))) {
        return 0;
    }
    for (char *line = data.text; line && *line; line = next) {
        next = strchr(line, '\n');
        if (next) *next++ = '\0';
        int count = cut(line, '\t', parts);
        if (strcmp(parts[0], "segment") == 0 && count == 2) {
            CU_ASSERT_FATAL(data.count < MOST);
            unescape(parts[1]);
            data.segments[data.count++] = parts[1];
        } else if (strcmp(parts[0], kind) == 0) {
            CU_ASSERT_EQUAL_FATAL(count, fields);
            check(&data, parts);
            done++;
        }
    }
    free(data.text);
    return done;
}

static void test_golden_bleu(void) {
    CU_ASSERT(each_golden("bleu", 15, check_bleu_line) >= 100);
}

static void test_golden_chrf(void) {
    CU_ASSERT(each_golden("chrf", 12, check_chrf_line) >= 100);
}

// ---- a corpus -----------------------------------------------------------------------------------

typedef struct lines {
    char *text;
    const char **data;
    size_t count;
} lines;

static bool read_lines(const char *system, lines *made) {
    char name[128];
    size_t size;
    *made = (lines){0};
    snprintf(name, sizeof name, "data/flores-zh-en/flores-dev.%s%sen", system, *system ? "." : "");
    const char *path = clf_test_shared(name);
    if (!path || !CLF_ASSERT_OK(clf_file_read(path, 16 << 20, &made->text, &size))) return false;
    made->data = calloc(size + 1, sizeof *made->data);
    CU_ASSERT_PTR_NOT_NULL_FATAL(made->data);
    for (char *line = made->text, *next; *line; line = next) {
        next = strchr(line, '\n');
        CU_ASSERT_PTR_NOT_NULL_FATAL(next);
        *next++ = '\0';
        made->data[made->count++] = line;
    }
    return true;
}

static void free_lines(lines *made) {
    free(made->text);
    free(made->data);
}

// The figure published beside a system's output.
static double published(const char *system) {
    char name[128], *text;
    size_t size;
    snprintf(name, sizeof name, "data/flores-zh-en/flores-dev.%s.en.bleu", system);
    const char *path = clf_test_shared(name);
    if (!path || !CLF_ASSERT_OK(clf_file_read(path, 100, &text, &size))) return NAN;
    double score = atof(text);
    free(text);
    return score;
}

static void check_corpus_line(const golden *data, char **fields) {
    (void)data;
    lines reference, system;
    CU_ASSERT_FATAL(read_lines("", &reference) && read_lines(fields[1], &system));
    CU_ASSERT_EQUAL_FATAL(reference.count, system.count);
    const char *const *refs[] = {reference.data};
    int64_t begin = clf_clock();
    clf_bleu_score bleu;
    clf_chrf_score chrf;
    for (int t = 0; t < 4; t++) {
        clf_bleu_options options = {.tokenization = (clf_bleu_tokenization)t};
        CLF_ASSERT_OK(clf_bleu(system.data, refs, 1, system.count, &options, &bleu));
        CU_ASSERT(near(bleu.score, atof(fields[2 + t]), TOLERANCE, fields[1]));
        if (t == CLF_BLEU_13A) {
            CU_ASSERT(near(bleu.score, published(fields[1]), 0.05 + TOLERANCE, "published"));
        }
    }
    int64_t middle = clf_clock();
    for (int w = 0; w < 2; w++) {
        clf_chrf_options options = {.word_order = 2 * w};
        CLF_ASSERT_OK(clf_chrf(system.data, refs, 1, system.count, &options, &chrf));
        CU_ASSERT(near(chrf.score, atof(fields[6 + w]), TOLERANCE, fields[1]));
    }
    if (clf_test_bench) {
        printf("%zu segments: BLEU %.1f ms, chrF %.1f ms\n", system.count,
               (double)(middle - begin) * 1e-6 / 4, (double)(clf_clock() - middle) * 1e-6 / 2);
    }
    free_lines(&reference);
    free_lines(&system);
}

static void test_corpus(void) {
    if (!clf_test_shared("data/flores-zh-en/flores-dev.opusmt.en")) {
        clf_test_skip("no data/flores-zh-en");
        return;
    }
    CU_ASSERT_EQUAL(each_golden("corpus", 8, check_corpus_line), 5);
}

// ---- edges --------------------------------------------------------------------------------------

static void test_empty_corpus(void) {
    const char *const none[] = {NULL};
    const char *const *refs[] = {none};
    clf_bleu_score bleu;
    clf_chrf_score chrf;
    CLF_ASSERT_OK(clf_bleu(none, refs, 1, 0, NULL, &bleu));
    CLF_ASSERT_OK(clf_chrf(none, refs, 1, 0, NULL, &chrf));
    CU_ASSERT_EQUAL(bleu.score, 0);
    CU_ASSERT_EQUAL(bleu.ratio, 0);
    CU_ASSERT_EQUAL(chrf.score, 0);
}

static void refuse_bleu(clf_bleu_options options, int references) {
    clf_bleu_score score = {.score = 7};
    CU_ASSERT_EQUAL(clf_bleu(dog, dog_refs, references, 3, &options, &score), CLF_ERROR_ARGUMENT);
    CU_ASSERT_EQUAL(score.score, 7);
}

static void refuse_chrf(clf_chrf_options options, int references) {
    clf_chrf_score score = {.score = 7};
    CU_ASSERT_EQUAL(clf_chrf(dog, dog_refs, references, 3, &options, &score), CLF_ERROR_ARGUMENT);
    CU_ASSERT_EQUAL(score.score, 7);
}

static void test_misuse(void) {
    refuse_bleu((clf_bleu_options){0}, 0);
    refuse_bleu((clf_bleu_options){.max_order = 10}, 2);
    refuse_bleu((clf_bleu_options){.max_order = -1}, 2);
    refuse_bleu((clf_bleu_options){.smoothing = "magic"}, 2);
    refuse_bleu((clf_bleu_options){.smoothing = "floor", .smoothing_value = -1}, 2);
    refuse_bleu((clf_bleu_options){.smoothing = "floor", .smoothing_value = NAN}, 2);
    refuse_bleu((clf_bleu_options){.smoothing = "exp", .smoothing_value = 1}, 2);
    refuse_bleu((clf_bleu_options){.tokenization = (clf_bleu_tokenization)4}, 2);
    refuse_chrf((clf_chrf_options){0}, 0);
    refuse_chrf((clf_chrf_options){.char_order = -1}, 2);
    refuse_chrf((clf_chrf_options){.char_order = 17}, 2);
    refuse_chrf((clf_chrf_options){.word_order = 10}, 2);
    refuse_chrf((clf_chrf_options){.beta = -2}, 2);
    refuse_chrf((clf_chrf_options){.beta = INFINITY}, 2);
    const char *const absent[] = {"a", NULL};
    const char *const *refs[] = {absent};
    clf_bleu_score bleu;
    clf_chrf_score chrf;
    CU_ASSERT_EQUAL(clf_bleu(absent, refs, 1, 2, NULL, &bleu), CLF_ERROR_ARGUMENT);
    CU_ASSERT_EQUAL(clf_chrf(absent, refs, 1, 2, NULL, &chrf), CLF_ERROR_ARGUMENT);
}

// Text in which nothing is valid UTF-8 is as U+FFFD for each sequence, and any bytes are survived.
static void test_invalid(void) {
    clf_bleu_options words = {.tokenization = CLF_BLEU_CHAR, .max_order = 1};
    const char *damaged = "a\xE5\xB0z \x80\xED\xA0\x80",
               *clean = "a\uFFFDz \uFFFD\uFFFD\uFFFD\uFFFD";
    const char *const *refs[] = {&clean};
    clf_bleu_score bleu;
    clf_chrf_score chrf;
    CLF_ASSERT_OK(clf_bleu(&damaged, refs, 1, 1, &words, &bleu));
    CU_ASSERT(near(bleu.score, 100, TOLERANCE, "damaged"));
    CU_ASSERT_EQUAL(bleu.hypothesis_length, 7);
    clf_rng rng = {11};
    for (int round = 0; round < 400; round++) {
        size_t size = clf_rng_below(&rng, 60);
        char *text = malloc(size + 1); // exact, so that a sanitizer sees a read past the end
        CU_ASSERT_PTR_NOT_NULL_FATAL(text);
        for (size_t i = 0; i < size; i++) text[i] = (char)(clf_rng_below(&rng, 255) + 1);
        text[size] = '\0';
        const char *hypothesis = text;
        clf_bleu_options options = {.tokenization = (clf_bleu_tokenization)(round % 4),
                                    .lowercase = round % 3 == 0};
        clf_chrf_options chrf_options = {.word_order = round % 3, .lowercase = round % 2};
        CLF_ASSERT_OK(clf_bleu(&hypothesis, refs, 1, 1, &options, &bleu));
        CLF_ASSERT_OK(clf_chrf(&hypothesis, refs, 1, 1, &chrf_options, &chrf));
        CU_ASSERT(bleu.score >= 0 && bleu.score < 100.001);
        CU_ASSERT(chrf.score >= 0 && chrf.score < 100.001);
        free(text);
    }
}

// One segment with far more n-grams than a usual one: the table grows, and counts stay exact.
static void test_long_segment(void) {
    enum { WORDS = 30000 };
    char *text = malloc(WORDS * 8), *at = text;
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    for (int i = 0; i < WORDS; i++) at += sprintf(at, "%d ", i);
    const char *const hypotheses[] = {text, "0 1 2 3", text};
    const char *const references[] = {text, "0 1 2 3", "4 5 6 7 7"};
    const char *const *refs[] = {references};
    clf_bleu_score bleu;
    clf_chrf_score chrf;
    CLF_ASSERT_OK(clf_bleu(hypotheses, refs, 1, 3, NULL, &bleu));
    for (int n = 0; n < 4; n++) {
        CU_ASSERT_EQUAL(bleu.totals[n], 2 * (WORDS - n) + 4 - n);
        CU_ASSERT_EQUAL(bleu.counts[n], WORDS - n + 4 - n + 4 - n);
    }
    CLF_ASSERT_OK(clf_chrf(hypotheses, refs, 1, 2, NULL, &chrf));
    CU_ASSERT(near(chrf.score, 100, TOLERANCE, "long"));
    free(text);
}

static const clf_test tests[] = {
    {"tokens", test_tokens},
    {"lower-case", test_lower},
    {"dog", test_dog},
    {"smoothing", test_smoothing},
    {"chrf", test_chrf},
    {"golden-bleu", test_golden_bleu},
    {"golden-chrf", test_golden_chrf},
    {"corpus", test_corpus},
    {"empty-corpus", test_empty_corpus},
    {"misuse", test_misuse},
    {"invalid", test_invalid},
    {"long-segment", test_long_segment},
};

CLF_TEST_MAIN("text-bleu", tests)
