// SPDX-License-Identifier: MIT
#include "harness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "modelkit.h"

static clf_format *open_golden(const char *name) {
    clf_format *format = NULL;
    CLF_ASSERT_OK(clf_format_open(clf_test_golden(name), &format));
    return format;
}

static void test_marian(void) {
    clf_format *format = open_golden("marian-odd");
    if (!format) return;
    const clf_config *c = clf_format_config(format);
    const clf_generation *g = clf_format_generation(format);
    CU_ASSERT_STRING_EQUAL(c->family, "marian");
    CU_ASSERT_EQUAL(c->width, 15);
    CU_ASSERT_EQUAL(c->encoder.layers, 1);
    CU_ASSERT_EQUAL(c->decoder.layers, 3);
    CU_ASSERT_EQUAL(c->encoder.heads, 3);
    CU_ASSERT_EQUAL(c->encoder.head_width, 5);
    CU_ASSERT_EQUAL(c->encoder.ffn, 37);
    CU_ASSERT_EQUAL(c->decoder.ffn, 13);
    CU_ASSERT_DOUBLE_EQUAL(c->decoder.attention_scale, 1 / sqrt(5), 1e-7);
    CU_ASSERT_EQUAL(c->activation, CLF_ACT_GELU_TANH);
    CU_ASSERT_EQUAL(c->embedding_scale, 1);
    CU_ASSERT_EQUAL(c->positions, CLF_POSITIONS_SINUSOIDAL);
    CU_ASSERT_EQUAL(c->position_offset, 0);
    CU_ASSERT_EQUAL(c->position_denominator, 7.5);
    CU_ASSERT_EQUAL(c->max_positions, 64);
    CU_ASSERT_EQUAL(c->start_token, c->source_vocabulary - 1);
    CU_ASSERT_EQUAL(c->pad_token, c->source_vocabulary - 1);
    CU_ASSERT(c->share_embeddings && c->tie_output && c->output_bias && c->linear_bias);
    CU_ASSERT(!c->pre_norm && !c->final_norm && !c->embedding_norm && !c->gated);
    CU_ASSERT_EQUAL(g->num_beams, 4);
    CU_ASSERT_EQUAL(g->length_penalty, 1);
    CU_ASSERT_EQUAL(g->early_stopping, 0);
    CU_ASSERT_EQUAL(g->max_length, 20);
    CU_ASSERT_EQUAL(g->max_new_tokens, 0);
    CU_ASSERT_EQUAL(g->eos_count, 1);
    CU_ASSERT_EQUAL(g->eos[0], 0);
    CU_ASSERT_EQUAL(g->forced_bos, -1);
    CU_ASSERT_EQUAL(g->forced_eos, 0);
    CU_ASSERT(g->renormalize);
    CU_ASSERT_EQUAL(g->suppress_count, 1);
    CU_ASSERT_EQUAL(g->suppress[0], c->start_token);
    clf_format_close(format);
}

static void test_marian_variants(void) {
    clf_format *format = open_golden("marian-separate");
    if (!format) return;
    const clf_config *c = clf_format_config(format);
    CU_ASSERT(!c->share_embeddings && c->tie_output);
    CU_ASSERT_NOT_EQUAL(c->source_vocabulary, c->target_vocabulary);
    CU_ASSERT_EQUAL(c->start_token, c->target_vocabulary - 1);
    CU_ASSERT_EQUAL(c->pad_token, c->source_vocabulary - 1);
    CU_ASSERT_EQUAL(c->activation, CLF_ACT_RELU);
    clf_format_close(format);

    if (!(format = open_golden("marian-untied"))) return;
    c = clf_format_config(format);
    CU_ASSERT(!c->share_embeddings && !c->tie_output); // its two embeddings differ
    CU_ASSERT_EQUAL(c->activation, CLF_ACT_GELU);
    clf_format_close(format);

    if (!(format = open_golden("marian-heads"))) return;
    c = clf_format_config(format);
    CU_ASSERT_EQUAL(c->encoder.heads * c->encoder.head_width, c->width);
    CU_ASSERT_EQUAL(c->encoder.head_width, 4);
    CU_ASSERT_EQUAL(c->decoder.head_width, 3);
    clf_format_close(format);
}

