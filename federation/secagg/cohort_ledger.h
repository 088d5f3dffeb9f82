// The cohort ledger. A round shows the sum over its survivors U3; the sums over two cohorts that
// differ by one site show, subtracted, that site's update. So a site remembers every U3 that it
// signed, by its data and by the model the updates were made from, and refuses one too near to it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "federation/secagg/messages.h"

namespace atl::secagg {

// A U3 that was signed.
struct SignedCohort {
  Digest model{};                 // that the round began with
  std::vector<SiteId> survivors;  // sorted
  SlotId slot;
  Signature signature{};  // R3's
};

// From the site's own file.
struct CohortRule {
  // k: two different cohorts over the same data, in whatever rounds and runs, differ by at least so
  // many sites. 0 and 1 allow all.
  uint32_t distance_min = 0;
  // Of one and the same update (same data, same model) also cohorts that differ by a single site.
  bool allow_difference_of_one = false;
};

// By how many sites two sorted sets differ.
uint32_t CohortDistance(const std::vector<SiteId>& one, const std::vector<SiteId>& other);

// Whether the sum over `survivors`, of updates of `model`, may be shown beside those over `earlier`
// (all over the same data): each must be the same cohort, or differ by k sites; where the model is
// the same, by max(k, 2). PERMISSION_DENIED, saying by which sites they differ.
absl::Status CheckCohort(std::span<const SignedCohort> earlier, const Digest& model,
                         const std::vector<SiteId>& survivors, const CohortRule& rule);

}  // namespace atl::secagg
