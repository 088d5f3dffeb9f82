// Texts as ids.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "recipes/schema/recipe.h"

namespace atl::trainer {

// Immutable; all methods may be called by several threads.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual uint32_t vocabulary() const = 0;  // ids are below it
  // The ids of a text without special ones, at most `max_tokens` of them. Any bytes are allowed.
  virtual std::vector<int32_t> Encode(std::string_view text, size_t max_tokens) const = 0;
  // Special ids, or -1 where there is none: begin (or [CLS]), end (or [SEP]), padding, [MASK].
  virtual int32_t begin_id() const = 0;
  virtual int32_t end_id() const = 0;
  virtual int32_t padding_id() const = 0;
  virtual int32_t mask_id() const = 0;
};

// bytes: id = byte + 4 after padding 0, begin 1, end 2, mask 3; 260 in all. wordpiece: BERT's
// (lower case where the vocabulary has no capitals, accents stripped with it), from vocab.txt.
// sentencepiece: the library's. NOT_FOUND or INVALID_ARGUMENT, naming file and line.
absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const recipes::Tokenizer& options);

}  // namespace atl::trainer
