// SPDX-License-Identifier: MIT
// Private to src/device/: launches that become one (cl/chain.cl).
#ifndef CLF_DEVICE_CHAIN_H
#define CLF_DEVICE_CHAIN_H

#include "device/kernels.h"

#define CLF_CHAIN_NAME      "chain" // under which it is tried (device/trial.h)
#define CLF_CHAIN_ARGUMENTS 40      // the most that a kernel may have, a tensor being two
#define CLF_CHAIN_BUFFERS   32      // that the kernels of a chain may use
#define CLF_CHAIN_LOCAL     16384   // bytes of local memory that a kernel may have as an argument

// A kernel of a chain with the kinds of its arguments: B buffer, N number, R real, L local memory.
typedef struct clf_chain_kernel {
    clf_kernel *kernel;
    char kinds[CLF_CHAIN_ARGUMENTS + 1];
} clf_chain_kernel;

// The source of a program that runs these kernels, freed by free(); NULL if memory is short.
char *clf_chain_source(const clf_device *device, const clf_chain_kernel *kernels, int count);

// ---- chain.c ----
// Records the launch if a chain is open and can take it; else what was recorded is launched first,
// and false says that the launch is still to be made.
bool clf_chain_add(clf_run *run, clf_kernel *k, clf_range range, clf_cost cost,
                   const clf_arg *arguments, int count);
// Launches what was recorded. To be called before anything else is queued.
void clf_chain_flush(clf_run *run);
void clf_chain_destroy(struct clf_chain *chain);

#endif
