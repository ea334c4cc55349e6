// SPDX-License-Identifier: MIT
// CTranslate2 directories, converted by any version of that program back to its first.
#include "formats/ctranslate2.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/file.h"
#include "formats/huggingface.h"
#include "formats/modelbin.h"

enum {
    LATEST_REVISION = 7,      // of TransformerSpec
    FIRST_WITH_CONFIG = 6,    // the version of model.bin that came with config.json
    MAX_LAYERS = 1 << 10,     // clf_config_check refuses more
    SINUSOID_POSITIONS = 512, // a computed table has no end of its own
    CONFIG_LIMIT = 4 << 20,
};

// What config.json says; older files keep it in attributes.
typedef struct settings {
    float norm_epsilon; // 0: not said
    char *start;        // NULL: the caller must say
    bool add_bos, add_eos;
} settings;

static clf_status check_head(const char *path, const clf_modelbin *head) {
    static const char *const specs[] = {"", "TransformerBase", "TransformerBig", "TransformerSpec"};
    bool known = false;
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        known = known || strcmp(specs[i], head->spec) == 0;
    }
    if (known && head->revision <= LATEST_REVISION) return CLF_OK;
    return clf_fail(CLF_ERROR_UNSUPPORTED,
                    "%s: a \"%s\" of revision %u is not supported; \"TransformerSpec\" up to "
                    "revision %d is",
                    path, head->spec, head->revision, LATEST_REVISION);
}

// An attribute of a side; before revision 5 both sides had it together. `fallback` if it is absent.
static clf_status attribute(const clf_store *store, const char *scope, const char *name,
                            double fallback, double *value) {
    char full[CLF_NAME_SIZE];
    snprintf(full, sizeof full, "%s/%s", scope, name);
    const clf_stored *variable = clf_store_find(store, full);
    if (!variable) variable = clf_store_find(store, name);
    *value = fallback;
    if (!variable) return CLF_OK;
    float real;
    int32_t word;
    int16_t half;
    if (variable->rank == 0 && variable->dtype == CLF_I8) {
        *value = (signed char)variable->data[0];
    } else if (variable->rank == 0 && variable->dtype == CLF_I16) {
        memcpy(&half, variable->data, sizeof half);
        *value = half;
    } else if (variable->rank == 0 && variable->dtype == CLF_I32) {
        memcpy(&word, variable->data, sizeof word);
        *value = word;
    } else if (variable->rank == 0 && variable->dtype == CLF_F32) {
        memcpy(&real, variable->data, sizeof real);
        *value = real;
    } else {
        return clf_fail(CLF_ERROR_FORMAT, "%s: %s is not a single number", variable->path,
                        variable->name);
    }
    return CLF_OK;
}

static clf_status flag(const clf_store *store, const char *name, bool fallback, bool *value) {
    double number;
    CLF_TRY(attribute(store, "", name, fallback, &number));
    *value = number != 0;
    return CLF_OK;
}

// An attribute that is text, if it is there.
static clf_status text_attribute(const clf_store *store, const char *name, char **text) {
    const clf_stored *variable = clf_store_find(store, name);
    if (!variable) return CLF_OK;
    if (variable->rank != 1 || variable->dtype != CLF_I8 || variable->shape[0] > 256) {
        return clf_fail(CLF_ERROR_FORMAT, "%s: %s is not a short text", variable->path, name);
    }
    char *copy = strndup((const char *)variable->data, (size_t)variable->shape[0]);
    if (!copy) return clf_fail_memory();
    free(*text);
    *text = copy;
    return CLF_OK;
}

static clf_status copy_string(const char *from, char **to) {
    char *copy = strdup(from);
    if (!copy) return clf_fail_memory();
    free(*to);
    *to = copy;
    return CLF_OK;
}

static clf_status read_old_settings(clf_format *format, settings *s) {
    const clf_store *store = &format->store;
    clf_format_text *text = &format->text;
    bool silent, with_bos;
    CLF_TRY(text_attribute(store, "unk_token", &text->unk));
    CLF_TRY(text_attribute(store, "bos_token", &text->bos));
    CLF_TRY(text_attribute(store, "eos_token", &text->eos));
    CLF_TRY(flag(store, "with_source_bos", false, &s->add_bos));
    CLF_TRY(flag(store, "with_source_eos", false, &s->add_eos));
    CLF_TRY(flag(store, "user_decoder_start_tokens", false, &silent));
    CLF_TRY(flag(store, "with_target_bos", true, &with_bos));
    if (silent) return CLF_OK;
    return copy_string(with_bos ? text->bos : text->eos, &s->start);
}

