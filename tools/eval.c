// SPDX-License-Identifier: MIT
// clformer eval: how good translations are, compared with references.
#include "command.h"
#include "lines.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct eval_options {
    common_options common; // help alone
    const char *hypotheses, *metric, *smooth;
    int tokenize; // clf_bleu_tokenization
    int width, word_order;
    bool lowercase, json;
} eval_options;

#define AT(member) offsetof(eval_options, member)

static const option_row options[] = {
    {"hypotheses", 0, OPTION_STRING, AT(hypotheses), "FILE",
     "the translations (default: standard input)"},
    {"metric", 'm', OPTION_STRING, AT(metric), "LIST", "bleu, chrf or both (default: bleu,chrf)"},
    {"tokenize", 't', OPTION_CHOICE, AT(tokenize), "13a|zh|char|none",
     "words of BLEU (default: 13a)"},
    {"lowercase", 'l', OPTION_FLAG, AT(lowercase), NULL, "compare without case"},
    {"smooth", 's', OPTION_STRING, AT(smooth), "HOW",
     "of BLEU: exp, floor[:VALUE], add-k[:VALUE] or none"},
    {"chrf-word-order", 0, OPTION_INT, AT(word_order), "N", "2 is chrF++ (default: 0)"},
    {"json", 'j', OPTION_FLAG, AT(json), NULL, "print JSON instead of text"},
    {"width", 'w', OPTION_INT, AT(width), "N", "decimals of a score (default: 1)"},
    {"help", 'h', OPTION_FLAG, AT(common.help), NULL, "print this help"},
    {0},
};

static int run_eval(int argc, char **argv);

const command command_eval = {
    .name = "eval",
    .summary = "Compares translations with references: BLEU and chrF, equal to sacreBLEU's.",
    .usage = "[options] REFERENCE... <HYPOTHESES",
    .details =
        "Line i of each REFERENCE is a good translation of what line i of the hypotheses\n"
        "translates. BLEU takes text that is not tokenized and does that itself: for Chinese\n"
        "use --tokenize zh.",
    .options = options,
    .run = run_eval,
};

// What the options ask for.
typedef struct plan {
    bool bleu, chrf;
    char smoothing[8];
    clf_bleu_options bleu_options;
    clf_chrf_options chrf_options;
} plan;

// One metric, ready to print.
typedef struct result {
    char name[16], score[400], signature[128];
    char verbose[256]; // may be empty
} result;

// ---- options ------------------------------------------------------------------------------------

static bool parse_metrics(const char *list, plan *made) {
    made->bleu = made->chrf = !list;
    for (const char *at = list; at;) {
        size_t length = strcspn(at, ",");
        if (length == 4 && strncmp(at, "bleu", 4) == 0) {
            made->bleu = true;
        } else if (length == 4 && strncmp(at, "chrf", 4) == 0) {
            made->chrf = true;
        } else {
            complain("--metric %s: use bleu, chrf or bleu,chrf", list);
            return false;
        }
        at = at[length] ? at + length + 1 : NULL;
    }
    return true;
}

// METHOD[:VALUE]; the library knows the methods.
static bool parse_smooth(const char *given, plan *made) {
    if (!given) return true;
    size_t length = strcspn(given, ":");
    bool good = length < sizeof made->smoothing;
    if (good) memcpy(made->smoothing, given, length);
    made->bleu_options.smoothing = made->smoothing;
    if (good && given[length] == ':') {
        char *end;
        made->bleu_options.smoothing_value = strtod(given + length + 1, &end);
        good = *end == '\0' && made->bleu_options.smoothing_value > 0;
    }
    if (!good)
        complain("--smooth %s: use exp, floor, add-k or none, floor:VALUE, add-k:VALUE", given);
    return good;
}

static bool make_plan(const eval_options *given, plan *made) {
    *made =
        (plan){.bleu_options = {.tokenization = (clf_bleu_tokenization)given->tokenize,
                                .lowercase = given->lowercase},
               .chrf_options = {.lowercase = given->lowercase, .word_order = given->word_order}};
    if (given->width < 0 || given->width > 15) {
        complain("--width %d: use 0 to 15", given->width);
        return false;
    }
    return parse_metrics(given->metric, made) && parse_smooth(given->smooth, made);
}

// ---- lines --------------------------------------------------------------------------------------

static const char *name_of(const char *path) {
    return strcmp(path, "-") == 0 ? "standard input" : path;
}

// Texts 1 on are the references of text 0. False after a message.
static bool texts_agree(const text_lines *texts, const char *const *paths, size_t count) {
    for (size_t i = 1; i < count; i++) {
        if (texts[i].count == texts[0].count) continue;
        complain("%s has %zu lines, %s has %zu: line i of one belongs to line i of the other",
                 name_of(paths[i]), texts[i].count, name_of(paths[0]), texts[0].count);
        return false;
    }
    if (texts[0].count == 0) complain("%s: no lines to compare", name_of(paths[0]));
    return texts[0].count > 0;
}

// ---- results ------------------------------------------------------------------------------------

static void describe_bleu(const clf_bleu_score *score, int width, result *made) {
    *made = (result){.name = "BLEU"};
    int length = 0;
    for (int n = 0; n < score->orders; n++) {
        length += snprintf(made->verbose + length, sizeof made->verbose - (size_t)length, "%s%.1f",
                           n > 0 ? "/" : "", score->precisions[n]);
    }
    snprintf(made->verbose + length, sizeof made->verbose - (size_t)length,
             " (BP = %.3f ratio = %.3f hyp_len = %ld ref_len = %ld)", score->brevity_penalty,
             score->ratio, score->hypothesis_length, score->reference_length);
    snprintf(made->score, sizeof made->score, "%.*f", width, score->score);
    memcpy(made->signature, score->signature, sizeof made->signature);
}

