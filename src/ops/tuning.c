// SPDX-License-Identifier: MIT
#include "ops/tuning.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "base/fail.h"
#include "base/file.h"
#include "base/hash.h"
#include "device/launch.h"

#define FORMAT 1 // raised whenever older files mean something else

const clf_clblast_parameters clf_clblast_table[CLF_CLBLAST_KERNELS] = {
    [CLF_CLBLAST_XGEMM] = {"Xgemm",
                           16,
                           {"GEMMK", "KREG", "KWG", "KWI", "MDIMA", "MDIMC", "MWG", "NDIMB",
                            "NDIMC", "NWG", "SA", "SB", "STRM", "STRN", "VWM", "VWN"}},
    [CLF_CLBLAST_XGEMM_DIRECT] = {"XgemmDirect",
                                  10,
                                  {"KWID", "MDIMAD", "MDIMCD", "NDIMBD", "NDIMCD", "PADA", "PADB",
                                   "VWMD", "VWND", "WGD"}},
    [CLF_CLBLAST_ROUTINE] = {"GemmRoutine", 1, {"XGEMM_MIN_INDIRECT_SIZE"}},
};

static const int class_ends[CLF_ROW_CLASSES] = {1, 8, 32, 128, 0}; // 0: no end

int clf_row_class(int rows) {
    int i = 0;
    while (class_ends[i] != 0 && rows > class_ends[i]) i++;
    return i;
}

// ---- defaults -----------------------------------------------------------------------------------

// One work-item with wide vectors, as many sums as the registers hold: 6 x 64 of the 32 registers
// of 16 floats, which loads least for a product (8 x 32 and 12 x 32 where the rows are fewer), 6 x
// 16 of the 16 registers of 8, 6 x 8 of those of 4.
static void default_cpu(const clf_caps *caps, clf_tuning *tuning) {
    static const clf_tile wide[CLF_ROW_CLASSES] = {
        {8, 32, 1}, {8, 32, 1}, {12, 32, 1}, {6, 64, 1}, {6, 64, 1}};
    const int width = caps->native_float_width;
    tuning->vector = width >= 16 ? 16 : width >= 8 ? 8 : 4;
    tuning->slices = 1;
    for (int i = 0; i < CLF_ROW_CLASSES; i++)
        tuning->tile[i] = width >= 16 ? wide[i] : (clf_tile){6, 2 * tuning->vector, 1};
}

// Few rows: reading the weights is what costs, so one column a work-item and K shared among many.
static void default_gpu(const clf_caps *caps, clf_tuning *tuning) {
    const int group = caps->max_group < 256 ? caps->max_group : 256;
    int lanes = 1;
    while (lanes < 32 && lanes * 2 <= group) lanes *= 2;
    tuning->slices = 1;
    while (tuning->slices < 8 && lanes * tuning->slices * 2 <= group) tuning->slices *= 2;
    tuning->vector = 1;
    for (int i = 0; i < CLF_ROW_CLASSES; i++) {
        const bool few = class_ends[i] != 0 && class_ends[i] <= 8;
        tuning->tile[i] = (clf_tile){.rows = few ? 8 : 6, .columns = few ? 1 : 4, .lanes = lanes};
        if (class_ends[i] == 0 || class_ends[i] > 32) tuning->gemm[i] = CLF_GEMM_CLBLAST;
    }
}

void clf_tuning_default(const clf_device *device, clf_tuning *tuning) {
    memset(tuning, 0, sizeof *tuning);
    if (clf_device_profile(device)->lanes == 1)
        default_cpu(clf_device_caps(device), tuning);
    else
        default_gpu(clf_device_caps(device), tuning);
}

// ---- the state that hangs on the device ---------------------------------------------------------

// Sets what differs from `before`: CLBlast compiles anew after each change.
static clf_status set_clblast(clf_device *device, const clf_tuning *tuning,
                              const clf_tuning *before) {
    for (int i = 0; i < CLF_CLBLAST_KERNELS; i++) {
        const clf_clblast_parameters *p = &clf_clblast_table[i];
        const size_t *values = tuning->clblast[i].values;
        const bool same =
            before->clblast[i].set &&
            memcmp(values, before->clblast[i].values, sizeof *values * CLF_CLBLAST_PARAMETERS) == 0;
        if (tuning->clblast[i].set && !same)
            CLF_TRY(clf_clblast_override(device, p->kernel, p->names, values, p->count));
    }
    return CLF_OK;
}

