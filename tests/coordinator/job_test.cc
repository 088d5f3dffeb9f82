// Jobs and rounds over scripted events.

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "comms/sitelink/messages.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/coordinator/simulation.h"

namespace atl::coordinator {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

bool IsStep(const v1::CoordinatorMessage& message, v1::Step step, uint32_t round) {
  return message.has_secagg() && message.secagg().step() == step &&
         message.secagg().round() == round;
}

// The site dies at its first message of this kind.
Director DiesAt(SiteId victim, v1::Step step, uint32_t round, Fate fate = Fate::kDie) {
  return [=](SiteId site, const v1::CoordinatorMessage& message) {
    return site == victim && IsStep(message, step, round) ? fate : Fate::kAnswer;
  };
}

TEST(Job, RunsAllRoundsWithExactSums) {
  for (const bool masked : {true, false}) {
    Simulation simulation({.sites = 4, .masked = masked});
    simulation.ConnectAll();
    simulation.Submit();
    simulation.Run();
    const v1::JobReport report = simulation.report();
    EXPECT_EQ(report.status(), v1::COMPLETE) << report.reason();
    EXPECT_EQ(report.rounds_completed(), 3u);
    EXPECT_THAT(simulation.wrong_sums(), IsEmpty());
    EXPECT_EQ(simulation.sums(), 3u);
    ASSERT_EQ(report.round_reports_size(), 3);
    for (const v1::RoundReport& round : report.round_reports()) {
      EXPECT_THAT(round.participants(), ElementsAre(1, 2, 3, 4));
      EXPECT_THAT(round.dropped(), IsEmpty());
      EXPECT_EQ(round.attempts(), 1u);
      EXPECT_EQ(round.examples(), 100u * (1 + 2 + 3 + 4) + 4);
      EXPECT_GT(round.bytes_up(), 0u);
      EXPECT_GT(round.bytes_down(), 0u);
    }
    EXPECT_EQ(report.threshold(), masked ? 3u : 0u);
    EXPECT_EQ(simulation.sent().at("RESULT"), 12);
    EXPECT_EQ(simulation.sent().at("ended"), 4);
    for (const v1::RoundReport& round : report.round_reports()) {
      EXPECT_EQ(round.spot_checked(), 4u);
    }
    EXPECT_EQ(simulation.kept_slots(), 0u);
    EXPECT_EQ(simulation.staged(), 0u);
    EXPECT_EQ(simulation.sent().contains("READY"), false);
    EXPECT_EQ(simulation.sent().contains("COHORT"), masked);
  }
}

TEST(Job, MaskTimesAreTheLargestOfTheRound) {
  Simulation simulation({.sites = 4});
  const auto report = [&](SiteId site, uint32_t round, double hidden_s, double paid_s) {
    PeerSaid said{.site = site, .message = {}};
    v1::SiteProgress& progress = *said.message.mutable_progress();
    progress.set_job_id(1);
    progress.set_round(round);
    progress.set_phase("upload");
    progress.set_mask_hidden_s(hidden_s);
    progress.set_mask_paid_s(paid_s);
    simulation.Post(said);
  };
  simulation.director = [&](SiteId site, const v1::CoordinatorMessage& message) {
    if (IsStep(message, v1::COHORT, 1)) {
      report(site, 1, site == SiteId(2) ? 3.5 : 1.0, site == SiteId(3) ? 0.5 : 0.25);
      report(site, 2, 100, 100);        // of a round that does not run
      report(SiteId(99), 1, 100, 100);  // of nobody
    }
    return Fate::kAnswer;
  };
  simulation.ConnectAll();
  simulation.Submit();
  simulation.Run();
  const v1::JobReport done = simulation.report();
  ASSERT_EQ(done.round_reports_size(), 3);
  EXPECT_EQ(done.round_reports(0).mask_hidden_s(), 3.5);
  EXPECT_EQ(done.round_reports(0).mask_paid_s(), 0.5);
  EXPECT_EQ(done.round_reports(1).mask_hidden_s(), 0);
  EXPECT_EQ(done.round_reports(1).mask_paid_s(), 0);
}

TEST(Job, PreKeysAreMadeAhead) {
  Simulation simulation({.sites = 3, .rounds = 5, .slots_ahead = 3});
  simulation.ConnectAll();
  simulation.Submit();
  simulation.Run([&] { return simulation.sent().contains("MANIFEST"); });
  // Three before the first round began (the fourth at once when the first was taken), and never
  // more than rounds.
  EXPECT_GE(simulation.sent().at("REQUEST_PRE_KEYS"), 9);
  simulation.Run();
  EXPECT_EQ(simulation.report().status(), v1::COMPLETE);
  EXPECT_EQ(simulation.sent().at("REQUEST_PRE_KEYS"), 15);
}

TEST(Job, WaitsForItsSitesAndSaysSo) {
  Simulation simulation({.sites = 4});
  for (uint32_t id : {1, 2}) simulation.Connect(SiteId(id));
  simulation.Submit();
  simulation.Run(nullptr, 10'000);
  EXPECT_EQ(simulation.report().status(), v1::QUEUED);
  EXPECT_THAT(simulation.report().reason(), HasSubstr("waits for 4 sites"));
  for (uint32_t id : {3, 4}) simulation.Connect(SiteId(id));
  simulation.Run();
  EXPECT_EQ(simulation.report().status(), v1::COMPLETE);
}

TEST(Job, SecondJobWaitsForTheFirst) {
  Simulation simulation({.sites = 3});
  simulation.recipe().resources.cpus = 4;
  simulation.ConnectAll();
  simulation.Submit();
  simulation.Run([&] { return simulation.sent().contains("MANIFEST"); });
  JobSubmitted second;
  second.job = JobId(2);
  second.recipe_yaml =
      "name: x\nrun: y\nresources: {cpus: 4, memory: 1}\nparameters: {site: {count: 3}}\n";
  second.parameters = 3;
  simulation.Post(second);
  simulation.Run();
  EXPECT_EQ(simulation.report().status(), v1::COMPLETE);
  EXPECT_EQ(simulation.core().Report(JobId(2))->status(), v1::QUEUED);
  Effects effects;
  const std::vector<Event> due = simulation.core().Due(simulation.now_ms(), effects);
  ASSERT_EQ(due.size(), 1u);
  EXPECT_EQ(std::get<JobPlaced>(due[0]).job, JobId(2));
}

TEST(Job, FailsWithTheReasonWhenTooManyRefuse) {
  Simulation simulation({.sites = 3});
  simulation.refusals[SiteId(2)] = "memory of 2 GB: this site offers 1";
  simulation.ConnectAll();
  simulation.Submit();
  simulation.Run();
  EXPECT_EQ(simulation.report().status(), v1::FAILED);
  EXPECT_THAT(simulation.report().reason(), HasSubstr("2 of at least 3 sites"));
  EXPECT_THAT(simulation.report().reason(), HasSubstr("site-2"));
  EXPECT_THAT(simulation.report().reason(), HasSubstr("this site offers 1"));
}

TEST(Job, GoesOnWhenFewRefuse) {
  Simulation simulation({.sites = 4});
  simulation.refusals[SiteId(3)] = "not at night";
  simulation.ConnectAll();
  simulation.Submit();
  simulation.Run();
  EXPECT_EQ(simulation.report().status(), v1::COMPLETE);
  EXPECT_THAT(simulation.report().round_reports(0).participants(), ElementsAre(1, 2, 4));
  EXPECT_THAT(simulation.report().dropped(), ElementsAre(3));
  EXPECT_THAT(simulation.wrong_sums(), IsEmpty());
}

// One of four (t = 3) may go at any step: the round's sum is exact, over those who are left.
TEST(Job, OneSiteDiesAtEachStep) {
  for (const v1::Step step :
       {v1::REQUEST_PRE_KEYS, v1::PRE_KEY_SET, v1::SHARE_DELIVERY, v1::MANIFEST, v1::COHORT,
        v1::SURVIVORS, v1::UNMASK_REQUEST, v1::RESULT}) {
    for (const Fate fate : {Fate::kDie, Fate::kAnswerAndDie}) {
      SCOPED_TRACE(
          absl::StrCat(v1::Step_Name(step), fate == Fate::kDie ? " unanswered" : " answered"));
      Simulation simulation({.sites = 4, .rounds = 3, .slots_ahead = 1});
      const bool is_set_up = step <= v1::SHARE_DELIVERY;
      simulation.director = DiesAt(SiteId(2), step, is_set_up ? 0 : 2, fate);
      simulation.ConnectAll();
      simulation.Submit();
      simulation.Run();
      const v1::JobReport report = simulation.report();
      EXPECT_EQ(report.status(), v1::COMPLETE) << report.reason();
      EXPECT_THAT(simulation.wrong_sums(), IsEmpty());
      EXPECT_THAT(report.dropped(), ElementsAre(2));
      EXPECT_THAT(simulation.notes(), Contains("site-2 dropped: connection closed"));
      EXPECT_THAT(report.round_reports(2).participants(), ElementsAre(1, 3, 4));
      // Whoever's vector came is in the sum, also when the site has gone meanwhile.
      const bool counted = step >= v1::SURVIVORS;
      if (!is_set_up && counted) {
        EXPECT_THAT(report.round_reports(1).participants(), ElementsAre(1, 2, 3, 4));
      } else if (!is_set_up) {
        EXPECT_THAT(report.round_reports(1).dropped(), ElementsAre(2));
      }
      EXPECT_THAT(simulation.notes(), Not(Contains(HasSubstr("aborted"))));
    }
  }
}

TEST(Job, OneSiteDiesWithoutSecureAggregation) {
  Simulation simulation({.sites = 4, .masked = false});
  simulation.director = DiesAt(SiteId(4), v1::MANIFEST, 2);
  simulation.ConnectAll();
  simulation.Submit();
  simulation.Run();
  EXPECT_EQ(simulation.report().status(), v1::COMPLETE);
  EXPECT_THAT(simulation.report().round_reports(1).participants(), ElementsAre(1, 2, 3));
  EXPECT_THAT(simulation.report().round_reports(1).dropped(), ElementsAre(4));
  EXPECT_THAT(simulation.wrong_sums(), IsEmpty());
}

// Two of five (t = 4) are one too many for an attempt: it is aborted, its slot burnt, and the round
// made by the three.
TEST(Job, AnAbortedAttemptIsMadeAgainInAnotherSlot) {
  Simulation simulation({.sites = 5, .rounds = 2});
  simulation.director = [](SiteId site, const v1::CoordinatorMessage& message) {
    return site.value() <= 2 && IsStep(message, v1::COHORT, 1) ? Fate::kDie : Fate::kAnswer;
  };
  simulation.ConnectAll();
  simulation.Submit();
  simulation.Run();
  const v1::JobReport report = simulation.report();
  EXPECT_EQ(report.status(), v1::COMPLETE) << report.reason();
  EXPECT_EQ(report.round_reports(0).attempts(), 2u);
  EXPECT_THAT(report.round_reports(0).participants(), ElementsAre(3, 4, 5));
  EXPECT_THAT(report.round_reports(0).dropped(), ElementsAre(1, 2));
  EXPECT_THAT(simulation.notes(),
              Contains(HasSubstr("round 1 aborted: 3 sites are left, 4 are needed")));
  EXPECT_THAT(simulation.wrong_sums(), IsEmpty());
}

TEST(Job, FailsUnderTheMinimumCohortWithTheReason) {
  Simulation simulation({.sites = 4});
  simulation.director = [](SiteId site, const v1::CoordinatorMessage& message) {
    return site.value() >= 3 && IsStep(message, v1::MANIFEST, 2) ? Fate::kDie : Fate::kAnswer;
  };
  simulation.ConnectAll();
  simulation.Submit();
  simulation.Run();
  const v1::JobReport report = simulation.report();
  EXPECT_EQ(report.status(), v1::FAILED);
  EXPECT_EQ(report.rounds_completed(), 1u);
  EXPECT_EQ(report.reason(),
            "2 of at least 3 sites left after 15 s: site-3 dropped in round 2 (connection closed), "
            "site-4 dropped in "
            "round 2 (connection closed)");
  EXPECT_LE(simulation.now_ms(), 30'000);
  EXPECT_EQ(simulation.sent().at("ended"), 4);
}

TEST(Job, ASiteThatComesBackInTimeSavesTheJob) {
  Simulation simulation({.sites = 3});
  bool died = false;
  simulation.director = [&](SiteId site, const v1::CoordinatorMessage& message) {
    if (died || site != SiteId(1) || !IsStep(message, v1::MANIFEST, 2)) return Fate::kAnswer;
    died = true;
    return Fate::kDie;
  };
  simulation.ConnectAll();
  simulation.Submit();
  simulation.Run([&] {
    return !simulation.statuses().empty() &&
           absl::StrContains(simulation.statuses().back().reason(), "waits for sites");
  });
  simulation.Connect(SiteId(1));
  simulation.Run();
  EXPECT_EQ(simulation.report().status(), v1::COMPLETE) << simulation.report().reason();
  EXPECT_THAT(simulation.notes(), Contains("site-1 is back"));
  EXPECT_THAT(simulation.wrong_sums(), IsEmpty());
  EXPECT_THAT(simulation.report().dropped(), IsEmpty());
}

// Sites that signed a cohort refuse one that differs by a single site: they are not asked.
class AfterSurvivorsWereSigned : public testing::Test {
 protected:
  // Two of so many sites die as they are asked to sign; then `back` return.
  void Run(uint32_t sites, const std::vector<uint32_t>& back) {
    simulation_.emplace(SimulationOptions{.sites = sites, .rounds = 2});
    simulation_->director = [this](SiteId site, const v1::CoordinatorMessage& message) {
      if (dead_ == 2 || site.value() > 2 || !IsStep(message, v1::SURVIVORS, 1))
        return Fate::kAnswer;
      ++dead_;
      return Fate::kDie;
    };
    simulation_->ConnectAll();
    simulation_->Submit();
    simulation_->Run([this] { return HasNote("round 1 aborted"); });
    for (uint32_t id : back) simulation_->Connect(SiteId(id));
  }
  bool HasNote(const std::string& text) const {
    return std::any_of(simulation_->notes().begin(), simulation_->notes().end(),
                       [&](const std::string& note) { return absl::StrContains(note, text); });
  }

  std::optional<Simulation> simulation_;
  int dead_ = 0;
};

TEST_F(AfterSurvivorsWereSigned, TheOneThatIsMissingIsWaitedFor) {
  Run(4, {1});
  simulation_->Run(nullptr, 8'000);
  EXPECT_EQ(simulation_->report().status(), v1::RUNNING);
  EXPECT_THAT(simulation_->report().reason(),
              HasSubstr("waits for sites: the sites that are left"));
  simulation_->Connect(SiteId(2));
  simulation_->Run();
  const v1::JobReport report = simulation_->report();
  EXPECT_EQ(report.status(), v1::COMPLETE) << report.reason();
  EXPECT_THAT(report.round_reports(0).participants(), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(simulation_->wrong_sums(), IsEmpty());
}

TEST_F(AfterSurvivorsWereSigned, WithoutItTheJobFailsWithTheReason) {
  Run(4, {1});
  simulation_->Run();
  const v1::JobReport report = simulation_->report();
  EXPECT_EQ(report.status(), v1::FAILED);
  EXPECT_THAT(report.reason(), HasSubstr("differ by one from those of an attempt at round 1"));
  EXPECT_THAT(report.reason(), HasSubstr("site-2"));
  EXPECT_LE(simulation_->now_ms(), 60'000);
}

TEST_F(AfterSurvivorsWereSigned, TwoFewerAreAnotherCohort) {
  Run(5, {});
  simulation_->Run();
  const v1::JobReport report = simulation_->report();
  EXPECT_EQ(report.status(), v1::COMPLETE) << report.reason();
  EXPECT_THAT(report.round_reports(0).participants(), ElementsAre(3, 4, 5));
  EXPECT_THAT(simulation_->wrong_sums(), IsEmpty());
}

TEST(Job, SitesThatRefuseACohortEndTheJobWithTheirReason) {
  Simulation simulation({.sites = 4, .rounds = 4, .cohorts = {.distance_min = 3}});
  simulation.director = [&](SiteId site, const v1::CoordinatorMessage& message) {
    return site == SiteId(4) && IsStep(message, v1::MANIFEST, 2) ? Fate::kDie : Fate::kAnswer;
  };
  simulation.ConnectAll();
  simulation.Submit();
  simulation.Run();
  const v1::JobReport report = simulation.report();
  EXPECT_EQ(report.status(), v1::FAILED);
  EXPECT_EQ(report.rounds_completed(), 1u);
  EXPECT_THAT(report.reason(), HasSubstr("of at least 3 sites left: site-1 left (U3: over the same "
                                         "data this site has signed a cohort that differs by 1"));
  EXPECT_EQ(simulation.sent().at("SURVIVORS"), 4 + 3);  // each asked once
}

// Within the grace nothing is lost: the site is asked again and the very same attempt goes on.
TEST(Job, AShortInterruptionAtEachStepCostsNothing) {
  for (const v1::Step step : {v1::REQUEST_PRE_KEYS, v1::PRE_KEY_SET, v1::SHARE_DELIVERY,
                              v1::MANIFEST, v1::COHORT, v1::SURVIVORS, v1::UNMASK_REQUEST}) {
    SCOPED_TRACE(v1::Step_Name(step));
    Simulation simulation({.sites = 3, .rounds = 2});
    int64_t died_ms = -1;
    simulation.director = [&](SiteId site, const v1::CoordinatorMessage& message) {
      if (died_ms >= 0 || site != SiteId(3) || !message.has_secagg() ||
          message.secagg().step() != step) {
        return Fate::kAnswer;
      }
      died_ms = simulation.now_ms();
      return Fate::kDie;
    };
    simulation.ConnectAll();
    simulation.Submit();
    simulation.Run([&] { return died_ms >= 0 && simulation.now_ms() > died_ms + 2'000; });
    simulation.Connect(SiteId(3));
    simulation.Run();
    EXPECT_EQ(simulation.report().status(), v1::COMPLETE) << simulation.report().reason();
    EXPECT_THAT(simulation.wrong_sums(), IsEmpty());
    const v1::JobReport final_report = simulation.report();
    for (const v1::RoundReport& round : final_report.round_reports()) {
      EXPECT_EQ(round.attempts(), 1u);
      EXPECT_THAT(round.participants(), ElementsAre(1, 2, 3));
    }
  }
}

TEST(Job, AStragglerIsWaitedForWhileItShowsProgress) {
  Simulation simulation({.sites = 4, .rounds = 1});
  bool silent = false;
  simulation.director = [&](SiteId site, const v1::CoordinatorMessage& message) {
    if (site != SiteId(2) || !IsStep(message, v1::MANIFEST, 1) || silent) return Fate::kAnswer;
    silent = true;
    return Fate::kIgnore;
  };
  simulation.ConnectAll();
  simulation.Submit();
  int64_t last_ms = 0;
  // Ten minutes of progress, ten times the timeout.
  simulation.Run(
      [&] {
        if (simulation.now_ms() - last_ms > 20'000) {
          last_ms = simulation.now_ms();
          v1::SiteMessage progress;
          progress.mutable_progress()->set_job_id(1);
          progress.mutable_progress()->set_phase("train");
          simulation.Post(PeerSaid{SiteId(2), progress});
        }
        return false;
      },
      600'000);
  EXPECT_EQ(simulation.report().status(), v1::RUNNING);
  EXPECT_THAT(simulation.report().dropped(), IsEmpty());
  // Then it falls silent.
  simulation.Run();
  EXPECT_EQ(simulation.report().status(), v1::COMPLETE);
  EXPECT_THAT(simulation.report().round_reports(0).dropped(), ElementsAre(2));
  EXPECT_THAT(simulation.notes(), Contains(HasSubstr("site-2 dropped: no progress for 60 s")));
}

TEST(Job, CancelledAtAnyTime) {
  for (const std::string at :
       {"offer", "PRE_KEY_SET", "MANIFEST", "COHORT", "UNMASK_REQUEST", "RESULT"}) {
    SCOPED_TRACE(at);
    Simulation simulation({.sites = 3});
    simulation.ConnectAll();
    simulation.Submit();
    simulation.Run([&] { return simulation.sent().contains(at); });
    simulation.Post(CancelRequested{JobId(1), "enough"});
    simulation.Run();
    EXPECT_EQ(simulation.report().status(), v1::CANCELLED);
    EXPECT_EQ(simulation.report().reason(), "enough");
    EXPECT_EQ(simulation.sent().at("ended"), 3);
  }
}

TEST(Job, ASiteThatCannotGoOnIsLeftOutForGood) {
  Simulation simulation({.sites = 4});
  simulation.ConnectAll();
  simulation.Submit();
  simulation.Run([&] { return simulation.sent().contains("MANIFEST"); });
  v1::SiteMessage failure;
  failure.mutable_failure()->set_job_id(1);
  failure.mutable_failure()->set_reason("the trainer failed 3 times");
  simulation.Post(PeerSaid{SiteId(4), failure});
  simulation.Run();
  EXPECT_EQ(simulation.report().status(), v1::COMPLETE);
  EXPECT_THAT(simulation.report().dropped(), ElementsAre(4));
  EXPECT_THAT(simulation.notes(), Contains("site-4 dropped: the trainer failed 3 times"));
}

TEST(Job, AMessageThatDoesNotVerifyDropsItsSender) {
  Simulation simulation({.sites = 4});
  simulation.ConnectAll();
  simulation.Submit();
  simulation.Run([&] { return simulation.sent().contains("MANIFEST"); });
  v1::SiteMessage message;
  message.mutable_secagg()->set_job_id(1);
  message.mutable_secagg()->set_slot(1);
  message.mutable_secagg()->set_round(1);
  message.mutable_secagg()->set_step(v1::READY);
  const Bytes forged = secagg::Encode(secagg::Ready{.id = SiteId(2)});
  message.mutable_secagg()->set_payload(forged.data(), forged.size());
  simulation.Post(PeerSaid{SiteId(2), message});  // site 2's own, badly signed
  simulation.Run();
  EXPECT_EQ(simulation.report().status(), v1::COMPLETE);
  EXPECT_THAT(simulation.report().dropped(), ElementsAre(2));
  EXPECT_THAT(simulation.notes(), Contains(HasSubstr("site-2 dropped: READY refused")));
  EXPECT_THAT(simulation.wrong_sums(), IsEmpty());
}

TEST(Job, AFailedSumFailsTheJob) {
  Simulation simulation({.sites = 3});
  simulation.ConnectAll();
  simulation.Submit();
  simulation.Run([&] { return simulation.sent().contains("UNMASK_REQUEST"); });
  simulation.Post(SumFailed{JobId(1), RoundId(1), SlotId(1), "no space left on device"});
  simulation.Run();
  EXPECT_EQ(simulation.report().status(), v1::FAILED);
  EXPECT_EQ(simulation.report().reason(),
            "the sum of round 1 could not be made: no space left on device");
}

// The next round begins at once; what the last one is checked against stays.
TEST(Job, AResultIsKeptUntilEverySiteHasCheckedIt) {
  Simulation simulation({.sites = 4});
  bool silent = true;
  simulation.director = [&](SiteId site, const v1::CoordinatorMessage& message) {
    return silent && site == SiteId(2) && IsStep(message, v1::RESULT, 1) ? Fate::kIgnore
                                                                         : Fate::kAnswer;
  };
  simulation.ConnectAll();
  simulation.Submit();
  simulation.Run([&] {
    return simulation.sent().contains("MANIFEST") && simulation.report().rounds_completed() == 2;
  });
  EXPECT_EQ(simulation.report().status(), v1::RUNNING);
  EXPECT_GE(simulation.kept_slots(), 1u);
  EXPECT_GE(simulation.staged(), 4u);
  EXPECT_EQ(simulation.report().round_reports(0).spot_checked(), 3u);
  // It is told again when it comes back.
  silent = false;
  simulation.Kill(SiteId(2));
  simulation.Run([&] { return !simulation.core().Report(JobId(1)).ok(); }, 1'000);
  simulation.Connect(SiteId(2));
  simulation.Run();
  EXPECT_EQ(simulation.report().status(), v1::COMPLETE);
  EXPECT_EQ(simulation.report().round_reports(0).spot_checked(), 4u);
  EXPECT_EQ(simulation.kept_slots(), 0u);
  EXPECT_EQ(simulation.staged(), 0u);
  EXPECT_THAT(simulation.wrong_sums(), IsEmpty());
}

TEST(Job, IsCompleteOnlyWhenTheLastResultWasChecked) {
  Simulation simulation({.sites = 3, .rounds = 1});
  bool told = false;
  simulation.director = [&](SiteId site, const v1::CoordinatorMessage& message) {
    if (site != SiteId(2) || !IsStep(message, v1::RESULT, 1)) return Fate::kAnswer;
    told = true;
    return Fate::kIgnore;
  };
  simulation.ConnectAll();
  simulation.Submit();
  simulation.Run([&] { return told; });
  simulation.Run(nullptr, 10'000);
  EXPECT_EQ(simulation.report().status(), v1::RUNNING);
  EXPECT_EQ(simulation.report().reason(), "waits for the sites' checks of the last sum");
  EXPECT_FALSE(simulation.sent().contains("ended"));
  // Its sites are still its own.
  JobSubmitted second;
  second.job = JobId(2);
  second.recipe_yaml =
      "name: x\nrun: y\nresources: {cpus: 4, memory: 1}\nparameters: {site: {count: 3}}\n";
  second.parameters = 3;
  simulation.Post(second);
  simulation.Run(nullptr, 1'000);
  EXPECT_EQ(simulation.core().Report(JobId(2))->status(), v1::QUEUED);
  // The wait is bounded.
  simulation.Run();
  EXPECT_EQ(simulation.report().status(), v1::COMPLETE);
  EXPECT_LE(simulation.now_ms(), 75'000);
  EXPECT_THAT(simulation.notes(),
              Contains(HasSubstr("the result of round 1 is not waited for any more: no sign of "
                                 "life for 60 s from site-2")));
  EXPECT_EQ(simulation.kept_slots(), 0u);
  EXPECT_EQ(simulation.staged(), 0u);
}

// The site's own reason, and the others go on.
TEST(Job, ASiteThatFindsAWrongSumSaysSoAndIsGone) {
  Simulation simulation({.sites = 4, .rounds = 1});
  simulation.director = [&](SiteId site, const v1::CoordinatorMessage& message) {
    if (site != SiteId(3) || !IsStep(message, v1::RESULT, 1)) return Fate::kAnswer;
    v1::SiteMessage failure;
    failure.mutable_failure()->set_job_id(1);
    failure.mutable_failure()->set_reason("round 1: spot check: chunk 4: wrong");
    simulation.Post(PeerSaid{SiteId(3), failure});
    return Fate::kIgnore;
  };
  simulation.ConnectAll();
  simulation.Submit();
  simulation.Run();
  EXPECT_EQ(simulation.report().status(), v1::COMPLETE);
  EXPECT_THAT(simulation.report().dropped(), ElementsAre(3));
  EXPECT_THAT(simulation.notes(), Contains("site-3 dropped: round 1: spot check: chunk 4: wrong"));
  EXPECT_EQ(simulation.report().round_reports(0).spot_checked(), 3u);
}

// Between the sum and the checks: the result is said again, with the secrets that the log does not
// hold.
TEST(Job, ACoordinatorThatRestartsBetweenSumAndChecksSaysTheResultAgain) {
  for (const int rounds : {1, 3}) {
    Simulation simulation({.sites = 4, .rounds = rounds});
    bool silent = true;
    simulation.director = [&](SiteId, const v1::CoordinatorMessage& message) {
      return silent && IsStep(message, v1::RESULT, 1) ? Fate::kIgnore : Fate::kAnswer;
    };
    simulation.ConnectAll();
    simulation.Submit();
    simulation.Run([&] {
      return simulation.sent().contains("MANIFEST") && simulation.report().rounds_completed() == 1;
    });
    EXPECT_EQ(simulation.kept_slots(), 1u);
    EXPECT_EQ(simulation.report().status(), v1::RUNNING);
    simulation.RestartCoordinator();
    silent = false;
    simulation.ConnectAll();
    simulation.Run();
    EXPECT_EQ(simulation.report().status(), v1::COMPLETE) << simulation.report().reason();
    EXPECT_THAT(simulation.wrong_sums(), IsEmpty());
    EXPECT_EQ(simulation.sums(), static_cast<uint32_t>(rounds));
    EXPECT_EQ(simulation.report().round_reports(0).spot_checked(), 4u);
    EXPECT_EQ(simulation.kept_slots(), 0u);
    EXPECT_EQ(simulation.staged(), 0u);
  }
}

// The scale of each round is that of the sum before it, whenever the coordinator was killed.
TEST(Job, TheScaleFromTheLastAggregateOutlivesTheCoordinator) {
  for (int restart_at = 0; restart_at <= 3; ++restart_at) {  // rounds that are over; 0: never
    Simulation simulation({.sites = 4, .rounds = 4});
    simulation.recipe().secure_aggregation.scale = "last_aggregate";
    std::map<uint32_t, std::set<double>> scales;
    kernels::Segment update;
    simulation.director = [&](SiteId, const v1::CoordinatorMessage& message) {
      if (message.has_secagg() && message.secagg().step() == v1::MANIFEST) {
        const auto manifest =
            secagg::Decode<secagg::Manifest>(AsBytes(message.secagg().payload())).value();
        update = manifest.segments[sitelink::kUpdateSegment];
        scales[manifest.round.value()].insert(update.scale);
      }
      return Fate::kAnswer;
    };
    simulation.ConnectAll();
    simulation.Submit();
    if (restart_at > 0) {
      simulation.Run([&] {
        return simulation.sent().contains("MANIFEST") &&
               simulation.report().rounds_completed() == static_cast<uint32_t>(restart_at);
      });
      simulation.RestartCoordinator();
      simulation.ConnectAll();
    }
    simulation.Run();
    ASSERT_EQ(simulation.report().status(), v1::COMPLETE) << simulation.report().reason();
    ASSERT_EQ(scales.size(), 4u);
    for (uint32_t round = 1; round <= 4; ++round) {
      const double range = round == 1 ? simulation.recipe().secure_aggregation.clip_norm_l2
                                      : Simulation::NextRangeOf(RoundId(round - 1));
      EXPECT_EQ(scales[round], std::set<double>{strategy::ScaleOf(update, range)})
          << "round " << round << ", killed after " << restart_at;
    }
  }
}

TEST(Job, MoreChunksThanThereAreWereNotChecked) {
  Simulation simulation({.sites = 4});
  simulation.director = [&](SiteId site, const v1::CoordinatorMessage& message) {
    if (site != SiteId(2) || !IsStep(message, v1::RESULT, 1)) return Fate::kAnswer;
    v1::SiteMessage answer;
    answer.mutable_secagg()->set_job_id(1);
    answer.mutable_secagg()->set_slot(message.secagg().slot());
    answer.mutable_secagg()->set_round(1);
    answer.mutable_secagg()->set_step(v1::RESULT_CHECKED);
    const Bytes count = ByteWriter().U32(3).bytes();  // the vector has two
    answer.mutable_secagg()->set_payload(count.data(), count.size());
    simulation.Post(PeerSaid{SiteId(2), answer});
    return Fate::kIgnore;
  };
  simulation.ConnectAll();
  simulation.Submit();
  simulation.Run();
  EXPECT_EQ(simulation.report().status(), v1::COMPLETE);
  EXPECT_THAT(simulation.notes(), Contains(HasSubstr("RESULT_CHECKED refused: 3 chunks")));
  EXPECT_EQ(simulation.report().round_reports(0).spot_checked(), 3u);
}

TEST(Job, CompletesWithTheLastEvaluation) {
  Simulation simulation({.sites = 3, .evaluate = true});
  simulation.ConnectAll();
  simulation.Connect(kEvaluator);
  simulation.Submit();
  simulation.Run();
  EXPECT_EQ(simulation.report().status(), v1::COMPLETE);
  const v1::JobReport final_report = simulation.report();
  for (const v1::RoundReport& round : final_report.round_reports()) {
    EXPECT_TRUE(round.has_test());
    EXPECT_DOUBLE_EQ(round.test_accuracy(), (70.0 + round.round()) / 100);
  }
}

TEST(Job, AnEvaluatorThatIsGoneOrSilentDoesNotKeepTheJob) {
  for (const Fate fate : {Fate::kDie, Fate::kIgnore}) {
    Simulation simulation({.sites = 3, .evaluate = true});
    bool gone = false;
    simulation.director = [&](SiteId site, const v1::CoordinatorMessage& message) {
      if (site != kEvaluator || message.evaluate().round() < 3) return Fate::kAnswer;
      if (fate == Fate::kDie && !std::exchange(gone, true)) simulation.Kill(kEvaluator);
      return Fate::kIgnore;
    };
    simulation.ConnectAll();
    simulation.Connect(kEvaluator);
    simulation.Submit();
    simulation.Run();
    EXPECT_EQ(simulation.report().status(), v1::COMPLETE);
    EXPECT_TRUE(simulation.report().round_reports(0).has_test());
    EXPECT_FALSE(simulation.report().round_reports(2).has_test());
    EXPECT_THAT(simulation.notes(), Contains(HasSubstr("models are not evaluated")));
  }
}

}  // namespace
}  // namespace atl::coordinator
