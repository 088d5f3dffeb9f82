// Random schedules: messages reordered between sites and repeated, sites that die and come back, a
// coordinator that is killed. Every sum is exact, every job ends, and folding the log gives the
// state that was.

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/coordinator/simulation.h"

namespace atl::coordinator {
namespace {

using testing::IsEmpty;

std::string Trace(uint64_t seed) {
  return absl::StrCat("replay with ATOLL_TEST_SEED=", seed, " coordinator_chaos_test");
}

TEST(Chaos, RepeatsAndReordering) {
  const uint64_t first = TestSeed(1);
  for (uint64_t seed = first; seed < first + 12; ++seed) {
    SCOPED_TRACE(Trace(seed));
    Simulation simulation({.sites = 3 + static_cast<uint32_t>(seed % 4),
                           .seed = seed,
                           .masked = seed % 3 != 0,
                           .repeat = 0.3});
    simulation.ConnectAll();
    simulation.Submit();
    simulation.Run();
    EXPECT_EQ(simulation.report().status(), v1::COMPLETE) << simulation.report().reason();
    EXPECT_THAT(simulation.wrong_sums(), IsEmpty());
    EXPECT_EQ(simulation.sums(), 3u);
    EXPECT_THAT(simulation.report().dropped(), IsEmpty());
    EXPECT_EQ(Comparable(*simulation.Folded(), JobId(1)), Comparable(simulation.core(), JobId(1)));
  }
}

TEST(Chaos, SitesDieAndComeBack) {
  const uint64_t first = TestSeed(100);
  for (uint64_t seed = first; seed < first + 25; ++seed) {
    SCOPED_TRACE(Trace(seed));
    SeededRandom random({.seed = seed, .label = "chaos"});
    Simulation simulation(
        {.sites = 5, .seed = seed, .masked = seed % 4 != 0, .rounds = 4, .repeat = 0.1});
    simulation.ConnectAll();
    simulation.Submit();
    simulation.RunWhileSitesDie(random, 4, 12'000);
    const v1::JobReport report = simulation.report();
    // A site that comes back within 12 s is there before the 15 s are over in which a cohort may
    // come together again.
    EXPECT_EQ(report.status(), v1::COMPLETE) << report.reason();
    EXPECT_THAT(simulation.wrong_sums(), IsEmpty());
    for (const v1::RoundReport& round : report.round_reports())
      EXPECT_GE(round.participants_size(), 3);
    EXPECT_EQ(Comparable(*simulation.Folded(), JobId(1)), Comparable(simulation.core(), JobId(1)));
  }
}

TEST(Chaos, TheCoordinatorIsKilledAtAnyEvent) {
  const uint64_t first = TestSeed(200);
  for (uint64_t seed = first; seed < first + 40; ++seed) {
    SCOPED_TRACE(Trace(seed));
    SeededRandom random({.seed = seed, .label = "chaos"});
    Simulation simulation({.sites = 4, .seed = seed, .masked = seed % 4 != 0, .rounds = 3});
    simulation.ConnectAll();
    simulation.Submit();
    for (int restarts = 0; restarts < 3; ++restarts) {
      uint64_t steps = 5 + random.Below(120);
      simulation.Run([&] { return steps-- == 0; });
      if (simulation.core().Ended(JobId(1)) != nullptr) break;
      if (!simulation.core().Report(JobId(1)).ok()) continue;  // not submitted yet
      const std::string before = Comparable(simulation.core(), JobId(1));
      simulation.RestartCoordinator();
      EXPECT_EQ(Comparable(simulation.core(), JobId(1)), before);
      simulation.ConnectAll();
    }
    simulation.Run();
    const v1::JobReport report = simulation.report();
    EXPECT_EQ(report.status(), v1::COMPLETE) << report.reason();
    EXPECT_EQ(report.rounds_completed(), 3u);
    EXPECT_THAT(simulation.wrong_sums(), IsEmpty());
    EXPECT_THAT(report.dropped(), IsEmpty());
    EXPECT_EQ(simulation.kept_slots(), 0u);
    EXPECT_EQ(simulation.staged(), 0u);
    for (const v1::RoundReport& round : report.round_reports()) {
      EXPECT_EQ(round.attempts(), 1u);
      EXPECT_EQ(round.spot_checked(), 4u);
    }
  }
}

}  // namespace
}  // namespace atl::coordinator
