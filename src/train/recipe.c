// SPDX-License-Identifier: MIT
#include "train/recipe.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"

// ---- presets ----

static const struct {
    const char *name;
    clf_train_shape shape;
} presets[] = {
    {"tiny",
     {.width = 128,
      .encoder_layers = 4,
      .decoder_layers = 4,
      .encoder_heads = 4,
      .decoder_heads = 4,
      .encoder_ffn = 256,
      .decoder_ffn = 256,
      .activation = "relu"}},
    {"small",
     {.width = 256,
      .encoder_layers = 3,
      .decoder_layers = 3,
      .encoder_heads = 4,
      .decoder_heads = 4,
      .encoder_ffn = 1024,
      .decoder_ffn = 1024,
      .activation = "swish"}},
    {"base",
     {.width = 512,
      .encoder_layers = 6,
      .decoder_layers = 6,
      .encoder_heads = 8,
      .decoder_heads = 8,
      .encoder_ffn = 2048,
      .decoder_ffn = 2048,
      .activation = "relu"}},
    {"big",
     {.width = 1024,
      .encoder_layers = 6,
      .decoder_layers = 6,
      .encoder_heads = 16,
      .decoder_heads = 16,
      .encoder_ffn = 4096,
      .decoder_ffn = 4096,
      .activation = "relu"}},
};

static int pick(int value, int preset) {
    return value > 0 ? value : preset;
}

static clf_status resolve_shape(const clf_train_shape *given, clf_train_shape *shape) {
    const char *name = given->preset ? given->preset : "small";
    const clf_train_shape *preset = NULL;
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++) {
        if (strcmp(presets[i].name, name) == 0) preset = &presets[i].shape;
    }
    if (!preset) {
        return clf_fail(CLF_ERROR_ARGUMENT,
                        "there is no preset %s; there are tiny, small, base "
                        "and big",
                        name);
    }
    *shape = *given;
    shape->preset = name;
    shape->width = pick(given->width, preset->width);
    shape->encoder_layers = pick(given->encoder_layers, preset->encoder_layers);
    shape->decoder_layers = pick(given->decoder_layers, preset->decoder_layers);
    shape->encoder_heads = pick(given->encoder_heads, preset->encoder_heads);
    shape->decoder_heads = pick(given->decoder_heads, preset->decoder_heads);
    shape->encoder_ffn = pick(given->encoder_ffn, preset->encoder_ffn);
    shape->decoder_ffn = pick(given->decoder_ffn, preset->decoder_ffn);
    shape->max_positions = pick(given->max_positions, 512);
    if (!given->activation) shape->activation = preset->activation;
    if (shape->width % shape->encoder_heads != 0 || shape->width % shape->decoder_heads != 0) {
        return clf_fail(CLF_ERROR_ARGUMENT,
                        "a width of %d cannot be shared by %d and %d attention heads", shape->width,
                        shape->encoder_heads, shape->decoder_heads);
    }
    return CLF_OK;
}

// ---- options ----

static clf_status check_share(const char *what, float value) {
    if (value >= 0 && value < 1) return CLF_OK;
    return clf_fail(CLF_ERROR_ARGUMENT, "%s is %g; it must be at least 0 and below 1", what,
                    (double)value);
}

static clf_status check_number(const char *what, double value) {
    if (isfinite(value) && value >= 0) return CLF_OK;
    return clf_fail(CLF_ERROR_ARGUMENT, "%s is %g; it must not be negative", what, value);
}

