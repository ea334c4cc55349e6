// SPDX-License-Identifier: MIT
// What matters to a Transformer, and what clformer makes of it.
#include <stdio.h>
#include <string.h>

#include "device/launch.h"
#include "ops/linear.h"
#include "probe/probe.h"

typedef struct row {
    const char *key, *name;
    bool present;
    clf_probe_use use;
    const char *note;
} row;

static clf_probe_use used_if(bool present, clf_probe_use otherwise) {
    return present ? CLF_PROBE_USED : otherwise;
}

static const char *lanes_note(bool cpu) {
    return cpu ? "one work-item owns a row here" : "row reductions; attention tiles";
}

static void name_profile(const clf_profile *profile, char *text, size_t size) {
    if (profile->lanes == 1) {
        snprintf(text, size, "CPU kernels: one work-item per row, vectors of %d",
                 profile->vector_width);
    } else {
        snprintf(text, size, "GPU kernels: %d work-items per row, vectors of %d", profile->lanes,
                 profile->vector_width);
    }
}

// "vnni512" for "int8-vnni512".
static void name_variant(clf_prober *p, const char *key, bool present, const char *name) {
    for (int i = 0; i < CLF_PROBE_CAPABILITIES && present; i++) {
        clf_probe_capability *c = &p->result->capabilities[i];
        if (strcmp(c->key, key) == 0)
            snprintf(c->value, sizeof c->value, "%s", strchr(name, '-') + 1);
    }
}

void clf_probe_capabilities(clf_prober *p) {
    const clf_caps *caps = clf_device_caps(p->device);
    const clf_profile *profile = clf_device_profile(p->device);
    const bool cpu = profile->lanes == 1;
    clf_run run = clf_run_begin(p->device);
    const clf_matrix_unit unit = clf_linear_matrix_unit(&run);
    const clf_int8 int8 = clf_linear_int8(&run);
    const clf_bfloat bfloat = clf_linear_bfloat(&run);
    const bool has_bfloat = bfloat != CLF_BFLOAT_EMULATED;
    const bool dot = caps->integer_dot || caps->qcom_dot;
    const bool loops = clf_device_runs_long_loops(p->device);
    const bool joins = clf_chain_is_wanted(p->device);
    const bool has_unit = unit != CLF_MATRIX_EMULATED, has_int8 = int8 != CLF_INT8_PLAIN;
    const row rows[CLF_PROBE_CAPABILITIES] = {
        {"compiler", "compiler at run time", caps->online_compiler,
         used_if(caps->online_compiler, CLF_PROBE_REQUIRED),
         "kernels are compiled for this device"},
        {"vectors", "vectors of floats", caps->native_float_width > 1, CLF_PROBE_USED, ""},
        {"work_group", "largest work-group", caps->max_group > 1,
         cpu ? CLF_PROBE_NOT_NEEDED : CLF_PROBE_USED, lanes_note(cpu)},
        {"local_memory", "real local memory", caps->local_is_real,
         cpu                   ? CLF_PROBE_NOT_NEEDED
         : caps->local_is_real ? CLF_PROBE_USED
                               : CLF_PROBE_FALLBACK,
         cpu                   ? "caches do its work"
         : caps->local_is_real ? "row reductions; attention tiles"
                               : "used all the same: drivers understate it"},
        {"fma", "fused multiply-add", caps->fma, used_if(caps->fma, CLF_PROBE_FALLBACK),
         caps->fma ? "matrix products" : "multiply, then add"},
        {"half_storage", "half storage", true, CLF_PROBE_USED,
         "F16 weights are widened on the device"},
        {"half_arithmetic", "half arithmetic", caps->half_arithmetic, CLF_PROBE_NOT_NEEDED,
         "products and sums are in float"},
        {"double_arithmetic", "double arithmetic", caps->double_arithmetic, CLF_PROBE_NOT_NEEDED,
         "float is accurate enough"},
        {"denormals", "denormal floats", caps->denormals, CLF_PROBE_NOT_NEEDED,
         "nothing that small counts"},
        {"subgroups", "sub-groups", caps->subgroups, CLF_PROBE_NOT_NEEDED,
         "reductions go through local memory"},
        {"subgroup_shuffle", "sub-group shuffles", caps->subgroup_shuffle, CLF_PROBE_NOT_NEEDED,
         "likewise"},
        {"integer_dot", "integer dot product", dot, used_if(dot, CLF_PROBE_FALLBACK),
         dot ? "int8 products, if it is faster" : "see int8 products"},
        {"int8_products", "int8 products", has_int8, used_if(has_int8, CLF_PROBE_FALLBACK),
         has_int8 ? "products with int8 weights; tried here"
                  : "int8 weights become float in the kernel"},
        {"bfloat_products", "bfloat16 products", has_bfloat,
         used_if(has_bfloat, CLF_PROBE_FALLBACK),
         has_bfloat ? "training in half precision; tried here" : "products of half are in float"},
        {"matrix_unit", "matrix unit", has_unit, used_if(has_unit, CLF_PROBE_FALLBACK),
         has_unit ? "matrix products; tried here" : "products by multiply-adds"},
        {"chains", "groups that wait", joins, used_if(joins, CLF_PROBE_FALLBACK),
         joins ? "a decoder's step is one launch; tried here" : "one launch for each kernel"},
        {"long_loops", "loops of any length", loops, used_if(loops, CLF_PROBE_FALLBACK),
         loops ? "sums of many rows" : "such sums take several launches"},
        {"float_atomics", "float atomics", caps->float_atomics, CLF_PROBE_NOT_NEEDED,
         "sums have a fixed order, so runs repeat"},
        {"unified_memory", "memory shared with host", caps->unified_memory, CLF_PROBE_NOT_NEEDED,
         "weights are copied once, at load"},
    };
    for (int i = 0; i < CLF_PROBE_CAPABILITIES; i++) {
        const row *from = &rows[i];
        clf_probe_capability *to = &p->result->capabilities[i];
        *to = (clf_probe_capability){.key = from->key,
                                     .name = from->name,
                                     .present = from->present,
                                     .use = from->use,
                                     .note = from->note};
        snprintf(to->value, sizeof to->value, from->present ? "yes" : "no");
    }
    name_variant(p, "int8_products", has_int8, clf_int8_name(int8));
    name_variant(p, "bfloat_products", has_bfloat, clf_bfloat_name(bfloat));
    name_variant(p, "matrix_unit", has_unit, clf_matrix_name(unit));
    clf_probe_capability *vectors = &p->result->capabilities[1];
    snprintf(vectors->value, sizeof vectors->value, "%d native", caps->native_float_width);
    vectors->note = cpu ? "a row is walked in vectors" : "wide loads";
    clf_probe_capability *group = &p->result->capabilities[2];
    snprintf(group->value, sizeof group->value, "%d items", caps->max_group);
    name_profile(profile, p->result->profile, sizeof p->result->profile);
}
