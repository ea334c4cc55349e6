// SPDX-License-Identifier: MIT
#include "formats/ctranslate2.h"

#include <stdio.h>
#include <string.h>

#include "base/fail.h"

// The layer that holds a weight, "*" standing for the side and the number of the layer, and the
// names of the weight and of the bias, the next kind.
static const struct {
    const char *layer, *weight, *bias;
    bool inside; // a layer of the stack
} layers[CLF_PARAM_KINDS] = {
    [CLF_PARAM_EMBEDDING] = {"embeddings", "weight", NULL, false},
    [CLF_PARAM_POSITIONS] = {"position_encodings", "encodings", NULL, false},
    [CLF_PARAM_EMBEDDING_NORM] = {"layernorm_embedding", "gamma", "beta", false},
    [CLF_PARAM_SELF_QKV] = {"self_attention/linear_0", "weight", "bias", true},
    [CLF_PARAM_SELF_OUT] = {"self_attention/linear_1", "weight", "bias", true},
    [CLF_PARAM_SELF_NORM] = {"self_attention/layer_norm", "gamma", "beta", true},
    [CLF_PARAM_CROSS_Q] = {"attention/linear_0", "weight", "bias", true},
    [CLF_PARAM_CROSS_KV] = {"attention/linear_1", "weight", "bias", true},
    [CLF_PARAM_CROSS_OUT] = {"attention/linear_2", "weight", "bias", true},
    [CLF_PARAM_CROSS_NORM] = {"attention/layer_norm", "gamma", "beta", true},
    [CLF_PARAM_FFN_IN] = {"ffn/linear_0", "weight", "bias", true},
    [CLF_PARAM_FFN_OUT] = {"ffn/linear_1", "weight", "bias", true},
    [CLF_PARAM_FFN_NORM] = {"ffn/layer_norm", "gamma", "beta", true},
    [CLF_PARAM_FINAL_NORM] = {"layer_norm", "gamma", "beta", false},
    [CLF_PARAM_OUTPUT] = {"projection", "weight", "bias", false},
};

// Variables that may be there besides the parameters: attributes, with or without the side before
// them, and the matrices that others may be tied to.
static const struct {
    const char *name;
    bool must_be_zero;
} harmless[] = {
    {"activation", false},
    {"add_source_bos", false},
    {"add_source_eos", false},
    {"alibi", true},
    {"alibi_use_positive_positions", false},
    {"alignment_heads", false},
    {"alignment_layer", false},
    {"bos_token", false},
    {"embeddings/multiply_by_sqrt_depth", false},
    {"embeddings/weight", false},
    {"embeddings/weight_scale", false},
    {"embeddings_0/multiply_by_sqrt_depth", false},
    {"embeddings_0/weight", false},
    {"embeddings_0/weight_scale", false},
    {"embeddings_merge", false},
    {"eos_token", false},
    {"multi_query_attention", true},
    {"num_heads", false},
    {"pre_norm", false},
    {"projection/weight", false},
    {"projection/weight_scale", false},
    {"scale_alibi", false},
    {"scale_embeddings", false},
    {"start_from_zero_embedding", false},
    {"unk_token", false},
    {"user_decoder_start_tokens", false},
    {"with_source_bos", false},
    {"with_source_eos", false},
    {"with_target_bos", false},
};

const char *clf_ctranslate2_side(clf_side side) {
    return side == CLF_ENCODER ? "encoder" : "decoder";
}

void clf_ctranslate2_name(clf_param_kind kind, clf_side side, int layer, char name[CLF_NAME_SIZE]) {
    bool bias = layers[kind].layer == NULL;
    if (bias) kind--;
    const char *last = bias ? layers[kind].bias : layers[kind].weight;
    if (layers[kind].inside) {
        snprintf(name, CLF_NAME_SIZE, "%s/layer_%d/%s/%s", clf_ctranslate2_side(side), layer,
                 layers[kind].layer, last);
    } else {
        snprintf(name, CLF_NAME_SIZE, "%s/%s/%s", clf_ctranslate2_side(side), layers[kind].layer,
                 last);
    }
}

clf_stored *clf_ctranslate2_variable(const clf_store *store, clf_param_kind kind, clf_side side,
                                     int layer) {
    char name[CLF_NAME_SIZE];
    clf_ctranslate2_name(kind, side, layer, name);
    clf_stored *variable = clf_store_find(store, name);
    // An encoder numbers its embeddings, for it may have several: source features.
    if (!variable && kind == CLF_PARAM_EMBEDDING && side == CLF_ENCODER) {
        variable = clf_store_find(store, "encoder/embeddings_0/weight");
    }
    return variable;
}

