// SPDX-License-Identifier: MIT
#include "train_watch.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "command.h"
#include "progress.h"
#include "train_metrics.h"
#include "train_report.h"

static const int64_t SECOND = 1000000000;

struct watch {
    watch_options options;
    char device[272]; // name and platform
    char *metrics_path, *report_path;
    metrics metrics;
    bool planned; // the training has begun
    clf_train_plan plan;
    clf_train_progress last; // the newest; last.update is 0 before the first
    // Sums since the last line of metrics.
    struct {
        double loss, nll, target_tokens; // the losses times their tokens
        double gradient_norm, updates;
        double tokens, seconds; // of updates alone
    } sums;
    bool paused; // something besides updates took time since the newest progress
    uint64_t log_every;
    uint64_t best_update, saved_update;
    bool saved, report_failed;
    bool terminal, drawn; // standard error is one; a line stands there that is drawn again
    int64_t draw_time, report_time;
};

watch *watch_create(const watch_options *options) {
    watch *w = calloc(1, sizeof *w);
    clf_device_info info;
    if (!w || asprintf(&w->metrics_path, "%s/metrics.jsonl", options->output) < 0 ||
        asprintf(&w->report_path, "%s/report.html", options->output) < 0) {
        complain("out of memory");
        watch_destroy(w);
        return NULL;
    }
    w->options = *options;
    w->terminal = isatty(STDERR_FILENO);
    clf_device_get_info(options->device, &info);
    snprintf(w->device, sizeof w->device, "%s (%s)", info.name, info.platform);
    return w;
}

void watch_destroy(watch *w) {
    if (!w) return;
    metrics_close(&w->metrics);
    free(w->metrics_path);
    free(w->report_path);
    free(w);
}

// ---- lines --------------------------------------------------------------------------------------

static void wipe(watch *w) {
    if (w->drawn) fputs("\r\033[K", stderr);
    w->drawn = false;
}

