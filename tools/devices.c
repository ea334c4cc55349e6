// SPDX-License-Identifier: MIT
// clformer devices: what there is to choose from.
#include "command.h"

#include <stdio.h>

static const option_row options[] = {COMMON_OPTIONS, {0}};

static int run_devices(int argc, char **argv);

const command command_devices = {
    .name = "devices",
    .summary = "Lists the OpenCL devices, best first; * is the one that would be used.",
    .usage = "[options]",
    .options = options,
    .run = run_devices,
};

static int run_devices(int argc, char **argv) {
    common_options given = {0};
    clf_device_info *devices, chosen = {.platform_index = -1};
    clf_device *device = NULL;
    size_t count;
    int code;
    if (!parse_options(&command_devices, &given, &argc, &argv, &code)) return code;
    clf_status status = open_device(&given, &device);
    if (status == CLF_OK) clf_device_get_info(device, &chosen);
    clf_device_close(device);
    // The choice may fail while there is something to list.
    char reason[512];
    snprintf(reason, sizeof reason, "%s", clf_last_error());
    clf_status listed = clf_device_list(&devices, &count);
    if (listed != CLF_OK) return complain_status(listed);
    for (size_t i = 0; i < count; i++) {
        const clf_device_info *d = &devices[i];
        bool used =
            d->platform_index == chosen.platform_index && d->device_index == chosen.device_index;
        printf("%c %d:%d  %-14s %s\n", used ? '*' : ' ', d->platform_index, d->device_index,
               clf_device_kind_text(d->kind), d->name);
        printf("       %s, driver %s, %.1f GiB\n", d->platform, d->driver,
               (double)d->global_memory / (1 << 30));
        if (d->reason[0]) printf("       cannot be used: %s\n", d->reason);
    }
    clf_device_list_free(devices);
    if (status == CLF_OK) return EXIT_OK;
    complain("%s", reason);
    return EXIT_FAILED;
}
