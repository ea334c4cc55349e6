// SPDX-License-Identifier: MIT
// CTranslate2 directories: what its converter writes for the same model, byte by byte where nothing
// but the model decides.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/file.h"
#include "base/json_write.h"
#include "formats/ctranslate2.h"
#include "formats/saving.h"

enum { VERSION = 6, REVISION = 7, MOST_BYTES = INT32_MAX };

// The numbers of types in model.bin.
enum { TYPE_F32 = 0, TYPE_I8 = 1, TYPE_I16 = 2, TYPE_F16 = 4 };

// One variable: an attribute, rows of a parameter, or computed positions.
typedef struct variable {
    char name[CLF_NAME_SIZE];
    enum { BYTE, WORD, REAL, ROWS, SINUSOIDS } kind;
    float number;           // of an attribute
    const clf_param *param; // of ROWS: `rows` of them from `first` on
    int first, rows, cols;
} variable;
typedef CLF_ARRAY(variable) variable_list;

typedef struct alias {
    const char *name, *target;
} alias;

// What is written, and how far this format drops the row of the padding token.
typedef struct writer {
    clf_saving *s;
    clf_file_writer file;
    variable_list variables;
    alias aliases[3];
    int alias_count;
    bool failed;                  // to allocate a variable
    bool zero_start;              // the decoder starts from a zero vector
    bool zero_bias;               // the output's bias is not written
    int source_rows, target_rows; // of the vocabularies
} writer;

static int activation_number(clf_activation activation) {
    switch (activation) {
    case CLF_ACT_RELU: return 0;
    case CLF_ACT_GELU_TANH: return 1;
    case CLF_ACT_SILU: return 2;
    case CLF_ACT_GELU: return 3;
    case CLF_ACT_GELU_SIGMOID: return 4;
    default: return -1;
    }
}

static clf_status check(const clf_saving *s) {
    const clf_config *c = s->config;
    const clf_generation *g = s->generation;
    if (c->norm_bias != (c->norm == CLF_NORM_LAYER)) {
        return clf_saving_refuse(s, "LayerNorm without a bias or RMSNorm with one");
    }
    if (activation_number(c->activation) < 0) return clf_saving_refuse(s, "no activation");
    if (c->positions == CLF_POSITIONS_NONE) return clf_saving_refuse(s, "no positions");
    CLF_TRY(clf_saving_check_stack(s, &c->encoder));
    CLF_TRY(clf_saving_check_stack(s, &c->decoder));
    bool start_only = g->suppress_count == 1 && g->suppress[0] == c->start_token;
    if (g->eos_count > 1 || g->forced_bos >= 0 || (g->suppress_count > 0 && !start_only)) {
        clf_log(CLF_LOG_WARNING,
                "%s: CTranslate2's format keeps one end token and no suppressed or forced tokens",
                s->directory);
    }
    return CLF_OK;
}

// ---- the list of variables ----------------------------------------------------------------------

static void add(writer *w, variable v) {
    if (!clf_array_push(&w->variables, v)) w->failed = true;
}

static void add_number(writer *w, int kind, const char *scope, const char *name, float number) {
    variable v = {.kind = kind, .number = number};
    snprintf(v.name, sizeof v.name, "%s/%s", scope, name);
    add(w, v);
}

static void add_attributes(writer *w, clf_side side, const clf_stack_config *stack) {
    const clf_config *c = w->s->config;
    const char *scope = clf_ctranslate2_side(side);
    add_number(w, BYTE, scope, "activation", (float)activation_number(c->activation));
    add_number(w, WORD, scope, "num_heads", (float)stack->heads);
    add_number(w, BYTE, scope, "pre_norm", c->pre_norm);
    add_number(w, REAL, scope, "scale_embeddings", c->embedding_scale);
    if (side == CLF_ENCODER) {
        add_number(w, BYTE, scope, "embeddings_merge", 0);
        add_number(w, BYTE, scope, "multi_query_attention", 0);
        return;
    }
    add_number(w, BYTE, scope, "alibi", 0);
    add_number(w, BYTE, scope, "alibi_use_positive_positions", 0);
    add_number(w, BYTE, scope, "scale_alibi", 0);
    add_number(w, WORD, scope, "alignment_heads", 1);
    add_number(w, WORD, scope, "alignment_layer", -1);
    add_number(w, BYTE, scope, "start_from_zero_embedding", w->zero_start);
}

