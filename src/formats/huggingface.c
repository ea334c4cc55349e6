// SPDX-License-Identifier: MIT
// Hugging Face MarianMTModel directories, OPUS-MT's among them. The model itself is always
// post-norm, without a norm after the embedding or after the last layer, whatever
// "normalize_before" and its like in config.json say: transformers ignores them, and so do we.
#include "formats/huggingface.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/file.h"
#include "formats/safetensors.h"

enum { MAX_SIZE = 1 << 24 }; // of any number in config.json; clf_config_check has closer bounds

static clf_status require_int(const clf_json *json, const char *key, int *value) {
    *value = -1;
    CLF_TRY(clf_json_int(json, key, 1, MAX_SIZE, value));
    if (*value > 0) return CLF_OK;
    return clf_fail(CLF_ERROR_FORMAT, "%s: \"%s\" is missing", json->path, key);
}

static clf_status read_stack(const clf_json *json, const char *side, int width,
                             clf_stack_config *stack) {
    char key[64];
    snprintf(key, sizeof key, "%s_layers", side);
    CLF_TRY(require_int(json, key, &stack->layers));
    snprintf(key, sizeof key, "%s_ffn_dim", side);
    CLF_TRY(require_int(json, key, &stack->ffn));
    snprintf(key, sizeof key, "%s_attention_heads", side);
    CLF_TRY(require_int(json, key, &stack->heads));
    if (width % stack->heads != 0) {
        return clf_fail(CLF_ERROR_FORMAT, "%s: %d heads (\"%s\") do not divide a width of %d",
                        json->path, stack->heads, key, width);
    }
    stack->head_width = width / stack->heads;
    stack->attention_scale = 1 / sqrtf((float)stack->head_width);
    return CLF_OK;
}

// Of several names the first is written.
static const struct {
    const char *name;
    clf_activation activation;
} activations[] = {
    {"relu", CLF_ACT_RELU},
    {"gelu", CLF_ACT_GELU},
    {"gelu_python", CLF_ACT_GELU},
    {"gelu_new", CLF_ACT_GELU_TANH},
    {"gelu_fast", CLF_ACT_GELU_TANH},
    {"gelu_pytorch_tanh", CLF_ACT_GELU_TANH},
    {"quick_gelu", CLF_ACT_GELU_SIGMOID},
    {"swish", CLF_ACT_SILU},
    {"silu", CLF_ACT_SILU},
};

const char *clf_huggingface_activation(clf_activation activation) {
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++) {
        if (activations[i].activation == activation) return activations[i].name;
    }
    return NULL;
}

static clf_status read_activation(const clf_json *json, clf_activation *activation) {
    const cJSON *item = clf_json_find(json, "activation_function");
    const char *name = item ? cJSON_GetStringValue(item) : "gelu"; // the library's default
    for (size_t i = 0; name && i < sizeof activations / sizeof *activations; i++) {
        if (strcmp(activations[i].name, name) == 0) {
            *activation = activations[i].activation;
            return CLF_OK;
        }
    }
    return clf_fail(CLF_ERROR_UNSUPPORTED, "%s: the activation function \"%.40s\" is not supported",
                    json->path, name ? name : "?");
}

static clf_status check_type(const clf_json *json) {
    const char *type = cJSON_GetStringValue(clf_json_find(json, "model_type"));
    if (!type) return clf_fail(CLF_ERROR_FORMAT, "%s: \"model_type\" is missing", json->path);
    if (strcmp(type, "marian") == 0) return CLF_OK;
    return clf_fail(CLF_ERROR_UNSUPPORTED,
                    "%s: models of the type \"%.40s\" are not supported; \"marian\" is", json->path,
                    type);
}

static clf_status read_config(const clf_json *json, clf_config *c) {
    bool scale = false;
    *c = (clf_config){
        .family = "marian",
        .share_embeddings = true,
        .tie_output = true,
        .linear_bias = true,
        .norm = CLF_NORM_LAYER,
        .norm_bias = true,
        .norm_epsilon = 1e-5f,
        .positions = CLF_POSITIONS_SINUSOIDAL,
        .max_positions = 1024,
    };
    CLF_TRY(check_type(json));
    CLF_TRY(require_int(json, "d_model", &c->width));
    CLF_TRY(read_stack(json, "encoder", c->width, &c->encoder));
    CLF_TRY(read_stack(json, "decoder", c->width, &c->decoder));
    CLF_TRY(read_activation(json, &c->activation));
    CLF_TRY(clf_json_bool(json, "scale_embedding", &scale));
    CLF_TRY(clf_json_bool(json, "share_encoder_decoder_embeddings", &c->share_embeddings));
    CLF_TRY(clf_json_bool(json, "tie_word_embeddings", &c->tie_output));
    CLF_TRY(clf_json_int(json, "max_position_embeddings", 1, MAX_SIZE, &c->max_positions));
    CLF_TRY(require_int(json, "vocab_size", &c->source_vocabulary));
    c->target_vocabulary = c->source_vocabulary;
    if (!c->share_embeddings) {
        CLF_TRY(clf_json_int(json, "decoder_vocab_size", 1, MAX_SIZE, &c->target_vocabulary));
    }
    c->embedding_scale = scale ? sqrtf((float)c->width) : 1;
    c->position_denominator = c->width / 2.0;
    return CLF_OK;
}

