// Which cohorts may be summed beside those that were.
#include "federation/secagg/cohort_ledger.h"

#include <gtest/gtest.h>

#include "tests/secagg/harness.h"

namespace atl::secagg {
namespace {

constexpr Digest kModel{1}, kOther{2};

std::vector<SiteId> Sites(std::initializer_list<uint32_t> ids) {
  std::vector<SiteId> sites;
  for (uint32_t id : ids) sites.push_back(SiteId(id));
  return sites;
}

SignedCohort Earlier(const Digest& model, std::initializer_list<uint32_t> ids) {
  return {model, Sites(ids), SlotId(1), {}};
}

TEST(CohortDistance, IsTheSymmetricDifference) {
  EXPECT_EQ(CohortDistance(Sites({1, 2, 3}), Sites({1, 2, 3})), 0u);
  EXPECT_EQ(CohortDistance(Sites({1, 2, 3}), Sites({1, 3})), 1u);
  EXPECT_EQ(CohortDistance(Sites({1, 2, 3}), Sites({1, 3, 4})), 2u);
  EXPECT_EQ(CohortDistance(Sites({1, 2}), Sites({3, 4, 5})), 5u);
  EXPECT_EQ(CohortDistance({}, Sites({3})), 1u);
}

TEST(CohortLedger, OneUpdateIsNotLaidBareByTwoSums) {
  const std::vector<SignedCohort> earlier = {Earlier(kModel, {1, 2, 3, 4})};
  const auto check = [&](const Digest& model, std::initializer_list<uint32_t> ids) {
    return CheckCohort(earlier, model, Sites(ids), {});
  };
  EXPECT_EQ(check(kModel, {1, 2, 3, 4}), absl::OkStatus());
  const absl::Status without = check(kModel, {1, 2, 3});
  EXPECT_EQ(without.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_NE(std::string(without.message()).find("differs by 1 site (now without site 4)"),
            std::string::npos)
      << without;
  const absl::Status with = check(kModel, {1, 2, 3, 4, 7});
  EXPECT_NE(std::string(with.message()).find("now with site 7)"), std::string::npos) << with;
  // Two sites' updates hide each other.
  EXPECT_EQ(check(kModel, {1, 2}), absl::OkStatus());
  EXPECT_EQ(check(kModel, {1, 2, 3, 7}), absl::OkStatus());
  // Another model's updates are others, unless the file asks for a distance.
  EXPECT_EQ(check(kOther, {1, 2, 3}), absl::OkStatus());
  EXPECT_EQ(CheckCohort({}, kModel, Sites({1, 2, 3}), {}), absl::OkStatus());
}

TEST(CohortLedger, TheDistanceHoldsOverAllModels) {
  const std::vector<SignedCohort> earlier = {Earlier(kOther, {9, 10, 11}),
                                             Earlier(kModel, {1, 2, 3, 4})};
  const auto check = [&](const Digest& model, std::initializer_list<uint32_t> ids,
                         CohortRule rule) { return CheckCohort(earlier, model, Sites(ids), rule); };
  for (const Digest& model : {kModel, kOther}) {
    EXPECT_EQ(check(model, {1, 2, 3, 4}, {.distance_min = 3}), absl::OkStatus());
    const absl::Status near = check(model, {1, 2, 3, 8}, {.distance_min = 3});
    EXPECT_EQ(near.code(), absl::StatusCode::kPermissionDenied);
    EXPECT_NE(
        std::string(near.message()).find("differs by 2 sites (now with site 8, without site 4)"),
        std::string::npos)
        << near;
    EXPECT_EQ(check(model, {1, 2, 8}, {.distance_min = 3}), absl::OkStatus());
  }
  EXPECT_EQ(check(kOther, {1, 2, 3}, {.distance_min = 1}), absl::OkStatus());
  EXPECT_FALSE(check(kModel, {1, 2, 3}, {.distance_min = 1}).ok());
}

TEST(CohortLedger, ADifferenceOfOneMayBeAllowedByName) {
  const std::vector<SignedCohort> earlier = {Earlier(kModel, {1, 2, 3, 4})};
  EXPECT_EQ(CheckCohort(earlier, kModel, Sites({1, 2, 3}), {.allow_difference_of_one = true}),
            absl::OkStatus());
  // It takes back the default, not what the file asks for beside it.
  EXPECT_FALSE(CheckCohort(earlier, kModel, Sites({1, 2, 3}),
                           {.distance_min = 2, .allow_difference_of_one = true})
                   .ok());
}

}  // namespace
}  // namespace atl::secagg
