// SPDX-License-Identifier: MIT
#include "train_bleu.h"

#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "lines.h"

struct valid_text {
    text_lines source, target;
    bool segmented;
};

// "gut@@ en tag" becomes "guten tag".
static void join_pieces(char *text) {
    char *to = text;
    for (const char *from = text; *from;) {
        if (strncmp(from, "@@ ", 3) == 0) {
            from += 3;
        } else if (strcmp(from, "@@") == 0) {
            from += 2;
        } else {
            *to++ = *from++;
        }
    }
    *to = '\0';
}

valid_text *valid_text_open(const char *source_path, const char *target_path, bool segmented) {
    valid_text *text = calloc(1, sizeof *text);
    if (!text) {
        complain("out of memory");
        return NULL;
    }
    text->segmented = segmented;
    bool good =
        text_lines_read(&text->source, source_path) && text_lines_read(&text->target, target_path);
    if (good && text->source.count != text->target.count) {
        complain("%s has %zu lines and %s has %zu; they must match up", source_path,
                 text->source.count, target_path, text->target.count);
        good = false;
    }
    if (!good) {
        valid_text_close(text);
        return NULL;
    }
    for (size_t i = 0; segmented && i < text->target.count; i++) join_pieces(text->target.lines[i]);
    return text;
}

void valid_text_close(valid_text *text) {
    if (!text) return;
    text_lines_free(&text->source);
    text_lines_free(&text->target);
    free(text);
}

static clf_status translate(const valid_text *text, clf_device *device, const char *model,
                            const valid_options *options, clf_translations **result) {
    clf_translator *translator;
    clf_translate_options made = {.beam = options->beam,
                                  .max_length = options->max_length,
                                  .no_split = text->segmented,
                                  .no_scores = true,
                                  .progress = options->progress,
                                  .user = options->user};
    clf_status status = clf_translator_open(device, model, NULL, &translator);
    if (status != CLF_OK) return status;
    status = clf_translate(translator, (const char *const *)text->source.lines, text->source.count,
                           &made, result);
    clf_translator_close(translator);
    return status;
}

clf_status valid_text_score(const valid_text *text, clf_device *device, const char *model,
                            const valid_options *options, double *bleu) {
    clf_translations *result;
    clf_bleu_score score;
    text_lines output = {0};
    clf_status status = translate(text, device, model, options, &result);
    if (status != CLF_OK) return status;
    for (size_t i = 0; i < text->source.count; i++) {
        if (!text_lines_add(&output, clf_translations_text(result, i, 0))) break;
        if (text->segmented) join_pieces(output.lines[i]);
    }
    const char *const *references = (const char *const *)text->target.lines;
    clf_bleu_options wanted = {.tokenization = options->tokenization};
    status = output.count < text->source.count
                 ? CLF_ERROR_MEMORY
                 : clf_bleu((const char *const *)output.lines, &references, 1, output.count,
                            &wanted, &score);
    if (status == CLF_OK) *bleu = score.score;
    text_lines_free(&output);
    clf_translations_free(result);
    return status;
}
