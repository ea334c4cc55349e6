// SPDX-License-Identifier: MIT
// What a search finds, with tables of probabilities in place of a model.
#include "harness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/rng.h"
#include "decode/search.h"

#define VOCABULARY_LIMIT 16
#define LENGTH_LIMIT     16
#define START            1 // as in make_search.py

// What a row stands for. `memory` is a hash of its whole history, handed from row to row by
// `parent` as a decoder's cache is.
struct row {
    int sentence, position, last;
    uint64_t memory;
};

// In place of a model.
struct table {
    // Writes log P(token | row), (vocabulary).
    void (*logprobs)(const struct table *table, const struct row *row, double *logprobs);
    int vocabulary;
    uint64_t seed;
    float end_bias;
    bool by_history; // probabilities depend on the whole history, not the last token
    clf_search_options options;
    int first_sentence; // the search's sentence 0 is this one of the table
};

static bool is_end(const struct table *table, int token) {
    for (int i = 0; i < table->options.eos_count; i++) {
        if (table->options.eos[i] == token) return true;
    }
    return false;
}

// Probabilities of make_search.py.
static void random_logprobs(const struct table *table, const struct row *row, double *logprobs) {
    uint64_t key = (table->seed * 16 + row->sentence) * 64 + row->position;
    key = table->by_history ? row->memory : key * 16 + row->last;
    double sum = 0;
    for (int v = 0; v < table->vocabulary; v++) {
        clf_rng rng = {key * 16 + v};
        float logit = clf_rng_uniform(&rng, -3, 3) + (is_end(table, v) ? table->end_bias : 0);
        logprobs[v] = logit;
        sum += exp(logprobs[v]);
    }
    for (int v = 0; v < table->vocabulary; v++) logprobs[v] -= log(sum);
}

static uint64_t remember(uint64_t memory, int token) {
    clf_rng rng = {memory + (uint64_t)token};
    return clf_rng_next(&rng);
}

// The k best tokens of one row, as a device gives them.
static void best_of_row(const double *logprobs, int vocabulary, int k, float *best,
                        int32_t *tokens) {
    bool used[VOCABULARY_LIMIT] = {false};
    for (int i = 0; i < k; i++) {
        int top = -1;
        for (int v = 0; v < vocabulary; v++) {
            if (used[v] || logprobs[v] == -INFINITY) continue;
            if (top < 0 || logprobs[v] > logprobs[top]) top = v;
        }
        tokens[i] = top;
        best[i] = top < 0 ? 123 : (float)logprobs[top]; // beyond the end: not to be looked at
        if (top >= 0) used[top] = true;
    }
}

// A search at work, with what its rows remember.
struct driver {
    const struct table *table;
    clf_search *search;
    uint64_t *memory;
    int steps;
};

static clf_status step(struct driver *d) {
    const clf_search_row *rows;
    int count = clf_search_rows(d->search, &rows);
    int position = clf_search_position(d->search);
    int k = clf_search_candidates_needed(d->search) + d->steps % 3; // more do not matter
    float *best = malloc(sizeof *best * (size_t)(count * k));
    int32_t *tokens = malloc(sizeof *tokens * (size_t)(count * k));
    uint64_t *memory = malloc(sizeof *memory * (size_t)count);
    for (int i = 0; i < count; i++) {
        int sentence = rows[i].sentence + d->table->first_sentence;
        uint64_t before = d->memory ? d->memory[rows[i].parent] : (uint64_t)sentence;
        memory[i] = remember(before, rows[i].token);
        struct row row = {sentence, position, rows[i].token, memory[i]};
        double logprobs[VOCABULARY_LIMIT];
        d->table->logprobs(d->table, &row, logprobs);
        for (int v = 0; v < d->table->vocabulary && clf_search_ban_eos(d->search); v++) {
            if (is_end(d->table, v)) logprobs[v] = -INFINITY;
        }
        best_of_row(logprobs, d->table->vocabulary, k, best + i * k, tokens + i * k);
    }
    clf_search_candidates candidates = {best, tokens, k};
    clf_status status =
        clf_search_advance(d->search, clf_search_forced(d->search) ? NULL : &candidates);
    free(best);
    free(tokens);
    free(d->memory);
    d->memory = memory;
    d->steps++;
    return status;
}

