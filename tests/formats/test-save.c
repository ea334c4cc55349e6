// SPDX-License-Identifier: MIT
// Every golden model saved in both formats and read again, compared with CTranslate2's own files,
// and disks that fail.
#include "harness.h"

#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <clformer/log.h>

#include "base/file.h"
#include "formats/internal.h"
#include "formats/safetensors.h"
#include "formats/safetensors_write.h"
#include "formats/save.h"
#include "device/device.h"
#include "modelkit.h"

static const char *const models[] = {
    "marian-bias", "marian-separate", "marian-untied", "marian-odd",  "marian-heads", "marian-f16",
    "marian-bf16", "marian-shards",   "ct2-float32",   "ct2-float16", "ct2-int16",    "ct2-int8",
    "ct2-prenorm", "ct2-gated",       "ct2-postnorm",  "ct2-v1",      "ct2-v3",       "ct2-v5",
};
enum { MODELS = sizeof models / sizeof *models };

static clf_format *open_model(const char *path) {
    clf_format *format = NULL;
    CLF_ASSERT_OK(clf_format_open(path, &format));
    return format;
}

static const char *new_directory(void) {
    static char path[4096];
    static int count;
    snprintf(path, sizeof path, "%s/saved/%d", clf_test_directory(), count++);
    return path;
}

static clf_save_options options_of(const clf_format *format, clf_save_kind kind,
                                   clf_dtype weights) {
    return (clf_save_options){.kind = kind,
                              .weights = weights,
                              .dropout = 0.1f,
                              .source_spm = format->text.source_spm,
                              .target_spm = format->text.target_spm,
                              .source_vocabulary = format->text.source_vocabulary,
                              .target_vocabulary = format->text.target_vocabulary,
                              .unk = format->text.unk,
                              .bos = format->text.bos,
                              .prepend_bos = format->text.prepend_bos,
                              .no_eos = !format->text.append_eos};
}

static clf_status save(clf_format *format, clf_save_kind kind, clf_dtype weights,
                       const char *directory) {
    clf_param_source source = clf_format_params(format);
    clf_save_options options = options_of(format, kind, weights);
    return clf_format_save_values(directory, clf_format_config(format),
                                  clf_values_of_source(&source), clf_format_generation(format),
                                  &options);
}

// The largest error of a row, relative to its largest value.
static double row_error(const float *a, const float *b, int cols) {
    double error = 0, largest = 1e-30;
    for (int i = 0; i < cols; i++) {
        double d = fabs((double)a[i] - b[i]);
        if (!(d <= error)) error = d;
        if (fabs((double)a[i]) > largest) largest = fabs((double)a[i]);
    }
    return error / largest;
}

static void check_param(clf_format *a, const clf_param *p, clf_format *b, const clf_param *q,
                        double bound) {
    float *x = modelkit_values(a, p), *y = modelkit_values(b, q);
    CU_ASSERT(p->matrix == q->matrix);
    CU_ASSERT(q->rows == p->rows || q->rows == p->rows - 1);
    CU_ASSERT(q->cols == p->cols || (p->rows == 1 && q->cols == p->cols - 1));
    for (int r = 0; x && y && r < q->rows; r++) {
        double d = row_error(x + r * p->cols, y + r * q->cols, q->cols);
        CU_ASSERT(d <= bound);
        if (d > bound) printf("\n%s row %d differs by %g\n", p->name, r, d);
    }
    free(x);
    free(y);
}

static bool is_zero(clf_format *format, const clf_param *param) {
    float *values = modelkit_values(format, param);
    bool zero = values != NULL;
    for (int i = 0; i < param->rows * param->cols && zero; i++) zero = values[i] == 0;
    free(values);
    return zero;
}

