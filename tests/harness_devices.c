// SPDX-License-Identifier: MIT
#include "harness.h"

#include <stdio.h>

void clf_test_each_device(void (*function)(clf_device *device)) {
    static const char *const shapes[] = {"cpu", "gpu"};
    static const char *const trial[] = {CLF_TEST_COMMAND, "try", NULL};
    clf_device_info *devices;
    size_t count;
    int usable = 0;
    if (!CLF_ASSERT_OK(clf_device_list(&devices, &count))) return;
    for (size_t i = 0; i < count; i++) {
        if (devices[i].reason[0]) continue;
        usable++;
        for (int s = 0; s < 2; s++) {
            char select[32];
            snprintf(select, sizeof select, "%d:%d", devices[i].platform_index,
                     devices[i].device_index);
            clf_device_options options = {
                .select = select, .shape = shapes[s], .trial_command = trial};
            clf_device *device;
            if (!CLF_ASSERT_OK(clf_device_open(&options, &device))) continue;
            function(device);
            clf_device_close(device);
        }
    }
    clf_device_list_free(devices);
    if (usable == 0) clf_test_skip("no OpenCL device");
}
