// SPDX-License-Identifier: MIT
// clformer train: two texts in, a translation model out.
#include "command.h"
#include "train_watch.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct train_options {
    common_options common;
    clf_train_options train;
    int layers, heads, ffn; // of both sides
    int vocabulary_size;
    bool separate, segmented, no_bleu, quiet;
    int best_by, bleu_tokenization, valid_beam, log_every;
} train_options;

enum { BLEU_AUTO, BLEU_GIVEN }; // then the enum of the library, in its order

#define AT(member) offsetof(train_options, member)

static const option_row options[] = {
    {"", 0, OPTION_GROUP, 0, NULL, "files"},
    {"output", 'o', OPTION_STRING, AT(train.output), "DIR", "the model's directory (required)"},
    {"valid-source", 0, OPTION_STRING, AT(train.valid_source), "FILE", "validation text"},
    {"valid-target", 0, OPTION_STRING, AT(train.valid_target), "FILE", "its translation"},
    {"vocab", 0, OPTION_STRING, AT(train.vocabulary), "DIR",
     "vocabulary (default: DIR/vocab, made from the two texts)"},
    {"vocab-size", 0, OPTION_INT, AT(vocabulary_size), "N",
     "pieces of a vocabulary that is made (default: 8000)"},
    {"separate-vocab", 0, OPTION_FLAG, AT(separate), NULL,
     "make a vocabulary for each side instead of one for both"},
    {"segmented", 0, OPTION_FLAG, AT(segmented), NULL,
     "the texts are segmented already: pieces between blanks, joined by @@"},
    {"init", 0, OPTION_STRING, AT(train.init), "DIR",
     "begin with a model's weights (and, without --vocab, its vocabulary)"},
    {"resume", 0, OPTION_FLAG, AT(train.resume), NULL, "go on from the last checkpoint"},
    {"overwrite", 0, OPTION_FLAG, AT(train.overwrite), NULL,
     "throw away a training that is in the directory"},

    {"", 0, OPTION_GROUP, 0, NULL, "model"},
    {"preset", 'p', OPTION_STRING, AT(train.shape.preset), "tiny|small|base|big",
     "(default: small); what follows changes it"},
    {"width", 0, OPTION_INT, AT(train.shape.width), "N", "numbers of a token"},
    {"layers", 0, OPTION_INT, AT(layers), "N", "layers of each side"},
    {"encoder-layers", 0, OPTION_INT, AT(train.shape.encoder_layers), "N", "of the encoder"},
    {"decoder-layers", 0, OPTION_INT, AT(train.shape.decoder_layers), "N", "of the decoder"},
    {"heads", 0, OPTION_INT, AT(heads), "N", "attention heads of each side"},
    {"encoder-heads", 0, OPTION_INT, AT(train.shape.encoder_heads), "N", "of the encoder"},
    {"decoder-heads", 0, OPTION_INT, AT(train.shape.decoder_heads), "N", "of the decoder"},
    {"ffn", 0, OPTION_INT, AT(ffn), "N", "feed-forward width of each side"},
    {"encoder-ffn", 0, OPTION_INT, AT(train.shape.encoder_ffn), "N", "of the encoder"},
    {"decoder-ffn", 0, OPTION_INT, AT(train.shape.decoder_ffn), "N", "of the decoder"},
    {"activation", 0, OPTION_STRING, AT(train.shape.activation), "relu|gelu|swish",
     "(default: the preset's)"},
    {"pre-norm", 0, OPTION_FLAG, AT(train.shape.pre_norm), NULL,
     "normalise before each sublayer, not after it"},
    {"learned-positions", 0, OPTION_FLAG, AT(train.shape.learned_positions), NULL,
     "instead of sinusoids"},
    {"untied-output", 0, OPTION_FLAG, AT(train.shape.untied_output), NULL,
     "an output matrix besides the target embedding"},
    {"separate-embeddings", 0, OPTION_FLAG, AT(train.shape.separate_embeddings), NULL,
     "for source and target, even with one vocabulary"},
    {"max-positions", 0, OPTION_INT, AT(train.shape.max_positions), "N",
     "longest sequence of the model (default: 512)"},

    {"", 0, OPTION_GROUP, 0, NULL, "recipe"},
    {"dropout", 0, OPTION_FLOAT, AT(train.dropout), "P", "(default: 0.1)"},
    {"attention-dropout", 0, OPTION_FLOAT, AT(train.attention_dropout), "P", "(default: 0)"},
    {"activation-dropout", 0, OPTION_FLOAT, AT(train.activation_dropout), "P", "(default: 0)"},
    {"label-smoothing", 0, OPTION_FLOAT, AT(train.label_smoothing), "P", "(default: 0.1)"},
    {"learning-rate", 0, OPTION_DOUBLE, AT(train.learning_rate), "X",
     "the highest (default: 7e-4; 5e-4 for wide models)"},
    {"schedule", 0, OPTION_CHOICE, AT(train.schedule), "inverse-sqrt|linear|cosine|constant",
     "how the rate falls after the warm-up"},
    {"warmup", 0, OPTION_INT, AT(train.warmup), "N",
     "updates of rising rate (default: 4000, at most a tenth of all)"},
    {"beta1", 0, OPTION_FLOAT, AT(train.beta1), "X", "of Adam (default: 0.9)"},
    {"beta2", 0, OPTION_FLOAT, AT(train.beta2), "X", "of Adam (default: 0.98)"},
    {"adam-epsilon", 0, OPTION_FLOAT, AT(train.adam_epsilon), "X", "(default: 1e-9)"},
    {"weight-decay", 0, OPTION_FLOAT, AT(train.weight_decay), "X", "of matrices (default: 0)"},
    {"clip-norm", 0, OPTION_FLOAT, AT(train.clip_norm), "X",
     "longest gradient (default: no limit)"},
    {"average-decay", 0, OPTION_FLOAT, AT(train.average_decay), "X",
     "keep a moving average of the weights, e.g. 0.999"},
    {"average-checkpoints", 0, OPTION_INT, AT(train.average_checkpoints), "N",
     "the model is the mean of the last N (default: 1)"},
    {"sampling", 0, OPTION_CHOICE, AT(train.sampling), "none|linear|exponential|sigmoid",
     "scheduled sampling: how true decoder inputs become rarer"},
    {"sampling-constant", 0, OPTION_DOUBLE, AT(train.sampling_constant), "X", "of that decay"},
    {"sampling-floor", 0, OPTION_DOUBLE, AT(train.sampling_floor), "P", "of the linear one"},
    {"token-noise", 0, OPTION_FLOAT, AT(train.token_noise), "P",
     "share of decoder inputs replaced by random tokens"},
    {"seed", 0, OPTION_INT64, AT(train.seed), "N", "of everything random (default: 1)"},

    {"", 0, OPTION_GROUP, 0, NULL, "batches and duration"},
    {"batch-tokens", 0, OPTION_INT, AT(train.batch_tokens), "N",
     "source + target tokens at a time (default: what fits)"},
    {"batch-sentences", 0, OPTION_INT, AT(train.batch_sentences), "N", "most pairs at a time"},
    {"accumulate", 0, OPTION_INT, AT(train.accumulate), "N",
     "batches of an update, on each device (default: 1)"},
    {"max-length", 0, OPTION_INT, AT(train.max_length), "N",
     "pairs with more tokens are left out (default: 128)"},
    {"max-updates", 0, OPTION_INT64, AT(train.max_updates), "N", "end after N updates"},
    {"epochs", 0, OPTION_INT, AT(train.max_epochs), "N",
     "end after N passes over the text (default: 20)"},
    {"validate-every", 0, OPTION_INT64, AT(train.validate_every), "N",
     "updates (default: after each epoch)"},
    {"save-every", 0, OPTION_INT64, AT(train.save_every), "N",
     "updates between checkpoints (default: at each validation)"},
    {"keep", 0, OPTION_INT, AT(train.keep), "N", "checkpoints that are kept (default: 2)"},
    {"patience", 0, OPTION_INT, AT(train.patience), "N",
     "end after N validations without progress"},
    {"best-by", 0, OPTION_CHOICE, AT(best_by), "loss|bleu", "what progress is"},
    {"valid-beam", 0, OPTION_INT, AT(valid_beam), "N",
     "beams when the validation text is translated (default: 1)"},
    {"bleu-tokenize", 0, OPTION_CHOICE, AT(bleu_tokenization), "auto|13a|zh|char|none",
     "of the BLEU (auto: none for segmented text, else 13a)"},
    {"no-bleu", 0, OPTION_FLAG, AT(no_bleu), NULL, "do not translate the validation text"},

    {"", 0, OPTION_GROUP, 0, NULL, "device and display"},
    {"half", 0, OPTION_FLAG, AT(train.half), NULL,
     "half precision where float is not needed: less memory"},
    {"recompute", 0, OPTION_FLAG, AT(train.recompute), NULL,
     "compute twice what would take much memory"},
    {"log-every", 0, OPTION_INT, AT(log_every), "N",
     "updates between lines of metrics.jsonl (default: 1 to 100)"},
    {"quiet", 'q', OPTION_FLAG, AT(quiet), NULL, "say nothing but warnings and errors"},
    COMMON_OPTIONS,
    {0},
};