// Each parameter of `a` is in `b`, which may have a table of positions besides and lack the row of
// the padding token and a bias of zeros.
static void check_values(clf_format *a, clf_format *b, double bound) {
    clf_param *p, *q;
    int n, m, compared = 0;
    if (!CLF_ASSERT_OK(clf_params_list(clf_format_config(a), &p, &n))) return;
    if (!CLF_ASSERT_OK(clf_params_list(clf_format_config(b), &q, &m))) return;
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < m; j++) {
            if (strcmp(p[i].name, q[j].name) != 0) continue;
            check_param(a, &p[i], b, &q[j], p[i].matrix ? bound : fmin(bound, 0x1p-11));
            compared++;
        }
        if (p[i].kind == CLF_PARAM_OUTPUT_BIAS && !clf_format_config(b)->output_bias) {
            CU_ASSERT(is_zero(a, &p[i]));
            compared++;
        }
    }
    CU_ASSERT_EQUAL(compared, n);
    free(p);
    free(q);
}

// What both formats keep.
static void check_search(const clf_generation *a, const clf_generation *b) {
    CU_ASSERT_EQUAL(a->num_beams, b->num_beams);
    CU_ASSERT_EQUAL(a->length_penalty, b->length_penalty);
    CU_ASSERT_EQUAL(a->early_stopping, b->early_stopping);
    CU_ASSERT_EQUAL(a->max_new_tokens, b->max_new_tokens);
}

static void check_generation(const clf_generation *a, const clf_generation *b) {
    CU_ASSERT_EQUAL(a->max_length, b->max_length);
    CU_ASSERT_EQUAL(a->min_length, b->min_length);
    CU_ASSERT_EQUAL(a->eos_count, b->eos_count);
    CU_ASSERT_EQUAL(memcmp(a->eos, b->eos, sizeof *a->eos * (size_t)a->eos_count), 0);
    CU_ASSERT_EQUAL(a->forced_bos, b->forced_bos);
    CU_ASSERT_EQUAL(a->forced_eos, b->forced_eos);
    CU_ASSERT_EQUAL(a->renormalize, b->renormalize);
    CU_ASSERT_EQUAL(a->suppress_count, b->suppress_count);
    CU_ASSERT_EQUAL(
        memcmp(a->suppress, b->suppress, sizeof *a->suppress * (size_t)a->suppress_count), 0);
}

static bool same_stack(const clf_stack_config *a, const clf_stack_config *b) {
    return a->layers == b->layers && a->heads == b->heads && a->head_width == b->head_width &&
           a->attention_scale == b->attention_scale && a->ffn == b->ffn;
}

static void check_config(const clf_config *a, const clf_config *b, bool marian) {
    CU_ASSERT(same_stack(&a->encoder, &b->encoder) && same_stack(&a->decoder, &b->decoder));
    CU_ASSERT_EQUAL(a->width, b->width);
    CU_ASSERT_EQUAL(a->share_embeddings, b->share_embeddings);
    CU_ASSERT_EQUAL(a->tie_output, b->tie_output);
    CU_ASSERT_EQUAL(a->linear_bias, b->linear_bias);
    CU_ASSERT_EQUAL(a->pre_norm, b->pre_norm);
    CU_ASSERT_EQUAL(a->final_norm, b->final_norm);
    CU_ASSERT_EQUAL(a->embedding_norm, b->embedding_norm);
    CU_ASSERT_EQUAL(a->norm_bias, b->norm_bias);
    CU_ASSERT_EQUAL(a->norm, b->norm);
    CU_ASSERT_EQUAL(a->norm_epsilon, b->norm_epsilon);
    CU_ASSERT_EQUAL(a->activation, b->activation);
    CU_ASSERT_EQUAL(a->gated, b->gated);
    CU_ASSERT_EQUAL(a->embedding_scale, b->embedding_scale);
    if (!marian) return; // CTranslate2 says these in its own way
    CU_ASSERT_EQUAL(a->output_bias, b->output_bias);
    CU_ASSERT_EQUAL(a->source_vocabulary, b->source_vocabulary);
    CU_ASSERT_EQUAL(a->target_vocabulary, b->target_vocabulary);
    CU_ASSERT_EQUAL(a->positions, b->positions);
    CU_ASSERT_EQUAL(a->position_offset, b->position_offset);
    CU_ASSERT_EQUAL(a->position_denominator, b->position_denominator);
    CU_ASSERT_EQUAL(a->max_positions, b->max_positions);
    CU_ASSERT_EQUAL(a->start_token, b->start_token);
    CU_ASSERT_EQUAL(a->pad_token, b->pad_token);
}

