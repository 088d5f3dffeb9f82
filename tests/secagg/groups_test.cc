// 600 sites in one process: split into groups, one slot, dropouts in several groups, one group that
// is lost, and a sum that is exact.
#include <algorithm>

#include "comms/base/crypto/sha256.h"
#include "comms/base/status.h"
#include "federation/secagg/grouped_slot.h"
#include "federation/secagg/signed_bodies.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/pack.h"
#include "kernels/quantize.h"
#include "tests/secagg/split_federation.h"

namespace atl::secagg {
namespace {

constexpr uint32_t kSites = 600;

class SixHundred : public testing::Test {
 protected:
  SixHundred() : federation_(kSites, {.size_max = 100, .corrupt_max = 33}) {
    kernels::Segment segment;
    segment.length = 9;
    segment.value_bits = 20;
    segment.sum_bits = kernels::SumBits(20, kSites);
    segment.scale = 16;
    segments_ = {segment};
  }

  // By the order in its group, from 0.
  uint32_t Rank(SiteId id) const { return static_cast<uint32_t>(RankOf(groups()[Group(id)], id)); }
  uint32_t Group(SiteId id) const { return *slot_->GroupOf(id); }
  const Groups& groups() const { return federation_.coordinator->groups(); }

  // Whether the site is still there at a step. Index 0 loses 10 before they have uploaded, 1 as
  // many as it may before they are ready, 2 twenty before they sign, 3 one too many, 5 as many as
  // it may before they answer.
  bool IsThere(SiteId id, Step step) const {
    const uint32_t group = Group(id), rank = Rank(id);
    if (group == 0 && rank < 10) return step < Step::kUpload;
    if (group == 1 && rank < 33) return step < Step::kReady;
    if (group == 2 && rank >= 80) return step < Step::kSurvivors;
    if (group == 3 && rank < 34) return step < Step::kReady;
    if (group == 5 && rank >= 67) return step < Step::kAnswer;
    return true;
  }

  std::vector<int64_t> Values(SiteId id) const {
    std::vector<int64_t> values(segments_[0].length);
    for (size_t e = 0; e < values.size(); ++e) {
      values[e] = e == 0   ? segments_[0].bound()
                  : e == 1 ? -segments_[0].bound()
                           : int64_t{id.value()} * (int64_t(e) - 4);
    }
    return values;
  }

  template <typename Do>
  void Each(Step step, Do act) {
    for (auto& [id, site] : sites_) {
      if (IsThere(id, step) && !slot_->IsOut(Group(id))) act(id, site);
    }
  }

  void MakeKeys() {
    federation_.Assign(1);
    Session session = federation_.session;
    session.slot = SlotId(1);
    slot_.emplace(session, federation_.roster, CheapSuite(), groups(), federation_.terms);
    for (auto& [id, site] : federation_.sites) {
      const SiteGroup& group = *site->split->group();
      session.group = group.number;
      sites_.emplace(id,
                     SiteSlot::Create(site->identity, session, journals_[id], group.scope).value());
    }
    Each(Step::kPreKeys, [&](SiteId, SiteSlot& site) {
      ASSERT_TRUE(slot_->AddPreKeys(site.PreKeys().value()).ok());
    });
    const auto u0 = slot_->ClosePreKeys(3).value();
    Each(Step::kShares, [&](SiteId id, SiteSlot& site) {
      ASSERT_TRUE(slot_->AddShares(site.DealShares(u0.at(Group(id))).value()).ok());
    });
    Each(Step::kReceipt, [&](SiteId id, SiteSlot& site) {
      const ShareReceipt receipt = site.TakeShares(slot_->DeliveryFor(id).value()).value();
      EXPECT_TRUE(receipt.complaints.empty());
      ASSERT_TRUE(slot_->AddReceipt(receipt).ok());
    });
    ASSERT_TRUE(slot_->CloseShares(3).ok());
    EXPECT_EQ(slot_->u1().size(), kSites);
  }

