// SPDX-License-Identifier: MIT
// Ranking and selectors on made-up lists, and the options that do not need a device.
#include "harness.h"

#include <stdio.h>
#include <string.h>

#include "device/select.h"

static void test_kind(void) {
    CU_ASSERT_EQUAL(clf_select_kind("NVIDIA A", "NVIDIA CUDA", CLF_HARDWARE_GPU, false),
                    CLF_DEVICE_DISCRETE_GPU);
    CU_ASSERT_EQUAL(clf_select_kind("Iris", "Intel", CLF_HARDWARE_GPU, true),
                    CLF_DEVICE_INTEGRATED_GPU);
    CU_ASSERT_EQUAL(clf_select_kind("EPYC", "PoCL", CLF_HARDWARE_CPU, true), CLF_DEVICE_CPU);
    CU_ASSERT_EQUAL(clf_select_kind("FPGA", "Intel", CLF_HARDWARE_OTHER, false),
                    CLF_DEVICE_ACCELERATOR);
    CU_ASSERT_EQUAL(clf_select_kind("LLVMpipe (LLVM 15)", "rusticl", CLF_HARDWARE_GPU, false),
                    CLF_DEVICE_EMULATOR);
    CU_ASSERT_EQUAL(clf_select_kind("Radeon", "Clover", CLF_HARDWARE_GPU, false),
                    CLF_DEVICE_EMULATOR);
    CU_ASSERT_EQUAL(clf_select_kind("Oclgrind Simulator", "Oclgrind", CLF_HARDWARE_CPU, true),
                    CLF_DEVICE_EMULATOR);
    for (int kind = 0; kind < 5; kind++) CU_ASSERT(strlen(clf_device_kind_text(kind)) >= 3);
    CU_ASSERT_STRING_EQUAL(clf_device_kind_text(99), "unknown");
}

// In the order in which platforms list them, worst first.
static const clf_device_info listed[] = {
    {.name = "llvmpipe", .platform = "rusticl", .kind = CLF_DEVICE_EMULATOR, .platform_index = 0},
    {.name = "Old GPU",
     .platform = "Ancient",
     .kind = CLF_DEVICE_DISCRETE_GPU,
     .platform_index = 1,
     .reason = "OpenCL 1.2 is needed"},
    {.name = "EPYC", .platform = "PoCL", .kind = CLF_DEVICE_CPU, .platform_index = 2},
    {.name = "Xe Graphics", .kind = CLF_DEVICE_INTEGRATED_GPU, .platform_index = 3},
    {.name = "Arc A380",
     .kind = CLF_DEVICE_DISCRETE_GPU,
     .platform_index = 3,
     .device_index = 1,
     .global_memory = 6},
    {.name = "Arc A770",
     .kind = CLF_DEVICE_DISCRETE_GPU,
     .platform_index = 3,
     .device_index = 2,
     .global_memory = 16},
};
enum { LISTED = sizeof listed / sizeof *listed };

// The name of the device that the selector finds among the first `count` listed, or "-".
static const char *choose(size_t count, const char *selector) {
    static clf_device_info devices[LISTED];
    memcpy(devices, listed, sizeof devices);
    clf_select_sort(devices, count);
    size_t index = 77;
    clf_status status = clf_select(devices, count, selector, &index);
    if (status == CLF_OK) return devices[index].name;
    CU_ASSERT_EQUAL(status, CLF_ERROR_NO_DEVICE);
    CU_ASSERT_EQUAL(index, 77);
    return "-";
}

static void test_choice(void) {
    CU_ASSERT_STRING_EQUAL(choose(LISTED, NULL), "Arc A770");
    CU_ASSERT_STRING_EQUAL(choose(LISTED, ""), "Arc A770");
    CU_ASSERT_STRING_EQUAL(choose(LISTED, "gpu"), "Arc A770");
    CU_ASSERT_STRING_EQUAL(choose(LISTED, "GPU"), "Arc A770");
    CU_ASSERT_STRING_EQUAL(choose(LISTED, "cpu"), "EPYC");
    CU_ASSERT_STRING_EQUAL(choose(LISTED, "3:0"), "Xe Graphics");
    CU_ASSERT_STRING_EQUAL(choose(LISTED, "3:1"), "Arc A380");
    CU_ASSERT_STRING_EQUAL(choose(LISTED, "xe g"), "Xe Graphics");
    CU_ASSERT_STRING_EQUAL(choose(LISTED, "LLVM"), "llvmpipe");
    CU_ASSERT_STRING_EQUAL(choose(LISTED, "rustiCL"), "llvmpipe");
    CU_ASSERT_STRING_EQUAL(choose(4, NULL), "Xe Graphics");
    CU_ASSERT_STRING_EQUAL(choose(3, NULL), "EPYC");
    CU_ASSERT_STRING_EQUAL(choose(1, NULL), "llvmpipe");
}

static void test_refusal(void) {
    CU_ASSERT_STRING_EQUAL(choose(2, "gpu"), "-");
    CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), "Old GPU"));
    CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), "OpenCL 1.2 is needed"));
    CU_ASSERT_STRING_EQUAL(choose(1, "gpu"), "-"); // an emulator is never meant by "gpu"
    CU_ASSERT_STRING_EQUAL(choose(1, "cpu"), "-");
    CU_ASSERT_STRING_EQUAL(choose(LISTED, "3:9"), "-");
    CU_ASSERT_STRING_EQUAL(choose(LISTED, "3:0x"), "-");
    CU_ASSERT_STRING_EQUAL(choose(3, "voodoo"), "-");
    CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), "'voodoo'"));
    CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), "2:0 EPYC"));
    CU_ASSERT_STRING_EQUAL(choose(0, NULL), "-");
    CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), "pocl-opencl-icd"));
}

static void test_options(void) {
    clf_device *device = NULL;
    clf_device_options options = {.gemm = "cublas"};
    CU_ASSERT_EQUAL(clf_device_open(&options, &device), CLF_ERROR_ARGUMENT);
    CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), "cublas"));
    options = (clf_device_options){.shape = "round"};
    CU_ASSERT_EQUAL(clf_device_open(&options, &device), CLF_ERROR_ARGUMENT);
    options = (clf_device_options){.select = "no such device"};
    CU_ASSERT_EQUAL(clf_device_open(&options, &device), CLF_ERROR_NO_DEVICE);
    CU_ASSERT_PTR_NULL(device);
    clf_device_close(NULL);
}

static const clf_test tests[] = {{"kind", test_kind},
                                 {"choice", test_choice},
                                 {"refusal", test_refusal},
                                 {"options", test_options}};

CLF_TEST_MAIN("device-select", tests)