static void test_ctranslate2(void) {
    clf_format *format = open_golden("ct2-gated");
    if (!format) return;
    const clf_config *c = clf_format_config(format);
    CU_ASSERT_STRING_EQUAL(c->family, "ctranslate2");
    CU_ASSERT_EQUAL(c->width, 12);
    CU_ASSERT_EQUAL(c->encoder.layers, 1);
    CU_ASSERT_EQUAL(c->decoder.layers, 2);
    CU_ASSERT_EQUAL(c->encoder.heads, 3);
    CU_ASSERT_EQUAL(c->encoder.ffn, 20);
    CU_ASSERT(c->pre_norm && c->final_norm && c->embedding_norm && c->gated);
    CU_ASSERT(!c->linear_bias && !c->norm_bias && !c->output_bias);
    CU_ASSERT(!c->share_embeddings && !c->tie_output);
    CU_ASSERT_EQUAL(c->norm, CLF_NORM_RMS);
    CU_ASSERT_EQUAL(c->norm_epsilon, 1e-4f);
    CU_ASSERT_EQUAL(c->activation, CLF_ACT_GELU_TANH);
    CU_ASSERT_EQUAL(c->positions, CLF_POSITIONS_LEARNED);
    CU_ASSERT_EQUAL(c->position_offset, 0);
    CU_ASSERT_EQUAL(c->max_positions, 40);
    CU_ASSERT_EQUAL(c->start_token, 1);
    CU_ASSERT_EQUAL(clf_format_generation(format)->eos[0], 2);
    CU_ASSERT_EQUAL(clf_format_generation(format)->num_beams, 2);
    clf_format_close(format);

    if (!(format = open_golden("ct2-postnorm"))) return;
    c = clf_format_config(format);
    CU_ASSERT(!c->pre_norm && !c->final_norm && c->norm_bias);
    CU_ASSERT_EQUAL(c->activation, CLF_ACT_GELU_SIGMOID);
    CU_ASSERT_EQUAL(c->positions, CLF_POSITIONS_SINUSOIDAL);
    CU_ASSERT_EQUAL(c->position_offset, 1);
    CU_ASSERT_EQUAL(c->position_denominator, 5);
    clf_format_close(format);
}

// The largest difference of two parameters over the rows (of a vector: columns) both have.
static double difference(clf_format *a, const clf_param *pa, clf_format *b, const clf_param *pb) {
    float *x = modelkit_values(a, pa), *y = modelkit_values(b, pb);
    double largest = 0;
    int rows = pa->rows < pb->rows ? pa->rows : pb->rows;
    int cols = pa->cols < pb->cols ? pa->cols : pb->cols;
    CU_ASSERT(rows == 1 || pa->cols == pb->cols);
    for (int r = 0; x && y && r < rows; r++) {
        for (int i = 0; i < cols; i++) {
            double d = fabs((double)x[r * pa->cols + i] - y[r * pb->cols + i]);
            if (!(d <= largest)) largest = d;
        }
    }
    free(x);
    free(y);
    return largest;
}

// Two directories hold the same model: `bound` on the difference of any weight.
static void check_same(const char *left, const char *right, double bound) {
    clf_format *a = open_golden(left), *b = open_golden(right);
    clf_param *p = NULL, *q = NULL;
    int n = 0, m = 0, compared = 0;
    if (!a || !b) goto done;
    CLF_ASSERT_OK(clf_params_list(clf_format_config(a), &p, &n));
    CLF_ASSERT_OK(clf_params_list(clf_format_config(b), &q, &m));
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < m; j++) {
            if (strcmp(p[i].name, q[j].name) != 0) continue;
            double d = difference(a, &p[i], b, &q[j]);
            CU_ASSERT(d <= bound);
            if (d > bound) printf("\n%s: %s differs from %s by %g\n", p[i].name, left, right, d);
            compared++;
        }
    }
    CU_ASSERT(compared >= m); // the left side may have a table of positions besides
