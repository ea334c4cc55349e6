// SPDX-License-Identifier: MIT
// Hugging Face MarianMTModel directories, as transformers writes them.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/file.h"
#include "base/json_write.h"
#include "formats/huggingface.h"
#include "formats/safetensors_write.h"
#include "formats/saving.h"

static clf_status check(const clf_saving *s) {
    const clf_config *c = s->config;
    const clf_save_options *o = s->options;
    if (c->pre_norm) return clf_saving_refuse(s, "norms before its sublayers (pre-norm)");
    if (c->final_norm || c->embedding_norm) return clf_saving_refuse(s, "norms outside its layers");
    if (c->norm != CLF_NORM_LAYER || !c->norm_bias || c->norm_epsilon != 1e-5f) {
        return clf_saving_refuse(s,
                                 "norms other than LayerNorm with a bias and an epsilon of 1e-5");
    }
    if (!c->linear_bias) return clf_saving_refuse(s, "linear layers without biases");
    if (c->gated) return clf_saving_refuse(s, "gated feed-forward layers");
    if (!clf_huggingface_activation(c->activation)) return clf_saving_refuse(s, "no activation");
    if (c->positions != CLF_POSITIONS_SINUSOIDAL || c->position_offset != 0 ||
        c->position_denominator != c->width / 2.0) {
        return clf_saving_refuse(s, "positions other than Marian's sinusoids");
    }
    if (c->embedding_scale != 1 && c->embedding_scale != sqrtf((float)c->width)) {
        return clf_saving_refuse(s, "an embedding scale of its own");
    }
    if (c->start_token < 0) return clf_saving_refuse(s, "a decoder that starts without a token");
    if (c->share_embeddings && c->source_vocabulary != c->target_vocabulary) {
        return clf_saving_refuse(s, "a shared embedding for vocabularies of two sizes");
    }
    if (o->prepend_bos || o->no_eos)
        return clf_saving_refuse(s, "sources not ended by an end token");
    CLF_TRY(clf_saving_check_stack(s, &c->encoder));
    return clf_saving_check_stack(s, &c->decoder);
}

// ---- configuration ------------------------------------------------------------------------------

static bool add_int(cJSON *object, const char *key, int value) {
    return cJSON_AddNumberToObject(object, key, value) != NULL;
}

static bool add_bool(cJSON *object, const char *key, bool value) {
    return cJSON_AddBoolToObject(object, key, value) != NULL;
}

static bool add_string(cJSON *object, const char *key, const char *value) {
    return cJSON_AddStringToObject(object, key, value) != NULL;
}

// A token, null if there is none.
static bool add_token(cJSON *object, const char *key, int token) {
    return token >= 0 ? add_int(object, key, token) : cJSON_AddNullToObject(object, key) != NULL;
}

// The tokens that both files name.
static bool add_tokens(cJSON *object, const clf_saving *s) {
    const clf_generation *g = s->generation;
    bool good = add_token(object, "pad_token_id", s->config->pad_token) &&
                add_int(object, "bos_token_id", g->eos[0]) &&
                add_int(object, "decoder_start_token_id", s->config->start_token);
    if (!good || g->eos_count == 1) return good && add_int(object, "eos_token_id", g->eos[0]);
    return cJSON_AddItemToObject(object, "eos_token_id",
                                 cJSON_CreateIntArray(g->eos, g->eos_count));
}

static bool add_shape(cJSON *object, const clf_config *c) {
    return add_int(object, "d_model", c->width) &&
           add_int(object, "encoder_layers", c->encoder.layers) &&
           add_int(object, "decoder_layers", c->decoder.layers) &&
           add_int(object, "encoder_attention_heads", c->encoder.heads) &&
           add_int(object, "decoder_attention_heads", c->decoder.heads) &&
           add_int(object, "encoder_ffn_dim", c->encoder.ffn) &&
           add_int(object, "decoder_ffn_dim", c->decoder.ffn) &&
           add_int(object, "vocab_size", c->source_vocabulary) &&
           add_int(object, "decoder_vocab_size", c->target_vocabulary) &&
           add_int(object, "max_position_embeddings", c->max_positions) &&
           add_string(object, "activation_function", clf_huggingface_activation(c->activation)) &&
           add_bool(object, "scale_embedding", c->embedding_scale != 1) &&
           add_bool(object, "share_encoder_decoder_embeddings", c->share_embeddings) &&
           add_bool(object, "tie_word_embeddings", c->tie_output) &&
           add_bool(object, "static_position_embeddings", true);
}

