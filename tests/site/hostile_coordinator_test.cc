// A malicious coordinator that speaks real gRPC to a real agent, with all other sites of the cohort
// on its side: what it signs with their keys verifies. The numbers are those of the list of attacks
// in tests/README.md. Each ends in a refusal, or in silence where a step was taken already; after
// it nothing of the protocol leaves the site. Where the slot has come to masks, none of its
// secrets, which the test reads from the site's own database, is in all that ever left it.
#include <signal.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "comms/base/process.h"
#include "federation/secagg/signed_bodies.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/site/slot_secrets.h"
#include "tests/site/workbench.h"

namespace atl::site {
namespace {

using secagg::Manifest;
using testing::HasSubstr;

constexpr uint32_t kSites = 7, kThreshold = 5;
constexpr uint64_t kSlot = 1;
const BenchOptions kBench{.parameters = 1000, .sites = kSites};

enum class Until { kCohort, kSurvivors, kUnmask };

class HostileCoordinator : public testing::Test {
 protected:
  explicit HostileCoordinator(bool start = true) : bench_(kBench) {
    if (start) Begin();
  }
  void Begin() {
    bench_.StartAgent();
    EXPECT_TRUE(bench_.Offer().accepted());
  }

  // An honest round, up to the question that is the attack.
  void RunUntil(Until step) {
    bench_.PrepareSlot(kSlot);
    manifest_ = bench_.MakeManifest(1, kSlot);
    bench_.SayManifest(manifest_);
    const Bytes cohort = bench_.TakeReadies(manifest_);
    cohort_ = *secagg::Decode<secagg::CohortSet>(cohort);
    TakeSecrets();
    if (step == Until::kCohort) return;
    bench_.SayCohort(manifest_, cohort);
    survivors_ = *secagg::Decode<secagg::SurvivorSet>(bench_.TakeVectors(manifest_));
    if (step == Until::kSurvivors) return;
    request_ = bench_.TakeSignatures(manifest_, secagg::Encode(survivors_));
  }

  template <typename M>
  void Say(v1::Step step, const M& message, uint64_t slot = kSlot) {
    bench_.coordinator->SayStep(1, slot, step, secagg::Encode(message));
  }

  Digest Context(const Manifest& manifest, const secagg::CohortSet& cohort) const {
    return secagg::ContextOf(secagg::HashOf(manifest), secagg::IdsOf(cohort));
  }
  Digest Context() const { return Context(manifest_, cohort_); }

  template <typename Set>
  static Set Without(Set set, std::vector<uint32_t> ids) {
    std::erase_if(set.members, [&](const auto& member) {
      return std::find(ids.begin(), ids.end(), member.id.value()) != ids.end();
    });
    return set;
  }
  // R4 for these survivors, signed by these sites.
  secagg::UnmaskRequest Question(const secagg::SurvivorSet& survivors,
                                 const std::vector<uint32_t>& signers) const {
    secagg::UnmaskRequest request;
    const Bytes body = secagg::SurvivorsBody(Context(), secagg::IdsOf(survivors));
    for (const uint32_t id : signers) {
      request.signatures.push_back(
          {SiteId(id), bench_.Forge(id, bench_.SessionOf(kSlot), secagg::kSurvivorsLabel, body)});
    }
    return request;
  }

  // The next word is that this site leaves the job, for this reason; none comes after it.
  void ExpectRefusal(const std::string& reason) {
    const auto answer = bench_.coordinator->Hear();
    ASSERT_TRUE(answer && answer->has_failure())
        << "not refused: " << (answer ? answer->ShortDebugString().substr(0, 300) : "silence");
    EXPECT_THAT(answer->failure().reason(), HasSubstr(reason));
    const auto more = bench_.coordinator->Hear(300);
    EXPECT_FALSE(more.has_value()) << more->ShortDebugString().substr(0, 300);
    ExpectNoSecrets();
  }
  // The site answers nothing to what was said last. Shown by a question after it that it does
  // answer, with the pre-keys that it has given before.
  void ExpectSilence(uint64_t slot = kSlot) {
    bench_.coordinator->SayStep(0, slot, v1::REQUEST_PRE_KEYS, {});
    EXPECT_FALSE(bench_.coordinator->HearStep(v1::PRE_KEYS).empty());
    ExpectNoSecrets();
  }