// Runs a search to its end (or for so many steps); destroyed by clf_search_destroy.
static clf_search *run_some(const struct table *table, int sentences, int start,
                            const int32_t *const *prefixes, const int *lengths, int limit,
                            int *steps) {
    struct driver d = {.table = table};
    CLF_ASSERT_OK(
        clf_search_create(&table->options, sentences, start, prefixes, lengths, &d.search));
    const clf_search_row *rows;
    while (d.search && clf_search_rows(d.search, &rows) > 0 && d.steps < limit) {
        if (!CLF_ASSERT_OK(step(&d))) break;
    }
    free(d.memory);
    if (steps) *steps = d.steps;
    return d.search;
}

static clf_search *run(const struct table *table, int sentences, const int32_t *const *prefixes,
                       const int *lengths, int *steps) {
    return run_some(table, sentences, START, prefixes, lengths, 1 << 20, steps);
}

// Token ids of "2 1 0" or "2,1,0"; "-" is none.
static int parse_tokens(const char *text, int32_t *tokens) {
    int count = 0;
    if (*text == '-') return 0;
    for (char *end; count < LENGTH_LIMIT; text = end + 1) {
        tokens[count++] = (int32_t)strtol(text, &end, 10);
        if (!*end) break;
    }
    return count;
}

static bool same_tokens(const clf_hypothesis *h, const int32_t *tokens, int length) {
    return h->length == length && memcmp(h->tokens, tokens, sizeof *tokens * (size_t)length) == 0;
}

static void check(const clf_search *search, int sentence, int rank, const char *tokens,
                  double score, double tolerance, const char *name) {
    CU_ASSERT_FATAL(rank < clf_search_hypotheses(search, sentence));
    clf_hypothesis h = clf_search_hypothesis(search, sentence, rank);
    int32_t expected[LENGTH_LIMIT];
    bool same = same_tokens(&h, expected, parse_tokens(tokens, expected));
    bool near = fabs(h.score - score) <= tolerance * fmax(1, fabs(score));
    if (!same || !near) {
        fprintf(stderr, "\n%s, sentence %d, rank %d: expected %s (%.7g), got", name, sentence, rank,
                tokens, score);
        for (int i = 0; i < h.length; i++) fprintf(stderr, " %d", (int)h.tokens[i]);
        fprintf(stderr, " (%.7g)\n", h.score);
    }
    CU_ASSERT(same);
    CU_ASSERT(near);
}

// A Markov model: 0 ends, 9 starts.
static void markov_logprobs(const struct table *table, const struct row *row, double *logprobs) {
    static const double start[4] = {0, .40, .35, .25};
    static const double next[4][4] = {
        {.25, .25, .25, .25}, {.45, .15, .05, .35}, {0, .60, .25, .15}, {0, .60, .35, .05}};
    for (int v = 0; v < table->vocabulary; v++) {
        logprobs[v] = log(row->last == 9 ? start[v] : next[row->last][v]);
    }
}

// Confirmed with transformers 5.23.
static const struct vector {
    const char *name;
    int beam, early_stopping, max_length, forced_eos;
    float length_penalty;
    int steps;
    const char *tokens[3];
    double scores[3];
} vectors[] = {
    {"greedy", 1, 0, 8, -1, 1, 2, {"1 0"}, {-.857399}},
    {"false", 2, 0, 8, -1, 1, 5, {"2 1 3 1 0", "2 1 0"}, {-.783961, -.786385}},
    {"true", 2, 1, 8, -1, 1, 3, {"2 1 0", "1 0"}, {-.786385, -.857399}},
    {"never", 2, 2, 8, -1, 1, 7, {"2 1 3 1 3 1 0", "2 1 3 1 0"}, {-.782922, -.783961}},
    {"0.6 false", 2, 0, 8, -1, .6f, 3, {"1 0", "2 1 0"}, {-1.131345, -1.220348}},
    {"0.6 true", 2, 1, 8, -1, .6f, 3, {"1 0", "2 1 0"}, {-1.131345, -1.220348}},
    {"0.6 never", 2, 2, 8, -1, .6f, 5, {"1 0", "2 1 0"}, {-1.131345, -1.220348}},
    {"2 false", 2, 0, 8, -1, 2, 7, {"2 1 3 1 3 1 0", "1 3 1 3 1 3 1"}, {-.111846, -.114250}},
    {"beam 3", 3, 1, 8, -1, 1, 4, {"2 1 0", "1 3 1 0", "1 0"}, {-.786385, -.818862, -.857399}},
    {"cut", 2, 1, 4, -1, 1, 3, {"2 1 0", "1 3 1"}, {-.786385, -.825646}},
    {"forced end", 2, 0, 4, 0, 1, 3, {"2 1 0", "1 3 0"}, {-.520216, -.655371}},
};