static void add_param(writer *w, const clf_param *p) {
    const clf_config *c = w->s->config;
    bool in = p->kind == CLF_PARAM_FFN_IN || p->kind == CLF_PARAM_FFN_IN_BIAS;
    variable v = {.kind = ROWS, .param = p, .rows = p->rows, .cols = p->cols};
    clf_ctranslate2_name(p->kind, p->side, p->layer, v.name);
    switch (p->kind) {
    case CLF_PARAM_EMBEDDING:
        v.rows = p->side == CLF_ENCODER ? w->source_rows : w->target_rows;
        // An encoder may have several; a matrix for both sides stands under the decoder's name.
        if (p->side == CLF_ENCODER) snprintf(v.name, sizeof v.name, "encoder/embeddings_0/weight");
        if (c->share_embeddings) snprintf(v.name, sizeof v.name, "decoder/embeddings/weight");
        break;
    case CLF_PARAM_OUTPUT: v.rows = w->target_rows; break;
    case CLF_PARAM_OUTPUT_BIAS:
        if (w->zero_bias) return;
        v.cols = w->target_rows;
        break;
    case CLF_PARAM_POSITIONS:
        v.first = c->position_offset;
        v.rows = c->max_positions;
        break;
    default: break;
    }
    if (!in || !c->gated) {
        add(w, v);
        return;
    }
    // The activated branch, then the other one.
    bool bias = p->kind == CLF_PARAM_FFN_IN_BIAS;
    if (bias) {
        v.cols /= 2;
    } else {
        v.rows /= 2;
    }
    add(w, v);
    v.first = bias ? v.cols : v.rows;
    snprintf(v.name, sizeof v.name, "%s/layer_%d/ffn/linear_0_noact/%s",
             clf_ctranslate2_side(p->side), p->layer, bias ? "bias" : "weight");
    add(w, v);
}

// CTranslate2 computes sinusoids by one rule only; those of another are written as a table.
static void add_positions(writer *w) {
    static const alias sides = {"encoder/position_encodings/encodings",
                                "decoder/position_encodings/encodings"};
    const clf_config *c = w->s->config;
    if (c->positions != CLF_POSITIONS_SINUSOIDAL) return;
    if (c->width % 2 == 0 && c->position_offset == 1 &&
        c->position_denominator == c->width / 2 - 1) {
        return;
    }
    variable v = {.kind = SINUSOIDS, .rows = c->max_positions, .cols = c->width};
    clf_ctranslate2_name(CLF_PARAM_POSITIONS, CLF_DECODER, 0, v.name);
    add(w, v);
    w->aliases[w->alias_count++] = sides;
}

static int compare_variables(const void *a, const void *b) {
    return strcmp(((const variable *)a)->name, ((const variable *)b)->name);
}

static clf_status list_variables(writer *w) {
    static const alias output = {"decoder/projection/weight", "decoder/embeddings/weight"};
    static const alias source = {"encoder/embeddings_0/weight", "decoder/embeddings/weight"};
    const clf_config *c = w->s->config;
    add_attributes(w, CLF_ENCODER, &c->encoder);
    add_attributes(w, CLF_DECODER, &c->decoder);
    for (int i = 0; i < w->s->count; i++) add_param(w, &w->s->params[i]);
    if (c->tie_output) w->aliases[w->alias_count++] = output;
    if (c->share_embeddings) w->aliases[w->alias_count++] = source;
    add_positions(w);
    if (w->failed) return clf_fail_memory();
    qsort(w->variables.data, w->variables.count, sizeof(variable), compare_variables);
    return CLF_OK;
}

