// SPDX-License-Identifier: MIT
// Damaged and lying model directories: always a clean error that names the directory.
#include "harness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <clformer/log.h>

#include "base/file.h"
#include "base/rng.h"
#include "modelkit.h"

static void refuse_path(const char *path, clf_status status, const char *word) {
    clf_format *format = NULL;
    CU_ASSERT_EQUAL(clf_format_open(path, &format), status);
    CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), path));
    CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), word));
}

static void test_directory(void) {
    char path[4096];
    snprintf(path, sizeof path, "%s/empty", clf_test_directory());
    refuse_path(path, CLF_ERROR_IO, "no such directory");
    CLF_ASSERT_OK(clf_file_make_directory(path));
    refuse_path(path, CLF_ERROR_FORMAT, "no model");
    modelkit_copy("marian-f16");
    snprintf(path, sizeof path, "%s", modelkit_path("config.json"));
    refuse_path(path, CLF_ERROR_IO, "is a file");
}

static void test_absent_files(void) {
    static const char *const needed[] = {"config.json", "model.safetensors", "source.spm",
                                         "target.spm", "vocab.json"};
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
        modelkit_copy("marian-f16");
        modelkit_delete(needed[i]);
        modelkit_refused(CLF_ERROR_IO, needed[i]);
    }
    modelkit_copy("marian-f16");
    modelkit_delete("model.safetensors");
    modelkit_write("pytorch_model.bin", "x", 1);
    modelkit_refused(CLF_ERROR_UNSUPPORTED, "save_pretrained");
    modelkit_copy("ct2-prenorm");
    modelkit_delete("config.json");
    modelkit_refused(CLF_ERROR_IO, "config.json");
    modelkit_copy("ct2-prenorm");
    modelkit_delete("target_vocabulary.json");
    modelkit_refused(CLF_ERROR_IO, "target_vocabulary");
    modelkit_copy("ct2-prenorm");
    modelkit_write("target_vocabulary.json", "[\"<s>\", \"x\"]", 12);
    modelkit_refused(CLF_ERROR_FORMAT, "</s>");
}

// An Argos package keeps the model one level down and its SentencePiece model beside metadata.json.
static void test_package(void) {
    static const char *const inner[] = {"config.json", "model.bin", "shared_vocabulary.json"};
    modelkit_copy("ct2-float32");
    char path[4096];
    snprintf(path, sizeof path, "%s", modelkit_path("model"));
    CLF_ASSERT_OK(clf_file_make_directory(path));
    for (size_t i = 0; i < 3; i++) {
        char to[8192];
        snprintf(to, sizeof to, "%s/%s", path, inner[i]);
        CU_ASSERT_EQUAL(rename(modelkit_path(inner[i]), to), 0);
    }
    snprintf(path, sizeof path, "%s", modelkit_path("sentencepiece.model"));
    CU_ASSERT_EQUAL(rename(modelkit_path("source.spm"), path), 0);
    modelkit_write("metadata.json", "{}", 2);
    clf_format *format;
    clf_tokenizer *tokenizer;
    clf_ids ids = {0};
    if (!CLF_ASSERT_OK(clf_format_open(clf_test_golden("ct2-float32"), &format))) return;
    clf_format_close(format);
    char *end = strrchr(path, '/');
    *end = '\0';
    if (!CLF_ASSERT_OK(clf_format_open(path, &format))) return;
    if (CLF_ASSERT_OK(clf_format_tokenizer(format, &tokenizer))) {
        CLF_ASSERT_OK(clf_tokenizer_encode_source(tokenizer, "tamatu", 6, &ids));
        CU_ASSERT_EQUAL(ids.count, 2); // the word and the end
        clf_tokenizer_close(tokenizer);
    }
    clf_array_free(&ids);
    clf_format_close(format);
}

static void config_case(const char *from, const char *to, clf_status status, const char *word) {
    modelkit_copy("marian-f16");
    modelkit_replace("config.json", from, to);
    modelkit_refused(status, word);
}

