// SPDX-License-Identifier: MIT
#include "decode/search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/fail.h"

// Histories form a tree, so that beams share what they have in common.
struct node {
    int32_t token;
    int32_t parent; // -1: the start token
};

// A running hypothesis.
struct beam {
    float sum;
    int32_t node;   // its newest token, -1: the start token
    int32_t parent; // the row of the previous step that it continues
};

// A finished hypothesis; `tokens` is set when its sentence is finished.
struct entry {
    clf_hypothesis hypothesis;
    int32_t node;
};

struct sentence {
    CLF_ARRAY(struct node) nodes; // the prefix comes first; freed when the sentence is finished
    struct beam *beams;           // (K), descending by sum
    int running;                  // beams; 0: the sentence is finished
    int first_row;                // of this step's rows
    struct entry *pool;           // (K), descending by score
    int pooled;
    int prefix;      // tokens
    int32_t *tokens; // of all hypotheses, once the sentence is finished
};

// What is left of one row's candidates.
struct head {
    const float *logprobs;
    const int32_t *tokens;
    int left;
};

struct candidate {
    float sum;
    int32_t token;
    int beam;
};

struct clf_search {
    clf_search_options options;
    int32_t start_token;
    int count; // sentences
    int finished;
    int position;
    int row_count;
    struct sentence *sentences;
    struct beam *beams;   // (count, K), then K for the beams of one sentence's next step
    struct entry *pools;  // (count, K)
    clf_search_row *rows; // (count * K)
    struct head *heads;   // (K)
};

static clf_status check_options(const clf_search_options *o, int sentences) {
    if (sentences < 0) return clf_fail(CLF_ERROR_ARGUMENT, "search: %d sentences", sentences);
    if (o->max_length < 2 || o->max_length > INT32_MAX / 4096) {
        return clf_fail(CLF_ERROR_ARGUMENT, "search: max_length is %d; it must be between 2 and %d",
                        o->max_length, INT32_MAX / 4096);
    }
    // Rows and nodes are counted in 32 bits: up to 2 K nodes a step.
    if (o->beam < 1 || o->beam > 1024 || sentences > INT32_MAX / 4096) {
        return clf_fail(CLF_ERROR_ARGUMENT,
                        "search: beam is %d for %d sentences; it must be between 1 and 1024, for "
                        "at most %d sentences",
                        o->beam, sentences, INT32_MAX / 4096);
    }
    if (o->nbest < 1 || o->nbest > o->beam) {
        return clf_fail(CLF_ERROR_ARGUMENT,
                        "search: nbest is %d; it must be between 1 and the beam, %d", o->nbest,
                        o->beam);
    }
    if (!isfinite(o->length_penalty)) {
        return clf_fail(CLF_ERROR_ARGUMENT, "search: length_penalty is not a finite number");
    }
    int eos_limit = (int)(sizeof o->eos / sizeof *o->eos);
    if (o->eos_count < 0 || o->eos_count > eos_limit) {
        return clf_fail(CLF_ERROR_ARGUMENT, "search: %d end tokens; at most %d are possible",
                        o->eos_count, eos_limit);
    }
    if (o->early_stopping < 0 || o->early_stopping > 2) {
        return clf_fail(CLF_ERROR_ARGUMENT,
                        "search: early_stopping is %d; it must be between 0 and 2",
                        o->early_stopping);
    }
    return CLF_OK;
}

static clf_status start_sentence(clf_search *search, int index, const int32_t *prefix, int length) {
    struct sentence *s = &search->sentences[index];
    int room = search->options.max_length - 2; // the start token and one more
    if (length < 0 || length > room) {
        return clf_fail(CLF_ERROR_ARGUMENT,
                        "sentence %d: a prefix of %d tokens where max_length leaves room for %d; "
                        "shorten the prefix or raise max_length",
                        index, length, room);
    }
    s->beams = search->beams + (size_t)index * search->options.beam;
    s->pool = search->pools + (size_t)index * search->options.beam;
    s->prefix = length;
    for (int i = 0; i < length; i++) {
        struct node node = {prefix[i], i - 1};
        if (!clf_array_push(&s->nodes, node)) return clf_fail_memory();
    }
    s->beams[0] = (struct beam){.sum = 0, .node = -1, .parent = index};
    s->running = 1;
    return CLF_OK;
}

