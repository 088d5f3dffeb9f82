#include "federation/secagg/group_bound.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "absl/strings/str_cat.h"
#include "comms/base/status.h"
#include "federation/secagg/fields.h"

namespace atl::secagg {
namespace {

// Logarithms of factorials are sums of up to 2^16 rounded terms: their error, over a few of them,
// is under 1e-7 even where long double is double.
constexpr double kRoundUp = 1 + 5e-7;

// The tails of groups dealt from `sites` sites, `corrupt` of them corrupt.
class Deal {
 public:
  Deal(uint32_t sites, uint32_t corrupt) : sites_(sites), corrupt_(corrupt) {
    log_factorial_.resize(sites + 1, 0);
    for (uint32_t i = 2; i <= sites; ++i) {
      log_factorial_[i] = log_factorial_[i - 1] + std::log(static_cast<long double>(i));
    }
  }

  // Chance that a group of `size` fails, not yet rounded up. Remembers it.
  double Failure(uint32_t size) {
    const auto [known, is_new] = failures_.emplace(size, 0.0);
    if (is_new) known->second = Tail(size);
    return known->second;
  }

 private:
  double Tail(uint32_t size) const {
    const uint32_t threshold = ThresholdFor(size);
    // 2t > n and t >= 2 for all sizes from 3 on.
    const uint32_t bad = std::min(2 * threshold - size, threshold - 1);
    const uint32_t honest = sites_ - corrupt_;
    const uint32_t first = std::max(bad, size > honest ? size - honest : 0);
    double sum = 0;
    for (uint32_t k = first; k <= std::min(corrupt_, size); ++k) {
      const long double log =
          LogChoose(corrupt_, k) + LogChoose(honest, size - k) - LogChoose(sites_, size);
      sum += static_cast<double>(std::exp(log));
    }
    return sum;
  }
  long double LogChoose(uint32_t n, uint32_t k) const {
    return log_factorial_[n] - log_factorial_[k] - log_factorial_[n - k];
  }

  uint32_t sites_, corrupt_;
  std::vector<long double> log_factorial_;
  std::map<uint32_t, double> failures_;
};

double RoundedUp(double groups_sum) {
  return std::min(1.0, groups_sum * kSplitAttemptsMax * kRoundUp);
}

// n sites in k groups as equal as possible.
std::vector<uint32_t> EqualSizes(uint32_t sites, uint32_t groups) {
  std::vector<uint32_t> sizes(groups, sites / groups);
  for (uint32_t i = 0; i < sites % groups; ++i) ++sizes[i];
  return sizes;
}

absl::Status CheckTerms(const GroupTerms& terms) {
  if (terms.size_max < kGroupSizeMin || terms.size_max > kMaxSites) {
    return absl::InvalidArgumentError(absl::StrCat("groups: group_size_max ", terms.size_max,
                                                   ": must be in [", kGroupSizeMin, ", ", kMaxSites,
                                                   "]"));
  }
  return absl::OkStatus();
}

}  // namespace

bool Withstands(uint32_t sites, uint32_t threshold, uint32_t corrupt) {
  return uint64_t{corrupt} + sites < 2 * uint64_t{threshold} && corrupt + uint64_t{2} <= threshold;
}

static_assert(kMaxGroups >= kRosterSitesMax / kGroupSizeMin, "a result names every group's sum");

absl::StatusOr<double> SplitFailure(std::span<const uint32_t> sizes, uint32_t corrupt_max) {
  uint64_t sites = 0;
  for (uint32_t size : sizes) {
    sites += size;
    if (size < kGroupSizeMin || size > kMaxSites) {
      return absl::InvalidArgumentError(absl::StrCat(
          "groups: one of ", size, " sites: must be in [", kGroupSizeMin, ", ", kMaxSites, "]"));
    }
  }
  if (sites == 0 || sites > kRosterSitesMax || corrupt_max > sites) {
    return absl::InvalidArgumentError(absl::StrCat("groups: ", sites, " sites, ", corrupt_max,
                                                   " of them corrupt: must be in [1, ",
                                                   kRosterSitesMax, "] and at most all"));
  }
  Deal deal(static_cast<uint32_t>(sites), corrupt_max);
  double sum = 0;
  for (uint32_t size : sizes) sum += deal.Failure(size);
  return RoundedUp(sum);
}

absl::StatusOr<std::vector<uint32_t>> PickGroupSizes(uint32_t sites, const GroupTerms& terms) {
  ATOLL_RETURN_IF_ERROR(CheckTerms(terms));
  if (terms.corrupt_max == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("groups: ", sites, " sites in groups of at most ", terms.size_max,
                     " need corrupt_sites_max, the largest number of sites that may collude with "
                     "the coordinator: it must be stated, from 1"));
  }
  if (sites < kGroupSizeMin || sites > kRosterSitesMax || terms.corrupt_max > sites) {
    return absl::FailedPreconditionError(absl::StrCat(
        "groups: ", sites, " sites, ", terms.corrupt_max, " of them corrupt: must be in [",
        kGroupSizeMin, ", ", kRosterSitesMax, "] and at most all"));
  }
  Deal deal(sites, terms.corrupt_max);
  const uint32_t fewest = (sites + terms.size_max - 1) / terms.size_max;
  double least = 1;
  for (uint32_t groups = fewest; groups <= sites / kGroupSizeMin; ++groups) {
    const uint32_t larger = sites % groups, size = sites / groups;
    double sum = deal.Failure(size) * (groups - larger);
    if (larger > 0) sum += deal.Failure(size + 1) * larger;
    const double failure = RoundedUp(sum);
    if (failure <= kSplitFailureMax) return EqualSizes(sites, groups);
    least = std::min(least, failure);
  }
  return absl::FailedPreconditionError(
      absl::StrCat("groups: no split of ", sites, " sites, ", terms.corrupt_max,
                   " of them corrupt, into groups of at most ", terms.size_max,
                   " fails with a chance of 2^-40 ", "(9e-13) or less; the best one fails with ",
                   least, ": state a smaller corrupt_sites_max or a larger group_size_max"));
}

}  // namespace atl::secagg