  // Reads the slot's secrets as they stand now in the site's database.
  void TakeSecrets(uint64_t slot = kSlot) {
    const auto read = ReadSlotSecrets(bench_.data_folder());
    ASSERT_TRUE(read.ok()) << read.status();
    ASSERT_TRUE(read->contains(slot));
    secrets_ = read->at(slot);
    ASSERT_EQ(secrets_.b_shares.size(), kSites);
    ASSERT_EQ(secrets_.mask_key_shares.size(), kSites);
  }
  bool WasSent(const Secret32& secret) const {
    const std::string needle(reinterpret_cast<const char*>(secret.data()), secret.size());
    const std::vector<std::string> said = bench_.coordinator->transcript();
    return std::any_of(said.begin(), said.end(), [&](const std::string& message) {
      return message.find(needle) != std::string::npos;
    });
  }
  // No secret key or stream has left the site, nor a share; `answered_`: but for the shares of b
  // of these sites, which an honest unmasking asks for.
  void ExpectNoSecrets() {
    for (const auto& [name, key] : secrets_.keys) EXPECT_FALSE(WasSent(key)) << name;
    for (const auto& [id, share] : secrets_.mask_key_shares) {
      EXPECT_FALSE(WasSent(share)) << "share of mask_sk of site " << id.value();
    }
    for (const auto& [id, share] : secrets_.b_shares) {
      EXPECT_EQ(WasSent(share), answered_) << "share of b of site " << id.value();
    }
  }

