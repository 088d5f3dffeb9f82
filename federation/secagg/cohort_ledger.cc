#include "federation/secagg/cohort_ledger.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace atl::secagg {
namespace {

std::vector<SiteId> Missing(const std::vector<SiteId>& from, const std::vector<SiteId>& in) {
  std::vector<SiteId> missing;
  std::set_difference(from.begin(), from.end(), in.begin(), in.end(), std::back_inserter(missing));
  return missing;
}

std::string Names(const std::vector<SiteId>& sites) {
  return absl::StrJoin(
      sites, ", ", [](std::string* out, SiteId id) { absl::StrAppend(out, "site ", id.value()); });
}

// "with site 23, without site 3 and 8"
std::string Difference(const std::vector<SiteId>& now, const std::vector<SiteId>& earlier) {
  const std::vector<SiteId> added = Missing(now, earlier), lost = Missing(earlier, now);
  return absl::StrCat(added.empty() ? "" : "with ", Names(added),
                      added.empty() || lost.empty() ? "" : ", ", lost.empty() ? "" : "without ",
                      Names(lost));
}

}  // namespace

uint32_t CohortDistance(const std::vector<SiteId>& one, const std::vector<SiteId>& other) {
  return static_cast<uint32_t>(Missing(one, other).size() + Missing(other, one).size());
}

absl::Status CheckCohort(std::span<const SignedCohort> earlier, const Digest& model,
                         const std::vector<SiteId>& survivors, const CohortRule& rule) {
  for (const SignedCohort& cohort : earlier) {
    const bool same_update = cohort.model == model && !rule.allow_difference_of_one;
    const uint32_t least = std::max(rule.distance_min, same_update ? 2u : 0u);
    const uint32_t distance = CohortDistance(survivors, cohort.survivors);
    if (distance == 0 || distance >= least) continue;
    return absl::PermissionDeniedError(absl::StrCat(
        "U3: over the same ", cohort.model == model ? "data and model" : "data",
        " this site has signed a cohort that differs by ", distance,
        distance == 1 ? " site" : " sites", " (now ", Difference(survivors, cohort.survivors),
        "): it must be the same or differ by >= ", least,
        ", or the two sums show too much of who differs"));
  }
  return absl::OkStatus();
}

}  // namespace atl::secagg
