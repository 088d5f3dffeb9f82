// Patterns of parameters' and layers' names, as in model.frozen and model.lora.layers.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace atl::trainer {

// `*` stands for any run of characters, none among them; every other character for itself. The
// whole name must match.
bool MatchesPattern(std::string_view pattern, std::string_view name);

// For each of `names`, whether one of `patterns` matches it. INVALID_ARGUMENT when a pattern
// matches none: the message begins with `key` (of the recipe) and says which names there are.
absl::StatusOr<std::vector<bool>> MatchNames(std::string_view key,
                                             const std::vector<std::string>& patterns,
                                             const std::vector<std::string>& names);

}  // namespace atl::trainer