// ---- model.bin ----------------------------------------------------------------------------------

static clf_status put_integer(writer *w, uint32_t value, size_t size) {
    unsigned char bytes[4];
    for (size_t i = 0; i < size; i++) bytes[i] = (unsigned char)(value >> 8 * i);
    return clf_file_put(&w->file, bytes, size);
}

static clf_status put_string(writer *w, const char *text) {
    size_t size = strlen(text) + 1;
    CLF_TRY(put_integer(w, (uint32_t)size, 2));
    return clf_file_put(&w->file, text, size);
}

// The head of a variable with `suffix` after its name; rank 0 for attributes.
static clf_status put_head(writer *w, const variable *v, const char *suffix, int rank, int type,
                           uint64_t size) {
    char name[CLF_NAME_SIZE + 8];
    snprintf(name, sizeof name, "%s%s", v->name, suffix);
    if (size > MOST_BYTES) {
        return clf_fail(CLF_ERROR_UNSUPPORTED, "%s: %s takes more than 2 GB", w->file.path, name);
    }
    CLF_TRY(put_string(w, name));
    CLF_TRY(put_integer(w, (uint32_t)rank, 1));
    if (rank > 0) CLF_TRY(put_integer(w, (uint32_t)(rank == 2 || *suffix ? v->rows : v->cols), 4));
    if (rank > 1) CLF_TRY(put_integer(w, (uint32_t)v->cols, 4));
    CLF_TRY(put_integer(w, (uint32_t)type, 1));
    return put_integer(w, (uint32_t)size, 4);
}

static clf_status put_number(writer *w, const variable *v) {
    uint32_t bits = (uint32_t)(int32_t)v->number;
    int type = v->kind == BYTE ? TYPE_I8 : v->kind == WORD ? TYPE_I16 : TYPE_F32;
    size_t size = v->kind == BYTE ? 1 : v->kind == WORD ? 2 : 4;
    if (v->kind == REAL) memcpy(&bits, &v->number, sizeof bits);
    CLF_TRY(put_head(w, v, "", 0, type, size));
    return put_integer(w, bits, size);
}

static clf_status put_int8(writer *w, const variable *v, const float *values) {
    clf_saving *s = w->s;
    size_t count = (size_t)v->rows * (size_t)v->cols;
    if (!clf_values_to_int8(values, v->rows, v->cols, s->packed, s->scales)) {
        return clf_saving_fail_range(s, v->name, "int8");
    }
    CLF_TRY(put_head(w, v, "", 2, TYPE_I8, count));
    CLF_TRY(clf_file_put(&w->file, s->packed, count));
    CLF_TRY(put_head(w, v, "_scale", 1, TYPE_F32, 4 * (uint64_t)v->rows));
    return clf_file_put(&w->file, s->scales, 4 * (size_t)v->rows);
}

static clf_status put_rows(writer *w, const variable *v) {
    clf_saving *s = w->s;
    bool vector = v->param && v->param->rows == 1 && !v->param->matrix;
    size_t count = (size_t)v->rows * (size_t)v->cols;
    const float *values = s->data;
    if (v->param) {
        CLF_TRY(clf_saving_read(s, v->param));
        values += (size_t)v->first * (vector ? 1 : (size_t)v->cols);
    } else {
        for (int t = 0; t < v->rows; t++) {
            clf_sinusoid_row(s->data + (size_t)t * (size_t)v->cols, v->cols,
                             t + s->config->position_offset, s->config->position_denominator);
        }
    }
    if (s->options->weights == CLF_I8 && v->param && v->param->matrix) {
        return put_int8(w, v, values);
    }
    int rank = vector ? 1 : 2;
    if (s->options->weights == CLF_F16) {
        if (!clf_values_to_half(values, count, s->packed)) {
            return clf_saving_fail_range(s, v->name, "f16");
        }
        CLF_TRY(put_head(w, v, "", rank, TYPE_F16, 2 * count));
        return clf_file_put(&w->file, s->packed, 2 * count);
    }
    CLF_TRY(put_head(w, v, "", rank, TYPE_F32, 4 * count));
    return clf_file_put(&w->file, values, 4 * count);
}

