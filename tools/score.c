// SPDX-License-Identifier: MIT
// clformer score: log-probabilities of given translations.
#include "command.h"
#include "lines.h"

#include <stdio.h>
#include <string.h>

enum { WINDOW_LINES = 1024 };

typedef struct score_options {
    common_options common;
    const char *model;
    int batch_tokens, weights;
    bool tokens;
} score_options;

static const option_row options[] = {
    {"model", 'm', OPTION_STRING, offsetof(score_options, model), "DIR",
     "model directory (required)"},
    {"tokens", 't', OPTION_FLAG, offsetof(score_options, tokens), NULL,
     "add PIECE=LOGPROB for each token, separated by blanks"},
    {"batch-tokens", 0, OPTION_INT, offsetof(score_options, batch_tokens), "N", "tokens per batch"},
    WEIGHTS_OPTION(offsetof(score_options, weights)),
    COMMON_OPTIONS,
    {0},
};

static int run_score(int argc, char **argv);

const command command_score = {
    .name = "score",
    .summary = "Prints the log-probability of each given translation, end token included.",
    .usage = "--model DIR [options] SOURCE TARGET",
    .details = "SOURCE and TARGET are files with a line for each other; - is standard input.\n"
               "Each line of output is LOGPROB<tab>TOKENS, then, with --tokens, the pieces.",
    .options = options,
    .run = run_score,
};

static void print_scores(const clf_scores *scores, size_t count, bool tokens) {
    for (size_t i = 0; i < count; i++) {
        int length = clf_scores_length(scores, i);
        printf("%.6f\t%d", (double)clf_scores_total(scores, i), length);
        for (int t = 0; tokens && t < length; t++) {
            printf("%c%s=%.6f", t == 0 ? '\t' : ' ', clf_scores_token_text(scores, i, t),
                   (double)clf_scores_token(scores, i, t));
        }
        putchar('\n');
    }
}

static int on_progress(void *user, size_t done, size_t total, uint64_t source, uint64_t target) {
    (void)user, (void)done, (void)total, (void)source, (void)target;
    return interrupted();
}

static int score_all(clf_translator *translator, const score_options *given, line_reader *sources,
                     line_reader *targets) {
    clf_score_options made = {.batch_tokens = given->batch_tokens, .progress = on_progress};
    const char *const *source, *const *target;
    size_t done = 0;
    for (;;) {
        // Windows end where the input pauses or grows large, so the target's follows the source's.
        long count = line_reader_next(sources, WINDOW_LINES, &source), have = 0;
        if (count < 0) return EXIT_FAILED;
        if (interrupted()) return EXIT_INTERRUPTED;
        clf_scores *scores;
        if (count == 0) {
            have = line_reader_next(targets, 1, &target);
            if (have == 0) return EXIT_OK;
        }
        for (long i = 0; i < count; i += have) {
            have = line_reader_next(targets, (size_t)(count - i), &target);
            if (have <= 0) break;
            clf_status status =
                clf_score(translator, source + i, target, (size_t)have, &made, &scores);
            if (status != CLF_OK) return complain_status(status);
            print_scores(scores, (size_t)have, given->tokens);
            clf_scores_free(scores);
            done += (size_t)have;
        }
        if (have < 0) return EXIT_FAILED;
        if (interrupted()) return EXIT_INTERRUPTED;
        if (count == 0 || have == 0) {
            complain("SOURCE and TARGET differ in length after line %zu", done);
            return EXIT_FAILED;
        }
        if (fflush(stdout) != 0 || ferror(stdout)) return complain_output();
    }
}

static int run_score(int argc, char **argv) {
    score_options given = {0};
    clf_device *device = NULL;
    clf_translator *translator = NULL;
    int code;
    if (!parse_options(&command_score, &given, &argc, &argv, &code)) return code;
    if (!given.model || argc != 2) {
        complain("score needs --model DIR, SOURCE and TARGET; see clformer score --help");
        return EXIT_USAGE;
    }
    if (strcmp(argv[0], "-") == 0 && strcmp(argv[1], "-") == 0) {
        complain("SOURCE and TARGET cannot both be standard input");
        return EXIT_USAGE;
    }
    catch_interrupts();
    const clf_translator_options open_options = {.weights = (clf_weights)given.weights};
    clf_status status = open_device(&given.common, &device);
    if (status == CLF_OK)
        status = clf_translator_open(device, given.model, &open_options, &translator);
    if (status != CLF_OK) {
        code = complain_status(status);
    } else {
        line_reader *sources = line_reader_open(argv, 1), *targets = line_reader_open(argv + 1, 1);
        code = sources && targets ? score_all(translator, &given, sources, targets) : EXIT_FAILED;
        line_reader_close(sources);
        line_reader_close(targets);
    }
    clf_translator_close(translator);
    close_device(&given.common, device);
    return code;
}
