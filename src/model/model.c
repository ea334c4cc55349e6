// SPDX-License-Identifier: MIT
// Creating a model: every entry of the parameter table gets its memory and its values.
#include "model/model.h"

#include <stddef.h>
#include <stdlib.h>

#include "base/fail.h"
#include "model/parts.h"
#include "ops/backward.h"

#define LOAD_BYTES (8 << 20) // of a matrix that are loaded at a time

// Where the parameters of a layer live in clf_layer.
#define LAYER_LINEAR(kind, member)                                                                 \
    [kind] = offsetof(clf_layer, member.weight), [kind##_BIAS] = offsetof(clf_layer, member.bias)
#define LAYER_NORM(kind, member)                                                                   \
    [kind] = offsetof(clf_layer, member.scale), [kind##_BIAS] = offsetof(clf_layer, member.bias)

static const size_t layer_offsets[CLF_PARAM_KINDS] = {
    LAYER_LINEAR(CLF_PARAM_SELF_QKV, self_qkv),   LAYER_LINEAR(CLF_PARAM_SELF_OUT, self_out),
    LAYER_LINEAR(CLF_PARAM_CROSS_Q, cross_q),     LAYER_LINEAR(CLF_PARAM_CROSS_KV, cross_kv),
    LAYER_LINEAR(CLF_PARAM_CROSS_OUT, cross_out), LAYER_LINEAR(CLF_PARAM_FFN_IN, ffn_in),
    LAYER_LINEAR(CLF_PARAM_FFN_OUT, ffn_out),     LAYER_NORM(CLF_PARAM_SELF_NORM, self_norm),
    LAYER_NORM(CLF_PARAM_CROSS_NORM, cross_norm), LAYER_NORM(CLF_PARAM_FFN_NORM, ffn_norm),
};

void *clf_model_place(clf_model *model, const clf_param *param) {
    clf_stack *stack = &model->stacks[param->side];
    switch (param->kind) {
    case CLF_PARAM_EMBEDDING: return &stack->embedding;
    case CLF_PARAM_POSITIONS: return &stack->positions;
    case CLF_PARAM_EMBEDDING_NORM: return &stack->embedding_norm.scale;
    case CLF_PARAM_EMBEDDING_NORM_BIAS: return &stack->embedding_norm.bias;
    case CLF_PARAM_FINAL_NORM: return &stack->final_norm.scale;
    case CLF_PARAM_FINAL_NORM_BIAS: return &stack->final_norm.bias;
    case CLF_PARAM_OUTPUT: return &model->output.weight;
    case CLF_PARAM_OUTPUT_BIAS: return &model->output.bias;
    default: return (char *)&stack->layers[param->layer] + layer_offsets[param->kind];
    }
}

// Matrices have elements of type `weights`. `master` unless NULL: the model shares the rest with
// it.
static void take_params(clf_run *run, clf_model *model, const clf_param *params, int count,
                        clf_dtype weights, const clf_model *master) {
    for (int i = 0; i < count; i++) {
        const clf_param *param = &params[i];
        void *place = clf_model_place(model, param);
        clf_arena *arena = model->groups[param->matrix ? CLF_MATRICES : CLF_VECTORS];
        if (param->matrix) {
            *(clf_weight *)place =
                clf_weight_take_as(run, arena, param->cols, param->rows, weights);
        } else if (master) {
            *(clf_tensor *)place = *(clf_tensor *)clf_model_place((clf_model *)master, param);
        } else {
            *(clf_tensor *)place = clf_arena_take(run, arena, param->rows, param->cols, CLF_F32);
        }
    }
}

// Memory for all parameters, zeroed: counted first, then taken.
static void place_params(clf_run *run, clf_model *model, const clf_param *params, int count,
                         clf_dtype weights, const clf_model *master) {
    clf_run dry = *run;
    dry.dry = true;
    take_params(&dry, model, params, count, weights, master);
    clf_run_fail(run, dry.status);
    for (int i = 0; i < CLF_GROUPS; i++) {
        const uint64_t bytes = clf_arena_peak(model->groups[i]);
        clf_arena_reset(model->groups[i]);
        if (bytes > 0) clf_arena_reserve(run, model->groups[i], bytes);
    }
    take_params(run, model, params, count, weights, master);
    clf_stack *encoder = &model->stacks[CLF_ENCODER], *decoder = &model->stacks[CLF_DECODER];
    if (model->config.share_embeddings) decoder->embedding = encoder->embedding;
    if (model->config.tie_output) model->output.weight = decoder->embedding;
}

// Some rows at a time, each released at once: a large matrix should not stand in memory twice.
static void load_matrix(clf_run *run, clf_weight weight, const clf_piece *pieces, int count,
                        clf_param_source source, clf_arena *staging) {
    for (int i = 0, first = 0; i < count; first += pieces[i++].rows) {
        const size_t row = (size_t)clf_dtype_size(pieces[i].dtype) * (size_t)pieces[i].cols;
        const int most = row < LOAD_BYTES ? (int)(LOAD_BYTES / row) : 1;
        for (int r = 0; r < pieces[i].rows; r += most) {
            clf_piece part = pieces[i];
            part.data = (const char *)part.data + (size_t)r * row;
            part.rows = part.rows - r < most ? part.rows - r : most;
            if (part.scale_count > 1) {
                part.scales += r;
                part.scale_count = part.rows;
            }
            clf_weight_write(run, weight, first + r, &part, staging);
            source.release(source.self, &part);
        }
    }
}

static void load_table(clf_run *run, clf_tensor table, const clf_piece *pieces, int count,
                       clf_param_source source, clf_arena *staging) {
    // A vector in several pieces is cut by columns, as its matrix is by rows.
    for (int i = 0, at = 0; i < count; i++) {
        bool vector = table.rows == 1;
        int length = vector ? pieces[i].rows * pieces[i].cols : pieces[i].rows;
        clf_piece piece = pieces[i];
        if (vector) {
            piece.rows = 1;
            piece.cols = length;
        }
        clf_tensor part =
            vector ? clf_tensor_cols(table, at, length) : clf_tensor_rows(table, at, length);
        clf_tensor_write_piece(run, part, &piece, staging);
        source.release(source.self, &pieces[i]);
        at += length;
    }
}

static void load_param(clf_run *run, clf_model *model, const clf_param *param,
                       clf_param_source source, clf_arena *staging) {
    clf_piece pieces[CLF_MAX_PIECES];
    int count = 0;
    if (run->status == CLF_OK) clf_run_fail(run, source.find(source.self, param, pieces, &count));
    if (run->status != CLF_OK) return;
    void *place = clf_model_place(model, param);
    if (param->matrix) {
        load_matrix(run, *(clf_weight *)place, pieces, count, source, staging);
    } else {
        load_table(run, *(clf_tensor *)place, pieces, count, source, staging);
    }
}

static void load_params(clf_run *run, clf_model *model, const clf_param *params, int count,
                        clf_param_source source) {
    clf_arena *staging = NULL;
    clf_run_fail(run, clf_arena_create(model->device, "the staging of parameters",
                                       "a device with more memory", &staging));
    for (int i = 0; i < count; i++) load_param(run, model, &params[i], source, staging);
    clf_run_finish(run);
    clf_arena_destroy(staging);
}

static void compute_positions(clf_run *run, clf_model *model, int positions) {
    const clf_config *config = &model->config;
    if (config->positions != CLF_POSITIONS_SINUSOIDAL) return;
    if (positions <= 0) positions = config->max_positions;
    clf_tensor table = clf_arena_take(run, model->computed, positions, config->width, CLF_F32);
    clf_sinusoid_write(run, table, config->position_offset, config->position_denominator);
    model->stacks[CLF_ENCODER].positions = model->stacks[CLF_DECODER].positions = table;
}

// A model without memory for its parameters.
static clf_status make_model(clf_device *device, const clf_config *config, clf_model **model) {
    clf_status status = CLF_ERROR_MEMORY;
    clf_model *made = calloc(1, sizeof *made);
    if (!made) return clf_fail_memory();
    made->device = device;
    made->config = *config;
    made->stacks[CLF_ENCODER].layers = calloc((size_t)config->encoder.layers, sizeof(clf_layer));
    made->stacks[CLF_DECODER].layers = calloc((size_t)config->decoder.layers, sizeof(clf_layer));
    if (!made->stacks[CLF_ENCODER].layers || !made->stacks[CLF_DECODER].layers) {
        clf_fail_memory();
        goto fail;
    }
    clf_arena **arenas[] = {&made->groups[CLF_MATRICES], &made->groups[CLF_VECTORS],
                            &made->computed};
    for (int i = 0; i < 3; i++) {
        status = clf_arena_create(device, "the model's parameters", "a smaller model", arenas[i]);
        if (status != CLF_OK) goto fail;
    }
    *model = made;
    return CLF_OK;
fail:
    clf_model_destroy(made);
    return status;
}

// Fills a made model; `source` NULL: with zeros. `weights` and `master`: see take_params.
static clf_status fill_model(clf_model *model, const clf_param_source *source, int positions,
                             clf_dtype weights, const clf_model *master) {
    clf_run run = clf_run_begin(model->device);
    clf_param *params = NULL;
    int count = 0;
    clf_run_fail(&run, clf_params_list(&model->config, &params, &count));
    place_params(&run, model, params, count, weights, master);
    for (int i = 0; i < count; i++) model->parameters += (int64_t)params[i].rows * params[i].cols;
    if (source) {
        load_params(&run, model, params, count, *source);
        compute_positions(&run, model, positions);
    }
    clf_run_finish(&run);
    free(params);
    return run.status;
}

static clf_status create(clf_device *device, const clf_config *config,
                         const clf_param_source *source, int positions, clf_dtype weights,
                         const clf_model *master, clf_model **model) {
    clf_model *made = NULL;
    CLF_TRY(make_model(device, config, &made));
    clf_status status = fill_model(made, source, positions, weights, master);
    if (status != CLF_OK) {
        clf_model_destroy(made);
        return status;
    }
    *model = made;
    return CLF_OK;
}

clf_status clf_model_create(clf_device *device, const clf_config *config, clf_param_source source,
                            int positions, clf_dtype weights, clf_model **model) {
    return create(device, config, &source, positions, weights, NULL, model);
}

static clf_status create_beside(const clf_model *model, clf_dtype weights, const clf_model *master,
                                clf_model **like) {
    clf_model *made = NULL;
    CLF_TRY(create(model->device, &model->config, NULL, 0, weights, master, &made));
    if (model->config.positions == CLF_POSITIONS_SINUSOIDAL) {
        for (int i = 0; i < 2; i++) made->stacks[i].positions = model->stacks[i].positions;
    }
    *like = made;
    return CLF_OK;
}

clf_status clf_model_create_like(const clf_model *model, clf_model **like) {
    return create_beside(model, CLF_F32, NULL, like);
}

clf_status clf_model_create_half(const clf_model *model, clf_model **half) {
    return create_beside(model, CLF_F16, model, half);
}

void clf_model_round(clf_run *run, clf_model *half, const clf_model *model) {
    static const clf_param_kind matrices[] = {
        CLF_PARAM_SELF_QKV,  CLF_PARAM_SELF_OUT, CLF_PARAM_CROSS_Q, CLF_PARAM_CROSS_KV,
        CLF_PARAM_CROSS_OUT, CLF_PARAM_FFN_IN,   CLF_PARAM_FFN_OUT};
    const clf_config *config = &model->config;
    for (int side = 0; side < 2; side++) {
        clf_stack *to = &half->stacks[side];
        const clf_stack *from = &model->stacks[side];
        const int layers = side == CLF_ENCODER ? config->encoder.layers : config->decoder.layers;
        if (side == CLF_ENCODER || !config->share_embeddings)
            clf_op_round(run, to->embedding, from->embedding);
        for (int i = 0; i < layers * (int)(sizeof matrices / sizeof *matrices); i++) {
            const size_t at = layer_offsets[matrices[i / layers]];
            const clf_weight *w = (const void *)((const char *)&from->layers[i % layers] + at);
            if (w->data.chunk)
                clf_op_round(run, *(clf_weight *)((char *)&to->layers[i % layers] + at), *w);
        }
    }
    if (!config->tie_output) clf_op_round(run, half->output.weight, model->output.weight);
}

void clf_model_destroy(clf_model *model) {
    if (!model) return;
    for (int i = 0; i < CLF_GROUPS; i++) clf_arena_destroy(model->groups[i]);
    clf_arena_destroy(model->computed);
    free(model->stacks[CLF_ENCODER].layers);
    free(model->stacks[CLF_DECODER].layers);
    free(model);
}

void clf_model_read(clf_run *run, clf_model *model, const clf_param *param, float *data,
                    clf_arena *staging) {
    void *place = clf_model_place(model, param);
    if (param->matrix)
        clf_weight_read(run, *(clf_weight *)place, data, staging);
    else
        clf_read(run, *(clf_tensor *)place, data);
}

void clf_model_write(clf_run *run, clf_model *model, const clf_param *param, const float *data,
                     clf_arena *staging) {
    const clf_piece piece = {
        .data = data, .dtype = CLF_F32, .rows = param->rows, .cols = param->cols};
    void *place = clf_model_place(model, param);
    if (param->matrix)
        clf_weight_write(run, *(clf_weight *)place, 0, &piece, staging);
    else
        clf_tensor_write_piece(run, *(clf_tensor *)place, &piece, staging);
}

const clf_config *clf_model_config(const clf_model *model) {
    return &model->config;
}

clf_device *clf_model_device(const clf_model *model) {
    return model->device;
}

uint64_t clf_model_device_bytes(const clf_model *model) {
    return clf_arena_bytes(model->groups[CLF_MATRICES]) +
           clf_arena_bytes(model->groups[CLF_VECTORS]) + clf_arena_bytes(model->computed);
}

int64_t clf_model_parameters(const clf_model *model) {
    return model->parameters;
}

int clf_model_position(const clf_model *model, int t) {
    // A sinusoidal table begins at the offset; a learned one is stored from index 0.
    return model->config.positions == CLF_POSITIONS_LEARNED ? t + model->config.position_offset : t;
}
