// SPDX-License-Identifier: MIT
// Failing with a message, and logging. Both lines end without a newline.
#ifndef CLF_BASE_FAIL_H
#define CLF_BASE_FAIL_H

#include <clformer/log.h>
#include <clformer/status.h>

// Remembers the message for clf_last_error() on this thread and returns `status`:
//     return clf_fail(CLF_ERROR_FORMAT, "%s: the header is longer than the file", path);
clf_status clf_fail(clf_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// The usual host allocation failure.
clf_status clf_fail_memory(void);

// Returns from the calling function if `expression` is not CLF_OK.
#define CLF_TRY(expression)                                                                        \
    do {                                                                                           \
        clf_status status_ = (expression);                                                         \
        if (status_ != CLF_OK) return status_;                                                     \
    } while (0)

void clf_log(clf_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