// Matrices that are one in the model are stored once, under whichever of their names the writer
// kept.
static clf_stored *find_embedding(const clf_store *store, const clf_config *c, clf_side side) {
    static const char *const sides[] = {"model.encoder.embed_tokens.weight",
                                        "model.decoder.embed_tokens.weight"};
    const char *names[4] = {sides[side], "model.shared.weight"};
    int count = 2;
    if (c->share_embeddings) names[count++] = sides[1 - side];
    if (c->tie_output && (c->share_embeddings || side == CLF_DECODER)) {
        names[count++] = "lm_head.weight";
    }
    for (int i = 0; i < count; i++) {
        clf_stored *tensor = clf_store_find(store, names[i]);
        if (tensor) return tensor;
    }
    return NULL;
}

static bool same_values(const clf_stored *a, const clf_stored *b) {
    if (a == b) return true;
    if (!a || !b || !a->usable || !b->usable || a->dtype != b->dtype || a->rank != b->rank) {
        return false;
    }
    size_t size = (size_t)clf_dtype_size(a->dtype);
    for (int i = 0; i < a->rank; i++) {
        if (a->shape[i] != b->shape[i]) return false;
        size *= (size_t)a->shape[i];
    }
    return memcmp(a->data, b->data, size) == 0;
}

// transformers ties all embeddings or none: without tie_word_embeddings a file holds a matrix for
// each side even though its configuration shares them, and they may differ.
static void resolve_sharing(const clf_store *store, clf_config *c) {
    if (c->share_embeddings && !c->tie_output) {
        c->share_embeddings = same_values(find_embedding(store, c, CLF_ENCODER),
                                          find_embedding(store, c, CLF_DECODER));
    }
}

// `*segmented`: text comes in pieces, and there are no SentencePiece models. Only clformer writes
// that: without its word for it their absence is a mistake.
static clf_status read_tokenizer_config(clf_format *format, bool *segmented) {
    clf_format_text *text = &format->text;
    clf_json json = {0};
    char *path = NULL;
    text->unk = strdup("<unk>");
    text->eos = strdup("</s>");
    if (!text->unk || !text->eos) return clf_fail_memory();
    CLF_TRY(clf_format_locate(format, "tokenizer_config.json", &path));
    if (!path) return CLF_OK;
    clf_status status = clf_json_open(path, CLF_CONFIG_LIMIT, &json);
    if (status == CLF_OK) status = clf_json_string(&json, "unk_token", &text->unk);
    if (status == CLF_OK) status = clf_json_string(&json, "eos_token", &text->eos);
    if (status == CLF_OK) status = clf_json_bool(&json, "segmented", segmented);
    clf_json_close(&json);
    free(path);
    return status;
}

static clf_status read_tokenizer(clf_format *format) {
    clf_format_text *text = &format->text;
    bool segmented = false;
    CLF_TRY(read_tokenizer_config(format, &segmented));
    if (!segmented) {
        CLF_TRY(clf_format_require(format, "source.spm", &text->source_spm));
        CLF_TRY(clf_format_require(format, "target.spm", &text->target_spm));
    }
    CLF_TRY(clf_format_require(format, "vocab.json", &text->source_vocabulary));
    if (!format->config.share_embeddings) {
        CLF_TRY(clf_format_locate(format, "target_vocab.json", &text->target_vocabulary));
    }
    text->append_eos = text->language_codes = true;
    return CLF_OK;
}

static clf_status open_tensors(clf_format *format) {
    const char *directory = format->directory;
    char *whole = NULL, *index = NULL, *pickle = NULL;
    clf_status status = clf_format_locate(format, "model.safetensors", &whole);
    if (status == CLF_OK) {
        status = clf_format_locate(format, "model.safetensors.index.json", &index);
    }
    if (status == CLF_OK) status = clf_format_locate(format, "pytorch_model.bin", &pickle);
    bool found = whole || index;
    if (status == CLF_OK && !found && pickle) {
        status = clf_fail(CLF_ERROR_UNSUPPORTED,
                          "%s: a pickle, which clformer does not read; convert it once: python3 -c "
                          "\"from transformers import MarianMTModel as M; "
                          "M.from_pretrained('%s').save_pretrained('%s')\"",
                          pickle, directory, directory);
    } else if (status == CLF_OK && !found) {
        status = clf_fail(CLF_ERROR_IO, "%s/model.safetensors: missing", directory);
    }
    free(whole);
    free(index);
    free(pickle);
    CLF_TRY(status);
    CLF_TRY(clf_safetensors_open(directory, &format->store));
    return clf_store_sort(&format->store);
}

