// SPDX-License-Identifier: MIT
#include "decode/generate.h"

#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "decode/cache.h"
#include "device/launch.h"

// With more on a GPU, products take so long that launching them by themselves costs nothing.
#define CHAINED_ROWS 64
// An output projection with as many bytes is worth a copy to search in, when there are as many
// sentences or others came before.
#define SCREENED_BYTES     (4 << 20)
#define SCREENED_SENTENCES 8

struct clf_generator {
    clf_device *device;
    const clf_model *model;
    clf_arena *batch;   // lives through a batch: sources, cross-attention keys, tables
    clf_arena *scratch; // activations, forgotten after every pass
    clf_cache cache;
    clf_tensor *cross; // per decoder layer
    clf_arena *kept;   // what is made once: the screen
    clf_screen screen; // of the output projection, once it is worth it
    bool screen_known;
    bool searched; // without scores, so far
};

clf_status clf_generator_create(clf_device *device, const clf_model *model,
                                clf_generator **generator) {
    static const char lower[] = "a smaller --batch-tokens";
    const clf_config *config = clf_model_config(model);
    clf_status status;
    clf_generator *made = calloc(1, sizeof *made);
    if (!made) return clf_fail_memory();
    made->device = device;
    made->model = model;
    made->cross = calloc((size_t)config->decoder.layers, sizeof *made->cross);
    status = made->cross ? clf_cache_init(&made->cache, device, config) : clf_fail_memory();
    if (status != CLF_OK) goto fail;
    status = clf_arena_create(device, "a batch", lower, &made->batch);
    if (status != CLF_OK) goto fail;
    status = clf_arena_create(device, "activations", lower, &made->scratch);
    if (status != CLF_OK) goto fail;
    status = clf_arena_create(device, "a copy of the output projection", "--scores", &made->kept);
    if (status != CLF_OK) goto fail;
    *generator = made;
    return CLF_OK;
fail:
    clf_generator_destroy(made);
    return status;
}

void clf_generator_destroy(clf_generator *generator) {
    if (!generator) return;
    clf_cache_finish(&generator->cache);
    clf_arena_destroy(generator->batch);
    clf_arena_destroy(generator->scratch);
    clf_arena_destroy(generator->kept);
    free(generator->cross);
    free(generator);
}

// Encodes the sources and leaves each decoder layer's cross-attention keys and values in
// generator->cross.
static clf_sequences encode(clf_run *run, clf_generator *g, const clf_tokens *sources, int count) {
    clf_arena_reset(g->batch);
    clf_arena_reset(g->scratch);
    clf_sequences source = clf_sequences_upload(run, g->model, g->batch, sources, count, false);
    clf_tensor memory = clf_model_encode(run, g->model, g->scratch, &source);
    clf_model_cross(run, g->model, g->batch, memory, g->cross);
    clf_arena_reset(g->scratch);
    return source;
}

// ---- search -------------------------------------------------------------------------------------

// What stays the same through the steps of a batch, and the host's side of the transfers.
typedef struct stepper {
    clf_generator *g;
    clf_search *search;
    const clf_generate_options *options;
    clf_sequences source;
    clf_tensor origin[2]; // this step's and the previous step's, in turn
    clf_tensor banned;    // suppressed tokens, then the end tokens
    clf_screen screen;    // absent where log-probabilities are needed
    int candidates;
    int32_t *fed;   // (4, slots): token, position, sentence and parent of each row
    float *found;   // (slots, 2 * candidates): log-probabilities, then token ids
    int32_t *order; // token ids of `found`, tightly packed
} stepper;

static clf_tensor upload_banned(clf_run *run, clf_generator *g,
                                const clf_generate_options *options) {
    int32_t ids[1024];
    int count = 0, room = (int)(sizeof ids / sizeof *ids) - options->search.eos_count;
    if (options->suppress_count > room) {
        clf_run_fail(run, clf_fail(CLF_ERROR_ARGUMENT, "%d suppressed tokens are more than %d",
                                   options->suppress_count, room));
        return (clf_tensor){0};
    }
    for (int i = 0; i < options->suppress_count; i++) ids[count++] = options->suppress[i];
    for (int i = 0; i < options->search.eos_count; i++) ids[count++] = options->search.eos[i];
    if (count == 0) return (clf_tensor){0};
    clf_tensor banned = clf_arena_take(run, g->batch, 1, count, CLF_I32);
    clf_write(run, banned, ids);
    return banned;
}

