// SPDX-License-Identifier: MIT
#include "base/fail.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local char last_error[1024];

static struct {
    clf_log_function *function;
    void *user;
    clf_log_level level;
} sink;

const char *clf_status_text(clf_status status) {
#define CLF_STATUS_TEXT(name, text) text,
    static const char *const texts[] = {CLF_STATUS_LIST(CLF_STATUS_TEXT)};
#undef CLF_STATUS_TEXT
    return (unsigned)status < CLF_STATUS_COUNT ? texts[status] : "unknown status";
}

const char *clf_last_error(void) {
    return last_error;
}

clf_status clf_fail(clf_status status, const char *format, ...) {
    // The arguments may point into last_error itself, so format beside it.
    char message[sizeof last_error];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    for (char *c = message; *c; c++) {
        if (*c == '\n' || *c == '\r') *c = ' ';
    }
    snprintf(last_error, sizeof last_error, "%s", message);
    return status;
}

clf_status clf_fail_memory(void) {
    return clf_fail(CLF_ERROR_MEMORY, "out of host memory");
}

void clf_log_set(clf_log_function *function, void *user, clf_log_level level) {
    sink.function = function;
    sink.user = user;
    sink.level = level;
}

void clf_log(clf_log_level level, const char *format, ...) {
    if (!sink.function || level > sink.level) return;
    char message[4096];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    sink.function(sink.user, level, message);
}
