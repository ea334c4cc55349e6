// SPDX-License-Identifier: MIT
#include "model/batch.h"

#include <stdlib.h>

#include "base/fail.h"

void clf_sequences_fill(const clf_model *model, const clf_tokens *sequences, int count, bool shift,
                        int32_t *ids, int32_t *where) {
    int start_token = clf_model_config(model)->start_token;
    for (int i = 0, row = 0; i < count; i++) {
        for (int t = 0; t < sequences[i].count; t++, row++) {
            ids[row] = !shift   ? sequences[i].ids[t]
                       : t == 0 ? start_token
                                : sequences[i].ids[t - 1];
            where[row] = clf_model_position(model, t);
        }
    }
}

clf_sequences clf_sequences_upload(clf_run *run, const clf_model *model, clf_arena *arena,
                                   const clf_tokens *sequences, int count, bool shift) {
    int rows = 0, longest = 0;
    for (int i = 0; i < count; i++) {
        rows += sequences[i].count;
        if (sequences[i].count > longest) longest = sequences[i].count;
    }
    // One transfer: ids, where, starts, lengths.
    int total = 2 * rows + 2 * count;
    clf_tensor all = clf_arena_take(run, arena, 1, total, CLF_I32);
    int32_t *host = malloc((size_t)total * sizeof *host);
    if (!host) {
        clf_run_fail(run, clf_fail_memory());
        return (clf_sequences){0};
    }
    clf_sequences_fill(model, sequences, count, shift, host, host + rows);
    for (int i = 0, row = 0; i < count; row += sequences[i++].count) {
        host[2 * rows + i] = row;
        host[2 * rows + count + i] = sequences[i].count;
    }
    clf_write(run, all, host);
    free(host);
    return (clf_sequences){.ids = clf_tensor_cols(all, 0, rows),
                           .where = clf_tensor_cols(all, rows, rows),
                           .starts = clf_tensor_cols(all, 2 * rows, count),
                           .lengths = clf_tensor_cols(all, 2 * rows + count, count),
                           .rows = rows,
                           .count = count,
                           .longest = longest};
}
