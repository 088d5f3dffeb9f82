#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "comms/base/status.h"
#include "trainer/data/text_files.h"

namespace atl::trainer {
namespace {

constexpr size_t kMaxFields = 1024;

absl::string_view Abs(std::string_view text) { return {text.data(), text.size()}; }

// Takes records off the front of a file.
class CsvReader {
 public:
  explicit CsvReader(std::string_view file) : left_(file) {}
  bool done() const { return left_.empty(); }
  uint64_t line() const { return line_; }  // of the record that was read last

  // The next record's fields. Reuses the strings in `fields`.
  absl::Status Read(std::vector<std::string>& fields) {
    line_ = next_line_;
    for (size_t count = 0;; ++count) {
      if (count == kMaxFields) return Bad(absl::StrCat("over ", kMaxFields, " fields"));
      if (fields.size() == count) fields.emplace_back();
      fields[count].clear();
      ATOLL_RETURN_IF_ERROR(ReadField(fields[count]));
      if (!left_.empty() && left_[0] == ',') {
        left_.remove_prefix(1);
        continue;
      }
      fields.resize(count + 1);
      return EndLine();
    }
  }

 private:
  static absl::Status Bad(std::string why) { return absl::InvalidArgumentError(std::move(why)); }

  // A quoted field may be as long as a text; the rest is checked when it is added to the table.
  absl::Status ReadField(std::string& out) {
    if (left_.empty() || left_[0] != '"') {
      const size_t size = std::min(left_.find_first_of(",\r\n\""), left_.size());
      if (size > kMaxTextBytes)
        return Bad(absl::StrCat("a field of ", size, " bytes, at most ", kMaxTextBytes));
      out = left_.substr(0, size);
      left_.remove_prefix(size);
      if (!left_.empty() && left_[0] == '"') return Bad("a quote within a field without quotes");
      return absl::OkStatus();
    }
    left_.remove_prefix(1);
    while (true) {
      const size_t size = left_.find('"');
      if (size == std::string_view::npos) return Bad("a quoted field without its end");
      if (out.size() + size > kMaxTextBytes) {
        return Bad(absl::StrCat("a quoted field of over ", kMaxTextBytes,
                                " bytes; is its closing quote missing?"));
      }
      out += left_.substr(0, size);
      next_line_ += static_cast<uint64_t>(
          std::count(left_.begin(), left_.begin() + static_cast<ptrdiff_t>(size), '\n'));
      left_.remove_prefix(size + 1);
      if (left_.empty() || left_[0] != '"') return absl::OkStatus();
      out += '"';
      left_.remove_prefix(1);
    }
  }

  absl::Status EndLine() {
    ++next_line_;
    if (left_.empty()) return absl::OkStatus();
    if (left_[0] == '\r') left_.remove_prefix(1);
    if (left_.empty() || left_[0] != '\n') return Bad("text behind a quoted field, or a lone CR");
    left_.remove_prefix(1);
    return absl::OkStatus();
  }

  std::string_view left_;
  uint64_t line_ = 0, next_line_ = 1;
};

constexpr size_t kNoColumn = SIZE_MAX;

// Where a column stands. A name that is empty, or optional and not there, stands nowhere.
absl::StatusOr<size_t> Find(const std::vector<std::string>& header, const std::string& column,
                            bool required) {
  if (column.empty()) return kNoColumn;
  const auto found = std::find(header.begin(), header.end(), column);
  if (found == header.end()) {
    if (!required) return kNoColumn;
    return absl::InvalidArgumentError(absl::StrCat("no column '", column, "'"));
  }
  if (std::find(found + 1, header.end(), column) != header.end()) {
    return absl::InvalidArgumentError(absl::StrCat("two columns '", column, "'"));
  }
  return static_cast<size_t>(found - header.begin());
}

absl::StatusOr<TextTable> Parse(CsvReader& in, const TextColumns& columns) {
  if (in.done()) return absl::InvalidArgumentError("an empty file; a header row is needed");
  std::vector<std::string> header, fields;
  ATOLL_RETURN_IF_ERROR(in.Read(header));
  ATOLL_ASSIGN_OR_RETURN(const size_t text, Find(header, columns.text, true));
  ATOLL_ASSIGN_OR_RETURN(const size_t pair, Find(header, columns.pair, true));
  ATOLL_ASSIGN_OR_RETURN(const size_t label, Find(header, columns.label, columns.label_required));
  ATOLL_ASSIGN_OR_RETURN(const size_t site, Find(header, columns.site, true));
  TextTableBuilder table(columns);
  auto value = [&](size_t column) -> std::string_view {
    return column == kNoColumn ? std::string_view() : std::string_view(fields[column]);
  };
  while (!in.done() && !table.full()) {
    ATOLL_RETURN_IF_ERROR(in.Read(fields));
    if (fields.size() != header.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat(fields.size(), " fields, but the header has ", header.size()));
    }
    ATOLL_RETURN_IF_ERROR(table.Add({.text = value(text),
                                     .pair = value(pair),
                                     .label = value(label),
                                     .site = value(site),
                                     .has_label = label != kNoColumn}));
  }
  return std::move(table).Finish();
}

}  // namespace

absl::StatusOr<TextTable> ParseCsv(std::string_view file, std::string_view name,
                                   const TextColumns& columns) {
  if (file.substr(0, 3) == "\xef\xbb\xbf") file.remove_prefix(3);  // byte order mark
  CsvReader in(file);
  auto table = Parse(in, columns);
  if (!table.ok()) return Annotate(table.status(), absl::StrCat(Abs(name), ":", in.line()));
  return table;
}

}  // namespace atl::trainer
