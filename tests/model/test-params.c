// SPDX-License-Identifier: MIT
#include "harness.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/params.h"

// One encoder layer of 3 heads against two decoder layers of 5; heads that do not fill the width.
static const clf_config plain = {
    .family = "test",
    .width = 24,
    .encoder = {.layers = 1, .heads = 3, .head_width = 8, .attention_scale = 0.5f, .ffn = 40},
    .decoder = {.layers = 2, .heads = 5, .head_width = 4, .attention_scale = 0.5f, .ffn = 48},
    .source_vocabulary = 51,
    .target_vocabulary = 43,
    .linear_bias = true,
    .norm_bias = true,
    .norm_epsilon = 1e-5f,
    .embedding_scale = 1,
    .positions = CLF_POSITIONS_SINUSOIDAL,
    .position_denominator = 12,
    .max_positions = 100,
    .start_token = -1,
    .pad_token = -1,
};

static const clf_param *find(const clf_param *params, int count, const char *name) {
    for (int i = 0; i < count; i++) {
        if (strcmp(params[i].name, name) == 0) return &params[i];
    }
    return NULL;
}

static void check_shape(const clf_param *params, int count, const char *name, int rows, int cols,
                        bool matrix) {
    const clf_param *p = find(params, count, name);
    CU_ASSERT_PTR_NOT_NULL(p);
    if (!p) return;
    CU_ASSERT_EQUAL(p->rows, rows);
    CU_ASSERT_EQUAL(p->cols, cols);
    CU_ASSERT_EQUAL(p->matrix, matrix);
}

static void test_list(void) {
    clf_param *params;
    int count;
    if (!CLF_ASSERT_OK(clf_params_list(&plain, &params, &count))) return;
    // Embeddings, parameters of the layers, output.
    CU_ASSERT_EQUAL(count, 2 + 1 * 12 + 2 * 20 + 1);
    check_shape(params, count, "encoder.embedding.weight", 51, 24, true);
    check_shape(params, count, "decoder.embedding.weight", 43, 24, true);
    check_shape(params, count, "encoder.layers.0.self.qkv.weight", 72, 24, true);
    check_shape(params, count, "decoder.layers.1.self.qkv.weight", 60, 24, true);
    check_shape(params, count, "decoder.layers.1.self.qkv.bias", 1, 60, false);
    check_shape(params, count, "decoder.layers.1.self.out.weight", 24, 20, true);
    check_shape(params, count, "decoder.layers.1.self.out.bias", 1, 24, false);
    check_shape(params, count, "decoder.layers.0.cross.q.weight", 20, 24, true);
    check_shape(params, count, "decoder.layers.0.cross.kv.weight", 40, 24, true);
    check_shape(params, count, "decoder.layers.0.cross.kv.bias", 1, 40, false);
    check_shape(params, count, "decoder.layers.0.ffn.in.weight", 48, 24, true);
    check_shape(params, count, "decoder.layers.0.ffn.out.weight", 24, 48, true);
    check_shape(params, count, "decoder.layers.0.ffn.norm.bias", 1, 24, false);
    check_shape(params, count, "decoder.output.weight", 43, 24, true);
    CU_ASSERT_PTR_NULL(find(params, count, "decoder.output.bias"));
    CU_ASSERT_PTR_NULL(find(params, count, "encoder.layers.0.cross.q.weight"));
    CU_ASSERT_PTR_NULL(find(params, count, "encoder.final_norm.weight"));
    CU_ASSERT_PTR_NULL(find(params, count, "encoder.positions.weight"));
    for (int i = 0; i < count; i++) {
        CU_ASSERT_PTR_EQUAL(find(params, count, params[i].name), &params[i]); // no name twice
    }
    free(params);
}

static void test_variants(void) {
    clf_config config = plain;
    config.target_vocabulary = 51;
    config.share_embeddings = config.tie_output = config.output_bias = true;
    config.final_norm = config.embedding_norm = config.gated = true;
    config.linear_bias = config.norm_bias = false;
    config.positions = CLF_POSITIONS_LEARNED;
    config.position_offset = 2;
    clf_param *params;
    int count;
    if (!CLF_ASSERT_OK(clf_params_list(&config, &params, &count))) return;
    check_shape(params, count, "encoder.embedding.weight", 51, 24, true);
    check_shape(params, count, "encoder.positions.weight", 102, 24, false);
    check_shape(params, count, "decoder.positions.weight", 102, 24, false);
    check_shape(params, count, "encoder.embedding_norm.weight", 1, 24, false);
    check_shape(params, count, "decoder.layers.0.ffn.in.weight", 96, 24, true);
    check_shape(params, count, "decoder.layers.0.ffn.out.weight", 24, 48, true);
    check_shape(params, count, "decoder.final_norm.weight", 1, 24, false);
    check_shape(params, count, "decoder.output.bias", 1, 51, false);
    CU_ASSERT_PTR_NULL(find(params, count, "decoder.embedding.weight"));
    CU_ASSERT_PTR_NULL(find(params, count, "decoder.output.weight"));
    CU_ASSERT_PTR_NULL(find(params, count, "decoder.layers.0.ffn.in.bias"));
    CU_ASSERT_PTR_NULL(find(params, count, "decoder.final_norm.bias"));
    free(params);
}

static void check_refused(const clf_config *config, const char *word) {
    CU_ASSERT_EQUAL(clf_config_check(config, "dir/config.json"), CLF_ERROR_FORMAT);
    CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), "dir/config.json: "));
    CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), word));
}

#define REFUSE(field, value, word)                                                                 \
    do {                                                                                           \
        clf_config config = plain;                                                                 \
        config.field = (value);                                                                    \
        check_refused(&config, word);                                                              \
    } while (0)

static void test_check(void) {
    CLF_ASSERT_OK(clf_config_check(&plain, "x"));
    REFUSE(width, 0, "width");
    REFUSE(width, 1 << 30, "width");
    REFUSE(encoder.layers, 0, "encoder");
    REFUSE(decoder.layers, 1 << 20, "decoder");
    REFUSE(decoder.heads, -3, "heads");
    REFUSE(decoder.head_width, 1 << 30, "heads");
    REFUSE(decoder.ffn, 0, "feed-forward");
    REFUSE(source_vocabulary, 0, "source vocabulary");
    REFUSE(target_vocabulary, 1 << 30, "target vocabulary");
    REFUSE(share_embeddings, true, "share");
    REFUSE(max_positions, 0, "positions");
    REFUSE(position_offset, -1, "position");
    REFUSE(position_denominator, 0, "denominator");
    REFUSE(embedding_scale, NAN, "scale");
    REFUSE(encoder.attention_scale, INFINITY, "scale");
    REFUSE(norm_epsilon, -1, "epsilon");
    REFUSE(start_token, 43, "start");
    REFUSE(pad_token, 51, "padding");
}

static const clf_test tests[] = {
    {"list", test_list}, {"variants", test_variants}, {"check", test_check}};

CLF_TEST_MAIN("params", tests)
