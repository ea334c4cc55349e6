// SPDX-License-Identifier: MIT
#include "device/trial.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>

#include "base/clock.h"
#include "base/fail.h"
#include "base/file.h"
#include "base/json_write.h"
#include "base/process.h"
#include "device/opencl.h"
#include "device/source.h"

#define FORMAT 1 // raised whenever older outcomes say nothing about this version's variants

enum { MAX_TRIALS = 32 };

struct clf_trials {
    const char **command; // room for two more words, then NULL; NULL: there is none
    size_t words;
    bool loaded;                   // the file was read
    char file[CLF_HASH_TEXT + 16]; // its name in the cache directory
    int count;
    struct {
        char name[CLF_TRIAL_NAME];
        clf_trial_outcome outcome; // an unknown one stays so as long as the device is open
    } list[MAX_TRIALS];
};

// ---- the command --------------------------------------------------------------------------------

// The words and their list are one block.
static bool copy_command(struct clf_trials *trials, const char *const *command) {
    size_t count = 0, size = 0;
    for (; command[count]; count++) size += strlen(command[count]) + 1;
    if (count == 0) return true;
    trials->command = malloc((count + 3) * sizeof *trials->command + size);
    if (!trials->command) return false;
    char *text = (char *)(trials->command + count + 3);
    for (size_t i = 0; i < count; i++) {
        trials->command[i] = text;
        text = stpcpy(text, command[i]) + 1;
    }
    trials->words = count;
    return true;
}

clf_status clf_trials_create(const char *const *command, struct clf_trials **trials) {
    struct clf_trials *created = calloc(1, sizeof *created);
    if (!created || (command && !copy_command(created, command))) {
        clf_trials_destroy(created);
        return clf_fail_memory();
    }
    *trials = created;
    return CLF_OK;
}

void clf_trials_destroy(struct clf_trials *trials) {
    if (trials) free(trials->command);
    free(trials);
}

// ---- a trial ------------------------------------------------------------------------------------

// Ctrl-C ends both processes, and the system may choose any when memory is short.
static bool says_nothing(clf_process_end end) {
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGKILL};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        if (end.kind == CLF_PROCESS_SIGNALLED && end.number == signals[i]) return true;
    }
    return false;
}

static clf_trial_outcome judge(const char *variant, clf_process_end end, double seconds) {
    static const char *const ends[] = {[CLF_PROCESS_EXITED] = "exit code",
                                       [CLF_PROCESS_SIGNALLED] = "signal",
                                       [CLF_PROCESS_KILLED] = "no end; signal"};
    bool passed = end.kind == CLF_PROCESS_EXITED && end.number == 0;
    clf_log(CLF_LOG_DEBUG, "tried %s for %.1f s: it is %s (%s %d)", variant, seconds,
            passed ? "used" : "not used", ends[end.kind], end.number);
    if (passed) return CLF_TRIAL_PASSED;
    return says_nothing(end) ? CLF_TRIAL_UNKNOWN : CLF_TRIAL_FAILED;
}

void clf_trial_begin(clf_device *device) {
    device->cache_is_full = true;
}

clf_trial_outcome clf_trial_run(clf_device *device, const char *variant, double seconds) {
    struct clf_trials *trials = device->trials;
    if (!trials->command) return CLF_TRIAL_UNKNOWN;
    char selector[32];
    snprintf(selector, sizeof selector, "%d:%d", device->info.platform_index,
             device->info.device_index);
    const char **more = trials->command + trials->words;
    more[0] = selector;
    more[1] = variant;
    more[2] = NULL;
    clFinish(device->queue); // a trial measures: the device should have nothing else to do
    int64_t begin = clf_clock(), phase = clf_phase_begin(device);
    clf_process_end end;
    clf_status status = clf_process_run(trials->command, seconds, &end);
    clf_phase_end(device, "try a variant", phase);
    if (status == CLF_OK) return judge(variant, end, (double)(clf_clock() - begin) * 1e-9);
    // Nor will it work for the next variant, and one warning is enough.
    clf_log(CLF_LOG_WARNING, "faster kernels are not tried: %s", clf_last_error());
    free(trials->command);
    trials->command = NULL;
    return CLF_TRIAL_UNKNOWN;
}

// ---- the file -----------------------------------------------------------------------------------

