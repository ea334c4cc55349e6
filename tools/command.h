// SPDX-License-Identifier: MIT
// What the subcommands share: option tables, messages, the device, interruption.
#ifndef CLF_TOOLS_COMMAND_H
#define CLF_TOOLS_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

#include <clformer/clformer.h>

// Exit codes.
enum {
    EXIT_OK = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_INTERRUPTED = 130, // as a shell reports Ctrl-C
    EXIT_PIPE = 141         // as a shell reports a closed pipe
};

// One option of a subcommand; the value is stored at `offset` in the subcommand's struct.
typedef struct option_row {
    const char *name; // without dashes; NULL ends a table
    char letter;      // 0: none
    enum {
        OPTION_FLAG, // bool
        OPTION_INT,
        OPTION_INT64,
        OPTION_FLOAT,
        OPTION_DOUBLE,
        OPTION_STRING, // one of `argument`, if that is "this|that|..."
        OPTION_CHOICE, // an enum's number: the value's place in such an `argument`
        OPTION_GROUP   // no option: `help` is the heading of those that follow
    } kind;
    size_t offset;
    const char *argument; // its name in the help, NULL for flags
    const char *help;
} option_row;

typedef struct command {
    const char *name;
    const char *summary; // one line for `clformer --help`
    const char *usage;   // what stands after the name: "[options] [FILE...]"
    const char *details; // further paragraphs of the help; may be NULL
    const option_row *options;
    int (*run)(int argc, char **argv); // returns an exit code
    bool hidden;                       // not for users: `clformer --help` does not list it
} command;

extern const command command_translate, command_score, command_eval, command_vocab, command_train,
    command_convert, command_devices, command_probe, command_try;

// The options that every command which opens a device takes. A subcommand's struct begins with it
// and its table begins with COMMON_OPTIONS.
typedef struct common_options {
    const char *device, *cache_dir, *gemm, *trace;
    bool profile, verbose, help;
} common_options;

// How a command that opens a translator keeps matrices: a clf_weights.
#define WEIGHTS_OPTION(place)                                                                      \
    {                                                                                              \
        "weights", 'w', OPTION_CHOICE, place, "model|f32|f16|int8",                                \
            "matrices on the device (default: int8 if the model's files have it, else f32)"        \
    }

#define COMMON_OPTIONS                                                                             \
    {"device",                                                                                     \
     'd',                                                                                          \
     OPTION_STRING,                                                                                \
     offsetof(common_options, device),                                                             \
     "WHICH",                                                                                      \
     "gpu, cpu, P:D or a part of the name (default: the best; see clformer devices)"},             \
        {"gemm",        0,                                                                         \
         OPTION_STRING, offsetof(common_options, gemm),                                            \
         "KIND",        "matrix products by auto, clblast or panel"},                              \
        {"cache-dir",   0,                                                                         \
         OPTION_STRING, offsetof(common_options, cache_dir),                                       \
         "DIR",         "compiled kernels and tuning files (empty: none)"},                        \
        {"trace",       0,                                                                         \
         OPTION_STRING, offsetof(common_options, trace),                                           \
         "FILE",        "write a Chrome trace of kernels, transfers and host phases"},             \
        {"profile",   0,                                                                           \
         OPTION_FLAG, offsetof(common_options, profile),                                           \
         NULL,        "print the time of every kernel at the end"},                                \
        {"verbose",   'v',                                                                         \
         OPTION_FLAG, offsetof(common_options, verbose),                                           \
         NULL,        "say which device is used and what is built"},                               \
    {                                                                                              \
        "help", 'h', OPTION_FLAG, offsetof(common_options, help), NULL, "print this help"          \
    }

// Fills `values` from the command line and leaves the remaining arguments in (*argc, *argv). False
// if the command should end at once with `*code`: after --help, or after a message about misuse.
bool parse_options(const command *command, void *values, int *argc, char ***argv, int *code);

// Prints "clformer: message" to standard error.
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
// The same with the library's last error; returns the exit code that fits the status.
int complain_status(clf_status status);
// Says why standard output could not be written (errno; nothing if its reader went away), and
// returns the exit code.
int complain_output(void);

// Prints what the library has to say: warnings, and everything if `verbose`.
void show_log(bool verbose);
// The command itself, as main got it.
extern const char *program;
// Opens the device the options ask for and logs according to `verbose`.
clf_status open_device(const common_options *options, clf_device **device);
// Prints the profile table if asked and closes the device (NULL is allowed).
void close_device(const common_options *options, clf_device *device);

// Ctrl-C and SIGTERM set a flag instead of ending the process; the second one ends it.
void catch_interrupts(void);
bool interrupted(void);

#endif