static void check_text(const clf_format *a, const clf_format *b) {
    static const char text[] = "tamatu nari ruki. xyz";
    clf_tokenizer *t = NULL, *u = NULL;
    clf_ids x = {0}, y = {0};
    CLF_ASSERT_OK(clf_format_tokenizer(a, &t));
    CLF_ASSERT_OK(clf_format_tokenizer(b, &u));
    if (t && u) {
        CLF_ASSERT_OK(clf_tokenizer_encode_source(t, text, sizeof text - 1, &x));
        CLF_ASSERT_OK(clf_tokenizer_encode_source(u, text, sizeof text - 1, &y));
        CU_ASSERT(x.count == y.count && memcmp(x.data, y.data, x.count * sizeof *x.data) == 0);
    }
    clf_array_free(&x);
    clf_array_free(&y);
    clf_tokenizer_close(t);
    clf_tokenizer_close(u);
}

static void round_trip(const char *model, clf_save_kind kind, clf_dtype weights, double bound) {
    const char *directory = new_directory();
    clf_format *a = open_model(clf_test_golden(model)), *b = NULL;
    if (!a) return;
    bool marian = kind == CLF_SAVE_HUGGINGFACE;
    if (marian && strncmp(model, "marian", 6) != 0) {
        CU_ASSERT_EQUAL(save(a, kind, weights, directory), CLF_ERROR_UNSUPPORTED);
        CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), "cannot be saved in Hugging Face"));
        CU_ASSERT(!clf_file_exists(directory));
    } else if (CLF_ASSERT_OK(save(a, kind, weights, directory)) && (b = open_model(directory))) {
        check_config(clf_format_config(a), clf_format_config(b), marian);
        check_search(clf_format_generation(a), clf_format_generation(b));
        if (marian) check_generation(clf_format_generation(a), clf_format_generation(b));
        check_values(a, b, bound);
        check_text(a, b);
        clf_format_close(b);
    }
    clf_format_close(a);
}

static void each_model(clf_save_kind kind, clf_dtype weights, double bound) {
    for (int i = 0; i < MODELS; i++) round_trip(models[i], kind, weights, bound);
}

static void test_huggingface(void) {
    each_model(CLF_SAVE_HUGGINGFACE, CLF_F32, 0);
    each_model(CLF_SAVE_HUGGINGFACE, CLF_F16, 0x1p-11); // half of the last of 11 bits
}

static void test_ctranslate2(void) {
    each_model(CLF_SAVE_CTRANSLATE2, CLF_F32, 0);
    each_model(CLF_SAVE_CTRANSLATE2, CLF_F16, 0x1p-11);
    each_model(CLF_SAVE_CTRANSLATE2, CLF_I8, 0.5001 / 127); // half a step of the row's scale
}

// The bytes of CTranslate2's own program for the same model.
static void test_same_bytes(void) {
    static const struct {
        const char *golden;
        clf_dtype weights;
    } cases[] = {{"ct2-float32", CLF_F32}, {"ct2-float16", CLF_F16}, {"ct2-int8", CLF_I8}};
    for (int i = 0; i < 3; i++) {
        const char *directory = new_directory();
        clf_format *format = open_model(clf_test_golden("marian-bias"));
        if (!format) return;
        if (CLF_ASSERT_OK(save(format, CLF_SAVE_CTRANSLATE2, cases[i].weights, directory))) {
            char path[8192];
            char *expected, *got;
            size_t a = 0, b = 0;
            snprintf(path, sizeof path, "%s/model.bin", directory);
            CLF_ASSERT_OK(clf_file_read(path, 1 << 20, &got, &a));
            snprintf(path, sizeof path, "%s/model.bin", clf_test_golden(cases[i].golden));
            CLF_ASSERT_OK(clf_file_read(path, 1 << 20, &expected, &b));
            CU_ASSERT_EQUAL(a, b);
            size_t same = 0;
            while (same < a && same < b && got[same] == expected[same]) same++;
            CU_ASSERT_EQUAL(same, b);
            if (same < b) printf("\n%s: byte %zu differs\n", cases[i].golden, same);
            free(got);
            free(expected);
        }
        clf_format_close(format);
    }
}

