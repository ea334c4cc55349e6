// SPDX-License-Identifier: MIT
// clformer: one command, a file per subcommand.
#include "command.h"

#include <locale.h>
#include <stdio.h>
#include <string.h>

static const command *const commands[] = {
    &command_translate, &command_score,   &command_eval,  &command_vocab, &command_train,
    &command_convert,   &command_devices, &command_probe, &command_try,
};

enum { COMMANDS = sizeof commands / sizeof *commands };

static void print_usage(FILE *out) {
    fputs("usage: clformer COMMAND [options]\n\n"
          "Translates with Transformer models, and trains them, on any OpenCL device.\n\n"
          "commands:\n",
          out);
    for (int i = 0; i < COMMANDS; i++) {
        if (commands[i]->hidden) continue;
        fprintf(out, "  %-11s %s\n", commands[i]->name, commands[i]->summary);
    }
    fputs("\nclformer COMMAND --help says more; clformer --version tells the version.\n", out);
}

int main(int argc, char **argv) {
    setlocale(LC_CTYPE, "");
    program = argv[0];
    if (argc < 2) {
        print_usage(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("clformer " CLF_VERSION);
        return EXIT_OK;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_usage(stdout);
        return EXIT_OK;
    }
    for (int i = 0; i < COMMANDS; i++) {
        if (strcmp(argv[1], commands[i]->name) == 0) return commands[i]->run(argc - 1, argv + 1);
    }
    complain("unknown command %s; see clformer --help", argv[1]);
    return EXIT_USAGE;
}