// Where zero is the default, less than it is a mistake.
static clf_status check_counts(const clf_train_options *o) {
    const struct {
        const char *what;
        int64_t value;
    } counts[] = {
        {"the width", o->shape.width},
        {"the number of encoder layers", o->shape.encoder_layers},
        {"the number of decoder layers", o->shape.decoder_layers},
        {"the number of encoder heads", o->shape.encoder_heads},
        {"the number of decoder heads", o->shape.decoder_heads},
        {"the encoder's feed-forward width", o->shape.encoder_ffn},
        {"the decoder's feed-forward width", o->shape.decoder_ffn},
        {"the number of positions", o->shape.max_positions},
        {"the number of tokens of a batch", o->batch_tokens},
        {"the number of pairs of a batch", o->batch_sentences},
        {"the number of batches of an update", o->accumulate},
        {"the longest sequence", o->max_length},
        {"the number of updates", o->max_updates},
        {"the number of epochs", o->max_epochs},
        {"the number of updates between validations", o->validate_every},
        {"the number of updates between checkpoints", o->save_every},
        {"the number of checkpoints that are kept", o->keep},
        {"the number of checkpoints to average", o->average_checkpoints},
        {"the patience", o->patience},
    };
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        CLF_TRY(check_number(counts[i].what, (double)counts[i].value));
    }
    if (o->warmup >= -1) return CLF_OK;
    return clf_fail(CLF_ERROR_ARGUMENT, "the warm-up is %d; it must not be negative", o->warmup);
}

// The probability of a true token must be one (clf_train_decay).
static clf_status check_sampling(const clf_train_options *o) {
    const double c = o->sampling_constant;
    const char *rule = NULL;
    if (o->sampling_floor < 0 || o->sampling_floor > 1) {
        return clf_fail(CLF_ERROR_ARGUMENT, "the floor of the sampling is %g; use 0 to 1",
                        o->sampling_floor);
    }
    switch (o->sampling) {
    case CLF_SAMPLING_NONE: return CLF_OK;
    case CLF_SAMPLING_LINEAR: rule = c > 0 ? NULL : "above 0"; break;
    case CLF_SAMPLING_EXPONENTIAL: rule = c > 0 && c < 1 ? NULL : "between 0 and 1"; break;
    case CLF_SAMPLING_SIGMOID: rule = c >= 1 ? NULL : "at least 1"; break;
    default: return clf_fail(CLF_ERROR_ARGUMENT, "there is no sampling %d", (int)o->sampling);
    }
    if (!rule) return CLF_OK;
    return clf_fail(CLF_ERROR_ARGUMENT,
                    "the constant of the sampling is %g; this kind needs one %s", c, rule);
}

static clf_status check_recipe(const clf_train_options *o) {
    const struct {
        const char *what;
        float value;
    } shares[] = {
        {"the dropout", o->dropout},
        {"the dropout of attention weights", o->attention_dropout},
        {"the dropout of activations", o->activation_dropout},
        {"the label smoothing", o->label_smoothing},
        {"beta 1", o->beta1},
        {"beta 2", o->beta2},
        {"the decay of the average", o->average_decay},
        {"the token noise", o->token_noise},
    };
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        CLF_TRY(check_share(shares[i].what, shares[i].value));
    }
    CLF_TRY(check_number("the learning rate", o->learning_rate));
    CLF_TRY(check_number("the weight decay", o->weight_decay));
    CLF_TRY(check_number("the limit of the gradient's norm", o->clip_norm));
    CLF_TRY(check_number("Adam's epsilon", o->adam_epsilon));
    CLF_TRY(check_sampling(o));
    if (o->schedule > CLF_TRAIN_CONSTANT) {
        return clf_fail(CLF_ERROR_ARGUMENT, "there is no schedule %d", (int)o->schedule);
    }
    if (o->max_length > o->shape.max_positions) {
        return clf_fail(CLF_ERROR_ARGUMENT,
                        "sequences of up to %d tokens need a model of as many positions, not %d",
                        o->max_length, o->shape.max_positions);
    }
    if (o->half) CLF_TRY(check_number("the loss scale", (double)o->loss_scale));
    return CLF_OK;
}

static float or_default(float value, float standard) {
    return value == 0 ? standard : value == -1 ? 0 : value;
}

