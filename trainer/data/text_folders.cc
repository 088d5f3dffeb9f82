#include <algorithm>
#include <set>
#include <string>
#include <system_error>

#include "comms/base/files.h"
#include "comms/base/status.h"
#include "trainer/data/text_files.h"

namespace atl::trainer {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxFiles = 1'000'000;  // of one folder
constexpr uint64_t kMaxClassFileBytes = 64 << 20;

// What lies in a folder, sorted by name.
absl::StatusOr<std::vector<fs::path>> List(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> out;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    if (out.size() == kMaxFiles) {
      return absl::InvalidArgumentError(
          absl::StrCat(folder.string(), ": over ", kMaxFiles, " files"));
    }
    out.push_back(entry->path());
  }
  if (error == std::errc::no_such_file_or_directory) {
    return absl::NotFoundError(absl::StrCat(folder.string(), ": no such folder"));
  }
  if (error) {
    return absl::InvalidArgumentError(absl::StrCat(folder.string(), ": ", error.message()));
  }
  std::sort(out.begin(), out.end());
  return out;
}

// Takes a line and its end (LF or CRLF) off the front of a text.
std::string_view TakeLine(std::string_view& text) {
  const size_t size = std::min(text.find('\n'), text.size());
  std::string_view line = text.substr(0, size);
  text.remove_prefix(std::min(size + 1, text.size()));
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  return line;
}

absl::Status AddFile(const fs::path& path, const std::string& label, const TextColumns& columns,
                     TextTableBuilder& table) {
  ATOLL_ASSIGN_OR_RETURN(const Bytes bytes, ReadFile(path, kMaxTextFileBytes));
  std::string_view text = AsText(bytes);
  for (uint64_t number = 1; !text.empty() && !table.full(); ++number) {
    const std::string_view line = TakeLine(text);
    if (line.find_first_not_of(" \t") == std::string_view::npos) continue;
    absl::Status status =
        table.Add({.text = line, .label = label, .has_label = !columns.label.empty()});
    if (!status.ok()) return Annotate(status, absl::StrCat(path.string(), ":", number));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TextTable> ReadTextFolders(const fs::path& folder, const TextColumns& columns) {
  ATOLL_ASSIGN_OR_RETURN(const std::vector<fs::path> labels, List(folder));
  TextTableBuilder table(columns);
  std::error_code error;
  for (const fs::path& label : labels) {
    if (!fs::is_directory(label, error)) continue;
    ATOLL_ASSIGN_OR_RETURN(const std::vector<fs::path> files, List(label));
    for (const fs::path& file : files) {
      if (table.full()) break;
      if (file.extension() != ".txt") continue;
      ATOLL_RETURN_IF_ERROR(AddFile(file, label.filename().string(), columns, table));
    }
  }
  return std::move(table).Finish();
}

absl::StatusOr<std::vector<std::string>> ParseClassNames(std::string_view file,
                                                         std::string_view name) {
  std::vector<std::string> names;
  std::set<std::string_view> seen;
  for (uint64_t number = 1; !file.empty(); ++number) {
    const std::string_view line = TakeLine(file);
    absl::Status status = CheckText(line, kMaxNameBytes, "class");
    if (status.ok() && line.empty()) status = absl::InvalidArgumentError("an empty line");
    if (status.ok() && !seen.insert(line).second) {
      status = absl::InvalidArgumentError("this class is there already");
    }
    if (status.ok() && seen.size() > kMaxNames) {
      status = absl::InvalidArgumentError(absl::StrCat("over ", kMaxNames, " classes"));
    }
    if (!status.ok()) return Annotate(status, std::string(name) + ":" + std::to_string(number));
    names.emplace_back(line);
  }
  if (names.empty()) return Annotate(absl::InvalidArgumentError("no class in it"), name);
  return names;
}

absl::StatusOr<std::vector<std::string>> ReadClassNames(const fs::path& folder) {
  for (const char* name : {"classes.txt", "labels.txt"}) {
    const auto bytes = ReadFile(folder / name, kMaxClassFileBytes);
    if (absl::IsNotFound(bytes.status())) continue;
    if (!bytes.ok()) return bytes.status();
    return ParseClassNames(AsText(*bytes), (folder / name).string());
  }
  return std::vector<std::string>();
}

}  // namespace atl::trainer
