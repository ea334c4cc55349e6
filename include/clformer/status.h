// SPDX-License-Identifier: MIT
// Status codes and the text of the last failure.
#ifndef CLFORMER_STATUS_H
#define CLFORMER_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#define CLF_API __attribute__((visibility("default")))

// Every status with its general meaning; the details of one failure are in clf_last_error().
#define CLF_STATUS_LIST(X)                                                                         \
    X(OK, "success")                                                                               \
    X(ERROR_ARGUMENT, "invalid argument")                                                          \
    X(ERROR_MEMORY, "out of host memory")                                                          \
    X(ERROR_DEVICE_MEMORY, "out of device memory")                                                 \
    X(ERROR_NO_DEVICE, "no usable OpenCL device")                                                  \
    X(ERROR_DEVICE, "an OpenCL call failed")                                                       \
    X(ERROR_BUILD, "an OpenCL kernel did not build")                                               \
    X(ERROR_IO, "a file could not be read or written")                                             \
    X(ERROR_FORMAT, "a file is damaged or not what it claims to be")                               \
    X(ERROR_UNSUPPORTED, "a model or feature that is not supported")                               \
    X(ERROR_NUMERIC, "a result is not a number")                                                   \
    X(ERROR_CANCELLED, "cancelled by the caller")

#define CLF_STATUS_ENUM(name, text) CLF_##name,
typedef enum clf_status { CLF_STATUS_LIST(CLF_STATUS_ENUM) CLF_STATUS_COUNT } clf_status;
#undef CLF_STATUS_ENUM

// The general meaning of a status; never NULL. Thread-safe.
CLF_API const char *clf_status_text(clf_status status);

// One line that says what failed last on the calling thread, which file or device it concerns and
// what to do about it; empty if nothing failed. Valid until the thread's next clformer call.
CLF_API const char *clf_last_error(void);

#ifdef __cplusplus
}
#endif
#endif
