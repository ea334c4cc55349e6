// SPDX-License-Identifier: MIT
#include "formats/huggingface.h"

#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/file.h"

enum { MAX_LENGTH = 1 << 20, MAX_BEAMS = 1024 };

// Settings that change what Hugging Face generates and that the search does not have, each with the
// number that switches it off.
static const struct {
    const char *key;
    double neutral;
} ignored[] = {
    {"do_sample", 0},
    {"no_repeat_ngram_size", 0},
    {"encoder_no_repeat_ngram_size", 0},
    {"repetition_penalty", 1},
    {"encoder_repetition_penalty", 1},
    {"num_beam_groups", 1},
    {"diversity_penalty", 0},
    {"penalty_alpha", 0},
    {"begin_suppress_tokens", 0},
    {"exponential_decay_length_penalty", 0},
    {"forced_decoder_ids", 0},
    {"sequence_bias", 0},
    {"guidance_scale", 1},
    {"stop_strings", 0},
};

static bool is_neutral(const cJSON *item, double neutral) {
    if (cJSON_IsNumber(item)) return item->valuedouble == neutral;
    if (cJSON_IsArray(item) || cJSON_IsObject(item)) return item->child == NULL;
    return !cJSON_IsTrue(item) && !cJSON_IsString(item);
}

static void warn_ignored(const clf_json *json) {
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++) {
        const cJSON *item = clf_json_find(json, ignored[i].key);
        if (!item || is_neutral(item, ignored[i].neutral)) continue;
        clf_log(CLF_LOG_WARNING, "%s: \"%s\" is not supported and ignored", json->path,
                ignored[i].key);
    }
}

static clf_status read_early_stopping(const clf_json *json, int *value) {
    const cJSON *item = clf_json_find(json, "early_stopping");
    if (cJSON_IsString(item) && strcmp(item->valuestring, "never") == 0) {
        *value = 2;
        return CLF_OK;
    }
    bool flag = *value == 1;
    CLF_TRY(clf_json_bool(json, "early_stopping", &flag));
    *value = flag;
    return CLF_OK;
}

// A token or a list of tokens. `*count` comes in as the number there is room for.
static clf_status read_tokens(const clf_json *json, const char *key, int vocabulary, int *tokens,
                              int *count) {
    const cJSON *item = clf_json_find(json, key);
    int room = *count;
    *count = 0;
    const cJSON *token = cJSON_IsArray(item) ? item->child : item;
    for (; token; token = cJSON_IsArray(item) ? token->next : NULL) {
        if (!clf_json_is_int(token, 0, vocabulary - 1)) {
            return clf_fail(CLF_ERROR_FORMAT, "%s: \"%s\" must hold tokens from 0 to %d",
                            json->path, key, vocabulary - 1);
        }
        if (*count == room) {
            return clf_fail(CLF_ERROR_UNSUPPORTED,
                            "%s: \"%s\" has more than the %d tokens supported", json->path, key,
                            room);
        }
        tokens[(*count)++] = (int)token->valuedouble;
    }
    return CLF_OK;
}

// A token that may be absent (-1); of a list the first.
static clf_status read_token(const clf_json *json, const char *key, int vocabulary, int *token) {
    int tokens[4], count = 4;
    CLF_TRY(read_tokens(json, key, vocabulary, tokens, &count));
    *token = count > 0 ? tokens[0] : -1;
    if (count > 1) {
        clf_log(CLF_LOG_WARNING, "%s: only the first token of \"%s\" is used", json->path, key);
    }
    return CLF_OK;
}

static clf_status suppress(clf_generation *g, const clf_json *json, const char *key, int token) {
    for (int i = 0; i < g->suppress_count; i++) {
        if (g->suppress[i] == token) return CLF_OK;
    }
    int room = (int)(sizeof g->suppress / sizeof *g->suppress);
    if (g->suppress_count == room) {
        return clf_fail(CLF_ERROR_UNSUPPORTED, "%s: \"%s\" has more than the %d tokens supported",
                        json->path, key, room);
    }
    g->suppress[g->suppress_count++] = token;
    return CLF_OK;
}

static clf_status read_bad_words(const clf_json *json, int vocabulary, clf_generation *g) {
    const char *key = "bad_words_ids";
    const cJSON *list = clf_json_find(json, key), *word;
    bool longer = false;
    if (list && !cJSON_IsArray(list)) {
        return clf_fail(CLF_ERROR_FORMAT, "%s: \"%s\" must be a list", json->path, key);
    }
    cJSON_ArrayForEach(word, list) {
        if (!cJSON_IsArray(word) || !clf_json_is_int(word->child, 0, vocabulary - 1)) {
            return clf_fail(CLF_ERROR_FORMAT, "%s: \"%s\" must hold lists of tokens from 0 to %d",
                            json->path, key, vocabulary - 1);
        }
        if (word->child->next) {
            longer = true;
        } else {
            CLF_TRY(suppress(g, json, key, (int)word->child->valuedouble));
        }
    }
    if (longer) {
        clf_log(CLF_LOG_WARNING, "%s: entries of \"%s\" with several tokens are ignored",
                json->path, key);
    }
    return CLF_OK;
}

