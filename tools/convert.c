// SPDX-License-Identifier: MIT
// clformer convert: from one model directory to another.
#include "command.h"

typedef struct convert_options {
    common_options common; // help alone
    const char *output;
    int format, weights;
} convert_options;

static const option_row options[] = {
    {"output", 'o', OPTION_STRING, offsetof(convert_options, output), "DIR",
     "directory to write (required)"},
    {"format", 'f', OPTION_CHOICE, offsetof(convert_options, format),
     "same|huggingface|ctranslate2", "what to write (default: what was read)"},
    {"weights", 'w', OPTION_CHOICE, offsetof(convert_options, weights), "f32|f16|int8",
     "type of the numbers (default: f32); int8 means ctranslate2"},
    {"help", 'h', OPTION_FLAG, offsetof(convert_options, common.help), NULL, "print this help"},
    {0},
};

static int run_convert(int argc, char **argv);

const command command_convert = {
    .name = "convert",
    .summary = "Writes a model directory in another format or with smaller numbers.",
    .usage = "MODEL --output DIR [options]",
    .details = "MODEL is a Hugging Face Marian / OPUS-MT directory or a CTranslate2 directory.",
    .options = options,
    .run = run_convert,
};

static int run_convert(int argc, char **argv) {
    convert_options given = {0};
    int code;
    if (!parse_options(&command_convert, &given, &argc, &argv, &code)) return code;
    if (argc != 1 || !given.output) {
        complain("convert needs MODEL and --output DIR; see clformer convert --help");
        return EXIT_USAGE;
    }
    const clf_convert_options made = {.format = (clf_convert_format)given.format,
                                      .weights = (clf_convert_weights)given.weights};
    show_log(false);
    clf_status status = clf_convert(argv[0], given.output, &made);
    return status == CLF_OK ? EXIT_OK : complain_status(status);
}
