// Jobs whose sites are split into groups, over scripted events and over random schedules.
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "federation/secagg/messages.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/coordinator/simulation.h"

namespace atl::coordinator {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

// Twelve sites in groups of 4 (t = 3), of which one may be corrupt.
SimulationOptions Twelve() { return {.sites = 12, .group_size_max = 4, .corrupt_sites_max = 1}; }

bool IsStep(const v1::CoordinatorMessage& message, v1::Step step) {
  return message.has_secagg() && message.secagg().step() == step;
}

// Two sites of group `number` die for good, at the manifest of round 1.
Director TwoDieOf(uint32_t number) {
  return [number, dead = std::set<SiteId>()](SiteId site,
                                             const v1::CoordinatorMessage& message) mutable {
    if (!IsStep(message, v1::MANIFEST) || dead.size() == 2) return Fate::kAnswer;
    const auto manifest =
        secagg::Decode<secagg::Manifest>(AsBytes(message.secagg().payload())).value();
    if (manifest.group != number) return Fate::kAnswer;
    dead.insert(site);
    return Fate::kDie;
  };
}

TEST(Groups, RunAllRoundsWithExactSums) {
  Simulation simulation(Twelve());
  simulation.ConnectAll();
  simulation.Submit();
  simulation.Run();
  const v1::JobReport report = simulation.report();
  EXPECT_EQ(report.status(), v1::COMPLETE) << report.reason();
  EXPECT_THAT(simulation.wrong_sums(), IsEmpty());
  EXPECT_EQ(report.threshold(), 3u);
  ASSERT_EQ(report.round_reports_size(), 3);
  for (const v1::RoundReport& round : report.round_reports()) {
    EXPECT_EQ(round.participants_size(), 12);
    EXPECT_EQ(round.groups(), 3u);
    EXPECT_EQ(round.attempts(), 1u);
  }
  // One split for all rounds.
  EXPECT_EQ(simulation.sent().at("REQUEST_GROUP_COMMIT"), 12);
  EXPECT_EQ(simulation.sent().at("GROUP_REVEAL_SET"), 12);
  EXPECT_EQ(Comparable(*simulation.Folded(), JobId(1)), Comparable(simulation.core(), JobId(1)));
}

TEST(Groups, AsManySitesAsOneHoldsAreNotSplit) {
  Simulation simulation({.sites = 4, .group_size_max = 4, .corrupt_sites_max = 1});
  simulation.ConnectAll();
  simulation.Submit();
  simulation.Run();
  EXPECT_EQ(simulation.report().status(), v1::COMPLETE) << simulation.report().reason();
  EXPECT_FALSE(simulation.sent().contains("REQUEST_GROUP_COMMIT"));
  EXPECT_EQ(simulation.report().round_reports(0).groups(), 0u);
}

TEST(Groups, OneThatIsTooSmallIsLeftOut) {
  Simulation simulation(Twelve());
  simulation.director = TwoDieOf(2);
  simulation.ConnectAll();
  simulation.Submit();
  simulation.Run();
  const v1::JobReport report = simulation.report();
  EXPECT_EQ(report.status(), v1::COMPLETE) << report.reason();
  EXPECT_THAT(simulation.wrong_sums(), IsEmpty());
  for (const v1::RoundReport& round : report.round_reports()) {
    EXPECT_EQ(round.participants_size(), 8);
    EXPECT_EQ(round.groups(), 2u);
    EXPECT_EQ(round.attempts(), 1u);
  }
  EXPECT_EQ(report.round_reports(0).dropped_size(), 4);
  EXPECT_EQ(report.dropped_size(), 2);
  EXPECT_EQ(Comparable(*simulation.Folded(), JobId(1)), Comparable(simulation.core(), JobId(1)));
}

TEST(Groups, AreDealtAgainWhenTooFewAreLeft) {
  SimulationOptions options = Twelve();
  options.cohort_min = 9;
  Simulation simulation(options);
  simulation.director = TwoDieOf(2);
  simulation.ConnectAll();
  simulation.Submit();
  simulation.Run();
  const v1::JobReport report = simulation.report();
  EXPECT_EQ(report.status(), v1::COMPLETE) << report.reason();
  EXPECT_THAT(simulation.wrong_sums(), IsEmpty());
  EXPECT_THAT(simulation.notes(), Contains(HasSubstr("they are split again")));
  for (const v1::RoundReport& round : report.round_reports()) {
    EXPECT_EQ(round.participants_size(), 10);
    EXPECT_EQ(round.groups(), 3u);
  }
  EXPECT_EQ(report.round_reports(0).attempts(), 2u);
  EXPECT_EQ(Comparable(*simulation.Folded(), JobId(1)), Comparable(simulation.core(), JobId(1)));
}

TEST(Groups, WhoDoesNotRevealIsLeftOut) {
  Simulation simulation(Twelve());
  simulation.director = [](SiteId site, const v1::CoordinatorMessage& message) {
    const bool withholds = site == SiteId(5) && IsStep(message, v1::GROUP_SIGNATURE_SET);
    return withholds ? Fate::kIgnore : Fate::kAnswer;
  };
  simulation.ConnectAll();
  simulation.Submit();
  simulation.Run();
  const v1::JobReport report = simulation.report();
  EXPECT_EQ(report.status(), v1::COMPLETE) << report.reason();
  EXPECT_THAT(simulation.wrong_sums(), IsEmpty());
  EXPECT_THAT(simulation.notes(), Contains(HasSubstr("attempt 1 aborted: site 5")));
  EXPECT_EQ(simulation.sent().at("REQUEST_GROUP_COMMIT"), 12 + 11);
  for (const v1::RoundReport& round : report.round_reports())
    EXPECT_EQ(round.participants_size(), 11);
}

TEST(Groups, EndAfterEightAttemptsThatWereRevealed) {
  SimulationOptions options = Twelve();
  options.sites = 24;
  Simulation simulation(options);
  // In each attempt another one withholds.
  std::map<uint32_t, SiteId> who;
  simulation.director = [&](SiteId site, const v1::CoordinatorMessage& message) {
    if (!IsStep(message, v1::GROUP_SIGNATURE_SET)) return Fate::kAnswer;
    const auto set =
        secagg::Decode<secagg::GroupSignatureSet>(AsBytes(message.secagg().payload())).value();
    return who.emplace(set.attempt, site).first->second == site ? Fate::kDie : Fate::kAnswer;
  };
  simulation.ConnectAll();
  simulation.Submit();
  simulation.Run();
  const v1::JobReport report = simulation.report();
  EXPECT_EQ(report.status(), v1::FAILED);
  EXPECT_THAT(report.reason(), HasSubstr("could not be split into groups in 8 attempts"));
  EXPECT_EQ(who.size(), 8u);
}

TEST(Groups, WaitForEnoughSitesToSplitAndSayWhy) {
  Simulation simulation({.sites = 6, .group_size_max = 3, .corrupt_sites_max = 1});
  simulation.refusals[SiteId(6)] = "no time";
  simulation.ConnectAll();
  simulation.Submit();
  simulation.Run();
  const v1::JobReport report = simulation.report();
  EXPECT_EQ(report.status(), v1::FAILED);
  EXPECT_THAT(report.reason(), HasSubstr("no split of 5 sites"));
  EXPECT_THAT(report.reason(), HasSubstr("no time"));
}

std::string Trace(uint64_t seed) {
  return absl::StrCat("replay with ATOLL_TEST_SEED=", seed, " coordinator_groups_test");
}

TEST(GroupsChaos, SitesDieAndComeBack) {
  const uint64_t first = TestSeed(500);
  for (uint64_t seed = first; seed < first + 12; ++seed) {
    SCOPED_TRACE(Trace(seed));
    SeededRandom random({.seed = seed, .label = "chaos"});
    SimulationOptions options = Twelve();
    options.sites = 8 + static_cast<uint32_t>(seed % 5);
    options.seed = seed;
    options.repeat = 0.1;
    Simulation simulation(options);
    simulation.ConnectAll();
    simulation.Submit();
    simulation.RunWhileSitesDie(random, 2, 10'000);
    const v1::JobReport report = simulation.report();
    EXPECT_EQ(report.status(), v1::COMPLETE) << report.reason() << "\n"
                                             << absl::StrJoin(simulation.notes(), "\n");
    EXPECT_THAT(simulation.wrong_sums(), IsEmpty());
    for (const v1::RoundReport& round : report.round_reports()) {
      EXPECT_GE(round.participants_size(), 3);
      EXPECT_GE(round.groups(), 1u);
    }
    EXPECT_EQ(Comparable(*simulation.Folded(), JobId(1)), Comparable(simulation.core(), JobId(1)));
  }
}

TEST(GroupsChaos, TheCoordinatorIsKilledAtAnyEvent) {
  const uint64_t first = TestSeed(600);
  for (uint64_t seed = first; seed < first + 15; ++seed) {
    SCOPED_TRACE(Trace(seed));
    SeededRandom random({.seed = seed, .label = "chaos"});
    SimulationOptions options = Twelve();
    options.sites = 8;
    options.seed = seed;
    options.rounds = 2;
    Simulation simulation(options);
    simulation.ConnectAll();
    simulation.Submit();
    for (int restarts = 0; restarts < 3; ++restarts) {
      uint64_t steps = 5 + random.Below(180);
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
    EXPECT_EQ(report.rounds_completed(), 2u);
    EXPECT_THAT(simulation.wrong_sums(), IsEmpty());
    EXPECT_THAT(report.dropped(), IsEmpty());
    for (const v1::RoundReport& round : report.round_reports()) EXPECT_EQ(round.attempts(), 1u);
  }
}

}  // namespace
}  // namespace atl::coordinator