// Quantised values: element = value * scale, one scale for a row (int8) or for all (int16).
static clf_status attach_scale(clf_store *store, const clf_stored *variable, clf_piece *piece) {
    // What int16 models used before they stored their scale.
    static const float old_int16_scale = 1000;
    char name[CLF_NAME_SIZE + 8];
    if (piece->dtype != CLF_I8 && piece->dtype != CLF_I16) return CLF_OK;
    snprintf(name, sizeof name, "%s_scale", variable->name);
    clf_stored *scale = clf_store_find(store, name);
    if (scale) return clf_store_scale(store, scale, piece);
    if (piece->dtype == CLF_I8) {
        return clf_fail(CLF_ERROR_FORMAT, "%s: %s is missing", variable->path, name);
    }
    piece->scales = &old_int16_scale;
    piece->scale_count = 1;
    piece->divide = true;
    return CLF_OK;
}

static clf_status fail_missing(const clf_format *format, const char *name) {
    return clf_fail(CLF_ERROR_FORMAT, "%s/model.bin: no variable %s", format->directory, name);
}

// The branch that is not activated comes second.
static clf_status find_gated(clf_format *format, const clf_param *param,
                             clf_piece pieces[CLF_MAX_PIECES], int *count) {
    static const char *const branches[] = {"linear_0", "linear_0_noact"};
    bool bias = param->kind == CLF_PARAM_FFN_IN_BIAS;
    int found = 0;
    for (int i = 0; i < 2; i++) {
        char name[CLF_NAME_SIZE];
        snprintf(name, sizeof name, "%s/layer_%d/ffn/%s/%s", clf_ctranslate2_side(param->side),
                 param->layer, branches[i], bias ? "bias" : "weight");
        clf_stored *variable = clf_store_find(&format->store, name);
        if (bias && !variable && found == 0) continue;
        if (!variable || found != i) return fail_missing(format, name);
        int rows = bias ? 1 : param->rows / 2, cols = bias ? param->cols / 2 : param->cols;
        CLF_TRY(clf_store_piece(variable, rows, cols, true, &pieces[i]));
        CLF_TRY(attach_scale(&format->store, variable, &pieces[i]));
        found++;
    }
    *count = found;
    return CLF_OK;
}

static bool is_bias(clf_param_kind kind) {
    return layers[kind].layer == NULL && strcmp(layers[kind - 1].bias, "bias") == 0;
}

clf_status clf_ctranslate2_find(clf_format *format, const clf_param *param,
                                clf_piece pieces[CLF_MAX_PIECES], int *count) {
    bool in = param->kind == CLF_PARAM_FFN_IN || param->kind == CLF_PARAM_FFN_IN_BIAS;
    if (in && format->config.gated) return find_gated(format, param, pieces, count);
    clf_stored *variable =
        clf_ctranslate2_variable(&format->store, param->kind, param->side, param->layer);
    if (!variable) {
        char name[CLF_NAME_SIZE];
        clf_ctranslate2_name(param->kind, param->side, param->layer, name);
        if (!is_bias(param->kind)) return fail_missing(format, name);
        *count = 0;
        return CLF_OK;
    }
    bool exact = param->kind != CLF_PARAM_POSITIONS;
    CLF_TRY(clf_store_piece(variable, param->rows, param->cols, exact, &pieces[0]));
    CLF_TRY(attach_scale(&format->store, variable, &pieces[0]));
    *count = 1;
    return CLF_OK;
}

static bool is_zero(const clf_stored *variable) {
    return variable->rank == 0 && variable->dtype == CLF_I8 && variable->data[0] == 0;
}

static bool is_harmless(const clf_stored *variable) {
    const char *name = variable->name;
    if (strncmp(name, "encoder/", 8) == 0 || strncmp(name, "decoder/", 8) == 0) name += 8;
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++) {
        if (strcmp(harmless[i].name, name) == 0) {
            return !harmless[i].must_be_zero || is_zero(variable);
        }
    }
    return false;
}

clf_status clf_ctranslate2_check(const clf_format *format) {
    for (size_t i = 0; i < format->store.tensors.count; i++) {
        const clf_stored *variable = &format->store.tensors.data[i];
        if (variable->used || is_harmless(variable)) continue;
        return clf_fail(CLF_ERROR_UNSUPPORTED,
                        "%s: the variable %s belongs to a kind of model that is not supported",
                        variable->path, variable->name);
    }
    return CLF_OK;
}
