#include "recipes/schema/checks.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "recipes/schema/values.h"

namespace atl::recipes {
namespace {

constexpr int kSecureSitesMin = 3;
constexpr int kFashionMnistClasses = 10;

std::string MomentumIsSgds(const Recipe& r) {
  const Optimizer& optimizer = r.train.optimizer;
  if (optimizer.kind == OptimizerKind::kSgd || optimizer.momentum == 0) return "";
  return absl::StrCat(FormatValue(optimizer.momentum), " must be 0 or left out with ",
                      "train.optimizer.kind: ", ToString(optimizer.kind), "; momentum is sgd's");
}

std::string LabelsAreClasses(const Recipe& r) {
  if (r.data.partition.kind != PartitionKind::kLabels) return "";
  if (r.data.partition.labels <= r.model.classes) return "";
  return absl::StrCat(r.data.partition.labels, " must be <= model.classes, which is ",
                      r.model.classes);
}

std::string ClassesAreTheDataSets(const Recipe& r) {
  if (r.data.dataset != "fashion-mnist" || r.model.classes == kFashionMnistClasses) return "";
  return absl::StrCat(r.model.classes, " must be ", kFashionMnistClasses,
                      " with data.dataset: fashion-mnist");
}

std::string LimitFeedsEveryRank(const Recipe& r) {
  const int64_t ranks = int64_t{r.site.count} * r.site.ranks;
  if (r.data.limit == 0 || r.data.limit >= ranks) return "";
  return absl::StrCat(r.data.limit, " must be 0 or >= ", ranks,
                      ", an example for each rank of each site");
}

std::string SecureTakesSites(const Recipe& r) {
  if (!r.secure_aggregation.enabled || r.site.count >= kSecureSitesMin) return "";
  if (r.site.count == 1) {
    return "true needs at least 3 sites, and site.count is 1: set site.count, or set this to false "
           "for plain training on one site, which sends no update to anyone";
  }
  return absl::StrCat("true needs at least 3 sites, and site.count is ", r.site.count,
                      ": from the sum of two, each learns the other's update");
}

std::string SecureTakesCohort(const Recipe& r) {
  if (!r.secure_aggregation.enabled || r.site.count < kSecureSitesMin) return "";
  if (r.federation.cohort_min >= kSecureSitesMin) return "";
  return absl::StrCat(
      r.federation.cohort_min, " must be >= ", kSecureSitesMin,
      " under secure aggregation: from the sum of two sites, each learns the other's "
      "update");
}

std::string GroupsNeedCorrupt(const Recipe& r) {
  const auto& secure = r.secure_aggregation;
  if (!secure.enabled || r.site.count <= secure.group_size_max || secure.corrupt_sites_max > 0)
    return "";
  return absl::StrCat("0 must be >= 1: ", r.site.count, " sites are split into groups of at most ",
                      secure.group_size_max,
                      ", and how large they must be depends on how many sites may collude");
}

std::string CohortIsThere(const Recipe& r) {
  if (r.site.count == 1 || r.federation.cohort_min <= r.site.count) return "";
  return absl::StrCat(r.federation.cohort_min, " must be <= site.count, which is ", r.site.count);
}

}  // namespace

const std::vector<Check>& Checks() {
  static const std::vector<Check>* const checks = new std::vector<Check>{
      {{"train.optimizer.momentum", "train.optimizer.kind"},
       "`train.optimizer.momentum` is for sgd; with the others it is 0.",
       MomentumIsSgds},
      {{"data.partition.labels", "data.partition.kind", "model.classes"},
       "With `data.partition.kind: labels`, `data.partition.labels` is at most `model.classes`.",
       LabelsAreClasses},
      {{"model.classes", "data.dataset"},
       "`model.classes` is 10 with `data.dataset: fashion-mnist`.",
       ClassesAreTheDataSets},
      {{"data.limit", "site.count", "site.ranks"},
       "`data.limit`, unless 0, has an example for each rank of each site.",
       LimitFeedsEveryRank},
      {{"privacy.secure_aggregation.enabled", "site.count"},
       "`privacy.secure_aggregation.enabled: true` takes a `site.count` of at least 3; a recipe "
       "for one site "
       "says `false`.",
       SecureTakesSites},
      {{"federation.cohort.min", "privacy.secure_aggregation.enabled", "site.count"},
       "Under secure aggregation `federation.cohort.min` is at least 3.",
       SecureTakesCohort},
      {{"privacy.secure_aggregation.corrupt_sites_max", "privacy.secure_aggregation.group_size_max",
        "site.count"},
       "With more sites than `privacy.secure_aggregation.group_size_max` under secure aggregation, "
       "`privacy.secure_aggregation.corrupt_sites_max` is at least 1.",
       GroupsNeedCorrupt},
      {{"federation.cohort.min", "site.count"},
       "With more than one site, `federation.cohort.min` is at most `site.count`.",
       CohortIsThere},
  };
  return *checks;
}

}  // namespace atl::recipes
