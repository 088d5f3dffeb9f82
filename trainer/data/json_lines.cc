#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "comms/base/status.h"
#include "nlohmann/json.hpp"
#include "trainer/data/text_files.h"

namespace atl::trainer {
namespace {

constexpr int kMaxDepth = 32;                          // of what is ignored
constexpr uint64_t kMaxLineBytes = 8 * kMaxTextBytes;  // an escaped character takes six bytes

absl::string_view Abs(std::string_view text) { return {text.data(), text.size()}; }

// The parser recurses where it frees nested arrays, so depth is looked at before it sees the line.
bool TooDeep(std::string_view line) {
  int depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quoted) {
      if (c == '\\') ++i;
      if (c == '"') quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '{' || c == '[') {
      if (++depth > kMaxDepth) return true;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return false;
}

absl::StatusOr<std::string> TextOf(const nlohmann::json& object, const std::string& field) {
  const auto found = object.find(field);
  if (found == object.end())
    return absl::InvalidArgumentError(absl::StrCat("no field '", field, "'"));
  if (!found->is_string())
    return absl::InvalidArgumentError(absl::StrCat("field '", field, "' is no string"));
  return found->get<std::string>();
}

absl::StatusOr<std::string> NameOf(const nlohmann::json& object, const std::string& field) {
  if (const auto found = object.find(field); found != object.end() && found->is_number_integer()) {
    return found->dump();
  }
  return TextOf(object, field);
}

absl::Status AddLine(std::string_view line, const TextColumns& columns, TextTableBuilder& table) {
  if (line.size() > kMaxLineBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a line of ", line.size(), " bytes, at most ", kMaxLineBytes));
  }
  if (TooDeep(line)) {
    return absl::InvalidArgumentError(absl::StrCat("nested over ", kMaxDepth, " deep"));
  }
  const nlohmann::json object =
      nlohmann::json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
  if (object.is_discarded()) return absl::InvalidArgumentError("no JSON (or no UTF-8)");
  if (!object.is_object()) return absl::InvalidArgumentError("no JSON object");
  std::string pair, label, site;
  ATOLL_ASSIGN_OR_RETURN(const std::string text, TextOf(object, columns.text));
  if (!columns.pair.empty()) {
    ATOLL_ASSIGN_OR_RETURN(pair, TextOf(object, columns.pair));
  }
  const bool has_label = !columns.label.empty() && object.contains(columns.label);
  if (has_label) {
    ATOLL_ASSIGN_OR_RETURN(label, NameOf(object, columns.label));
  }
  if (!columns.site.empty()) {
    ATOLL_ASSIGN_OR_RETURN(site, NameOf(object, columns.site));
  }
  return table.Add(
      {.text = text, .pair = pair, .label = label, .site = site, .has_label = has_label});
}

}  // namespace

absl::StatusOr<TextTable> ParseJsonLines(std::string_view file, std::string_view name,
                                         const TextColumns& columns) {
  TextTableBuilder table(columns);
  for (uint64_t number = 1; !file.empty() && !table.full(); ++number) {
    const size_t size = std::min(file.find('\n'), file.size());
    const std::string_view line = file.substr(0, size);
    file.remove_prefix(std::min(size + 1, file.size()));
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    if (absl::Status status = AddLine(line, columns, table); !status.ok()) {
      return Annotate(status, absl::StrCat(Abs(name), ":", number));
    }
  }
  return std::move(table).Finish();
}

}  // namespace atl::trainer
