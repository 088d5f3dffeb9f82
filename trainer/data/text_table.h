// Labelled texts, as readers of text files collect them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace atl::trainer {

inline constexpr uint64_t kMaxTextBytes = 1 << 20;  // of one text
inline constexpr uint32_t kMaxNameBytes = 256;      // of a label or a site
inline constexpr uint32_t kMaxNames = 100'000;      // different labels, or sites

// A column with few different values.
struct NameColumn {
  std::vector<uint32_t> ids;  // [rows], each < names.size(); empty where there is no such column
  std::vector<std::string> names;  // sorted: by number where all are decimal numbers, else by bytes
};

struct TextTable {
  std::vector<std::string> texts;  // [rows], valid UTF-8
  std::vector<std::string> pairs;  // [rows], or empty
  NameColumn labels, sites;
};

// What is read of a file, by name. A column with an empty name is not read.
struct TextColumns {
  std::string text = "text", pair = {}, label = {}, site = {};
  bool label_required = true;  // else a file may do without: all rows have a label, or none
  // Where it is not empty, the labels that are allowed, in the order of their numbers.
  std::vector<std::string> classes = {};
  uint64_t limit = 0;  // the first so many rows only; 0: all
};

struct TextRow {
  std::string_view text = {}, pair = {}, label = {}, site = {};
  bool has_label = false;
};

// Checks rows and numbers their names. `columns` must outlive it.
class TextTableBuilder {
 public:
  explicit TextTableBuilder(const TextColumns& columns);
  // INVALID_ARGUMENT for what is no UTF-8 or too long, a label that is not allowed or an empty one,
  // and a row unlike those before it. The message does not say where: the reader adds that.
  absl::Status Add(const TextRow& row);
  bool full() const { return columns_.limit != 0 && table_.texts.size() >= columns_.limit; }
  TextTable Finish() &&;

 private:
  using Ids = std::map<std::string, uint32_t, std::less<>>;
  absl::Status AddName(NameColumn& column, Ids& ids, std::string_view name, bool closed,
                       const std::string& what);

  const TextColumns& columns_;
  TextTable table_;
  Ids label_ids_, site_ids_;
};

// Whether a text is UTF-8 of at most max_bytes; `what` names it in the message.
absl::Status CheckText(std::string_view text, uint64_t max_bytes, std::string_view what);

}  // namespace atl::trainer