// A line that stays.
static void __attribute__((format(printf, 2, 3))) say(watch *w, const char *format, ...) {
    if (w->options.quiet) return;
    wipe(w);
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

static int terminal_width(void) {
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

// A line that the next one replaces, ten times a second; where there is no terminal it stays, but
// there are only so many `seconds` apart.
static void draw(watch *w, const char *line, int seconds) {
    int64_t now = progress_now(), pause = w->terminal ? SECOND / 10 : seconds * SECOND;
    if (w->options.quiet || (w->draw_time > 0 && now - w->draw_time < pause)) return;
    w->draw_time = now;
    if (w->terminal) {
        fprintf(stderr, "\r%.*s\033[K", terminal_width() - 1, line);
        w->drawn = true;
    } else {
        fprintf(stderr, "%s\n", line);
    }
}

// What a progress line says, in order; the highest ranks are left out first where it is too long.
typedef struct part {
    int rank;
    char text[48];
} part;

static void join_parts(const part *parts, int count, size_t width, char *line, size_t size) {
    for (int most = count; most >= 0; most--) {
        size_t length = 0;
        line[0] = '\0';
        for (int i = 0; i < count && length < size; i++) {
            if (parts[i].rank > most || !parts[i].text[0]) continue;
            length += (size_t)snprintf(line + length, size - length, "%s%s", length > 0 ? "  " : "",
                                       parts[i].text);
        }
        if (length < width) return;
    }
}

static void draw_progress(watch *w) {
    enum { PARTS = 7 };
    const clf_train_progress *p = &w->last;
    part parts[PARTS] = {{.rank = 5}, {.rank = 0}, {.rank = 1}, {.rank = 3},
                         {.rank = 6}, {.rank = 4}, {.rank = 2}};
    char line[sizeof parts], left[32];
    snprintf(parts[0].text, sizeof parts->text, "epoch %.2f",
             (double)p->epoch - 1 + p->epoch_share);
    snprintf(parts[1].text, sizeof parts->text, "update %llu/%llu", (unsigned long long)p->update,
             (unsigned long long)p->updates);
    snprintf(parts[2].text, sizeof parts->text, "loss %.3f", p->loss);
    snprintf(parts[3].text, sizeof parts->text, "ppl %.2f", exp(p->nll));
    snprintf(parts[4].text, sizeof parts->text, "rate %.2e", p->learning_rate);
    snprintf(parts[5].text, sizeof parts->text, "%.0f tokens/s", p->tokens_per_second);
    if (isfinite(p->seconds_left)) {
        progress_format_time(p->seconds_left, left, sizeof left);
        snprintf(parts[6].text, sizeof parts->text, "%s left", left);
    }
    join_parts(parts, PARTS, w->terminal ? (size_t)terminal_width() : sizeof line, line,
               sizeof line);
    draw(w, line, 30);
}

// ---- the report ---------------------------------------------------------------------------------

static void write_report(watch *w, const char *state, bool running) {
    report page = {.output = w->options.output,
                   .device = w->device,
                   .command = w->options.command,
                   .plan = &w->plan,
                   .last = w->last.update > 0 ? &w->last : NULL,
                   .metrics = &w->metrics,
                   .state = state,
                   .running = running};
    if (!report_write(w->report_path, &page) && !w->report_failed) {
        wipe(w);
        complain("warning: %s: cannot write: %s", w->report_path, strerror(errno));
        w->report_failed = true;
    }
    w->report_time = progress_now();
}

// ---- events -------------------------------------------------------------------------------------

static int on_reading(void *user, double share) {
    watch *w = user;
    char line[64];
    snprintf(line, sizeof line, "reading the texts: %.0f%%", 100 * share);
    if (w->terminal) draw(w, line, 0);
    return interrupted();
}

static void say_plan(watch *w, const clf_train_plan *plan, uint64_t updates_done) {
    const double mib = 0x1p20;
    say(w, "device    %s", w->device);
    say(w, "model     %.2f million parameters", (double)plan->parameters * 1e-6);
    say(w, "text      %llu pairs, %llu + %llu tokens; left out: %llu too long, %llu empty",
        (unsigned long long)plan->pairs, (unsigned long long)plan->source_tokens,
        (unsigned long long)plan->target_tokens, (unsigned long long)plan->too_long,
        (unsigned long long)plan->empty);
    say(w,
        "memory    %.0f MiB of parameters, gradients and moments, %.0f MiB of activations; the "
        "device has %.0f MiB",
        (double)plan->state_bytes / mib, (double)plan->activation_bytes / mib,
        (double)plan->device_bytes / mib);
    say(w, "training  %llu updates; batches of at most %d tokens on each of %d device%s",
        (unsigned long long)plan->updates, plan->batch_tokens, plan->ranks,
        plan->ranks == 1 ? "" : "s");
    if (updates_done > 0) {
        say(w, "          going on after update %llu", (unsigned long long)updates_done);
    }
}

static void on_plan(void *user, const clf_train_plan *plan, uint64_t updates_done) {
    enum { LINES = 1000, MOST = 100 };
    watch *w = user;
    w->plan = *plan;
    w->planned = true;
    say_plan(w, plan, updates_done);
    w->log_every = (uint64_t)w->options.log_every;
    if (w->log_every == 0) w->log_every = plan->updates / LINES;
    if (w->options.log_every == 0 && w->log_every > MOST) w->log_every = MOST;
    if (w->log_every == 0) w->log_every = 1;
    metrics_open(&w->metrics, w->metrics_path,
                 &(metrics_start){.device = w->device,
                                  .command = w->options.command,
                                  .plan = plan,
                                  .update = updates_done});
    write_report(w, "running", true);
    w->draw_time = 0;
}

// Adds an update to the sums.
static void add_update(watch *w, const clf_train_progress *p) {
    double targets = (double)(p->target_tokens - w->last.target_tokens);
    // What the first update after a resumption had is not known.
    if (w->last.update == 0 && p->update > 1) targets = 1;
    w->sums.loss += targets * p->loss;
    w->sums.nll += targets * p->nll;
    w->sums.target_tokens += targets;
    w->sums.gradient_norm += p->gradient_norm;
    w->sums.updates++;
    if (w->last.update > 0 && !w->paused) {
        w->sums.tokens += (double)(p->source_tokens - w->last.source_tokens) + targets;
        w->sums.seconds += p->seconds - w->last.seconds;
    }
    w->paused = false;
    w->last = *p;
}

// Writes the means of the updates since the last time.
static void log_means(watch *w) {
    clf_train_progress mean = w->last;
    mean.loss = w->sums.loss / w->sums.target_tokens;
    mean.nll = w->sums.nll / w->sums.target_tokens;
    mean.gradient_norm = w->sums.gradient_norm / w->sums.updates;
    if (w->sums.seconds > 0) mean.tokens_per_second = w->sums.tokens / w->sums.seconds;
    metrics_add_progress(&w->metrics, &mean);
    memset(&w->sums, 0, sizeof w->sums);
}

static int on_progress(void *user, const clf_train_progress *progress) {
    enum { REPORT_SECONDS = 60 };
    watch *w = user;
    if (progress->update == w->last.update) { // it was skipped
        w->last = *progress;
        return interrupted();
    }
    add_update(w, progress);
    if (progress->update % w->log_every == 0 || progress->update >= progress->updates) log_means(w);
    draw_progress(w);
    if (progress_now() - w->report_time > REPORT_SECONDS * SECOND) write_report(w, "running", true);
    return interrupted();
}

// An interruption waits for the end of a validation: which model is the best must not depend on it.
static int on_translating(void *user, size_t done, size_t total, uint64_t source, uint64_t target) {
    watch *w = user;
    char line[64];
    (void)source, (void)target;
    snprintf(line, sizeof line, "translating the validation text: %.0f%%",
             total > 0 ? 100 * (double)done / (double)total : 0);
    if (w->terminal) draw(w, line, 0);
    return 0;
}

static double on_score(void *user, const char *directory) {
    watch *w = user;
    double bleu = NAN;
    valid_options options = w->options.valid_options;
    options.progress = on_translating;
    options.user = w;
    clf_status status =
        valid_text_score(w->options.valid, w->options.device, directory, &options, &bleu);
    if (status != CLF_OK) {
        wipe(w);
        complain("warning: no BLEU of update %llu: %s", (unsigned long long)w->last.update,
                 clf_last_error());
    }
    return bleu;
}

static void on_validation(void *user, const clf_train_validation *v) {
    watch *w = user;
    char bleu[32] = "";
    if (isfinite(v->bleu)) snprintf(bleu, sizeof bleu, "  BLEU %.2f", v->bleu);
    if (v->best) w->best_update = v->update;
    say(w, "validation after update %llu: loss %.4f  perplexity %.2f%s%s",
        (unsigned long long)v->update, v->loss, exp(v->nll), bleu, v->best ? "  best so far" : "");
    w->paused = true;
    metrics_add_validation(&w->metrics, v);
    write_report(w, "running", true);
}

static void on_saved(void *user, uint64_t update, const char *path) {
    watch *w = user;
    w->saved = w->paused = true;
    w->saved_update = update;
    metrics_add_checkpoint(&w->metrics, update, path);
}

clf_train_events watch_events(watch *w) {
    return (clf_train_events){.user = w,
                              .reading = on_reading,
                              .plan = on_plan,
                              .progress = on_progress,
                              .score = w->options.valid ? on_score : NULL,
                              .validation = on_validation,
                              .saved = on_saved};
}

void watch_finish(watch *w, clf_status status) {
    wipe(w);
    bool stopped = status == CLF_ERROR_CANCELLED;
    if (w->planned) {
        write_report(w, status == CLF_OK ? "finished" : stopped ? "stopped" : "failed", false);
    }
    if (status == CLF_OK) {
        char spent[32];
        progress_format_time(w->last.seconds, spent, sizeof spent);
        say(w, "done in %s; %s holds the model%s", spent, w->options.output,
            w->best_update > 0 ? " of the best validation" : "");
    } else if (stopped && w->saved) {
        complain("stopped after update %llu; the same command with --resume goes on from there",
                 (unsigned long long)w->saved_update);
    } else if (stopped) {
        complain("stopped before there was anything to save");
    }
}
