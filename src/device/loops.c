// SPDX-License-Identifier: MIT
#include "base/fail.h"
#include "device/launch.h"
#include "device/opencl.h"

#define PASSES 100000

// Of a few microseconds, so it is not remembered from one process to the next.
static clf_status try_loop(clf_device *device, bool *whole) {
    const clf_kernel_spec spec = {.file = "selftest", .kernel = "long_loop"};
    clf_run run = clf_run_begin(device);
    clf_arena *arena = NULL;
    uint32_t x = 1, y = x;
    for (int i = 0; i < PASSES; i++) y = y * 1664525u + 1013904223u;
    clf_run_fail(&run, clf_arena_create(device, "a check of loops", "nothing", &arena));
    const clf_tensor t = clf_arena_take(&run, arena, 1, 1, CLF_I32);
    const clf_arg arguments[] = {clf_arg_tensor(t), clf_arg_int(PASSES)};
    clf_write(&run, t, &x);
    clf_launch(&run, &spec, (clf_range){.groups = {1}}, (clf_cost){0}, arguments, 2);
    clf_read(&run, t, &x);
    clf_arena_destroy(arena);
    *whole = x == y;
    return clf_run_finish(&run);
}

bool clf_device_runs_long_loops(clf_device *device) {
    if (!device->loops_known) {
        bool whole;
        // What fails for another reason says so at the next launch.
        device->short_loops = try_loop(device, &whole) == CLF_OK && !whole;
        device->loops_known = true;
        if (device->short_loops)
            clf_log(CLF_LOG_DEBUG, "%s ends long loops early", device->info.name);
    }
    return !device->short_loops;
}
