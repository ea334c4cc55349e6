// SPDX-License-Identifier: MIT
#include "modelkit.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/half.h"
#include "harness.h"

static char directory[4096];

const char *modelkit_path(const char *name) {
    static char path[8192];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static bool is_output(const char *name) {
    const char *end = strrchr(name, '.');
    return end && (strcmp(end, ".tsv") == 0 || strcmp(end, ".f32") == 0);
}

const char *modelkit_copy(const char *golden) {
    static int copies;
    char from[4096];
    snprintf(from, sizeof from, "%s", clf_test_golden(golden));
    snprintf(directory, sizeof directory, "%s/copy%d", clf_test_directory(), copies++);
    CLF_ASSERT_OK(clf_file_make_directory(directory));
    DIR *entries = opendir(from);
    CU_ASSERT_PTR_NOT_NULL(entries);
    for (struct dirent *entry; entries && (entry = readdir(entries));) {
        if (entry->d_name[0] == '.' || is_output(entry->d_name)) continue;
        char path[8192], *data;
        size_t size;
        snprintf(path, sizeof path, "%s/%s", from, entry->d_name);
        if (!CLF_ASSERT_OK(clf_file_read(path, 1 << 20, &data, &size))) continue;
        modelkit_write(entry->d_name, data, size);
        free(data);
    }
    if (entries) closedir(entries);
    return directory;
}

char *modelkit_read(const char *name, size_t *size) {
    char *data = NULL;
    CLF_ASSERT_OK(clf_file_read(modelkit_path(name), 1 << 20, &data, size));
    return data;
}

// Without clf_file_write's care for the disk: there are thousands of these.
void modelkit_write(const char *name, const void *data, size_t size) {
    FILE *file = fopen(modelkit_path(name), "wb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    CU_ASSERT_EQUAL(fwrite(data, 1, size, file), size);
    CU_ASSERT_EQUAL(fclose(file), 0);
}

void modelkit_delete(const char *name) {
    CU_ASSERT_EQUAL(unlink(modelkit_path(name)), 0);
}

void modelkit_replace(const char *name, const char *from, const char *to) {
    size_t size, length = strlen(from);
    char *data = modelkit_read(name, &size);
    char *where = data ? memmem(data, size, from, length) : NULL;
    CU_ASSERT_PTR_NOT_NULL(where);
    char *changed = where ? malloc(size + strlen(to)) : NULL;
    if (changed) {
        size_t before = (size_t)(where - data), after = size - before - length;
        memcpy(changed, data, before);
        memcpy(changed + before, to, strlen(to));
        memcpy(changed + before + strlen(to), where + length, after);
        modelkit_write(name, changed, before + strlen(to) + after);
    }
    free(changed);
    free(data);
}

void modelkit_refused(clf_status status, const char *word) {
    clf_format *format = NULL;
    clf_status got = clf_format_open(directory, &format);
    CU_ASSERT_EQUAL(got, status);
    CU_ASSERT_PTR_NULL(format);
    CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), directory));
    CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), word));
    if (got != status || !strstr(clf_last_error(), word)) {
        printf("\nexpected '%s', got %d: %s\n", word, got, got ? clf_last_error() : "");
    }
    if (got == CLF_OK) clf_format_close(format);
}

bool modelkit_survives(void) {
    clf_format *format = NULL;
    clf_status status = clf_format_open(directory, &format);
    if (status == CLF_OK) {
        clf_format_close(format);
        return true;
    }
    CU_ASSERT(status == CLF_ERROR_FORMAT || status == CLF_ERROR_UNSUPPORTED ||
              status == CLF_ERROR_IO);
    CU_ASSERT_PTR_NULL(format);
    CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), directory));
    return false;
}

static float element(const clf_piece *piece, size_t index) {
    const unsigned char *data = piece->data;
    uint16_t half;
    int16_t word;
    uint32_t bits;
    float value;
    switch (piece->dtype) {
    case CLF_F32: memcpy(&value, data + 4 * index, 4); return value;
    case CLF_F16: memcpy(&half, data + 2 * index, 2); return clf_half_to_float(half);
    case CLF_BF16:
        memcpy(&half, data + 2 * index, 2);
        bits = (uint32_t)half << 16;
        memcpy(&value, &bits, 4);
        return value;
    case CLF_I16: memcpy(&word, data + 2 * index, 2); return word;
    case CLF_I8: return (signed char)data[index];
    default: return NAN;
    }
}

float *modelkit_values(clf_format *format, const clf_param *param) {
    clf_param_source source = clf_format_params(format);
    clf_piece pieces[CLF_MAX_PIECES];
    int count;
    if (!CLF_ASSERT_OK(source.find(source.self, param, pieces, &count))) return NULL;
    size_t total = (size_t)param->rows * (size_t)param->cols, at = 0;
    float *values = calloc(total, sizeof *values);
    for (int i = 0; i < count && values; i++) {
        const clf_piece *p = &pieces[i];
        size_t size = (size_t)p->rows * (size_t)p->cols;
        CU_ASSERT_FATAL(at + size <= total);
        for (size_t j = 0; j < size; j++) {
            float value = element(p, j);
            float scale = p->scale_count == 0   ? 1
                          : p->scale_count == 1 ? p->scales[0]
                                                : p->scales[j / (size_t)p->cols];
            values[at++] = p->divide ? value / scale : value * scale;
        }
        source.release(source.self, p);
    }
    CU_ASSERT(count == 0 || at == total);
    return values;
}