static void describe_chrf(const clf_chrf_score *score, int width, result *made) {
    *made = (result){0};
    memcpy(made->name, score->name, sizeof made->name);
    memcpy(made->signature, score->signature, sizeof made->signature);
    snprintf(made->score, sizeof made->score, "%.*f", width, score->score);
}

// Lines whose signs of equality stand below each other.
static void print_text(const result *results, int count) {
    int widest = 0;
    for (int i = 0; i < count; i++) {
        int width = (int)(strlen(results[i].name) + 1 + strlen(results[i].signature));
        if (width > widest) widest = width;
    }
    for (int i = 0; i < count; i++) {
        const result *r = &results[i];
        char left[sizeof r->name + sizeof r->signature];
        snprintf(left, sizeof left, "%s|%s", r->name, r->signature);
        printf("%*s = %s%s%s\n", widest, left, r->score, *r->verbose ? " " : "", r->verbose);
    }
}

// A decimal number as Python prints one: without further zeros at the end.
static void print_number(const char *decimal) {
    size_t length = strlen(decimal);
    if (!strchr(decimal, '.')) {
        printf("%s.0", decimal);
        return;
    }
    while (length > 2 && decimal[length - 1] == '0' && decimal[length - 2] != '.') length--;
    printf("%.*s", (int)length, decimal);
}

static void print_object(const result *r) {
    printf("{\n \"name\": \"%s\",\n \"score\": ", r->name);
    print_number(r->score);
    printf(",\n \"signature\": \"%s\"", r->signature);
    if (*r->verbose) printf(",\n \"verbose_score\": \"%s\"", r->verbose);
    // Each part of the signature, NAME:VALUE, once more alone.
    for (const char *part = r->signature; *part;) {
        size_t name = strcspn(part, ":"), length = strcspn(part, "|");
        printf(",\n \"%.*s\": \"%.*s\"", (int)name, part, (int)(length - name - 1),
               part + name + 1);
        part += length + (part[length] == '|');
    }
    fputs("\n}", stdout);
}

static void print_json(const result *results, int count) {
    if (count > 1) puts("[");
    for (int i = 0; i < count; i++) {
        if (i > 0) puts(",");
        print_object(&results[i]);
    }
    puts(count > 1 ? "\n]" : "");
}

static int evaluate(const plan *plan, const eval_options *given, const char *const *hypotheses,
                    size_t segments, const char *const *const *refs, int references) {
    result results[2];
    int count = 0;
    clf_bleu_score bleu;
    clf_chrf_score chrf;
    clf_status status;
    if (plan->bleu) {
        status = clf_bleu(hypotheses, refs, references, segments, &plan->bleu_options, &bleu);
        if (status != CLF_OK) return complain_status(status);
        describe_bleu(&bleu, given->width, &results[count++]);
    }
    if (plan->chrf) {
        status = clf_chrf(hypotheses, refs, references, segments, &plan->chrf_options, &chrf);
        if (status != CLF_OK) return complain_status(status);
        describe_chrf(&chrf, given->width, &results[count++]);
    }
    (given->json ? print_json : print_text)(results, count);
    return fflush(stdout) != 0 || ferror(stdout) ? complain_output() : EXIT_OK;
}

// Reads the hypotheses, text 0, and the references, and compares them.
static int eval_files(const plan *plan, const eval_options *given, char **references, int number) {
    size_t count = (size_t)number + 1;
    text_lines *texts = calloc(count, sizeof *texts);
    const char **paths = calloc(count, sizeof *paths);
    const char *const **lines = calloc(count, sizeof *lines); // of each text
    int code = EXIT_FAILED;
    if (!texts || !paths || !lines) {
        complain("out of memory");
        goto done;
    }
    for (size_t i = 0; i < count; i++) {
        paths[i] = i == 0 ? given->hypotheses : references[i - 1];
        if (!text_lines_read(&texts[i], paths[i])) goto done;
        lines[i] = (const char *const *)texts[i].lines;
    }
    if (texts_agree(texts, paths, count)) {
        code = evaluate(plan, given, lines[0], texts[0].count, lines + 1, number);
    }
done:
    for (size_t i = 0; texts && i < count; i++) text_lines_free(&texts[i]);
    free(texts);
    free(paths);
    free(lines);
    return code;
}

static int run_eval(int argc, char **argv) {
    eval_options given = {.hypotheses = "-", .width = 1};
    plan made;
    int code;
    if (!parse_options(&command_eval, &given, &argc, &argv, &code)) return code;
    if (argc < 1) {
        complain("eval needs a REFERENCE; see clformer eval --help");
        return EXIT_USAGE;
    }
    if (!make_plan(&given, &made)) return EXIT_USAGE;
    int standard = strcmp(given.hypotheses, "-") == 0;
    for (int i = 0; i < argc; i++) standard += strcmp(argv[i], "-") == 0;
    if (standard > 1) {
        complain("only one of REFERENCE and HYPOTHESES can be standard input");
        return EXIT_USAGE;
    }
    return eval_files(&made, &given, argv, argc);
}