static void test_vectors(void) {
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        const struct vector *v = &vectors[i];
        struct table table = {.logprobs = markov_logprobs, .vocabulary = 4};
        table.options = (clf_search_options){.beam = v->beam,
                                             .nbest = v->beam,
                                             .length_penalty = v->length_penalty,
                                             .early_stopping = v->early_stopping,
                                             .max_length = v->max_length,
                                             .eos_count = 1,
                                             .forced_bos = -1,
                                             .forced_eos = v->forced_eos};
        int steps;
        clf_search *search = run_some(&table, 2, 9, NULL, NULL, 100, &steps);
        CU_ASSERT_EQUAL(steps, v->steps);
        CU_ASSERT_EQUAL(clf_search_finished(search), 2);
        for (int s = 0; s < 2; s++) {
            CU_ASSERT_EQUAL(clf_search_hypotheses(search, s), v->beam);
            for (int r = 0; r < v->beam; r++) {
                check(search, s, r, v->tokens[r], v->scores[r], 2e-6, v->name);
            }
        }
        clf_search_destroy(search);
    }
}

// One case of search.tsv.
struct golden {
    struct table table;
    int32_t prefix[LENGTH_LIMIT];
    int prefix_length, sentences, steps;
    struct {
        int sentence;
        double score;
        char tokens[64];
    } hypotheses[16];
    int count;
};

static bool parse_case(const char *line, struct golden *g) {
    memset(g, 0, sizeof *g);
    clf_search_options *o = &g->table.options;
    unsigned long long seed;
    char ends[64], prefix[64];
    int fields = sscanf(line, "case %llu %d %d %d %f %d %d %d %d %d %f %63s %63s %d %d", &seed,
                        &g->table.vocabulary, &o->beam, &o->nbest, &o->length_penalty,
                        &o->early_stopping, &o->max_length, &o->min_length, &o->forced_bos,
                        &o->forced_eos, &g->table.end_bias, ends, prefix, &g->sentences, &g->steps);
    if (fields != 15) return false;
    int32_t eos[LENGTH_LIMIT];
    o->eos_count = parse_tokens(ends, eos);
    for (int i = 0; i < o->eos_count; i++) o->eos[i] = eos[i];
    g->prefix_length = parse_tokens(prefix, g->prefix);
    g->table.seed = seed;
    g->table.logprobs = random_logprobs;
    return true;
}

static void check_golden_run(const struct golden *g, const clf_search *search, int first,
                             int sentences) {
    char name[64];
    snprintf(name, sizeof name, "case %d", (int)g->table.seed);
    int counts[4] = {0};
    for (int i = 0; i < g->count; i++) {
        int s = g->hypotheses[i].sentence - first;
        if (s < 0 || s >= sentences) continue;
        check(search, s, counts[s]++, g->hypotheses[i].tokens, g->hypotheses[i].score, 1e-5, name);
    }
    for (int s = 0; s < sentences; s++) {
        CU_ASSERT_EQUAL(clf_search_hypotheses(search, s), counts[s]);
    }
}

