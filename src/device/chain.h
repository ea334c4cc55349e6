// SPDX-License-Identifier: MIT
// Private to src/device/: launches that become one (cl/chain.cl, cl/chain_group.cl).
#ifndef CLF_DEVICE_CHAIN_H
#define CLF_DEVICE_CHAIN_H

#include "device/kernels.h"

#define CLF_CHAIN_BUFFERS 32 // that the kernels of a chain may use

// In words of cl/chain_task.cl: where the tasks begin, behind its counters, and where a task's
// arguments.
#define CLF_CHAIN_FIRST 16
#define CLF_CHAIN_HEAD  15
// From one task to the next in cl/chain_group.cl; in cl/chain.cl they stand close together.
#define CLF_CHAIN_STRIDE (CLF_CHAIN_HEAD + CLF_CHAIN_ARGUMENTS)
// Work-items of a group and bytes of its local memory in cl/chain_group.cl.
#define CLF_CHAIN_GROUP 256
#define CLF_CHAIN_POOL  24576

// The kernel file of this device's chains, without its ending.
const char *clf_chain_file(const clf_device *device);
// The source of a program that runs these kernels, whose `kinds` are known, as cases 0 ... count -
// 1, freed by free(); NULL if memory is short.
char *clf_chain_source(const clf_device *device, clf_kernel *const *kernels, int count);

// ---- chain.c ----
// Records the launch if a chain is open and can take it; else what was recorded is launched first,
// and false says that the launch is still to be made.
bool clf_chain_add(clf_run *run, clf_kernel *k, clf_range range, clf_cost cost,
                   const clf_arg *arguments, int count);
// Launches what was recorded. To be called before anything else is queued, and before a buffer is
// released. A failure is that of the run which began the chain.
void clf_chain_flush(clf_device *device);
void clf_chain_destroy(struct clf_chain *chain);

#endif
