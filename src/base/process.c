// SPDX-License-Identifier: MIT
#include "base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fail.h"

extern char **environ;

// The calling thread may block signals that are to end the other program.
static int prepare(posix_spawn_file_actions_t *files, posix_spawnattr_t *attributes) {
    sigset_t none;
    sigemptyset(&none);
    int code = posix_spawnattr_setsigmask(attributes, &none);
    if (code == 0) code = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK);
    for (int fd = 0; fd <= STDERR_FILENO && code == 0; fd++) {
        code = posix_spawn_file_actions_addopen(files, fd, "/dev/null", O_RDWR, 0);
    }
    return code;
}

static int start(const char *const *argv, pid_t *pid) {
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    int code = posix_spawn_file_actions_init(&files);
    if (code != 0) return code;
    code = posix_spawnattr_init(&attributes);
    if (code == 0) {
        code = prepare(&files, &attributes);
        // It does not write to the strings; its type is older than const.
        char *const *arguments = (char *const *)(uintptr_t)argv;
        if (code == 0) code = posix_spawn(pid, argv[0], &files, &attributes, arguments, environ);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&files);
    return code;
}

// No SIGCHLD, no waiting thread: a library has no say about either, so it asks now and then.
static pid_t wait_until(pid_t pid, int64_t deadline, int *status) {
    const struct timespec pause = {.tv_nsec = 2 * 1000 * 1000};
    for (;;) {
        pid_t ended = waitpid(pid, status, WNOHANG);
        if (ended == pid || (ended < 0 && errno != EINTR)) return ended;
        if (clf_clock() >= deadline) return 0;
        nanosleep(&pause, NULL);
    }
}

clf_status clf_process_run(const char *const *argv, double seconds, clf_process_end *end) {
    pid_t pid;
    int code = start(argv, &pid), status = 0;
    if (code != 0) return clf_fail(CLF_ERROR_IO, "%s: cannot start: %s", argv[0], strerror(code));
    pid_t ended = wait_until(pid, clf_clock() + (int64_t)(seconds * 1e9), &status);
    if (ended == 0) {
        kill(pid, SIGKILL);
        // One that hangs inside a driver may not even die.
        wait_until(pid, clf_clock() + 1000000000, &status);
        *end = (clf_process_end){.kind = CLF_PROCESS_KILLED, .number = SIGKILL};
        return CLF_OK;
    }
    // Whoever ignores SIGCHLD or waits for every process takes the answer away.
    if (ended < 0)
        return clf_fail(CLF_ERROR_IO, "%s: its end is not seen: %s", argv[0], strerror(errno));
    if (WIFEXITED(status)) {
        *end = (clf_process_end){.kind = CLF_PROCESS_EXITED, .number = WEXITSTATUS(status)};
    } else {
        *end = (clf_process_end){.kind = CLF_PROCESS_SIGNALLED, .number = WTERMSIG(status)};
    }
    return CLF_OK;
}