// Text that comes in pieces: no SentencePiece models, but a word in tokenizer_config.json.
static void test_segmented(void) {
    modelkit_copy("marian-f16");
    modelkit_delete("source.spm");
    modelkit_delete("target.spm");
    modelkit_refused(CLF_ERROR_IO, "source.spm");
    modelkit_replace("tokenizer_config.json", "\"tokenizer_class\": \"MarianTokenizer\"",
                     "\"segmented\": true");
    char copy[4096];
    snprintf(copy, sizeof copy, "%s", modelkit_path(""));
    clf_format *a = open_model(copy), *b = NULL;
    const char *directory = new_directory();
    clf_tokenizer *tokenizer = NULL;
    clf_ids ids = {0};
    clf_string text = {0};
    if (!a) return;
    if (CLF_ASSERT_OK(save(a, CLF_SAVE_HUGGINGFACE, CLF_F32, directory)) &&
        (b = open_model(directory)) && CLF_ASSERT_OK(clf_format_tokenizer(b, &tokenizer))) {
        static const char line[] = "\u2581bo  \u2581 xyz .";
        CLF_ASSERT_OK(clf_tokenizer_encode_target(tokenizer, line, sizeof line - 1, &ids));
        CLF_ASSERT_OK(clf_tokenizer_decode(tokenizer, ids.data, ids.count, &text));
        static const char expected[] = "\u2581bo \u2581 <unk> .";
        CU_ASSERT(text.count == sizeof expected - 1 &&
                  memcmp(text.data, expected, text.count) == 0);
    }
    clf_array_free(&ids);
    clf_array_free(&text);
    clf_tokenizer_close(tokenizer);
    clf_format_close(b);
    clf_format_close(a);
}

// The number of files in a directory, 0 if there is none.
static int count_files(const char *directory) {
    DIR *entries = opendir(directory);
    int count = 0;
    for (struct dirent *entry; entries && (entry = readdir(entries));) {
        count += entry->d_name[0] != '.';
        CU_ASSERT_PTR_NULL(strstr(entry->d_name, CLF_FILE_TEMPORARY));
    }
    if (entries) closedir(entries);
    return count;
}

// Files longer than a limit cannot be written, as on a full disk: the message names the file, no
// temporary file stays, and a model that was there before stays whole.
static void full_disk(clf_save_kind kind, const char *weights) {
    struct rlimit before, low;
    const char *directory = new_directory();
    clf_format *format = open_model(clf_test_golden("marian-bias")), *again;
    if (!format) return;
    CLF_ASSERT_OK(save(format, kind, CLF_F16, directory));
    int files = count_files(directory);
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    low = before;
    for (rlim_t limit = 0; limit < 42000; limit += limit < 4000 ? 500 : 9000) {
        low.rlim_cur = limit;
        setrlimit(RLIMIT_FSIZE, &low);
        clf_status status = save(format, kind, CLF_F32, directory);
        setrlimit(RLIMIT_FSIZE, &before);
        CU_ASSERT_EQUAL(status, CLF_ERROR_IO);
        CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), directory));
        CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), "cannot write"));
        if (limit >= 4000) CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), weights));
        CU_ASSERT_EQUAL(count_files(directory), files);
        if ((again = open_model(directory))) clf_format_close(again);
    }
    signal(SIGXFSZ, handler);
    CLF_ASSERT_OK(save(format, kind, CLF_F32, directory));
    clf_format_close(format);
}

