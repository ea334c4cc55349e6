// SPDX-License-Identifier: MIT
#include "model/params.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/fail.h"

typedef CLF_ARRAY(clf_param) param_list;

static const char *const names[CLF_PARAM_KINDS] = {
    [CLF_PARAM_EMBEDDING] = "embedding.weight",
    [CLF_PARAM_POSITIONS] = "positions.weight",
    [CLF_PARAM_EMBEDDING_NORM] = "embedding_norm.weight",
    [CLF_PARAM_EMBEDDING_NORM_BIAS] = "embedding_norm.bias",
    [CLF_PARAM_SELF_QKV] = "self.qkv.weight",
    [CLF_PARAM_SELF_QKV_BIAS] = "self.qkv.bias",
    [CLF_PARAM_SELF_OUT] = "self.out.weight",
    [CLF_PARAM_SELF_OUT_BIAS] = "self.out.bias",
    [CLF_PARAM_SELF_NORM] = "self.norm.weight",
    [CLF_PARAM_SELF_NORM_BIAS] = "self.norm.bias",
    [CLF_PARAM_CROSS_Q] = "cross.q.weight",
    [CLF_PARAM_CROSS_Q_BIAS] = "cross.q.bias",
    [CLF_PARAM_CROSS_KV] = "cross.kv.weight",
    [CLF_PARAM_CROSS_KV_BIAS] = "cross.kv.bias",
    [CLF_PARAM_CROSS_OUT] = "cross.out.weight",
    [CLF_PARAM_CROSS_OUT_BIAS] = "cross.out.bias",
    [CLF_PARAM_CROSS_NORM] = "cross.norm.weight",
    [CLF_PARAM_CROSS_NORM_BIAS] = "cross.norm.bias",
    [CLF_PARAM_FFN_IN] = "ffn.in.weight",
    [CLF_PARAM_FFN_IN_BIAS] = "ffn.in.bias",
    [CLF_PARAM_FFN_OUT] = "ffn.out.weight",
    [CLF_PARAM_FFN_OUT_BIAS] = "ffn.out.bias",
    [CLF_PARAM_FFN_NORM] = "ffn.norm.weight",
    [CLF_PARAM_FFN_NORM_BIAS] = "ffn.norm.bias",
    [CLF_PARAM_FINAL_NORM] = "final_norm.weight",
    [CLF_PARAM_FINAL_NORM_BIAS] = "final_norm.bias",
    [CLF_PARAM_OUTPUT] = "output.weight",
    [CLF_PARAM_OUTPUT_BIAS] = "output.bias",
};

static bool is_present(const clf_config *c, clf_side side, clf_param_kind kind) {
    switch (kind) {
    case CLF_PARAM_EMBEDDING: return side == CLF_ENCODER || !c->share_embeddings;
    case CLF_PARAM_POSITIONS: return c->positions == CLF_POSITIONS_LEARNED;
    case CLF_PARAM_EMBEDDING_NORM: return c->embedding_norm;
    case CLF_PARAM_EMBEDDING_NORM_BIAS: return c->embedding_norm && c->norm_bias;
    case CLF_PARAM_SELF_QKV_BIAS:
    case CLF_PARAM_SELF_OUT_BIAS:
    case CLF_PARAM_FFN_IN_BIAS:
    case CLF_PARAM_FFN_OUT_BIAS: return c->linear_bias;
    case CLF_PARAM_SELF_NORM_BIAS:
    case CLF_PARAM_FFN_NORM_BIAS: return c->norm_bias;
    case CLF_PARAM_CROSS_Q:
    case CLF_PARAM_CROSS_KV:
    case CLF_PARAM_CROSS_OUT:
    case CLF_PARAM_CROSS_NORM: return side == CLF_DECODER;
    case CLF_PARAM_CROSS_Q_BIAS:
    case CLF_PARAM_CROSS_KV_BIAS:
    case CLF_PARAM_CROSS_OUT_BIAS: return side == CLF_DECODER && c->linear_bias;
    case CLF_PARAM_CROSS_NORM_BIAS: return side == CLF_DECODER && c->norm_bias;
    case CLF_PARAM_FINAL_NORM: return c->final_norm;
    case CLF_PARAM_FINAL_NORM_BIAS: return c->final_norm && c->norm_bias;
    case CLF_PARAM_OUTPUT: return side == CLF_DECODER && !c->tie_output;
    case CLF_PARAM_OUTPUT_BIAS: return side == CLF_DECODER && c->output_bias;
    default: return true;
    }
}