static void list_rows(clf_search *search) {
    int count = 0;
    for (int i = 0; i < search->count; i++) {
        struct sentence *s = &search->sentences[i];
        s->first_row = count;
        for (int b = 0; b < s->running; b++) {
            const struct beam *beam = &s->beams[b];
            int32_t token = beam->node < 0 ? search->start_token : s->nodes.data[beam->node].token;
            search->rows[count++] = (clf_search_row){token, beam->parent, i};
        }
    }
    search->row_count = count;
}

clf_status clf_search_create(const clf_search_options *options, int sentences, int32_t start_token,
                             const int32_t *const *prefixes, const int *prefix_lengths,
                             clf_search **search) {
    CLF_TRY(check_options(options, sentences));
    clf_search *s = calloc(1, sizeof *s);
    if (!s) return clf_fail_memory();
    clf_status status = CLF_OK;
    s->options = *options;
    s->start_token = start_token;
    s->count = sentences;
    size_t k = (size_t)options->beam;
    size_t n = (size_t)sentences;
    s->sentences = calloc(n + 1, sizeof *s->sentences);
    s->beams = calloc((n + 1) * k, sizeof *s->beams);
    s->pools = calloc((n + 1) * k, sizeof *s->pools);
    s->rows = calloc((n + 1) * k, sizeof *s->rows);
    s->heads = calloc(k, sizeof *s->heads);
    if (!s->sentences || !s->beams || !s->pools || !s->rows || !s->heads) {
        status = clf_fail_memory();
        goto fail;
    }
    for (int i = 0; i < sentences; i++) {
        const int32_t *prefix = prefixes ? prefixes[i] : NULL;
        status = start_sentence(s, i, prefix, prefix ? prefix_lengths[i] : 0);
        if (status != CLF_OK) goto fail;
    }
    list_rows(s);
    *search = s;
    return CLF_OK;
fail:
    clf_search_destroy(s);
    return status;
}

void clf_search_destroy(clf_search *search) {
    if (!search) return;
    for (int i = 0; search->sentences && i < search->count; i++) {
        clf_array_free(&search->sentences[i].nodes);
        free(search->sentences[i].tokens);
    }
    free(search->sentences);
    free(search->beams);
    free(search->pools);
    free(search->rows);
    free(search->heads);
    free(search);
}

int clf_search_rows(const clf_search *search, const clf_search_row **rows) {
    *rows = search->rows;
    return search->row_count;
}

int clf_search_position(const clf_search *search) {
    return search->position;
}

int clf_search_finished(const clf_search *search) {
    return search->finished;
}

// Hugging Face takes the best (1 + end tokens) * K of all rows together, for K that go on. Of one
// row they can use no more than this: K that go on, and the end tokens between these.
int clf_search_candidates_needed(const clf_search *search) {
    int k = search->options.beam;
    return k == 1 ? 1 : k + search->options.eos_count;
}

bool clf_search_ban_eos(const clf_search *search) {
    return search->position + 1 < search->options.min_length;
}

// True if this step's tokens are the last before max_length.
static bool at_last(const clf_search *search) {
    return search->position + 2 >= search->options.max_length;
}

static bool in_prefix(const clf_search *search, const struct sentence *s) {
    return search->position < s->prefix;
}

// The token that a sentence beyond its prefix must take at this step, -1: any.
static int32_t forced_token(const clf_search *search) {
    if (at_last(search) && search->options.forced_eos >= 0) return search->options.forced_eos;
    return search->position == 0 ? search->options.forced_bos : -1;
}

bool clf_search_forced(const clf_search *search) {
    if (forced_token(search) >= 0) return true;
    for (int i = 0; i < search->count; i++) {
        const struct sentence *s = &search->sentences[i];
        if (s->running && !in_prefix(search, s)) return false;
    }
    return true;
}

