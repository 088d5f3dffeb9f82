#include <cstdio>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "federation/cli/commands.h"
#include "federation/secagg/group_bound.h"
#include "federation/secagg/messages.h"
#include "recipes/schema/explain.h"
#include "recipes/schema/load.h"

namespace atl::cli {
namespace {

// Nothing, after an error line, when the file cannot be read.
std::optional<recipes::LoadResult> Load(const std::string& recipe,
                                        const std::vector<std::string>& overrides) {
  auto result = recipes::LoadRecipeFile(recipe, overrides);
  if (result.ok()) return *std::move(result);
  std::fprintf(stderr, "atoll recipe: %s\n", std::string(result.status().message()).c_str());
  return std::nullopt;
}

// What secure aggregation withstands with the recipe's sites, in a line; empty without it.
std::string WithstandsText(const recipes::Recipe& recipe) {
  const auto& secure = recipe.secure_aggregation;
  if (!secure.enabled || recipe.site.count < 2) return "";
  const auto sites = static_cast<uint32_t>(recipe.site.count);
  const secagg::GroupTerms terms{static_cast<uint32_t>(secure.group_size_max),
                                 static_cast<uint32_t>(secure.corrupt_sites_max)};
  if (sites <= terms.size_max) {
    const uint32_t threshold = secagg::ThresholdFor(sites);
    uint32_t most = 0;
    while (secagg::Withstands(sites, threshold, most + 1)) ++most;
    return absl::StrCat(
        "groups: none; ", sites, " sites (t = ", threshold, ") withstand up to ", most,
        " that collude with the coordinator; corrupt_sites_max: ",
        terms.corrupt_max == 0 ? "none stated" : absl::StrCat(terms.corrupt_max).c_str(), "\n");
  }
  const auto sizes = secagg::PickGroupSizes(sites, terms);
  if (!sizes.ok()) return absl::StrCat(std::string(sizes.status().message()), "\n");
  const double failure = secagg::SplitFailure(*sizes, terms.corrupt_max).value();
  return absl::StrCat(
      "groups: ", sizes->size(), " of ", sizes->back(),
      sizes->front() == sizes->back() ? "" : absl::StrCat(" to ", sizes->front()).c_str(),
      " sites (t >= ", secagg::ThresholdFor(sizes->back()), "); ", terms.corrupt_max, " of ", sites,
      " sites may collude with the coordinator; the chance that a group holds too "
      "many of them is ",
      failure == 0 ? "0" : absl::StrFormat("at most %.2g (allowed: 2^-40, 9.1e-13)", failure),
      "\n");
}

}  // namespace

int RecipeCheck(const std::string& recipe, const std::vector<std::string>& overrides) {
  const auto result = Load(recipe, overrides);
  if (!result) return 2;
  std::FILE* out = result->problems.empty() ? stdout : stderr;
  std::fputs(recipes::CheckText(*result, recipe).c_str(), out);
  return result->problems.empty() ? 0 : 2;
}

int RecipeExplain(const std::string& recipe, const std::vector<std::string>& overrides) {
  const auto result = Load(recipe, overrides);
  if (!result) return 2;
  if (!result->problems.empty()) {
    std::fputs(recipes::CheckText(*result, recipe).c_str(), stderr);
    return 2;
  }
  std::fputs(recipes::ExplainText(*result).c_str(), stdout);
  std::fputs(WithstandsText(result->recipe).c_str(), stdout);
  return 0;
}

}  // namespace atl::cli