static clf_status make_screen(clf_generator *g, size_t least) {
    clf_run run = clf_run_begin(g->device);
    clf_arena_reset(g->kept);
    g->screen_known = true;
    g->screen = clf_model_screen(&run, g->model, g->kept, least);
    return clf_run_finish(&run);
}

clf_status clf_generator_make_screen(clf_generator *g) {
    return make_screen(g, 0);
}

// Log-probabilities decide between beams; the best token of each row is the same without them.
static clf_screen screen_of(clf_generator *g, const clf_generate_options *options, int sentences) {
    if (!options->no_scores || options->search.beam > 1) return (clf_screen){0};
    const bool worth = g->searched || sentences >= SCREENED_SENTENCES;
    g->searched = true;
    if (worth && !g->screen_known && make_screen(g, SCREENED_BYTES) != CLF_OK) {
        clf_log(CLF_LOG_DEBUG, "no copy to search in: %s", clf_last_error());
        clf_arena_reset(g->kept);
        g->screen = (clf_screen){0};
    }
    return g->screen;
}

static void begin_steps(clf_run *run, stepper *s, const clf_tokens *sources, int count) {
    clf_generator *g = s->g;
    int slots = count * s->options->search.beam;
    s->source = encode(run, g, sources, count);
    s->banned = upload_banned(run, g, s->options);
    s->screen = screen_of(g, s->options, count);
    s->candidates = clf_search_candidates_needed(s->search);
    for (int i = 0; i < 2; i++) {
        s->origin[i] = clf_arena_take(run, g->batch, slots, s->options->search.max_length, CLF_I32);
    }
    // Most translations are about as long as their source; the cache grows for the few others.
    int positions = s->source.longest + s->source.longest / 4 + 12;
    if (positions > s->options->search.max_length) positions = s->options->search.max_length;
    clf_cache_plan(run, &g->cache, slots, positions);
    s->fed = malloc((size_t)slots * 4 * sizeof *s->fed);
    s->found = malloc((size_t)slots * 2 * (size_t)s->candidates * sizeof *s->found);
    s->order = malloc((size_t)slots * (size_t)s->candidates * sizeof *s->order);
    if (!s->fed || !s->found || !s->order) clf_run_fail(run, clf_fail_memory());
}

static void end_steps(stepper *s) {
    free(s->fed);
    free(s->found);
    free(s->order);
}

// The banned tokens of this step; a search that may stop leaves the end tokens out.
static clf_tensor banned_now(const stepper *s) {
    int count = s->options->suppress_count;
    if (clf_search_ban_eos(s->search)) count += s->options->search.eos_count;
    return count > 0 ? clf_tensor_cols(s->banned, 0, count) : (clf_tensor){0};
}

// Uploads what the rows are fed with; returns (4, rows): token, position, sentence, parent.
static clf_tensor feed(clf_run *run, stepper *s, const clf_search_row *rows, int count,
                       int position) {
    clf_tensor fed = clf_arena_take(run, s->g->scratch, 4, count, CLF_I32);
    int where = clf_model_position(s->g->model, position);
    for (int i = 0; i < count; i++) {
        s->fed[i] = rows[i].token;
        s->fed[count + i] = where;
        s->fed[2 * count + i] = rows[i].sentence;
        s->fed[3 * count + i] = rows[i].parent;
    }
    clf_write(run, fed, s->fed);
    return fed;
}