// (rows, cols) of a weight; a bias, the next kind, is (1, rows).
static void shape_of(const clf_config *c, clf_param *p) {
    const clf_stack_config *stack = p->side == CLF_ENCODER ? &c->encoder : &c->decoder;
    int vocabulary = p->side == CLF_ENCODER ? c->source_vocabulary : c->target_vocabulary;
    int inner = stack->heads * stack->head_width;
    p->matrix = true;
    p->cols = c->width;
    switch (p->kind) {
    case CLF_PARAM_EMBEDDING:
    case CLF_PARAM_OUTPUT: p->rows = vocabulary; break;
    case CLF_PARAM_POSITIONS:
        p->rows = c->max_positions + c->position_offset;
        p->matrix = false;
        break;
    case CLF_PARAM_SELF_QKV: p->rows = 3 * inner; break;
    case CLF_PARAM_CROSS_Q: p->rows = inner; break;
    case CLF_PARAM_CROSS_KV: p->rows = 2 * inner; break;
    case CLF_PARAM_SELF_OUT:
    case CLF_PARAM_CROSS_OUT:
        p->rows = c->width;
        p->cols = inner;
        break;
    case CLF_PARAM_FFN_IN: p->rows = c->gated ? 2 * stack->ffn : stack->ffn; break;
    case CLF_PARAM_FFN_OUT:
        p->rows = c->width;
        p->cols = stack->ffn;
        break;
    case CLF_PARAM_SELF_QKV_BIAS:
    case CLF_PARAM_SELF_OUT_BIAS:
    case CLF_PARAM_CROSS_Q_BIAS:
    case CLF_PARAM_CROSS_KV_BIAS:
    case CLF_PARAM_CROSS_OUT_BIAS:
    case CLF_PARAM_FFN_IN_BIAS:
    case CLF_PARAM_FFN_OUT_BIAS:
    case CLF_PARAM_OUTPUT_BIAS:
        p->kind--;
        shape_of(c, p);
        p->kind++;
        p->cols = p->rows;
        p->rows = 1;
        p->matrix = false;
        break;
    default: // norms
        p->rows = 1;
        p->matrix = false;
    }
}

static bool add_range(param_list *list, const clf_config *config, clf_side side, int layer,
                      clf_param_kind first, clf_param_kind last) {
    bool inside = first == CLF_PARAM_SELF_QKV;
    for (clf_param_kind kind = first; kind <= last; kind++) {
        if (!is_present(config, side, kind)) continue;
        clf_param p = {.kind = kind, .side = side, .layer = layer};
        shape_of(config, &p);
        const char *stack = side == CLF_ENCODER ? "encoder" : "decoder";
        if (inside) {
            snprintf(p.name, sizeof p.name, "%s.layers.%d.%s", stack, layer, names[kind]);
        } else {
            snprintf(p.name, sizeof p.name, "%s.%s", stack, names[kind]);
        }
        if (!clf_array_push(list, p)) return false;
    }
    return true;
}

static bool add_side(param_list *list, const clf_config *config, clf_side side) {
    const clf_stack_config *stack = side == CLF_ENCODER ? &config->encoder : &config->decoder;
    bool good =
        add_range(list, config, side, 0, CLF_PARAM_EMBEDDING, CLF_PARAM_EMBEDDING_NORM_BIAS);
    for (int i = 0; i < stack->layers && good; i++) {
        good = add_range(list, config, side, i, CLF_PARAM_SELF_QKV, CLF_PARAM_FFN_NORM_BIAS);
    }
    return good && add_range(list, config, side, 0, CLF_PARAM_FINAL_NORM, CLF_PARAM_OUTPUT_BIAS);
}

clf_status clf_params_list(const clf_config *config, clf_param **params, int *count) {
    param_list list = {0};
    if (!add_side(&list, config, CLF_ENCODER) || !add_side(&list, config, CLF_DECODER)) {
        clf_array_free(&list);
        return clf_fail_memory();
    }
    *params = list.data;
    *count = (int)list.count;
    return CLF_OK;
}
