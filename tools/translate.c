// SPDX-License-Identifier: MIT
// clformer translate: lines in, translations out.
#include "command.h"
#include "lines.h"
#include "progress.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WINDOW_LINES = 4096 };

typedef struct translate_options {
    common_options common;
    const char *model, *prefix, *early_stopping, *suppress;
    int beam, nbest, batch_tokens, max_length, min_length, split_tokens, max_positions, weights;
    float length_penalty;
    bool scores, no_split, quiet;
} translate_options;

#define AT(member) offsetof(translate_options, member)

static const option_row options[] = {
    {"model", 'm', OPTION_STRING, AT(model), "DIR", "model directory (required)"},
    {"beam", 'b', OPTION_INT, AT(beam), "N",
     "beams per sentence; 1 is greedy (default: the model's)"},
    {"nbest", 'n', OPTION_INT, AT(nbest), "N", "N translations per line: LINE<tab>SCORE<tab>TEXT"},
    {"scores", 's', OPTION_FLAG, AT(scores), NULL, "put the score and a tab before each line"},
    {"length-penalty", 0, OPTION_FLOAT, AT(length_penalty), "X",
     "divide log-probabilities by length^X"},
    {"early-stopping", 0, OPTION_STRING, AT(early_stopping), "HOW", "true, false or never"},
    {"max-length", 0, OPTION_INT, AT(max_length), "N", "tokens of a translation, start included"},
    {"min-length", 0, OPTION_INT, AT(min_length), "N", "likewise, at least"},
    {"suppress", 0, OPTION_STRING, AT(suppress), "IDS", "token ids never produced: 3,17,..."},
    {"prefix", 'p', OPTION_STRING, AT(prefix), "TEXT", "every translation begins with TEXT"},
    {"batch-tokens", 0, OPTION_INT, AT(batch_tokens), "N", "source tokens times beams per batch"},
    {"no-split", 0, OPTION_FLAG, AT(no_split), NULL, "never split a long line into sentences"},
    {"split-tokens", 0, OPTION_INT, AT(split_tokens), "N",
     "split lines of more tokens (default: 128)"},
    WEIGHTS_OPTION(AT(weights)),
    {"max-positions", 0, OPTION_INT, AT(max_positions), "N", "longest sequence planned for"},
    {"quiet", 'q', OPTION_FLAG, AT(quiet), NULL, "no progress bar"},
    COMMON_OPTIONS,
    {0},
};

static int run_translate(int argc, char **argv);

const command command_translate = {
    .name = "translate",
    .summary = "Translates lines of text with a model directory.",
    .usage = "--model DIR [options] [FILE...]",
    .details = "Reads FILEs, or standard input, and writes one line for each line read, in order.\n"
               "DIR is a Hugging Face Marian / OPUS-MT or a CTranslate2 directory as downloaded.",
    .options = options,
    .run = run_translate,
};

static bool parse_early_stopping(const char *text, clf_early_stopping *value) {
    static const struct {
        const char *text;
        clf_early_stopping value;
    } choices[] = {
        {"true", CLF_STOP_EARLY}, {"false", CLF_STOP_HEURISTIC}, {"never", CLF_STOP_NEVER}};
    *value = CLF_STOP_MODEL;
    if (!text) return true;
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
        if (strcmp(text, choices[i].text) == 0) {
            *value = choices[i].value;
            return true;
        }
    }
    complain("--early-stopping %s: use true, false or never", text);
    return false;
}

static bool parse_ids(const char *text, int **ids, int *count) {
    enum { MOST = 900 };
    *ids = NULL;
    *count = 0;
    if (!text) return true;
    int *list = malloc(MOST * sizeof *list);
    for (const char *at = text; list && *count < MOST;) {
        char *end;
        errno = 0;
        long id = strtol(at, &end, 10);
        if (end == at || errno || id < 0 || id > 0x7fffffff || (*end && *end != ',')) break;
        list[(*count)++] = (int)id;
        if (*end == '\0') {
            *ids = list;
            return true;
        }
        at = end + 1;
    }
    free(list);
    complain("--suppress %s: not a list of at most %d token ids", text, MOST);
    return false;
}