static void test_config(void) {
    const clf_status format = CLF_ERROR_FORMAT, unsupported = CLF_ERROR_UNSUPPORTED;
    config_case("\"marian\"", "\"t5\"", unsupported, "\"t5\"");
    config_case("\"marian\"", "7", format, "model_type");
    config_case("\"swish\"", "\"tanh\"", unsupported, "\"tanh\"");
    config_case("\"d_model\": 16", "\"d_model\": 17", format, "divide");
    config_case("\"d_model\": 16", "\"d_model\": 32", format, "shape (");
    config_case("\"d_model\": 16", "\"d_model\": \"16\"", format, "integer");
    config_case("\"d_model\": 16", "\"d_model\": 16.5", format, "integer");
    config_case("\"d_model\": 16", "\"d_model\": -16", format, "d_model");
    config_case("\"d_model\": 16", "\"d_model\": 1e30", format, "d_model");
    config_case("\"d_model\": 16", "\"d_model\": 16, \"d_model\": 16", format, "more than once");
    config_case("\"d_model\": 16,", "", format, "missing");
    config_case("\"vocab_size\": 95", "\"vocab_size\": 96", format, "(96, 16)");
    config_case("\"vocab_size\": 95", "\"vocab_size\": 1", format, "tokens from 0 to 0");
    config_case("\"encoder_layers\": 1", "\"encoder_layers\": 2", format, "encoder.layers.1.");
    config_case("\"encoder_layers\": 1", "\"encoder_layers\": 16777216", format, "layers");
    config_case("\"encoder_attention_heads\": 2", "\"encoder_attention_heads\": 3", format,
                "heads");
    config_case("\"encoder_ffn_dim\": 32", "\"encoder_ffn_dim\": 33", format, "fc1");
    config_case("\"scale_embedding\": true", "\"scale_embedding\": 1", format, "scale_embedding");
    config_case("\"max_position_embeddings\": 64", "\"max_position_embeddings\": 2000000", format,
                "positions");
    modelkit_copy("marian-f16");
    modelkit_write("config.json", "[1]", 3);
    modelkit_refused(format, "config.json: not a JSON object");
    modelkit_write("config.json", "{} x", 4);
    modelkit_refused(format, "config.json: something follows");
}

static clf_generation read_generation(const char *text) {
    clf_format *format;
    clf_generation g = {0};
    modelkit_copy("marian-f16");
    modelkit_write("generation_config.json", text, strlen(text));
    char path[4096];
    snprintf(path, sizeof path, "%s", modelkit_path(""));
    if (!CLF_ASSERT_OK(clf_format_open(path, &format))) return g;
    g = *clf_format_generation(format);
    clf_format_close(format);
    return g;
}

static void count_warnings(void *user, clf_log_level level, const char *message) {
    int *count = user;
    if (level == CLF_LOG_WARNING && strstr(message, "generation_config.json")) (*count)++;
}