static void check_golden(struct golden *g) {
    const int32_t *prefixes[4] = {g->prefix, g->prefix, g->prefix, g->prefix};
    int n = g->prefix_length, lengths[4] = {n, n, n, n};
    int steps;
    clf_search *search = run(&g->table, g->sentences, prefixes, lengths, &steps);
    if (g->steps >= 0) CU_ASSERT_EQUAL(steps - n, g->steps);
    check_golden_run(g, search, 0, g->sentences);
    clf_search_destroy(search);
    for (int s = 0; s < g->sentences; s++) {
        g->table.first_sentence = s;
        search = run(&g->table, 1, prefixes, lengths, NULL);
        check_golden_run(g, search, s, 1);
        clf_search_destroy(search);
    }
}

static void test_golden(void) {
    char *text;
    size_t size;
    if (!CLF_ASSERT_OK(clf_file_read(clf_test_golden("search.tsv"), 1 << 24, &text, &size))) return;
    struct golden g = {0};
    int cases = 0;
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n"));) {
        if (strncmp(line, "hyp", 3) != 0 && g.count > 0) check_golden(&g);
        if (strncmp(line, "hyp", 3) == 0) {
            CU_ASSERT_FATAL(g.count < 16);
            CU_ASSERT_EQUAL(sscanf(line, "hyp %d %lf %63s", &g.hypotheses[g.count].sentence,
                                   &g.hypotheses[g.count].score, g.hypotheses[g.count].tokens),
                            3);
            g.count++;
        } else if (*line) {
            CU_ASSERT_FATAL(parse_case(line, &g));
            cases++;
        }
    }
    CU_ASSERT(cases >= 300);
    free(text);
}

static struct table random_table(clf_rng *rng) {
    static const float penalties[] = {-1, 0, .6f, 1, 2};
    struct table table = {.logprobs = random_logprobs,
                          .vocabulary = 3 + (int)clf_rng_below(rng, 10),
                          .seed = clf_rng_next(rng) >> 32,
                          .end_bias = (float)clf_rng_below(rng, 3)};
    clf_search_options *o = &table.options;
    o->beam = 1 + (int)clf_rng_below(rng, 5);
    o->nbest = 1 + (int)clf_rng_below(rng, (uint32_t)o->beam);
    o->length_penalty = penalties[clf_rng_below(rng, 5)];
    o->early_stopping = (int)clf_rng_below(rng, 3);
    o->max_length = 6 + (int)clf_rng_below(rng, 8);
    o->min_length = (int)clf_rng_below(rng, 5);
    o->eos_count = 1;
    o->eos[0] = 2;
    o->forced_bos = (int)clf_rng_below(rng, 3) - 1;
    o->forced_eos = clf_rng_below(rng, 2) ? 2 : -1;
    return table;
}

// Neither the neighbours in the batch nor their prefixes change a bit of a sentence's result.
static void test_batches(void) {
    static const int32_t prefix[] = {0, 1, 0, 0};
    static const int32_t *const prefixes[5] = {NULL, prefix, prefix, prefix, NULL};
    static const int lengths[5] = {7, 4, 0, 1, 0};
    clf_rng rng = {1};
    for (int i = 0; i < 200; i++) {
        struct table table = random_table(&rng);
        table.by_history = i % 2;
        clf_search *batch = run(&table, 5, prefixes, lengths, NULL);
        CU_ASSERT_EQUAL(clf_search_finished(batch), 5);
        for (int s = 0; s < 5; s++) {
            table.first_sentence = s;
            clf_search *alone = run(&table, 1, prefixes + s, lengths + s, NULL);
            int count = clf_search_hypotheses(alone, 0);
            CU_ASSERT(count >= 1 && count <= table.options.nbest);
            CU_ASSERT_EQUAL_FATAL(clf_search_hypotheses(batch, s), count);
            for (int r = 0; r < count; r++) {
                clf_hypothesis a = clf_search_hypothesis(alone, 0, r);
                clf_hypothesis b = clf_search_hypothesis(batch, s, r);
                CU_ASSERT(same_tokens(&a, b.tokens, b.length));
                CU_ASSERT(a.sum == b.sum && a.score == b.score);
                if (s == 1) CU_ASSERT(memcmp(a.tokens, prefix, sizeof prefix) == 0);
            }
            clf_search_destroy(alone);
        }
        clf_search_destroy(batch);
    }
}

