#include "trainer/checkpoint/compare.h"

#include <algorithm>
#include <array>
#include <map>
#include <string_view>
#include <vector>

#include "absl/strings/str_join.h"
#include "comms/base/status.h"
#include "recipes/schema/load.h"

namespace atl::trainer {
namespace {

// What changes nothing of how this program trains by itself.
constexpr std::array<std::string_view, 9> kFree = {
    "name",       "run",        "resources.",  "output.", "train.checkpoint_steps",
    "site.count", "site.ranks", "federation.", "privacy."};
constexpr size_t kMaxNamed = 5;

bool IsFree(std::string_view key, bool same_ranks) {
  if (!same_ranks && (key == "train.batch_size" || key == "train.accumulate_steps")) return true;
  return std::any_of(kFree.begin(), kFree.end(), [&](std::string_view free) {
    return free.ends_with('.') ? key.starts_with(free) : key == free;
  });
}

}  // namespace

absl::Status SameTraining(const recipes::Recipe& recipe, const std::string& checkpoint_recipe_yaml,
                          bool same_ranks) {
  // Both by the same way, so that the same value has the same text.
  const recipes::LoadResult now = recipes::LoadRecipeText(recipes::ToYaml(recipe), "recipe");
  const recipes::LoadResult then = recipes::LoadRecipeText(checkpoint_recipe_yaml, "checkpoint");
  if (!then.problems.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the recipe in the checkpoint: ", then.problems.front().Text()));
  }
  std::map<std::string, std::string> values;
  for (const recipes::Origin& origin : then.origins) values[origin.key] = origin.value;
  std::vector<std::string> differ;
  for (const recipes::Origin& origin : now.origins) {
    const std::string& before = values[origin.key];
    if (before == origin.value || IsFree(origin.key, same_ranks)) continue;
    differ.push_back(absl::StrCat(origin.key, " is ", origin.value, ", not ", before));
  }
  if (differ.empty()) return absl::OkStatus();
  const size_t named = std::min(differ.size(), kMaxNamed);
  return absl::FailedPreconditionError(absl::StrCat(
      "the recipe is not the one of the run: ",
      absl::StrJoin(differ.begin(), differ.begin() + static_cast<std::ptrdiff_t>(named), "; "),
      differ.size() > named ? absl::StrCat("; and ", differ.size() - named, " more") : ""));
}

}  // namespace atl::trainer
