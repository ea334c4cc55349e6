// SPDX-License-Identifier: MIT
// Times of kernels, transfers and host phases: summed up for the profile, written one by one to a
// Chrome trace.
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/clock.h"
#include "base/fail.h"
#include "device/opencl.h"

// How many commands may wait for their times: events are scarce in some drivers.
enum { MAX_PENDING = 2048 };

typedef struct pending {
    cl_event before, event; // `before` may be NULL
    size_t entry;
    clf_track track;
    clf_cost cost;
} pending;

struct clf_recorder {
    clf_device *device;
    CLF_ARRAY(clf_profile_entry) entries;
    CLF_ARRAY(pending) pending;
    int64_t clock_offset;  // host clock minus device clock, ns
    pthread_mutex_t mutex; // of what follows: host phases come from any thread, at any time
    FILE *trace;           // NULL: only the profile is wanted
    char *path;
    int64_t start; // host clock at the trace's time 0
    int host_threads;
};

// ---- the trace file ----

static void write_escaped(FILE *file, const char *text) {
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\') {
            fprintf(file, "\\%c", *c);
        } else if (*c < 0x20) {
            fprintf(file, "\\u%04x", *c);
        } else {
            fputc(*c, file);
        }
    }
}

static void write_track_name(struct clf_recorder *recorder, int track, const char *name) {
    fprintf(recorder->trace,
            ",\n{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":1,\"tid\":%d,\"args\":{\"name\":\"",
            track);
    write_escaped(recorder->trace, name);
    fputs("\"}}", recorder->trace);
}

static void write_span(struct clf_recorder *recorder, int track, const char *name, clf_cost cost,
                       int64_t begin, int64_t end) {
    fputs(",\n{\"name\":\"", recorder->trace);
    write_escaped(recorder->trace, name);
    fprintf(recorder->trace, "\",\"ph\":\"X\",\"pid\":1,\"tid\":%d,\"ts\":%.3f,\"dur\":%.3f", track,
            (double)(begin - recorder->start) * 1e-3, (double)(end - begin) * 1e-3);
    if (cost.bytes > 0 || cost.flops > 0)
        fprintf(recorder->trace, ",\"args\":{\"bytes\":%.0f,\"flops\":%.0f}", cost.bytes,
                cost.flops);
    fputc('}', recorder->trace);
}

// The file is written as things happen: a long run's trace does not pile up in memory.
static clf_status open_trace(struct clf_recorder *recorder, const char *path) {
    recorder->path = strdup(path);
    if (!recorder->path) return clf_fail_memory();
    recorder->trace = fopen(path, "w");
    if (!recorder->trace) {
        return clf_fail(CLF_ERROR_IO, "%s: cannot write the trace: %s", path, strerror(errno));
    }
    fputs("[\n{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":1,\"args\":{\"name\":\"clformer on ",
          recorder->trace);
    write_escaped(recorder->trace, recorder->device->info.name);
    fputs("\"}}", recorder->trace);
    write_track_name(recorder, CLF_TRACK_KERNELS, "kernels");
    write_track_name(recorder, CLF_TRACK_TRANSFERS, "transfers");
    return CLF_OK;
}

static void close_trace(struct clf_recorder *recorder) {
    if (!recorder->trace) return;
    fputs("\n]\n", recorder->trace);
    bool failed = ferror(recorder->trace);
    if (fclose(recorder->trace) != 0 || failed) {
        clf_log(CLF_LOG_WARNING, "%s: the trace is incomplete: %s", recorder->path,
                strerror(errno));
    }
}

// ---- the device's clock ----

static cl_ulong event_time(cl_event event, cl_profiling_info what) {
    cl_ulong time = 0;
    clGetEventProfilingInfo(event, what, sizeof time, &time, NULL);
    return time;
}

// Both clocks are read around the end of a command; the quickest of a few tries is the truest.
static clf_status align_clocks(struct clf_recorder *recorder) {
    clf_device *device = recorder->device;
    cl_int code;
    cl_uint word = 0;
    cl_mem memory = clCreateBuffer(device->context, CL_MEM_READ_WRITE, sizeof word, NULL, &code);
    if (code != CL_SUCCESS) return clf_cl_fail(device, code, "allocate a word");
    int64_t quickest = INT64_MAX;
    for (int i = 0; i < 5 && code == CL_SUCCESS; i++) {
        cl_event event;
        int64_t begin = clf_clock();
        code = clEnqueueWriteBuffer(device->queue, memory, CL_FALSE, 0, sizeof word, &word, 0, NULL,
                                    &event);
        if (code != CL_SUCCESS) break;
        code = clWaitForEvents(1, &event);
        int64_t end = clf_clock();
        if (end - begin < quickest) {
            quickest = end - begin;
            recorder->clock_offset = end - (int64_t)event_time(event, CL_PROFILING_COMMAND_END);
        }
        clReleaseEvent(event);
    }
    clReleaseMemObject(memory);
    if (code != CL_SUCCESS) return clf_cl_fail(device, code, "time a transfer");
    return CLF_OK;
}

// ---- commands ----

clf_status clf_recorder_create(clf_device *device, const char *trace_path,
                               struct clf_recorder **recorder) {
    struct clf_recorder *created = calloc(1, sizeof *created);
    if (!created) return clf_fail_memory();
    created->device = device;
    created->start = clf_clock();
    pthread_mutex_init(&created->mutex, NULL);
    clf_status status = align_clocks(created);
    if (status == CLF_OK && trace_path) status = open_trace(created, trace_path);
    if (status != CLF_OK) {
        clf_recorder_destroy(created);
        return status;
    }
    *recorder = created;
    return CLF_OK;
}