// log P of a hypothesis by its own tokens: right only if rows continue the parents they name.
static double history_sum(const struct table *table, int sentence, const clf_hypothesis *h) {
    double sum = 0, logprobs[VOCABULARY_LIMIT];
    struct row row = {.last = START, .memory = remember((uint64_t)sentence, START)};
    for (; row.position < h->length; row.position++) {
        table->logprobs(table, &row, logprobs);
        row.last = h->tokens[row.position];
        row.memory = remember(row.memory, row.last);
        sum += logprobs[row.last];
    }
    return sum;
}

static void test_parents(void) {
    clf_rng rng = {2};
    for (int i = 0; i < 200; i++) {
        struct table table = random_table(&rng);
        table.by_history = true;
        table.options.forced_bos = table.options.forced_eos = -1;
        clf_search *search = run(&table, 3, NULL, NULL, NULL);
        for (int s = 0; s < 3; s++) {
            for (int r = 0; r < clf_search_hypotheses(search, s); r++) {
                clf_hypothesis h = clf_search_hypothesis(search, s, r);
                CU_ASSERT_DOUBLE_EQUAL(h.sum, history_sum(&table, s, &h), 1e-4);
                CU_ASSERT_DOUBLE_EQUAL(h.score, h.sum / pow(h.length, table.options.length_penalty),
                                       1e-4);
            }
        }
        clf_search_destroy(search);
    }
}

static void test_greedy(void) {
    clf_rng rng = {3};
    for (int i = 0; i < 200; i++) {
        struct table table = random_table(&rng);
        clf_search_options *o = &table.options;
        o->beam = o->nbest = 1;
        o->forced_bos = o->forced_eos = -1;
        struct row row = {.last = START};
        int32_t tokens[LENGTH_LIMIT];
        do {
            double logprobs[VOCABULARY_LIMIT];
            random_logprobs(&table, &row, logprobs);
            row.last = -1;
            for (int v = 0; v < table.vocabulary; v++) {
                if (v == 2 && row.position + 1 < o->min_length) continue;
                if (row.last < 0 || logprobs[v] > logprobs[row.last]) row.last = v;
            }
            tokens[row.position++] = row.last;
        } while (row.last != 2 && row.position < o->max_length - 1);
        clf_search *search = run(&table, 1, NULL, NULL, NULL);
        CU_ASSERT_EQUAL(clf_search_candidates_needed(search), 1);
        clf_hypothesis h = clf_search_hypothesis(search, 0, 0);
        CU_ASSERT(same_tokens(&h, tokens, row.position));
        clf_search_destroy(search);
    }
}

// Adds the scores of all hypotheses that continue `row`.
static int enumerate(const struct table *table, struct row row, double sum, double *scores) {
    double logprobs[VOCABULARY_LIMIT];
    table->logprobs(table, &row, logprobs);
    int n = row.position + 1, count = 0;
    for (int v = 0; v < table->vocabulary; v++) {
        struct row next = {row.sentence, n, v, remember(row.memory, v)};
        double all = sum + logprobs[v];
        if (is_end(table, v) || n + 1 == table->options.max_length) {
            scores[count++] = all / pow(n, table->options.length_penalty);
        } else {
            count += enumerate(table, next, all, scores + count);
        }
    }
    return count;
}

static int descending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

// A beam as wide as the tree finds every hypothesis in its order.
static void test_exhaustive(void) {
    clf_rng rng = {4};
    for (int i = 0; i < 20; i++) {
        struct table table = random_table(&rng);
        clf_search_options *o = &table.options;
        table.vocabulary = 3;
        table.by_history = true;
        o->beam = o->nbest = 100;
        o->max_length = 5;
        o->min_length = 0;
        o->forced_bos = o->forced_eos = -1;
        double scores[100];
        struct row start = {.last = START, .memory = remember(0, START)};
        int count = enumerate(&table, start, 0, scores);
        qsort(scores, (size_t)count, sizeof *scores, descending);
        clf_search *search = run(&table, 1, NULL, NULL, NULL);
        CU_ASSERT_EQUAL_FATAL(clf_search_hypotheses(search, 0), count);
        for (int r = 0; r < count; r++) {
            CU_ASSERT_DOUBLE_EQUAL(clf_search_hypothesis(search, 0, r).score, scores[r], 1e-4);
        }
        clf_search_destroy(search);
    }
}

