// SPDX-License-Identifier: MIT
#include "train/optimizer.h"

#include <math.h>
#include <stdlib.h>

#include "base/fail.h"
#include "model/parts.h"
#include "ops/backward.h"

double clf_schedule_rate(const clf_schedule *s, int64_t update) {
    const double u = (double)update, w = (double)s->warmup;
    if (update < s->warmup) return s->peak * u / w;
    const double rest = (double)(s->total - s->warmup);
    double done = rest > 0 ? (u - w) / rest : 1;
    if (done > 1) done = 1;
    switch (s->kind) {
    case CLF_SCHEDULE_INVERSE_SQRT: return s->peak * sqrt((w > 1 ? w : 1) / u);
    case CLF_SCHEDULE_LINEAR: return s->peak * (1 - done);
    case CLF_SCHEDULE_COSINE: return s->peak * 0.5 * (1 + cos(3.14159265358979323846 * done));
    default: return s->peak;
    }
}

enum { GRADIENTS, FIRST_MOMENT, SECOND_MOMENT, AVERAGE, COPIES };

struct clf_optimizer {
    clf_model *model;
    clf_optimizer_options options;
    clf_model *copies[COPIES]; // the average is NULL if there is none
    clf_arena *scratch;
    clf_tensor partial; // (1, CLF_PARTIALS)
    int64_t updates;
};

// Flat vectors of a model, group by group and chunk by chunk.
typedef struct walk {
    int group, chunk;
} walk;

static bool next(const clf_model *model, walk *at) {
    at->chunk++;
    while (at->group < CLF_GROUPS && at->chunk >= clf_arena_chunks(model->groups[at->group])) {
        at->group++;
        at->chunk = 0;
    }
    return at->group < CLF_GROUPS;
}

static clf_tensor flat(const clf_model *model, walk at) {
    return model ? clf_arena_flat(model->groups[at.group], at.chunk) : (clf_tensor){0};
}

#define EACH_FLAT(model, at) for (walk at = {.chunk = -1}; next(model, &at);)

static clf_status create_copies(clf_optimizer *optimizer) {
    for (int i = 0; i < COPIES; i++) {
        if (i == AVERAGE && optimizer->options.average <= 0) continue;
        CLF_TRY(clf_model_create_like(optimizer->model, &optimizer->copies[i]));
    }
    CLF_TRY(clf_arena_create(optimizer->model->device, "the optimizer", "a smaller model",
                             &optimizer->scratch));
    clf_run run = clf_run_begin(optimizer->model->device);
    optimizer->partial = clf_arena_take(&run, optimizer->scratch, 1, CLF_PARTIALS, CLF_F32);
    if (optimizer->copies[AVERAGE]) {
        EACH_FLAT(optimizer->model, at) {
            clf_copy(&run, flat(optimizer->copies[AVERAGE], at), flat(optimizer->model, at));
        }
    }
    return clf_run_finish(&run);
}

clf_status clf_optimizer_create(clf_model *model, const clf_optimizer_options *options,
                                clf_optimizer **optimizer) {
    clf_optimizer *created = calloc(1, sizeof *created);
    if (!created) return clf_fail_memory();
    created->model = model;
    created->options = *options;
    const clf_status status = create_copies(created);
    if (status != CLF_OK) {
        clf_optimizer_destroy(created);
        return status;
    }
    *optimizer = created;
    return CLF_OK;
}

void clf_optimizer_destroy(clf_optimizer *optimizer) {
    if (!optimizer) return;
    for (int i = 0; i < COPIES; i++) clf_model_destroy(optimizer->copies[i]);
    clf_arena_destroy(optimizer->scratch);
    free(optimizer);
}

clf_model *clf_optimizer_gradients(clf_optimizer *optimizer) {
    return optimizer->copies[GRADIENTS];
}

clf_model *clf_optimizer_state(clf_optimizer *optimizer, int which) {
    return optimizer->copies[FIRST_MOMENT + which];
}

int64_t clf_optimizer_updates(const clf_optimizer *optimizer) {
    return optimizer->updates;
}

void clf_optimizer_set_updates(clf_optimizer *optimizer, int64_t updates) {
    optimizer->updates = updates;
}

double clf_optimizer_norm(clf_run *run, clf_optimizer *optimizer, double scale) {
    double sum = 0;
    EACH_FLAT(optimizer->model, at) {
        float partial[CLF_PARTIALS] = {0};
        clf_op_square_sums(run, optimizer->partial, flat(optimizer->copies[GRADIENTS], at));
        clf_read(run, optimizer->partial, partial);
        for (int i = 0; i < CLF_PARTIALS; i++) sum += partial[i];
    }
    return sqrt(sum) * scale;
}

void clf_optimizer_update(clf_run *run, clf_optimizer *optimizer, double rate, double scale,
                          double norm) {
    const clf_optimizer_options *o = &optimizer->options;
    const double step = (double)++optimizer->updates;
    if (o->clip > 0 && norm > o->clip) scale *= o->clip / norm;
    // The average follows closely at first, when the weights are far from where they will be.
    const double average_rate = fmax(o->average, 9 / (step + 9));
    clf_adam adam = {.rate = (float)rate,
                     .beta1 = o->beta1,
                     .beta2 = o->beta2,
                     .epsilon = o->epsilon,
                     .scale = (float)scale,
                     .correction1 = (float)(1 - pow((double)o->beta1, step)),
                     .correction2 = (float)(1 - pow((double)o->beta2, step)),
                     .average_rate = (float)average_rate};
    EACH_FLAT(optimizer->model, at) {
        adam.decay = at.group == CLF_MATRICES ? o->decay : 0;
        clf_op_adam(run, flat(optimizer->model, at), flat(optimizer->copies[GRADIENTS], at),
                    flat(optimizer->copies[FIRST_MOMENT], at),
                    flat(optimizer->copies[SECOND_MOMENT], at),
                    flat(optimizer->copies[AVERAGE], at), adam);
    }
}

void clf_optimizer_skip(clf_run *run, clf_optimizer *optimizer) {
    EACH_FLAT(optimizer->model, at) clf_fill_zero(run, flat(optimizer->copies[GRADIENTS], at));
}