static void test_generation(void) {
    int warnings = 0;
    clf_log_set(count_warnings, &warnings, CLF_LOG_WARNING);
    clf_generation g = read_generation("{}"); // the library's defaults; tokens from config.json
    CU_ASSERT_EQUAL(g.num_beams, 1);
    CU_ASSERT_EQUAL(g.length_penalty, 1);
    CU_ASSERT_EQUAL(g.max_length, 0);
    CU_ASSERT_EQUAL(g.max_new_tokens, 20);
    CU_ASSERT_EQUAL(g.forced_eos, -1);
    CU_ASSERT_EQUAL(g.eos_count, 1);
    CU_ASSERT_EQUAL(g.suppress_count, 0);
    CU_ASSERT_EQUAL(warnings, 0);
    g = read_generation("{\"num_beams\": 6, \"length_penalty\": 0.5, \"early_stopping\": \"never\","
                        "\"max_length\": 99, \"max_new_tokens\": 7, \"min_new_tokens\": 3,"
                        "\"eos_token_id\": [0, 5], \"forced_bos_token_id\": 8,"
                        "\"bad_words_ids\": [[94], [3, 4], [94]], \"suppress_tokens\": [1, 94],"
                        "\"no_repeat_ngram_size\": 3, \"repetition_penalty\": 1.0,"
                        "\"do_sample\": true}");
    CU_ASSERT_EQUAL(g.num_beams, 6);
    CU_ASSERT_EQUAL(g.length_penalty, 0.5f);
    CU_ASSERT_EQUAL(g.early_stopping, 2);
    CU_ASSERT_EQUAL(g.max_length, 99);
    CU_ASSERT_EQUAL(g.max_new_tokens, 7);
    CU_ASSERT_EQUAL(g.min_length, 4);
    CU_ASSERT_EQUAL(g.eos_count, 2);
    CU_ASSERT_EQUAL(g.eos[1], 5);
    CU_ASSERT_EQUAL(g.forced_bos, 8);
    CU_ASSERT_EQUAL(g.suppress_count, 2);
    CU_ASSERT_EQUAL(g.suppress[0], 94);
    CU_ASSERT_EQUAL(g.suppress[1], 1);
    CU_ASSERT_EQUAL(warnings, 3); // sampling, repeated n-grams, a bad word of two tokens
    clf_log_set(NULL, NULL, CLF_LOG_WARNING);
    static const char *const wrong[] = {"{\"num_beams\": 0}",
                                        "{\"num_beams\": 2.5}",
                                        "{\"early_stopping\": 3}",
                                        "{\"eos_token_id\": 95}",
                                        "{\"eos_token_id\": [-1]}",
                                        "{\"bad_words_ids\": [3]}",
                                        "{\"bad_words_ids\": [[]]}",
                                        "{\"suppress_tokens\": \"x\"}",
                                        "{\"max_length\": -1}",
                                        "{\"length_penalty\": 1e300}",
                                        "{\"decoder_start_token_id\": 400}",
                                        "{"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        modelkit_write("generation_config.json", wrong[i], strlen(wrong[i]));
        modelkit_refused(CLF_ERROR_FORMAT, "generation_config.json");
    }
}

// ---- safetensors --------------------------------------------------------------------------------

static void write_safetensors(const char *header, uint64_t stated, size_t data) {
    char file[4096] = {0};
    size_t length = strlen(header);
    for (int i = 0; i < 8; i++) file[i] = (char)(stated >> (8 * i));
    memcpy(file + 8, header, length);
    modelkit_write("model.safetensors", file, 8 + length + data);
}

static void header_case(const char *header, size_t data, clf_status status, const char *word) {
    write_safetensors(header, strlen(header), data);
    modelkit_refused(status, word);
}

#define TENSOR(name, type, shape, begin, end)                                                      \
    "\"" name "\":{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":[" begin "," end "]}"