static int run_train(int argc, char **argv);

const command command_train = {
    .name = "train",
    .summary = "Trains a translation model on two texts.",
    .usage = "[options] SOURCE TARGET -o DIR",
    .details =
        "Line i of TARGET is the translation of line i of SOURCE. DIR becomes a model that\n"
        "clformer translate and Hugging Face load; metrics.jsonl and report.html in it show how\n"
        "the training goes. Ctrl-C saves and ends; --resume goes on.",
    .options = options,
    .run = run_train,
};

// ---- what the options mean ----------------------------------------------------------------------

// Where zero is not the default, -1 says zero to the library.
static void tell_zeros(clf_train_options *train) {
    float *numbers[] = {&train->dropout, &train->label_smoothing, &train->beta1};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        *numbers[i] = isnan(*numbers[i]) ? 0 : *numbers[i] == 0 ? -1 : *numbers[i];
    }
    train->warmup = train->warmup == INT_MIN ? 0 : train->warmup == 0 ? -1 : train->warmup;
}

static void set_if_zero(int *number, int value) {
    if (*number == 0) *number = value;
}

static bool make_options(train_options *given, int argc, char **argv) {
    clf_train_options *train = &given->train;
    if (argc != 2 || !train->output) {
        complain("train needs SOURCE, TARGET and -o DIR; see clformer train --help");
        return false;
    }
    if (!train->valid_source != !train->valid_target) {
        complain("--valid-source and --valid-target go together");
        return false;
    }
    if (given->best_by == 1 && (!train->valid_source || given->no_bleu)) {
        complain("--best-by bleu needs --valid-source and --valid-target, and no --no-bleu");
        return false;
    }
    if (train->resume && train->overwrite) {
        complain("--resume and --overwrite contradict each other");
        return false;
    }
    train->source = argv[0];
    train->target = argv[1];
    train->best_by_bleu = given->best_by == 1;
    tell_zeros(train);
    set_if_zero(&train->shape.encoder_layers, given->layers);
    set_if_zero(&train->shape.decoder_layers, given->layers);
    set_if_zero(&train->shape.encoder_heads, given->heads);
    set_if_zero(&train->shape.decoder_heads, given->heads);
    set_if_zero(&train->shape.encoder_ffn, given->ffn);
    set_if_zero(&train->shape.decoder_ffn, given->ffn);
    set_if_zero(&given->valid_beam, 1);
    return true;
}

