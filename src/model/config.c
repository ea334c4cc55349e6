// SPDX-License-Identifier: MIT
#include "model/config.h"

#include <math.h>

#include "base/fail.h"

// Far above any model that was ever made, and low enough that products of two fit an int64_t and
// sums of a few fit an int.
enum {
    MAX_WIDTH = 1 << 16,
    MAX_FFN = 1 << 20,
    MAX_LAYERS = 1 << 10,
    MAX_HEADS = 1 << 10,
    MAX_VOCABULARY = 1 << 24,
    MAX_POSITIONS = 1 << 20,
};

static clf_status check_range(const char *path, const char *what, int value, int low, int high) {
    if (value >= low && value <= high) return CLF_OK;
    return clf_fail(CLF_ERROR_FORMAT, "%s: %s is %d; it must be between %d and %d", path, what,
                    value, low, high);
}

static clf_status check_number(const char *path, const char *what, double value, double low) {
    if (isfinite(value) && value > low) return CLF_OK;
    return clf_fail(CLF_ERROR_FORMAT, "%s: %s is %g; it must be a number above %g", path, what,
                    value, low);
}

static clf_status check_stack(const char *path, const char *side, const clf_stack_config *stack) {
    if (stack->layers < 1 || stack->layers > MAX_LAYERS || stack->ffn < 1 || stack->ffn > MAX_FFN) {
        return clf_fail(CLF_ERROR_FORMAT,
                        "%s: the %s has %d layers with a feed-forward width of %d; neither can be "
                        "0 or absurd",
                        path, side, stack->layers, stack->ffn);
    }
    if (stack->heads < 1 || stack->heads > MAX_HEADS || stack->head_width < 1 ||
        stack->head_width > MAX_WIDTH / stack->heads) {
        return clf_fail(CLF_ERROR_FORMAT,
                        "%s: %d attention heads of width %d in the %s; neither can be 0 or absurd",
                        path, stack->heads, stack->head_width, side);
    }
    return check_number(path, "the attention scale", stack->attention_scale, 0);
}

clf_status clf_config_check(const clf_config *config, const char *path) {
    CLF_TRY(check_range(path, "the width of the model", config->width, 1, MAX_WIDTH));
    CLF_TRY(check_stack(path, "encoder", &config->encoder));
    CLF_TRY(check_stack(path, "decoder", &config->decoder));
    int source = config->source_vocabulary, target = config->target_vocabulary;
    CLF_TRY(check_range(path, "the size of the source vocabulary", source, 1, MAX_VOCABULARY));
    CLF_TRY(check_range(path, "the size of the target vocabulary", target, 1, MAX_VOCABULARY));
    if (config->share_embeddings && source != target) {
        return clf_fail(CLF_ERROR_FORMAT,
                        "%s: source and target share their embeddings but have vocabularies of %d "
                        "and %d",
                        path, source, target);
    }
    CLF_TRY(check_range(path, "the number of positions", config->max_positions, 1, MAX_POSITIONS));
    CLF_TRY(check_range(path, "the first position", config->position_offset, 0, 1000));
    if (config->positions == CLF_POSITIONS_SINUSOIDAL) {
        CLF_TRY(check_number(path, "the denominator of the positions", config->position_denominator,
                             0));
    }
    CLF_TRY(check_number(path, "the embedding scale", config->embedding_scale, 0));
    CLF_TRY(check_number(path, "the epsilon of the norms", config->norm_epsilon, 0));
    CLF_TRY(check_range(path, "the start token", config->start_token, -1, target - 1));
    int largest = source > target ? source : target;
    return check_range(path, "the padding token", config->pad_token, -1, largest - 1);
}