void clf_recorder_destroy(struct clf_recorder *recorder) {
    if (!recorder) return;
    clf_recorder_harvest(recorder);
    close_trace(recorder);
    clf_array_free(&recorder->entries);
    clf_array_free(&recorder->pending);
    pthread_mutex_destroy(&recorder->mutex);
    free(recorder->path);
    free(recorder);
}

// The profile's line of that name, made if need be; false if memory is short.
static bool find_entry(struct clf_recorder *recorder, const char *name, size_t *index) {
    clf_profile_entry entry = {0};
    snprintf(entry.name, sizeof entry.name, "%s", name);
    for (size_t i = 0; i < recorder->entries.count; i++) {
        if (strcmp(recorder->entries.data[i].name, entry.name) == 0) {
            *index = i;
            return true;
        }
    }
    *index = recorder->entries.count;
    return clf_array_push(&recorder->entries, entry);
}

void clf_recorder_add(struct clf_recorder *recorder, clf_track track, const char *name,
                      clf_cost cost, cl_event before, cl_event event) {
    pending p = {.before = before, .event = event, .track = track, .cost = cost};
    if (!find_entry(recorder, name, &p.entry) || !clf_array_push(&recorder->pending, p)) {
        if (before) clReleaseEvent(before);
        clReleaseEvent(event);
        return;
    }
    clf_profile_entry *entry = &recorder->entries.data[p.entry];
    entry->calls++;
    entry->bytes += cost.bytes;
    entry->flops += cost.flops;
    if (recorder->pending.count >= MAX_PENDING && clFinish(recorder->device->queue) == CL_SUCCESS) {
        clf_device_idle(recorder->device);
    }
}

static void harvest_one(struct clf_recorder *recorder, const pending *p) {
    cl_ulong begin = p->before ? event_time(p->before, CL_PROFILING_COMMAND_END)
                               : event_time(p->event, CL_PROFILING_COMMAND_START);
    cl_ulong end = event_time(p->event, CL_PROFILING_COMMAND_END);
    if (begin == 0 || begin > end) begin = end; // some drivers' times are not in order
    clf_profile_entry *entry = &recorder->entries.data[p->entry];
    entry->seconds += (double)(end - begin) * 1e-9;
    if (recorder->trace) {
        pthread_mutex_lock(&recorder->mutex);
        write_span(recorder, p->track, entry->name, p->cost,
                   (int64_t)begin + recorder->clock_offset, (int64_t)end + recorder->clock_offset);
        pthread_mutex_unlock(&recorder->mutex);
    }
    if (p->before) clReleaseEvent(p->before);
    clReleaseEvent(p->event);
}

void clf_recorder_harvest(struct clf_recorder *recorder) {
    if (recorder->pending.count > 0) {
        // A blocking call may return before its event is complete, and has its times.
        clWaitForEvents(1, &recorder->pending.data[recorder->pending.count - 1].event);
    }
    for (size_t i = 0; i < recorder->pending.count; i++) {
        harvest_one(recorder, &recorder->pending.data[i]);
    }
    recorder->pending.count = 0;
}

// ---- host phases ----

int64_t clf_phase_begin(const clf_device *device) {
    return device->recorder && device->recorder->trace ? clf_clock() : 0;
}

// Each thread that has phases gets a track of its own.
static int host_track(struct clf_recorder *recorder) {
    static atomic_int threads;
    static _Thread_local int number; // from 1; 0: none yet
    if (number == 0) number = atomic_fetch_add(&threads, 1) + 1;
    for (; recorder->host_threads < number; recorder->host_threads++) {
        char name[32];
        snprintf(name, sizeof name, "host %d", recorder->host_threads + 1);
        write_track_name(recorder, CLF_TRACK_HOST + recorder->host_threads, name);
    }
    return CLF_TRACK_HOST + number - 1;
}

void clf_phase_end(clf_device *device, const char *name, int64_t begin) {
    struct clf_recorder *recorder = device->recorder;
    if (!recorder || !recorder->trace) return;
    int64_t end = clf_clock();
    pthread_mutex_lock(&recorder->mutex);
    write_span(recorder, host_track(recorder), name, (clf_cost){0}, begin, end);
    pthread_mutex_unlock(&recorder->mutex);
}

// ---- the report ----

static int compare_entries(const void *left, const void *right) {
    const clf_profile_entry *a = left, *b = right;
    return a->seconds < b->seconds ? 1 : a->seconds > b->seconds ? -1 : strcmp(a->name, b->name);
}

clf_status clf_device_profile_report(clf_device *device, clf_profile_entry **entries,
                                     size_t *count) {
    if (!device->recorder) {
        return clf_fail(CLF_ERROR_ARGUMENT, "the device was opened without the profile option");
    }
    clf_device_lock(device);
    clf_run run = clf_run_begin(device);
    clf_status status = clf_run_finish(&run);
    size_t size = device->recorder->entries.count;
    clf_profile_entry *copy = malloc((size + 1) * sizeof *copy);
    if (status == CLF_OK && !copy) status = clf_fail_memory();
    if (status == CLF_OK) {
        if (size > 0) memcpy(copy, device->recorder->entries.data, size * sizeof *copy);
        qsort(copy, size, sizeof *copy, compare_entries);
        *entries = copy;
        *count = size;
    } else {
        free(copy);
    }
    clf_device_unlock(device);
    return status;
}
