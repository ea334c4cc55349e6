// SPDX-License-Identifier: MIT
#include "text/spm_train.h"

#include <algorithm>
#include <exception>
#include <locale>
#include <new>
#include <sstream>
#include <string>
#include <unordered_map>

#include <sentencepiece_trainer.h>

extern "C" {
#include "base/fail.h"
}

namespace {

class Lines : public sentencepiece::SentenceIterator {
  public:
    Lines(clf_spm_give *give, void *giver) : give_(give), giver_(giver) {
        Next();
    }
    bool done() const override {
        return done_;
    }
    void Next() override {
        const char *line = nullptr;
        size_t size = 0;
        failure = give_(giver_, &line, &size);
        done_ = failure != CLF_OK || !line;
        if (done_) return;
        value_.assign(line, size);
        std::replace(value_.begin(), value_.end(), '\t', ' '); // it leaves out lines with tabs
    }
    const std::string &value() const override {
        return value_;
    }
    sentencepiece::util::Status status() const override {
        using sentencepiece::util::Status;
        if (failure == CLF_OK) return Status();
        return Status(sentencepiece::util::StatusCode::kAborted, "no more lines");
    }

    clf_status failure = CLF_OK;

  private:
    clf_spm_give *give_;
    void *giver_;
    bool done_ = false;
    std::string value_;
};

std::string text_of(float number) {
    std::ostringstream text;
    text.imbue(std::locale::classic());
    text << number;
    return text.str();
}

std::unordered_map<std::string, std::string> settings(const clf_spm_recipe *recipe) {
    return {
        {"model_type", recipe->type},
        {"vocab_size", std::to_string(recipe->size)},
        {"character_coverage", text_of(recipe->coverage)},
        {"max_sentence_length", std::to_string(CLF_SPM_LINE)},
        {"train_extremely_large_corpus", recipe->large ? "true" : "false"},
        {"hard_vocab_limit", "false"},
        {"normalization_rule_name", "nmt_nfkc"},
        {"eos_id", "0"},
        {"unk_id", "1"},
        {"bos_id", "-1"},
        {"pad_id", "-1"},
        {"num_threads", "8"}, // the order of sums, and so the model, depends on it
        {"minloglevel", "2"},
    };
}

// "Internal: file.cc(12) [(a) <= (b)] What happened." is only of use from the bracket on.
std::string shorten(const std::string &message) {
    size_t end = message.rfind("] ");
    return end == std::string::npos ? message : message.substr(end + 2);
}

clf_status fail_training(const char *name, const std::string &message) {
    return clf_fail(CLF_ERROR_UNSUPPORTED, "%s: SentencePiece: %s", name, message.c_str());
}

clf_status train(const char *name, const clf_spm_recipe *recipe, clf_spm_give *give, void *giver,
                 clf_spm_take *take, void *taker) {
    Lines lines(give, giver);
    std::string model;
    auto trained = sentencepiece::SentencePieceTrainer::Train(settings(recipe), &lines, &model);
    if (lines.failure != CLF_OK) return lines.failure;
    if (!trained.ok()) return fail_training(name, shorten(trained.ToString()));
    return take(taker, model.data(), model.size());
}

} // namespace

clf_status clf_spm_train(const char *name, const clf_spm_recipe *recipe, clf_spm_give *give,
                         void *giver, clf_spm_take *take, void *taker) {
    try {
        return train(name, recipe, give, giver, take, taker);
    } catch (const std::bad_alloc &) {
        return clf_fail_memory();
    } catch (const std::exception &error) {
        return fail_training(name, error.what());
    } catch (...) {
        return fail_training(name, "unknown exception");
    }
}