// normalize_before and its like are for other readers: transformers ignores them.
static clf_status write_config(const clf_saving *s) {
    static const char *const architecture = "MarianMTModel";
    const clf_save_options *o = s->options;
    cJSON *root = cJSON_CreateObject();
    bool good =
        root && add_string(root, "model_type", "marian") &&
        cJSON_AddItemToObject(root, "architectures", cJSON_CreateStringArray(&architecture, 1)) &&
        add_shape(root, s->config) && add_tokens(root, s) &&
        add_token(root, "forced_eos_token_id", s->generation->forced_eos) &&
        clf_saving_add_float(root, "dropout", o->dropout) &&
        clf_saving_add_float(root, "attention_dropout", o->attention_dropout) &&
        clf_saving_add_float(root, "activation_dropout", o->activation_dropout) &&
        clf_saving_add_float(root, "init_std", 0.02f) &&
        add_bool(root, "is_encoder_decoder", true) && add_bool(root, "normalize_before", false) &&
        add_bool(root, "normalize_embedding", false) &&
        add_bool(root, "add_final_layer_norm", false) &&
        add_string(root, "torch_dtype", o->weights == CLF_F16 ? "float16" : "float32");
    if (!good) {
        cJSON_Delete(root);
        root = NULL;
    }
    return clf_json_write(s->directory, "config.json", root);
}

static bool add_early_stopping(cJSON *root, int value) {
    return value == 2 ? add_string(root, "early_stopping", "never")
                      : add_bool(root, "early_stopping", value == 1);
}

// Each suppressed token as a bad word of its own.
static bool add_suppressed(cJSON *root, const clf_generation *g) {
    if (g->suppress_count == 0) return true;
    cJSON *words = cJSON_AddArrayToObject(root, "bad_words_ids");
    bool good = words != NULL;
    for (int i = 0; i < g->suppress_count && good; i++) {
        good = cJSON_AddItemToArray(words, cJSON_CreateIntArray(&g->suppress[i], 1));
    }
    return good;
}

bool clf_saving_add_search(cJSON *object, const clf_generation *g) {
    bool good = add_int(object, "num_beams", g->num_beams) &&
                clf_saving_add_float(object, "length_penalty", g->length_penalty) &&
                add_early_stopping(object, g->early_stopping);
    if (g->max_length > 0) good = good && add_int(object, "max_length", g->max_length);
    if (g->max_new_tokens > 0) good = good && add_int(object, "max_new_tokens", g->max_new_tokens);
    if (g->min_length > 0) good = good && add_int(object, "min_length", g->min_length);
    return good;
}

static clf_status write_generation(const clf_saving *s) {
    const clf_generation *g = s->generation;
    cJSON *root = cJSON_CreateObject();
    bool good = root && add_tokens(root, s) && add_suppressed(root, g) &&
                clf_saving_add_search(root, g) &&
                add_bool(root, "renormalize_logits", g->renormalize);
    if (g->forced_bos >= 0) good = good && add_int(root, "forced_bos_token_id", g->forced_bos);
    if (g->forced_eos >= 0) good = good && add_int(root, "forced_eos_token_id", g->forced_eos);
    if (!good) {
        cJSON_Delete(root);
        root = NULL;
    }
    return clf_json_write(s->directory, "generation_config.json", root);
}

// ---- text ---------------------------------------------------------------------------------------

static clf_status write_vocabulary(const clf_saving *s, const clf_vocabulary *vocabulary, int size,
                                   const char *name) {
    cJSON *root = cJSON_CreateObject();
    for (int id = 0; id < size && root; id++) {
        const char *piece = clf_vocabulary_piece(vocabulary, id);
        // Of equal pieces in a list the first counts.
        if (!piece || clf_vocabulary_id(vocabulary, piece, strlen(piece)) != id) continue;
        if (!add_int(root, piece, id)) {
            cJSON_Delete(root);
            root = NULL;
        }
    }
    return clf_json_write(s->directory, name, root);
}

static clf_status write_tokenizer(const clf_saving *s, bool separate) {
    const clf_config *c = s->config;
    const char *eos = clf_vocabulary_piece(s->target, s->generation->eos[0]);
    const char *pad = c->pad_token >= 0 ? clf_vocabulary_piece(s->source, c->pad_token) : NULL;
    cJSON *root = cJSON_CreateObject();
    // There is no class for segmented text; huggingface.c reads this word for it.
    bool good = root &&
                (s->options->source_spm ? add_string(root, "tokenizer_class", "MarianTokenizer")
                                        : add_bool(root, "segmented", true)) &&
                add_int(root, "model_max_length", c->max_positions) &&
                add_string(root, "eos_token", eos ? eos : "</s>") &&
                add_string(root, "unk_token", s->options->unk ? s->options->unk : "<unk>") &&
                add_string(root, "pad_token", pad ? pad : "<pad>") &&
                add_bool(root, "separate_vocabs", separate);
    if (!good) {
        cJSON_Delete(root);
        root = NULL;
    }
    return clf_json_write(s->directory, "tokenizer_config.json", root);
}