static clf_status read_new_settings(clf_format *format, settings *s) {
    clf_format_text *text = &format->text;
    clf_json json = {0};
    char *path = NULL;
    CLF_TRY(clf_format_require(format, "config.json", &path));
    clf_status status = clf_json_open(path, CONFIG_LIMIT, &json);
    free(path);
    CLF_TRY(status);
    if (status == CLF_OK) status = clf_json_string(&json, "unk_token", &text->unk);
    if (status == CLF_OK) status = clf_json_string(&json, "bos_token", &text->bos);
    if (status == CLF_OK) status = clf_json_string(&json, "eos_token", &text->eos);
    if (status == CLF_OK) status = clf_json_string(&json, "decoder_start_token", &s->start);
    if (status == CLF_OK) status = clf_json_bool(&json, "add_source_bos", &s->add_bos);
    if (status == CLF_OK) status = clf_json_bool(&json, "add_source_eos", &s->add_eos);
    if (status == CLF_OK) status = clf_json_float(&json, "layer_norm_epsilon", &s->norm_epsilon);
    clf_json_close(&json);
    return status;
}

static clf_status read_settings(clf_format *format, const clf_modelbin *head, settings *s) {
    CLF_TRY(copy_string("<unk>", &format->text.unk));
    CLF_TRY(copy_string("<s>", &format->text.bos));
    CLF_TRY(copy_string("</s>", &format->text.eos));
    return head->version < FIRST_WITH_CONFIG ? read_old_settings(format, s)
                                             : read_new_settings(format, s);
}

// ---- the model ----------------------------------------------------------------------------------

// What both sides must agree on.
typedef struct side_facts {
    bool pre_norm, gated, final_norm, embedding_norm, learned;
    double activation, embedding_scale;
    int64_t positions;
} side_facts;

static clf_status need(const clf_format *format, clf_param_kind kind, clf_side side, int layer,
                       clf_stored **variable) {
    char name[CLF_NAME_SIZE];
    *variable = clf_ctranslate2_variable(&format->store, kind, side, layer);
    clf_ctranslate2_name(kind, side, layer, name);
    if (!*variable) {
        return clf_fail(CLF_ERROR_FORMAT, "%s/model.bin: no variable %s", format->directory, name);
    }
    if ((*variable)->rank < 1 || (*variable)->shape[0] > INT32_MAX ||
        (*variable)->shape[(*variable)->rank - 1] > INT32_MAX) {
        return clf_fail(CLF_ERROR_FORMAT, "%s: %s has an impossible shape", (*variable)->path,
                        name);
    }
    return CLF_OK;
}

// Rows of the first layer's feed-forward weight and other sizes; clf_params_list checks the rest.
static clf_status read_stack(const clf_format *format, clf_side side, double old_heads,
                             clf_stack_config *stack) {
    const clf_store *store = &format->store;
    int width = format->config.width;
    clf_stored *variable;
    double heads;
    CLF_TRY(attribute(store, clf_ctranslate2_side(side), "num_heads", old_heads, &heads));
    if (!(heads >= 1) || heads > width || width % (int)heads != 0) {
        return clf_fail(CLF_ERROR_FORMAT, "%s/model.bin: %g heads do not divide a width of %d",
                        format->directory, heads, width);
    }
    CLF_TRY(need(format, CLF_PARAM_FFN_IN, side, 0, &variable));
    stack->ffn = (int)variable->shape[variable->rank > 1 ? variable->rank - 2 : 0];
    stack->heads = (int)heads;
    stack->head_width = width / stack->heads;
    stack->attention_scale = 1 / sqrtf((float)stack->head_width);
    stack->layers = 0;
    while (stack->layers < MAX_LAYERS &&
           clf_ctranslate2_variable(store, CLF_PARAM_SELF_QKV, side, stack->layers)) {
        stack->layers++;
    }
    return CLF_OK;
}

