// SPDX-License-Identifier: MIT
#include "train/buckets.h"

#include <stdlib.h>

#include "base/array.h"
#include "base/fail.h"
#include "model/parts.h"

enum { ALIGNMENT = 128 / sizeof(float) }; // of tensors in an arena, in floats

typedef struct piece {
    clf_bucket bucket;
    bool matrix;
    int index; // in the table, which is the order in memory
} piece;

typedef CLF_ARRAY(piece) piece_list;

int clf_bucket_stage(const clf_config *config, clf_side side, int layer) {
    const int decoder = config->decoder.layers, encoder = config->encoder.layers;
    if (side == CLF_DECODER) return layer < 0 ? decoder : decoder - 1 - layer;
    return decoder + 1 + (layer < 0 ? encoder : encoder - 1 - layer);
}

static bool is_outside(clf_param_kind kind) {
    return kind < CLF_PARAM_SELF_QKV || kind > CLF_PARAM_FFN_NORM_BIAS;
}

// A parameter's memory with the padding behind it.
static clf_tensor range_of(clf_model *gradients, const clf_param *param) {
    void *place = clf_model_place(gradients, param);
    clf_tensor t = param->matrix ? ((clf_weight *)place)->data : *(clf_tensor *)place;
    t.cols = (t.rows * t.cols + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    t.rows = 1;
    t.stride = (uint64_t)t.cols;
    return t;
}

static int compare_memory(const void *a, const void *b) {
    const piece *x = a, *y = b;
    if (x->matrix != y->matrix) return x->matrix ? -1 : 1;
    if (x->bucket.stage != y->bucket.stage) return x->bucket.stage - y->bucket.stage;
    return y->index - x->index;
}

static int compare_stages(const void *a, const void *b) {
    const piece *x = a, *y = b;
    if (x->bucket.stage != y->bucket.stage) return x->bucket.stage - y->bucket.stage;
    return x->index - y->index;
}

// The pass goes from the end of memory to its beginning, except where sides and groups meet.
static bool join(clf_bucket *last, const clf_bucket *next, int floats) {
    if (last->range.chunk != next->range.chunk ||
        next->range.offset + (uint64_t)next->range.cols != last->range.offset ||
        next->range.cols > floats - last->range.cols)
        return false;
    last->range.offset = next->range.offset;
    last->range.cols += next->range.cols;
    last->range.stride = (uint64_t)last->range.cols;
    last->stage = next->stage;
    return true;
}

static bool add(piece_list *list, piece next, int floats) {
    const clf_tensor all = next.bucket.range;
    for (int left = all.cols; left > 0;) {
        const int cols = left < floats ? left : floats;
        left -= cols;
        next.bucket.range = clf_tensor_cols(all, left, cols);
        next.bucket.range.stride = (uint64_t)cols;
        clf_bucket *last = list->count > 0 ? &list->data[list->count - 1].bucket : NULL;
        if (last && join(last, &next.bucket, floats)) continue;
        next.index = (int)list->count;
        if (!clf_array_push(list, next)) return false;
    }
    return true;
}

static clf_status join_pieces(clf_model *gradients, const clf_param *params, int count, int floats,
                              piece_list *joined) {
    piece *pieces = calloc((size_t)count, sizeof *pieces);
    if (!pieces) return clf_fail_memory();
    for (int i = 0; i < count; i++) {
        const clf_param *p = &params[i];
        const int layer = is_outside(p->kind) ? -1 : p->layer;
        pieces[i] =
            (piece){{range_of(gradients, p), clf_bucket_stage(&gradients->config, p->side, layer)},
                    p->matrix,
                    i};
    }
    qsort(pieces, (size_t)count, sizeof *pieces, compare_memory);
    bool good = true;
    for (int i = 0; i < count && good; i++) good = add(joined, pieces[i], floats);
    free(pieces);
    return good ? CLF_OK : clf_fail_memory();
}

clf_status clf_buckets_list(clf_model *gradients, int floats, clf_bucket **buckets, int *count) {
    clf_param *params = NULL;
    clf_bucket *made = NULL;
    int param_count = 0;
    piece_list joined = {0};
    CLF_TRY(clf_params_list(&gradients->config, &params, &param_count));
    clf_status status = join_pieces(gradients, params, param_count, floats, &joined);
    if (status != CLF_OK) goto done;
    made = malloc(joined.count * sizeof *made);
    if (!made) {
        status = clf_fail_memory();
        goto done;
    }
    qsort(joined.data, joined.count, sizeof *joined.data, compare_stages);
    for (size_t i = 0; i < joined.count; i++) made[i] = joined.data[i].bucket;
    *buckets = made;
    *count = (int)joined.count;
done:
    clf_array_free(&joined);
    free(params);
    return status;
}

clf_status clf_buckets_layout(clf_model *model, char hash[CLF_HASH_TEXT]) {
    clf_param *params = NULL;
    int count = 0;
    CLF_TRY(clf_params_list(&model->config, &params, &count));
    clf_hash sum = clf_hash_start();
    for (int i = 0; i < count; i++) {
        const clf_weight *weight = params[i].matrix ? clf_model_place(model, &params[i]) : NULL;
        const clf_tensor range = range_of(model, &params[i]);
        const uint64_t numbers[] = {range.offset, (uint64_t)range.cols,
                                    weight ? weight->panel_stride : 0,
                                    weight ? weight->row_stride : 0};
        sum = clf_hash_bytes(sum, numbers, sizeof numbers);
    }
    free(params);
    clf_hash_text(sum, hash);
    return CLF_OK;
}
