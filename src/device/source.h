// SPDX-License-Identifier: MIT
// The kernel sources that the build embedded, ended by an entry without a name.
#ifndef CLF_DEVICE_SOURCE_H
#define CLF_DEVICE_SOURCE_H

typedef struct clf_kernel_file {
    const char *name; // "norm" for cl/norm.cl
    const char *text;
} clf_kernel_file;

extern const clf_kernel_file clf_kernel_files[];

#endif
