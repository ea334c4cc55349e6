// SPDX-License-Identifier: MIT
// A progress bar on standard error, drawn only if that is a terminal.
#ifndef CLF_TOOLS_PROGRESS_H
#define CLF_TOOLS_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct progress {
    bool shown;
    int64_t begin, drawn; // nanoseconds
    double fraction;      // of the whole input done before the current window; < 0: unknown
    double share;         // of the whole input that the current window is
    uint64_t lines, target_tokens; // before the current window
} progress;

void progress_begin(progress *p, bool quiet);
// What is done of the current window: `part` from 0 to 1, and its target tokens. Draws at most ten
// times a second.
void progress_draw(progress *p, double part, uint64_t target_tokens);
// Wipes the bar, so that other text may be printed.
void progress_clear(progress *p);

// A monotonic clock in nanoseconds.
int64_t progress_now(void);
// "1:02:03" or "2:03".
void progress_format_time(double seconds, char *text, size_t size);

#endif
