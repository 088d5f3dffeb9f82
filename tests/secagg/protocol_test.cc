// The whole flow with sites that drop: the sum is exact when enough of them are left, and the slot
// aborts when not.
#include <gtest/gtest.h>

#include <set>

#include "comms/base/status.h"
#include "tests/secagg/harness.h"

namespace atl::secagg {
namespace {

constexpr Step kSteps[] = {Step::kPreKeys, Step::kShares, Step::kReceipt,   Step::kReady,
                           Step::kCommit,  Step::kUpload, Step::kSurvivors, Step::kAnswer};
constexpr uint32_t kCohortMin = 3;
// Every way to drop is tried; under ASan, which takes ten times as long, one in seven: prime to
// the number of steps, so that all of these are met.
#ifdef ATOLL_SANITIZE_ADDRESS
constexpr int kOneOf = 7;
#else
constexpr int kOneOf = 1;
#endif

// What the protocol promises, counted from the drops alone: whether the sum comes out, and whom it
// covers.
struct Promise {
  bool sum = true;
  std::set<SiteId> survivors;
};

Promise PromiseFor(Federation& federation) {
  std::map<Step, uint32_t> left;  // sites that take the step
  Promise promise;
  for (const auto& [id, site] : federation.sites()) {
    for (Step step : kSteps) left[step] += site->drops_at > step ? 1 : 0;
    if (site->drops_at > Step::kUpload) promise.survivors.insert(id);
  }
  const uint32_t n0 = left[Step::kPreKeys];
  const uint32_t t = 2 * n0 / 3 + 1;
  promise.sum = n0 >= kCohortMin;
  for (Step step : {Step::kReceipt, Step::kReady, Step::kUpload}) {
    promise.sum = promise.sum && left[step] >= std::max(t, kCohortMin);
  }
  for (Step step : {Step::kSurvivors, Step::kAnswer}) promise.sum = promise.sum && left[step] >= t;
  return promise;
}

std::string Describe(Federation& federation) {
  std::string text = absl::StrCat("n = ", federation.sites().size());
  for (const auto& [id, site] : federation.sites()) {
    if (site->drops_at != Step::kNever) {
      absl::StrAppend(&text, "; site ", id.value(), " drops at ", NameOf(site->drops_at));
    }
  }
  return text;
}

// Runs the slot and holds it to its promise. Returns whether the sum came out.
bool RunAndCheck(Federation& federation) {
  SCOPED_TRACE(Describe(federation));
  const Promise promise = PromiseFor(federation);
  absl::Status status = federation.RunAll();
  if (status.ok() && !federation.coordinator->CanUnmask()) {
    status = federation.Sum().status();
    EXPECT_FALSE(status.ok());
  }
  EXPECT_EQ(status.ok(), promise.sum) << status;
  if (!status.ok()) {
    EXPECT_TRUE(absl::IsAborted(status) || absl::IsFailedPrecondition(status)) << status;
    EXPECT_TRUE(status.message().find("are needed") != std::string::npos) << status;
    return false;
  }
  EXPECT_TRUE(federation.coordinator->CanUnmask());
  const auto sum = federation.Sum();
  EXPECT_TRUE(sum.ok()) << sum.status();
  if (!sum.ok()) return false;
  EXPECT_EQ(*sum, federation.ExpectedSum());
  const std::vector<SiteId>& u3 = federation.coordinator->u3();
  EXPECT_EQ(std::set<SiteId>(u3.begin(), u3.end()), promise.survivors);
  return true;
}

class Drops : public ::testing::TestWithParam<uint32_t> {};

TEST_P(Drops, NobodyDrops) {
  FederationOptions options{.sites = GetParam()};
  Federation federation(options);
  EXPECT_TRUE(RunAndCheck(federation));
  EXPECT_EQ(federation.coordinator->u3().size(), GetParam());
}

TEST_P(Drops, EverySingleSiteAtEveryStep) {
  int sums = 0, aborts = 0;
  for (uint32_t dropped = 0; dropped < GetParam(); ++dropped) {
    for (Step step : kSteps) {
      FederationOptions options{.sites = GetParam(), .seed = 100 + dropped};
      Federation federation(options);
      federation.site(3 + 5 * dropped).drops_at = step;
      RunAndCheck(federation) ? ++sums : ++aborts;
    }
  }
  // Of three sites none may drop. Of more one may at any step; before E1 ends it lowers n0 and with
  // it t.
  if (GetParam() == 3) {
    EXPECT_EQ(sums, 0);
  } else {
    EXPECT_EQ(aborts, 0);
  }
}

TEST_P(Drops, EveryPairOfSitesAtEveryStep) {
  int sums = 0, aborts = 0, way = 0;
  const uint32_t n = GetParam();
  for (uint32_t a = 0; a < n; ++a) {
    for (uint32_t b = a + 1; b < n; ++b) {
      for (Step step_a : kSteps) {
        for (Step step_b : kSteps) {
          if (way++ % kOneOf != 0) continue;
          FederationOptions options{.sites = n, .seed = 7 + a * n + b};
          Federation federation(options);
          federation.site(3 + 5 * a).drops_at = step_a;
          federation.site(3 + 5 * b).drops_at = step_b;
          RunAndCheck(federation) ? ++sums : ++aborts;
        }
      }
    }
  }
  if (n <= 4) {
    EXPECT_EQ(sums, 0);
  } else if (n <= 6) {
    // n0 - t = 1: two that drop after E1 are too many, one of them before is not.
    EXPECT_GT(sums, 0);
    EXPECT_GT(aborts, 0);
  } else {  // t = 5 of 7, 6 of 8
    EXPECT_EQ(aborts, 0);
  }
}

TEST_P(Drops, EverySubsetOfSitesAtEveryStep) {
  const uint32_t n = GetParam();
  int way = 0;
  for (uint32_t subset = 1; subset < 1u << n; ++subset) {
    for (Step step : kSteps) {
      if (way++ % kOneOf != 0) continue;
      FederationOptions options{.sites = n, .seed = 200 + subset};
      Federation federation(options);
      for (uint32_t i = 0; i < n; ++i) {
        if (subset >> i & 1) federation.site(3 + 5 * i).drops_at = step;
      }
      RunAndCheck(federation);
    }
  }
}

TEST(Protocol, EverySiteOfFourAtEveryStepOrNever) {
  int sums = 0;
  for (int way = 0; way < 9 * 9 * 9 * 9; way += kOneOf) {
    FederationOptions options{.sites = 4, .seed = 300};
    Federation federation(options);
    for (int i = 0, rest = way; i < 4; ++i, rest /= 9) {
      federation.site(static_cast<uint32_t>(3 + 5 * i)).drops_at = static_cast<Step>(rest % 9);
    }
    sums += RunAndCheck(federation) ? 1 : 0;
  }
  // t = 3 of n0 = 4, whatever the fourth does once E1 is over; of n0 = 3 all three are needed. In
  // R3 and R4 three must be left, and so one may drop in each.
  EXPECT_GT(sums * kOneOf, 4 * 8);
  EXPECT_LT(sums * kOneOf, 9 * 9 * 9);
}

INSTANTIATE_TEST_SUITE_P(Sites, Drops, ::testing::Range(3u, 9u));

TEST(Protocol, RealCryptographyWithDropsAtEveryStep) {
  for (Step step : kSteps) {
    FederationOptions options{.sites = 4, .seed = 11, .suite = &OpensslSuite()};
    Federation federation(options);
    federation.site(8).drops_at = step;
    EXPECT_TRUE(RunAndCheck(federation)) << NameOf(step);
  }
}

TEST(Protocol, ChaChaMasksGiveTheSameSum) {
  FederationOptions options{.sites = 5, .seed = 12};
  options.cipher = kernels::MaskCipher::kChaCha20;
  Federation federation(options);
  federation.site(13).drops_at = Step::kUpload;
  EXPECT_TRUE(RunAndCheck(federation));
}

TEST(Protocol, TwoOfThreeSurviveOneDropWhereAllFilesAllowIt) {
  FederationOptions options{.sites = 3};
  options.floors.allow_two_of_three = true;
  options.floors.cohort_min = 2;
  options.cohort_min = 2;
  Federation federation(options);
  federation.site(8).drops_at = Step::kUpload;
  ASSERT_EQ(federation.RunAll(), absl::OkStatus());
  EXPECT_EQ(federation.coordinator->threshold(), 2u);
  EXPECT_EQ(*federation.Sum(), federation.ExpectedSum());
}

TEST(Protocol, TwoSitesOnlyWhereTheirFilesAllowIt) {
  FederationOptions options{.sites = 2};
  options.cohort_min = 2;
  Federation refused(options);
  ASSERT_EQ(refused.PreKeys(), absl::OkStatus());
  EXPECT_TRUE(absl::IsPermissionDenied(refused.Shares()));

  options.floors.allow_two_sites = true;
  Federation still_refused(options);  // cohort_min of the sites is 3
  EXPECT_TRUE(absl::IsPermissionDenied(still_refused.RunAll()));

  options.floors.cohort_min = 2;
  Federation federation(options);
  ASSERT_EQ(federation.RunAll(), absl::OkStatus());
  EXPECT_EQ(*federation.Sum(), federation.ExpectedSum());
}

TEST(Protocol, FloorOfTwoNeedsTheNamedPermission) {
  FederationOptions options{.sites = 2};
  options.cohort_min = 2;
  options.floors.cohort_min = 2;  // without allow_two_sites
  Federation federation(options);
  EXPECT_TRUE(absl::IsPermissionDenied(federation.RunAll()));
}

TEST(Protocol, ALargeSlotOfSixtyFourSites) {
  FederationOptions options{.sites = 64, .seed = 3};
  Federation federation(options);
  for (uint32_t i = 0; i < 21; ++i) {
    federation.site(3 + 5 * (3 * i + 1)).drops_at = kSteps[1 + i % 7];
  }
  EXPECT_EQ(federation.RunAll(), absl::OkStatus());
  EXPECT_EQ(federation.coordinator->threshold(), 43u);
  const auto sum = federation.Sum();
  ASSERT_TRUE(sum.ok()) << sum.status();
  EXPECT_EQ(*sum, federation.ExpectedSum());
}

TEST(Protocol, OneDropTooManyOfSixtyFourAborts) {
  FederationOptions options{.sites = 64, .seed = 3};
  Federation federation(options);
  for (uint32_t i = 0; i < 22; ++i) federation.site(3 + 5 * (2 * i)).drops_at = Step::kUpload;
  const absl::Status status = federation.RunAll();
  EXPECT_TRUE(absl::IsAborted(status)) << status;
  EXPECT_NE(status.message().find("U3: 42 of 64 sites are left, 43 are needed"), std::string::npos)
      << status;
}

TEST(Protocol, VectorsOfSeveralChunksAndOddTails) {
  FederationOptions options{.sites = 3, .seed = 5};
  kernels::Segment metrics{.length = 5, .value_bits = 48, .sum_bits = 50, .scale = 1};
  kernels::Segment update{
      .length = 2 * kernels::kChunkElements + 12345, .value_bits = 14, .sum_bits = 16, .scale = 8};
  options.segments = {metrics, update};
  Federation federation(options);
  EXPECT_TRUE(RunAndCheck(federation));
  EXPECT_EQ(federation.layout().chunk_count(), 4u);
}

TEST(Protocol, AbortedSlotsLeaveNothingSecretBehind) {
  FederationOptions options{.sites = 4};
  Federation federation(options);
  ASSERT_EQ(federation.RunUntil(Step::kAnswer), absl::OkStatus());
  TestSite& site = federation.site(3);
  const size_t full = site.journal.durable()->size();
  ASSERT_EQ(site.slot->Burn(), absl::OkStatus());
  EXPECT_EQ(site.slot->state(), SlotState::kBurnt);
  EXPECT_LT(site.journal.durable()->size(), 200u);
  EXPECT_GT(full, 2000u);
  EXPECT_TRUE(absl::IsFailedPrecondition(site.slot->Unmask(federation.request).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(site.slot->PreKeys().status()));
  federation.Restart(site);
  EXPECT_EQ(site.slot->state(), SlotState::kBurnt);
  EXPECT_TRUE(absl::IsFailedPrecondition(site.slot->SignSurvivors(federation.u3).status()));
  EXPECT_EQ(site.slot->Erase(), absl::OkStatus());
  EXPECT_EQ(site.slot->state(), SlotState::kBurnt);  // burnt stays burnt
}

TEST(Protocol, ErasedAfterTheResult) {
  Federation federation({.sites = 4});
  ASSERT_EQ(federation.RunAll(), absl::OkStatus());
  TestSite& site = federation.site(3);
  ASSERT_EQ(site.slot->Erase(), absl::OkStatus());
  EXPECT_EQ(site.slot->state(), SlotState::kErased);
  EXPECT_LT(site.journal.durable()->size(), 200u);
  EXPECT_TRUE(absl::IsFailedPrecondition(site.slot->Unmask(federation.request).status()));
  EXPECT_EQ(site.slot->Burn(), absl::OkStatus());
  EXPECT_EQ(site.slot->state(), SlotState::kErased);
}

TEST(Protocol, StatesAreSavedInTheOrderOfTheProtocol) {
  Federation federation({.sites = 4});
  ASSERT_EQ(federation.RunAll(), absl::OkStatus());
  TestSite& site = federation.site(3);
  ASSERT_EQ(site.slot->Erase(), absl::OkStatus());
  const std::vector<SlotState> expected = {
      SlotState::kFresh,  SlotState::kShared,   SlotState::kShared,
      SlotState::kReady,  SlotState::kContext,  SlotState::kCommitted,
      SlotState::kSigned, SlotState::kAnswered, SlotState::kErased};
  EXPECT_EQ(site.journal.states, expected);
}

}  // namespace
}  // namespace atl::secagg
