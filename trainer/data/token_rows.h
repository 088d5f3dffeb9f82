// The token rows of a data set: which tokens each example has.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "trainer/data/tokenizer.h"

namespace atl::trainer {

// How texts become rows of at most max_length > 2 tokens.
enum class RowKind {
  kWhole,   // begin text end, cut off where it is too long
  kParts,   // the text in parts, each with begin and end
  kStream,  // begin text end, in blocks; each knows the token behind it
};

// Rows of ids, one after the other. Immutable after building.
class TokenRows {
 public:
  // What one text gives: for kWhole one row, of padding where it has no tokens at all; else none
  // where it has no tokens.
  void Add(std::string_view text, RowKind kind, const Tokenizer& tokenizer, uint32_t max_length);

  size_t size() const { return rows_.size(); }
  // The row's ids; with `next`, one more where its text goes on behind it.
  std::span<const int32_t> Row(size_t index, bool next) const {
    const Extent& row = rows_[index];
    return {ids_.data() + row.first, size_t{row.size} + (next && row.goes_on ? 1 : 0)};
  }

 private:
  struct Extent {
    uint64_t first;
    uint32_t size : 31;
    uint32_t goes_on : 1;
  };
  void AddParts(std::span<const int32_t> tokens, const Tokenizer& tokenizer, uint32_t max_length);
  void AddStream(std::span<const int32_t> tokens, const Tokenizer& tokenizer, uint32_t max_length);

  std::vector<int32_t> ids_;
  std::vector<Extent> rows_;
};

// A text's halves, cut at the space next to its middle, without that space; the whole text twice
// where there is no space between two words.
std::pair<std::string_view, std::string_view> Halves(std::string_view text);

}  // namespace atl::trainer