// Log-probabilities and ids side by side in one tensor, so that one read, the step's only
// synchronisation, brings both.
static void choose(clf_run *run, stepper *s, clf_tensor hidden, clf_search_candidates *candidates) {
    int rows = hidden.rows, k = s->candidates;
    clf_tensor found = clf_arena_take(run, s->g->scratch, rows, 2 * k, CLF_F32);
    clf_tensor values = clf_tensor_cols(found, 0, k), ids = clf_tensor_cols(found, k, k);
    ids.dtype = CLF_I32;
    clf_model_best(run, s->g->model, values, ids, hidden, s->screen,
                   (clf_topk){.banned = banned_now(s),
                              .renormalize = s->options->renormalize,
                              .k = k,
                              .scratch = s->g->scratch});
    clf_read(run, found, s->found);
    // Pull the two halves apart: values move to the front, which never overtakes what is unread.
    for (int r = 0; r < rows; r++) {
        memcpy(s->order + (size_t)r * k, s->found + ((size_t)2 * r + 1) * k,
               (size_t)k * sizeof(int32_t));
        memmove(s->found + (size_t)r * k, s->found + (size_t)2 * r * k, (size_t)k * sizeof(float));
    }
    *candidates = (clf_search_candidates){.logprobs = s->found, .tokens = s->order, .k = k};
}

// Makes room for more positions than were planned. Afterwards row r's past stands in slot r.
static void grow_cache(clf_run *run, stepper *s, clf_tensor origin, int position) {
    int longest = s->options->search.max_length, doubled = 2 * position;
    clf_cache_grow(run, &s->g->cache, origin, position, doubled < longest ? doubled : longest);
    size_t count = (size_t)origin.rows * (size_t)origin.cols;
    int32_t *own = malloc(count * sizeof *own);
    if (!own) {
        clf_run_fail(run, clf_fail_memory());
        return;
    }
    for (size_t i = 0; i < count; i++) own[i] = (int32_t)(i / (size_t)origin.cols);
    clf_write(run, origin, own);
    free(own);
}

static void step(clf_run *run, stepper *s, const clf_search_row *rows, int count) {
    clf_generator *g = s->g;
    int position = clf_search_position(s->search);
    clf_tensor fed = feed(run, s, rows, count, position);
    clf_tensor origin = clf_tensor_rows(s->origin[position % 2], 0, count);
    if (count <= CHAINED_ROWS || clf_device_profile(g->device)->lanes == 1) clf_chain_begin(run);
    clf_op_reorder(run, origin, s->origin[1 - position % 2], clf_tensor_rows(fed, 3, 1), position);
    if (position >= g->cache.positions) grow_cache(run, s, origin, position);
    clf_step next = {.ids = clf_tensor_rows(fed, 0, 1),
                     .where = clf_tensor_rows(fed, 1, 1),
                     .sentence = clf_tensor_rows(fed, 2, 1),
                     .origin = origin,
                     .starts = s->source.starts,
                     .lengths = s->source.lengths,
                     .cross = g->cross,
                     .cache = g->cache.layers,
                     .position = position,
                     .slots = g->cache.slots};
    clf_tensor hidden = clf_model_step(run, g->model, g->scratch, &next);
    clf_search_candidates candidates;
    bool forced = clf_search_forced(s->search);
    if (!forced) choose(run, s, hidden, &candidates);
    clf_chain_end(run);
    clf_arena_reset(g->scratch);
    if (run->status != CLF_OK) return;
    clf_run_fail(run, clf_search_advance(s->search, forced ? NULL : &candidates));
}

static clf_status create_search(const clf_generator *g, const clf_tokens *prefixes, int count,
                                const clf_search_options *options, clf_search **search) {
    if (!prefixes) {
        return clf_search_create(options, count, clf_model_config(g->model)->start_token, NULL,
                                 NULL, search);
    }
    clf_status status = CLF_ERROR_MEMORY;
    const int32_t **ids = malloc((size_t)count * sizeof *ids);
    int *lengths = malloc((size_t)count * sizeof *lengths);
    if (ids && lengths) {
        for (int i = 0; i < count; i++) {
            ids[i] = prefixes[i].ids;
            lengths[i] = prefixes[i].count;
        }
        status = clf_search_create(options, count, clf_model_config(g->model)->start_token, ids,
                                   lengths, search);
    } else {
        clf_fail_memory();
    }
    free(ids);
    free(lengths);
    return status;
}

