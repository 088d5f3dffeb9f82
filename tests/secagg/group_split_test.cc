// The split into groups by commit and reveal: what honest sites come to, and what they refuse.
#include "federation/secagg/group_split.h"

#include <algorithm>

#include "federation/secagg/signed_bodies.h"
#include "federation/secagg/signing.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/secagg/split_federation.h"

namespace atl::secagg {
namespace {

using absl::StatusCode;
using testing::HasSubstr;

constexpr GroupTerms kFours{.size_max = 4, .corrupt_max = 1};

TEST(GroupSplit, EverySiteComputesTheSameGroups) {
  SplitFederation federation(11, kFours);
  federation.Assign(1);
  const Groups& groups = federation.coordinator->groups();
  ASSERT_EQ(groups.size(), 3u);
  std::vector<SiteId> dealt;
  for (uint32_t number = 1; number <= groups.size(); ++number) {
    EXPECT_TRUE(IsSortedSet(groups[number - 1]));
    for (SiteId id : groups[number - 1]) {
      dealt.push_back(id);
      const SiteGroup& group = *federation.sites.at(id)->split->group();
      EXPECT_EQ(group.number, number);
      EXPECT_EQ(group.scope.members, groups[number - 1]);
      EXPECT_EQ(group.scope.total, 11u);
      EXPECT_EQ(group.scope.corrupt_max, 1u);
    }
  }
  std::sort(dealt.begin(), dealt.end());
  EXPECT_EQ(dealt, federation.coordinator->sites());
}

TEST(GroupSplit, IsUniform) {
  // Which of three groups each of 9 sites is in, over many runs of the function.
  GroupCommitSet commits;
  GroupRevealSet reveals;
  commits.attempt = reveals.attempt = 1;
  TestRandom random(TestSeed(3));
  SCOPED_TRACE(SeedTrace(TestSeed(3)));
  constexpr int kDeals = 3000;
  std::map<std::pair<uint32_t, size_t>, int> counts;
  std::map<size_t, int> together;  // with site 1
  for (int deal = 0; deal < kDeals; ++deal) {
    commits.items.clear();
    reveals.items.clear();
    for (uint32_t id = 1; id <= 9; ++id) {
      Digest nonce;
      random.Fill(nonce);
      reveals.items.push_back({SiteId(id), nonce});
      commits.items.push_back({SiteId(id), GroupCommitment({}, 1, SiteId(id), nonce)});
    }
    const Groups groups = AssignGroups(CheapSuite(), {}, commits, reveals, {3, 3, 3});
    for (size_t g = 0; g < groups.size(); ++g) {
      const bool has_one = Contains(groups[g], SiteId(1));
      for (SiteId id : groups[g]) {
        ++counts[{id.value(), g}];
        together[id.value()] += has_one;
      }
    }
  }
  for (uint32_t id = 1; id <= 9; ++id) {
    // 5 standard deviations of a binomial.
    for (size_t g = 0; g < 3; ++g) EXPECT_NEAR((counts[{id, g}]), kDeals / 3, 130) << id << g;
    if (id != 1) {
      EXPECT_NEAR(together[id], kDeals / 4, 119) << id;
    }
  }
}

TEST(GroupSplit, EveryNonceAndTheRunDecide) {
  SplitFederation federation(12, kFours);
  federation.Reveals(1);
  const std::vector<uint32_t> sizes = {4, 4, 4};
  const auto assign = [&](const RunId& run, const GroupRevealSet& reveals) {
    return AssignGroups(CheapSuite(), run, federation.commits, reveals, sizes);
  };
  const Groups groups = assign(federation.session.run, federation.reveals);
  EXPECT_EQ(groups, federation.coordinator->groups());
  EXPECT_NE(assign({}, federation.reveals), groups);
  for (size_t i : {0, 5, 11}) {
    GroupRevealSet other = federation.reveals;
    other.items[i].nonce[31] ^= 1;
    EXPECT_NE(assign(federation.session.run, other), groups);
  }
}

TEST(GroupSplit, RepeatsGetTheSameBytesAlsoAfterARestart) {
  SplitFederation federation(8, kFours);
  federation.Reveals(1);
  const auto ask = [&](SiteSplit& site) {
    Bytes all = Encode(site.Commit({1}).value());
    for (const Bytes& more : {Encode(site.Sign(federation.commits).value()),
                              Encode(site.Reveal(federation.signatures).value())})
      all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  const Bytes before = ask(federation.split(0));
  EXPECT_EQ(ask(federation.split(0)), before);
  federation.Restart(federation.site(0));
  EXPECT_EQ(ask(federation.split(0)), before);
  EXPECT_EQ(federation.split(0).revealed(), 1u);
  EXPECT_TRUE(federation.split(0).Assign(federation.reveals).ok());
  federation.Restart(federation.site(0));
  ASSERT_TRUE(federation.split(0).group());
  EXPECT_TRUE(federation.split(0).Assign(federation.reveals).ok());
  EXPECT_EQ(federation.split(0).group()->scope.total, 8u);
}

TEST(GroupSplit, AMissingRevealIsLeftOutOfTheNextAttempt) {
  SplitFederation federation(9, kFours);
  federation.Signatures(1);
  for (uint32_t rank = 0; rank < 8; ++rank) {
    EXPECT_TRUE(federation.coordinator
                    ->AddReveal(federation.split(rank).Reveal(federation.signatures).value())
                    .ok());
  }
  EXPECT_EQ(federation.coordinator->CloseReveals().status().code(),
            StatusCode::kFailedPrecondition);
  const Digest first = federation.split(0).Reveal(federation.signatures).value().nonce;
  federation.sites.erase(std::prev(federation.sites.end()));
  federation.Assign(2);
  EXPECT_EQ(federation.coordinator->sites().size(), 8u);
  EXPECT_NE(federation.reveals.items.front().nonce, first);  // fresh commits
  EXPECT_EQ(federation.split(0).revealed(), 2u);
}

// ---- what a site refuses ----

TEST(LyingCoordinator, MayNotGrind) {
  SplitFederation federation(8, kFours);
  for (uint32_t attempt = 1; attempt <= kSplitAttemptsMax; ++attempt) {
    federation.Reveals(3 * attempt);
    if (attempt % 2 == 0) {
      for (auto& [id, site] : federation.sites) federation.Restart(*site);
    }
  }
  for (auto& [id, site] : federation.sites) {
    const auto refused = site->split->Commit({3 * kSplitAttemptsMax + 1});
    EXPECT_EQ(refused.status().code(), StatusCode::kPermissionDenied);
    federation.Restart(*site);
    EXPECT_EQ(site->split->Commit({1000}).status().code(), StatusCode::kPermissionDenied);
    // Nor by ending the job and offering it again.
    EXPECT_TRUE(site->split->Forget().ok());
    federation.Restart(*site);
    EXPECT_EQ(site->split->Commit({1000}).status().code(), StatusCode::kPermissionDenied);
  }
}

TEST(LyingCoordinator, MayNotRepeatAnAttempt) {
  SplitFederation federation(8, kFours);
  federation.Reveals(4);
  const GroupSignatureSet signatures = federation.signatures;
  const GroupCommitSet commits = federation.commits;
  federation.Commits(5);
  for (auto& [id, site] : federation.sites) {
    for (uint32_t attempt : {1, 4}) {
      EXPECT_EQ(site->split->Commit({attempt}).status().code(), StatusCode::kFailedPrecondition);
    }
    EXPECT_EQ(site->split->Sign(commits).status().code(), StatusCode::kFailedPrecondition);
    EXPECT_EQ(site->split->Reveal(signatures).status().code(), StatusCode::kFailedPrecondition);
    EXPECT_EQ(site->split->Assign(federation.reveals).code(), StatusCode::kFailedPrecondition);
  }
}

TEST(LyingCoordinator, MayNotShowOtherCommitsToOneSite) {
  SplitFederation federation(8, kFours);
  federation.Commits(1);
  GroupCommitSet other = federation.commits;
  other.items.back().commit[0] ^= 1;
  SiteSplit& deceived = federation.split(0);
  const GroupSignature signature = deceived.Sign(other).value();
  // A second set in the attempt is refused.
  EXPECT_EQ(deceived.Sign(federation.commits).status().code(), StatusCode::kFailedPrecondition);
  // With its signature of another H nobody reveals.
  GroupSignatureSet signatures;
  signatures.attempt = 1;
  signatures.items.push_back({signature.id, signature.signature});
  for (uint32_t rank = 1; rank < 8; ++rank) {
    const GroupSignature honest = federation.split(rank).Sign(federation.commits).value();
    signatures.items.push_back({honest.id, honest.signature});
  }
  for (uint32_t rank = 0; rank < 8; ++rank) {
    EXPECT_EQ(federation.split(rank).Reveal(signatures).status().code(),
              StatusCode::kUnauthenticated);
    EXPECT_EQ(federation.split(rank).revealed(), 0u);
  }
}

TEST(LyingCoordinator, MayNotHaveTheNoncesWithoutEverybodysSignature) {
  SplitFederation federation(8, kFours);
  GroupSignatureSet signatures = federation.Signatures(1);
  GroupSignatureSet fewer = signatures, twice = signatures, strange = signatures;
  fewer.items.pop_back();
  twice.items[1].signature = twice.items[0].signature;
  strange.items.push_back({SiteId(1000), {}});
  for (auto& [id, site] : federation.sites) {
    EXPECT_EQ(site->split->Reveal(fewer).status().code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(site->split->Reveal(twice).status().code(), StatusCode::kUnauthenticated);
    EXPECT_EQ(site->split->Reveal(strange).status().code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(site->split->revealed(), 0u);
    site->journal.broken = true;  // no nonce goes out before the attempt is counted
    EXPECT_EQ(site->split->Reveal(signatures).status().code(), StatusCode::kUnavailable);
    site->journal.broken = false;
    EXPECT_TRUE(site->split->Reveal(signatures).ok());
    federation.Restart(*site);
    EXPECT_EQ(site->split->revealed(), 1u);
  }
}

TEST(LyingCoordinator, MayNotShowOtherReveals) {
  SplitFederation federation(8, kFours);
  federation.Reveals(1);
  GroupRevealSet other = federation.reveals, fewer = federation.reveals;
  other.items[3].nonce[7] ^= 1;
  fewer.items.pop_back();
  for (auto& [id, site] : federation.sites) {
    EXPECT_EQ(site->split->Assign(other).code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(site->split->Assign(fewer).code(), StatusCode::kInvalidArgument);
    EXPECT_FALSE(site->split->group());
    EXPECT_TRUE(site->split->Assign(federation.reveals).ok());
    // Nor afterwards.
    EXPECT_EQ(site->split->Assign(other).code(), StatusCode::kInvalidArgument);
  }
}

TEST(LyingCoordinator, MayNotSplitBelowTheBoundOrAFloor) {
  // Groups of 4 and of 3 withstand one corrupt site; two may well fall into one.
  SplitFederation federation(12, {.size_max = 4, .corrupt_max = 2});
  SplitSite& site = federation.site(0);
  GroupCommitSet commits;
  commits.attempt = 1;
  const GroupCommit own = site.split->Commit({1}).value();
  commits.items.push_back({own.id, own.commit});
  for (uint32_t rank = 1; rank < 12; ++rank) {
    const GroupCommit other = federation.split(rank).Commit({1}).value();
    commits.items.push_back({other.id, other.commit});
  }
  const auto refused = site.split->Sign(commits);
  EXPECT_EQ(refused.status().code(), StatusCode::kPermissionDenied);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("2^-40"));

  SplitFederation fours(8, kFours);
  fours.Commits(1);
  fours.site(0).identity.floors.cohort_min = 5;
  EXPECT_EQ(fours.split(0).Sign(fours.commits).status().code(), StatusCode::kPermissionDenied);
  EXPECT_TRUE(fours.split(1).Sign(fours.commits).ok());
}

TEST(LyingCoordinator, MayNotLeaveASiteOutOrInventOne) {
  SplitFederation federation(8, kFours);
  GroupCommitSet commits = federation.Commits(1);
  GroupCommitSet without = commits, replaced = commits, invented = commits, unsorted = commits;
  without.items.erase(without.items.begin());
  replaced.items[0].commit[5] ^= 1;
  invented.items.push_back({SiteId(1000), {}});
  std::swap(unsorted.items[2], unsorted.items[3]);
  for (const GroupCommitSet& bad : {without, replaced, invented, unsorted})
    EXPECT_EQ(federation.split(0).Sign(bad).status().code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(federation.split(0).Sign(commits).ok());
}

TEST(LyingCoordinator, MayNotChangeTheTermsOfARun) {
  SplitFederation federation(8, kFours);
  federation.Assign(1);
  SplitSite& site = federation.site(0);
  EXPECT_EQ(SiteSplit::Open(site.identity, federation.session.run,
                            {.size_max = 4, .corrupt_max = 2}, site.journal.durable, site.journal)
                .status()
                .code(),
            StatusCode::kFailedPrecondition);
}

TEST(SplitRecord, DamageIsSeen) {
  SplitFederation federation(8, kFours);
  federation.Assign(1);
  SplitSite& site = federation.site(0);
  for (size_t size : {size_t{1}, size_t{12}, site.journal.durable.size() - 1}) {
    EXPECT_EQ(SiteSplit::Open(site.identity, federation.session.run, kFours,
                              ByteView(site.journal.durable).first(size), site.journal)
                  .status()
                  .code(),
              StatusCode::kDataLoss);
  }
}

// ---- slots of a group ----

class GroupSlots : public testing::Test {
 protected:
  GroupSlots() : federation_(8, kFours) {
    federation_.Assign(1);
    for (auto& [id, site] : federation_.sites) {
      const SiteGroup& group = *site->split->group();
      Session session = federation_.session;
      session.slot = SlotId(9);
      session.group = group.number;
      slots_.emplace(id,
                     SiteSlot::Create(site->identity, session, journals_[id], group.scope).value());
      records_[id] = slots_.at(id).PreKeys().value();
    }
  }
  PreKeySet SetOf(const std::vector<SiteId>& ids) const {
    PreKeySet set;
    for (SiteId id : ids) set.records.push_back(records_.at(id));
    return set;
  }
  const std::vector<SiteId>& group(uint32_t number) const {
    return federation_.coordinator->groups()[number - 1];
  }

  SplitFederation federation_;
  std::map<SiteId, MemoryJournal> journals_;
  std::map<SiteId, SiteSlot> slots_;
  std::map<SiteId, PreKeyRecord> records_;
};

TEST_F(GroupSlots, RefuseSitesOutsideTheirGroup) {
  std::vector<SiteId> mixed = group(1);
  mixed.back() = group(2).back();
  std::sort(mixed.begin(), mixed.end());
  std::vector<SiteId> all = group(1);
  all.insert(all.end(), group(2).begin(), group(2).end());
  std::sort(all.begin(), all.end());
  for (SiteId id : group(1)) {
    SiteSlot& slot = slots_.at(id);
    EXPECT_EQ(slot.DealShares(SetOf(group(2))).status().code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(slot.DealShares(SetOf(mixed)).status().code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(slot.DealShares(SetOf(all)).status().code(), StatusCode::kInvalidArgument);
  }
  for (SiteId id : group(1)) EXPECT_TRUE(slots_.at(id).DealShares(SetOf(group(1))).ok());
}

TEST_F(GroupSlots, RefuseFewerThanTheGroupsThreshold) {
  // t of 4 is 3, also where U0 is smaller: of a U0 of 3 alone it would be 3, too; of 2, 2.
  std::vector<SiteId> two(group(1).begin(), group(1).begin() + 2);
  std::vector<SiteId> three(group(1).begin(), group(1).begin() + 3);
  EXPECT_EQ(slots_.at(two[0]).DealShares(SetOf(two)).status().code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(slots_.at(two[0]).DealShares(SetOf(three)).ok());
}

TEST_F(GroupSlots, AnOutsidersRecordIsOfNoUseToTheCoordinatorEither) {
  Session session = federation_.session;
  session.slot = SlotId(9);
  session.group = 1;
  CoordinatorSlot slot(session, federation_.roster, CheapSuite(), false,
                       ScopeOf(federation_.coordinator->groups(), 1, kFours));
  EXPECT_EQ(slot.AddPreKeys(records_.at(group(2)[0])).code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(slot.AddPreKeys(records_.at(group(1)[0])).ok());
  EXPECT_EQ(slot.threshold(), 3u);
}

TEST(StatedCorruption, HoldsOfSlotsWithoutGroupsToo) {
  // Four sites (t = 3) withstand one, not two.
  for (const uint32_t corrupt : {1, 2}) {
    SplitFederation federation(4, kFours);
    Session session = federation.session;
    session.slot = SlotId(1);
    PreKeySet set;
    std::map<SiteId, MemoryJournal> journals;
    std::vector<SiteSlot> slots;
    SlotScope scope;
    scope.corrupt_max = corrupt;
    CoordinatorSlot coordinator(session, federation.roster, CheapSuite(), false, scope);
    for (auto& [id, site] : federation.sites) {
      slots.push_back(SiteSlot::Create(site->identity, session, journals[id], scope).value());
      set.records.push_back(slots.back().PreKeys().value());
      EXPECT_TRUE(coordinator.AddPreKeys(set.records.back()).ok());
    }
    EXPECT_EQ(coordinator.ClosePreKeys(3).ok(), corrupt == 1);
    EXPECT_EQ(slots[0].DealShares(set).status().code(),
              corrupt == 1 ? StatusCode::kOk : StatusCode::kPermissionDenied);
  }
}

}  // namespace
}  // namespace atl::secagg