  void Masking() {
    Manifest draft;
    draft.round = RoundId(1);
    draft.model = Sha256::Of(AsBytes("model"));
    draft.recipe = Sha256::Of(AsBytes("recipe"));
    draft.segments = segments_;
    draft.clip_norm_l2 = 20;
    // A sum of one group's width does not hold that of all.
    draft.segments[0].sum_bits = kernels::SumBits(20, 100);
    EXPECT_FALSE(slot_->OpenRound(draft).ok());
    draft.segments = segments_;
    const auto manifests = slot_->OpenRound(draft).value();
    const ManifestExpectation expected{draft.model, draft.recipe, draft.round};
    Each(Step::kReady, [&](SiteId id, SiteSlot& site) {
      ASSERT_TRUE(slot_->AddReady(site.SignReady(manifests.at(Group(id)), expected).value()).ok());
    });
    const auto u2 = slot_->CloseReady(3).value();
    EXPECT_EQ(u2.size(), 5u);
    EXPECT_TRUE(slot_->IsOut(3));
    Each(Step::kCommit, [&](SiteId id, SiteSlot& site) {
      const auto streams = site.EnterContext(u2.at(Group(id))).value();
      uploads_[id] = MaskVector(segments_, {Values(id)}, streams, kernels::MaskCipher::kAes256Ctr);
      const Digest root = RootOf(kernels::VectorLayout(segments_), uploads_[id]);
      ASSERT_TRUE(slot_->AddCommit(site.SignCommit(uploads_[id].size(), root).value()).ok());
      if (IsThere(id, Step::kUpload)) {
        ASSERT_TRUE(slot_->AddUploaded(id).ok());
      }
    });
  }

  void Unmasking() {
    const auto u3 = slot_->CloseUploads(3).value();
    Each(Step::kSurvivors, [&](SiteId id, SiteSlot& site) {
      if (!Contains(slot_->group(Group(id)).u3(), id)) return;
      ASSERT_TRUE(slot_->AddSurvivorSignature(site.SignSurvivors(u3.at(Group(id))).value()).ok());
    });
    const auto requests = slot_->CloseSurvivors(3).value();
    Each(Step::kAnswer, [&](SiteId id, SiteSlot& site) {
      if (!Contains(slot_->group(Group(id)).u3(), id)) return;
      ASSERT_TRUE(slot_->AddAnswer(site.Unmask(requests.at(Group(id))).value()).ok());
    });
  }

  std::vector<int64_t> Unpack(ByteView packed) const {
    const kernels::Segment& segment = segments_[0];
    Bytes lanes(segment.length * segment.lane_bytes());
    kernels::UnpackLanes(packed, segment.lane_bytes(), segment.sum_bits, segment.length, lanes);
    std::vector<int64_t> values;
    for (uint64_t e = 0; e < segment.length; ++e)
      values.push_back(kernels::SignedLane(lanes, segment.lane_bytes(), segment.sum_bits, e));
    return values;
  }

  std::vector<int64_t> Expected(const std::vector<SiteId>& of) const {
    std::vector<int64_t> sum(segments_[0].length, 0);
    for (SiteId id : of) {
      const auto values = Values(id);
      for (size_t e = 0; e < sum.size(); ++e) sum[e] += values[e];
    }
    return sum;
  }

  SplitFederation federation_;
  std::vector<kernels::Segment> segments_;
  std::optional<GroupedSlot> slot_;
  std::map<SiteId, MemoryJournal> journals_;
  std::map<SiteId, SiteSlot> sites_;
  std::map<SiteId, Bytes> uploads_;
};

TEST_F(SixHundred, SumExactlyWithDropoutsInSeveralGroups) {
  MakeKeys();
  ASSERT_EQ(groups().size(), 6u);
  EXPECT_EQ(slot_->threshold(), 67u);
  Masking();
  Unmasking();
  ASSERT_FALSE(HasFatalFailure());
  EXPECT_EQ(slot_->groups_left(), 5u);
  const std::vector<SiteId> survivors = slot_->u3();
  EXPECT_EQ(survivors.size(), 600u - 100 - 10 - 33);

  const kernels::VectorLayout layout(segments_);
  ChunkSummer total = ChunkSummer::Create(layout, 0).value();
  for (uint32_t index = 0; index < 6; ++index) {
    if (slot_->IsOut(index)) continue;
    ASSERT_TRUE(slot_->group(index).CanUnmask()) << index;
    ChunkSummer summer = ChunkSummer::Create(layout, 0).value();
    for (SiteId id : slot_->group(index).u3()) ASSERT_TRUE(summer.Add(uploads_.at(id)).ok());
    const auto streams = slot_->group(index).StreamsToRemove().value();
    summer.AddStreams(streams, kernels::MaskCipher::kAes256Ctr);
    const Bytes sum = summer.Finish();
    EXPECT_EQ(Unpack(sum), Expected(slot_->group(index).u3())) << index;
    ASSERT_TRUE(total.Add(sum).ok());
  }
  EXPECT_EQ(Unpack(total.Finish()), Expected(survivors));
}

TEST_F(SixHundred, WhoseMinimumIsOfAllGroupsTogether) {
  MakeKeys();
  for (auto& [id, site] : sites_) ASSERT_TRUE(site.state() == SlotState::kShared);
  Masking();
  // Five groups hold 457 who have uploaded: with one more asked for, the attempt is over.
  GroupedSlot& slot = *slot_;
  EXPECT_EQ(slot.CloseUploads(458).status().code(), absl::StatusCode::kAborted);
}

}  // namespace
}  // namespace atl::secagg
