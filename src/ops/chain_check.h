// SPDX-License-Identifier: MIT
#ifndef CLF_OPS_CHAIN_CHECK_H
#define CLF_OPS_CHAIN_CHECK_H

#include "device/device.h"

// Compares a chain (device/launch.h) of products and norms, each of which needs the one before,
// with the same launches one by one: it must repeat its bits, which are those of single launches
// where LANES is 1 and close to them elsewhere, and with `faster` it must take less time. May hang
// where groups do not wait for one another as they should. Leaves the device as
// clf_chain_choose(device, CLF_CHAIN_IF_FASTER) does.
bool clf_chain_check(clf_run *run, bool faster);

#endif
