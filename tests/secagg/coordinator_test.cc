// The coordinator's side: what it refuses from sites, whom it names, and that it may be told
// anything twice.
#include "federation/secagg/coordinator_slot.h"

#include <gtest/gtest.h>

#include "comms/base/status.h"
#include "federation/secagg/mask_keys.h"
#include "federation/secagg/shamir.h"
#include "federation/secagg/signed_bodies.h"
#include "federation/secagg/signing.h"
#include "tests/secagg/harness.h"

namespace atl::secagg {
namespace {

class Coordinator : public ::testing::Test {
 protected:
  Signature Forge(uint32_t id, std::string_view label, ByteView body) {
    return SignBody(CheapSuite(), federation_.site(id).identity.seed, federation_.session, label,
                    body);
  }
  ShareReceipt Complain(uint32_t holder, std::vector<uint32_t> accused) {
    ShareReceipt receipt;
    receipt.holder = SiteId(holder);
    for (uint32_t id : accused) receipt.complaints.push_back(SiteId(id));
    receipt.signature =
        Forge(holder, kReceiptLabel,
              ReceiptBody(receipt.holder, HashOf(federation_.u0), receipt.complaints));
    return receipt;
  }
  Digest Context() { return ContextOf(HashOf(federation_.manifest), IdsOf(federation_.u2)); }
  void Resign(UnmaskAnswer& answer) {
    answer.signature = Forge(answer.id.value(), kUnmaskLabel, UnmaskBody(Context(), answer.items));
  }