// The command as a shell would take it again; freed by free(), NULL without memory.
static char *join_command(int argc, char **argv) {
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!out) return NULL;
    fputs("clformer", out);
    for (int i = 0; i < argc; i++) {
        bool plain = argv[i][0] && !argv[i][strspn(argv[i], "abcdefghijklmnopqrstuvwxyz"
                                                            "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                                            "0123456789-_./:,=+@%")];
        fputs(plain ? " " : " '", out);
        for (const char *c = argv[i]; *c; c++) {
            if (*c == '\'') {
                fputs("'\\''", out);
            } else {
                fputc(*c, out);
            }
        }
        if (!plain) fputc('\'', out);
    }
    fclose(out);
    return text;
}

// ---- the vocabulary -----------------------------------------------------------------------------

static bool exists(const char *directory, const char *name) {
    char path[PATH_MAX];
    struct stat info;
    int length = snprintf(path, sizeof path, "%s/%s", directory, name);
    return length < (int)sizeof path && stat(path, &info) == 0;
}

static bool readable(const char *path) {
    if (!path || access(path, R_OK) == 0) return true;
    complain("%s: cannot open: %s", path, strerror(errno));
    return false;
}

static clf_status make_vocabulary(const train_options *given, const char *directory) {
    const clf_train_options *train = &given->train;
    if (!given->quiet) fprintf(stderr, "making a vocabulary of the texts in %s\n", directory);
    clf_vocabulary_options wanted = {.source_files = &train->source,
                                     .target_files = &train->target,
                                     .source_count = 1,
                                     .target_count = 1,
                                     .size = given->vocabulary_size,
                                     .separate = given->separate,
                                     .segmented = given->segmented,
                                     .seed = train->seed};
    return clf_vocabulary_train(directory, &wanted);
}

// Finds the vocabulary, or makes it; `directory` keeps its path.
static int find_vocabulary(train_options *given, const clf_train_rank *rank, char *directory,
                           size_t size) {
    clf_train_options *train = &given->train;
    if (!train->vocabulary) train->vocabulary = train->init;
    if (train->vocabulary) return EXIT_OK;
    if (snprintf(directory, size, "%s/vocab", train->output) >= (int)size) {
        complain("%s: the path is too long", train->output);
        return EXIT_FAILED;
    }
    train->vocabulary = directory;
    // Its last file, so that one whose making was interrupted is made again.
    if (!train->overwrite && exists(directory, "tokenizer_config.json")) {
        if (!train->resume && !given->quiet) {
            fprintf(stderr, "using the vocabulary in %s; --overwrite makes another\n", directory);
        }
        return EXIT_OK;
    }
    if (rank->count > 1) {
        complain("several devices need a vocabulary that is there already: give --vocab DIR");
        return EXIT_USAGE;
    }
    clf_status status = make_vocabulary(given, directory);
    return status == CLF_OK ? EXIT_OK : complain_status(status);
}

// ---- running ------------------------------------------------------------------------------------

// Ranks of one machine share out its devices of the best kind.
static clf_status choose_device(const clf_train_rank *rank, common_options *common, char *selector,
                                size_t size) {
    clf_device_info *devices;
    size_t count, usable = 0;
    if (rank->count < 2 || common->device || getenv("CLFORMER_DEVICE")) return CLF_OK;
    clf_status status = clf_device_list(&devices, &count);
    if (status != CLF_OK) return status;
    for (size_t i = 0; i < count; i++) { // best kind first
        if (!devices[i].reason[0] && (usable == 0 || devices[i].kind == devices[0].kind)) {
            devices[usable++] = devices[i];
        }
    }
    if (usable > 0) {
        const clf_device_info *mine = &devices[(size_t)rank->local_rank % usable];
        snprintf(selector, size, "%d:%d", mine->platform_index, mine->device_index);
        common->device = selector;
    }
    clf_device_list_free(devices);
    return CLF_OK;
}

static int on_other_rank(void *user, const clf_train_progress *progress) {
    (void)user, (void)progress;
    return interrupted();
}

// No translation of the validation text is longer than the training text.
static int translation_length(const clf_train_options *train) {
    int length = train->max_length > 0 ? train->max_length : 128;
    int positions = train->shape.max_positions;
    return positions > 0 && positions < length ? positions : length;
}

// Any rank's interruption ends all of them.
static int end(clf_status status) {
    return status == CLF_OK                ? EXIT_OK
           : status == CLF_ERROR_CANCELLED ? EXIT_INTERRUPTED
                                           : complain_status(status);
}

// Rank 0 shows the training; the others only listen to interruptions.
static int train_watched(const train_options *given, clf_device *device, const valid_text *valid,
                         const char *command) {
    clf_bleu_tokenization tokenization = given->segmented ? CLF_BLEU_NONE : CLF_BLEU_13A;
    if (given->bleu_tokenization != BLEU_AUTO) {
        tokenization = (clf_bleu_tokenization)(given->bleu_tokenization - BLEU_GIVEN);
    }
    watch_options wanted = {.device = device,
                            .output = given->train.output,
                            .command = command,
                            .valid = valid,
                            .valid_options = {.beam = given->valid_beam,
                                              .max_length = translation_length(&given->train),
                                              .tokenization = tokenization},
                            .log_every = given->log_every,
                            .quiet = given->quiet};
    watch *w = watch_create(&wanted);
    if (!w) return EXIT_FAILED;
    clf_train_events events = watch_events(w);
    clf_status status = clf_train(device, &given->train, &events);
    watch_finish(w, status);
    watch_destroy(w);
    return end(status);
}

static int train_silently(const train_options *given, clf_device *device) {
    clf_train_events events = {.progress = on_other_rank};
    clf_status status = clf_train(device, &given->train, &events);
    return end(status);
}

// The validation text for BLEU, on rank 0. False after a message.
static bool open_valid(train_options *given, const clf_train_rank *rank, valid_text **valid) {
    const clf_train_options *t = &given->train;
    // A vocabulary without SentencePiece models is one of segmented text.
    if (!exists(t->vocabulary, "source.spm")) given->segmented = true;
    if (rank->rank > 0 || !t->valid_source || given->no_bleu) return true;
    *valid = valid_text_open(t->valid_source, t->valid_target, given->segmented);
    return *valid != NULL;
}

static int train(train_options *given, const clf_train_rank *rank, const char *command) {
    char selector[32], directory[PATH_MAX];
    clf_device *device = NULL;
    valid_text *valid = NULL;
    const clf_train_options *t = &given->train;
    if (!readable(t->source) || !readable(t->target) || !readable(t->valid_source) ||
        !readable(t->valid_target)) {
        return EXIT_FAILED;
    }
    clf_status status = choose_device(rank, &given->common, selector, sizeof selector);
    if (status == CLF_OK) status = open_device(&given->common, &device);
    int code = status == CLF_OK ? find_vocabulary(given, rank, directory, sizeof directory)
                                : complain_status(status);
    if (code == EXIT_OK && !open_valid(given, rank, &valid)) code = EXIT_FAILED;
    if (code == EXIT_OK) {
        catch_interrupts(); // until now there was nothing to save
        code = rank->rank == 0 ? train_watched(given, device, valid, command)
                               : train_silently(given, device);
    }
    valid_text_close(valid);
    close_device(&given->common, device);
    return code;
}

static int run_train(int argc, char **argv) {
    train_options given = {
        .train = {.dropout = NAN, .label_smoothing = NAN, .beta1 = NAN, .warmup = INT_MIN}};
    clf_train_rank rank;
    int code;
    char *command = join_command(argc, argv);
    if (parse_options(&command_train, &given, &argc, &argv, &code)) {
        code = EXIT_USAGE;
        if (make_options(&given, argc, argv)) {
            clf_status status = clf_train_get_rank(&rank);
            code = status == CLF_OK ? train(&given, &rank, command ? command : "")
                                    : complain_status(status);
        }
    }
    free(command);
    return code;
}
