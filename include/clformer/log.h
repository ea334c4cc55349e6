// SPDX-License-Identifier: MIT
// What the library has to say while it works. It never prints; it calls this function, if any.
#ifndef CLFORMER_LOG_H
#define CLFORMER_LOG_H

#include <clformer/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum clf_log_level {
    CLF_LOG_WARNING, // something the user should know: an ignored setting, a slow fallback
    CLF_LOG_INFO,    // which device, which model, which variant
    CLF_LOG_DEBUG    // kernels built, caches read and written
} clf_log_level;

// `message` is one line without its newline, valid during the call.
typedef void clf_log_function(void *user, clf_log_level level, const char *message);

// Sets the process-wide log function (NULL: silence) for messages up to `level`. Call it before
// other threads use the library.
CLF_API void clf_log_set(clf_log_function *function, void *user, clf_log_level level);

#ifdef __cplusplus
}
#endif
#endif
