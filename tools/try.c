// SPDX-License-Identifier: MIT
// clformer try: what the other subcommands start to try a variant of a kernel, which may crash
// here.
#include "command.h"

#include <sys/resource.h>
#include <unistd.h>

static const option_row options[] = {COMMON_OPTIONS, {0}};

static int run_try(int argc, char **argv);

const command command_try = {
    .name = "try",
    .summary = "Tries a variant of a kernel; the exit code is 0 if it works and is worth it.",
    .usage = "[options] DEVICE VARIANT",
    .options = options,
    .run = run_try,
    .hidden = true,
};

enum { MAX_SECONDS = 60 };

// It may crash, which is no news to anybody, or hang while nobody waits for it any more.
static void expect_the_worst(void) {
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    alarm(MAX_SECONDS);
}

static int run_try(int argc, char **argv) {
    common_options given = {0};
    clf_device *device = NULL;
    int code;
    expect_the_worst();
    if (!parse_options(&command_try, &given, &argc, &argv, &code)) return code;
    if (argc != 2) {
        complain("try needs DEVICE and VARIANT");
        return EXIT_USAGE;
    }
    show_log(given.verbose);
    // Without a trial_command: this is the trial.
    const clf_device_options wanted = {.select = argv[0], .cache_dir = given.cache_dir};
    clf_status status = clf_device_open(&wanted, &device);
    if (status == CLF_OK) status = clf_device_try(device, argv[1]);
    code = status == CLF_OK ? EXIT_OK : complain_status(status);
    clf_device_close(device);
    return code;
}
