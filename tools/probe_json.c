// SPDX-License-Identifier: MIT
// docs/probe-json.md describes every field; whoever changes the meaning of one raises SCHEMA.
#include "probe.h"

#include <math.h>
#include <stdlib.h>

#include <cjson/cJSON.h>

#define SCHEMA 1

// null for what was not measured.
static void add_measured(cJSON *object, const char *name, double value) {
    if (value > 0 && isfinite(value)) {
        cJSON_AddNumberToObject(object, name, value);
    } else {
        cJSON_AddNullToObject(object, name);
    }
}

static const char *outcome_text(clf_probe_outcome outcome) {
    static const char *const texts[] = {"absent", "passed", "wrong", "failed", "skipped"};
    return texts[outcome];
}

static const char *variant_text(clf_probe_variant variant) {
    static const char *const texts[] = {"clblast_default", "clblast_tuned", "panel", "matrix"};
    return texts[variant];
}

static void add_device(cJSON *object, const clf_device_info *info) {
    cJSON *device = cJSON_AddObjectToObject(object, "device");
    char selector[32];
    snprintf(selector, sizeof selector, "%d:%d", info->platform_index, info->device_index);
    cJSON_AddStringToObject(device, "selector", selector);
    cJSON_AddStringToObject(device, "name", info->name);
    cJSON_AddStringToObject(device, "kind", clf_device_kind_text(info->kind));
    cJSON_AddStringToObject(device, "platform", info->platform);
    cJSON_AddStringToObject(device, "vendor", info->vendor);
    cJSON_AddStringToObject(device, "driver", info->driver);
    cJSON_AddStringToObject(device, "version", info->version);
    cJSON_AddStringToObject(device, "c_version", info->c_version);
    cJSON_AddNumberToObject(device, "global_memory", (double)info->global_memory);
    cJSON_AddNumberToObject(device, "max_allocation", (double)info->max_allocation);
    cJSON_AddNumberToObject(device, "local_memory", (double)info->local_memory);
    cJSON_AddNumberToObject(device, "cache", (double)info->cache);
    cJSON_AddNumberToObject(device, "compute_units", info->compute_units);
    cJSON_AddNumberToObject(device, "clock_mhz", info->clock_mhz);
}

static void add_capabilities(cJSON *object, const clf_probe *probe) {
    static const char *const uses[] = {"used", "not_needed", "fallback", "required"};
    cJSON *list = cJSON_AddArrayToObject(object, "capabilities");
    for (int i = 0; i < CLF_PROBE_CAPABILITIES; i++) {
        const clf_probe_capability *c = &probe->capabilities[i];
        cJSON *item = cJSON_CreateObject();
        cJSON_AddStringToObject(item, "key", c->key);
        cJSON_AddStringToObject(item, "name", c->name);
        cJSON_AddBoolToObject(item, "present", c->present);
        cJSON_AddStringToObject(item, "value", c->value);
        cJSON_AddStringToObject(item, "use", uses[c->use]);
        cJSON_AddStringToObject(item, "note", c->note);
        cJSON_AddItemToArray(list, item);
    }
}

static void add_rates(cJSON *object, const clf_probe_rates *r) {
    cJSON *rates = cJSON_AddObjectToObject(object, "rates");
    const struct {
        const char *name;
        double rate;
    } transfers[] = {{"host_to_device", r->host_to_device},
                     {"device_to_host", r->device_to_host},
                     {"device_copy", r->device_copy},
                     {"device_stream", r->device_stream}};
    add_measured(rates, "launch_seconds", r->launch);
    add_measured(rates, "launch_wait_seconds", r->launch_wait);
    for (int i = 0; i < 4; i++) {
        cJSON *transfer = cJSON_AddObjectToObject(rates, transfers[i].name);
        add_measured(transfer, "bytes_per_second", transfers[i].rate);
        cJSON_AddNumberToObject(transfer, "transfer_bytes", (double)r->transfer_bytes[i]);
    }
    add_measured(rates, "fma_flops", r->fma);
    cJSON_AddNumberToObject(rates, "fma_vector", r->fma_vector);
    add_measured(rates, "build_new_seconds", r->build_new);
    add_measured(rates, "build_cached_seconds", r->build_cached);
    cJSON_AddStringToObject(rates, "error", r->error);
}

