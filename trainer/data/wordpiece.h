// WordPiece as BERT uses it (Devlin et al., 1810.04805), equal to Hugging Face's BertNormalizer,
// BertPreTokenizer and WordPiece: control characters are dropped, spaces put around Chinese
// characters, accents and capitals taken off where the vocabulary has no capitals, words split at
// spaces and punctuation, and each word cut into the longest pieces that the vocabulary has.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/data/tokenizer.h"

namespace atl::trainer {

class WordPieceTokenizer : public Tokenizer {
 public:
  // A vocab.txt: one token a line, its number its id; of a token that stands there twice the last
  // counts. Messages name it `name` and the line. INVALID_ARGUMENT for bad UTF-8, a token over 1
  // KiB, over 2^24 tokens, and when there is no [UNK].
  static absl::StatusOr<std::unique_ptr<WordPieceTokenizer>> Parse(std::string_view file,
                                                                   std::string_view name);

  uint32_t vocabulary() const override { return vocabulary_; }
  std::vector<int32_t> Encode(std::string_view text, size_t max_tokens) const override;
  int32_t begin_id() const override { return cls_; }
  int32_t end_id() const override { return sep_; }
  int32_t padding_id() const override { return pad_; }
  int32_t mask_id() const override { return mask_; }
  bool uncased() const { return uncased_; }

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  using Pieces = std::unordered_map<std::string, int32_t, Hash, std::equal_to<>>;

  WordPieceTokenizer() = default;
  int32_t IdOf(std::string_view token) const;
  void AddWord(std::string_view word, size_t characters, std::vector<int32_t>& out) const;

  Pieces starts_, continuations_;  // the latter without their ##
  size_t longest_ = 0;             // bytes of the longest piece
  uint32_t vocabulary_ = 0;
  bool uncased_ = true;
  int32_t unk_ = -1, cls_ = -1, sep_ = -1, pad_ = -1, mask_ = -1;
};

}  // namespace atl::trainer