static clf_status put_all(writer *w) {
    uint32_t count = (uint32_t)w->variables.count;
    for (size_t i = 0; i < w->variables.count; i++) {
        const clf_param *p = w->variables.data[i].param;
        if (w->s->options->weights == CLF_I8 && p && p->matrix) count++; // its scales
    }
    CLF_TRY(put_integer(w, VERSION, 4));
    CLF_TRY(put_string(w, "TransformerSpec"));
    CLF_TRY(put_integer(w, REVISION, 4));
    CLF_TRY(put_integer(w, count, 4));
    for (size_t i = 0; i < w->variables.count; i++) {
        const variable *v = &w->variables.data[i];
        CLF_TRY(v->kind == ROWS || v->kind == SINUSOIDS ? put_rows(w, v) : put_number(w, v));
    }
    CLF_TRY(put_integer(w, (uint32_t)w->alias_count, 4));
    for (int i = 0; i < w->alias_count; i++) {
        CLF_TRY(put_string(w, w->aliases[i].name));
        CLF_TRY(put_string(w, w->aliases[i].target));
    }
    return CLF_OK;
}

static clf_status write_model(writer *w) {
    char *path = clf_path_join(w->s->directory, "model.bin");
    if (!path) return clf_fail_memory();
    clf_status status = clf_file_create(path, &w->file);
    free(path);
    if (status == CLF_OK) status = put_all(w);
    if (status == CLF_OK) return clf_file_commit(&w->file);
    clf_file_cancel(&w->file);
    return status;
}

// ---- the other files ----------------------------------------------------------------------------

static const char *piece_of(const clf_vocabulary *vocabulary, int id) {
    const char *piece = id >= 0 ? clf_vocabulary_piece(vocabulary, id) : NULL;
    return piece ? piece : "</s>";
}

// Every row of an embedding has a piece here; those that have none get a name.
static clf_status write_vocabulary(const writer *w, const clf_vocabulary *vocabulary, int rows,
                                   const char *name) {
    cJSON *root = cJSON_CreateArray();
    for (int id = 0; id < rows && root; id++) {
        char filler[32];
        const char *piece = clf_vocabulary_piece(vocabulary, id);
        snprintf(filler, sizeof filler, "madeupword%d", id);
        if (!cJSON_AddItemToArray(root, cJSON_CreateString(piece ? piece : filler))) {
            cJSON_Delete(root);
            root = NULL;
        }
    }
    return clf_json_write(w->s->directory, name, root);
}

static clf_status write_text(const writer *w) {
    const clf_saving *s = w->s;
    CLF_TRY(clf_saving_spms(s));
    if (s->source == s->target && w->source_rows == w->target_rows) {
        return write_vocabulary(w, s->source, w->source_rows, "shared_vocabulary.json");
    }
    CLF_TRY(write_vocabulary(w, s->source, w->source_rows, "source_vocabulary.json"));
    CLF_TRY(write_vocabulary(w, s->target, w->target_rows, "target_vocabulary.json"));
    clf_file_remove_in(s->directory, "shared_vocabulary.json"); // which would be taken first
    return CLF_OK;
}