clf_status clf_generate(clf_generator *generator, const clf_tokens *sources,
                        const clf_tokens *prefixes, int count, const clf_generate_options *options,
                        clf_search **search) {
    clf_run run = clf_run_begin(generator->device);
    stepper s = {.g = generator, .options = options};
    CLF_TRY(create_search(generator, prefixes, count, &options->search, &s.search));
    begin_steps(&run, &s, sources, count);
    const clf_search_row *rows;
    int active;
    while (run.status == CLF_OK && (active = clf_search_rows(s.search, &rows)) > 0) {
        if (options->cancelled && options->cancelled(options->user)) {
            clf_run_fail(&run, clf_fail(CLF_ERROR_CANCELLED, "cancelled"));
        } else {
            step(&run, &s, rows, active);
        }
    }
    end_steps(&s);
    clf_run_finish(&run);
    if (run.status != CLF_OK) {
        clf_search_destroy(s.search);
        return run.status;
    }
    *search = s.search;
    return CLF_OK;
}

// ---- given targets ------------------------------------------------------------------------------

static clf_tensor decode_targets(clf_run *run, clf_generator *g, const clf_tokens *sources,
                                 const clf_tokens *targets, int count) {
    clf_sequences source = encode(run, g, sources, count);
    clf_sequences target = clf_sequences_upload(run, g->model, g->scratch, targets, count, true);
    return clf_model_decode(run, g->model, g->scratch, &target, &source, g->cross);
}

clf_status clf_generator_score(clf_generator *g, const clf_tokens *sources,
                               const clf_tokens *targets, int count,
                               const clf_generate_options *options, float *logprobs) {
    enum { SLICE = 256 }; // rows of logits at a time, so that no (tokens, V) matrix is needed
    clf_run run = clf_run_begin(g->device);
    clf_tensor hidden = decode_targets(&run, g, sources, targets, count);
    clf_tensor result = clf_arena_take(&run, g->batch, hidden.rows, 1, CLF_F32);
    clf_tensor labels = clf_arena_take(&run, g->batch, 1, hidden.rows, CLF_I32);
    clf_tensor banned = {0};
    if (options->renormalize && options->suppress_count > 0) {
        banned = clf_arena_take(&run, g->batch, 1, options->suppress_count, CLF_I32);
        clf_write(&run, banned, options->suppress);
    }
    int32_t *ids = malloc((size_t)hidden.rows * sizeof *ids);
    if (!ids) clf_run_fail(&run, clf_fail_memory());
    for (int i = 0, row = 0; ids && i < count; row += targets[i++].count) {
        memcpy(ids + row, targets[i].ids, (size_t)targets[i].count * sizeof *ids);
    }
    clf_write(&run, labels, ids);
    for (int row = 0; row < hidden.rows; row += SLICE) {
        int rows = hidden.rows - row < SLICE ? hidden.rows - row : SLICE;
        clf_arena_mark mark = clf_arena_get_mark(g->scratch);
        clf_tensor logits =
            clf_model_logits(&run, g->model, g->scratch, clf_tensor_rows(hidden, row, rows));
        clf_op_pick(&run, clf_tensor_rows(result, row, rows), logits,
                    clf_tensor_cols(labels, row, rows), banned);
        clf_arena_rewind(g->scratch, mark);
    }
    clf_read(&run, result, logprobs);
    free(ids);
    return clf_run_finish(&run);
}

clf_status clf_generator_logits(clf_generator *g, clf_tokens source, clf_tokens target,
                                float *logits) {
    clf_run run = clf_run_begin(g->device);
    clf_tensor hidden = decode_targets(&run, g, &source, &target, 1);
    clf_read(&run, clf_model_logits(&run, g->model, g->scratch, hidden), logits);
    return clf_run_finish(&run);
}
