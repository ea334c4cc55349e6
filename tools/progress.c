// SPDX-License-Identifier: MIT
#include "progress.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int64_t progress_now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

void progress_begin(progress *p, bool quiet) {
    *p = (progress){
        .shown = !quiet && isatty(STDERR_FILENO), .begin = progress_now(), .fraction = -1};
}

void progress_format_time(double seconds, char *text, size_t size) {
    long whole = (long)(seconds + 0.5);
    if (whole >= 3600) {
        snprintf(text, size, "%ld:%02ld:%02ld", whole / 3600, whole / 60 % 60, whole % 60);
    } else {
        snprintf(text, size, "%ld:%02ld", whole / 60, whole % 60);
    }
}

void progress_draw(progress *p, double part, uint64_t target_tokens) {
    enum { WIDTH = 24 };
    int64_t time = progress_now();
    if (!p->shown || time - p->drawn < 100000000) return;
    p->drawn = time;
    double seconds = (double)(time - p->begin) * 1e-9;
    double tokens = (double)(p->target_tokens + target_tokens);
    double rate = seconds > 0 ? tokens / seconds : 0;
    char elapsed[32];
    progress_format_time(seconds, elapsed, sizeof elapsed);
    double fraction = p->fraction < 0 ? -1 : p->fraction + part * p->share;
    if (fraction < 0) {
        fprintf(stderr, "\r%llu lines, %.0f target tokens, %.0f tokens/s, %s\033[K",
                (unsigned long long)p->lines, tokens, rate, elapsed);
    } else {
        char bar[WIDTH + 1], left[32] = "?";
        int filled = (int)(fraction * WIDTH);
        if (filled > WIDTH) filled = WIDTH;
        memset(bar, '.', WIDTH);
        memset(bar, '#', (size_t)filled);
        bar[WIDTH] = '\0';
        if (fraction > 0.001) progress_format_time(seconds / fraction - seconds, left, sizeof left);
        fprintf(stderr, "\r[%s] %3.0f%%  %.0f tokens/s  %s, %s left\033[K", bar, fraction * 100,
                rate, elapsed, left);
    }
    fflush(stderr);
}

void progress_clear(progress *p) {
    if (p->shown && p->drawn) fputs("\r\033[K", stderr);
    p->drawn = 0;
}
