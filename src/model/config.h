// SPDX-License-Identifier: MIT
// What an encoder-decoder Transformer looks like. A family of models is data in this struct, not a
// code path of its own.
#ifndef CLF_MODEL_CONFIG_H
#define CLF_MODEL_CONFIG_H

#include <stdbool.h>

#include "ops/ops.h"

typedef enum clf_positions {
    CLF_POSITIONS_NONE,
    CLF_POSITIONS_SINUSOIDAL, // computed, see clf_sinusoid_write
    CLF_POSITIONS_LEARNED     // a table in the model
} clf_positions;

// One side's stack of layers.
typedef struct clf_stack_config {
    int layers, heads;
    int head_width;        // D; heads * D need not be C
    float attention_scale; // multiplies q . k, usually 1 / sqrt(D)
    int ffn;               // the inner width, of one branch if the layer is gated
} clf_stack_config;

typedef struct clf_config {
    char family[32]; // "marian", "ctranslate2": for messages
    int width;       // C
    clf_stack_config encoder, decoder;
    int source_vocabulary, target_vocabulary;
    bool share_embeddings; // one matrix for source and target
    bool tie_output;       // the output projection is the target embedding
    bool output_bias;      // a bias on the logits
    bool linear_bias;      // biases on the linear layers inside
    bool pre_norm;         // x + sub(norm(x)), else norm(x + sub(x))
    bool final_norm;       // a norm after the last layer of each stack
    bool embedding_norm;   // a norm right after the embedding
    bool norm_bias;        // norms have a bias
    clf_norm_kind norm;
    float norm_epsilon;
    clf_activation activation;
    bool gated;            // feed-forward: out(act(gate x) * (in x))
    float embedding_scale; // multiplies token embeddings, e.g. sqrt(C)
    clf_positions positions;
    int position_offset;         // index of the first token
    double position_denominator; // see clf_sinusoid_write
    int max_positions;           // tokens; the length of a learned table less the offset
    int start_token;             // first decoder input; -1: a zero vector instead of an embedding
    int pad_token;               // -1: none
} clf_config;

// Refuses impossible or absurd values (zero widths, heads that do not fit, sizes that overflow);
// `path` names the file in the message.
clf_status clf_config_check(const clf_config *config, const char *path);

// How to search, as the model's authors would. Hugging Face names and meanings.
typedef struct clf_generation {
    int num_beams;
    float length_penalty;
    int early_stopping; // 0 false, 1 true, 2 "never"
    int max_length;     // start token included; 0: silent
    int max_new_tokens; // wins over max_length; 0: silent
    int min_length;
    int eos[4];
    int eos_count;
    int forced_bos, forced_eos; // -1: none
    bool renormalize;           // renormalize_logits
    int suppress[64];           // bad_words_ids of one token, suppress_tokens
    int suppress_count;
} clf_generation;

#endif
