// A coordinator that lies: every honest site refuses, with nothing secret sent. Real cryptography.
#include <gtest/gtest.h>

#include <functional>

#include "comms/base/crypto/sha256.h"
#include "comms/base/status.h"
#include "federation/secagg/mask_keys.h"
#include "federation/secagg/shamir.h"
#include "federation/secagg/signed_bodies.h"
#include "federation/secagg/signing.h"
#include "tests/secagg/harness.h"

namespace atl::secagg {
namespace {

class Hostile : public ::testing::Test {
 protected:
  explicit Hostile(FederationOptions options = {.sites = 5, .seed = 31, .suite = &OpensslSuite()})
      : federation_(options) {}

  // A statement under a stolen identity: what a corrupt site can sign for the coordinator.
  Signature Forge(uint32_t id, std::string_view label, ByteView body) {
    return ForgeIn(federation_.session, id, label, body);
  }
  Signature ForgeIn(const Session& session, uint32_t id, std::string_view label, ByteView body) {
    return SignBody(OpensslSuite(), federation_.site(id).identity.seed, session, label, body);
  }
  Digest Context() { return ContextOf(HashOf(federation_.manifest), IdsOf(federation_.u2)); }
  SurvivorSet Without(SurvivorSet set, uint32_t id) {
    std::erase_if(set.members, [&](const Commit& c) { return c.id == SiteId(id); });
    return set;
  }
  // The slot of a site as it stands in its journal, with a journal of its own: to try what must be
  // refused.
  SiteSlot Copy(uint32_t id) {
    TestSite& site = federation_.site(id);
    return *SiteSlot::Restore(site.identity, *site.journal.durable(), scratch_);
  }