  Federation federation_{{.sites = 5, .seed = 51}};  // 3, 8, 13, 18, 23; t = 4
  CoordinatorSlot& slot_ = *federation_.coordinator;
};

void ExpectError(const absl::Status& status, absl::StatusCode code, std::string_view why) {
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_NE(std::string(status.message()).find(why), std::string::npos)
      << status << " lacks: " << why;
}

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kForged = absl::StatusCode::kUnauthenticated;
constexpr auto kTwice = absl::StatusCode::kAlreadyExists;
constexpr auto kNotNow = absl::StatusCode::kFailedPrecondition;

TEST_F(Coordinator, PreKeysAreCheckedAndKeptOnce) {
  const PreKeyRecord good = *federation_.site(3).slot->PreKeys();
  EXPECT_EQ(slot_.AddPreKeys(good), absl::OkStatus());
  EXPECT_EQ(slot_.AddPreKeys(good), absl::OkStatus());
  PreKeyRecord bad = good;
  bad.b_commit[0] ^= 1;
  ExpectError(slot_.AddPreKeys(bad), kForged, "site 3");
  bad.signature = Forge(3, kPreKeysLabel, PreKeyBody(bad));
  ExpectError(slot_.AddPreKeys(bad), kTwice, "site 3 sent a different one");
  bad = *federation_.site(8).slot->PreKeys();
  bad.id = SiteId(4);
  ExpectError(slot_.AddPreKeys(bad), kInvalid, "site 4 is not in the roster");
  bad = *federation_.site(8).slot->PreKeys();
  bad.enc_key = good.mask_key;
  bad.signature = Forge(8, kPreKeysLabel, PreKeyBody(bad));
  ExpectError(slot_.AddPreKeys(bad), kInvalid, "site 8 shows a key of site 3");
  bad.enc_key = bad.mask_key;
  bad.signature = Forge(8, kPreKeysLabel, PreKeyBody(bad));
  ExpectError(slot_.AddPreKeys(bad), kInvalid, "one key twice");
  bad.enc_key = {};
  bad.signature = Forge(8, kPreKeysLabel, PreKeyBody(bad));
  ExpectError(slot_.AddPreKeys(bad), kInvalid, "enc_pk of site 8");
  EXPECT_EQ(slot_.answered(), std::set<SiteId>{SiteId(3)});
  ExpectError(slot_.ClosePreKeys(3).status(), kNotNow, "1 sites answered, 3 are needed");
  EXPECT_TRUE(slot_.u0().empty());
}

TEST_F(Coordinator, StepsOutOfOrderAreRefused) {
  EXPECT_TRUE(absl::IsFailedPrecondition(slot_.AddShares({})));
  EXPECT_TRUE(absl::IsFailedPrecondition(slot_.DeliveryFor(SiteId(3)).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(slot_.AddReceipt({})));
  EXPECT_TRUE(absl::IsFailedPrecondition(slot_.CloseShares(3).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(slot_.OpenRound({}).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(slot_.AddReady({})));
  EXPECT_TRUE(absl::IsFailedPrecondition(slot_.CloseReady(3).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(slot_.AddCommit({})));
  EXPECT_TRUE(absl::IsFailedPrecondition(slot_.AddUploaded(SiteId(3))));
  EXPECT_TRUE(absl::IsFailedPrecondition(slot_.CloseUploads(3).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(slot_.AddSurvivorSignature({})));
  EXPECT_TRUE(absl::IsFailedPrecondition(slot_.CloseSurvivors().status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(slot_.AddAnswer({})));
  EXPECT_TRUE(absl::IsFailedPrecondition(slot_.StreamsToRemove().status()));
  EXPECT_FALSE(slot_.CanUnmask());
}

TEST_F(Coordinator, ClosingTwiceGivesTheSame) {
  ASSERT_EQ(federation_.RunAll(), absl::OkStatus());
  EXPECT_EQ(Encode(*slot_.ClosePreKeys(3)), Encode(federation_.u0));
  EXPECT_EQ(*slot_.CloseShares(3), slot_.u1());
  EXPECT_EQ(Encode(*slot_.OpenRound(federation_.DraftManifest())), Encode(federation_.manifest));
  EXPECT_EQ(Encode(*slot_.CloseReady(3)), Encode(federation_.u2));
  EXPECT_EQ(Encode(*slot_.CloseUploads(3)), Encode(federation_.u3));
  EXPECT_EQ(Encode(*slot_.CloseSurvivors()), Encode(federation_.request));
  Manifest other = federation_.DraftManifest();
  other.clip_norm_l2 = 1;
  EXPECT_TRUE(absl::IsFailedPrecondition(slot_.OpenRound(other).status()));
}

TEST_F(Coordinator, LateAnswersAreRefusedAndChangeNothing) {
  federation_.site(23).drops_at = Step::kUpload;
  ASSERT_EQ(federation_.RunAll(), absl::OkStatus());
  const auto before = slot_.answered(CoordinatorSlot::Step::kUploads);
  EXPECT_TRUE(absl::IsFailedPrecondition(slot_.AddUploaded(SiteId(23))));
  EXPECT_TRUE(absl::IsFailedPrecondition(slot_.AddPreKeys(federation_.u0.records[0])));
  EXPECT_TRUE(absl::IsFailedPrecondition(slot_.AddReady(federation_.u2.members[0])));
  EXPECT_TRUE(absl::IsFailedPrecondition(slot_.AddCommit(federation_.u3.members[0])));
  EXPECT_EQ(slot_.answered(CoordinatorSlot::Step::kUploads), before);
  EXPECT_EQ(*federation_.Sum(), federation_.ExpectedSum());
}

TEST_F(Coordinator, AnsweredFollowsTheOpenStep) {
  using Step_ = CoordinatorSlot::Step;
  const auto all = [&] {
    std::set<SiteId> ids;
    for (auto& [id, site] : federation_.sites()) ids.insert(id);
    return ids;
  }();
  EXPECT_TRUE(slot_.answered().empty());
  ASSERT_EQ(federation_.PreKeys(), absl::OkStatus());
  EXPECT_TRUE(slot_.answered().empty());  // of E2
  EXPECT_EQ(slot_.answered(Step_::kPreKeys), all);
  ASSERT_EQ(federation_.Shares(), absl::OkStatus());
  EXPECT_EQ(slot_.answered(), all);
  ASSERT_EQ(slot_.AddReceipt(Complain(8, {})), absl::OkStatus());
  EXPECT_EQ(slot_.answered(), std::set<SiteId>{SiteId(8)});
  EXPECT_EQ(slot_.answered(Step_::kShares), all);
  ASSERT_EQ(federation_.Receipts(), absl::OkStatus());
  EXPECT_TRUE(slot_.answered().empty());
  ASSERT_EQ(federation_.ReadyAll(), absl::OkStatus());
  EXPECT_EQ(slot_.answered(Step_::kReady), all);
  ASSERT_EQ(federation_.Commits(), absl::OkStatus());
  EXPECT_EQ(slot_.answered(Step_::kCommits), all);
  ASSERT_EQ(federation_.Survivors(), absl::OkStatus());
  EXPECT_EQ(slot_.answered(Step_::kSurvivors), all);
  ASSERT_EQ(federation_.Answers(), absl::OkStatus());
  EXPECT_EQ(slot_.answered(), all);
}

TEST_F(Coordinator, BundlesAreChecked) {
  ASSERT_EQ(federation_.PreKeys(), absl::OkStatus());
  const ShareBundle good = *federation_.site(3).slot->DealShares(federation_.u0);
  ShareBundle bad = good;
  bad.envelopes.pop_back();
  ExpectError(slot_.AddShares(bad), kInvalid, "dealt 4 shares, U0 has 5");
  bad = good;
  bad.envelopes[2].pop_back();
  ExpectError(slot_.AddShares(bad), kInvalid, "the envelope from site 3 to site 13 has 79 bytes");
  bad = good;
  bad.envelopes[0].resize(80);
  ExpectError(slot_.AddShares(bad), kInvalid, "from site 3 to site 3");
  bad = good;
  bad.b_share_hashes[1][0] ^= 1;
  ExpectError(slot_.AddShares(bad), kForged, "site 3");
  bad = good;
  bad.dealer = SiteId(99);
  ExpectError(slot_.AddShares(bad), kInvalid, "site 99 is not in U0");
  EXPECT_EQ(slot_.AddShares(good), absl::OkStatus());
  EXPECT_EQ(slot_.AddShares(good), absl::OkStatus());
  bad = good;
  bad.envelopes[1][0] ^= 1;
  ExpectError(slot_.AddShares(bad), kTwice, "site 3");
  EXPECT_TRUE(slot_.DeliveryFor(SiteId(3))->items.empty());
  EXPECT_EQ(slot_.DeliveryFor(SiteId(8))->items.size(), 1u);
  EXPECT_TRUE(absl::IsInvalidArgument(slot_.DeliveryFor(SiteId(99)).status()));
  ASSERT_EQ(slot_.AddReceipt(Complain(8, {13, 18, 23})), absl::OkStatus());
  const ShareBundle late = *federation_.site(13).slot->DealShares(federation_.u0);
  ExpectError(slot_.AddShares(late), kNotNow, "after the first receipt");
  EXPECT_EQ(slot_.AddShares(good), absl::OkStatus());  // a repeat is no late one
}

TEST_F(Coordinator, ReceiptsAreChecked) {
  ASSERT_EQ(federation_.RunUntil(Step::kReceipt), absl::OkStatus());
  ShareReceipt bad = Complain(3, {8});
  bad.complaints.push_back(SiteId(13));
  ExpectError(slot_.AddReceipt(bad), kForged, "site 3");
  ExpectError(slot_.AddReceipt(Complain(3, {3})), kInvalid, "about itself");
  ExpectError(slot_.AddReceipt(Complain(3, {99})), kInvalid, "site 99 is not in U0");
  ExpectError(slot_.AddReceipt(Complain(3, {13, 8})), kInvalid, "out of order");
  ExpectError(slot_.AddReceipt(Complain(3, {8, 8})), kInvalid, "twice");
  EXPECT_EQ(slot_.AddReceipt(Complain(3, {8})), absl::OkStatus());
  EXPECT_EQ(slot_.AddReceipt(Complain(3, {8})), absl::OkStatus());
  ExpectError(slot_.AddReceipt(Complain(3, {})), kTwice, "site 3");
}

TEST_F(Coordinator, OneComplaintRemovesTheAccused) {
  ASSERT_EQ(federation_.RunUntil(Step::kReceipt), absl::OkStatus());
  for (uint32_t id : {3, 8, 13, 18, 23}) {
    ASSERT_EQ(slot_.AddReceipt(
                  Complain(id, id == 23 ? std::vector<uint32_t>{8} : std::vector<uint32_t>{})),
              absl::OkStatus());
  }
  EXPECT_EQ(*slot_.CloseShares(3),
            (std::vector<SiteId>{SiteId(3), SiteId(13), SiteId(18), SiteId(23)}));
}

TEST_F(Coordinator, ADealerThatAllAccuseGoes) {
  ASSERT_EQ(federation_.RunUntil(Step::kReceipt), absl::OkStatus());
  for (uint32_t id : {3, 8, 13, 18, 23}) {
    ASSERT_EQ(slot_.AddReceipt(
                  Complain(id, id == 3 ? std::vector<uint32_t>{} : std::vector<uint32_t>{3})),
              absl::OkStatus());
  }
  EXPECT_EQ(*slot_.CloseShares(3),
            (std::vector<SiteId>{SiteId(8), SiteId(13), SiteId(18), SiteId(23)}));
}

TEST_F(Coordinator, ALiarThatAccusesAllGoesItself) {
  ASSERT_EQ(federation_.RunUntil(Step::kReceipt), absl::OkStatus());
  for (uint32_t id : {3, 8, 13, 18})
    ASSERT_EQ(slot_.AddReceipt(Complain(id, {})), absl::OkStatus());
  ASSERT_EQ(slot_.AddReceipt(Complain(23, {3, 8, 13, 18})), absl::OkStatus());
  EXPECT_EQ(*slot_.CloseShares(3),
            (std::vector<SiteId>{SiteId(3), SiteId(8), SiteId(13), SiteId(18)}));
}

TEST_F(Coordinator, TooManyComplaintsAbort) {
  ASSERT_EQ(federation_.RunUntil(Step::kReceipt), absl::OkStatus());
  for (uint32_t id : {3, 13, 18})
    ASSERT_EQ(slot_.AddReceipt(Complain(id, {8, 23})), absl::OkStatus());
  for (uint32_t id : {8, 23}) ASSERT_EQ(slot_.AddReceipt(Complain(id, {})), absl::OkStatus());
  ExpectError(slot_.CloseShares(3).status(), absl::StatusCode::kAborted,
              "U1: 3 of 5 sites are left, 4 are needed (threshold 4, minimum cohort 3)");
  EXPECT_TRUE(slot_.u1().empty());
}

TEST_F(Coordinator, ACorruptedEnvelopeIsComplainedAboutAndTheRestGoOn) {
  ASSERT_EQ(federation_.RunUntil(Step::kReceipt), absl::OkStatus());
  for (auto& [id, site] : federation_.sites()) {
    ShareDelivery delivery = *slot_.DeliveryFor(id);
    for (auto& item : delivery.items) {
      if (item.dealer == SiteId(13)) item.envelope[70] ^= 4;
    }
    const ShareReceipt receipt = *site->slot->TakeShares(delivery);
    EXPECT_EQ(receipt.complaints.size(), id == SiteId(13) ? 0u : 1u);
    ASSERT_EQ(slot_.AddReceipt(receipt), absl::OkStatus());
  }
  EXPECT_EQ(slot_.CloseShares(3)->size(), 4u);
  federation_.manifest = *slot_.OpenRound(federation_.DraftManifest());
  federation_.site(13).drops_at = Step::kReady;
  ASSERT_EQ(federation_.ReadyAll(), absl::OkStatus());
  ASSERT_EQ(federation_.Commits(), absl::OkStatus());
  ASSERT_EQ(federation_.Survivors(), absl::OkStatus());
  ASSERT_EQ(federation_.Answers(), absl::OkStatus());
  EXPECT_EQ(*federation_.Sum(), federation_.ExpectedSum());
}

TEST_F(Coordinator, ManifestsThatOverflowAreNotOpened) {
  ASSERT_EQ(federation_.PreKeys(), absl::OkStatus());
  ASSERT_EQ(federation_.Shares(), absl::OkStatus());
  for (auto& [id, site] : federation_.sites()) {
    ASSERT_EQ(slot_.AddReceipt(*site->slot->TakeShares(*slot_.DeliveryFor(id))), absl::OkStatus());
  }
  ASSERT_TRUE(slot_.CloseShares(3).ok());
  Manifest draft = federation_.DraftManifest();
  draft.segments[1].sum_bits = 6;  // 4 value bits, 5 sites
  ExpectError(slot_.OpenRound(draft).status(), kInvalid, "sum_bits 6: must be >= 7 for 5 sites");
  draft.segments.clear();
  EXPECT_TRUE(absl::IsInvalidArgument(slot_.OpenRound(draft).status()));
  EXPECT_FALSE(slot_.manifest().has_value());
  const Manifest manifest = *slot_.OpenRound(federation_.DraftManifest());
  EXPECT_EQ(manifest.threshold, 4u);
  EXPECT_EQ(manifest.members, slot_.u1());
  EXPECT_TRUE(manifest.masked);
  EXPECT_EQ(manifest.pre_keys, HashOf(federation_.u0));
}

TEST_F(Coordinator, RoundMessagesAreChecked) {
  federation_.site(23).drops_at = Step::kReady;
  ASSERT_EQ(federation_.RunUntil(Step::kReady), absl::OkStatus());
  Ready ready = *federation_.site(3).slot->SignReady(federation_.manifest, federation_.expected);
  ready.signature[0] ^= 1;
  ExpectError(slot_.AddReady(ready), kForged, "site 3");
  ready.id = SiteId(99);
  ExpectError(slot_.AddReady(ready), kInvalid, "site 99 is not in U1");
  ASSERT_EQ(federation_.ReadyAll(), absl::OkStatus());

  TestSite& site = federation_.site(3);
  ASSERT_TRUE(site.slot->EnterContext(federation_.u2).ok());
  const uint64_t bytes = federation_.layout().packed_bytes();
  EXPECT_EQ(slot_.commit_of(SiteId(3)), nullptr);
  ExpectError(slot_.AddUploaded(SiteId(3)), kNotNow, "has not committed");
  Commit commit{SiteId(3), bytes, {}, {}};
  ExpectError(slot_.AddCommit(commit), kForged, "site 3");
  commit.bytes = bytes - 1;
  ExpectError(slot_.AddCommit(commit), kInvalid, "the manifest's vector has");
  commit = {SiteId(23), bytes, {}, Forge(23, kCommitLabel, CommitBody(Context(), bytes, {}))};
  ExpectError(slot_.AddCommit(commit), kInvalid, "site 23 is not in U2");
  ASSERT_EQ(federation_.Commits(), absl::OkStatus());
  ASSERT_NE(slot_.commit_of(SiteId(3)), nullptr);
  EXPECT_EQ(slot_.commit_of(SiteId(3))->bytes, bytes);

  SurvivorSignature signature{SiteId(3), {}};
  ExpectError(slot_.AddSurvivorSignature(signature), kForged, "site 3");
  signature.id = SiteId(23);
  ExpectError(slot_.AddSurvivorSignature(signature), kInvalid, "site 23 is not in U3");
}

TEST_F(Coordinator, TwoDifferentCommitsOfOneSiteAreRefused) {
  ASSERT_EQ(federation_.RunUntil(Step::kCommit), absl::OkStatus());
  const uint64_t bytes = federation_.layout().packed_bytes();
  Digest root{};
  Commit commit{SiteId(3), bytes, root, Forge(3, kCommitLabel, CommitBody(Context(), bytes, root))};
  ASSERT_EQ(slot_.AddCommit(commit), absl::OkStatus());
  ASSERT_EQ(slot_.AddCommit(commit), absl::OkStatus());
  root[0] = 1;
  commit = {SiteId(3), bytes, root, Forge(3, kCommitLabel, CommitBody(Context(), bytes, root))};
  ExpectError(slot_.AddCommit(commit), kTwice, "site 3");
}

// Hostile case 13: a wrong share, and whose fault it is.

TEST_F(Coordinator, Case13AHolderThatSendsAWrongShareIsNamed) {
  federation_.site(23).drops_at = Step::kAnswer;
  ASSERT_EQ(federation_.RunUntil(Step::kAnswer), absl::OkStatus());
  UnmaskAnswer answer = *federation_.site(8).slot->Unmask(federation_.request);
  const UnmaskAnswer good = answer;
  answer.items[2].share.span()[31] ^= 1;
  ExpectError(slot_.AddAnswer(answer), kForged, "site 8");
  Resign(answer);
  ExpectError(slot_.AddAnswer(answer), kInvalid,
              "site 8 sent a wrong share of site 13: its hash is not the dealer's");
  answer = good;
  answer.items[2].kind = ShareKind::kMaskKey;
  Resign(answer);
  ExpectError(slot_.AddAnswer(answer), kInvalid, "another share than was asked for of site 13");
  answer = good;
  answer.items.pop_back();
  Resign(answer);
  ExpectError(slot_.AddAnswer(answer), kInvalid, "site 8 sent 4 shares, U2 has 5");
  answer = good;
  answer.id = SiteId(99);
  ExpectError(slot_.AddAnswer(answer), kInvalid, "site 99 is not in U3");
  EXPECT_TRUE(slot_.answered().empty());
  ASSERT_EQ(federation_.Answers(), absl::OkStatus());  // the honest answers still do
  EXPECT_EQ(*federation_.Sum(), federation_.ExpectedSum());
}

TEST_F(Coordinator, Case13ADealerOfAnotherSecretIsNamed) {
  // Site 13 deals well-formed shares, truly hashed and sealed, of a secret that is not the
  // committed one.
  for (ShareKind kind : {ShareKind::kSelf, ShareKind::kMaskKey}) {
    Federation federation({.sites = 5, .seed = 52});
    if (kind == ShareKind::kMaskKey) federation.site(13).drops_at = Step::kUpload;
    ASSERT_EQ(federation.PreKeys(), absl::OkStatus());
    TestSite& liar = federation.site(13);
    const CryptoSuite& suite = CheapSuite();
    TestRandom keys(52 * 1000 + 13), random(77);
    const Secret32 enc = keys.Draw32(), mask = keys.Draw32(), b = keys.Draw32();
    const bool lie_about_b = kind == ShareKind::kSelf;
    const auto mask_shares = *SplitSecret(lie_about_b ? mask : random.Draw32(), 4, 5, random);
    const auto b_shares = *SplitSecret(lie_about_b ? random.Draw32() : b, 4, 5, random);
    const Digest pre_keys = HashOf(federation.u0);
    ShareBundle bundle;
    bundle.dealer = SiteId(13);
    for (size_t rank = 0; rank < 5; ++rank) {
      const PreKeyRecord& holder = federation.u0.records[rank];
      bundle.mask_share_hashes.push_back(ShareHash(federation.session, ShareKind::kMaskKey,
                                                   SiteId(13), holder.id, mask_shares[rank]));
      bundle.b_share_hashes.push_back(
          ShareHash(federation.session, ShareKind::kSelf, SiteId(13), holder.id, b_shares[rank]));
      if (holder.id == SiteId(13)) {
        bundle.envelopes.emplace_back();
        continue;
      }
      const Secret32 agreed = *suite.Agree(enc, holder.enc_key);
      const Bytes plaintext =
          ByteWriter().Raw(mask_shares[rank].span()).Raw(b_shares[rank].span()).bytes();
      bundle.envelopes.push_back(suite.SealOnce(
          Aead::kAes256Gcm,
          EnvelopeKey(suite, Aead::kAes256Gcm, agreed, pre_keys, SiteId(13), holder.id),
          EnvelopeBinding(federation.session, SiteId(13), holder.id, 4, pre_keys), plaintext));
    }
    bundle.signature = SignBody(
        suite, liar.identity.seed, federation.session, kSharesLabel,
        SharesBody(SiteId(13), 4, pre_keys, bundle.mask_share_hashes, bundle.b_share_hashes));
    ASSERT_TRUE(liar.slot->DealShares(federation.u0).ok());
    for (auto& [id, site] : federation.sites()) {
      ASSERT_EQ(federation.coordinator->AddShares(
                    id == SiteId(13) ? bundle : *site->slot->DealShares(federation.u0)),
                absl::OkStatus());
    }
    // Nobody can see it when the shares are opened.
    ASSERT_EQ(federation.Receipts(), absl::OkStatus());
    EXPECT_EQ(federation.coordinator->u1().size(), 5u);
    ASSERT_EQ(federation.ReadyAll(), absl::OkStatus());
    ASSERT_EQ(federation.Commits(), absl::OkStatus());
    ASSERT_EQ(federation.Survivors(), absl::OkStatus());
    federation.site(13).drops_at = Step::kUpload;  // it keeps its own, honest, share to itself
    ASSERT_EQ(federation.Answers(), absl::OkStatus());
    ExpectError(federation.coordinator->StreamsToRemove().status(), absl::StatusCode::kAborted,
                "site 13 dealt shares of another secret than it committed to");
  }
}

TEST_F(Coordinator, ReplayingTheSameMessagesGivesTheSameState) {
  federation_.site(18).drops_at = Step::kUpload;
  ASSERT_EQ(federation_.RunAll(), absl::OkStatus());
  CoordinatorSlot again(federation_.session, federation_.roster, CheapSuite());
  for (const PreKeyRecord& record : federation_.u0.records) {
    ASSERT_EQ(again.AddPreKeys(record), absl::OkStatus());
  }
  ASSERT_TRUE(again.ClosePreKeys(3).ok());
  for (auto& [id, site] : federation_.sites()) {
    ASSERT_EQ(again.AddShares(*site->slot->DealShares(federation_.u0)), absl::OkStatus());
  }
  for (auto& [id, site] : federation_.sites()) {
    ASSERT_EQ(again.AddReceipt(*site->slot->TakeShares(*again.DeliveryFor(id))), absl::OkStatus());
  }
  ASSERT_TRUE(again.CloseShares(3).ok());
  EXPECT_EQ(Encode(*again.OpenRound(federation_.DraftManifest())), Encode(federation_.manifest));
  for (const Ready& ready : federation_.u2.members)
    ASSERT_EQ(again.AddReady(ready), absl::OkStatus());
  EXPECT_EQ(Encode(*again.CloseReady(3)), Encode(federation_.u2));
  for (const Commit& commit : federation_.u3.members) {
    ASSERT_EQ(again.AddCommit(commit), absl::OkStatus());
    ASSERT_EQ(again.AddUploaded(commit.id), absl::OkStatus());
  }
  EXPECT_EQ(Encode(*again.CloseUploads(3)), Encode(federation_.u3));
  for (const SurvivorSignature& signature : federation_.request.signatures) {
    ASSERT_EQ(again.AddSurvivorSignature(signature), absl::OkStatus());
  }
  EXPECT_EQ(Encode(*again.CloseSurvivors()), Encode(federation_.request));
  for (uint32_t id : {3, 8, 13, 23}) {
    ASSERT_EQ(again.AddAnswer(*federation_.site(id).slot->Unmask(federation_.request)),
              absl::OkStatus());
  }
  const auto one = *slot_.StreamsToRemove(), other = *again.StreamsToRemove();
  ASSERT_EQ(one.size(), other.size());
  for (size_t i = 0; i < one.size(); ++i) {
    EXPECT_EQ(one[i].key, other[i].key);
    EXPECT_EQ(one[i].subtract, other[i].subtract);
  }
}

TEST_F(Coordinator, AnySubsetOfTAnswersGivesTheSameStreams) {
  federation_.site(18).drops_at = Step::kUpload;
  ASSERT_EQ(federation_.RunUntil(Step::kAnswer), absl::OkStatus());
  for (uint32_t id : {3, 8, 13}) {
    ASSERT_EQ(slot_.AddAnswer(*federation_.site(id).slot->Unmask(federation_.request)),
              absl::OkStatus());
  }
  EXPECT_FALSE(slot_.CanUnmask());
  ExpectError(slot_.StreamsToRemove().status(), absl::StatusCode::kAborted,
              "3 of 5 sites are left, 4 are");
  ASSERT_EQ(slot_.AddAnswer(*federation_.site(23).slot->Unmask(federation_.request)),
            absl::OkStatus());
  EXPECT_TRUE(slot_.CanUnmask());
  EXPECT_EQ(*federation_.Sum(), federation_.ExpectedSum());
}

}  // namespace
}  // namespace atl::secagg