static clf_status check_candidates(const clf_search *search, const clf_search_candidates *c) {
    int needed = clf_search_candidates_needed(search);
    if (!c || c->k < needed) {
        return clf_fail(CLF_ERROR_ARGUMENT, "search: %d candidates per row; %d are needed",
                        c ? c->k : 0, needed);
    }
    for (int row = 0; row < search->row_count; row++) {
        int sentence = search->rows[row].sentence;
        if (in_prefix(search, &search->sentences[sentence])) continue;
        size_t first = (size_t)row * c->k;
        // Looked at before the id: a row that is not a number has no token to go with it.
        for (int i = 0; i < c->k; i++) {
            if (!(c->logprobs[first + i] < INFINITY)) {
                return clf_fail(CLF_ERROR_NUMERIC,
                                "sentence %d, position %d: the model gives no number as a "
                                "log-probability; its parameters may be damaged",
                                sentence, search->position);
            }
            if (c->tokens[first + i] < 0) break;
        }
    }
    return CLF_OK;
}

// A list ends at the id -1; what is suppressed by -inf comes last, and does not exist either.
static void end_list(struct head *head) {
    if (head->left > 0 && (head->tokens[0] < 0 || head->logprobs[0] == -INFINITY)) head->left = 0;
}

static void start_lists(clf_search *search, const struct sentence *s,
                        const clf_search_candidates *candidates, const int32_t *forced) {
    static const float certain = 0; // a forced token costs nothing
    for (int b = 0; b < s->running; b++) {
        struct head *head = &search->heads[b];
        if (*forced >= 0) {
            *head = (struct head){&certain, forced, 1};
        } else {
            size_t first = (size_t)(s->first_row + b) * candidates->k;
            *head = (struct head){candidates->logprobs + first, candidates->tokens + first,
                                  candidates->k};
        }
        end_list(head);
    }
}

// Takes the best candidate that is left of all rows of a sentence; false if none is. Of equals it
// is the one of the better beam.
static bool next_candidate(clf_search *search, const struct sentence *s, struct candidate *best) {
    *best = (struct candidate){.beam = -1};
    for (int b = 0; b < s->running; b++) {
        const struct head *head = &search->heads[b];
        if (head->left == 0) continue;
        float sum = s->beams[b].sum + head->logprobs[0];
        if (best->beam >= 0 && sum <= best->sum) continue;
        *best = (struct candidate){sum, head->tokens[0], b};
    }
    if (best->beam < 0) return false;
    struct head *head = &search->heads[best->beam];
    head->logprobs++;
    head->tokens++;
    head->left--;
    end_list(head);
    return true;
}

static bool is_end(const clf_search *search, int32_t token) {
    for (int i = 0; i < search->options.eos_count; i++) {
        if (token == search->options.eos[i]) return true;
    }
    return false;
}

// float32 from here on as in the library whose results these must equal.
static float normalise(const clf_search *search, float sum, int n) {
    return sum / (float)pow(n, (double)search->options.length_penalty);
}

// The number of tokens that this step's hypotheses have after the start token and the prefix.
static int new_tokens(const clf_search *search, const struct sentence *s) {
    return search->position + 1 - s->prefix;
}

// Keeps the best K; of equals the earlier one stays in front.
static void pool_offer(const clf_search *search, struct sentence *s, float sum, int32_t node) {
    struct entry entry = {.node = node};
    entry.hypothesis.length = search->position + 1;
    entry.hypothesis.sum = sum;
    entry.hypothesis.score = normalise(search, sum, new_tokens(search, s));
    int place = s->pooled;
    while (place > 0 && s->pool[place - 1].hypothesis.score < entry.hypothesis.score) place--;
    if (place == search->options.beam) return;
    if (s->pooled < search->options.beam) s->pooled++;
    memmove(s->pool + place + 1, s->pool + place,
            (size_t)(s->pooled - 1 - place) * sizeof *s->pool);
    s->pool[place] = entry;
}