// A flag (multiply by the root of the width, or not) or the scale itself.
static clf_status read_scale(const clf_format *format, const char *side, double *scale) {
    const clf_store *store = &format->store;
    char name[CLF_NAME_SIZE];
    double root = sqrt(format->config.width);
    snprintf(name, sizeof name, "%s/scale_embeddings", side);
    const clf_stored *variable = clf_store_find(store, name);
    if (variable && variable->dtype == CLF_F32) {
        return attribute(store, side, "scale_embeddings", 1, scale);
    }
    CLF_TRY(attribute(store, side, "embeddings/multiply_by_sqrt_depth", 1, scale));
    CLF_TRY(attribute(store, side, "scale_embeddings", *scale, scale));
    *scale = *scale != 0 ? root : 1;
    return CLF_OK;
}

static clf_status read_side(const clf_format *format, clf_side side, side_facts *facts) {
    const clf_store *store = &format->store;
    const char *name = clf_ctranslate2_side(side);
    char gate[CLF_NAME_SIZE];
    double pre_norm;
    clf_stored *positions = clf_ctranslate2_variable(store, CLF_PARAM_POSITIONS, side, 0);
    *facts = (side_facts){0};
    CLF_TRY(attribute(store, name, "pre_norm", 1, &pre_norm));
    CLF_TRY(attribute(store, name, "activation", 0, &facts->activation));
    CLF_TRY(read_scale(format, name, &facts->embedding_scale));
    if (positions) CLF_TRY(need(format, CLF_PARAM_POSITIONS, side, 0, &positions));
    snprintf(gate, sizeof gate, "%s/layer_0/ffn/linear_0_noact/weight", name);
    facts->pre_norm = pre_norm != 0;
    facts->gated = clf_store_find(store, gate) != NULL;
    facts->final_norm = clf_ctranslate2_variable(store, CLF_PARAM_FINAL_NORM, side, 0) != NULL;
    facts->embedding_norm =
        clf_ctranslate2_variable(store, CLF_PARAM_EMBEDDING_NORM, side, 0) != NULL;
    facts->learned = positions != NULL;
    facts->positions = positions ? positions->shape[0] : SINUSOID_POSITIONS;
    return CLF_OK;
}

static clf_status join_sides(const clf_format *format, clf_config *c) {
    static const clf_activation activations[] = {CLF_ACT_RELU, CLF_ACT_GELU_TANH, CLF_ACT_SILU,
                                                 CLF_ACT_GELU, CLF_ACT_GELU_SIGMOID};
    side_facts e, d;
    CLF_TRY(read_side(format, CLF_ENCODER, &e));
    CLF_TRY(read_side(format, CLF_DECODER, &d));
    if (e.pre_norm != d.pre_norm || e.gated != d.gated || e.final_norm != d.final_norm ||
        e.embedding_norm != d.embedding_norm || e.learned != d.learned ||
        e.activation != d.activation || e.embedding_scale != d.embedding_scale) {
        return clf_fail(CLF_ERROR_UNSUPPORTED,
                        "%s/model.bin: encoder and decoder differ in norms, positions, activation, "
                        "gates or scale, which is not supported",
                        format->directory);
    }
    if (!(e.activation >= 0 && e.activation < sizeof activations / sizeof *activations)) {
        return clf_fail(CLF_ERROR_UNSUPPORTED,
                        "%s/model.bin: activation number %g is not supported", format->directory,
                        e.activation);
    }
    c->pre_norm = e.pre_norm;
    c->gated = e.gated;
    c->final_norm = e.final_norm;
    c->embedding_norm = e.embedding_norm;
    c->activation = activations[(int)e.activation];
    c->embedding_scale = (float)e.embedding_scale;
    c->positions = e.learned ? CLF_POSITIONS_LEARNED : CLF_POSITIONS_SINUSOIDAL;
    c->max_positions = (int)(e.positions < d.positions ? e.positions : d.positions);
    return CLF_OK;
}

// The computed table starts at 1 and has one frequency less than pairs of columns: its exponents
// are j / (C / 2 - 1).
static clf_status set_positions(const clf_format *format, clf_config *c) {
    if (c->positions != CLF_POSITIONS_SINUSOIDAL) return CLF_OK;
    if (c->width % 2 != 0 || c->width < 4) {
        return clf_fail(CLF_ERROR_UNSUPPORTED,
                        "%s/model.bin: sinusoidal positions need an even width of 4 at least, not "
                        "%d",
                        format->directory, c->width);
    }
    c->position_offset = 1;
    c->position_denominator = c->width / 2 - 1;
    return CLF_OK;
}