static void test_safetensors(void) {
    const clf_status format = CLF_ERROR_FORMAT;
    modelkit_copy("marian-f16");
    // A sound file, but of another model.
    header_case("{" TENSOR("a", "F32", "[2]", "0", "8") "}", 8, format, "hold no");
    header_case("{" TENSOR("a", "F32", "[2]", "0", "8") "}", 7, format, "inside");
    header_case("{" TENSOR("a", "F32", "[2]", "0", "8") "}", 9, format, "after the last");
    header_case("{" TENSOR("a", "F32", "[3]", "0", "8") "}", 8, format, "fit its shape");
    header_case("{" TENSOR("a", "F16", "[2]", "8", "4") "}", 8, format, "inside");
    header_case("{" TENSOR("a", "F32", "[1]", "0", "4") "," TENSOR("b", "F32", "[1]", "0", "4") "}",
                4, format, "overlap");
    header_case(
        "{" TENSOR("a", "F32", "[1]", "0", "4") "," TENSOR("b", "F32", "[1]", "8", "12") "}", 12,
        format, "hole");
    header_case("{" TENSOR("a", "F32", "[1]", "0", "4") "," TENSOR("a", "F32", "[1]", "4", "8") "}",
                8, format, "more than once");
    header_case("{" TENSOR("a", "F32", "[4294967296,4294967296]", "0", "0") "}", 0, format,
                "absurdly");
    header_case("{" TENSOR("a", "F32", "[1e300]", "0", "0") "}", 0, format, "dimension");
    header_case("{" TENSOR("a", "F32", "[-1]", "0", "4") "}", 4, format, "dimension");
    header_case("{" TENSOR("a", "F32", "[1,1,1,1,1]", "0", "4") "}", 4, format, "dimensions");
    header_case("{" TENSOR("a", "F32", "[1]", "-4", "0") "}", 4, format, "data_offsets");
    header_case("{" TENSOR("a", "F32", "[1]", "0.5", "4.5") "}", 8, format, "data_offsets");
    header_case("{" TENSOR("a", "F32", "[1]", "0", "18446744073709551616") "}", 4, format,
                "data_offsets");
    header_case("{" TENSOR("a", "Q4", "[1]", "0", "4") "}", 4, CLF_ERROR_UNSUPPORTED, "Q4");
    header_case("{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, format, "dtype");
    header_case("{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, format, "shape");
    header_case("{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 0, format, "data_offsets");
    header_case("{\"a\":3}", 0, format, "not a JSON object");
    header_case("[]", 0, format, "not a JSON object");
    write_safetensors("{}", 3, 0);
    modelkit_refused(format, "truncated");
    write_safetensors("{}", UINT64_MAX, 0);
    modelkit_refused(format, "truncated");
    write_safetensors("{}", (uint64_t)101 << 20, 0);
    modelkit_refused(format, "truncated");
}

static void test_wrong_tensors(void) {
    modelkit_copy("marian-bias");
    modelkit_replace("model.safetensors", "\"shape\":[32,16]", "\"shape\":[16,32]");
    modelkit_refused(CLF_ERROR_FORMAT, "has the shape (16, 32), not (32, 16)");
    modelkit_copy("marian-bias");
    modelkit_replace("model.safetensors", "fc1.bias", "fc9.bias");
    modelkit_refused(CLF_ERROR_FORMAT, "fc1.bias");
    modelkit_copy("marian-f16");
    modelkit_replace("model.safetensors", "\"F16\"", "\"I16\""); // final_logits_bias comes first
    modelkit_refused(CLF_ERROR_UNSUPPORTED, "type I16");
}

static void test_shards(void) {
    modelkit_copy("marian-shards");
    modelkit_delete("model-00002-of-00004.safetensors");
    modelkit_refused(CLF_ERROR_IO, "model-00002-of-00004.safetensors");
    static const char *const names[] = {"\"../model-00001.safetensors\"", "\"\"", "7", "{}"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        modelkit_copy("marian-shards");
        modelkit_replace("model.safetensors.index.json", "\"model-00001-of-00004.safetensors\"",
                         names[i]);
        modelkit_refused(CLF_ERROR_FORMAT, "index.json");
    }
    modelkit_write("model.safetensors.index.json", "{\"weight_map\": {}}", 18);
    modelkit_refused(CLF_ERROR_FORMAT, "weight_map");
}

// ---- CTranslate2 --------------------------------------------------------------------------------

// Changes the single byte of a scalar attribute: after its name come rank, type and size.
static void set_attribute(const char *name, unsigned char value) {
    size_t size, length = strlen(name) + 1;
    char *data = modelkit_read("model.bin", &size);
    char *where = data ? memmem(data, size, name, length) : NULL;
    CU_ASSERT_PTR_NOT_NULL(where);
    if (where) {
        where[length + 6] = (char)value;
        modelkit_write("model.bin", data, size);
    }
    free(data);
}

static void test_modelbin(void) {
    modelkit_copy("ct2-prenorm");
    set_attribute("decoder/alibi", 1);
    modelkit_refused(CLF_ERROR_UNSUPPORTED, "decoder/alibi");
    modelkit_copy("ct2-prenorm");
    set_attribute("encoder/num_heads", 5);
    modelkit_refused(CLF_ERROR_FORMAT, "heads");
    modelkit_copy("ct2-prenorm");
    set_attribute("encoder/num_heads", 0);
    modelkit_refused(CLF_ERROR_FORMAT, "heads");
    modelkit_copy("ct2-prenorm");
    set_attribute("encoder/activation", 2);
    modelkit_refused(CLF_ERROR_UNSUPPORTED, "differ");
    set_attribute("decoder/activation", 6);
    set_attribute("encoder/activation", 6);
    modelkit_refused(CLF_ERROR_UNSUPPORTED, "activation number 6");
    modelkit_copy("ct2-prenorm");
    modelkit_replace("model.bin", "encoder/pre_norm", "encoder/pre_nurm");
    modelkit_refused(CLF_ERROR_UNSUPPORTED, "encoder/pre_nurm");
    modelkit_copy("ct2-prenorm");
    modelkit_replace("model.bin", "TransformerSpec", "TransformerSpex");
    modelkit_refused(CLF_ERROR_UNSUPPORTED, "TransformerSpex");
    modelkit_copy("ct2-prenorm");
    modelkit_replace("model.bin", "ffn/linear_1/weight", "ffn/linear_1/weighs");
    modelkit_refused(CLF_ERROR_FORMAT, "ffn/linear_1/weight");
    modelkit_copy("ct2-int8");
    modelkit_replace("model.bin", "layer_0/ffn/linear_1/weight_scale",
                     "layer_0/ffn/linear_1/weight_scalf");
    modelkit_refused(CLF_ERROR_FORMAT, "weight_scale is missing");
    modelkit_copy("ct2-prenorm");
    modelkit_write("model.bin", "\7\0\0\0rest", 8);
    modelkit_refused(CLF_ERROR_UNSUPPORTED, "version");
    modelkit_copy("ct2-prenorm");
    modelkit_replace("config.json", "\"<s>\",\n  \"eos", "null,\n  \"eos");
    modelkit_refused(CLF_ERROR_UNSUPPORTED, "start token");
}

// ---- every prefix, many flipped bits ------------------------------------------------------------

static void truncate_all(const char *golden, const char *name, size_t step) {
    modelkit_copy(golden);
    size_t size;
    free(modelkit_read(name, &size));
    for (size_t left = size - 1; left < size; left -= step) {
        CU_ASSERT_EQUAL_FATAL(truncate(modelkit_path(name), (off_t)left), 0);
        // JSON may lose its last line break.
        CU_ASSERT(!modelkit_survives() || (left == size - 1 && strstr(name, ".json")));
    }
}

static void test_truncated(void) {
    truncate_all("marian-f16", "model.safetensors", 1);
    truncate_all("marian-f16", "config.json", 1);
    truncate_all("marian-f16", "generation_config.json", 1);
    truncate_all("marian-shards", "model.safetensors.index.json", 1);
    truncate_all("ct2-int8", "model.bin", 1);
    truncate_all("ct2-v1", "model.bin", 13);
    truncate_all("ct2-int8", "config.json", 1);
}

// Flips bits among the first `range` bytes.
static void flip_some(const char *golden, const char *name, size_t range, int times) {
    modelkit_copy(golden);
    clf_rng rng = {.state = 7};
    size_t size;
    unsigned char *data = (unsigned char *)modelkit_read(name, &size);
    if (!data) return;
    if (range > size) range = size;
    for (int i = 0; i < times; i++) {
        size_t at = clf_rng_below(&rng, (uint32_t)range);
        unsigned char old = data[at];
        data[at] ^= (unsigned char)(1u << clf_rng_below(&rng, 8));
        if (i % 4 == 0) data[at] = (unsigned char)clf_rng_next(&rng);
        modelkit_write(name, data, size);
        modelkit_survives();
        data[at] = old;
    }
    free(data);
}

static void test_flipped(void) {
    flip_some("marian-f16", "model.safetensors", 4000, 600);
    flip_some("marian-f16", "config.json", 2000, 400);
    flip_some("marian-f16", "generation_config.json", 1000, 300);
    flip_some("ct2-float32", "model.bin", 1 << 20, 300);
    flip_some("ct2-int8", "model.bin", 1 << 20, 600);
    flip_some("ct2-v1", "model.bin", 1 << 20, 300);
    flip_some("ct2-prenorm", "config.json", 1000, 200);
}

static const clf_test tests[] = {{"directory", test_directory},
                                 {"absent-files", test_absent_files},
                                 {"package", test_package},
                                 {"config", test_config},
                                 {"generation", test_generation},
                                 {"safetensors", test_safetensors},
                                 {"wrong-tensors", test_wrong_tensors},
                                 {"shards", test_shards},
                                 {"modelbin", test_modelbin},
                                 {"truncated", test_truncated},
                                 {"flipped", test_flipped}};

CLF_TEST_MAIN("formats-damage", tests)
