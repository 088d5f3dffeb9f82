#include "trainer/data/token_rows.h"

#include <algorithm>

namespace atl::trainer {
namespace {

constexpr std::string_view kSpaces = " \t\r\n";

void Append(int32_t id, std::vector<int32_t>& out) {
  if (id >= 0) out.push_back(id);
}

// Room for tokens in a row that has begin and end.
uint32_t RoomFor(const Tokenizer& tokenizer, uint32_t max_length) {
  return max_length - (tokenizer.begin_id() >= 0 ? 1 : 0) - (tokenizer.end_id() >= 0 ? 1 : 0);
}

}  // namespace

void TokenRows::Add(std::string_view text, RowKind kind, const Tokenizer& tokenizer,
                    uint32_t max_length) {
  const size_t most = kind == RowKind::kWhole ? RoomFor(tokenizer, max_length) : SIZE_MAX;
  const std::vector<int32_t> tokens = tokenizer.Encode(text, most);
  if (kind == RowKind::kStream) {
    if (!tokens.empty()) AddStream(tokens, tokenizer, max_length);
  } else if (kind == RowKind::kWhole || !tokens.empty()) {
    AddParts(tokens, tokenizer, max_length);
  }
}

void TokenRows::AddParts(std::span<const int32_t> tokens, const Tokenizer& tokenizer,
                         uint32_t max_length) {
  const uint32_t room = RoomFor(tokenizer, max_length);
  do {
    const std::span<const int32_t> part = tokens.first(std::min<size_t>(tokens.size(), room));
    tokens = tokens.subspan(part.size());
    const size_t first = ids_.size();
    Append(tokenizer.begin_id(), ids_);
    ids_.insert(ids_.end(), part.begin(), part.end());
    Append(tokenizer.end_id(), ids_);
    if (ids_.size() == first) ids_.push_back(std::max(tokenizer.padding_id(), 0));
    rows_.push_back({first, static_cast<uint32_t>(ids_.size() - first), 0});
  } while (!tokens.empty());
}

void TokenRows::AddStream(std::span<const int32_t> tokens, const Tokenizer& tokenizer,
                          uint32_t max_length) {
  size_t first = ids_.size();
  Append(tokenizer.begin_id(), ids_);
  ids_.insert(ids_.end(), tokens.begin(), tokens.end());
  Append(tokenizer.end_id(), ids_);
  while (first < ids_.size()) {
    const size_t left = ids_.size() - first;
    const uint32_t size = static_cast<uint32_t>(std::min<size_t>(left, max_length));
    // The last token alone says nothing: the block before has it as its label.
    if (size >= 2) rows_.push_back({first, size, left > size ? 1u : 0u});
    first += size;
  }
}

std::pair<std::string_view, std::string_view> Halves(std::string_view text) {
  const size_t begin = std::min(text.find_first_not_of(kSpaces), text.size());
  text.remove_prefix(begin);
  const size_t end = text.find_last_not_of(kSpaces);
  text = text.substr(0, end == std::string_view::npos ? 0 : end + 1);
  const size_t middle = text.size() / 2;
  const size_t right = text.find_first_of(kSpaces, middle);
  const size_t left = text.find_last_of(kSpaces, middle);
  size_t cut = right;
  if (left != std::string_view::npos &&
      (right == std::string_view::npos || middle - left < right - middle)) {
    cut = left;
  }
  if (cut == std::string_view::npos) return {text, text};
  const std::string_view first = text.substr(0, text.find_last_not_of(kSpaces, cut) + 1);
  return {first, text.substr(text.find_first_not_of(kSpaces, cut))};
}

}  // namespace atl::trainer
