// SPDX-License-Identifier: MIT
#include "text/sentencepiece.h"

#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include <sentencepiece_processor.h>

extern "C" {
#include "base/fail.h"
}

struct clf_spm {
    sentencepiece::SentencePieceProcessor processor;
    std::string path;
};

namespace {

clf_status fail_library(const char *path, const char *message) {
    return clf_fail(CLF_ERROR_FORMAT, "%s: SentencePiece: %s", path, message);
}

// Runs `work`, which returns a clf_status; no exception leaves this file.
template <typename Work> clf_status guard(const char *path, Work work) {
    try {
        return work();
    } catch (const std::bad_alloc &) {
        return clf_fail_memory();
    } catch (const std::exception &error) {
        return fail_library(path, error.what());
    } catch (...) {
        return fail_library(path, "unknown exception");
    }
}

} // namespace

clf_status clf_spm_open(const char *path, const void *data, size_t size, clf_spm **spm) {
    clf_spm *opened = nullptr;
    clf_status status = guard(path, [&] {
        opened = new clf_spm;
        opened->path = path;
        std::string_view bytes(static_cast<const char *>(data), size);
        auto loaded = opened->processor.LoadFromSerializedProto(bytes);
        return loaded.ok() ? CLF_OK : fail_library(path, loaded.error_message());
    });
    if (status == CLF_OK) {
        *spm = opened;
    } else {
        clf_spm_close(opened);
    }
    return status;
}

void clf_spm_close(clf_spm *spm) {
    delete spm;
}

int clf_spm_count(const clf_spm *spm) {
    return spm->processor.GetPieceSize();
}

const char *clf_spm_piece(const clf_spm *spm, int id) {
    return spm->processor.IdToPiece(id).c_str();
}

clf_status clf_spm_encode(const clf_spm *spm, const char *text, size_t size, clf_spm_take *take,
                          void *user) {
    return guard(spm->path.c_str(), [&] {
        std::vector<std::string> pieces;
        auto encoded = spm->processor.Encode(std::string_view(text, size), &pieces);
        if (!encoded.ok()) return fail_library(spm->path.c_str(), encoded.error_message());
        for (const std::string &piece : pieces) CLF_TRY(take(user, piece.data(), piece.size()));
        return CLF_OK;
    });
}

clf_status clf_spm_decode(const clf_spm *spm, const char *const *pieces, size_t count,
                          clf_spm_take *take, void *user) {
    return guard(spm->path.c_str(), [&] {
        std::string text;
        std::vector<std::string_view> views(pieces, pieces + count);
        auto decoded = spm->processor.Decode(views, &text);
        if (!decoded.ok()) return fail_library(spm->path.c_str(), decoded.error_message());
        return take(user, text.data(), text.size());
    });
}