static clf_status read_config(clf_format *format, const clf_modelbin *head, const settings *s) {
    clf_config *c = &format->config;
    const clf_store *store = &format->store;
    clf_stored *source, *target;
    const clf_stored *output = clf_ctranslate2_variable(store, CLF_PARAM_OUTPUT, CLF_DECODER, 0);
    // Early specifications named the number of heads instead of storing it.
    double old_heads = strcmp(head->spec, "TransformerBig") == 0 ? 16 : 8;
    *c = (clf_config){.family = "ctranslate2", .pad_token = -1, .start_token = -1};
    CLF_TRY(need(format, CLF_PARAM_EMBEDDING, CLF_ENCODER, 0, &source));
    CLF_TRY(need(format, CLF_PARAM_EMBEDDING, CLF_DECODER, 0, &target));
    c->width = (int)target->shape[target->rank - 1];
    c->source_vocabulary = (int)source->shape[0];
    c->target_vocabulary = (int)target->shape[0];
    c->share_embeddings = source->data == target->data;
    c->tie_output = output && output->data == target->data;
    c->output_bias = clf_ctranslate2_variable(store, CLF_PARAM_OUTPUT_BIAS, CLF_DECODER, 0) != NULL;
    c->linear_bias = clf_ctranslate2_variable(store, CLF_PARAM_FFN_IN_BIAS, CLF_ENCODER, 0) ||
                     clf_ctranslate2_variable(store, CLF_PARAM_SELF_QKV_BIAS, CLF_ENCODER, 0);
    c->norm_bias = clf_ctranslate2_variable(store, CLF_PARAM_SELF_NORM_BIAS, CLF_ENCODER, 0);
    c->norm = c->norm_bias ? CLF_NORM_LAYER : CLF_NORM_RMS;
    c->norm_epsilon = s->norm_epsilon > 0 ? s->norm_epsilon : c->norm_bias ? 1e-5f : 1e-6f;
    CLF_TRY(read_stack(format, CLF_ENCODER, old_heads, &c->encoder));
    CLF_TRY(read_stack(format, CLF_DECODER, old_heads, &c->decoder));
    CLF_TRY(join_sides(format, c));
    return set_positions(format, c);
}

// ---- text ---------------------------------------------------------------------------------------

// "name.json" or "name.txt".
static clf_status locate_vocabulary(const clf_format *format, const char *name, char **path) {
    char file[64];
    snprintf(file, sizeof file, "%s.json", name);
    CLF_TRY(clf_format_locate(format, file, path));
    if (*path) return CLF_OK;
    snprintf(file, sizeof file, "%s.txt", name);
    return clf_format_locate(format, file, path);
}

static clf_status locate_vocabularies(clf_format *format) {
    clf_format_text *text = &format->text;
    CLF_TRY(locate_vocabulary(format, "shared_vocabulary", &text->source_vocabulary));
    if (text->source_vocabulary) return CLF_OK;
    CLF_TRY(locate_vocabulary(format, "source_vocabulary", &text->source_vocabulary));
    CLF_TRY(locate_vocabulary(format, "target_vocabulary", &text->target_vocabulary));
    if (text->source_vocabulary && text->target_vocabulary) return CLF_OK;
    return clf_fail(CLF_ERROR_IO,
                    "%s: neither shared_vocabulary.json or .txt nor source_vocabulary and "
                    "target_vocabulary of these kinds",
                    format->directory);
}

// CTranslate2 leaves segmentation to its caller, so what SentencePiece models there are was put
// there by somebody: OPUS-MT's two, one of either usual name, or an Argos package's, which lies one
// level up beside its metadata.json.
static clf_status locate_spms(clf_format *format) {
    static const char *const pairs[][3] = {
        {"source.spm", "target.spm", NULL},
        {"sentencepiece.model", "sentencepiece.model", NULL},
        {"spm.model", "spm.model", NULL},
        {"../sentencepiece.model", "../sentencepiece.model", "../metadata.json"},
    };
    clf_format_text *text = &format->text;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char *beside = NULL;
        CLF_TRY(clf_format_locate(format, pairs[i][0], &text->source_spm));
        CLF_TRY(clf_format_locate(format, pairs[i][1], &text->target_spm));
        if (pairs[i][2]) CLF_TRY(clf_format_locate(format, pairs[i][2], &beside));
        bool found = text->source_spm && text->target_spm && (beside || !pairs[i][2]);
        free(beside);
        if (found) return CLF_OK;
    }
    free(text->source_spm);
    free(text->target_spm);
    text->source_spm = text->target_spm = NULL;
    return CLF_OK;
}

