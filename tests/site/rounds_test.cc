// Whole rounds of an agent against a scripted coordinator and a trainer without training.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

#include "comms/base/crypto/sha256.h"
#include "comms/sitelink/messages.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/site/workbench.h"

namespace atl::site {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

bool Eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 6000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

// Whether the round's upload was reported with the times that the fake trainer gives.
bool SaidMaskTimes(Workbench& bench, uint32_t round) {
  for (const std::string& bytes : bench.coordinator->transcript()) {
    v1::SiteMessage message;
    if (!message.ParseFromString(bytes) || !message.has_progress()) continue;
    const v1::SiteProgress& progress = message.progress();
    if (progress.round() == round && progress.phase() == "upload" &&
        progress.mask_hidden_s() == 2.5 && progress.mask_paid_s() == 0.25) {
      return true;
    }
  }
  return false;
}

TEST(RoundsTest, TwoMaskedRoundsWithSlotsPreparedAhead) {
  Workbench bench;
  bench.StartAgent();
  EXPECT_TRUE(bench.Offer().accepted());
  bench.PrepareSlot(1);
  bench.PrepareSlot(2);
  bench.RunRound(1, 1);
  const Digest before = bench.model;
  bench.RunRound(2, 2);
  auto blobs = store::BlobStore::Open(bench.data_folder() / "cache");
  ASSERT_TRUE(blobs.ok());
  // The round is over, also on disk, when its own model has gone.
  EXPECT_TRUE(Eventually([&] { return blobs->Has(bench.model) && !blobs->Has(before); }));
  // The first model and two sums: the model of round 2 it computed itself.
  EXPECT_EQ(bench.coordinator->downloads(), 3);
  EXPECT_EQ(bench.launcher.launches, 1);
  EXPECT_EQ(bench.launcher.ranks, 2u);
  EXPECT_TRUE(bench.StopAgent().ok());
  EXPECT_THAT(bench.Asked(), ElementsAre("train 1", "release 1", "train 2", "release 2", "stop"));
  EXPECT_THAT(bench.Masks(), ElementsAre("prepare 1", "train 1", "as prepared 1", "prepare 2",
                                         "train 2", "as prepared 2"));
  EXPECT_THAT(bench.coordinator->phases(), testing::IsSupersetOf({"train", "mask", "upload"}));
  EXPECT_TRUE(SaidMaskTimes(bench, 1));
  EXPECT_TRUE(SaidMaskTimes(bench, 2));

  // Nothing secret of the slots is left.
  auto store = store::SiteStore::Open(bench.data_folder());
  ASSERT_TRUE(store.ok());
  const auto slots = (*store)->Slots(bench.run);
  ASSERT_TRUE(slots.ok());
  ASSERT_EQ(slots->size(), 2u);
  for (const store::SlotRow& row : *slots) {
    EXPECT_EQ(row.state, static_cast<uint32_t>(secagg::SlotState::kErased));
    EXPECT_EQ(std::count(row.record.begin(), row.record.end(), 0),
              static_cast<long>(row.record.size()));
  }
}

TEST(RoundsTest, HelloIsSignedOverTheNonce) {
  Workbench bench;
  bench.StartAgent();
  const v1::Hello hello = bench.coordinator->hello(0);
  EXPECT_EQ(hello.site_id(), 1u);
  EXPECT_EQ(hello.role(), v1::ROLE_SITE);
  EXPECT_EQ(hello.cpus(), 4);
  Bytes body(AsBytes("atoll/hello/v1").begin(), AsBytes("atoll/hello/v1").end());
  const Bytes nonce = bench.coordinator->nonce(0);
  body.insert(body.end(), nonce.begin(), nonce.end());
  Signature signature{};
  ASSERT_EQ(hello.signature().size(), signature.size());
  std::copy(hello.signature().begin(), hello.signature().end(), signature.begin());
  const auto roster = secagg::Roster::Load(bench.options.roster_file, nullptr, OpensslSuite());
  ASSERT_TRUE(roster.ok());
  EXPECT_TRUE(OpensslSuite().Verify(roster->Find(SiteId(1))->identity, body, signature));
}

TEST(RoundsTest, PlainRoundWhereTheSiteAllowsIt) {
  Workbench bench({.masked = false});
  bench.StartAgent();
  EXPECT_TRUE(bench.Offer().accepted());
  const secagg::Manifest manifest = bench.MakeManifest(1, 0);
  bench.SayManifest(manifest);
  const auto commit = secagg::Decode<secagg::Commit>(bench.coordinator->HearStep(v1::COMMIT));
  ASSERT_TRUE(commit.ok());
  bench.plain_commit = *commit;
  ASSERT_TRUE(bench.coordinator->WaitForUpload());
  {
    std::lock_guard lock(bench.launcher.log.mutex);
    EXPECT_TRUE(bench.launcher.log.model == bench.ModelBytes());
  }
  bench.PublishResult(manifest);
  auto blobs = store::BlobStore::Open(bench.data_folder() / "cache");
  ASSERT_TRUE(blobs.ok());
  EXPECT_TRUE(Eventually([&] { return blobs->Has(bench.model); }));
  EXPECT_EQ(bench.HearChecked(), 3u);
}

// Each change to the manifest that the agent must not follow.
struct Refusal {
  const char* name;
  std::function<void(secagg::Manifest&)> change;
  const char* reason;
};

class RefusalTest : public testing::TestWithParam<Refusal> {};

TEST_P(RefusalTest, SendsNothingButTheReason) {
  Workbench bench;
  bench.StartAgent();
  EXPECT_TRUE(bench.Offer().accepted());
  bench.PrepareSlot(1);
  secagg::Manifest manifest = bench.MakeManifest(1, 1);
  GetParam().change(manifest);
  bench.SayManifest(manifest);
  const auto answer = bench.coordinator->Hear();
  ASSERT_TRUE(answer && answer->has_failure());
  EXPECT_THAT(answer->failure().reason(), HasSubstr(GetParam().reason));
  EXPECT_FALSE(bench.coordinator->Hear(300).has_value());
  EXPECT_TRUE(bench.coordinator->uploads().openings.empty());
  EXPECT_TRUE(bench.StopAgent().ok());
  EXPECT_THAT(bench.Asked(), testing::Not(testing::Contains("train 1")));
}

INSTANTIATE_TEST_SUITE_P(
    Manifests, RefusalTest,
    testing::Values(
        Refusal{"Model", [](auto& m) { m.model[5] ^= 1; }, "model"},
        Refusal{"Recipe", [](auto& m) { m.recipe[0] ^= 1; }, "recipe"},
        Refusal{"Threshold", [](auto& m) { m.threshold = 2; }, "t = 2"},
        Refusal{"Cohort", [](auto& m) { m.members.pop_back(); }, "2 sites"},
        Refusal{"ClipOverTheFloor", [](auto& m) { m.clip_norm_l2 = 1e7; }, "this site allows"},
        Refusal{"ClipOverTheRecipe", [](auto& m) { m.clip_norm_l2 = 21; }, "the recipe says 20"},
        Refusal{"Weight", [](auto& m) { m.weight_max = 1; }, "the recipe says 1000"},
        Refusal{"WeightRule", [](auto& m) { m.weight_rule = secagg::WeightRule::kUniform; },
                "weight rule"},
        Refusal{"Width",
                [](auto& m) {
                  m.segments[1].value_bits = 17;
                  m.segments[1].sum_bits = 19;
                },
                "value_bits 17"},
        Refusal{"WidthOfFewerSites", [](auto& m) { m.segments[1].sum_bits = 17; },
                "sum_bits 17: must be >= 18, or a sum of 3 values of 16 bits overflows"},
        Refusal{"WidthOfFewerSitesMetrics", [](auto& m) { m.segments[0].sum_bits = 49; },
                "sum_bits 49: must be >= 50"},
        Refusal{"NarrowMetrics",
                [](auto& m) {
                  m.segments[0].value_bits = 10;
                  m.segments[0].sum_bits = 12;
                },
                "metrics of 6 values of 10 bits: must be 6 of 48"},
        Refusal{"MetricsOfAnotherScale", [](auto& m) { m.segments[0].scale = 1024; }, "scale 1024"},
        Refusal{"Case11AnotherScale", [](auto& m) { m.segments[1].scale *= 64; },
                "the recipe's rule clip gives 1638.3"},
        Refusal{"Noise", [](auto& m) { m.noise_stddev = 1; },
                "this version of Atoll adds no noise"},
        Refusal{"MaskCipher", [](auto& m) { m.cipher = kernels::MaskCipher::kChaCha20; },
                "mask cipher"},
        Refusal{"Envelopes", [](auto& m) { m.aead = Aead::kChaCha20Poly1305; }, "envelopes under"},
        Refusal{"Length", [](auto& m) { m.segments[1].length -= 1; }, "coordinates"},
        Refusal{"Plain", [](auto& m) { m.masked = false; }, "secure aggregation"},
        Refusal{"Run", [](auto& m) { m.run[0] ^= 1; }, "another run"},
        Refusal{"Round", [](auto& m) { m.round = RoundId(0); }, "round 0"}),
    [](const auto& info) { return info.param.name; });

TEST(RoundsTest, AWrongNextModelEndsTheJobHere) {
  Workbench bench;
  bench.StartAgent();
  bench.Offer();
  bench.PrepareSlot(1);
  const secagg::Manifest manifest = bench.MakeManifest(1, 1);
  bench.SayManifest(manifest);
  bench.SayCohort(manifest, bench.TakeReadies(manifest));
  bench.Unmask(manifest, bench.TakeVectors(manifest));
  bench.PublishResult(manifest, /*honest=*/false);
  const auto answer = bench.coordinator->Hear();
  ASSERT_TRUE(answer && answer->has_failure());
  EXPECT_THAT(answer->failure().reason(), HasSubstr("next model"));
}

// Blocks what spot checks are shown until it is opened.
struct Gate {
  std::atomic<bool> open = false;
  FakeCoordinator::Spoil Spoil() {
    return [this](v1::CheckedChunk&) { return Eventually([this] { return open.load(); }); };
  }
};

// An honest round until its result is said; what it is made of is behind the gate.
secagg::Result SayOneResult(Workbench& bench, Gate& gate, bool with_result = true) {
  bench.Offer();
  bench.PrepareSlot(1);
  bench.PrepareSlot(2);
  const secagg::Manifest manifest = bench.MakeManifest(1, 1);
  bench.SayManifest(manifest);
  bench.SayCohort(manifest, bench.TakeReadies(manifest));
  bench.Unmask(manifest, bench.TakeVectors(manifest));
  const secagg::Result result = bench.MakeResult(manifest);
  bench.ShowVectors(manifest, gate.Spoil());
  if (with_result) bench.SayResult(manifest, result);
  return result;
}

bool IsInSiteDb(const Workbench& bench, const secagg::Result& result) {
  bool found = false;
  for (const auto& entry : std::filesystem::directory_iterator(bench.data_folder())) {
    if (!entry.path().filename().string().starts_with("site.db")) continue;
    const Bytes bytes = ReadFile(entry.path(), 64 << 20).value();
    for (const secagg::RevealedSecret& secret : result.secrets) {
      const auto wanted = secret.secret.span();
      found |= std::search(bytes.begin(), bytes.end(), wanted.begin(), wanted.end()) != bytes.end();
    }
  }
  return found;
}

TEST(RoundsTest, TheNextRoundTrainsDuringTheCheckAndIsSignedAfterIt) {
  Workbench bench;
  Gate gate;
  bench.StartAgent();
  const secagg::Result result = SayOneResult(bench, gate);
  ASSERT_TRUE(Eventually([&] { return !bench.coordinator->checks().empty(); }));
  EXPECT_TRUE(IsInSiteDb(bench, result));  // a restart would need it
  const secagg::Manifest next = bench.MakeManifest(2, 2);
  bench.SayManifest(next);
  ASSERT_TRUE(Eventually([&] { return bench.Asked().back() == "train 2"; }));
  EXPECT_FALSE(bench.coordinator->Hear(300).has_value());
  gate.open = true;
  EXPECT_EQ(bench.HearChecked(), 3u);
  EXPECT_FALSE(IsInSiteDb(bench, result));
  bench.coordinator->HearStep(v1::READY);

  // Asked for once, by the site itself.
  const std::vector<v1::CheckRequest> checks = bench.coordinator->checks();
  ASSERT_EQ(checks.size(), 1u);
  EXPECT_THAT(checks[0].chunks(), ElementsAre(0, 1, 2));
  ByteWriter body;
  body.Raw(AsBytes("atoll/check/v1")).U64(1).U32(1).U64(1).U32(3).U32(0).U32(1).U32(2);
  Signature token{};
  ASSERT_EQ(checks[0].token().size(), token.size());
  std::copy(checks[0].token().begin(), checks[0].token().end(), token.begin());
  const auto roster = secagg::Roster::Load(bench.options.roster_file, nullptr, OpensslSuite());
  EXPECT_TRUE(OpensslSuite().Verify(roster->Find(SiteId(1))->identity, body.bytes(), token));
}

TEST(RoundsTest, ASiteThatRestartsBeforeItsCheckMakesItThen) {
  for (const bool honest : {true, false}) {
    Workbench bench;
    Gate gate;
    bench.StartAgent();
    const secagg::Result result = SayOneResult(bench, gate);
    ASSERT_TRUE(Eventually([&] { return !bench.coordinator->checks().empty(); }));
    EXPECT_TRUE(bench.StopAgent().ok());
    gate.open = true;
    if (!honest) {
      bench.coordinator->ShowVectors(1, {{1, std::vector<Bytes>(3, Bytes(10))}});
    }
    bench.StartAgent();
    EXPECT_TRUE(bench.Offer().accepted());
    if (honest) {
      EXPECT_EQ(bench.HearChecked(), 3u);
    } else {
      const auto answer = bench.coordinator->Hear();
      ASSERT_TRUE(answer && answer->has_failure());
      EXPECT_THAT(answer->failure().reason(), HasSubstr("round 1: spot check"));
    }
    EXPECT_TRUE(Eventually([&] { return !IsInSiteDb(bench, result); }));
    EXPECT_TRUE(bench.StopAgent().ok());
    auto store = store::SiteStore::Open(bench.data_folder());
    ASSERT_TRUE(store.ok());
    EXPECT_EQ(
        (*store)->GetSlot(bench.run, SlotId(1))->state,
        static_cast<uint32_t>(honest ? secagg::SlotState::kErased : secagg::SlotState::kBurnt));
  }
}

// The result had not come, or was not worked out: the coordinator says it again.
TEST(RoundsTest, ASiteThatRestartsBeforeTheResultTakesIt) {
  Workbench bench;
  Gate gate;
  gate.open = true;
  bench.StartAgent();
  const secagg::Result result = SayOneResult(bench, gate, /*with_result=*/false);
  EXPECT_TRUE(bench.StopAgent().ok());
  bench.StartAgent();
  EXPECT_TRUE(bench.Offer().accepted());
  bench.coordinator->HearStep(v1::COMMIT);
  bench.coordinator->SayStep(1, 1, v1::RESULT, secagg::Encode(result));
  EXPECT_EQ(bench.HearChecked(), 3u);
  // And says so as often as it is asked.
  bench.coordinator->SayStep(1, 1, v1::RESULT, secagg::Encode(result));
  EXPECT_EQ(bench.HearChecked(), 0u);
  EXPECT_EQ(bench.coordinator->checks().size(), 1u);
}

// What the site worked out of the last sum is in its database: after a restart it holds the
// coordinator to it, as before.
TEST(RoundsTest, TheScaleFromTheLastAggregateOutlivesTheAgent) {
  for (const bool honest : {true, false}) {
    Workbench bench({.scale = "last_aggregate"});
    bench.StartAgent();
    EXPECT_TRUE(bench.Offer().accepted());
    bench.PrepareSlot(1);
    secagg::Manifest manifest = bench.MakeManifest(1, 1);
    const double first = manifest.segments[sitelink::kUpdateSegment].scale;
    bench.RunRound(1, 1);
    EXPECT_TRUE(bench.StopAgent().ok());
    bench.StartAgent();
    EXPECT_TRUE(bench.Offer().accepted());
    bench.PrepareSlot(2);
    manifest = bench.MakeManifest(2, 2);
    EXPECT_NE(manifest.segments[sitelink::kUpdateSegment].scale, first);
    if (honest) {
      bench.RunRound(2, 2);
      continue;
    }
    manifest.segments[sitelink::kUpdateSegment].scale = first;
    bench.SayManifest(manifest);
    const auto answer = bench.coordinator->Hear();
    ASSERT_TRUE(answer && answer->has_failure());
    EXPECT_THAT(answer->failure().reason(), HasSubstr("the recipe's rule last_aggregate gives"));
  }
}

TEST(RoundsTest, ASiteThatChecksNothingSaysSo) {
  Workbench bench;
  Gate gate;
  bench.options.spot_check_chunks = 0;
  bench.StartAgent();
  SayOneResult(bench, gate);
  EXPECT_EQ(bench.HearChecked(), 0u);
  EXPECT_TRUE(bench.coordinator->checks().empty());
}

TEST(RoundsTest, ChunksAreDrawnAtRandomAndNoMoreThanAsked) {
  Workbench bench({.parameters = kManyParameters});
  Gate gate;
  gate.open = true;
  bench.options.spot_check_chunks = 2;
  bench.StartAgent();
  SayOneResult(bench, gate);
  EXPECT_EQ(bench.HearChecked(), 3u);
  const std::vector<v1::CheckRequest> checks = bench.coordinator->checks();
  ASSERT_EQ(checks.size(), 1u);
  ASSERT_EQ(checks[0].chunks_size(), 3);
  EXPECT_EQ(checks[0].chunks(0), 0u);
}

TEST(RoundsTest, ADamagedModelIsNotTrainedOn) {
  Workbench bench;
  bench.coordinator->CorruptBlob(bench.model);
  bench.StartAgent();
  bench.Offer();
  bench.PrepareSlot(1);
  bench.SayManifest(bench.MakeManifest(1, 1));
  const auto answer = bench.coordinator->Hear();
  ASSERT_TRUE(answer && answer->has_failure());
  EXPECT_THAT(answer->failure().reason(), HasSubstr("is not its chunk 1"));
  EXPECT_TRUE(bench.StopAgent().ok());
  EXPECT_THAT(bench.Asked(), testing::Not(testing::Contains("train 1")));
}

TEST(RoundsTest, ReconnectsInTheMiddleOfAnUploadAndResumes) {
  Workbench bench({.parameters = kManyParameters});
  bench.StartAgent();
  bench.Offer();
  bench.PrepareSlot(1);
  const secagg::Manifest manifest = bench.MakeManifest(1, 1);
  const uint32_t chunks = kernels::VectorLayout(manifest.segments).chunk_count();
  bench.SayManifest(manifest);
  const Bytes cohort = bench.TakeReadies(manifest);
  bench.coordinator->ExpectUpload(1, chunks, /*break_after=*/3);
  bench.SayCohort(manifest, cohort);
  const Bytes commit = bench.coordinator->HearStep(v1::COMMIT);
  ASSERT_TRUE(bench.coordinator->WaitForHello(2));
  // As a coordinator does for a site that comes back: the offer, and the step in progress.
  EXPECT_TRUE(bench.Offer().accepted());
  EXPECT_EQ(bench.coordinator->HearStep(v1::COMMIT), commit);
  bench.coordinator->SayStep(1, 1, v1::COHORT, cohort);
  EXPECT_EQ(bench.coordinator->HearStep(v1::COMMIT), commit);
  ASSERT_TRUE(bench.coordinator->WaitForUpload());
  const Uploads uploads = bench.coordinator->uploads();
  EXPECT_EQ(uploads.chunks.size(), chunks);
  EXPECT_EQ(uploads.twice, 0);
  EXPECT_GE(uploads.openings.size(), 2u);
  EXPECT_TRUE(bench.StopAgent().ok());
  EXPECT_THAT(bench.Asked(), ElementsAre("train 1", "release 1", "stop"));
}

TEST(RoundsTest, ReadyIsSaidAgainWithTheSameBytes) {
  Workbench bench;
  bench.StartAgent();
  bench.Offer();
  bench.PrepareSlot(1);
  const secagg::Manifest manifest = bench.MakeManifest(1, 1);
  bench.SayManifest(manifest);
  const Bytes ready = bench.coordinator->HearStep(v1::READY);
  bench.coordinator->BreakControl();
  ASSERT_TRUE(bench.coordinator->WaitForHello(2));
  bench.Offer();
  EXPECT_EQ(bench.coordinator->HearStep(v1::READY), ready);
  bench.SayManifest(manifest);
  EXPECT_EQ(bench.coordinator->HearStep(v1::READY), ready);
  EXPECT_TRUE(bench.StopAgent().ok());
  EXPECT_THAT(bench.Asked(), ElementsAre("train 1", "stop"));
}

TEST(RoundsTest, ANewLifeUploadsTheCommittedVectorAndTrainsNothing) {
  Workbench bench({.parameters = kManyParameters});
  bench.StartAgent();
  bench.Offer();
  bench.PrepareSlot(1);
  const secagg::Manifest manifest = bench.MakeManifest(1, 1);
  bench.SayManifest(manifest);
  const Bytes cohort = bench.TakeReadies(manifest);
  bench.coordinator->ExpectUpload(1, kernels::VectorLayout(manifest.segments).chunk_count(), 2);
  bench.SayCohort(manifest, cohort);
  const Bytes commit = bench.coordinator->HearStep(v1::COMMIT);
  ASSERT_TRUE(Eventually([&] { return !bench.coordinator->uploads().chunks.empty(); }));
  EXPECT_TRUE(bench.StopAgent().ok());

  bench.StartAgent();
  EXPECT_TRUE(bench.Offer().accepted());
  EXPECT_EQ(bench.coordinator->HearStep(v1::COMMIT), commit);
  ASSERT_TRUE(bench.coordinator->WaitForUpload());
  EXPECT_EQ(bench.coordinator->uploads().different, 0);
  EXPECT_TRUE(bench.StopAgent().ok());
  EXPECT_THAT(bench.Asked(), ElementsAre("train 1", "release 1", "stop", "stop"));
}

TEST(RoundsTest, AnUpdateThatWasNotReleasedServesTheNextAttempt) {
  Workbench bench;
  bench.StartAgent();
  bench.Offer();
  for (uint64_t slot : {1, 2, 3}) bench.PrepareSlot(slot);
  const auto abort = [&](uint64_t slot) {
    v1::CoordinatorMessage message;
    message.mutable_round_aborted()->set_job_id(1);
    message.mutable_round_aborted()->set_round(1);
    message.mutable_round_aborted()->set_slot(slot);
    bench.coordinator->Say(message);
  };
  secagg::Manifest manifest = bench.MakeManifest(1, 1);
  bench.SayManifest(manifest);
  bench.TakeReadies(manifest);
  abort(1);
  manifest = bench.MakeManifest(1, 2);
  bench.SayManifest(manifest);
  bench.SayCohort(manifest, bench.TakeReadies(manifest));
  bench.coordinator->HearStep(v1::COMMIT);
  abort(2);
  bench.RunRound(1, 3);
  EXPECT_TRUE(bench.StopAgent().ok());
  // The update that was left gets its masks for the new slot ahead, too.
  EXPECT_THAT(bench.Masks(), ElementsAre("prepare 1", "train 1", "prepare 1", "as prepared 1",
                                         "prepare 1", "train 1", "as prepared 1"));
  // After the release that was aborted the round is trained again.
  EXPECT_THAT(bench.Asked(), ElementsAre("train 1", "release 1", "train 1", "release 1", "stop"));
}

TEST(RoundsTest, MasksThatWereExpandedForU1AreNotUsedForASmallerU2) {
  Workbench bench({.sites = 4});
  bench.StartAgent();
  bench.Offer();
  bench.PrepareSlot(1);
  bench.LosePeer(4);
  bench.RunRound(1, 1);
  EXPECT_TRUE(bench.StopAgent().ok());
  EXPECT_THAT(bench.Masks(), ElementsAre("prepare 1", "train 1", "afresh 1"));
}

TEST(RoundsTest, ATrainerThatIsStartedAgainPreparesAgain) {
  Workbench bench;
  bench.launcher.behaviour = [](int launch) {
    return launch == 1 ? Behaviour::kDiesTraining : Behaviour::kGood;
  };
  bench.StartAgent();
  bench.Offer();
  bench.PrepareSlot(1);
  bench.RunRound(1, 1);
  EXPECT_TRUE(bench.StopAgent().ok());
  EXPECT_THAT(bench.Masks(),
              ElementsAre("prepare 1", "train 1", "prepare 1", "train 1", "as prepared 1"));
}

TEST(RoundsTest, AnAgentThatIsStartedAgainPreparesAgain) {
  Workbench bench;
  bench.StartAgent();
  bench.Offer();
  bench.PrepareSlot(1);
  const secagg::Manifest manifest = bench.MakeManifest(1, 1);
  bench.SayManifest(manifest);
  const Bytes cohort = bench.TakeReadies(manifest);  // trained, and U2 is not said
  EXPECT_TRUE(bench.StopAgent().ok());
  bench.StartAgent();
  bench.Offer();
  bench.coordinator->HearStep(v1::READY);
  bench.SayCohort(manifest, cohort);
  bench.Unmask(manifest, bench.TakeVectors(manifest));
  EXPECT_TRUE(bench.StopAgent().ok());
  EXPECT_THAT(bench.Masks(),
              ElementsAre("prepare 1", "train 1", "prepare 1", "train 1", "as prepared 1"));
}

TEST(RoundsTest, ABurntSlotIsNotUsedAgain) {
  Workbench bench;
  bench.StartAgent();
  bench.Offer();
  bench.PrepareSlot(1);
  v1::CoordinatorMessage message;
  message.mutable_round_aborted()->set_job_id(1);
  message.mutable_round_aborted()->set_slot(1);
  bench.coordinator->Say(message);
  bench.coordinator->SayStep(0, 1, v1::REQUEST_PRE_KEYS, {});
  bench.SayManifest(bench.MakeManifest(1, 1));
  EXPECT_FALSE(bench.coordinator->Hear(300).has_value());
}

TEST(RoundsTest, AnEndedJobLeavesNothing) {
  Workbench bench;
  bench.StartAgent();
  bench.Offer();
  bench.PrepareSlot(1);
  bench.PrepareSlot(2);
  bench.RunRound(1, 1);
  v1::CoordinatorMessage message;
  message.mutable_job_ended()->set_job_id(1);
  bench.coordinator->Say(message);
  EXPECT_TRUE(Eventually([&] { return !bench.Asked().empty() && bench.Asked().back() == "stop"; }));
  EXPECT_TRUE(bench.StopAgent().ok());
  auto blobs = store::BlobStore::Open(bench.data_folder() / "cache");
  ASSERT_TRUE(blobs.ok());
  EXPECT_FALSE(blobs->Has(bench.model));
  auto store = store::SiteStore::Open(bench.data_folder());
  ASSERT_TRUE(store.ok());
  EXPECT_EQ((*store)->GetSlot(bench.run, SlotId(2))->state,
            static_cast<uint32_t>(secagg::SlotState::kBurnt));
}

}  // namespace
}  // namespace atl::site