static clf_status read_suppressed(const clf_json *json, int vocabulary, clf_generation *g) {
    int tokens[64], count = 64;
    CLF_TRY(read_bad_words(json, vocabulary, g));
    CLF_TRY(read_tokens(json, "suppress_tokens", vocabulary, tokens, &count));
    for (int i = 0; i < count; i++) CLF_TRY(suppress(g, json, "suppress_tokens", tokens[i]));
    return CLF_OK;
}

clf_status clf_huggingface_search(const clf_json *json, clf_generation *g) {
    int min_new = -1;
    CLF_TRY(clf_json_int(json, "num_beams", 1, MAX_BEAMS, &g->num_beams));
    CLF_TRY(clf_json_float(json, "length_penalty", &g->length_penalty));
    CLF_TRY(read_early_stopping(json, &g->early_stopping));
    CLF_TRY(clf_json_int(json, "max_length", 1, MAX_LENGTH, &g->max_length));
    CLF_TRY(clf_json_int(json, "max_new_tokens", 1, MAX_LENGTH, &g->max_new_tokens));
    CLF_TRY(clf_json_int(json, "min_length", 0, MAX_LENGTH, &g->min_length));
    CLF_TRY(clf_json_int(json, "min_new_tokens", 0, MAX_LENGTH, &min_new));
    if (min_new >= 0) g->min_length = min_new + 1;
    return CLF_OK;
}

// Everything that the library takes from generation_config.json alone where that file exists, and
// else from config.json.
static clf_status read_settings(const clf_json *json, const clf_config *config, clf_generation *g) {
    int vocabulary = config->target_vocabulary;
    *g = (clf_generation){.num_beams = 1, .length_penalty = 1};
    CLF_TRY(clf_huggingface_search(json, g));
    if (g->max_length == 0 && g->max_new_tokens == 0) {
        // What the library does when nobody says anything.
        g->max_new_tokens = config->max_positions > 20 ? 20 : config->max_positions - 1;
        if (g->max_new_tokens < 1) g->max_new_tokens = 1;
    }
    CLF_TRY(read_token(json, "forced_bos_token_id", vocabulary, &g->forced_bos));
    CLF_TRY(read_token(json, "forced_eos_token_id", vocabulary, &g->forced_eos));
    CLF_TRY(clf_json_bool(json, "renormalize_logits", &g->renormalize));
    CLF_TRY(read_suppressed(json, vocabulary, g));
    warn_ignored(json);
    return CLF_OK;
}

// The tokens that belong to the model rather than to a search: either file may name them.
static clf_status read_model_tokens(const clf_json *json, clf_config *config, clf_generation *g) {
    int vocabulary = config->target_vocabulary;
    int largest = config->source_vocabulary > vocabulary ? config->source_vocabulary : vocabulary;
    if (clf_json_find(json, "eos_token_id")) {
        g->eos_count = (int)(sizeof g->eos / sizeof *g->eos);
        CLF_TRY(read_tokens(json, "eos_token_id", vocabulary, g->eos, &g->eos_count));
    }
    CLF_TRY(clf_json_int(json, "decoder_start_token_id", 0, vocabulary - 1, &config->start_token));
    return clf_json_int(json, "pad_token_id", 0, largest - 1, &config->pad_token);
}

clf_status clf_huggingface_generation(clf_format *format, const clf_json *config) {
    clf_json json = {0};
    char *path = NULL;
    clf_config *c = &format->config;
    clf_generation *g = &format->generation;
    c->start_token = c->pad_token = -1;
    clf_status status = clf_format_locate(format, "generation_config.json", &path);
    if (status == CLF_OK && path) status = clf_json_open(path, CLF_CONFIG_LIMIT, &json);
    if (status == CLF_OK) status = read_settings(path ? &json : config, c, g);
    if (status == CLF_OK) status = read_model_tokens(config, c, g);
    if (status == CLF_OK && path) status = read_model_tokens(&json, c, g);
    if (status == CLF_OK && (c->start_token < 0 || g->eos_count == 0)) {
        status = clf_fail(CLF_ERROR_FORMAT, "%s: \"%s\" is missing", config->path,
                          c->start_token < 0 ? "decoder_start_token_id" : "eos_token_id");
    }
    clf_json_close(&json);
    free(path);
    return status;
}
