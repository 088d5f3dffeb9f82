#include "trainer/data/tokenizer.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "comms/base/files.h"
#include "comms/base/status.h"
#include "trainer/data/sentencepiece_model.h"
#include "trainer/data/wordpiece.h"

namespace atl::trainer {
namespace {

constexpr uint64_t kMaxTokenizerFileBytes = 256 << 20;

class ByteTokenizer : public Tokenizer {
 public:
  uint32_t vocabulary() const override { return kFirstByte + 256; }
  std::vector<int32_t> Encode(std::string_view text, size_t max_tokens) const override {
    text = text.substr(0, std::min(text.size(), max_tokens));
    std::vector<int32_t> out(text.size());
    std::transform(text.begin(), text.end(), out.begin(), [](char c) {
      return static_cast<int32_t>(static_cast<uint8_t>(c) + kFirstByte);
    });
    return out;
  }
  int32_t padding_id() const override { return 0; }
  int32_t begin_id() const override { return 1; }
  int32_t end_id() const override { return 2; }
  int32_t mask_id() const override { return 3; }

 private:
  static constexpr uint32_t kFirstByte = 4;
};

class SentencePieceTokenizer : public Tokenizer {
 public:
  explicit SentencePieceTokenizer(std::unique_ptr<SentencePieceModel> model)
      : model_(std::move(model)) {}
  uint32_t vocabulary() const override { return model_->vocabulary(); }
  std::vector<int32_t> Encode(std::string_view text, size_t max_tokens) const override {
    std::vector<int32_t> out = model_->Encode(text);
    if (out.size() > max_tokens) out.resize(max_tokens);
    return out;
  }
  int32_t padding_id() const override { return model_->padding_id(); }
  int32_t begin_id() const override { return model_->begin_id(); }
  int32_t end_id() const override { return model_->end_id(); }
  int32_t mask_id() const override { return model_->mask_id(); }

 private:
  std::unique_ptr<SentencePieceModel> model_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const recipes::Tokenizer& options) {
  if (options.kind == recipes::TokenizerKind::kBytes) return std::make_unique<ByteTokenizer>();
  const bool is_wordpiece = options.kind == recipes::TokenizerKind::kWordPiece;
  if (options.file.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "data.tokenizer.file: ",
        is_wordpiece ? "wordpiece needs its vocab.txt" : "sentencepiece needs its .model file"));
  }
  ATOLL_ASSIGN_OR_RETURN(const Bytes bytes, ReadFile(options.file, kMaxTokenizerFileBytes));
  if (is_wordpiece) return WordPieceTokenizer::Parse(AsText(bytes), options.file);
  std::string error;
  auto model = SentencePieceModel::Parse(AsText(bytes), error);
  if (model == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.file, ": not a SentencePiece model: ", error));
  }
  return std::make_unique<SentencePieceTokenizer>(std::move(model));
}

}  // namespace atl::trainer
