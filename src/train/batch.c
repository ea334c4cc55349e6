// SPDX-License-Identifier: MIT
#include "train/batch.h"

#include <stdlib.h>

#include "base/fail.h"

// A clf_index on the host.
typedef struct host_index {
    int32_t *rows, *keys, *first; // room for R, R and R + 1
    int row_count, key_count;
} host_index;

typedef struct keyed_row {
    int32_t key, row;
} keyed_row;

static int compare_rows(const void *a, const void *b) {
    const keyed_row *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

// `room` has 3 * count + 1 elements. Rows with the key `skip` or a negative one are left out. False
// if memory is short.
static bool make_index(host_index *index, int32_t *room, const int32_t *keys, int count,
                       int32_t skip) {
    keyed_row *sorted = malloc((size_t)(count > 0 ? count : 1) * sizeof *sorted);
    if (!sorted) return false;
    *index = (host_index){.rows = room, .keys = room + count, .first = room + 2 * count};
    for (int r = 0; r < count; r++) {
        if (keys[r] >= 0 && keys[r] != skip) sorted[index->row_count++] = (keyed_row){keys[r], r};
    }
    qsort(sorted, (size_t)index->row_count, sizeof *sorted, compare_rows);
    for (int i = 0; i < index->row_count; i++) {
        if (i == 0 || sorted[i].key != sorted[i - 1].key) {
            index->first[index->key_count] = i;
            index->keys[index->key_count++] = sorted[i].key;
        }
        index->rows[i] = sorted[i].row;
    }
    index->first[index->key_count] = index->row_count;
    free(sorted);
    return true;
}

static clf_index upload_index(clf_run *run, clf_arena *arena, const int32_t *keys, int count,
                              int32_t skip) {
    const int total = 3 * count + 1;
    int32_t *room = malloc((size_t)total * sizeof *room);
    host_index index;
    if (!room || !make_index(&index, room, keys, count, skip)) {
        free(room);
        clf_run_fail(run, clf_fail_memory());
        return (clf_index){0};
    }
    // One transfer; what lies between the parts is not used.
    for (int i = index.row_count; i < count; i++) index.rows[i] = 0;
    for (int i = index.key_count; i < count; i++) index.keys[i] = 0;
    for (int i = index.key_count + 1; i <= count; i++) index.first[i] = index.row_count;
    const clf_tensor all = clf_arena_take(run, arena, 1, total, CLF_I32);
    clf_write(run, all, room);
    free(room);
    return (clf_index){.rows = clf_tensor_cols(all, 0, index.row_count),
                       .keys = clf_tensor_cols(all, count, index.key_count),
                       .first = clf_tensor_cols(all, 2 * count, index.key_count + 1)};
}

static void upload_indices(clf_run *run, const clf_model *model, clf_arena *arena,
                           const clf_tokens *sequences, int count, bool shift, clf_index *ids,
                           clf_index *where) {
    int rows = 0;
    for (int i = 0; i < count; i++) rows += sequences[i].count;
    int32_t *host = malloc(2 * (size_t)rows * sizeof *host);
    if (!host) {
        clf_run_fail(run, clf_fail_memory());
        return;
    }
    clf_sequences_fill(model, sequences, count, shift, host, host + rows);
    const clf_config *config = clf_model_config(model);
    *ids = upload_index(run, arena, host, rows, config->pad_token);
    if (config->positions == CLF_POSITIONS_LEARNED)
        *where = upload_index(run, arena, host + rows, rows, -1);
    free(host);
}

static clf_tensor upload_labels(clf_run *run, clf_arena *arena, const clf_tokens *targets,
                                int count, int rows) {
    int32_t *labels = malloc((size_t)rows * sizeof *labels);
    const clf_tensor tensor = clf_arena_take(run, arena, 1, rows, CLF_I32);
    if (!labels) {
        clf_run_fail(run, clf_fail_memory());
        return tensor;
    }
    for (int i = 0, row = 0; i < count; i++) {
        for (int t = 0; t < targets[i].count; t++) labels[row++] = targets[i].ids[t];
    }
    clf_write(run, tensor, labels);
    free(labels);
    return tensor;
}

clf_train_batch clf_train_batch_upload(clf_run *run, const clf_model *model, clf_arena *arena,
                                       const clf_tokens *sources, const clf_tokens *targets,
                                       const clf_tokens *inputs, int count) {
    clf_train_batch batch = {0};
    const bool shift = inputs == NULL;
    if (shift) inputs = targets;
    batch.source = clf_sequences_upload(run, model, arena, sources, count, false);
    batch.target = clf_sequences_upload(run, model, arena, inputs, count, shift);
    batch.labels = upload_labels(run, arena, targets, count, batch.target.rows);
    upload_indices(run, model, arena, sources, count, false, &batch.source_ids,
                   &batch.source_where);
    upload_indices(run, model, arena, inputs, count, shift, &batch.target_ids, &batch.target_where);
    return batch;
}
