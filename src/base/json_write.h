// SPDX-License-Identifier: MIT
#ifndef CLF_BASE_JSON_WRITE_H
#define CLF_BASE_JSON_WRITE_H

#include <cJSON.h>

#include <clformer/status.h>

// Writes `root` as "directory/name", atomically, and deletes it in any case. NULL, what a failed
// allocation leaves, is CLF_ERROR_MEMORY.
clf_status clf_json_write(const char *directory, const char *name, cJSON *root);

#endif
