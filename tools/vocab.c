// SPDX-License-Identifier: MIT
// clformer vocab: a vocabulary from text.
#include "command.h"

#include <stdint.h>

typedef struct vocab_options {
    common_options common; // help alone
    const char *output, *source, *target, *model_type;
    int size;
    float coverage;
    int64_t sentences, seed;
    bool segmented;
} vocab_options;

#define AT(member) offsetof(vocab_options, member)

static const option_row options[] = {
    {"output", 'o', OPTION_STRING, AT(output), "DIR", "where the files are written (required)"},
    {"size", 's', OPTION_INT, AT(size), "N", "pieces, </s> and <unk> included (default: 8000)"},
    {"source", 0, OPTION_STRING, AT(source), "FILE", "with --target: a vocabulary for each side"},
    {"target", 0, OPTION_STRING, AT(target), "FILE", "likewise"},
    {"segmented", 0, OPTION_FLAG, AT(segmented), NULL,
     "pieces are what stands between blanks; no SentencePiece model"},
    {"model-type", 0, OPTION_STRING, AT(model_type), "unigram|bpe|char|word",
     "of SentencePiece (default: unigram)"},
    {"coverage", 0, OPTION_FLOAT, AT(coverage), "X",
     "share of characters that become pieces (default: 0.9995)"},
    {"sentences", 0, OPTION_INT64, AT(sentences), "N",
     "lines drawn at random to learn from (default: 2000000)"},
    {"seed", 0, OPTION_INT64, AT(seed), "N", "which lines are drawn (default: 0)"},
    {"help", 'h', OPTION_FLAG, AT(common.help), NULL, "print this help"},
    {0},
};

static int run_vocab(int argc, char **argv);

const command command_vocab = {
    .name = "vocab",
    .summary = "Makes the vocabulary that a training needs, from its text.",
    .usage = "--output DIR [options] FILE...",
    .details = "One vocabulary for both languages from all FILEs; or, without FILEs, one for each\n"
               "language from --source and --target.",
    .options = options,
    .run = run_vocab,
};

static int run_vocab(int argc, char **argv) {
    vocab_options given = {0};
    int code;
    if (!parse_options(&command_vocab, &given, &argc, &argv, &code)) return code;
    bool separate = given.source && given.target;
    if (!given.output) {
        complain("vocab needs --output DIR; see clformer vocab --help");
        return EXIT_USAGE;
    }
    if (!separate != (argc > 0) || !given.source != !given.target) {
        complain("vocab needs either FILEs or both --source FILE and --target FILE");
        return EXIT_USAGE;
    }
    clf_vocabulary_options made = {
        .source_files = separate ? &given.source : (const char *const *)argv,
        .source_count = separate ? 1 : argc,
        .target_files = separate ? &given.target : NULL,
        .target_count = separate ? 1 : 0,
        .size = given.size,
        .separate = separate,
        .segmented = given.segmented,
        .model_type = given.model_type,
        .character_coverage = given.coverage,
        .sentences = given.sentences,
        .seed = (uint64_t)given.seed,
    };
    show_log(false);
    clf_status status = clf_vocabulary_train(given.output, &made);
    return status == CLF_OK ? EXIT_OK : complain_status(status);
}