done:
    free(p);
    free(q);
    clf_format_close(a);
    clf_format_close(b);
}

// The conversions were made by CTranslate2's own program, the left side of each from the right.
static void test_same_weights(void) {
    check_same("ct2-float32", "marian-bias", 0);
    check_same("ct2-float16", "marian-bias", 2e-3); // half has 11 bits; weights are below 4
    check_same("ct2-int16", "marian-bias", 4e-3);   // 10 bits below the largest weight of a matrix
    check_same("ct2-int8", "marian-bias", 2e-2);    // 7 bits below the largest weight of a row
    check_same("ct2-v1", "ct2-prenorm", 0);
    check_same("ct2-v3", "ct2-prenorm", 0);
    check_same("ct2-v5", "ct2-prenorm", 0);
}

static void check_tokens(const char *golden, const char *text, const int32_t *expected, size_t n) {
    clf_format *format = open_golden(golden);
    clf_tokenizer *tokenizer;
    clf_ids ids = {0};
    if (!format) return;
    if (CLF_ASSERT_OK(clf_format_tokenizer(format, &tokenizer))) {
        clf_format_close(format); // the tokenizer stands alone
        CLF_ASSERT_OK(clf_tokenizer_encode_source(tokenizer, text, strlen(text), &ids));
        CU_ASSERT_EQUAL(ids.count, n);
        CU_ASSERT(ids.count == n && memcmp(ids.data, expected, n * sizeof *expected) == 0);
        clf_tokenizer_close(tokenizer);
    }
    clf_array_free(&ids);
}

// Ids from the first lines of the golden files; what is added to a source differs by format.
static void test_tokens(void) {
    static const int32_t marian[] = {9, 3, 43, 44, 17, 2, 0};
    static const int32_t plain[] = {11, 5, 45, 46, 19, 4};
    int32_t with_eos[7], with_bos[7];
    memcpy(with_eos, plain, sizeof plain);
    memcpy(with_bos + 1, plain, sizeof plain);
    with_eos[6] = 2;
    with_bos[0] = 1;
    check_tokens("marian-bias", "tamatu nari ruki.", marian, 7);
    check_tokens("ct2-float32", "tamatu nari ruki.", marian, 7);
    check_tokens("ct2-int8", "▁tamatu ▁na r i ▁ruki .", marian, 6); // no .spm: nothing added
    check_tokens("ct2-prenorm", "▁tamatu ▁na r i ▁ruki .", with_eos, 7);
    check_tokens("ct2-v1", "▁tamatu ▁na r i ▁ruki .", with_eos, 7);
    check_tokens("ct2-gated", "▁tamatu ▁na r i ▁ruki .", with_bos, 7);
}

// A file of 2018: no config.json, one flat list of variables.
static void test_aren(void) {
    const char *path = clf_test_shared("models/aren-transliteration/v2/aren-transliteration-i8");
    clf_format *format;
    if (!path) {
        clf_test_skip("the transliteration model is not here");
        return;
    }
    if (!CLF_ASSERT_OK(clf_format_open(path, &format))) return;
    const clf_config *c = clf_format_config(format);
    CU_ASSERT_EQUAL(c->width, 32);
    CU_ASSERT_EQUAL(c->encoder.layers, 6);
    CU_ASSERT_EQUAL(c->encoder.heads, 8);
    CU_ASSERT_EQUAL(c->source_vocabulary, 51);
    CU_ASSERT_EQUAL(c->target_vocabulary, 43);
    CU_ASSERT(c->pre_norm && c->final_norm);
    CU_ASSERT_EQUAL(c->position_denominator, 15);
    CU_ASSERT_EQUAL(c->start_token, 1);
    CU_ASSERT_EQUAL(clf_format_generation(format)->eos[0], 2);
    clf_format_close(format);
}

static const clf_test tests[] = {
    {"marian", test_marian},           {"marian-variants", test_marian_variants},
    {"ctranslate2", test_ctranslate2}, {"same-weights", test_same_weights},
    {"tokens", test_tokens},           {"aren", test_aren}};

CLF_TEST_MAIN("formats", tests)