// The rule of what is added to the source. Without SentencePiece models the text comes as tokens
// separated by blanks and only what the settings say is added. With them clformer is the caller
// that segments, and a Marian model (it starts from a zero vector, or from the end token) was
// trained on sources that end in </s>, which its conversion does not say.
static clf_status read_text(clf_format *format, const settings *s, bool zero_start) {
    clf_format_text *text = &format->text;
    CLF_TRY(locate_vocabularies(format));
    CLF_TRY(locate_spms(format));
    bool marian = text->source_spm && (zero_start || strcmp(s->start, text->eos) == 0);
    text->append_eos = s->add_eos || marian;
    text->language_codes = marian;
    text->prepend_bos = s->add_bos;
    return CLF_OK;
}

static clf_status token_id(const clf_format *format, const clf_tokenizer *tokenizer,
                           const char *token, int *id) {
    const char *path = format->text.target_vocabulary ? format->text.target_vocabulary
                                                      : format->text.source_vocabulary;
    *id = clf_tokenizer_target_id(tokenizer, token);
    if (*id >= 0 && *id < format->config.target_vocabulary) return CLF_OK;
    return clf_fail(CLF_ERROR_FORMAT, "%s: has no token %s, which the model needs", path, token);
}

// CTranslate2's format has no place for how a model wants to be searched; clformer writes a file of
// Hugging Face's beside it, which CTranslate2 does not look at.
static clf_status read_search(clf_format *format) {
    char *path = NULL;
    clf_json json = {0};
    CLF_TRY(clf_format_locate(format, "generation_config.json", &path));
    if (!path) return CLF_OK;
    clf_status status = clf_json_open(path, CLF_CONFIG_LIMIT, &json);
    if (status == CLF_OK) status = clf_huggingface_search(&json, &format->generation);
    clf_json_close(&json);
    free(path);
    return status;
}

// CTranslate2's own defaults in Hugging Face's terms: beam 2, at most 256 tokens and at least one,
// the end when the beam is full of finished hypotheses.
static clf_status read_generation(clf_format *format, const settings *s, bool zero_start) {
    clf_generation *g = &format->generation;
    clf_tokenizer *tokenizer;
    *g = (clf_generation){.num_beams = 2,
                          .length_penalty = 1,
                          .early_stopping = 1,
                          .max_length = 257,
                          .min_length = 2,
                          .eos_count = 1,
                          .forced_bos = -1,
                          .forced_eos = -1};
    CLF_TRY(clf_format_tokenizer(format, &tokenizer));
    clf_status status = token_id(format, tokenizer, format->text.eos, &g->eos[0]);
    if (status == CLF_OK && !zero_start) {
        status = token_id(format, tokenizer, s->start, &format->config.start_token);
    }
    clf_tokenizer_close(tokenizer);
    CLF_TRY(status);
    return read_search(format);
}

static clf_status open_all(clf_format *format, settings *s) {
    char *path = NULL;
    clf_modelbin head;
    double zero_start;
    CLF_TRY(clf_format_require(format, "model.bin", &path));
    clf_status status = clf_modelbin_open(path, &format->store, &head);
    if (status == CLF_OK) status = clf_store_sort(&format->store);
    if (status == CLF_OK) status = check_head(path, &head);
    free(path);
    CLF_TRY(status);
    CLF_TRY(read_settings(format, &head, s));
    CLF_TRY(read_config(format, &head, s));
    CLF_TRY(clf_config_check(&format->config, format->directory));
    CLF_TRY(attribute(&format->store, "decoder", "start_from_zero_embedding", 0, &zero_start));
    if (!s->start && zero_start == 0) {
        return clf_fail(CLF_ERROR_UNSUPPORTED,
                        "%s: a model whose start token the caller must choose is not supported",
                        format->directory);
    }
    CLF_TRY(read_text(format, s, zero_start != 0));
    return read_generation(format, s, zero_start != 0);
}

static clf_status open_ctranslate2(clf_format *format) {
    settings s = {0};
    clf_status status = open_all(format, &s);
    free(s.start);
    return status;
}

const clf_format_kind clf_ctranslate2 = {
    .open = open_ctranslate2, .find = clf_ctranslate2_find, .check = clf_ctranslate2_check};
