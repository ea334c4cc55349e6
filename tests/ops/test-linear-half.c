// SPDX-License-Identifier: MIT
// Products of halfs and floats, mixed as training mixes them. References in double on the rounded
// inputs; bounds are those of float sums, with the rounding of a half result.
#include "harness.h"
#include "ops/backward.h"
#include "ops/linearkit.h"
#include "ops/opkit.h"

// The types of layers, of logits and of the gradient of what logits are made of; then others.
static void products_on(clf_device *device) {
    static const clf_dtype types[][3] = {{CLF_F16, CLF_F16, CLF_F16},
                                         {CLF_F16, CLF_F16, CLF_F32},
                                         {CLF_F32, CLF_F16, CLF_F16},
                                         {CLF_F16, CLF_F32, CLF_F32},
                                         {CLF_F32, CLF_F32, CLF_F16}};
    // Of many rows a CPU makes floats of w, here in two parts.
    static const int sizes[][3] = {{1, 1, 1}, {7, 33, 17}, {13, 257, 100}, {257, 30000, 37}};
    for (int i = 0; i < 5; i++) {
        for (int j = i ? 1 : 0; j < (i ? 2 : 4); j++) {
            const int *size = sizes[j];
            const linear_problem p = {.rows = size[0],
                                      .k = size[1],
                                      .n = size[2],
                                      .x = types[i][0],
                                      .w = types[i][1],
                                      .y = types[i][2],
                                      .bias = (i + j) % 2,
                                      .residual = j % 2,
                                      .transpose = j == 1};
            linearkit_multiply(device, &p);
        }
    }
}

static void test_products(void) {
    clf_test_each_device(products_on);
}

static void gradients_on(clf_device *device) {
    static const int sizes[][3] = {{1, 1, 1}, {31, 7, 17}, {257, 33, 100}};
    for (int i = 0; i < 3; i++) {
        linear_problem p = {.rows = sizes[i][0], .k = sizes[i][1], .n = sizes[i][2], .x = CLF_F16};
        for (int dy = 0; dy < 2; dy++) {
            p.y = dy ? CLF_F16 : CLF_F32; // of layers, of logits
            linearkit_differentiate(device, &p);
        }
    }
}

static void test_gradients(void) {
    clf_test_each_device(gradients_on);
}

static void misfits_on(clf_device *device) {
    opkit kit;
    if (!opkit_init(&kit, device)) return;
    const clf_weight w = clf_weight_take(&kit.run, kit.arena, 4, 4);
    const clf_weight half = clf_weight_take_as(&kit.run, kit.arena, 4, 4, CLF_F16);
    const clf_tensor x = clf_arena_take(&kit.run, kit.arena, 3, 4, CLF_F16);
    const clf_tensor y = clf_arena_take(&kit.run, kit.arena, 3, 4, CLF_F32);
    clf_op_linear(&kit.run, y, x, half, (clf_linear){.residual = x});
    opkit_expect_argument_error(&kit, "linear: residual is a (3, 4) float16");
    clf_op_linear_backward(&kit.run, half, (clf_tensor){0}, x, x, kit.arena);
    opkit_expect_argument_error(&kit, "linear backward: dw");
    clf_op_transpose(&kit.run, half, w);
    opkit_expect_argument_error(&kit, "transpose");
    clf_op_round(&kit.run, w, half);
    opkit_expect_argument_error(&kit, "round: the copy");
    float out[16];
    clf_weight_read(&kit.run, half, out, kit.arena);
    opkit_expect_argument_error(&kit, "read: the weight");
    opkit_finish(&kit);
}

static void test_misfits(void) {
    clf_test_each_device(misfits_on);
}

static const clf_test tests[] = {
    {"products", test_products}, {"gradients", test_gradients}, {"misfits", test_misfits}};
CLF_TEST_MAIN("op-linear-half", tests)