  Federation federation_;
  MemoryJournal scratch_;
};

void ExpectRefusal(const absl::Status& status, absl::StatusCode code, std::string_view why) {
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_NE(std::string(status.message()).find(why), std::string::npos)
      << status << " lacks: " << why;
}

using enum absl::StatusCode;
constexpr auto kInvalid = kInvalidArgument, kForged = kUnauthenticated, kDenied = kPermissionDenied,
               kAnswered = kFailedPrecondition;

// 1. one id both alive and dead
TEST_F(Hostile, Case1OneIdBothAliveAndDead) {
  ASSERT_EQ(federation_.RunUntil(Step::kAnswer), absl::OkStatus());
  // All signed U3 with site 8 alive. Now it is said to be dead, with the signatures that three
  // corrupt sites give.
  const SurvivorSet dead = Without(federation_.u3, 8);
  UnmaskRequest request;
  for (uint32_t id : {3, 13, 18, 23}) {
    request.signatures.push_back(
        {SiteId(id), Forge(id, kSurvivorsLabel, SurvivorsBody(Context(), IdsOf(dead)))});
  }
  for (auto& [id, site] : federation_.sites()) {
    const auto signature = site->slot->SignSurvivors(dead);
    EXPECT_FALSE(signature.ok());
    ExpectRefusal(site->slot->Unmask(request).status(), kForged, "does not verify");
  }
  // What is answered holds for every owner exactly one share.
  for (auto& [id, site] : federation_.sites()) {
    const UnmaskAnswer answer = *site->slot->Unmask(federation_.request);
    ASSERT_EQ(answer.items.size(), 5u);
    for (size_t i = 0; i < answer.items.size(); ++i) {
      EXPECT_EQ(answer.items[i].owner, federation_.u2.members[i].id);
      EXPECT_EQ(answer.items[i].kind, ShareKind::kSelf);
    }
  }
}

TEST_F(Hostile, Case1DroppedSitesGiveOnlyTheirMaskKey) {
  federation_.site(8).drops_at = Step::kUpload;
  ASSERT_EQ(federation_.RunUntil(Step::kNever), absl::OkStatus());
  for (uint32_t id : {3, 13, 18, 23}) {
    const UnmaskAnswer answer = *federation_.site(id).slot->Unmask(federation_.request);
    for (const UnmaskAnswer::Item& item : answer.items) {
      EXPECT_EQ(item.kind, item.owner == SiteId(8) ? ShareKind::kMaskKey : ShareKind::kSelf);
    }
    EXPECT_EQ(answer.items.size(), 5u);
  }
  EXPECT_EQ(*federation_.Sum(), federation_.ExpectedSum());
}

TEST_F(Hostile, Case1TheOtherShareIsGoneOnceAnswered) {
  ASSERT_EQ(federation_.RunAll(), absl::OkStatus());
  // The journal of a holder keeps neither kind of the other shares: the dealer's own sharing shows
  // what to look for.
  TestSite& dealer = federation_.site(3);
  TestRandom random(31 * 1000 + 3);
  for (int i = 0; i < 3; ++i) random.Draw32();  // its keys
  TestRandom again(31 * 1000 + 3);
  again.Draw32();
  const Secret32 mask_secret = again.Draw32();
  const auto shares = *SplitSecret(mask_secret, 4, 5, random);
  const Bytes bundle = Encode(*dealer.slot->DealShares(federation_.u0));
  const Digest hash =
      ShareHash(federation_.session, ShareKind::kMaskKey, SiteId(3), SiteId(8), shares[1]);
  ASSERT_NE(std::search(bundle.begin(), bundle.end(), hash.begin(), hash.end()), bundle.end())
      << "the test knows the share that site 8 was dealt";
  const Bytes& journal = *federation_.site(8).journal.durable();
  EXPECT_EQ(
      std::search(journal.begin(), journal.end(), shares[1].span().begin(), shares[1].span().end()),
      journal.end());
}

// 2. another U2 shown to one site
TEST_F(Hostile, Case2AnotherU2ShownToOneSite) {
  ASSERT_EQ(federation_.RunUntil(Step::kCommit), absl::OkStatus());
  CohortSet smaller = federation_.u2;  // a valid set of R1 signatures, only not the same
  smaller.members.pop_back();
  TestSite& fooled = federation_.site(3);
  ASSERT_TRUE(fooled.slot->EnterContext(smaller).ok());
  const uint64_t bytes = federation_.layout().packed_bytes();
  const Commit commit = *fooled.slot->SignCommit(bytes, {});
  // Its commit verifies nowhere else: not at an honest coordinator, not at the other sites, and
  // theirs not at it.
  fooled.drops_at = Step::kCommit;
  ASSERT_EQ(federation_.Commits(), absl::OkStatus());
  SurvivorSet mixed = federation_.u3;
  mixed.members.insert(mixed.members.begin(), commit);
  for (uint32_t id : {8, 13, 18, 23}) {
    ExpectRefusal(federation_.site(id).slot->SignSurvivors(mixed).status(), kForged, "site 3");
  }
  SurvivorSet for_fooled = Without(mixed, 23);
  ExpectRefusal(fooled.slot->SignSurvivors(for_fooled).status(), kForged, "site 8");
}

TEST_F(Hostile, Case2ASecondU2) {
  ASSERT_EQ(federation_.RunUntil(Step::kCommit), absl::OkStatus());
  TestSite& site = federation_.site(3);
  ASSERT_TRUE(site.slot->EnterContext(federation_.u2).ok());
  CohortSet smaller = federation_.u2;
  smaller.members.pop_back();
  ExpectRefusal(site.slot->EnterContext(smaller).status(), kAnswered, "another one");
  federation_.Restart(site);
  ExpectRefusal(site.slot->EnterContext(smaller).status(), kAnswered, "another one");
}

TEST_F(Hostile, Case2U2MustBeSignedContainThisSiteAndLieInU1) {
  federation_.site(23).drops_at = Step::kReceipt;  // in U0, not in U1
  ASSERT_EQ(federation_.RunUntil(Step::kCommit), absl::OkStatus());
  ASSERT_EQ(federation_.u2.members.size(), 4u);
  const CohortSet good = federation_.u2;
  CohortSet bad = good;
  bad.members[2].signature[10] ^= 1;
  ExpectRefusal(Copy(3).EnterContext(bad).status(), kForged, "site 13");
  bad = good;
  bad.members.push_back(
      {SiteId(23), Forge(23, kReadyLabel, ReadyBody(HashOf(federation_.manifest)))});
  ExpectRefusal(Copy(3).EnterContext(bad).status(), kInvalid, "site 23 is not in U1");
  bad = good;
  bad.members.erase(bad.members.begin());
  ExpectRefusal(Copy(3).EnterContext(bad).status(), kInvalid, "this site is not in it");
  bad = good;
  bad.members.insert(bad.members.begin(), bad.members[0]);
  ExpectRefusal(Copy(3).EnterContext(bad).status(), kInvalid, "twice");
  bad = good;
  std::swap(bad.members[1], bad.members[2]);
  ExpectRefusal(Copy(3).EnterContext(bad).status(), kInvalid, "out of order");
  bad.members.resize(0);
  ExpectRefusal(Copy(3).EnterContext(bad).status(), kInvalid, "this site is not in it");
  EXPECT_TRUE(Copy(3).EnterContext(good).ok());
}

// 3. another U3 shown to one site, or a second U3 to sign
TEST_F(Hostile, Case3AnotherU3ShownToOneSite) {
  ASSERT_EQ(federation_.RunUntil(Step::kSurvivors), absl::OkStatus());
  const SurvivorSet all = federation_.u3, fewer = Without(all, 23);
  // Site 3 signs one without 23; the others sign the whole.
  const SurvivorSignature odd = *federation_.site(3).slot->SignSurvivors(fewer);
  std::vector<SurvivorSignature> signatures;
  for (uint32_t id : {8, 13, 18, 23}) {
    signatures.push_back(*federation_.site(id).slot->SignSurvivors(all));
  }
  // The four that agree are t = 4: they go on. Site 3, alone with its U3, gives nothing.
  ExpectRefusal(federation_.site(3).slot->Unmask({signatures}).status(), kForged,
                "does not verify");
  UnmaskRequest mixed{{odd, signatures[0], signatures[1], signatures[2]}};
  ExpectRefusal(federation_.site(3).slot->Unmask(mixed).status(), kForged, "site 8");
  ExpectRefusal(federation_.site(8).slot->Unmask(mixed).status(), kForged, "site 3");
  EXPECT_TRUE(federation_.site(8).slot->Unmask({signatures}).ok());
}

TEST_F(Hostile, Case3ASecondU3ToSign) {
  ASSERT_EQ(federation_.RunUntil(Step::kAnswer), absl::OkStatus());
  const SurvivorSet fewer = Without(federation_.u3, 23);
  for (uint32_t id : {3, 8, 13, 18}) {
    TestSite& site = federation_.site(id);
    ExpectRefusal(site.slot->SignSurvivors(fewer).status(), kAnswered, "another one");
    federation_.Restart(site);
    ExpectRefusal(site.slot->SignSurvivors(fewer).status(), kAnswered, "another one");
  }
}

TEST_F(Hostile, Case3ASecondU3AfterACrashThatLostTheFirst) {
  // A signature that was never returned may be of another U3; one that was returned may not.
  ASSERT_EQ(federation_.RunUntil(Step::kSurvivors), absl::OkStatus());
  TestSite& site = federation_.site(3);
  site.journal.CrashAt(0, /*durable=*/false);
  EXPECT_TRUE(absl::IsUnavailable(site.slot->SignSurvivors(federation_.u3).status()));
  federation_.Restart(site);
  EXPECT_TRUE(site.slot->SignSurvivors(Without(federation_.u3, 23)).ok());
  site.journal.CrashAt(0, /*durable=*/true);
  federation_.Restart(site);
  ExpectRefusal(site.slot->SignSurvivors(federation_.u3).status(), kAnswered, "another one");
}

TEST_F(Hostile, Case3U3MustBeCommittedContainThisSiteAndLieInU2) {
  federation_.site(23).drops_at = Step::kReady;  // in U1, not in U2
  ASSERT_EQ(federation_.RunUntil(Step::kSurvivors), absl::OkStatus());
  const SurvivorSet good = federation_.u3;
  SurvivorSet bad = good;
  bad.members[2].signature[3] ^= 0x40;
  ExpectRefusal(Copy(3).SignSurvivors(bad).status(), kForged, "site 13");
  bad = good;
  bad.members[2].root[3] ^= 1;
  ExpectRefusal(Copy(3).SignSurvivors(bad).status(), kForged, "site 13");
  bad = good;
  bad.members[2].bytes += 1;
  ExpectRefusal(Copy(3).SignSurvivors(bad).status(), kInvalid, "site 13 committed to");
  bad = good;
  Commit outside{SiteId(23), good.members[0].bytes, {}, {}};
  outside.signature = Forge(23, kCommitLabel, CommitBody(Context(), outside.bytes, outside.root));
  bad.members.push_back(outside);
  ExpectRefusal(Copy(3).SignSurvivors(bad).status(), kInvalid, "site 23 is not in U2");
  ExpectRefusal(Copy(3).SignSurvivors(Without(good, 3)).status(), kInvalid,
                "this site is not in it");
  bad = good;
  bad.members.push_back(bad.members.back());
  ExpectRefusal(Copy(3).SignSurvivors(bad).status(), kInvalid, "twice");
  bad = good;
  bad.members[0].root[0] ^= 1;
  bad.members[0].signature =
      Forge(3, kCommitLabel, CommitBody(Context(), bad.members[0].bytes, bad.members[0].root));
  ExpectRefusal(Copy(3).SignSurvivors(bad).status(), kInvalid, "not the one it signed");
  EXPECT_TRUE(Copy(3).SignSurvivors(good).ok());
}

// 4. a substituted or replayed pre-key
TEST_F(Hostile, Case4ASubstitutedPreKey) {
  ASSERT_EQ(federation_.RunUntil(Step::kShares), absl::OkStatus());
  const KeyPair own = OpensslSuite().AgreementKeyPair(TestRandom(1).Draw32());
  for (PublicKey PreKeyRecord::*key : {&PreKeyRecord::enc_key, &PreKeyRecord::mask_key}) {
    PreKeySet u0 = federation_.u0;
    u0.records[1].*key = own.public_key;
    ExpectRefusal(Copy(3).DealShares(u0).status(), kForged, "site 8");
  }
  PreKeySet u0 = federation_.u0;
  u0.records[1].b_commit[0] ^= 1;
  ExpectRefusal(Copy(3).DealShares(u0).status(), kForged, "site 8");
  u0 = federation_.u0;
  u0.records[1].id = SiteId(9);  // under another id
  ExpectRefusal(Copy(3).DealShares(u0).status(), kInvalid, "site 9 is not in the roster");
}

TEST_F(Hostile, Case4AReplayedPreKeyOfAnotherRunSlotGroupOrRoster) {
  ASSERT_EQ(federation_.RunUntil(Step::kShares), absl::OkStatus());
  std::vector<Session> others(4, federation_.session);
  others[0].run[0] ^= 1;
  others[1].slot = SlotId(8);
  others[2].group = 1;
  others[3].roster[0] ^= 1;
  for (const Session& other : others) {
    PreKeySet u0 = federation_.u0;
    u0.records[1].signature = ForgeIn(other, 8, kPreKeysLabel, PreKeyBody(u0.records[1]));
    ExpectRefusal(Copy(3).DealShares(u0).status(), kForged, "site 8");
  }
}

TEST_F(Hostile, Case4ThisSitesOwnRecordReplaced) {
  ASSERT_EQ(federation_.RunUntil(Step::kShares), absl::OkStatus());
  PreKeySet u0 = federation_.u0;
  // Truly signed by this site, as one that was made before a crash might be; its secrets are gone.
  u0.records[0].mask_key = OpensslSuite().AgreementKeyPair(TestRandom(2).Draw32()).public_key;
  u0.records[0].signature = Forge(3, kPreKeysLabel, PreKeyBody(u0.records[0]));
  ExpectRefusal(Copy(3).DealShares(u0).status(), kInvalid, "own record");
  u0.records.erase(u0.records.begin());
  ExpectRefusal(Copy(3).DealShares(u0).status(), kInvalid, "this site is not in it");
}

TEST_F(Hostile, Case4AKeyOfLowOrderOrOfAnotherSite) {
  ASSERT_EQ(federation_.RunUntil(Step::kShares), absl::OkStatus());
  PreKeySet u0 = federation_.u0;
  u0.records[1].enc_key = {};  // all zeros: the shared secret would be zero
  u0.records[1].signature = Forge(8, kPreKeysLabel, PreKeyBody(u0.records[1]));
  ExpectRefusal(Copy(3).DealShares(u0).status(), kInvalid, "enc_pk of site 8");
  u0 = federation_.u0;
  u0.records[1].mask_key = u0.records[2].mask_key;
  u0.records[1].signature = Forge(8, kPreKeysLabel, PreKeyBody(u0.records[1]));
  ExpectRefusal(Copy(3).DealShares(u0).status(), kInvalid, "stands there already");
}

TEST_F(Hostile, Case4ASecondU0) {
  ASSERT_EQ(federation_.RunUntil(Step::kReceipt), absl::OkStatus());
  PreKeySet u0 = federation_.u0;
  u0.records.pop_back();
  for (auto& [id, site] : federation_.sites()) {
    ExpectRefusal(site->slot->DealShares(u0).status(), kAnswered, "another one");
    federation_.Restart(*site);
    ExpectRefusal(site->slot->DealShares(u0).status(), kAnswered, "another one");
  }
}

TEST_F(Hostile, Case4SharesFromASplitU0AreNotOpened) {
  // Site 23 was shown U0 without site 18: what it deals is bound to that U0, and every holder
  // complains.
  ASSERT_EQ(federation_.RunUntil(Step::kShares), absl::OkStatus());
  PreKeySet other = federation_.u0;
  other.records.erase(other.records.begin() + 3);
  const ShareBundle odd = *federation_.site(23).slot->DealShares(other);
  federation_.site(23).drops_at = Step::kShares;
  ASSERT_EQ(federation_.Shares(), absl::OkStatus());
  EXPECT_FALSE(federation_.coordinator->AddShares(odd).ok());
  ShareDelivery delivery = *federation_.coordinator->DeliveryFor(SiteId(3));
  delivery.items.push_back(
      {SiteId(23), odd.mask_share_hashes, odd.b_share_hashes, odd.signature, odd.envelopes[0]});
  const ShareReceipt receipt = *federation_.site(3).slot->TakeShares(delivery);
  EXPECT_EQ(receipt.complaints, std::vector<SiteId>{SiteId(23)});
}

// 5. a duplicate id
TEST_F(Hostile, Case5ADuplicateId) {
  ASSERT_EQ(federation_.RunUntil(Step::kShares), absl::OkStatus());
  PreKeySet u0 = federation_.u0;
  u0.records.insert(u0.records.begin() + 1, u0.records[1]);
  ExpectRefusal(Copy(3).DealShares(u0).status(), kInvalid, "site 8 stands twice");
  u0 = federation_.u0;  // the same id with two key sets, both truly signed
  PreKeyRecord second = u0.records[1];
  second.mask_key = OpensslSuite().AgreementKeyPair(TestRandom(1).Draw32()).public_key;
  second.signature = Forge(8, kPreKeysLabel, PreKeyBody(second));
  u0.records.insert(u0.records.begin() + 2, second);
  ExpectRefusal(Copy(3).DealShares(u0).status(), kInvalid, "site 8 stands twice");
  u0 = federation_.u0;
  std::swap(u0.records[1], u0.records[2]);
  ExpectRefusal(Copy(3).DealShares(u0).status(), kInvalid, "out of order");
}

TEST_F(Hostile, Case5ADuplicateDealer) {
  ASSERT_EQ(federation_.RunUntil(Step::kReceipt), absl::OkStatus());
  const ShareDelivery good = *federation_.coordinator->DeliveryFor(SiteId(3));
  ShareDelivery bad = good;
  bad.items.insert(bad.items.begin(), bad.items[0]);
  ExpectRefusal(Copy(3).TakeShares(bad).status(), kInvalid, "twice");
  bad = good;
  bad.items[0].dealer = SiteId(3);
  ExpectRefusal(Copy(3).TakeShares(bad).status(), kInvalid, "not another member of U0");
  bad = good;
  bad.items[3].dealer = SiteId(99);
  ExpectRefusal(Copy(3).TakeShares(bad).status(), kInvalid, "not another member of U0");
  EXPECT_TRUE(Copy(3).TakeShares(good).ok());
}

TEST_F(Hostile, Case5ADuplicateMember) {
  ASSERT_EQ(federation_.RunUntil(Step::kReady), absl::OkStatus());
  Manifest manifest = federation_.manifest;
  manifest.members.insert(manifest.members.begin(), manifest.members[0]);
  ExpectRefusal(Copy(3).CheckManifest(manifest, federation_.expected), kInvalid, "twice");
}

// 6. a lowered t, m or clip
TEST_F(Hostile, Case6LoweredCohortAtE2) {
  FederationOptions options{.sites = 4, .seed = 5, .suite = &OpensslSuite()};
  options.floors.cohort_min = 5;
  options.cohort_min = 2;
  Federation federation(options);
  ASSERT_EQ(federation.PreKeys(), absl::OkStatus());
  ExpectRefusal(federation.Shares(), kDenied, "4 sites: this site's floor is 5");
  PreKeySet two = federation.u0;
  two.records.resize(2);
  ExpectRefusal(federation.site(3).slot->DealShares(two).status(), kDenied, "2 sites");
}

TEST_F(Hostile, Case6LoweredThresholdAtE2) {
  // A dealer that was told a lower t deals nothing that the others open: t is signed and in the
  // associated data.
  FederationOptions options{.sites = 3, .seed = 6, .suite = &OpensslSuite()};
  Federation federation(options);
  federation.site(13).identity.floors.allow_two_of_three = true;  // this one alone takes t = 2
  ASSERT_EQ(federation.PreKeys(), absl::OkStatus());
  const ShareBundle low = *federation.site(13).slot->DealShares(federation.u0);
  EXPECT_TRUE(absl::IsUnauthenticated(federation.coordinator->AddShares(low)));
  const ShareBundle own = *federation.site(3).slot->DealShares(federation.u0);
  ShareDelivery delivery;
  delivery.items.push_back(
      {SiteId(13), low.mask_share_hashes, low.b_share_hashes, low.signature, low.envelopes[0]});
  const ShareReceipt receipt = *federation.site(3).slot->TakeShares(delivery);
  EXPECT_EQ(receipt.complaints, (std::vector<SiteId>{SiteId(8), SiteId(13)}));
}

TEST_F(Hostile, Case6LoweredThresholdOrClipAtR0) {
  ASSERT_EQ(federation_.RunUntil(Step::kReady), absl::OkStatus());
  struct Lie {
    const char* why;
    absl::StatusCode code;
    std::function<void(Manifest&)> tell;
  };
  const std::vector<Lie> lies = {
      {"t = 3: must be 4", kInvalid, [](Manifest& m) { m.threshold = 3; }},
      {"t = 0: must be 4", kInvalid, [](Manifest& m) { m.threshold = 0; }},
      {"t = 5: must be 4", kInvalid, [](Manifest& m) { m.threshold = 5; }},
      {"must be >= t = 4", kInvalid, [](Manifest& m) { m.members.resize(3); }},
      {"clip_norm_l2 1e+07: this site allows", kDenied, [](Manifest& m) { m.clip_norm_l2 = 1e7; }},
      {"clip_norm_l2 0: must be > 0", kInvalid, [](Manifest& m) { m.clip_norm_l2 = 0; }},
      {"clip_norm_l2 -1: must be > 0", kInvalid, [](Manifest& m) { m.clip_norm_l2 = -1; }},
      {"weight_max 1000000001", kDenied, [](Manifest& m) { m.weight_max = 1'000'000'001; }},
      {"weight_max 0", kInvalid, [](Manifest& m) { m.weight_max = 0; }},
      {"masked is false", kInvalid, [](Manifest& m) { m.masked = false; }},
      {"another run", kInvalid, [](Manifest& m) { m.run[0] ^= 1; }},
      {"slot 8", kInvalid, [](Manifest& m) { m.slot = SlotId(8); }},
      {"group 1", kInvalid, [](Manifest& m) { m.group = 1; }},
      {"H(U0)", kInvalid, [](Manifest& m) { m.pre_keys[0] ^= 1; }},
      {"round 5", kInvalid, [](Manifest& m) { m.round = RoundId(5); }},
      {"model", kInvalid, [](Manifest& m) { m.model[0] ^= 1; }},
      {"recipe", kInvalid, [](Manifest& m) { m.recipe[0] ^= 1; }},
      {"sum_bits 13: must be >= 14", kInvalid, [](Manifest& m) { m.segments[2].sum_bits = 13; }},
      {"segment 0", kInvalid, [](Manifest& m) { m.segments[0].value_bits = 60; }},
      {"segment 1", kInvalid, [](Manifest& m) { m.segments[1].length = 0; }},
      {"segment 1", kInvalid, [](Manifest& m) { m.segments[1].scale = -1; }},
      {"segments", kInvalid, [](Manifest& m) { m.segments.clear(); }},
      {"this site is not in it", kInvalid, [](Manifest& m) { m.members.erase(m.members.begin()); }},
      {"site 99 is not in U0", kInvalid, [](Manifest& m) { m.members.push_back(SiteId(99)); }},
      {"weight rule", kInvalid, [](Manifest& m) { m.weight_rule = static_cast<WeightRule>(7); }},
      {"noise_stddev 0.5: must be 0", kInvalid, [](Manifest& m) { m.noise_stddev = 0.5; }},
      {"envelopes under ChaCha20-Poly1305: this slot's were under AES-256-GCM", kInvalid,
       [](Manifest& m) { m.aead = Aead::kChaCha20Poly1305; }},
      {"mask cipher", kInvalid,
       [](Manifest& m) { m.cipher = static_cast<kernels::MaskCipher>(7); }},
  };
  SiteSlot slot = Copy(3);
  for (const Lie& lie : lies) {
    Manifest manifest = federation_.manifest;
    lie.tell(manifest);
    ExpectRefusal(slot.CheckManifest(manifest, federation_.expected), lie.code, lie.why);
    EXPECT_FALSE(slot.SignReady(manifest, federation_.expected).ok()) << lie.why;
    EXPECT_EQ(slot.state(), SlotState::kShared) << lie.why;
  }
  EXPECT_TRUE(slot.SignReady(federation_.manifest, federation_.expected).ok());
}

TEST_F(Hostile, Case6TooFewAtU2AndU3) {
  ASSERT_EQ(federation_.RunUntil(Step::kCommit), absl::OkStatus());
  CohortSet three = federation_.u2;
  three.members.resize(3);
  ExpectRefusal(Copy(3).EnterContext(three).status(), kInvalid, "3 sites: must be >= t = 4");
  ASSERT_EQ(federation_.Commits(), absl::OkStatus());
  SurvivorSet survivors = federation_.u3;
  survivors.members.resize(3);
  ExpectRefusal(Copy(3).SignSurvivors(survivors).status(), kInvalid, "3 sites: must be >= t = 4");
}

TEST_F(Hostile, Case6TheSitesOwnCohortFloorHoldsAtU2AndU3) {
  FederationOptions options{.sites = 5, .seed = 8, .suite = &OpensslSuite()};
  options.floors.cohort_min = 5;  // over t = 4
  Federation federation(options);
  ASSERT_EQ(federation.RunUntil(Step::kCommit), absl::OkStatus());
  CohortSet four = federation.u2;
  four.members.pop_back();
  ExpectRefusal(federation.site(3).slot->EnterContext(four).status(), kDenied, "floor is 5");
  ASSERT_EQ(federation.Commits(), absl::OkStatus());
  ExpectRefusal(federation.site(3).slot->SignSurvivors(Without(federation.u3, 23)).status(),
                kDenied, "floor is 5");
}

TEST_F(Hostile, Case6MembersWhoseSharesThisSiteLacks) {
  ASSERT_EQ(federation_.RunUntil(Step::kReceipt), absl::OkStatus());
  ShareDelivery delivery = *federation_.coordinator->DeliveryFor(SiteId(3));
  delivery.items[1].envelope[5] ^= 1;
  TestSite& site = federation_.site(3);
  const ShareReceipt receipt = *site.slot->TakeShares(delivery);
  ASSERT_EQ(receipt.complaints, std::vector<SiteId>{SiteId(13)});
  // The coordinator keeps site 13 in U1 all the same.
  Manifest manifest = federation_.DraftManifest();
  manifest.run = federation_.session.run;
  manifest.slot = federation_.session.slot;
  manifest.pre_keys = HashOf(federation_.u0);
  manifest.members = federation_.coordinator->u0();
  manifest.threshold = 4;
  ExpectRefusal(site.slot->CheckManifest(manifest, federation_.expected), kInvalid,
                "holds no shares of site 13");
}

// 7. the round run again with the same slot, other scale or clip
TEST_F(Hostile, Case7TheRoundAgainWithTheSameSlot) {
  ASSERT_EQ(federation_.RunUntil(Step::kCommit), absl::OkStatus());
  for (const auto& change : std::vector<std::function<void(Manifest&)>>{
           [](Manifest& m) { m.segments[2].scale *= 2; }, [](Manifest& m) { m.clip_norm_l2 = 19; },
           [](Manifest& m) { m.weight_max = 999; }, [](Manifest& m) { m.members.pop_back(); }}) {
    Manifest manifest = federation_.manifest;
    change(manifest);
    for (auto& [id, site] : federation_.sites()) {
      federation_.Restart(*site);
      if (!Contains(manifest.members, id)) continue;
      ExpectRefusal(site->slot->SignReady(manifest, federation_.expected).status(), kAnswered,
                    "another one");
    }
  }
}

// 8. a second, different unmask question, also after a restart
TEST_F(Hostile, Case8ASecondUnmaskQuestion) {
  ASSERT_EQ(federation_.RunAll(), absl::OkStatus());
  const SurvivorSet dead = Without(federation_.u3, 23);
  UnmaskRequest second;
  for (uint32_t id : {3, 8, 13, 18}) {
    second.signatures.push_back(
        {SiteId(id), Forge(id, kSurvivorsLabel, SurvivorsBody(Context(), IdsOf(dead)))});
  }
  for (auto& [id, site] : federation_.sites()) {
    const Bytes first = Encode(*site->slot->Unmask(federation_.request));
    ExpectRefusal(site->slot->Unmask(second).status(), kForged, "does not verify");
    federation_.Restart(*site);
    ExpectRefusal(site->slot->Unmask(second).status(), kForged, "does not verify");
    EXPECT_EQ(Encode(*site->slot->Unmask(federation_.request)), first);
  }
}

TEST_F(Hostile, Case8KilledWhileItAnswers) {
  for (bool durable : {false, true}) {
    Federation federation({.sites = 5, .seed = 33, .suite = &OpensslSuite()});
    ASSERT_EQ(federation.RunUntil(Step::kAnswer), absl::OkStatus());
    TestSite& site = federation.site(3);
    site.journal.CrashAt(0, durable);
    EXPECT_TRUE(absl::IsUnavailable(site.slot->Unmask(federation.request).status()));
    federation.Restart(site);
    EXPECT_EQ(site.slot->state(), durable ? SlotState::kAnswered : SlotState::kSigned);
    ExpectRefusal(site.slot->SignSurvivors(Without(federation.u3, 23)).status(), kAnswered,
                  "another one");
    EXPECT_TRUE(site.slot->Unmask(federation.request).ok());
  }
}

// 9. unmask asked for a site outside U2, or by too few or repeated signers
TEST_F(Hostile, Case9UnmaskByTooFewSigners) {
  ASSERT_EQ(federation_.RunUntil(Step::kAnswer), absl::OkStatus());
  UnmaskRequest three = federation_.request;
  three.signatures.resize(3);
  ExpectRefusal(Copy(3).Unmask(three).status(), kInvalid, "3 signatures: must be >= t = 4");
  ExpectRefusal(Copy(3).Unmask({}).status(), kInvalid, "0 signatures");
}

TEST_F(Hostile, Case9UnmaskByRepeatedSigners) {
  ASSERT_EQ(federation_.RunUntil(Step::kAnswer), absl::OkStatus());
  UnmaskRequest repeated = federation_.request;
  repeated.signatures.resize(3);
  repeated.signatures.push_back(repeated.signatures.back());
  ExpectRefusal(Copy(3).Unmask(repeated).status(), kInvalid, "site 13 signs twice");
}

TEST_F(Hostile, Case9UnmaskSignedBySitesOutsideU3) {
  federation_.site(8).drops_at = Step::kUpload;  // in U2, not in U3
  ASSERT_EQ(federation_.RunUntil(Step::kAnswer), absl::OkStatus());
  const Bytes body = SurvivorsBody(Context(), IdsOf(federation_.u3));
  UnmaskRequest request;
  for (uint32_t id : {3, 8, 13, 18}) {
    request.signatures.push_back({SiteId(id), Forge(id, kSurvivorsLabel, body)});
  }
  ExpectRefusal(Copy(3).Unmask(request).status(), kInvalid, "site 8 is not in U3");
}

TEST_F(Hostile, Case9NothingIsToldOfASiteOutsideU2) {
  federation_.site(23).drops_at = Step::kReady;  // dealt its shares, masked nothing
  ASSERT_EQ(federation_.RunAll(), absl::OkStatus());
  for (uint32_t id : {3, 8, 13, 18}) {
    const UnmaskAnswer answer = *federation_.site(id).slot->Unmask(federation_.request);
    for (const auto& item : answer.items) EXPECT_NE(item.owner, SiteId(23));
    EXPECT_EQ(answer.items.size(), 4u);
  }
  // Nor can U3 be made to hold it.
  SurvivorSet bad = federation_.u3;
  Commit commit{SiteId(23), bad.members[0].bytes, {}, {}};
  commit.signature = Forge(23, kCommitLabel, CommitBody(Context(), commit.bytes, commit.root));
  bad.members.push_back(commit);
  EXPECT_FALSE(federation_.site(3).slot->SignSurvivors(bad).ok());
  // And the site itself, which entered no context, answers nothing.
  ExpectRefusal(federation_.site(23).slot->Unmask(federation_.request).status(), kAnswered,
                "is shared, must be at least signed");
}

TEST_F(Hostile, Case9ASiteOutsideU3AnswersNothing) {
  federation_.site(8).drops_at = Step::kUpload;
  ASSERT_EQ(federation_.RunUntil(Step::kAnswer), absl::OkStatus());
  ExpectRefusal(federation_.site(8).slot->SignSurvivors(federation_.u3).status(), kInvalid,
                "this site is not in it");
  ExpectRefusal(federation_.site(8).slot->Unmask(federation_.request).status(), kAnswered,
                "is committed, must be at least signed");
}

// 10. a cohort that the ledger forbids
// The same round again, in a new slot: the sites keep their ledgers, the model is the same.
class LaterSlot {
 public:
  LaterSlot(Federation& before, FederationOptions options, SlotId slot)
      : federation_([&] {
          options.slot = slot;
          return options;
        }()) {
    for (auto& [id, site] : federation_.sites()) {
      site->journal.cohorts = before.site(id.value()).journal.cohorts;
    }
  }
  Federation* operator->() { return &federation_; }

 private:
  Federation federation_;
};

TEST_F(Hostile, Case10ACohortThatDiffersByOneSite) {
  ASSERT_EQ(federation_.RunAll(), absl::OkStatus());
  // An "aborted" attempt, run again without site 23: the two sums would differ by its update.
  LaterSlot later(federation_, federation_.options_, SlotId(9));
  later->site(23).drops_at = Step::kCommit;
  ASSERT_EQ(later->RunUntil(Step::kSurvivors), absl::OkStatus());
  ASSERT_EQ(IdsOf(later->u3), IdsOf(Without(federation_.u3, 23)));
  for (uint32_t id : {3, 8, 13, 18}) {
    TestSite& site = later->site(id);
    ExpectRefusal(site.slot->SignSurvivors(later->u3).status(), kDenied, "without site 23");
    EXPECT_EQ(site.slot->state(), SlotState::kCommitted);
    EXPECT_EQ(site.journal.cohorts.size(), 1u);
    later->Restart(site);
    ExpectRefusal(site.slot->SignSurvivors(later->u3).status(), kDenied, "without site 23");
  }
}

TEST_F(Hostile, Case10TheSameCohortAgainIsFine) {
  ASSERT_EQ(federation_.RunAll(), absl::OkStatus());
  LaterSlot later(federation_, federation_.options_, SlotId(9));
  EXPECT_EQ(later->RunAll(), absl::OkStatus());
  EXPECT_EQ(later->site(3).journal.cohorts.size(), 1u);
}

TEST_F(Hostile, Case10AnotherModelOnlyWhereTheFileAsksForADistance) {
  ASSERT_EQ(federation_.RunAll(), absl::OkStatus());
  for (uint32_t distance_min : {0, 2}) {
    FederationOptions options = federation_.options_;
    options.floors.cohorts.distance_min = distance_min;
    LaterSlot later(federation_, options, SlotId(9));
    later->expected.model[0] ^= 1;
    later->site(23).drops_at = Step::kCommit;
    ASSERT_EQ(later->RunUntil(Step::kSurvivors), absl::OkStatus());
    const auto signature = later->site(3).slot->SignSurvivors(later->u3);
    if (distance_min == 0) {
      EXPECT_EQ(signature.status(), absl::OkStatus());
    } else {
      ExpectRefusal(signature.status(), kDenied, "must be the same or differ by >= 2");
    }
  }
}

TEST_F(Hostile, Case10ASignatureThatACrashKeptBackIsInTheLedgerBeforeItLeaves) {
  ASSERT_EQ(federation_.RunUntil(Step::kSurvivors), absl::OkStatus());
  TestSite& site = federation_.site(3);
  site.journal.CrashAt(0, /*durable=*/true);
  EXPECT_FALSE(site.slot->SignSurvivors(federation_.u3).ok());
  EXPECT_TRUE(site.journal.cohorts.empty());
  federation_.Restart(site);
  EXPECT_TRUE(site.slot->SignSurvivors(federation_.u3).ok());
  EXPECT_EQ(site.journal.cohorts.size(), 1u);
}

// 11. an other weight or scale for one site
TEST_F(Hostile, Case11AnotherWeightOrScaleForOneSite) {
  ASSERT_EQ(federation_.RunUntil(Step::kReady), absl::OkStatus());
  // Floors and widths let both pass, so site 3 says that it is ready for it. But no other site's
  // signature is over that manifest, nor its own over theirs.
  for (const auto& change : std::vector<std::function<void(Manifest&)>>{
           [](Manifest& m) { m.segments[2].scale *= 64; }, [](Manifest& m) { m.weight_max = 1; },
           [](Manifest& m) { m.weight_rule = WeightRule::kUniform; }}) {
    Manifest manifest = federation_.manifest;
    change(manifest);
    SiteSlot fooled = Copy(3);
    CohortSet cohort{{*fooled.SignReady(manifest, federation_.expected)}};
    for (uint32_t id : {8, 13, 18, 23}) {
      cohort.members.push_back(*Copy(id).SignReady(federation_.manifest, federation_.expected));
    }
    ExpectRefusal(fooled.EnterContext(cohort).status(), kForged, "site 8");
    SiteSlot honest = Copy(8);
    ASSERT_TRUE(honest.SignReady(federation_.manifest, federation_.expected).ok());
    ExpectRefusal(honest.EnterContext(cohort).status(), kForged, "site 3");
  }
}

// 14. an old round's signatures
TEST_F(Hostile, Case14SignaturesOfAnotherSlotDoNotVerify) {
  FederationOptions options{.sites = 5, .seed = 31, .suite = &OpensslSuite()};
  options.slot = SlotId(6);
  Federation old(options);  // the same sites and identities, one slot earlier
  ASSERT_EQ(old.RunUntil(Step::kAnswer), absl::OkStatus());
  ASSERT_EQ(federation_.RunUntil(Step::kCommit), absl::OkStatus());
  ASSERT_EQ(old.roster.digest(), federation_.roster.digest());
  CohortSet mixed = federation_.u2;
  mixed.members[1] = old.u2.members[1];
  ExpectRefusal(Copy(3).EnterContext(mixed).status(), kForged, "site 8");
  ASSERT_EQ(federation_.Commits(), absl::OkStatus());
  SurvivorSet survivors = federation_.u3;
  survivors.members[1] = old.u3.members[1];
  ExpectRefusal(Copy(3).SignSurvivors(survivors).status(), kForged, "site 8");
  ASSERT_EQ(federation_.Survivors(), absl::OkStatus());
  UnmaskRequest request = federation_.request;
  request.signatures[1] = old.request.signatures[1];
  ExpectRefusal(Copy(3).Unmask(request).status(), kForged, "site 8");
  ExpectRefusal(Copy(3).SignReady(old.manifest, federation_.expected).status(), kAnswered, "");
}

// steps out of order, and a site that must not be fooled about itself
TEST_F(Hostile, StepsOutOfOrderAreRefused) {
  SiteSlot& slot = *federation_.site(3).slot;
  EXPECT_TRUE(absl::IsFailedPrecondition(slot.TakeShares({}).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(slot.SignReady({}, {}).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(slot.EnterContext({}).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(slot.SignCommit(1, {}).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(slot.SignSurvivors({}).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(slot.Unmask({}).status()));
  ASSERT_EQ(federation_.RunUntil(Step::kReceipt), absl::OkStatus());
  ExpectRefusal(slot.CheckManifest({}, {}), kAnswered, "shares have not been taken");
  EXPECT_TRUE(federation_.site(3).journal.states.size() == 2);
}

TEST_F(Hostile, ASecondShareDelivery) {
  ASSERT_EQ(federation_.RunUntil(Step::kReady), absl::OkStatus());
  SiteSlot slot = Copy(3);
  ShareDelivery other;
  ExpectRefusal(slot.TakeShares(other).status(), kAnswered, "another one");
}

TEST_F(Hostile, AVectorOfAnotherLengthIsNotCommitted) {
  ASSERT_EQ(federation_.RunUntil(Step::kCommit), absl::OkStatus());
  SiteSlot slot = Copy(3);
  ASSERT_TRUE(slot.EnterContext(federation_.u2).ok());
  const uint64_t bytes = federation_.layout().packed_bytes();
  ExpectRefusal(slot.SignCommit(bytes - 1, {}).status(), kInvalid, "the manifest's has");
  EXPECT_TRUE(slot.SignCommit(bytes, {}).ok());
}

TEST_F(Hostile, IdentityMustFitTheRoster) {
  TestSite& site = federation_.site(3);
  SiteIdentity wrong = site.identity;
  wrong.seed = TestRandom(1).Draw32();
  ExpectRefusal(SiteSlot::Create(wrong, federation_.session, scratch_).status(), kInvalid,
                "is not this key's");
  wrong = site.identity;
  wrong.id = SiteId(4);
  ExpectRefusal(SiteSlot::Create(wrong, federation_.session, scratch_).status(), kInvalid,
                "not in its roster");
  Session session = federation_.session;
  session.roster[0] ^= 1;
  ExpectRefusal(SiteSlot::Create(site.identity, session, scratch_).status(), kInvalid, "pinned");
  session = federation_.session;
  session.slot = SlotId(0);
  ExpectRefusal(SiteSlot::Create(site.identity, session, scratch_).status(), kInvalid,
                "slot: id 0");
  wrong = site.identity;
  wrong.suite = nullptr;
  ExpectRefusal(SiteSlot::Create(wrong, federation_.session, scratch_).status(), kInvalid, "lacks");
}

TEST_F(Hostile, PlainRoundsOnlyWhereTheSitesFileAllowsThem) {
  Manifest manifest = federation_.DraftManifest();
  manifest.masked = false;
  manifest.run = federation_.session.run;
  manifest.members = {SiteId(3), SiteId(8), SiteId(13)};
  SiteIdentity identity = federation_.site(3).identity;
  const auto check = [&](const Manifest& m) {
    return CheckPlainManifest(identity, federation_.session.run, m, federation_.expected);
  };
  ExpectRefusal(check(manifest), kDenied, "does not allow it");
  identity.floors.allow_plain = true;
  EXPECT_EQ(check(manifest), absl::OkStatus());
  Manifest bad = manifest;
  bad.masked = true;
  ExpectRefusal(check(bad), kInvalid, "without a slot");
  bad = manifest;
  bad.members = {SiteId(8)};
  ExpectRefusal(check(bad), kInvalid, "not among the members");
  bad = manifest;
  bad.members = {SiteId(3), SiteId(3)};
  ExpectRefusal(check(bad), kInvalid, "twice");
  bad = manifest;
  bad.run[0] ^= 1;
  ExpectRefusal(check(bad), kInvalid, "another run");
  bad = manifest;
  bad.clip_norm_l2 = 1e9;
  ExpectRefusal(check(bad), kDenied, "clip_norm_l2");
  bad = manifest;
  bad.model[0] ^= 1;
  ExpectRefusal(check(bad), kInvalid, "model");
}

}  // namespace
}  // namespace atl::secagg
