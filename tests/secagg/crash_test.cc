// A site may crash at every step, before or after what it saved became durable: the slot goes on
// from the journal, and what was said once is said again in the same bytes, or not at all.
#include <gtest/gtest.h>

#include <functional>

#include "comms/base/crypto/sha256.h"
#include "comms/base/status.h"
#include "federation/secagg/signed_bodies.h"
#include "tests/secagg/harness.h"

namespace atl::secagg {
namespace {

constexpr int kSaves = 8;  // fresh, shared, opened, ready, context, committed, signed, answered

TEST(Crash, OneSiteAtEverySaveBeforeAndAfterItIsDurable) {
  for (uint32_t crashing = 0; crashing < 4; ++crashing) {
    for (int save = 0; save < kSaves; ++save) {
      for (bool durable : {false, true}) {
        SCOPED_TRACE(absl::StrCat("site ", crashing, ", save ", save, durable ? ", durable" : ""));
        Federation federation({.sites = 4, .seed = 40 + crashing});
        TestSite& site = federation.site(3 + 5 * crashing);
        site.journal.CrashAt(save, durable);
        ASSERT_EQ(federation.RunAll(), absl::OkStatus());
        EXPECT_EQ(*federation.Sum(), federation.ExpectedSum());
        EXPECT_EQ(federation.coordinator->u3().size(), 4u);
        EXPECT_EQ(site.journal.states.back(), SlotState::kAnswered);
      }
    }
  }
}

TEST(Crash, AllSitesAtOnceAtEverySave) {
  for (int save = 0; save < kSaves; ++save) {
    for (bool durable : {false, true}) {
      SCOPED_TRACE(absl::StrCat("save ", save, durable ? ", durable" : ""));
      Federation federation({.sites = 5, .seed = 60});
      for (auto& [id, site] : federation.sites()) site->journal.CrashAt(save, durable);
      ASSERT_EQ(federation.RunAll(), absl::OkStatus());
      EXPECT_EQ(*federation.Sum(), federation.ExpectedSum());
    }
  }
}

TEST(Crash, CrashesTogetherWithADrop) {
  for (int save = 0; save < kSaves; ++save) {
    for (Step step : {Step::kShares, Step::kReady, Step::kUpload, Step::kAnswer}) {
      SCOPED_TRACE(absl::StrCat("save ", save, ", drop at ", NameOf(step)));
      Federation federation({.sites = 5, .seed = 70});
      federation.site(3).journal.CrashAt(save, save % 2 == 0);
      federation.site(13).drops_at = step;
      ASSERT_EQ(federation.RunAll(), absl::OkStatus());
      EXPECT_EQ(*federation.Sum(), federation.ExpectedSum());
    }
  }
}

TEST(Crash, RestartBetweenAllSteps) {
  Federation federation({.sites = 4, .seed = 80});
  const std::vector<std::function<absl::Status()>> steps = {
      [&] { return federation.PreKeys(); },  [&] { return federation.Shares(); },
      [&] { return federation.Receipts(); }, [&] { return federation.ReadyAll(); },
      [&] { return federation.Commits(); },  [&] { return federation.Survivors(); },
      [&] { return federation.Answers(); }};
  for (const auto& step : steps) {
    ASSERT_EQ(step(), absl::OkStatus());
    for (auto& [id, site] : federation.sites()) federation.Restart(*site);
  }
  EXPECT_EQ(*federation.Sum(), federation.ExpectedSum());
}

// Asks a question of one site three times: twice, and once more after a restart.
template <typename Question>
void ExpectSameBytes(Federation& federation, TestSite& site, Question question) {
  const auto first = question(*site.slot);
  ASSERT_TRUE(first.ok()) << first.status();
  const size_t saved = site.journal.states.size();
  const auto second = question(*site.slot);
  ASSERT_TRUE(second.ok()) << second.status();
  federation.Restart(site);
  const auto third = question(*site.slot);
  ASSERT_TRUE(third.ok()) << third.status();
  EXPECT_EQ(Encode(*first), Encode(*second));
  EXPECT_EQ(Encode(*first), Encode(*third));
  EXPECT_EQ(site.journal.states.size(), saved) << "a repeat changes no state";
}

class Repeat : public ::testing::Test {
 protected:
  Federation federation_{{.sites = 4, .seed = 90, .suite = &OpensslSuite()}};
  TestSite& site_ = federation_.site(8);
};

TEST_F(Repeat, PreKeysAreTheSame) {
  // Once they were saved: the journal holds nothing before the first answer.
  ASSERT_TRUE(site_.slot->PreKeys().ok());
  ExpectSameBytes(federation_, site_, [](SiteSlot& slot) { return slot.PreKeys(); });
}

TEST_F(Repeat, SharesAreTheSame) {
  ASSERT_EQ(federation_.RunUntil(Step::kShares), absl::OkStatus());
  ExpectSameBytes(federation_, site_,
                  [&](SiteSlot& slot) { return slot.DealShares(federation_.u0); });
}

TEST_F(Repeat, ReceiptIsTheSame) {
  ASSERT_EQ(federation_.RunUntil(Step::kReceipt), absl::OkStatus());
  const ShareDelivery delivery = *federation_.coordinator->DeliveryFor(site_.identity.id);
  ExpectSameBytes(federation_, site_, [&](SiteSlot& slot) { return slot.TakeShares(delivery); });
}

TEST_F(Repeat, ReadyIsTheSame) {
  ASSERT_EQ(federation_.RunUntil(Step::kReady), absl::OkStatus());
  ExpectSameBytes(federation_, site_, [&](SiteSlot& slot) {
    return slot.SignReady(federation_.manifest, federation_.expected);
  });
}

TEST_F(Repeat, StreamsAndCommitAreTheSame) {
  ASSERT_EQ(federation_.RunUntil(Step::kCommit), absl::OkStatus());
  const auto first = site_.slot->EnterContext(federation_.u2);
  ASSERT_TRUE(first.ok());
  federation_.Restart(site_);
  const auto second = site_.slot->EnterContext(federation_.u2);
  ASSERT_TRUE(second.ok());
  ASSERT_EQ(first->size(), 4u * federation_.segments().size());
  ASSERT_EQ(first->size(), second->size());
  for (size_t i = 0; i < first->size(); ++i) {
    EXPECT_EQ((*first)[i].key, (*second)[i].key);
    EXPECT_EQ((*first)[i].segment, (*second)[i].segment);
    EXPECT_EQ((*first)[i].subtract, (*second)[i].subtract);
  }
  const uint64_t bytes = federation_.layout().packed_bytes();
  const Digest root = Sha256::Of(AsBytes("root"));
  ExpectSameBytes(federation_, site_, [&](SiteSlot& slot) { return slot.SignCommit(bytes, root); });
  // From then on nothing is masked again, in whatever way it is asked.
  EXPECT_TRUE(absl::IsFailedPrecondition(site_.slot->EnterContext(federation_.u2).status()));
  Digest other = root;
  other[0] ^= 1;
  EXPECT_TRUE(absl::IsFailedPrecondition(site_.slot->SignCommit(bytes, other).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(site_.slot->SignCommit(bytes + 1, root).status()));
}

TEST_F(Repeat, SurvivorSignatureIsTheSame) {
  ASSERT_EQ(federation_.RunUntil(Step::kSurvivors), absl::OkStatus());
  ExpectSameBytes(federation_, site_,
                  [&](SiteSlot& slot) { return slot.SignSurvivors(federation_.u3); });
}

TEST_F(Repeat, AnswerIsTheSameWhoeverSigned) {
  ASSERT_EQ(federation_.RunUntil(Step::kAnswer), absl::OkStatus());
  ExpectSameBytes(federation_, site_,
                  [&](SiteSlot& slot) { return slot.Unmask(federation_.request); });
  const Bytes first = Encode(*site_.slot->Unmask(federation_.request));
  UnmaskRequest fewer = federation_.request;  // three of four: still t, and the same U3
  fewer.signatures.erase(fewer.signatures.begin());
  EXPECT_EQ(Encode(*site_.slot->Unmask(fewer)), first);
}

TEST_F(Repeat, EarlierAnswersAreStillGivenLater) {
  const PreKeyRecord keys = *site_.slot->PreKeys();
  ASSERT_EQ(federation_.RunUntil(Step::kReceipt), absl::OkStatus());
  const ShareDelivery delivery = *federation_.coordinator->DeliveryFor(site_.identity.id);
  const Bytes bundle = Encode(*site_.slot->DealShares(federation_.u0));
  ASSERT_EQ(federation_.Receipts(), absl::OkStatus());
  const Bytes receipt = Encode(*site_.slot->TakeShares(delivery));
  ASSERT_EQ(federation_.ReadyAll(), absl::OkStatus());
  const Bytes ready = Encode(*site_.slot->SignReady(federation_.manifest, federation_.expected));
  ASSERT_EQ(federation_.Commits(), absl::OkStatus());
  ASSERT_EQ(federation_.Survivors(), absl::OkStatus());
  const Bytes signature = Encode(*site_.slot->SignSurvivors(federation_.u3));
  ASSERT_EQ(federation_.Answers(), absl::OkStatus());
  federation_.Restart(site_);
  EXPECT_EQ(Encode(*site_.slot->PreKeys()), Encode(keys));
  EXPECT_EQ(Encode(*site_.slot->DealShares(federation_.u0)), bundle);
  EXPECT_EQ(Encode(*site_.slot->TakeShares(delivery)), receipt);
  EXPECT_EQ(Encode(*site_.slot->SignReady(federation_.manifest, federation_.expected)), ready);
  EXPECT_EQ(Encode(*site_.slot->SignSurvivors(federation_.u3)), signature);
  EXPECT_EQ(site_.slot->state(), SlotState::kAnswered);
}

TEST(Journal, AFailedSaveSendsNothingAndChangesNothing) {
  Federation federation({.sites = 4, .seed = 95});
  TestSite& site = federation.site(3);
  const uint64_t bytes = federation.layout().packed_bytes();
  ShareDelivery delivery;
  // Each step of the site, and what must have happened in the federation before it.
  struct Case {
    SlotState before, after;
    std::function<absl::Status()> prepare, step;
  };
  const auto nothing = [] { return absl::OkStatus(); };
  const std::vector<Case> cases = {
      {SlotState::kFresh, SlotState::kFresh, nothing,
       [&] { return site.slot->PreKeys().status(); }},
      {SlotState::kFresh, SlotState::kShared, [&] { return federation.PreKeys(); },
       [&] { return site.slot->DealShares(federation.u0).status(); }},
      {SlotState::kShared, SlotState::kShared,
       [&]() -> absl::Status {
         ATOLL_RETURN_IF_ERROR(federation.Shares());
         ATOLL_ASSIGN_OR_RETURN(delivery, federation.coordinator->DeliveryFor(SiteId(3)));
         return absl::OkStatus();
       },
       [&] { return site.slot->TakeShares(delivery).status(); }},
      {SlotState::kShared, SlotState::kReady, [&] { return federation.Receipts(); },
       [&] { return site.slot->SignReady(federation.manifest, federation.expected).status(); }},
      {SlotState::kReady, SlotState::kContext, [&] { return federation.ReadyAll(); },
       [&] { return site.slot->EnterContext(federation.u2).status(); }},
      {SlotState::kContext, SlotState::kCommitted,
       [&]() -> absl::Status {
         ATOLL_ASSIGN_OR_RETURN(const auto streams, site.slot->EnterContext(federation.u2));
         site.upload =
             MaskVector(federation.segments(), site.values, streams, federation.options_.cipher);
         return absl::OkStatus();
       },
       [&] {
         return site.slot->SignCommit(bytes, RootOf(federation.layout(), site.upload)).status();
       }},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(absl::StrCat("to state ", static_cast<int>(one.after)));
    ASSERT_EQ(one.prepare(), absl::OkStatus());
    EXPECT_EQ(site.slot->state(), one.before);
    const std::optional<Bytes> durable = site.journal.durable();
    site.journal.CrashAt(0, /*durable=*/false);
    const absl::Status failed = one.step();
    EXPECT_TRUE(absl::IsUnavailable(failed)) << failed;
    EXPECT_NE(failed.message().find("slot 7: cannot save state"), std::string::npos) << failed;
    EXPECT_EQ(site.slot->state(), one.before);
    EXPECT_EQ(site.journal.durable(), durable);
    site.journal.Reboot();  // without a restart: the slot in memory is as it was, too
    ASSERT_EQ(one.step(), absl::OkStatus());
    EXPECT_EQ(site.slot->state(), one.after);
    if (one.after == SlotState::kCommitted) break;
  }
}

class Records : public ::testing::Test {
 protected:
  // The record of one site after each of its steps.
  std::vector<Bytes> AllRecords() {
    std::vector<Bytes> records;
    TestSite& site = federation_.site(3);
    for (auto step :
         {&Federation::PreKeys, &Federation::Shares, &Federation::Receipts, &Federation::ReadyAll,
          &Federation::Commits, &Federation::Survivors, &Federation::Answers}) {
      EXPECT_EQ((federation_.*step)(), absl::OkStatus());
      records.push_back(*site.journal.durable());
    }
    return records;
  }
  absl::StatusOr<SiteSlot> Restore(ByteView record) {
    return SiteSlot::Restore(federation_.site(3).identity, record, scratch_);
  }
  Federation federation_{{.sites = 4, .seed = 97}};
  MemoryJournal scratch_;
};

TEST_F(Records, TruncatedOrChangedOnesAreDataLoss) {
  const uint64_t seed = TestSeed(12);
  SCOPED_TRACE(SeedTrace(seed));
  TestRandom random(seed);
  for (const Bytes& record : AllRecords()) {
    EXPECT_TRUE(Restore(record).ok());
    for (int i = 0; i < 300; ++i) {
      Bytes changed = record;
      changed[random.Below(changed.size())] ^= static_cast<uint8_t>(1 + random.Below(255));
      EXPECT_TRUE(absl::IsDataLoss(Restore(changed).status()));
      EXPECT_TRUE(
          absl::IsDataLoss(Restore(ByteView(record).first(random.Below(record.size()))).status()));
    }
  }
  EXPECT_TRUE(absl::IsDataLoss(Restore({}).status()));
}

TEST_F(Records, ChangedOnesWithAGoodDigestDoNoHarm) {
  const uint64_t seed = TestSeed(13);
  SCOPED_TRACE(SeedTrace(seed));
  TestRandom random(seed);
  int restored = 0;
  for (const Bytes& record : AllRecords()) {
    for (int i = 0; i < 1000; ++i) {
      Bytes body(record.begin(), record.end() - 32);
      // The head more often than the rest: there stand states, counts and flags.
      const uint64_t range =
          random.Below(3) == 0 ? body.size() : std::min<uint64_t>(body.size(), 120);
      body[random.Below(range)] = static_cast<uint8_t>(random.Below(256));
      const Digest sum = Sha256::Of(body);
      body.insert(body.end(), sum.begin(), sum.end());
      auto slot = Restore(body);
      if (!slot.ok()) {
        EXPECT_TRUE(absl::IsDataLoss(slot.status()) || absl::IsInvalidArgument(slot.status()))
            << slot.status();
        continue;
      }
      ++restored;
      // Whatever it says to these, it neither crashes nor reads outside.
      scratch_.Reboot();
      (void)slot->PreKeys();
      (void)slot->DealShares(federation_.u0);
      (void)slot->SignReady(federation_.manifest, federation_.expected);
      (void)slot->EnterContext(federation_.u2);
      (void)slot->SignCommit(federation_.layout().packed_bytes(), {});
      (void)slot->SignSurvivors(federation_.u3);
      (void)slot->Unmask(federation_.request);
    }
  }
  EXPECT_GT(restored, 100);
}

TEST_F(Records, AnotherSitesRecordOrRosterIsRefused) {
  const Bytes record = AllRecords().back();
  EXPECT_TRUE(
      absl::IsDataLoss(SiteSlot::Restore(federation_.site(8).identity, record, scratch_).status()));
  Federation other({.sites = 5, .seed = 98});
  EXPECT_TRUE(absl::IsInvalidArgument(
      SiteSlot::Restore(other.site(3).identity, record, scratch_).status()));
}

TEST_F(Records, SecretsGoAsSoonAsTheyCan) {
  const std::vector<Bytes> records = AllRecords();
  // enc_secret, mask_secret and b are the site's first three draws.
  TestRandom random(97 * 1000 + 3);
  const Secret32 enc = random.Draw32(), mask = random.Draw32(), b = random.Draw32();
  const auto holds = [](const Bytes& record, const Secret32& secret) {
    return std::search(record.begin(), record.end(), secret.span().begin(), secret.span().end()) !=
           record.end();
  };
  // Records after: E1, shares, receipt, ready, commit, survivors, answer.
  const bool enc_there[] = {true, true, false, false, false, false, false};
  const bool mask_there[] = {true, true, true, true, false, false, false};
  for (size_t i = 0; i < records.size(); ++i) {
    EXPECT_EQ(holds(records[i], enc), enc_there[i]) << i;
    EXPECT_EQ(holds(records[i], mask), mask_there[i]) << i;
    EXPECT_EQ(holds(records[i], b), mask_there[i]) << i;
  }
  EXPECT_LT(records[6].size(), records[5].size() + 300);  // shares out, the answer in
}

// The signature is on disk, its cohort is not yet in the ledger, and another slot signs meanwhile.
TEST(Crash, ASignatureKeptBackIsNotGivenBesideACohortThatWasSignedSince) {
  Federation federation({.sites = 5, .seed = 90});
  ASSERT_EQ(federation.RunUntil(Step::kSurvivors), absl::OkStatus());
  TestSite& site = federation.site(3);
  site.journal.CrashAt(0, /*durable=*/true);
  EXPECT_FALSE(site.slot->SignSurvivors(federation.u3).ok());
  federation.Restart(site);
  std::vector<SiteId> without_one = IdsOf(federation.u3);
  without_one.pop_back();
  ASSERT_TRUE(
      site.journal.KeepCohort({federation.manifest.model, without_one, SlotId(99), Signature{}})
          .ok());
  const absl::Status status = site.slot->SignSurvivors(federation.u3).status();
  EXPECT_TRUE(absl::IsPermissionDenied(status)) << status;
}

}  // namespace
}  // namespace atl::secagg