// Sorts a sentence's candidates into finished hypotheses and the beams of the next step.
static clf_status take_candidates(clf_search *search, struct sentence *s) {
    int k = search->options.beam;
    bool last = at_last(search);
    struct beam *next = search->beams + (size_t)search->count * k;
    int kept = 0;
    struct candidate c;
    for (int rank = 0; kept < k && !(last && rank == k) && next_candidate(search, s, &c); rank++) {
        bool ends = last || is_end(search, c.token);
        if (ends && rank >= k) continue; // such a hypothesis is too bad to be a result
        struct node node = {c.token, s->beams[c.beam].node};
        if (!clf_array_push(&s->nodes, node)) return clf_fail_memory();
        int32_t index = (int32_t)s->nodes.count - 1;
        if (ends) {
            pool_offer(search, s, c.sum, index);
        } else {
            next[kept++] = (struct beam){c.sum, index, s->first_row + c.beam};
        }
    }
    memcpy(s->beams, next, (size_t)kept * sizeof *next);
    s->running = kept;
    return CLF_OK;
}

// True if the beams that still run cannot, or shall not, improve the pool.
static bool is_done(const clf_search *search, const struct sentence *s) {
    const clf_search_options *o = &search->options;
    if (s->running == 0) return true; // as at max_length
    if (s->pooled < o->beam) return false;
    if (o->beam == 1 || o->early_stopping == 1) return true;
    bool never = o->early_stopping == 2 && o->length_penalty > 0;
    int n = never ? o->max_length - 1 - s->prefix : new_tokens(search, s);
    return !(normalise(search, s->beams[0].sum, n) > s->pool[o->beam - 1].hypothesis.score);
}

// Writes the tokens of the best hypotheses one after another and lets go of the tree.
static clf_status finish_sentence(clf_search *search, struct sentence *s) {
    if (s->pooled > search->options.nbest) s->pooled = search->options.nbest;
    size_t total = 0;
    for (int i = 0; i < s->pooled; i++) total += (size_t)s->pool[i].hypothesis.length;
    s->tokens = malloc(total * sizeof *s->tokens);
    if (!s->tokens) return clf_fail_memory();
    int32_t *tokens = s->tokens;
    for (int i = 0; i < s->pooled; i++) {
        clf_hypothesis *h = &s->pool[i].hypothesis;
        int32_t node = s->pool[i].node;
        for (int t = h->length; t-- > 0; node = s->nodes.data[node].parent) {
            tokens[t] = s->nodes.data[node].token;
        }
        h->tokens = tokens;
        tokens += h->length;
    }
    clf_array_free(&s->nodes);
    s->running = 0;
    search->finished++;
    return CLF_OK;
}

static clf_status advance_sentence(clf_search *search, struct sentence *s,
                                   const clf_search_candidates *candidates) {
    if (in_prefix(search, s)) {
        s->beams[0].node = search->position; // the prefix is the beginning of the tree
        s->beams[0].parent = s->first_row;
        return CLF_OK;
    }
    int32_t forced = forced_token(search);
    start_lists(search, s, candidates, &forced);
    CLF_TRY(take_candidates(search, s));
    if (s->running == 0 && s->pooled == 0) {
        return clf_fail(CLF_ERROR_ARGUMENT,
                        "sentence %d, position %d: no token is allowed here; suppress fewer",
                        (int)(s - search->sentences), search->position);
    }
    return is_done(search, s) ? finish_sentence(search, s) : CLF_OK;
}

clf_status clf_search_advance(clf_search *search, const clf_search_candidates *candidates) {
    if (!clf_search_forced(search)) CLF_TRY(check_candidates(search, candidates));
    for (int i = 0; i < search->count; i++) {
        struct sentence *s = &search->sentences[i];
        if (s->running) CLF_TRY(advance_sentence(search, s, candidates));
    }
    search->position++;
    list_rows(search);
    return CLF_OK;
}

int clf_search_hypotheses(const clf_search *search, int sentence) {
    const struct sentence *s = &search->sentences[sentence];
    return s->running ? 0 : s->pooled;
}

clf_hypothesis clf_search_hypothesis(const clf_search *search, int sentence, int rank) {
    return search->sentences[sentence].pool[rank].hypothesis;
}