static clf_status open_marian(clf_format *format) {
    clf_config *c = &format->config;
    char *path = NULL;
    clf_json json = {0};
    CLF_TRY(clf_format_require(format, "config.json", &path));
    clf_status status = clf_json_open(path, CLF_CONFIG_LIMIT, &json);
    free(path);
    if (status == CLF_OK) status = read_config(&json, c);
    if (status == CLF_OK) status = clf_config_check(c, json.path);
    if (status == CLF_OK) status = clf_huggingface_generation(format, &json);
    if (status == CLF_OK) status = open_tensors(format);
    clf_json_close(&json);
    CLF_TRY(status);
    CLF_TRY(read_tokenizer(format));
    resolve_sharing(&format->store, c);
    c->output_bias = clf_store_find(&format->store, "final_logits_bias") != NULL;
    return CLF_OK;
}

// The tensors that make up a parameter of a layer, by the layer's own names.
static const char *const parts[CLF_PARAM_KINDS][4] = {
    [CLF_PARAM_SELF_QKV] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"},
    [CLF_PARAM_SELF_OUT] = {"self_attn.out_proj"},
    [CLF_PARAM_SELF_NORM] = {"self_attn_layer_norm"},
    [CLF_PARAM_CROSS_Q] = {"encoder_attn.q_proj"},
    [CLF_PARAM_CROSS_KV] = {"encoder_attn.k_proj", "encoder_attn.v_proj"},
    [CLF_PARAM_CROSS_OUT] = {"encoder_attn.out_proj"},
    [CLF_PARAM_CROSS_NORM] = {"encoder_attn_layer_norm"},
    [CLF_PARAM_FFN_IN] = {"fc1"},
    [CLF_PARAM_FFN_OUT] = {"fc2"},
    [CLF_PARAM_FFN_NORM] = {"final_layer_norm"},
};

static clf_status find_whole(const clf_format *format, const clf_param *param, clf_stored *tensor,
                             const char *name, clf_piece *piece) {
    if (tensor) return clf_store_piece(tensor, param->rows, param->cols, true, piece);
    return clf_fail(CLF_ERROR_FORMAT, "%s: the model files hold no %s", format->directory, name);
}

int clf_huggingface_names(const clf_param *param, char names[CLF_MAX_PIECES][CLF_NAME_SIZE]) {
    // The bias is the kind after the weight.
    bool bias = parts[param->kind][0] == NULL;
    const char *const *stems = parts[param->kind - (bias && param->kind > 0 ? 1 : 0)];
    int count = 0;
    for (; stems[count]; count++) {
        snprintf(names[count], CLF_NAME_SIZE, "model.%s.layers.%d.%s.%s",
                 param->side == CLF_ENCODER ? "encoder" : "decoder", param->layer, stems[count],
                 bias ? "bias" : "weight");
    }
    return count;
}

static clf_status find_parts(const clf_format *format, const clf_param *param,
                             clf_piece pieces[CLF_MAX_PIECES], int *count) {
    char names[CLF_MAX_PIECES][CLF_NAME_SIZE];
    int n = clf_huggingface_names(param, names);
    clf_param part = *param;
    if (param->rows == 1) {
        part.cols /= n;
    } else {
        part.rows /= n;
    }
    for (int i = 0; i < n; i++) {
        clf_stored *tensor = clf_store_find(&format->store, names[i]);
        CLF_TRY(find_whole(format, &part, tensor, names[i], &pieces[i]));
    }
    *count = n;
    return CLF_OK;
}

static clf_status find_marian(clf_format *format, const clf_param *param,
                              clf_piece pieces[CLF_MAX_PIECES], int *count) {
    const clf_store *store = &format->store;
    clf_stored *tensor;
    const char *name;
    switch (param->kind) {
    case CLF_PARAM_EMBEDDING:
        name = param->side == CLF_ENCODER ? "model.encoder.embed_tokens.weight"
                                          : "model.decoder.embed_tokens.weight";
        tensor = find_embedding(store, &format->config, param->side);
        break;
    case CLF_PARAM_OUTPUT:
        name = "lm_head.weight";
        tensor = clf_store_find(store, name);
        break;
    case CLF_PARAM_OUTPUT_BIAS:
        name = "final_logits_bias";
        tensor = clf_store_find(store, name);
        break;
    default: return find_parts(format, param, pieces, count);
    }
    *count = 1;
    return find_whole(format, param, tensor, name, &pieces[0]);
}

const clf_format_kind clf_huggingface = {.open = open_marian, .find = find_marian};
