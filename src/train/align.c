// SPDX-License-Identifier: MIT
#include <stdlib.h>

#include "base/fail.h"
#include "model/parts.h"
#include "train/trainer.h"

enum { PIECE_FLOATS = 4 << 20 }; // on the host at a time

static clf_status share_piece(clf_trainer *t, clf_tensor piece, float *host) {
    const bool first = clf_exchange_rank(t->exchange) == 0;
    clf_run run = clf_run_begin(t->device);
    if (first) clf_read(&run, piece, host);
    CLF_TRY(run.status);
    CLF_TRY(clf_exchange_share(t->exchange, host, (size_t)piece.cols * sizeof *host));
    if (!first) clf_write(&run, piece, host);
    return clf_run_finish(&run);
}

static clf_status share_arena(clf_trainer *t, const clf_arena *arena, float *host) {
    for (int chunk = 0; chunk < clf_arena_chunks(arena); chunk++) {
        const clf_tensor flat = clf_arena_flat(arena, chunk);
        for (int done = 0; done < flat.cols; done += PIECE_FLOATS) {
            const int left = flat.cols - done;
            const int floats = left < PIECE_FLOATS ? left : PIECE_FLOATS;
            CLF_TRY(share_piece(t, clf_tensor_cols(flat, done, floats), host));
        }
    }
    return CLF_OK;
}

static clf_status share_models(clf_trainer *t, float *host) {
    const clf_model *models[] = {t->model, clf_optimizer_state(t->optimizer, 0),
                                 clf_optimizer_state(t->optimizer, 1),
                                 clf_optimizer_state(t->optimizer, 2)};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        for (int group = 0; models[i] && group < CLF_GROUPS; group++)
            CLF_TRY(share_arena(t, models[i]->groups[group], host));
    }
    return CLF_OK;
}

clf_status clf_trainer_align(clf_trainer *t) {
    if (clf_exchange_count(t->exchange) == 1) return CLF_OK;
    CLF_TRY(clf_exchange_share(t->exchange, &t->state, sizeof t->state));
    clf_optimizer_set_updates(t->optimizer, t->state.updates);
    float *host = malloc(PIECE_FLOATS * sizeof *host);
    if (!host) return clf_fail_memory();
    const clf_status status = share_models(t, host);
    free(host);
    return status;
}