// The callers of a Marian model end its sources themselves, says its converter: a model that starts
// from zero or from the end token, with SentencePiece models beside it (ctranslate2.c).
static clf_status write_config(const writer *w) {
    const clf_saving *s = w->s;
    const clf_config *c = s->config;
    const clf_save_options *o = s->options;
    const char *eos = piece_of(s->target, s->generation->eos[0]);
    const char *start = w->zero_start ? eos : piece_of(s->target, c->start_token);
    bool marian = o->source_spm && (w->zero_start || strcmp(start, eos) == 0);
    float usual = c->norm == CLF_NORM_LAYER ? 1e-5f : 1e-6f;
    cJSON *root = cJSON_CreateObject();
    bool good = root && cJSON_AddBoolToObject(root, "add_source_bos", o->prepend_bos) &&
                cJSON_AddBoolToObject(root, "add_source_eos", !o->no_eos && !marian) &&
                cJSON_AddStringToObject(root, "bos_token", o->bos ? o->bos : "<s>") &&
                cJSON_AddStringToObject(root, "decoder_start_token", start) &&
                cJSON_AddStringToObject(root, "eos_token", eos) &&
                (c->norm_epsilon == usual
                     ? cJSON_AddNullToObject(root, "layer_norm_epsilon") != NULL
                     : clf_saving_add_float(root, "layer_norm_epsilon", c->norm_epsilon)) &&
                cJSON_AddBoolToObject(root, "multi_query_attention", false) &&
                cJSON_AddStringToObject(root, "unk_token", o->unk ? o->unk : "<unk>");
    if (!good) {
        cJSON_Delete(root);
        root = NULL;
    }
    return clf_json_write(s->directory, "config.json", root);
}

// Whether a row of a parameter, if there is such a parameter, is zero.
static clf_status is_zero(clf_saving *s, clf_param_kind kind, clf_side side, int row, bool *zero) {
    for (int i = 0; i < s->count; i++) {
        const clf_param *p = &s->params[i];
        if (p->kind != kind || p->side != side) continue;
        CLF_TRY(clf_saving_read(s, p));
        const float *values = s->data + (size_t)row * (size_t)p->cols;
        *zero = true;
        for (int k = 0; k < p->cols && *zero; k++) *zero = values[k] == 0;
    }
    return CLF_OK;
}

// Marian's start token is its padding, a last row of zeros that must never be produced. This format
// has no row for it, and a flag instead.
static clf_status plan(writer *w) {
    clf_saving *s = w->s;
    const clf_config *c = s->config;
    int last = c->target_vocabulary - 1;
    clf_side side = c->share_embeddings ? CLF_ENCODER : CLF_DECODER;
    w->source_rows = c->source_vocabulary;
    w->target_rows = c->target_vocabulary;
    w->zero_start = c->start_token < 0;
    CLF_TRY(is_zero(s, CLF_PARAM_OUTPUT_BIAS, CLF_DECODER, 0, &w->zero_bias));
    if (c->start_token != last) return CLF_OK;
    CLF_TRY(is_zero(s, CLF_PARAM_EMBEDDING, side, last, &w->zero_start));
    if (!w->zero_start) return CLF_OK;
    w->target_rows--;
    if (s->source == s->target && c->pad_token == last) w->source_rows--;
    return CLF_OK;
}

// How the model wants to be searched, which this format has no place for: for our own reader.
static clf_status write_search(const clf_saving *s) {
    cJSON *root = cJSON_CreateObject();
    if (root && !clf_saving_add_search(root, s->generation)) {
        cJSON_Delete(root);
        root = NULL;
    }
    return clf_json_write(s->directory, "generation_config.json", root);
}

static clf_status write_directory(clf_saving *s) {
    writer w = {.s = s};
    clf_status status = plan(&w);
    if (status == CLF_OK) status = list_variables(&w);
    if (status == CLF_OK) status = write_text(&w);
    if (status == CLF_OK) status = write_config(&w);
    if (status == CLF_OK) status = write_search(s);
    if (status == CLF_OK) {
        clf_file_remove_in(s->directory, "model.safetensors");
        clf_file_remove_in(s->directory, "model.safetensors.index.json");
        status = write_model(&w);
    }
    clf_array_free(&w.variables);
    return status;
}

const clf_saving_kind clf_save_ctranslate2 = {.check = check, .write = write_directory};
