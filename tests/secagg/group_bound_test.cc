// The chance that a split into groups goes wrong: against exact fractions, against dealing, and the
// sizes that are picked.
#include "federation/secagg/group_bound.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "comms/base/random.h"
#include "federation/secagg/messages.h"
#include "gmock/gmock.h"
#include "tests/secagg/harness.h"

namespace atl::secagg {
namespace {

using testing::HasSubstr;
using Wide = unsigned __int128;

// Exact: every intermediate product is divisible.
Wide Choose(uint32_t n, uint32_t k) {
  if (k > n) return 0;
  Wide product = 1;
  for (uint32_t i = 1; i <= k; ++i) product = product * (n - k + i) / i;
  return product;
}

bool Fails(uint32_t size, uint32_t corrupt) {
  const uint32_t t = ThresholdFor(size);
  return corrupt + size >= 2 * t || t < corrupt + 2;
}

// Deals in which the first `size` of n sites fail, of all C(n, size): a fraction of integers.
std::pair<Wide, Wide> ExactTail(uint32_t n, uint32_t c, uint32_t size) {
  Wide bad = 0;
  for (uint32_t k = 0; k <= std::min(c, size); ++k) {
    if (Fails(size, k)) bad += Choose(c, k) * Choose(n - c, size - k);
  }
  return {bad, Choose(n, size)};
}

TEST(GroupBound, IsTheExactFractionRoundedUpALittle) {
  int compared = 0;
  for (const auto& sizes : std::vector<std::vector<uint32_t>>{
           {3, 3}, {4, 4, 4}, {5, 4}, {7, 6, 6}, {12, 12}, {20, 20, 19}, {20, 20, 20},
           {30, 30}, {28, 27}, {25, 25}, {22, 21, 21}, {9}}) {
    const uint32_t n = std::accumulate(sizes.begin(), sizes.end(), 0u);
    for (uint32_t c = 0; c <= n; ++c) {
      long double exact = 0;
      bool any = false;
      for (uint32_t size : sizes) {
        const auto [bad, all] = ExactTail(n, c, size);
        exact += static_cast<long double>(bad) / static_cast<long double>(all);
        any = any || bad > 0;
      }
      exact = std::min<long double>(1, exact * kSplitAttemptsMax);
      const double bound = SplitFailure(sizes, c).value();
      EXPECT_GE(bound, exact) << n << " sites, " << c << " corrupt";
      EXPECT_LE(bound, exact * (1 + 1e-6L)) << n << " sites, " << c << " corrupt";
      EXPECT_EQ(bound == 0, !any) << n << " sites, " << c << " corrupt";
      compared += any && exact < 1;
    }
  }
  EXPECT_GT(compared, 25);  // neither 0 nor 1
}

TEST(GroupBound, IsWhatDealingGives) {
  const uint64_t seed = TestSeed(41);
  SCOPED_TRACE(SeedTrace(seed));
  SeededRandom random({.seed = seed, .label = "deals"});
  const std::vector<uint32_t> sizes = {10, 10, 9};
  constexpr uint32_t kCorrupt = 5, kDeals = 200'000;
  std::vector<uint8_t> corrupt(29, 0);
  std::fill_n(corrupt.begin(), kCorrupt, 1);
  uint64_t failed = 0;
  for (uint32_t deal = 0; deal < kDeals; ++deal) {
    random.Shuffle(std::span<uint8_t>(corrupt));
    auto next = corrupt.begin();
    for (uint32_t size : sizes) {
      failed += Fails(size, std::accumulate(next, next + size, 0u));
      next += size;
    }
  }
  const double mean = static_cast<double>(failed) / kDeals;
  const double bound = SplitFailure(sizes, kCorrupt).value() / kSplitAttemptsMax;
  ASSERT_LT(bound, 1.0 / kSplitAttemptsMax);
  EXPECT_NEAR(mean, bound, 5 * std::sqrt(bound / kDeals));
}

TEST(GroupBound, KnownFigures) {
  const std::vector<uint32_t> hundreds = {100, 100, 100};
  // 2.7e-5 a group: 8.1e-5 a split, 6.4e-4 for eight.
  EXPECT_NEAR(SplitFailure(hundreds, 60).value() / kSplitAttemptsMax / 3, 2.68e-5, 0.01e-5);
  EXPECT_GT(SplitFailure(hundreds, 60).value(), kSplitFailureMax);
  // A group of 100 has t = 67 and withstands 33.
  EXPECT_EQ(SplitFailure(hundreds, 33).value(), 0);
  EXPECT_GT(SplitFailure(hundreds, 34).value(), 0);
  EXPECT_TRUE(Withstands(100, 67, 33));
  EXPECT_FALSE(Withstands(100, 67, 34));
  EXPECT_TRUE(Withstands(3, 3, 1));
  EXPECT_FALSE(Withstands(3, 3, 2));  // a sum over one honest site
  EXPECT_FALSE(Withstands(3, 2, 1));
  EXPECT_EQ(SplitFailure(hundreds, 300).value(), 1);

  const auto refused = PickGroupSizes(300, {.size_max = 100, .corrupt_max = 60});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr("state a smaller corrupt_sites_max or a larger group_size_max"));
}

TEST(GroupBound, PicksTheFewestGroups) {
  int picked = 0;
  for (uint32_t sites : {3, 6, 8, 11, 12, 31, 100, 256, 300, 600, 1001, 5000}) {
    for (uint32_t size_max : {3, 4, 10, 60, 255}) {
      for (uint32_t corrupt : {1, 2, 5, 20, 60}) {
        const auto sizes = PickGroupSizes(sites, {size_max, corrupt});
        const uint32_t fewest = (sites + size_max - 1) / size_max;
        const auto chance = [&](uint32_t groups) {
          std::vector<uint32_t> equal(groups, sites / groups);
          for (uint32_t i = 0; i < sites % groups; ++i) ++equal[i];
          const auto failure = SplitFailure(equal, corrupt);
          return failure.ok() ? *failure : 1;
        };
        SCOPED_TRACE(testing::Message()
                     << sites << " sites, at most " << size_max << ", " << corrupt << " corrupt");
        if (!sizes.ok()) {
          for (uint32_t groups = fewest; groups < std::min(fewest + 4, sites / 3 + 1); ++groups)
            EXPECT_GT(chance(groups), kSplitFailureMax);
          continue;
        }
        ++picked;
        EXPECT_EQ(std::accumulate(sizes->begin(), sizes->end(), 0u), sites);
        EXPECT_LE(sizes->front(), size_max);
        EXPECT_GE(sizes->back(), kGroupSizeMin);
        EXPECT_LE(sizes->front() - sizes->back(), 1u);
        EXPECT_LE(SplitFailure(*sizes, corrupt).value(), kSplitFailureMax);
        for (uint32_t groups = fewest; groups < sizes->size(); ++groups)
          EXPECT_GT(chance(groups), kSplitFailureMax);
      }
    }
  }
  EXPECT_GT(picked, 60);
}

TEST(GroupBound, RefusesWhatMakesNoSense) {
  EXPECT_EQ(PickGroupSizes(300, {.size_max = 255, .corrupt_max = 0}).status().code(),
            absl::StatusCode::kFailedPrecondition);  // none stated
  EXPECT_EQ(PickGroupSizes(2, {.size_max = 255, .corrupt_max = 1}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(PickGroupSizes(10, {.size_max = 255, .corrupt_max = 11}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(PickGroupSizes((1 << 16) + 1, {.size_max = 255, .corrupt_max = 1}).ok());
  for (uint32_t size_max : {0, 2, 256}) {
    EXPECT_EQ(PickGroupSizes(300, {.size_max = size_max, .corrupt_max = 1}).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  for (const auto& sizes : std::vector<std::vector<uint32_t>>{{}, {2, 3}, {256}}) {
    EXPECT_EQ(SplitFailure(sizes, 1).status().code(), absl::StatusCode::kInvalidArgument);
  }
  const std::vector<uint32_t> three = {3};
  EXPECT_EQ(SplitFailure(three, 4).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace atl::secagg
