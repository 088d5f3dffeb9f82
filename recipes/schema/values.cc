#include "recipes/schema/values.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace atl::recipes {
namespace {

constexpr double kLargestExactInteger = 9007199254740992.0;  // 2^53

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// The next code point of `text` from `*at` on, which is moved behind it; -1 for what is not UTF-8.
int32_t NextCodePoint(std::string_view text, size_t* at) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t first = byte((*at)++);
  if (first < 0x80) return first;
  const int more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
  if (first < 0xc2 || first > 0xf4 || *at + more > text.size()) return -1;
  int32_t point = first & (0x3f >> more);
  for (int i = 0; i < more; ++i) {
    if ((byte(*at + i) & 0xc0) != 0x80) return -1;
    point = point << 6 | (byte(*at + i) & 0x3f);
  }
  *at += more;
  constexpr int32_t kSmallest[] = {0, 0x80, 0x800, 0x10000};
  if (point < kSmallest[more] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) return -1;
  return point;
}

bool IsControl(int32_t point) { return point < 0x20 || (point >= 0x7f && point < 0xa0); }

// What some reader of YAML would take for a line break, a mark of byte order, or no character at
// all.
bool NeedsEscape(int32_t point) {
  return IsControl(point) || point == 0x2028 || point == 0x2029 || point == 0xfeff ||
         (point & 0xfffe) == 0xfffe;
}

// The text with what needs it escaped as in a YAML string of double quotes; with `quoted`, those
// quotes included.
std::string Escaped(const std::string& text, bool quoted) {
  std::string out = quoted ? "\"" : "";
  for (size_t at = 0; at < text.size();) {
    const size_t start = at;
    const int32_t point = NextCodePoint(text, &at);
    if (quoted && (point == '"' || point == '\\')) {
      absl::StrAppend(&out, "\\", text.substr(start, 1));
    } else if (point == '\n') {
      absl::StrAppend(&out, "\\n");
    } else if (point == '\t') {
      absl::StrAppend(&out, "\\t");
    } else if (point < 0) {
      absl::StrAppend(&out, "\\uFFFD");  // only in messages: text that was read is UTF-8
    } else if (NeedsEscape(point)) {
      absl::StrAppend(&out, point < 0x100     ? absl::StrFormat("\\x%02X", point)
                            : point < 0x10000 ? absl::StrFormat("\\u%04X", point)
                                              : absl::StrFormat("\\U%08X", point));
    } else {
      absl::StrAppend(&out, text.substr(start, at - start));
    }
  }
  return quoted ? out + "\"" : out;
}

std::string QuotedText(const std::string& text) { return Escaped(text, true); }

// Whether the text may stand without quotes: a word that no reader takes for anything but text.
bool IsBareWord(const std::string& text) {
  if (text.empty() || !(absl::ascii_isalpha(text[0]) || text[0] == '/' || text[0] == '_')) {
    return false;
  }
  for (char c : text) {
    if (!absl::ascii_isalnum(c) && std::string_view(" _-./+=").find(c) == std::string_view::npos) {
      return false;
    }
  }
  if (text.back() == ' ') return false;
  YamlNode node;
  node.kind = YamlNode::Kind::kScalar;
  node.text = text;
  return ReadText(node).has_value();
}

// What YAML 1.1 or 1.2 makes of an unquoted word that is not text.
bool LooksLikeNull(const std::string& text) {
  const std::string lower = absl::AsciiStrToLower(text);
  return text.empty() || text == "~" || lower == "null";
}

std::optional<double> NumberIn(const std::string& text) {
  double number = 0;
  if (text.empty() || text.size() > 64) return std::nullopt;
  if (text.find_first_of("xX") != std::string::npos) return std::nullopt;  // hexadecimal
  if (!absl::SimpleAtod(text, &number)) return std::nullopt;
  if (!std::isfinite(number)) return std::nullopt;
  return number;
}

std::string FormatNumber(double number) {
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), number);
  std::string text(buffer, end.ptr);
  const size_t exponent = text.find('e');
  const std::string mantissa = text.substr(0, exponent);
  // PyYAML takes 1e-08 for text and 1.0e-08 for a number.
  if (mantissa.find('.') == std::string::npos) text.insert(mantissa.size(), ".0");
  return text;
}

}  // namespace

std::optional<bool> ReadBool(const YamlNode& node) {
  if (!node.IsScalar()) return std::nullopt;
  const std::string lower = absl::AsciiStrToLower(node.text);
  if (lower == "true" || lower == "yes" || lower == "on") return true;
  if (lower == "false" || lower == "no" || lower == "off") return false;
  return std::nullopt;
}