static bool make_options(const translate_options *given, clf_translate_options *made) {
    *made = (clf_translate_options){.beam = given->beam,
                                    .nbest = given->nbest,
                                    .max_length = given->max_length,
                                    .min_length = given->min_length,
                                    .prefix = given->prefix,
                                    .batch_tokens = given->batch_tokens,
                                    .no_split = given->no_split,
                                    .split_tokens = given->split_tokens,
                                    .no_scores = !given->scores && given->nbest == 0};
    made->set_length_penalty = !isnan(given->length_penalty);
    made->length_penalty = given->length_penalty;
    return parse_early_stopping(given->early_stopping, &made->early_stopping) &&
           parse_ids(given->suppress, (int **)&made->suppress, &made->suppress_count);
}

static int on_progress(void *user, size_t done, size_t total, uint64_t source, uint64_t target) {
    (void)source;
    progress_draw(user, total ? (double)done / (double)total : 0, target);
    return interrupted();
}

static void print_line(const translate_options *given, const clf_translations *result, size_t line,
                       uint64_t number) {
    if (given->nbest > 0) {
        for (int rank = 0; rank < clf_translations_nbest(result, line); rank++) {
            printf("%llu\t%.6f\t%s\n", (unsigned long long)number,
                   (double)clf_translations_score(result, line, rank),
                   clf_translations_text(result, line, rank));
        }
        return;
    }
    if (given->scores) printf("%.6f\t", (double)clf_translations_score(result, line, 0));
    puts(clf_translations_text(result, line, 0));
}

static int translate_all(clf_translator *translator, const translate_options *given,
                         clf_translate_options *made, line_reader *reader) {
    progress bar;
    progress_begin(&bar, given->quiet);
    made->progress = on_progress;
    made->user = &bar;
    const char *const *lines;
    long count;
    int code = EXIT_OK;
    while (code == EXIT_OK && (count = line_reader_next(reader, WINDOW_LINES, &lines)) > 0) {
        clf_translations *result;
        uint64_t done, total, target;
        line_reader_progress(reader, &done, &total);
        if (total > 0)
            bar.share = (double)done / (double)total - (bar.fraction > 0 ? bar.fraction : 0);
        if (total > 0 && bar.fraction < 0) bar.fraction = 0;
        clf_status status = clf_translate(translator, lines, (size_t)count, made, &result);
        progress_clear(&bar);
        if (status != CLF_OK) {
            code = complain_status(status);
            break;
        }
        for (long i = 0; i < count; i++) {
            print_line(given, result, (size_t)i, bar.lines + (uint64_t)i + 1);
        }
        clf_translations_tokens(result, NULL, &target);
        clf_translations_free(result);
        bar.lines += (uint64_t)count;
        bar.target_tokens += target;
        if (total > 0) bar.fraction = (double)done / (double)total;
        if (fflush(stdout) != 0 || ferror(stdout)) code = complain_output();
    }
    if (code == EXIT_OK && count < 0) code = EXIT_FAILED;
    if (code == EXIT_OK && interrupted()) code = EXIT_INTERRUPTED;
    return code;
}

static int run_translate(int argc, char **argv) {
    translate_options given = {.length_penalty = NAN};
    clf_translate_options made = {0};
    clf_device *device = NULL;
    clf_translator *translator = NULL;
    line_reader *reader = NULL;
    int code;
    if (!parse_options(&command_translate, &given, &argc, &argv, &code)) return code;
    if (!given.model) {
        complain("translate needs --model DIR; see clformer translate --help");
        return EXIT_USAGE;
    }
    if (!make_options(&given, &made)) return EXIT_USAGE;
    catch_interrupts();
    clf_translator_options open_options = {.max_positions = given.max_positions,
                                           .weights = (clf_weights)given.weights};
    clf_status status = open_device(&given.common, &device);
    if (status == CLF_OK) {
        status = clf_translator_open(device, given.model, &open_options, &translator);
    }
    if (status != CLF_OK) {
        code = complain_status(status);
    } else {
        reader = line_reader_open(argv, argc);
        code = reader ? translate_all(translator, &given, &made, reader) : EXIT_FAILED;
    }
    line_reader_close(reader);
    clf_translator_close(translator);
    close_device(&given.common, device);
    free((void *)made.suppress);
    return code;
}