clf_status clf_recipe_resolve(const clf_train_options *options, clf_train_options *resolved) {
    clf_train_options o = *options;
    if (!o.source || !o.target || !o.output || !o.vocabulary) {
        return clf_fail(CLF_ERROR_ARGUMENT,
                        "training needs a source text, a target text, a vocabulary and an output");
    }
    if (!o.valid_source != !o.valid_target) {
        return clf_fail(CLF_ERROR_ARGUMENT, "the validation text needs both sides");
    }
    CLF_TRY(check_counts(options));
    CLF_TRY(resolve_shape(&options->shape, &o.shape));
    o.dropout = or_default(o.dropout, 0.1f);
    o.attention_dropout = or_default(o.attention_dropout, 0);
    o.activation_dropout = or_default(o.activation_dropout, 0);
    o.label_smoothing = or_default(o.label_smoothing, 0.1f);
    o.token_noise = or_default(o.token_noise, 0);
    if (o.learning_rate == 0) o.learning_rate = o.shape.width > 512 ? 5e-4 : 7e-4;
    o.beta1 = or_default(o.beta1, 0.9f);
    o.beta2 = or_default(o.beta2, 0.98f);
    o.adam_epsilon = or_default(o.adam_epsilon, 1e-9f);
    if (o.seed == 0) o.seed = 1;
    if (o.loss_scale == 0) o.loss_scale = 4096;
    o.accumulate = pick(o.accumulate, 1);
    o.max_length = pick(o.max_length, o.shape.max_positions < 128 ? o.shape.max_positions : 128);
    o.average_checkpoints = pick(o.average_checkpoints, 1);
    o.keep = pick(o.keep, 2);
    if (o.keep < o.average_checkpoints) o.keep = o.average_checkpoints;
    if (o.max_updates <= 0 && o.max_epochs <= 0) o.max_epochs = 20;
    CLF_TRY(check_recipe(&o));
    *resolved = o;
    return CLF_OK;
}

// ---- what follows from them ----

static clf_status find_activation(const char *name, clf_activation *activation) {
    static const struct {
        const char *name;
        clf_activation activation;
    } known[] = {{"relu", CLF_ACT_RELU},
                 {"gelu", CLF_ACT_GELU},
                 {"swish", CLF_ACT_SILU},
                 {"silu", CLF_ACT_SILU}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(known[i].name, name) != 0) continue;
        *activation = known[i].activation;
        return CLF_OK;
    }
    return clf_fail(CLF_ERROR_ARGUMENT, "there is no activation %s; there are relu, gelu and swish",
                    name);
}

static clf_stack_config make_stack(int layers, int heads, int width, int ffn) {
    return (clf_stack_config){.layers = layers,
                              .heads = heads,
                              .head_width = width / heads,
                              .attention_scale = 1 / sqrtf((float)(width / heads)),
                              .ffn = ffn};
}

clf_status clf_recipe_config(const clf_train_shape *shape, const clf_vocabulary_files *files,
                             clf_config *config) {
    const bool shared = !files->target_vocabulary;
    clf_config c = {
        .family = "marian",
        .width = shape->width,
        .encoder = make_stack(shape->encoder_layers, shape->encoder_heads, shape->width,
                              shape->encoder_ffn),
        .decoder = make_stack(shape->decoder_layers, shape->decoder_heads, shape->width,
                              shape->decoder_ffn),
        .source_vocabulary = files->source_size,
        .target_vocabulary = files->target_size,
        .share_embeddings = shared && !shape->separate_embeddings,
        .tie_output = !shape->untied_output,
        .linear_bias = true,
        .pre_norm = shape->pre_norm,
        .final_norm = shape->pre_norm,
        .norm_bias = true,
        .norm = CLF_NORM_LAYER,
        .norm_epsilon = 1e-5f,
        .embedding_scale = sqrtf((float)shape->width),
        .positions = shape->learned_positions ? CLF_POSITIONS_LEARNED : CLF_POSITIONS_SINUSOIDAL,
        .position_denominator = shape->width / 2.0,
        .max_positions = shape->max_positions,
        .start_token = files->pad,
        .pad_token = files->pad,
    };
    CLF_TRY(find_activation(shape->activation, &c.activation));
    CLF_TRY(clf_config_check(&c, "the model's shape"));
    *config = c;
    return CLF_OK;
}

