#include "trainer/data/text_table.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "comms/base/status.h"
#include "trainer/data/utf8.h"

namespace atl::trainer {
namespace {

absl::string_view Abs(std::string_view text) { return {text.data(), text.size()}; }

bool IsNumber(const std::string& name) {
  return !name.empty() && name.size() <= 18 &&
         std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; }) &&
         (name.size() == 1 || name[0] != '0');
}

// Puts the names in order and numbers the rows anew.
void Sort(NameColumn& column) {
  const bool numbers = std::all_of(column.names.begin(), column.names.end(), IsNumber);
  std::vector<uint32_t> order(column.names.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    const std::string &left = column.names[a], &right = column.names[b];
    if (numbers && left.size() != right.size()) return left.size() < right.size();
    return left < right;
  });
  std::vector<uint32_t> new_id(order.size());
  std::vector<std::string> names(order.size());
  for (uint32_t i = 0; i < order.size(); ++i) {
    new_id[order[i]] = i;
    names[i] = std::move(column.names[order[i]]);
  }
  column.names = std::move(names);
  for (uint32_t& id : column.ids) id = new_id[id];
}

}  // namespace

absl::Status CheckText(std::string_view text, uint64_t max_bytes, std::string_view what) {
  if (text.size() > max_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(Abs(what), ": ", text.size(), " bytes, at most ", max_bytes));
  }
  if (const size_t wrong = FirstInvalidUtf8(text); wrong != text.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(Abs(what), ": its byte ", wrong, " is no UTF-8"));
  }
  return absl::OkStatus();
}

TextTableBuilder::TextTableBuilder(const TextColumns& columns) : columns_(columns) {
  table_.labels.names = columns.classes;
  for (uint32_t i = 0; i < columns.classes.size(); ++i) label_ids_.emplace(columns.classes[i], i);
}

absl::Status TextTableBuilder::AddName(NameColumn& column, Ids& ids, std::string_view name,
                                       bool closed, const std::string& what) {
  ATOLL_RETURN_IF_ERROR(CheckText(name, kMaxNameBytes, what));
  if (name.empty()) return absl::InvalidArgumentError(absl::StrCat(what, ": it is empty"));
  auto found = ids.find(name);
  if (found == ids.end()) {
    if (closed) {
      return absl::InvalidArgumentError(
          absl::StrCat(what, ": '", Abs(name), "' is none of the ", ids.size(), " known classes"));
    }
    if (ids.size() >= kMaxNames) {
      return absl::InvalidArgumentError(
          absl::StrCat(what, ": over ", kMaxNames, " different values"));
    }
    found = ids.emplace(name, static_cast<uint32_t>(ids.size())).first;
    column.names.emplace_back(name);
  }
  column.ids.push_back(found->second);
  return absl::OkStatus();
}

absl::Status TextTableBuilder::Add(const TextRow& row) {
  ATOLL_RETURN_IF_ERROR(CheckText(row.text, kMaxTextBytes, columns_.text));
  if (!columns_.pair.empty()) {
    ATOLL_RETURN_IF_ERROR(CheckText(row.pair, kMaxTextBytes, columns_.pair));
  }
  if (table_.texts.size() >= UINT32_MAX) {
    return absl::InvalidArgumentError(absl::StrCat("over ", UINT32_MAX, " examples"));
  }
  if (!columns_.label.empty()) {
    const bool before = !table_.labels.ids.empty();
    if (!row.has_label && (columns_.label_required || before)) {
      return absl::InvalidArgumentError(absl::StrCat("no field '", columns_.label, "'"));
    }
    if (row.has_label && !before && !table_.texts.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("a field '", columns_.label, "', which the examples before have not"));
    }
    if (row.has_label) {
      ATOLL_RETURN_IF_ERROR(
          AddName(table_.labels, label_ids_, row.label, !columns_.classes.empty(), columns_.label));
    }
  }
  if (!columns_.site.empty()) {
    ATOLL_RETURN_IF_ERROR(AddName(table_.sites, site_ids_, row.site, false, columns_.site));
  }
  table_.texts.emplace_back(row.text);
  if (!columns_.pair.empty()) table_.pairs.emplace_back(row.pair);
  return absl::OkStatus();
}

TextTable TextTableBuilder::Finish() && {
  if (columns_.classes.empty()) Sort(table_.labels);
  Sort(table_.sites);
  return std::move(table_);
}

}  // namespace atl::trainer
