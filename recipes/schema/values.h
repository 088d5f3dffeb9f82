// Values of properties: read from YAML, held, and written back so that YAML 1.1 and 1.2 readers
// agree on them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "recipes/schema/yaml_tree.h"

namespace atl::recipes {

// bool, whole number, number, text (also of enums), list of whole numbers, list of texts.
using Value = std::variant<bool, int64_t, double, std::string, std::vector<int64_t>,
                           std::vector<std::string>>;

// Numbers may stand in quotes, and 2e-5 (text to YAML 1.1) is a number. None of these reads a null,
// a list or a map.
std::optional<bool> ReadBool(const YamlNode& node);
// Also 64.0 and 1e3, when whole and below 2^53; not 010, which YAML 1.1 takes for octal.
std::optional<int64_t> ReadInteger(const YamlNode& node);
// Finite.
std::optional<double> ReadNumber(const YamlNode& node);
// Text, or what YAML cannot take for anything else; not an unquoted 5, true or ~.
std::optional<std::string> ReadText(const YamlNode& node);

// As it stands in a YAML file, on one line: 0.05, 1.0e-08, [6, 16], "a \"b\"".
std::string FormatValue(const Value& value);

// The node for an error message: printable, on one line, at most `length_max` characters and "...".
std::string Show(const YamlNode& node, size_t length_max = 60);
std::string ShowText(const std::string& text, size_t length_max = 60);

// The whole text on one line, control characters escaped.
std::string Printable(const std::string& text);

// Which of `candidates` a misspelt `word` most likely means; "" when none is near (restricted
// Damerau-Levenshtein distance of at most a third of its length; swapped neighbours count once).
std::string Nearest(const std::string& word, const std::vector<std::string>& candidates);

// The position of the first byte that is not UTF-8, or npos.
size_t FirstNotUtf8(std::string_view text);

// Whether the text has no control characters (C0, DEL, C1) and is UTF-8.
bool IsPlainText(const std::string& text);

// Whether a secret of Transformer Lab's, {{secret.NAME}} or {{secrets.NAME}}, stands in the text.
bool HasSecret(const std::string& text);

}  // namespace atl::recipes