clf_linear_state *clf_linear_state_get(clf_run *run) {
    clf_device_slot *slot = clf_device_get_slot(run->device);
    if (slot->data) return slot->data;
    clf_linear_state *state = calloc(1, sizeof *state);
    if (!state) {
        clf_run_fail(run, clf_fail_memory());
        return NULL;
    }
    clf_tuning_default(run->device, &state->tuning);
    clf_tuning tuning = state->tuning;
    if (clf_tuning_load(run->device, &tuning)) {
        if (set_clblast(run->device, &tuning, &state->tuning) == CLF_OK)
            state->tuning = tuning;
        else
            clf_log(CLF_LOG_WARNING, "the tuning file is ignored: %s", clf_last_error());
    }
    *slot = (clf_device_slot){.data = state, .destroy = free};
    return state;
}

clf_status clf_tuning_use(clf_device *device, const clf_tuning *tuning) {
    clf_run run = clf_run_begin(device);
    clf_linear_state *state = clf_linear_state_get(&run);
    if (!state) return run.status;
    CLF_TRY(set_clblast(device, tuning, &state->tuning));
    *state = (clf_linear_state){.tuning = *tuning};
    return CLF_OK;
}

// ---- the file -----------------------------------------------------------------------------------

char *clf_tuning_path(const clf_device *device) {
    const char *directory = clf_device_cache_directory(device);
    char key[CLF_HASH_TEXT], name[CLF_HASH_TEXT + 32];
    if (!directory) return NULL;
    clf_device_key(device, key);
    const bool cpu = clf_device_profile(device)->lanes == 1;
    snprintf(name, sizeof name, "tuning-%s-%s.json", key, cpu ? "cpu" : "gpu");
    return clf_path_join(directory, name);
}

static bool read_int(const cJSON *object, const char *name, int low, int high, int *value) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    if (!cJSON_IsNumber(item) || item->valuedouble != item->valueint || item->valueint < low ||
        item->valueint > high)
        return false;
    *value = item->valueint;
    return true;
}

static bool read_power(const cJSON *object, const char *name, int low, int high, int *value) {
    return read_int(object, name, low, high, value) && (*value & (*value - 1)) == 0;
}

static bool read_class(const cJSON *object, const clf_caps *caps, clf_tuning *tuning, int i) {
    clf_tile *tile = &tuning->tile[i];
    const char *gemm = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, "gemm"));
    if (!gemm || (strcmp(gemm, "panel") != 0 && strcmp(gemm, "clblast") != 0)) return false;
    tuning->gemm[i] = strcmp(gemm, "panel") == 0 ? CLF_GEMM_PANEL : CLF_GEMM_CLBLAST;
    return read_int(object, "tile_rows", 1, CLF_TILE_ROWS, &tile->rows) &&
           read_power(object, "tile_columns", tuning->vector, 64, &tile->columns) &&
           read_power(object, "lanes", 1, caps->max_group / tuning->slices, &tile->lanes);
}

static bool read_clblast(const cJSON *object, clf_tuning *tuning) {
    for (int i = 0; i < CLF_CLBLAST_KERNELS; i++) {
        const clf_clblast_parameters *p = &clf_clblast_table[i];
        const cJSON *values = cJSON_GetObjectItemCaseSensitive(object, p->kernel);
        if (!values) continue;
        for (int j = 0; j < p->count; j++) {
            int value;
            if (!read_int(values, p->names[j], 0, 1 << 20, &value)) return false;
            tuning->clblast[i].values[j] = (size_t)value;
        }
        tuning->clblast[i].set = true;
    }
    return true;
}

