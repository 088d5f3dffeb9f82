// The sentencepiece library (Kudo and Richardson, 1808.06226). Without Abseil, here and in the
// source: the library's header declares an absl::string_view of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace atl::trainer {

// Immutable; Encode may be called by several threads.
class SentencePieceModel {
 public:
  // The bytes of a .model file; nullptr, and why in `error`, when they are none.
  static std::unique_ptr<SentencePieceModel> Parse(std::string_view model, std::string& error);
  ~SentencePieceModel();

  uint32_t vocabulary() const { return vocabulary_; }
  // -1 where the model has none. Mask: the piece <mask> or [MASK].
  int32_t begin_id() const { return begin_; }
  int32_t end_id() const { return end_; }
  int32_t padding_id() const { return padding_; }
  int32_t mask_id() const { return mask_; }
  std::vector<int32_t> Encode(std::string_view text) const;

 private:
  struct Library;
  SentencePieceModel();
  std::unique_ptr<Library> library_;
  uint32_t vocabulary_ = 0;
  int32_t begin_ = -1, end_ = -1, padding_ = -1, mask_ = -1;
};

}  // namespace atl::trainer