static void test_questions(void) {
    clf_search_options o = {.beam = 4,
                            .nbest = 1,
                            .length_penalty = 1,
                            .max_length = 6,
                            .min_length = 2,
                            .eos = {2, 3},
                            .eos_count = 2,
                            .forced_bos = 7,
                            .forced_eos = 2};
    static const int32_t prefix[] = {5, 6};
    static const int32_t *const prefixes[2] = {NULL, prefix};
    clf_search *search;
    CLF_ASSERT_OK(clf_search_create(&o, 2, START, prefixes, (int[2]){0, 2}, &search));
    CU_ASSERT_EQUAL(clf_search_candidates_needed(search), 6);
    CU_ASSERT(clf_search_ban_eos(search));
    CU_ASSERT(clf_search_forced(search));
    const clf_search_row *rows;
    CU_ASSERT_EQUAL(clf_search_rows(search, &rows), 2);
    CU_ASSERT(rows[0].token == START && rows[1].token == START && rows[1].sentence == 1);
    CLF_ASSERT_OK(clf_search_advance(search, NULL));
    CU_ASSERT_EQUAL(clf_search_rows(search, &rows), 2);
    CU_ASSERT(rows[0].token == 7 && rows[1].token == 5 && rows[1].parent == 1);
    CU_ASSERT_EQUAL(clf_search_position(search), 1);
    CU_ASSERT_FALSE(clf_search_ban_eos(search));
    CU_ASSERT_FALSE(clf_search_forced(search)); // sentence 0 is free
    CU_ASSERT_EQUAL(clf_search_hypotheses(search, 0), 0);
    CU_ASSERT_EQUAL(clf_search_advance(search, NULL), CLF_ERROR_ARGUMENT);
    clf_search_destroy(search);
    CLF_ASSERT_OK(clf_search_create(&o, 0, START, NULL, NULL, &search));
    CU_ASSERT_EQUAL(clf_search_rows(search, &rows), 0);
    clf_search_destroy(search);
    clf_search_destroy(NULL);
}

// Destroyed after any number of steps; watched by valgrind or a sanitizer.
static void test_destroy(void) {
    clf_rng rng = {5};
    for (int steps = 0; steps < 12; steps++) {
        struct table table = random_table(&rng);
        table.options.max_length = 14;
        clf_search_destroy(run_some(&table, 3, START, NULL, NULL, steps, NULL));
    }
}

static void test_long(void) {
    clf_rng rng = {6};
    struct table table = random_table(&rng);
    table.by_history = true;
    table.options = (clf_search_options){.beam = 4,
                                         .nbest = 4,
                                         .length_penalty = 1,
                                         .max_length = 4096,
                                         .min_length = 4096,
                                         .eos = {2},
                                         .eos_count = 1,
                                         .forced_bos = -1,
                                         .forced_eos = -1};
    int steps;
    clf_search *search = run(&table, 1, NULL, NULL, &steps);
    CU_ASSERT_EQUAL(steps, 4095);
    clf_hypothesis h = clf_search_hypothesis(search, 0, 3);
    CU_ASSERT_EQUAL(h.length, 4095);
    // The sum is the library's, in float32: 4095 additions of at most half a unit of 2^-11.
    CU_ASSERT_DOUBLE_EQUAL(h.sum, history_sum(&table, 0, &h), 1);
    clf_search_destroy(search);
}

static const clf_test tests[] = {
    {"vectors", test_vectors},     {"golden", test_golden},   {"batches", test_batches},
    {"parents", test_parents},     {"greedy", test_greedy},   {"exhaustive", test_exhaustive},
    {"questions", test_questions}, {"destroy", test_destroy}, {"long", test_long},
};

CLF_TEST_MAIN("search", tests)