static void remember(struct clf_trials *trials, const char *variant, clf_trial_outcome outcome) {
    snprintf(trials->list[trials->count].name, CLF_TRIAL_NAME, "%s", variant);
    trials->list[trials->count++].outcome = outcome;
}

// Other kernels, another driver: another file, so that everything is tried again.
static void name_file(const clf_device *device, struct clf_trials *trials) {
    char text[CLF_HASH_TEXT];
    clf_hash hash = clf_hash_string(clf_hash_start(), device->key);
    for (const clf_kernel_file *f = clf_kernel_files; f->name; f++) {
        hash = clf_hash_string(hash, f->text);
    }
    clf_hash_text(hash, text);
    snprintf(trials->file, sizeof trials->file, "trials-%s.json", text);
}

static bool read_trials(const cJSON *root, struct clf_trials *trials) {
    const cJSON *format = cJSON_GetObjectItemCaseSensitive(root, "format"), *item;
    const cJSON *variants = cJSON_GetObjectItemCaseSensitive(root, "variants");
    if (!cJSON_IsNumber(format) || format->valuedouble != FORMAT || !cJSON_IsObject(variants) ||
        cJSON_GetArraySize(variants) > MAX_TRIALS) {
        return false;
    }
    cJSON_ArrayForEach(item, variants) {
        if (!cJSON_IsBool(item) || strlen(item->string) >= CLF_TRIAL_NAME) return false;
    }
    cJSON_ArrayForEach(item, variants) {
        remember(trials, item->string, cJSON_IsTrue(item) ? CLF_TRIAL_PASSED : CLF_TRIAL_FAILED);
    }
    return true;
}

static void load(const clf_device *device, struct clf_trials *trials) {
    char *path = clf_path_join(device->cache_directory, trials->file), *text = NULL;
    size_t size;
    if (path && clf_file_exists(path)) {
        if (clf_file_read(path, 1 << 16, &text, &size) == CLF_OK) {
            cJSON *root = cJSON_ParseWithLength(text, size);
            if (!read_trials(root, trials)) {
                clf_log(CLF_LOG_WARNING, "%s: damaged; what it says is tried again", path);
            }
            cJSON_Delete(root);
        } else {
            clf_log(CLF_LOG_WARNING, "%s", clf_last_error());
        }
    }
    free(text);
    free(path);
}

static void save(clf_device *device) {
    const struct clf_trials *trials = device->trials;
    if (!device->cache_directory || device->cache_is_full) return;
    cJSON *root = cJSON_CreateObject();
    cJSON_AddNumberToObject(root, "format", FORMAT);
    cJSON_AddStringToObject(root, "device", device->info.name);
    cJSON *variants = cJSON_AddObjectToObject(root, "variants");
    for (int i = 0; i < trials->count; i++) {
        if (trials->list[i].outcome == CLF_TRIAL_UNKNOWN) continue;
        cJSON_AddBoolToObject(variants, trials->list[i].name,
                              trials->list[i].outcome == CLF_TRIAL_PASSED);
    }
    if (clf_json_write(device->cache_directory, trials->file, root) != CLF_OK) {
        clf_log(CLF_LOG_WARNING, "what was tried is not remembered: %s", clf_last_error());
        device->cache_is_full = true;
    }
}

// ---- what is asked ------------------------------------------------------------------------------

bool clf_trial_passed(clf_device *device, const char *variant) {
    struct clf_trials *trials = device->trials;
    if (!trials->loaded && device->cache_directory) {
        name_file(device, trials);
        load(device, trials);
    }
    trials->loaded = true;
    for (int i = 0; i < trials->count; i++) {
        if (strcmp(trials->list[i].name, variant) == 0) {
            return trials->list[i].outcome == CLF_TRIAL_PASSED;
        }
    }
    if (trials->count == MAX_TRIALS) return false;
    clf_trial_outcome outcome = clf_trial_run(device, variant, CLF_TRIAL_SECONDS);
    remember(trials, variant, outcome);
    if (outcome != CLF_TRIAL_UNKNOWN) save(device);
    return outcome == CLF_TRIAL_PASSED;
}

int clf_trial_best(clf_device *device, const char *const *variants, int count,
                   bool (*is_candidate)(const clf_device *device, int variant)) {
    int best = count - 1;
    while (best > 0 && !(is_candidate(device, best) && clf_trial_passed(device, variants[best])))
        best--;
    clf_log(CLF_LOG_DEBUG, "variant in use: %s", variants[best]);
    return best;
}