clf_generation clf_recipe_generation(int max_length, const clf_vocabulary_files *files) {
    return (clf_generation){.num_beams = 4,
                            .length_penalty = 1,
                            .max_length = max_length,
                            .eos = {files->eos},
                            .eos_count = 1,
                            .forced_bos = -1,
                            .forced_eos = files->eos,
                            .renormalize = true,
                            .suppress = {files->pad},
                            .suppress_count = 1};
}

clf_pass_options clf_recipe_pass(const clf_train_options *options) {
    return (clf_pass_options){.dropout = options->dropout,
                              .attention_dropout = options->attention_dropout,
                              .activation_dropout = options->activation_dropout,
                              .label_smoothing = options->label_smoothing,
                              .seed = options->seed,
                              .recompute = options->recompute};
}

clf_optimizer_options clf_recipe_optimizer(const clf_train_options *options) {
    return (clf_optimizer_options){.beta1 = options->beta1,
                                   .beta2 = options->beta2,
                                   .epsilon = options->adam_epsilon,
                                   .decay = options->weight_decay,
                                   .clip = options->clip_norm,
                                   .average =
                                       options->average_decay > 0 ? 1 - options->average_decay : 0};
}

clf_schedule clf_recipe_schedule(const clf_train_options *options, int64_t updates) {
    static const clf_schedule_kind kinds[] = {[CLF_TRAIN_INVERSE_SQRT] = CLF_SCHEDULE_INVERSE_SQRT,
                                              [CLF_TRAIN_LINEAR] = CLF_SCHEDULE_LINEAR,
                                              [CLF_TRAIN_COSINE] = CLF_SCHEDULE_COSINE,
                                              [CLF_TRAIN_CONSTANT] = CLF_SCHEDULE_CONSTANT};
    int64_t warmup = options->warmup > 0 ? options->warmup : 0;
    if (options->warmup == 0) warmup = updates / 10 < 4000 ? updates / 10 : 4000;
    return (clf_schedule){.kind = kinds[options->schedule],
                          .peak = options->learning_rate,
                          .warmup = warmup,
                          .total = updates};
}

void clf_recipe_hash(const clf_train_options *o, const clf_config *config,
                     const clf_corpus_counts *text, int passes, char hash[CLF_HASH_TEXT]) {
    const double numbers[] = {
        config->width,
        config->encoder.layers,
        config->decoder.layers,
        config->encoder.heads,
        config->decoder.heads,
        config->encoder.ffn,
        config->decoder.ffn,
        config->source_vocabulary,
        config->target_vocabulary,
        config->share_embeddings,
        config->tie_output,
        config->pre_norm,
        (double)config->positions,
        (double)config->activation,
        (double)o->dropout,
        (double)o->attention_dropout,
        (double)o->activation_dropout,
        (double)o->label_smoothing,
        (double)o->schedule,
        o->learning_rate,
        o->warmup,
        (double)o->beta1,
        (double)o->beta2,
        (double)o->adam_epsilon,
        (double)o->weight_decay,
        (double)o->clip_norm,
        (double)o->average_decay,
        (double)o->sampling,
        o->sampling_constant,
        o->sampling_floor,
        (double)o->token_noise,
        (double)o->seed,
        o->batch_tokens,
        o->batch_sentences,
        passes,
        o->max_length,
        (double)text->pairs,
        (double)text->source_tokens,
        (double)text->target_tokens,
    };
    clf_hash all = clf_hash_bytes(clf_hash_start(), numbers, sizeof numbers);
    if (o->half) all = clf_hash_string(all, "half");
    clf_hash_text(all, hash);
}
