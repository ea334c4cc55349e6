// SPDX-License-Identifier: MIT
#include "base/json_write.h"

#include <string.h>

#include "base/fail.h"
#include "base/file.h"

clf_status clf_json_write(const char *directory, const char *name, cJSON *root) {
    char *text = root ? cJSON_Print(root) : NULL;
    clf_status status = text ? CLF_OK : clf_fail_memory();
    if (text) {
        size_t size = strlen(text);
        text[size] = '\n'; // instead of the NUL
        status = clf_file_write_in(directory, name, text, size + 1);
    }
    cJSON_Delete(root);
    cJSON_free(text);
    return status;
}