static cJSON *make_result(const clf_probe_products *products, int variant, int shape, int row) {
    const clf_probe_product *cell = &products->cells[variant][shape][row];
    cJSON *item = cJSON_CreateObject();
    cJSON_AddStringToObject(item, "variant", variant_text((clf_probe_variant)variant));
    cJSON_AddNumberToObject(item, "rows", clf_probe_rows[row]);
    cJSON_AddNumberToObject(item, "k", clf_probe_shapes[shape][0]);
    cJSON_AddNumberToObject(item, "n", clf_probe_shapes[shape][1]);
    cJSON_AddStringToObject(item, "outcome", outcome_text(cell->outcome));
    add_measured(item, "seconds", cell->seconds);
    add_measured(item, "flops", cell->flops);
    add_measured(item, "error", cell->error);
    return item;
}

static void add_products(cJSON *object, const char *name, const clf_probe_products *products) {
    if (!products->measured) {
        cJSON_AddNullToObject(object, name);
        return;
    }
    cJSON *made = cJSON_AddObjectToObject(object, name);
    cJSON *used = cJSON_AddArrayToObject(made, "used");
    for (int i = 0; i < CLF_PROBE_ROWS; i++) {
        cJSON *item = cJSON_CreateObject();
        cJSON_AddNumberToObject(item, "rows", clf_probe_rows[i]);
        cJSON_AddStringToObject(item, "variant", variant_text(products->used[i]));
        cJSON_AddItemToArray(used, item);
    }
    cJSON *results = cJSON_AddArrayToObject(made, "results");
    for (int v = 0; v < CLF_PROBE_VARIANTS; v++) {
        for (int s = 0; s < CLF_PROBE_SHAPES; s++) {
            for (int i = 0; i < CLF_PROBE_ROWS; i++) {
                if (products->cells[v][s][i].outcome == CLF_PROBE_ABSENT) continue;
                cJSON_AddItemToArray(results, make_result(products, v, s, i));
            }
        }
    }
    cJSON_AddStringToObject(made, "error", products->error);
}

static void add_checks(cJSON *object, const clf_probe *probe) {
    cJSON *list = cJSON_AddArrayToObject(object, "checks");
    for (int i = 0; i < probe->check_count; i++) {
        const clf_probe_check *check = &probe->checks[i];
        cJSON *item = cJSON_CreateObject();
        cJSON_AddStringToObject(item, "name", check->name);
        cJSON_AddStringToObject(item, "outcome", outcome_text(check->outcome));
        add_measured(item, "error", check->error);
        cJSON_AddStringToObject(item, "message", check->message);
        cJSON_AddItemToArray(list, item);
    }
}

static void add_verdict(cJSON *object, const clf_probe *probe) {
    cJSON *tokens = cJSON_AddObjectToObject(object, "tokens_per_second");
    add_measured(tokens, "batch_1", probe->tokens_per_second[0]);
    add_measured(tokens, "batch_32", probe->tokens_per_second[1]);
    cJSON_AddStringToObject(object, "verdict", probe->verdict);
}

static cJSON *make_report(const probe_report *report) {
    const clf_probe *probe = report->probe;
    cJSON *object = cJSON_CreateObject();
    cJSON_AddNumberToObject(object, "schema", SCHEMA);
    cJSON_AddBoolToObject(object, "runs", probe && probe->runs);
    cJSON_AddStringToObject(object, "error", report->error);
    add_device(object, &report->info);
    if (!probe) return object;
    cJSON_AddStringToObject(object, "profile", probe->profile);
    cJSON_AddStringToObject(object, "tuning_file", probe->tuning);
    add_capabilities(object, probe);
    add_rates(object, &probe->rates);
    add_products(object, "products", &probe->products);
    add_measured(object, "tune_seconds", probe->tune_seconds);
    cJSON_AddStringToObject(object, "tune_error", probe->tune_error);
    add_products(object, "tuned_products", &probe->tuned);
    add_checks(object, probe);
    add_verdict(object, probe);
    return object;
}

bool probe_print_json(FILE *out, const probe_report *reports, size_t count) {
    cJSON *array = cJSON_CreateArray();
    for (size_t i = 0; i < count; i++) cJSON_AddItemToArray(array, make_report(&reports[i]));
    char *text = cJSON_Print(array);
    if (text) fprintf(out, "%s\n", text);
    free(text);
    cJSON_Delete(array);
    return text;
}
