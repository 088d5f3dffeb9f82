// Text data sets on disk: CSV, JSON lines, folders of text files, and the names of their classes.
// For files that nobody has checked: whatever is in them ends in a table or in INVALID_ARGUMENT
// with file and line.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/data/text_table.h"

namespace atl::trainer {

inline constexpr uint64_t kMaxTextFileBytes = uint64_t{1} << 32;

// RFC 4180 with a header row: fields that hold commas, quotes or line ends stand in double quotes,
// quotes in them are doubled; lines end in LF or CRLF; each row has as many fields as the header.
// `name` is what messages call the file.
absl::StatusOr<TextTable> ParseCsv(std::string_view file, std::string_view name,
                                   const TextColumns& columns);

// One JSON object a line; empty lines are skipped, other fields are ignored. Texts are strings, a
// label or site a string or a whole number.
absl::StatusOr<TextTable> ParseJsonLines(std::string_view file, std::string_view name,
                                         const TextColumns& columns);

// folder/LABEL/*.txt, each line that holds more than spaces an example of that label; folders and
// files in the order of their names. NOT_FOUND without the folder. columns.pair and columns.site
// must be empty: such a set has neither.
absl::StatusOr<TextTable> ReadTextFolders(const std::filesystem::path& folder,
                                          const TextColumns& columns);

// One name a line, all different, at least one.
absl::StatusOr<std::vector<std::string>> ParseClassNames(std::string_view file,
                                                         std::string_view name);
// From classes.txt, else labels.txt of a data set's folder; none where it has neither.
absl::StatusOr<std::vector<std::string>> ReadClassNames(const std::filesystem::path& folder);

}  // namespace atl::trainer
