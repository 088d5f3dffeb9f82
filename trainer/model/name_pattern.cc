#include "trainer/model/name_pattern.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace atl::trainer {
namespace {

constexpr size_t kNamesShown = 24;

std::string Listed(const std::vector<std::string>& names) {
  if (names.empty()) return "there are none";
  std::string text = "there are ";
  const size_t shown = std::min(names.size(), kNamesShown);
  for (size_t i = 0; i < shown; ++i) absl::StrAppend(&text, i == 0 ? "" : ", ", names[i]);
  if (shown < names.size()) absl::StrAppend(&text, " and ", names.size() - shown, " more");
  return text;
}

}  // namespace

bool MatchesPattern(std::string_view pattern, std::string_view name) {
  size_t p = 0, n = 0;
  size_t star = std::string_view::npos, after_star = 0;  // the last '*', and the name from there
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      after_star = n;
    } else if (p < pattern.size() && pattern[p] == name[n]) {
      ++p;
      ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;  // the '*' takes one more character
      n = ++after_star;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

absl::StatusOr<std::vector<bool>> MatchNames(std::string_view key,
                                             const std::vector<std::string>& patterns,
                                             const std::vector<std::string>& names) {
  std::vector<bool> matched(names.size());
  for (const std::string& pattern : patterns) {
    bool any = false;
    for (size_t i = 0; i < names.size(); ++i) {
      if (!MatchesPattern(pattern, names[i])) continue;
      matched[i] = true;
      any = true;
    }
    if (!any) {
      return absl::InvalidArgumentError(absl::StrCat(absl::string_view(key.data(), key.size()),
                                                     ": '", pattern, "' matches no name; ",
                                                     Listed(names)));
    }
  }
  return matched;
}

}  // namespace atl::trainer
