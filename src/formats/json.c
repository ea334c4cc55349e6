// SPDX-License-Identifier: MIT
#include "formats/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/fail.h"
#include "base/file.h"

static int compare_keys(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

// cJSON keeps repeated keys and finds the first; other readers take the last.
static clf_status check_keys(const char *path, const cJSON *object) {
    CLF_ARRAY(const char *) keys = {0};
    clf_status status = CLF_OK;
    for (const cJSON *item = object->child; item; item = item->next) {
        if (!clf_array_push(&keys, item->string)) {
            status = clf_fail_memory();
            goto done;
        }
    }
    if (keys.count > 0) qsort(keys.data, keys.count, sizeof *keys.data, compare_keys);
    for (size_t i = 1; i < keys.count; i++) {
        if (strcmp(keys.data[i - 1], keys.data[i]) == 0) {
            status =
                clf_fail(CLF_ERROR_FORMAT, "%s: \"%s\" occurs more than once", path, keys.data[i]);
            break;
        }
    }
done:
    clf_array_free(&keys);
    return status;
}

clf_status clf_json_parse(const char *path, const char *text, size_t size, clf_json *json) {
    const char *end = NULL;
    cJSON *root = cJSON_ParseWithLengthOpts(text, size, &end, 0);
    if (!root) {
        size_t where = end && end >= text ? (size_t)(end - text) : 0;
        return clf_fail(CLF_ERROR_FORMAT, "%s: not valid JSON at byte %zu", path, where);
    }
    while (end < text + size && strchr(" \t\r\n", *end) && *end) end++;
    clf_status status = CLF_OK;
    if (end != text + size) {
        status = clf_fail(CLF_ERROR_FORMAT, "%s: something follows the JSON at byte %zu", path,
                          (size_t)(end - text));
    } else if (!cJSON_IsObject(root)) {
        status = clf_fail(CLF_ERROR_FORMAT, "%s: not a JSON object", path);
    } else {
        status = check_keys(path, root);
    }
    char *name = status == CLF_OK ? strdup(path) : NULL;
    if (status == CLF_OK && !name) status = clf_fail_memory();
    if (status != CLF_OK) {
        cJSON_Delete(root);
        return status;
    }
    *json = (clf_json){.path = name, .root = root};
    return CLF_OK;
}

clf_status clf_json_open(const char *path, size_t limit, clf_json *json) {
    char *text;
    size_t size;
    CLF_TRY(clf_file_read(path, limit, &text, &size));
    clf_status status = clf_json_parse(path, text, size, json);
    free(text);
    return status;
}

void clf_json_close(clf_json *json) {
    cJSON_Delete(json->root);
    free(json->path);
    *json = (clf_json){0};
}

const cJSON *clf_json_find(const clf_json *json, const char *key) {
    const cJSON *item = json->root ? cJSON_GetObjectItemCaseSensitive(json->root, key) : NULL;
    return cJSON_IsNull(item) ? NULL : item;
}

bool clf_json_is_int(const cJSON *item, double low, double high) {
    return cJSON_IsNumber(item) && item->valuedouble >= low && item->valuedouble <= high &&
           item->valuedouble == floor(item->valuedouble);
}

clf_status clf_json_int(const clf_json *json, const char *key, int low, int high, int *value) {
    const cJSON *item = clf_json_find(json, key);
    if (!item) return CLF_OK;
    if (!clf_json_is_int(item, low, high)) {
        return clf_fail(CLF_ERROR_FORMAT, "%s: \"%s\" must be an integer from %d to %d", json->path,
                        key, low, high);
    }
    *value = (int)item->valuedouble;
    return CLF_OK;
}

clf_status clf_json_float(const clf_json *json, const char *key, float *value) {
    const cJSON *item = clf_json_find(json, key);
    if (!item) return CLF_OK;
    if (!cJSON_IsNumber(item) || !isfinite((float)item->valuedouble)) {
        return clf_fail(CLF_ERROR_FORMAT, "%s: \"%s\" must be a number", json->path, key);
    }
    *value = (float)item->valuedouble;
    return CLF_OK;
}

clf_status clf_json_bool(const clf_json *json, const char *key, bool *value) {
    const cJSON *item = clf_json_find(json, key);
    if (!item) return CLF_OK;
    if (!cJSON_IsBool(item)) {
        return clf_fail(CLF_ERROR_FORMAT, "%s: \"%s\" must be true or false", json->path, key);
    }
    *value = cJSON_IsTrue(item);
    return CLF_OK;
}

clf_status clf_json_string(const clf_json *json, const char *key, char **value) {
    const cJSON *item = clf_json_find(json, key);
    if (!item) return CLF_OK;
    if (cJSON_IsObject(item)) item = cJSON_GetObjectItemCaseSensitive(item, "content");
    if (!cJSON_IsString(item)) {
        return clf_fail(CLF_ERROR_FORMAT, "%s: \"%s\" must be a string", json->path, key);
    }
    char *copy = strdup(item->valuestring);
    if (!copy) return clf_fail_memory();
    free(*value);
    *value = copy;
    return CLF_OK;
}
