// SPDX-License-Identifier: MIT
// What the parts of the probe share. Private to src/probe/.
#ifndef CLF_PROBE_PROBE_H
#define CLF_PROBE_PROBE_H

#include <clformer/probe.h>

#include "device/memory.h"

// A probe under way. Each part fills its section of `result`; a failure of the device is noted
// there, so parts do not fail. After `cancelled` they return as soon as they can.
typedef struct clf_prober {
    clf_device *device;
    const clf_probe_options *options;
    clf_probe *result;
    double share_begin, share_end; // of the whole, for the part that runs
    bool cancelled;
} clf_prober;

// Reports that `share` (0 to 1) of this part is done; false if the probe is cancelled.
bool clf_prober_tick(clf_prober *p, double share, const char *what);

// Seconds of `work`, which queues operations, and a wait for them: of one call, and of more while
// `seconds` last. Zeros if the run fails.
typedef struct clf_probe_timing {
    double median, shortest;
} clf_probe_timing;
typedef void clf_probe_work(clf_run *run, void *data);
clf_probe_timing clf_probe_time(clf_run *run, clf_probe_work *work, void *data, double seconds);

void clf_probe_capabilities(clf_prober *p);
void clf_probe_rates_measure(clf_prober *p);
// The variants from `first` on, at every shape and number of rows.
void clf_probe_products_measure(clf_prober *p, clf_probe_variant first,
                                clf_probe_products *products);
void clf_probe_self_test(clf_prober *p);
void clf_probe_judge(clf_prober *p);

#endif