static void test_full_disk(void) {
    full_disk(CLF_SAVE_HUGGINGFACE, "model.safetensors");
    full_disk(CLF_SAVE_CTRANSLATE2, "model.bin");
}

// Directories that cannot be made or written, and options that make no sense.
static void test_refused(void) {
    clf_format *format = open_model(clf_test_golden("marian-bias"));
    if (!format) return;
    CU_ASSERT_EQUAL(save(format, CLF_SAVE_HUGGINGFACE, CLF_F32, "/dev/null/x"), CLF_ERROR_IO);
    CU_ASSERT_EQUAL(save(format, CLF_SAVE_HUGGINGFACE, CLF_F32, "/dev/null"), CLF_ERROR_IO);
    CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), "/dev/null"));
    CU_ASSERT_EQUAL(save(format, CLF_SAVE_HUGGINGFACE, CLF_I8, "x"), CLF_ERROR_UNSUPPORTED);
    CU_ASSERT_EQUAL(save(format, CLF_SAVE_CTRANSLATE2, CLF_BF16, "x"), CLF_ERROR_UNSUPPORTED);
    format->config.pre_norm = true;
    CU_ASSERT_EQUAL(save(format, CLF_SAVE_HUGGINGFACE, CLF_F32, "x"), CLF_ERROR_UNSUPPORTED);
    CU_ASSERT_PTR_NOT_NULL(strstr(clf_last_error(), "pre-norm"));
    CU_ASSERT(!clf_file_exists("x"));
    clf_format_close(format);
}

// Values that half cannot hold.
static clf_status find_large(void *self, const clf_param *param, float *data) {
    for (int i = 0; i < param->rows * param->cols; i++) data[i] = *(const float *)self;
    return CLF_OK;
}

static void test_range(void) {
    static float values[] = {65519.0f, 65520.0f, -1e30f, NAN, INFINITY};
    clf_format *format = open_model(clf_test_golden("marian-bias"));
    if (!format) return;
    for (int i = 0; i < 5; i++) {
        const char *directory = new_directory();
        clf_values source = {.self = &values[i], .read = find_large};
        clf_save_options options = options_of(format, CLF_SAVE_HUGGINGFACE, CLF_F16);
        clf_status status = clf_format_save_values(directory, &format->config, source,
                                                   &format->generation, &options);
        CU_ASSERT_EQUAL(status, i == 0 ? CLF_OK : CLF_ERROR_NUMERIC);
        options = options_of(format, CLF_SAVE_CTRANSLATE2, CLF_I8);
        status = clf_format_save_values(directory, &format->config, source, &format->generation,
                                        &options);
        CU_ASSERT_EQUAL(status, i < 3 ? CLF_OK : CLF_ERROR_NUMERIC);
    }
    clf_format_close(format);
}

