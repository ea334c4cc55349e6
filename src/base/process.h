// SPDX-License-Identifier: MIT
// Running another program and seeing how it ends.
#ifndef CLF_BASE_PROCESS_H
#define CLF_BASE_PROCESS_H

#include <clformer/status.h>

typedef struct clf_process_end {
    enum { CLF_PROCESS_EXITED, CLF_PROCESS_SIGNALLED, CLF_PROCESS_KILLED } kind;
    int number; // exit code or signal; killed: it took longer than it might
} clf_process_end;

// Runs the program argv[0] (a path) without standard streams, in this process's environment, and
// waits for its end, for at most about `seconds`. CLF_ERROR_IO: it could not be started, or its end
// not seen.
clf_status clf_process_run(const char *const *argv, double seconds, clf_process_end *end);

#endif
