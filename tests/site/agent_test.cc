// Connecting, deciding on offers, keeping the trainer alive, evaluating.
#include <sys/stat.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/site/workbench.h"

namespace atl::site {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(AgentTest, AnotherRosterIsTheEnd) {
  Workbench bench;
  Digest other{1, 2, 3};
  FakeCoordinator stranger(other);
  bench.options.coordinator = stranger.address();
  auto agent = Agent::Create(bench.options, bench.launcher, RealClock());
  ASSERT_TRUE(agent.ok()) << agent.status();
  const absl::Status status = (*agent)->Run();
  EXPECT_THAT(std::string(status.message()), HasSubstr("roster"));
  EXPECT_EQ(stranger.hellos(), 0u);
}

TEST(AgentTest, AnotherProtocolVersionIsTheEnd) {
  Workbench bench;
  bench.coordinator->protocol_version = 9;
  auto agent = Agent::Create(bench.options, bench.launcher, RealClock());
  ASSERT_TRUE(agent.ok()) << agent.status();
  EXPECT_THAT(std::string((*agent)->Run().message()), HasSubstr("version 9"));
}

TEST(AgentTest, RefusesAnIdentityThatOthersMayRead) {
  Workbench bench;
  ASSERT_EQ(chmod(bench.options.identity_file.c_str(), 0640), 0);
  const auto agent = Agent::Create(bench.options, bench.launcher, RealClock());
  EXPECT_TRUE(absl::IsPermissionDenied(agent.status())) << agent.status();
  EXPECT_THAT(std::string(agent.status().message()), HasSubstr("chmod 600"));
}

TEST(AgentTest, RefusesAnIdentityThatIsNotTheRosters) {
  Workbench bench;
  bench.options.site_id = 2;
  const auto agent = Agent::Create(bench.options, bench.launcher, RealClock());
  EXPECT_TRUE(absl::IsFailedPrecondition(agent.status())) << agent.status();
  bench.options.site_id = 77;
  EXPECT_THAT(
      std::string(Agent::Create(bench.options, bench.launcher, RealClock()).status().message()),
      HasSubstr("site_id 77"));
}

TEST(AgentTest, RefusesARosterOfAnotherOperator) {
  Workbench bench;
  bench.options.operator_key = std::string(64, 'a');
  EXPECT_FALSE(Agent::Create(bench.options, bench.launcher, RealClock()).ok());
  bench.options.operator_key = "abc";
  EXPECT_THAT(
      std::string(Agent::Create(bench.options, bench.launcher, RealClock()).status().message()),
      HasSubstr("operator_key"));
}

TEST(AgentTest, TwoAgentsDoNotShareADataFolder) {
  Workbench bench;
  bench.StartAgent();
  EXPECT_TRUE(absl::IsFailedPrecondition(
      Agent::Create(bench.options, bench.launcher, RealClock()).status()));
}

TEST(AgentTest, WaitsForACoordinatorThatComesLater) {
  Workbench bench;
  const std::string address = bench.coordinator->address();
  bench.options.coordinator = "127.0.0.1:9";  // discard: nobody listens
  auto agent = Agent::Create(bench.options, bench.launcher, RealClock());
  ASSERT_TRUE(agent.ok());
  std::thread stop([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    (*agent)->RequestStop();
  });
  EXPECT_TRUE((*agent)->Run().ok());
  stop.join();
}

TEST(OfferTest, DeclinesWhatItDoesNotAllowOrHave) {
  {
    Workbench bench({.masked = false});
    bench.options.floors.allow_plain = false;
    bench.StartAgent();
    const v1::JobDecision decision = bench.Offer();
    EXPECT_FALSE(decision.accepted());
    EXPECT_THAT(decision.reason(), HasSubstr("allow_plain"));
  }
  {
    Workbench bench;
    bench.options.floors.cohort_min = 5;
    bench.StartAgent();
    EXPECT_THAT(bench.Offer().reason(), HasSubstr("at least 5"));
  }
  {
    Workbench bench;
    bench.options.cpus = 0.5;
    bench.StartAgent();
    EXPECT_THAT(bench.Offer().reason(), HasSubstr("offers 0.5"));
  }
  {
    Workbench bench;
    bench.launcher.check = absl::NotFoundError("mpirun is not in PATH: apt install openmpi-bin");
    bench.StartAgent();
    EXPECT_THAT(bench.Offer().reason(), HasSubstr("apt install openmpi-bin"));
  }
  {
    Workbench bench;
    bench.recipe += "  train: {lr: fast}\n";
    bench.StartAgent();
    EXPECT_THAT(bench.Offer().reason(), HasSubstr("train.lr"));
    EXPECT_EQ(bench.launcher.launches, 0);
  }
}

TEST(TrainerTest, IsStartedAgainAndTheRoundGoesOn) {
  Workbench bench;
  bench.launcher.behaviour = [](int launch) {
    return launch == 1   ? Behaviour::kDiesTraining
           : launch == 2 ? Behaviour::kDiesMasking
                         : Behaviour::kGood;
  };
  bench.StartAgent();
  bench.Offer();
  bench.PrepareSlot(1);
  const secagg::Manifest manifest = bench.MakeManifest(1, 1);
  bench.SayManifest(manifest);
  bench.SayCohort(manifest, bench.TakeReadies(manifest));
  // Ready was said; the trainer that masks dies, and the third one trains and masks anew.
  bench.Unmask(manifest, bench.TakeVectors(manifest));
  bench.PublishResult(manifest);
  EXPECT_TRUE(bench.StopAgent().ok());
  EXPECT_EQ(bench.launcher.launches, 3);
  EXPECT_THAT(bench.Asked(),
              ElementsAre("train 1", "train 1", "release 1", "train 1", "release 1", "stop"));
}

TEST(TrainerTest, IsGivenUpAfterThreeRelaunchesWithItsLastWords) {
  Workbench bench;
  bench.launcher.behaviour = [](int) { return Behaviour::kFailsTraining; };
  bench.StartAgent();
  bench.Offer();
  bench.PrepareSlot(1);
  bench.SayManifest(bench.MakeManifest(1, 1));
  const auto answer = bench.coordinator->Hear();
  ASSERT_TRUE(answer && answer->has_failure());
  EXPECT_EQ(answer->failure().job_id(), 1u);
  EXPECT_THAT(answer->failure().reason(), HasSubstr("out of data"));
  EXPECT_EQ(bench.launcher.launches, 4);
  EXPECT_FALSE(bench.coordinator->Hear(200).has_value());
}

TEST(TrainerTest, ItsLastWordsDoNotBreakTheStream) {
  Workbench bench;
  bench.options.relaunch_limit = 0;
  bench.launcher.behaviour = [](int) { return Behaviour::kFailsBabbling; };
  bench.StartAgent();
  bench.Offer();
  bench.PrepareSlot(1);
  bench.SayManifest(bench.MakeManifest(1, 1));
  const auto answer = bench.coordinator->Hear();
  ASSERT_TRUE(answer && answer->has_failure());
  EXPECT_THAT(answer->failure().reason(), HasSubstr("trainer: ????"));
  EXPECT_LE(answer->failure().reason().size(), kMaxReasonBytes);
  EXPECT_EQ(bench.coordinator->hellos(), 1u);
}

TEST(TrainerTest, ThatHangsIsKilledAndStartedAgain) {
  Workbench bench({.recipe_extra = "    progress_timeout_s: 1\n"});
  bench.launcher.behaviour = [](int launch) {
    return launch == 1 ? Behaviour::kHangsTraining : Behaviour::kGood;
  };
  bench.StartAgent();
  EXPECT_TRUE(bench.Offer().accepted());
  bench.PrepareSlot(1);
  bench.SayManifest(bench.MakeManifest(1, 1));
  EXPECT_FALSE(bench.coordinator->HearStep(v1::READY).empty());
  EXPECT_EQ(bench.launcher.launches, 2);
}

TEST(TrainerTest, ThatNeverSpeaksIsKilledAndStartedAgain) {
  Workbench bench;
  bench.options.trainer_start_timeout_s = 1;
  bench.launcher.behaviour = [](int launch) {
    return launch == 1 ? Behaviour::kNoHello : Behaviour::kGood;
  };
  bench.StartAgent();
  bench.Offer();
  bench.PrepareSlot(1);
  bench.SayManifest(bench.MakeManifest(1, 1));
  EXPECT_FALSE(bench.coordinator->HearStep(v1::READY).empty());
  EXPECT_EQ(bench.launcher.launches, 2);
}

class EvaluatorTest : public testing::Test {
 protected:
  EvaluatorTest() {
    bench_.options.role = Role::kEvaluator;
    bench_.options.site_id = 0;
    bench_.options.identity_file.clear();
    bench_.options.roster_file.clear();
  }
  void Evaluate(uint32_t round, const Digest& model) {
    v1::CoordinatorMessage message;
    message.mutable_evaluate()->set_job_id(1);
    message.mutable_evaluate()->set_round(round);
    message.mutable_evaluate()->set_model(model.data(), model.size());
    bench_.coordinator->Say(message);
  }
  void ExpectEvaluation(uint32_t round) {
    const auto answer = bench_.coordinator->Hear();
    ASSERT_TRUE(answer && answer->has_evaluation());
    EXPECT_EQ(answer->evaluation().round(), round);
    EXPECT_EQ(answer->evaluation().examples(), 100u);
    EXPECT_EQ(answer->evaluation().correct(), 40 + round);
    EXPECT_EQ(answer->evaluation().loss_sum(), 12.5);
  }
  Workbench bench_;
};

TEST_F(EvaluatorTest, MeasuresModelsInOrderWithOneRank) {
  bench_.StartAgent();
  EXPECT_EQ(bench_.coordinator->hello(0).role(), v1::ROLE_EVALUATOR);
  EXPECT_TRUE(bench_.coordinator->hello(0).signature().empty());
  EXPECT_TRUE(bench_.Offer().accepted());
  for (uint32_t round = 0; round < 4; ++round) Evaluate(round, bench_.model);
  for (uint32_t round = 0; round < 4; ++round) ExpectEvaluation(round);
  // Asked again, it answers from memory.
  Evaluate(3, bench_.model);
  ExpectEvaluation(3);
  // It answers no step of a site.
  bench_.coordinator->SayStep(0, 1, v1::REQUEST_PRE_KEYS, {});
  EXPECT_FALSE(bench_.coordinator->Hear(200).has_value());
  EXPECT_TRUE(bench_.StopAgent().ok());
  EXPECT_EQ(bench_.launcher.ranks, 1u);
  EXPECT_THAT(bench_.Asked(),
              ElementsAre("evaluate 0", "evaluate 1", "evaluate 2", "evaluate 3", "stop"));
}

TEST_F(EvaluatorTest, PassesOverAModelThatIsGone) {
  bench_.StartAgent();
  bench_.Offer();
  Evaluate(1, Digest{9});
  Evaluate(2, bench_.model);
  ExpectEvaluation(2);
}

TEST_F(EvaluatorTest, MeasuresAgainWhenTheTrainerDies) {
  bench_.launcher.behaviour = [](int launch) {
    return launch == 1 ? Behaviour::kDiesTraining : Behaviour::kGood;
  };
  bench_.StartAgent();
  bench_.Offer();
  Evaluate(1, bench_.model);
  ExpectEvaluation(1);
  EXPECT_EQ(bench_.launcher.launches, 2);
}

}  // namespace
}  // namespace atl::site