// The writer of safetensors by itself: what it writes is read, what was promised must come.
static void test_writer(void) {
    static const float data[] = {1, -2, 3};
    const int64_t shape[] = {3};
    char path[4096];
    clf_safetensors_writer *w = NULL;
    snprintf(path, sizeof path, "%s/w.safetensors", clf_test_directory());
    CU_ASSERT_EQUAL(clf_safetensors_create("/dev/null/x", &w), CLF_ERROR_IO);
    CU_ASSERT_PTR_NULL(w);
    CLF_ASSERT_OK(clf_safetensors_create(path, &w));
    CLF_ASSERT_OK(clf_safetensors_note(w, "a \"key\"", "some\ntext"));
    CLF_ASSERT_OK(clf_safetensors_declare(w, "x", CLF_F32, shape, 1));
    CLF_ASSERT_OK(clf_safetensors_declare(w, "X", CLF_U8, shape, 1));
    CU_ASSERT_EQUAL(clf_safetensors_declare(w, "x", CLF_F32, shape, 1), CLF_ERROR_ARGUMENT);
    CLF_ASSERT_OK(clf_safetensors_put(w, data, 4));
    CLF_ASSERT_OK(clf_safetensors_put(w, data + 1, 8));
    CU_ASSERT_EQUAL(clf_safetensors_declare(w, "y", CLF_F32, shape, 1), CLF_ERROR_ARGUMENT);
    CU_ASSERT_EQUAL(clf_safetensors_put(w, data, 4), CLF_ERROR_ARGUMENT);
    CU_ASSERT(!clf_file_exists(path));
    CLF_ASSERT_OK(clf_safetensors_put(w, "abc", 3));
    CLF_ASSERT_OK(clf_safetensors_finish(w));
    clf_store store = {0};
    clf_json notes = {0};
    if (CLF_ASSERT_OK(clf_safetensors_open_file(path, &store, &notes))) {
        CLF_ASSERT_OK(clf_store_sort(&store));
        const clf_stored *x = clf_store_find(&store, "x"), *y = clf_store_find(&store, "X");
        CU_ASSERT(x && x->rank == 1 && memcmp(x->data, data, sizeof data) == 0);
        CU_ASSERT(x && (uintptr_t)x->data % 8 == 0);
        CU_ASSERT(y && memcmp(y->data, "abc", 3) == 0);
        const char *note = cJSON_GetStringValue(clf_json_find(&notes, "a \"key\""));
        CU_ASSERT(note && strcmp(note, "some\ntext") == 0);
    }
    clf_json_close(&notes);
    clf_store_close(&store);
    unlink(path);
    CLF_ASSERT_OK(clf_safetensors_create(path, &w));
    CLF_ASSERT_OK(clf_safetensors_declare(w, "x", CLF_F32, shape, 1));
    CU_ASSERT_EQUAL(clf_safetensors_finish(w), CLF_ERROR_ARGUMENT); // no data came
    CLF_ASSERT_OK(clf_safetensors_create(path, &w));
    clf_safetensors_cancel(w);
    clf_safetensors_cancel(NULL);
    CU_ASSERT(!clf_file_exists(path));
}

static void check_same_file(const char *left, const char *right, const char *name) {
    char path[8192], *a = NULL, *b = NULL;
    size_t m = 0, n = 0;
    snprintf(path, sizeof path, "%s/%s", left, name);
    CLF_ASSERT_OK(clf_file_read(path, 1 << 20, &a, &m));
    snprintf(path, sizeof path, "%s/%s", right, name);
    CLF_ASSERT_OK(clf_file_read(path, 1 << 20, &b, &n));
    CU_ASSERT(a && b && m == n && memcmp(a, b, n) == 0);
    free(a);
    free(b);
}

// From a device come the same bytes as from the files themselves.
static void save_from(clf_device *device) {
    clf_format *format = open_model(clf_test_golden("marian-odd"));
    clf_model *model = NULL;
    char host[4096];
    if (!format) return;
    snprintf(host, sizeof host, "%s", new_directory());
    CLF_ASSERT_OK(save(format, CLF_SAVE_HUGGINGFACE, CLF_F32, host));
    clf_device_lock(device);
    if (CLF_ASSERT_OK(clf_model_create(device, &format->config, clf_format_params(format), 0,
                                       CLF_F32, &model))) {
        const char *directory = new_directory();
        clf_save_options options = options_of(format, CLF_SAVE_HUGGINGFACE, CLF_F32);
        CLF_ASSERT_OK(clf_format_save(directory, model, &format->generation, &options));
        check_same_file(directory, host, "model.safetensors");
        check_same_file(directory, host, "config.json");
    }
    clf_model_destroy(model);
    clf_device_unlock(device);
    clf_format_close(format);
}

static void test_device(void) {
    clf_test_each_device(save_from);
}

static const clf_test tests[] = {{"huggingface", test_huggingface},
                                 {"ctranslate2", test_ctranslate2},
                                 {"same-bytes", test_same_bytes},
                                 {"full-disk", test_full_disk},
                                 {"refused", test_refused},
                                 {"range", test_range},
                                 {"segmented", test_segmented},
                                 {"writer", test_writer},
                                 {"device", test_device}};

CLF_TEST_MAIN("save", tests)