static clf_status write_text(const clf_saving *s) {
    const clf_save_options *o = s->options;
    const clf_config *c = s->config;
    bool separate = !c->share_embeddings && o->target_vocabulary;
    CLF_TRY(clf_saving_spms(s));
    CLF_TRY(write_vocabulary(s, s->source, c->source_vocabulary, "vocab.json"));
    if (separate) {
        CLF_TRY(write_vocabulary(s, s->target, c->target_vocabulary, "target_vocab.json"));
    } else {
        clf_file_remove_in(s->directory, "target_vocab.json");
    }
    return write_tokenizer(s, separate);
}

// ---- tensors ------------------------------------------------------------------------------------

// The tensors of a parameter, which share its values: its parts one after another, or the whole
// under several names. transformers keeps three embeddings where the output is not tied.
static int tensor_names(const clf_config *c, const clf_param *param, bool *parts,
                        char names[CLF_MAX_PIECES][CLF_NAME_SIZE]) {
    static const char *const shared[] = {"model.shared.weight", "model.encoder.embed_tokens.weight",
                                         "model.decoder.embed_tokens.weight"};
    int count = 1;
    *parts = false;
    switch (param->kind) {
    case CLF_PARAM_EMBEDDING:
        if (c->share_embeddings) count = c->tie_output ? 1 : 3;
        for (int i = 0; i < count; i++) {
            const char *name = c->share_embeddings ? shared[i] : shared[1 + (int)param->side];
            strcpy(names[i], name);
        }
        return count;
    case CLF_PARAM_OUTPUT: strcpy(names[0], "lm_head.weight"); return 1;
    case CLF_PARAM_OUTPUT_BIAS: strcpy(names[0], "final_logits_bias"); return 1;
    default: *parts = true; return clf_huggingface_names(param, names);
    }
}

static clf_status declare(const clf_saving *s, const clf_param *param, clf_safetensors_writer *w) {
    char names[CLF_MAX_PIECES][CLF_NAME_SIZE];
    bool parts;
    int count = tensor_names(s->config, param, &parts, names);
    int64_t share = parts ? count : 1, shape[2] = {param->rows / share, param->cols};
    // Vectors have one dimension, but for the output's bias.
    int rank = param->matrix || !parts ? 2 : 1;
    if (!param->matrix) shape[0] = parts ? param->cols / share : 1;
    for (int i = 0; i < count; i++) {
        CLF_TRY(clf_safetensors_declare(w, names[i], s->options->weights, shape, rank));
    }
    return CLF_OK;
}

static clf_status put(clf_saving *s, const clf_param *param, clf_safetensors_writer *w) {
    char names[CLF_MAX_PIECES][CLF_NAME_SIZE];
    bool parts, half = s->options->weights == CLF_F16;
    int count = tensor_names(s->config, param, &parts, names);
    size_t size = (size_t)param->rows * (size_t)param->cols;
    CLF_TRY(clf_saving_read(s, param));
    if (half && !clf_values_to_half(s->data, size, s->packed)) {
        return clf_saving_fail_range(s, param->name, "f16");
    }
    for (int i = 0; i < (parts ? 1 : count); i++) {
        CLF_TRY(clf_safetensors_put(w, half ? s->packed : s->data,
                                    size * (size_t)clf_dtype_size(s->options->weights)));
    }
    return CLF_OK;
}

static clf_status write_tensors(clf_saving *s) {
    clf_safetensors_writer *w;
    char *path = clf_path_join(s->directory, "model.safetensors");
    if (!path) return clf_fail_memory();
    clf_status status = clf_safetensors_create(path, &w);
    free(path);
    CLF_TRY(status);
    status = clf_safetensors_note(w, "format", "pt");
    for (int i = 0; i < s->count && status == CLF_OK; i++) status = declare(s, &s->params[i], w);
    for (int i = 0; i < s->count && status == CLF_OK; i++) status = put(s, &s->params[i], w);
    if (status == CLF_OK) return clf_safetensors_finish(w);
    clf_safetensors_cancel(w);
    return status;
}

static clf_status write_directory(clf_saving *s) {
    CLF_TRY(write_text(s));
    CLF_TRY(write_generation(s));
    CLF_TRY(write_config(s));
    clf_file_remove_in(s->directory, "model.bin"); // which would be taken first
    return write_tensors(s);
}

const clf_saving_kind clf_save_huggingface = {.check = check, .write = write_directory};