  Workbench bench_;
  Manifest manifest_;
  secagg::CohortSet cohort_;
  secagg::SurvivorSet survivors_;
  secagg::UnmaskRequest request_;
  SlotSecrets secrets_;
  bool answered_ = false;
};

// 1. one id both alive and dead
TEST_F(HostileCoordinator, Case1ASiteThatThisOneSignedAsAliveIsSaidToBeDead) {
  RunUntil(Until::kUnmask);
  // Six sites sign that the seventh is dead: more than t. This one signed that it is alive.
  Say(v1::UNMASK_REQUEST, Question(Without(survivors_, {7}), {2, 3, 4, 5, 6}));
  ExpectRefusal("does not verify");
}

TEST_F(HostileCoordinator, Case1DeadAfterItWasAlive) {
  RunUntil(Until::kUnmask);
  Say(v1::UNMASK_REQUEST, request_);
  EXPECT_FALSE(bench_.coordinator->HearStep(v1::UNMASK_ANSWER).empty());
  answered_ = true;
  ExpectNoSecrets();
  Say(v1::SURVIVORS, Without(survivors_, {7}));
  ExpectSilence();
  Say(v1::UNMASK_REQUEST, Question(Without(survivors_, {7}), {2, 3, 4, 5, 6}));
  ExpectRefusal("does not verify");
}

// 2. another U2 shown to one site
TEST_F(HostileCoordinator, Case2AnotherU2ShownToThisSite) {
  RunUntil(Until::kCohort);
  // A U2 with good signatures, which the others do not get: it masks under a context of its own...
  Say(v1::COHORT, Without(cohort_, {7}));
  const auto commit = secagg::Decode<secagg::Commit>(bench_.coordinator->HearStep(v1::COMMIT));
  ASSERT_TRUE(commit.ok());
  ASSERT_TRUE(bench_.coordinator->WaitForUpload());
  // ... in which the others' commits do not verify.
  secagg::SurvivorSet mixed{{*commit}};
  const uint64_t bytes = commit->bytes;
  for (uint32_t id = 2; id < kSites; ++id) {
    ASSERT_TRUE(bench_.peer_slot(id, kSlot).EnterContext(cohort_).ok());
    mixed.members.push_back(*bench_.peer_slot(id, kSlot).SignCommit(bytes, {}));
  }
  Say(v1::SURVIVORS, mixed);
  ExpectRefusal("does not verify");
}

TEST_F(HostileCoordinator, Case2ASecondU2AfterTheFirst) {
  RunUntil(Until::kSurvivors);
  const auto other = Without(cohort_, {7});
  Say(v1::COHORT, other);
  // A commit is said again, the very same one, as after a broken connection.
  const auto commit = secagg::Decode<secagg::Commit>(bench_.coordinator->HearStep(v1::COMMIT));
  ASSERT_TRUE(commit.ok());
  EXPECT_EQ(secagg::Encode(*commit), secagg::Encode(survivors_.members[0]));
  // All others now commit under the second U2.
  secagg::SurvivorSet bent{{*commit}};
  for (uint32_t id = 2; id < kSites; ++id) {
    const Bytes body = secagg::CommitBody(Context(manifest_, other), commit->bytes, commit->root);
    bent.members.push_back({SiteId(id), commit->bytes, commit->root,
                            bench_.Forge(id, bench_.SessionOf(kSlot), secagg::kCommitLabel, body)});
  }
  Say(v1::SURVIVORS, bent);
  ExpectRefusal("does not verify");
}

// Lies of one message: what the coordinator says in the place of a true set, and why it is refused.
template <typename M>
struct Lie {
  const char* name;
  std::function<M(M, Workbench&)> tell;
  const char* reason;
};
const auto kNameOf = [](const auto& info) { return info.param.name; };

class HostileU2 : public HostileCoordinator,
                  public testing::WithParamInterface<Lie<secagg::CohortSet>> {};

TEST_P(HostileU2, IsRefusedAndNothingIsMasked) {
  RunUntil(Until::kCohort);
  Say(v1::COHORT, GetParam().tell(cohort_, bench_));
  ExpectRefusal(GetParam().reason);
  EXPECT_TRUE(bench_.coordinator->uploads().openings.empty());
  EXPECT_THAT(bench_.Asked(), testing::Not(testing::Contains("release 1")));
}

INSTANTIATE_TEST_SUITE_P(
    Cohorts, HostileU2,
    testing::Values(Lie<secagg::CohortSet>{"Case2ASignatureThatIsNone",
                                           [](auto set, auto&) {
                                             set.members[3].signature[9] ^= 1;
                                             return set;
                                           },
                                           "does not verify"},
                    Lie<secagg::CohortSet>{"Case2WithoutThisSite",
                                           [](auto set, auto&) {
                                             set.members.erase(set.members.begin());
                                             return set;
                                           },
                                           "this site is not in it"},
                    Lie<secagg::CohortSet>{"Case5ASiteTwice",
                                           [](auto set, auto&) {
                                             set.members.push_back(set.members.back());
                                             return set;
                                           },
                                           "ascending"},
                    Lie<secagg::CohortSet>{"Case6FewerThanT",
                                           [](auto set, auto&) {
                                             set.members.resize(kThreshold - 1);
                                             return set;
                                           },
                                           "must be >= t = 5"},
                    Lie<secagg::CohortSet>{"Case14SignaturesOfAnotherSlot",
                                           [](auto set, Workbench& bench) {
                                             const Bytes body = secagg::ReadyBody(
                                                 secagg::HashOf(*bench.slot(kSlot).manifest()));
                                             for (size_t i = 1; i < set.members.size(); ++i) {
                                               set.members[i].signature = bench.Forge(
                                                   set.members[i].id.value(), bench.SessionOf(9),
                                                   secagg::kReadyLabel, body);
                                             }
                                             return set;
                                           },
                                           "does not verify"}),
    kNameOf);

// 3. another U3 shown to one site, or a second U3 to sign
TEST_F(HostileCoordinator, Case3AnotherU3ShownToThisSite) {
  RunUntil(Until::kSurvivors);
  Say(v1::SURVIVORS, Without(survivors_, {7}));
  EXPECT_FALSE(bench_.coordinator->HearStep(v1::SURVIVOR_SIGNATURE).empty());
  // The others signed all seven.
  Say(v1::UNMASK_REQUEST, Question(survivors_, {2, 3, 4, 5, 6}));
  ExpectRefusal("does not verify");
}

TEST_F(HostileCoordinator, Case3ASecondU3ToSign) {
  RunUntil(Until::kUnmask);
  for (const std::vector<uint32_t>& left : {std::vector<uint32_t>{7}, {2}, {6, 7}}) {
    Say(v1::SURVIVORS, Without(survivors_, left));
    ExpectSilence();
  }
  Say(v1::UNMASK_REQUEST, Question(Without(survivors_, {6, 7}), {2, 3, 4, 5}));
  ExpectRefusal("does not verify");
}

class HostileU3 : public HostileCoordinator,
                  public testing::WithParamInterface<Lie<secagg::SurvivorSet>> {};

TEST_P(HostileU3, IsNotSigned) {
  RunUntil(Until::kSurvivors);
  Say(v1::SURVIVORS, GetParam().tell(survivors_, bench_));
  ExpectRefusal(GetParam().reason);
}

INSTANTIATE_TEST_SUITE_P(
    Survivors, HostileU3,
    testing::Values(Lie<secagg::SurvivorSet>{"Case3ACommitThatNobodySigned",
                                             [](auto set, auto&) {
                                               set.members[4].root[0] ^= 1;
                                               return set;
                                             },
                                             "does not verify"},
                    Lie<secagg::SurvivorSet>{"Case3WithoutThisSite",
                                             [](auto set, auto&) {
                                               set.members.erase(set.members.begin());
                                               return set;
                                             },
                                             "this site is not in it"},
                    Lie<secagg::SurvivorSet>{"Case5ASiteTwice",
                                             [](auto set, auto&) {
                                               set.members.push_back(set.members.back());
                                               return set;
                                             },
                                             "ascending"},
                    Lie<secagg::SurvivorSet>{"Case6FewerThanT",
                                             [](auto set, auto&) {
                                               set.members.resize(kThreshold - 1);
                                               return set;
                                             },
                                             "must be >= t = 5"}),
    kNameOf);

// 4. a substituted or replayed pre-key; 5. a duplicate id; 6. a small cohort at E2
class HostileU0 : public HostileCoordinator,
                  public testing::WithParamInterface<Lie<secagg::PreKeySet>> {};

TEST_P(HostileU0, NoSharesAreDealt) {
  const secagg::PreKeySet set = bench_.TakePreKeys(kSlot);
  Say(v1::PRE_KEY_SET, GetParam().tell(set, bench_));
  const auto answer = bench_.coordinator->Hear();
  ASSERT_TRUE(answer && answer->has_failure());
  EXPECT_THAT(answer->failure().reason(), HasSubstr(GetParam().reason));
  EXPECT_FALSE(bench_.coordinator->Hear(300).has_value());
}

secagg::PreKeySet Resigned(secagg::PreKeySet set, Workbench& bench,
                           const secagg::Session& session) {
  secagg::PreKeyRecord& record = set.records[2];
  record.signature =
      bench.Forge(record.id.value(), session, secagg::kPreKeysLabel, secagg::PreKeyBody(record));
  return set;
}

INSTANTIATE_TEST_SUITE_P(
    PreKeys, HostileU0,
    testing::Values(Lie<secagg::PreKeySet>{"Case4ASubstitutedKeyForShares",
                                           [](auto set, auto&) {
                                             set.records[2].enc_key = set.records[3].enc_key;
                                             return set;
                                           },
                                           "does not verify"},
                    Lie<secagg::PreKeySet>{"Case4ASubstitutedKeyForMasks",
                                           [](auto set, auto&) {
                                             set.records[2].mask_key[1] ^= 1;
                                             return set;
                                           },
                                           "does not verify"},
                    Lie<secagg::PreKeySet>{"Case4OfAnotherSlot",
                                           [](auto set, Workbench& bench) {
                                             return Resigned(set, bench,
                                                             bench.SessionOf(kSlot + 1));
                                           },
                                           "does not verify"},
                    Lie<secagg::PreKeySet>{"Case4OfAnotherRun",
                                           [](auto set, Workbench& bench) {
                                             secagg::Session session = bench.SessionOf(kSlot);
                                             session.run[0] ^= 1;
                                             return Resigned(set, bench, session);
                                           },
                                           "does not verify"},
                    Lie<secagg::PreKeySet>{"Case4OneKeyTwice",
                                           [](auto set, Workbench& bench) {
                                             set.records[2].enc_key = set.records[3].enc_key;
                                             return Resigned(set, bench, bench.SessionOf(kSlot));
                                           },
                                           "stands there already"},
                    Lie<secagg::PreKeySet>{"Case4ThisSitesOwnKeysReplaced",
                                           [](auto set, auto&) {
                                             set.records[0].mask_key[1] ^= 1;
                                             return set;
                                           },
                                           "site 1"},
                    Lie<secagg::PreKeySet>{"Case5ASiteTwice",
                                           [](auto set, auto&) {
                                             set.records.insert(set.records.begin() + 2,
                                                                set.records[2]);
                                             return set;
                                           },
                                           "ascending"},
                    Lie<secagg::PreKeySet>{"Case6FewerThanTheSitesFloor",
                                           [](auto set, auto&) {
                                             set.records.resize(2);
                                             return set;
                                           },
                                           "this site's floor is 3"}),
    kNameOf);

TEST_F(HostileCoordinator, Case4ASecondU0) {
  bench_.PrepareSlot(kSlot);
  TakeSecrets();
  secagg::PreKeySet smaller;
  for (uint32_t id = 2; id < kSites; ++id) {
    smaller.records.push_back(*bench_.peer_slot(id, kSlot).PreKeys());
  }
  bench_.coordinator->SayStep(0, kSlot, v1::REQUEST_PRE_KEYS, {});
  const Bytes own = bench_.coordinator->HearStep(v1::PRE_KEYS);
  smaller.records.insert(smaller.records.begin(), *secagg::Decode<secagg::PreKeyRecord>(own));
  Say(v1::PRE_KEY_SET, smaller);
  ExpectSilence();
}

// 6. a lowered t or clip at R0, 11. another weight or scale for one site
class HostileManifest : public HostileCoordinator,
                        public testing::WithParamInterface<Lie<Manifest>> {};

TEST_P(HostileManifest, IsNotSigned) {
  bench_.PrepareSlot(kSlot);
  TakeSecrets();
  manifest_ = GetParam().tell(bench_.MakeManifest(1, kSlot), bench_);
  bench_.SayManifest(manifest_);
  ExpectRefusal(GetParam().reason);
  EXPECT_THAT(bench_.Asked(), testing::Not(testing::Contains("train 1")));
}

INSTANTIATE_TEST_SUITE_P(Manifests, HostileManifest,
                         testing::Values(Lie<Manifest>{"Case6LoweredThreshold",
                                                       [](auto m, auto&) {
                                                         m.threshold = kThreshold - 1;
                                                         return m;
                                                       },
                                                       "t = 4: must be 5"},
                                         Lie<Manifest>{"Case6FewerMembersThanT",
                                                       [](auto m, auto&) {
                                                         m.members.resize(kThreshold - 1);
                                                         return m;
                                                       },
                                                       "must be >= t = 5"},
                                         Lie<Manifest>{"Case6NoClip",
                                                       [](auto m, auto&) {
                                                         m.clip_norm_l2 = 1e7;
                                                         return m;
                                                       },
                                                       "clip_norm_l2"},
                                         Lie<Manifest>{"Case11AnotherLargestWeight",
                                                       [](auto m, auto&) {
                                                         m.weight_max = 10;
                                                         return m;
                                                       },
                                                       "weight_max"}),
                         kNameOf);

// An attempt is said to have failed and run again, from the same model, without one site: the
// difference of the two sums would be its update.
class TheRoundAgain : public HostileCoordinator, public testing::WithParamInterface<bool> {};
INSTANTIATE_TEST_SUITE_P(Restart, TheRoundAgain, testing::Bool(), [](const auto& restart) {
  return restart.param ? "InAnotherLife" : "InTheSameLife";
});

TEST_P(TheRoundAgain, Case10WithoutOneSite) {
  constexpr uint64_t kLater = 2;
  bench_.PrepareSlot(kLater);
  RunUntil(Until::kUnmask);
  if (GetParam()) {
    ASSERT_TRUE(bench_.StopAgent().ok());
    Begin();
    bench_.coordinator->HearStep(v1::COMMIT);
  }
  v1::CoordinatorMessage aborted;
  aborted.mutable_round_aborted()->set_job_id(1);
  aborted.mutable_round_aborted()->set_round(1);
  aborted.mutable_round_aborted()->set_slot(kSlot);
  bench_.coordinator->Say(aborted);
  const Manifest again = bench_.MakeManifest(1, kLater);
  bench_.SayManifest(again);
  bench_.SayCohort(again, bench_.TakeReadies(again));
  const auto survivors = *secagg::Decode<secagg::SurvivorSet>(bench_.TakeVectors(again));
  TakeSecrets(kLater);
  Say(v1::SURVIVORS, Without(survivors, {7}), kLater);
  ExpectRefusal("differs by 1 site (now without site 7)");
}

TEST_F(HostileCoordinator, Case11AnotherScaleForThisSite) {
  bench_.PrepareSlot(kSlot);
  manifest_ = bench_.MakeManifest(1, kSlot);
  TakeSecrets();
  manifest_.segments[1].scale *= 2;  // the site works the rule out itself
  bench_.SayManifest(manifest_);
  ExpectRefusal("the recipe's rule clip gives");
}

// 7. the round run again with the same slot, other scale or clip
TEST_F(HostileCoordinator, Case7TheSameSlotAgainWithAnotherScaleOrCohort) {
  RunUntil(Until::kSurvivors);
  const std::vector<std::function<void(Manifest&)>> changes = {
      [](Manifest& m) { m.segments[1].scale *= 2; },
      [](Manifest& m) { m.clip_norm_l2 = 10; },
      [](Manifest& m) { m.members.pop_back(); },
  };
  for (const auto& change : changes) {
    Manifest again = manifest_;
    change(again);
    Say(v1::MANIFEST, again);
    ExpectSilence();
  }
  // Not even for a coalition that signs anything.
  Manifest again = manifest_;
  changes[0](again);
  secagg::CohortSet cohort = cohort_;
  for (size_t i = 1; i < cohort.members.size(); ++i) {
    cohort.members[i].signature =
        bench_.Forge(cohort.members[i].id.value(), bench_.SessionOf(kSlot), secagg::kReadyLabel,
                     secagg::ReadyBody(secagg::HashOf(again)));
  }
  Say(v1::COHORT, cohort);
  EXPECT_EQ(bench_.coordinator->HearStep(v1::COMMIT), secagg::Encode(survivors_.members[0]));
  ExpectSilence();
  EXPECT_EQ(bench_.coordinator->uploads().different, 0);
  EXPECT_THAT(bench_.Asked(), testing::ElementsAre("train 1", "release 1"));
}

TEST_F(HostileCoordinator, Case7AnAbortedAttemptsSlotAgain) {
  RunUntil(Until::kSurvivors);
  v1::CoordinatorMessage message;
  message.mutable_round_aborted()->set_job_id(1);
  message.mutable_round_aborted()->set_round(1);
  message.mutable_round_aborted()->set_slot(kSlot);
  bench_.coordinator->Say(message);
  bench_.SayManifest(manifest_);
  Say(v1::COHORT, cohort_);
  Say(v1::SURVIVORS, survivors_);
  bench_.coordinator->SayStep(0, kSlot, v1::REQUEST_PRE_KEYS, {});
  // A later slot's pre-keys are the next word.
  bench_.coordinator->SayStep(0, kSlot + 1, v1::REQUEST_PRE_KEYS, {});
  EXPECT_FALSE(bench_.coordinator->HearStep(v1::PRE_KEYS).empty());
  ExpectNoSecrets();
}

// 8. a second, different unmask question, also after the site was killed
class HostileCoordinatorAndKill : public HostileCoordinator {
 protected:
  HostileCoordinatorAndKill() : HostileCoordinator(/*start=*/false) {
    BecomeSubreaper();  // what the killed agent leaves becomes ours to end
    agent_ = bench_.StartAgentProcess();
  }
  // SIGKILL; then another agent on the same site.db.
  void KillAndStartAgain() {
    ASSERT_TRUE(agent_);
    kill(agent_->pid(), SIGKILL);
    ASSERT_TRUE(agent_->Wait(5'000).ok());
    KillDescendants();  // mpirun and its ranks, which go with it sooner or later
    Begin();
    // The vector it committed to is offered again, and nothing else.
    EXPECT_EQ(bench_.coordinator->HearStep(v1::COMMIT), secagg::Encode(survivors_.members[0]));
  }

  std::optional<Process> agent_;
};

TEST_F(HostileCoordinatorAndKill, Case8KilledAfterItsAnswer) {
  RunUntil(Until::kUnmask);
  Say(v1::UNMASK_REQUEST, request_);
  const Bytes answer = bench_.coordinator->HearStep(v1::UNMASK_ANSWER);
  ASSERT_FALSE(answer.empty());
  answered_ = true;
  KillAndStartAgain();
  // The question that was answered gets the very same bytes.
  Say(v1::UNMASK_REQUEST, request_);
  EXPECT_EQ(bench_.coordinator->HearStep(v1::UNMASK_ANSWER), answer);
  // No other U3 is signed, and no other question answered, whoever signs it.
  Say(v1::SURVIVORS, Without(survivors_, {7}));
  ExpectSilence();
  Say(v1::UNMASK_REQUEST, Question(Without(survivors_, {7}), {2, 3, 4, 5, 6}));
  ExpectRefusal("does not verify");
}

TEST_F(HostileCoordinatorAndKill, Case8KilledAfterItSignedTheSurvivors) {
  RunUntil(Until::kUnmask);
  KillAndStartAgain();
  Say(v1::SURVIVORS, Without(survivors_, {7}));
  ExpectSilence();
  Say(v1::UNMASK_REQUEST, Question(Without(survivors_, {7}), {2, 3, 4, 5, 6}));
  ExpectRefusal("does not verify");
}

// 9. unmask asked for a site outside U2, or by too few or repeated signers
TEST_F(HostileCoordinator, Case9TooFewSigners) {
  RunUntil(Until::kUnmask);
  Say(v1::UNMASK_REQUEST, Question(survivors_, {2, 3, 4, 5}));
  ExpectRefusal("4 signatures: must be >= t = 5");
}

TEST_F(HostileCoordinator, Case9RepeatedSigners) {
  RunUntil(Until::kUnmask);
  Say(v1::UNMASK_REQUEST, Question(survivors_, {2, 3, 4, 5, 5}));
  ExpectRefusal("ascending");
}

TEST_F(HostileCoordinator, Case9ASignerThatIsNoSurvivor) {
  RunUntil(Until::kSurvivors);
  const secagg::SurvivorSet six = Without(survivors_, {7});
  Say(v1::SURVIVORS, six);
  EXPECT_FALSE(bench_.coordinator->HearStep(v1::SURVIVOR_SIGNATURE).empty());
  Say(v1::UNMASK_REQUEST, Question(six, {3, 4, 5, 6, 7}));
  ExpectRefusal("site 7 is not in U3");
}

TEST_F(HostileCoordinator, Case9ASurvivorOutsideU2) {
  RunUntil(Until::kCohort);
  const secagg::CohortSet six = Without(cohort_, {7});
  cohort_ = six;
  Say(v1::COHORT, six);
  const auto commit = secagg::Decode<secagg::Commit>(bench_.coordinator->HearStep(v1::COMMIT));
  ASSERT_TRUE(commit.ok());
  secagg::SurvivorSet seven{{*commit}};
  for (uint32_t id = 2; id <= kSites; ++id) {
    const Bytes body = secagg::CommitBody(Context(), commit->bytes, commit->root);
    seven.members.push_back(
        {SiteId(id), commit->bytes, commit->root,
         bench_.Forge(id, bench_.SessionOf(kSlot), secagg::kCommitLabel, body)});
  }
  Say(v1::SURVIVORS, seven);
  ExpectRefusal("site 7 is not in U2");
}

// 12. a wrong sum
class HostileSum : public HostileCoordinator {
 protected:
  // An honest round up to its sum; a vector of 1000 coordinates has one chunk beside the metrics.
  void RunUntilTheSum() {
    bench_.PrepareSlot(kSlot);
    manifest_ = bench_.MakeManifest(1, kSlot);
    bench_.SayManifest(manifest_);
    bench_.SayCohort(manifest_, bench_.TakeReadies(manifest_));
    bench_.Unmask(manifest_, bench_.TakeVectors(manifest_));
  }
  void ExpectFailure(const std::string& why) {
    const auto answer = bench_.coordinator->Hear();
    ASSERT_TRUE(answer && answer->has_failure()) << (answer ? answer->ShortDebugString() : "");
    EXPECT_THAT(answer->failure().reason(), HasSubstr("round 1: "));
    EXPECT_THAT(answer->failure().reason(), HasSubstr(why));
    EXPECT_FALSE(bench_.coordinator->Hear(300).has_value());
  }
};

// The model that is published follows from the sum that is published: only what the sites sent
// tells that it is wrong.
TEST_F(HostileSum, Case12AWrongSumAndTheNextModelThatItGives) {
  RunUntilTheSum();
  bench_.sum_chunks()[1][500] ^= 4;
  const secagg::Result result = bench_.MakeResult(manifest_);
  bench_.ShowVectors(manifest_);
  bench_.SayResult(manifest_, result);
  ExpectFailure("spot check: INVALID_ARGUMENT: chunk 1: the published sum is not the sum of what");
}

struct Show {
  const char* name;
  std::function<bool(v1::CheckedChunk&)> spoil;
  const char* why;
};

class HostileShow : public HostileSum, public testing::WithParamInterface<Show> {};

TEST_P(HostileShow, Case12EndsTheJobHere) {
  RunUntilTheSum();
  const secagg::Result result = bench_.MakeResult(manifest_);
  bench_.ShowVectors(manifest_, GetParam().spoil);
  bench_.SayResult(manifest_, result);
  ExpectFailure(std::string("spot check: INVALID_ARGUMENT: ") + GetParam().why);
}

bool IsOf(const v1::CheckedChunk& chunk, uint32_t site, uint32_t index) {
  return chunk.site_id() == site && chunk.chunk() == index;
}

INSTANTIATE_TEST_SUITE_P(
    Shown, HostileShow,
    testing::Values(
        Show{"AMissingVector", [](auto& m) { return !IsOf(m, 3, 1); },
             "chunk 1: site 3's vector is missing"},
        Show{"TheLastVectorMissing", [](auto& m) { return !IsOf(m, 7, 1); }, "chunk 1: 6 of 7"},
        Show{"AMissingChunk", [](auto& m) { return m.chunk() != 0; }, "chunk 0 is missing"},
        Show{"OtherBytes",
             [](auto& m) {
               if (IsOf(m, 2, 1)) m.mutable_data()->at(9) ^= 1;
               return true;
             },
             "chunk 1: site 2's vector is not the one that it committed to"},
        Show{"AnotherPath",
             [](auto& m) {
               if (IsOf(m, 2, 0)) m.mutable_path(0)->at(9) ^= 1;
               return true;
             },
             "chunk 0: site 2's vector is not the one that it committed to"},
        Show{"APathWithoutEnd",
             [](auto& m) {
               for (int i = 0; i < 100; ++i) m.add_path(std::string(32, 'x'));
               return true;
             },
             "chunk 0: an audit path of 101 nodes"},
        Show{"ANodeOfAnotherSize",
             [](auto& m) {
               m.add_path("short");
               return true;
             },
             "chunk 0: an audit path with a node of 5 bytes"},
        Show{"AnotherSite",
             [](auto& m) {
               if (m.site_id() == 2) m.set_site_id(9);
               return true;
             },
             "chunk 0: site 2's vector is missing, site 9's came"},
        Show{"AGroupThatIsNone",
             [](auto& m) {
               m.set_site_id(0);
               return true;
             },
             "chunk 0: more sums than groups"}),
    [](const auto& info) { return info.param.name; });

TEST_F(HostileSum, Case12NothingIsShown) {
  RunUntilTheSum();
  bench_.SayResult(manifest_, bench_.MakeResult(manifest_));
  ExpectFailure("does not show chunk 0: its sum is not to be checked now");
}

TEST_F(HostileSum, Case12TheSumIsNotToBeHad) {
  RunUntilTheSum();
  secagg::Result result = bench_.MakeResult(manifest_);
  result.sum[0] ^= 1;
  result.group_sums = {result.sum};
  bench_.SayResult(manifest_, result);
  ExpectFailure("no such blob");
}

struct Told {
  const char* name;
  std::function<void(secagg::Result&)> lie;
  const char* why;
};

class HostileResult : public HostileSum, public testing::WithParamInterface<Told> {};

TEST_P(HostileResult, Case12EndsTheJobHereBeforeAnythingIsFetched) {
  RunUntilTheSum();
  secagg::Result result = bench_.MakeResult(manifest_);
  GetParam().lie(result);
  bench_.ShowVectors(manifest_);
  const int before = bench_.coordinator->downloads();
  bench_.SayResult(manifest_, result);
  ExpectFailure(GetParam().why);
  EXPECT_EQ(bench_.coordinator->downloads(), before);
  EXPECT_TRUE(bench_.coordinator->checks().empty());
}

INSTANTIATE_TEST_SUITE_P(
    Told, HostileResult,
    testing::Values(Told{"ASecretOfItsOwn", [](auto& r) { r.secrets[2].secret.span()[3] ^= 1; },
                         "the secret of site 3 is not the one"},
                    Told{"ASurvivorLess",
                         [](auto& r) {
                           r.survivors.members.pop_back();
                           --r.sites;
                         },
                         "not those that this site signed"},
                    Told{"AnotherVector", [](auto& r) { r.survivors.members[3].root[0] ^= 1; },
                         "commit: site 4's signature does not verify"},
                    Told{"FewerSignatures", [](auto& r) { r.signatures.resize(4); },
                         "must be >= t = 5"}),
    [](const auto& info) { return info.param.name; });

// 14. an old manifest
TEST_F(HostileCoordinator, Case14TheManifestOfARoundThatIsOver) {
  bench_.PrepareSlot(kSlot);
  bench_.PrepareSlot(2);
  bench_.RunRound(1, kSlot);
  bench_.RunRound(2, 2);
  bench_.PrepareSlot(3);
  Manifest old = bench_.MakeManifest(2, 3);
  bench_.SayManifest(old);
  const auto answer = bench_.coordinator->Hear();
  ASSERT_TRUE(answer && answer->has_failure());
  EXPECT_THAT(answer->failure().reason(), HasSubstr("round 2: this site is at 3"));
  EXPECT_FALSE(bench_.coordinator->Hear(300).has_value());
}

}  // namespace
}  // namespace atl::site
