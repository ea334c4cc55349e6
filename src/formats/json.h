// SPDX-License-Identifier: MIT
// A JSON file that holds one object, and its values with type and range checked. Messages name the
// file and the key.
#ifndef CLF_FORMATS_JSON_H
#define CLF_FORMATS_JSON_H

#include <stdbool.h>
#include <stddef.h>

#include <cJSON.h>

#include <clformer/status.h>

typedef struct clf_json {
    char *path;
    cJSON *root; // an object
} clf_json;

// Reads a file of at most `limit` bytes. Refuses what is not an object and keys that occur twice.
clf_status clf_json_open(const char *path, size_t limit, clf_json *json);
// The same for a part of another file.
clf_status clf_json_parse(const char *path, const char *text, size_t size, clf_json *json);
void clf_json_close(clf_json *json); // a zeroed one is allowed

// The value of a key; NULL if it is absent or null.
const cJSON *clf_json_find(const clf_json *json, const char *key);

// Where the key is absent or null, these leave `*value` alone.
clf_status clf_json_int(const clf_json *json, const char *key, int low, int high, int *value);
clf_status clf_json_float(const clf_json *json, const char *key, float *value);
clf_status clf_json_bool(const clf_json *json, const char *key, bool *value);
// A copy, freed by free(); what `*value` held is freed. An object's "content" counts as the string:
// Hugging Face writes special tokens either way.
clf_status clf_json_string(const clf_json *json, const char *key, char **value);

// Whether a JSON number is an integer in [low, high].
bool clf_json_is_int(const cJSON *item, double low, double high);

#endif