std::optional<int64_t> ReadInteger(const YamlNode& node) {
  if (!node.IsScalar()) return std::nullopt;
  const std::string text(absl::StripAsciiWhitespace(node.text));
  const std::string digits =
      !text.empty() && (text[0] == '-' || text[0] == '+') ? text.substr(1) : text;
  if (digits.size() > 1 && digits[0] == '0' && IsDigit(digits[1])) return std::nullopt;
  int64_t integer = 0;
  if (absl::SimpleAtoi(text, &integer)) return integer;
  const std::optional<double> number = NumberIn(text);
  if (!number || std::abs(*number) > kLargestExactInteger || *number != std::floor(*number)) {
    return std::nullopt;
  }
  return static_cast<int64_t>(*number);
}

std::optional<double> ReadNumber(const YamlNode& node) {
  if (!node.IsScalar()) return std::nullopt;
  return NumberIn(std::string(absl::StripAsciiWhitespace(node.text)));
}

std::optional<std::string> ReadText(const YamlNode& node) {
  if (!node.IsScalar()) return std::nullopt;
  if (node.quoted) return node.text;
  if (LooksLikeNull(node.text) || ReadBool(node) || NumberIn(node.text)) return std::nullopt;
  return node.text;
}

std::string FormatValue(const Value& value) {
  if (const bool* boolean = std::get_if<bool>(&value)) return *boolean ? "true" : "false";
  if (const int64_t* integer = std::get_if<int64_t>(&value)) return absl::StrCat(*integer);
  if (const double* number = std::get_if<double>(&value)) return FormatNumber(*number);
  if (const std::string* text = std::get_if<std::string>(&value)) {
    return IsBareWord(*text) ? *text : QuotedText(*text);
  }
  std::string list = "[";
  if (const auto* texts = std::get_if<std::vector<std::string>>(&value)) {
    for (const std::string& text : *texts)
      absl::StrAppend(&list, list.size() > 1 ? ", " : "", QuotedText(text));
    return list + "]";
  }
  for (int64_t integer : std::get<std::vector<int64_t>>(value)) {
    absl::StrAppend(&list, list.size() > 1 ? ", " : "", integer);
  }
  return list + "]";
}

std::string ShowText(const std::string& text, size_t length_max) {
  std::string shown = IsPlainText(text) ? text : QuotedText(text);
  if (shown.size() <= length_max) return shown;
  size_t end = length_max;
  while (end > 0 && (static_cast<uint8_t>(shown[end]) & 0xc0) == 0x80) --end;
  return shown.substr(0, end) + "...";
}

std::string Printable(const std::string& text) { return Escaped(text, false); }

std::string Show(const YamlNode& node, size_t length_max) {
  std::string shown;
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      return "nothing";
    case YamlNode::Kind::kScalar:
      return ShowText(node.quoted ? QuotedText(node.text) : node.text, length_max);
    case YamlNode::Kind::kMap:
      return "a mapping";
    case YamlNode::Kind::kSequence:
      break;
  }
  for (const YamlNode& item : node.items) {
    absl::StrAppend(&shown, shown.empty() ? "" : ", ", Show(item, length_max));
    if (shown.size() > length_max) break;
  }
  return ShowText(absl::StrCat("[", shown, "]"), length_max);
}

std::string Nearest(const std::string& word, const std::vector<std::string>& candidates) {
  constexpr size_t kLongestWord = 64;
  std::string nearest;
  if (word.size() > kLongestWord) return nearest;
  const std::string lower = absl::AsciiStrToLower(word);
  size_t best = std::max<size_t>(1, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    const size_t columns = candidate.size() + 1;
    std::vector<std::vector<size_t>> cost(lower.size() + 1, std::vector<size_t>(columns));
    for (size_t i = 0; i <= lower.size(); ++i) {
      for (size_t j = 0; j < columns; ++j) {
        if (i == 0 || j == 0) {
          cost[i][j] = i + j;
          continue;
        }
        const bool same = lower[i - 1] == candidate[j - 1];
        cost[i][j] =
            std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1, cost[i - 1][j - 1] + (same ? 0 : 1)});
        if (i > 1 && j > 1 && lower[i - 1] == candidate[j - 2] &&
            lower[i - 2] == candidate[j - 1]) {
          cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
        }
      }
    }
    if (cost[lower.size()][columns - 1] < best) {
      best = cost[lower.size()][columns - 1];
      nearest = candidate;
    }
  }
  return nearest;
}

size_t FirstNotUtf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t start = at;
    if (NextCodePoint(text, &at) < 0) return start;
  }
  return std::string_view::npos;
}

bool IsPlainText(const std::string& text) {
  for (size_t at = 0; at < text.size();) {
    const int32_t point = NextCodePoint(text, &at);
    if (point < 0 || IsControl(point)) return false;
  }
  return true;
}

bool HasSecret(const std::string& text) {
  for (const char* mark : {"{{secret.", "{{secrets.", "{{ secret.", "{{ secrets."}) {
    if (text.find(mark) != std::string::npos) return true;
  }
  return false;
}

}  // namespace atl::recipes