static bool read_tuning(const cJSON *root, const clf_caps *caps, clf_tuning *tuning) {
    int format;
    memset(tuning, 0, sizeof *tuning);
    if (!read_int(root, "format", FORMAT, FORMAT, &format) ||
        !read_power(root, "vector", 1, 16, &tuning->vector) ||
        !read_power(root, "slices", 1, caps->max_group, &tuning->slices))
        return false;
    const cJSON *classes = cJSON_GetObjectItemCaseSensitive(root, "classes");
    if (cJSON_GetArraySize(classes) != CLF_ROW_CLASSES) return false;
    for (int i = 0; i < CLF_ROW_CLASSES; i++) {
        if (!read_class(cJSON_GetArrayItem(classes, i), caps, tuning, i)) return false;
    }
    return read_clblast(cJSON_GetObjectItemCaseSensitive(root, "clblast"), tuning);
}

bool clf_tuning_load(const clf_device *device, clf_tuning *tuning) {
    char *path = clf_tuning_path(device), *text = NULL;
    size_t size;
    clf_tuning loaded;
    bool good = false;
    if (!path || !clf_file_exists(path)) goto done;
    if (clf_file_read(path, 1 << 20, &text, &size) != CLF_OK) {
        clf_log(CLF_LOG_WARNING, "%s", clf_last_error());
        goto done;
    }
    cJSON *root = cJSON_ParseWithLength(text, size);
    good = read_tuning(root, clf_device_caps(device), &loaded);
    cJSON_Delete(root);
    if (good)
        *tuning = loaded;
    else
        clf_log(CLF_LOG_WARNING, "%s: not a tuning file of this version; it is ignored", path);
done:
    free(text);
    free(path);
    return good;
}

static cJSON *write_class(const clf_tuning *tuning, int i) {
    cJSON *object = cJSON_CreateObject();
    cJSON_AddNumberToObject(object, "most_rows", class_ends[i]);
    cJSON_AddStringToObject(object, "gemm",
                            tuning->gemm[i] == CLF_GEMM_PANEL ? "panel" : "clblast");
    cJSON_AddNumberToObject(object, "tile_rows", tuning->tile[i].rows);
    cJSON_AddNumberToObject(object, "tile_columns", tuning->tile[i].columns);
    cJSON_AddNumberToObject(object, "lanes", tuning->tile[i].lanes);
    return object;
}

// NULL if memory is short.
static char *write_tuning(const clf_device *device, const clf_tuning *tuning) {
    clf_device_info info;
    clf_device_get_info(device, &info);
    cJSON *root = cJSON_CreateObject();
    cJSON_AddNumberToObject(root, "format", FORMAT);
    cJSON_AddStringToObject(root, "device", info.name);
    cJSON_AddNumberToObject(root, "vector", tuning->vector);
    cJSON_AddNumberToObject(root, "slices", tuning->slices);
    cJSON *classes = cJSON_AddArrayToObject(root, "classes");
    for (int i = 0; i < CLF_ROW_CLASSES; i++) cJSON_AddItemToArray(classes, write_class(tuning, i));
    cJSON *clblast = cJSON_AddObjectToObject(root, "clblast");
    for (int i = 0; i < CLF_CLBLAST_KERNELS; i++) {
        const clf_clblast_parameters *p = &clf_clblast_table[i];
        if (!tuning->clblast[i].set) continue;
        cJSON *values = cJSON_AddObjectToObject(clblast, p->kernel);
        for (int j = 0; j < p->count; j++)
            cJSON_AddNumberToObject(values, p->names[j], (double)tuning->clblast[i].values[j]);
    }
    char *text = cJSON_Print(root);
    cJSON_Delete(root);
    return text;
}

clf_status clf_tuning_save(const clf_device *device, const clf_tuning *tuning) {
    clf_status status = CLF_OK;
    char *path = clf_tuning_path(device), *text = NULL;
    if (!path) {
        status = clf_fail(CLF_ERROR_IO, "there is no cache directory to save the tuning in; set "
                                        "CLFORMER_CACHE_DIR");
        goto done;
    }
    text = write_tuning(device, tuning);
    status = text ? clf_file_write(path, text, strlen(text)) : clf_fail_memory();
done:
    free(text);
    free(path);
    return status;
}
