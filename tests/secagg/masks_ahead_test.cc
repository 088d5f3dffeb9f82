// Masks for the context that is expected: what a slot gives before U2 is known, and what not.
#include <gtest/gtest.h>

#include "federation/secagg/signed_bodies.h"
#include "tests/secagg/harness.h"

namespace atl::secagg {
namespace {

class MasksAheadTest : public testing::Test {
 protected:
  absl::StatusOr<ContextStreams> Expected(uint32_t id, const Manifest& manifest) {
    return federation_.site(id).slot->ExpectedStreams(manifest, federation_.expected);
  }
  absl::StatusOr<ContextStreams> Expected(uint32_t id) {
    return Expected(id, federation_.manifest);
  }

  Federation federation_{{.sites = 4, .seed = 21}};
};

void ExpectSame(const std::vector<MaskStream>& a, const std::vector<MaskStream>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].key, b[i].key) << i;
    EXPECT_EQ(a[i].segment, b[i].segment) << i;
    EXPECT_EQ(a[i].subtract, b[i].subtract) << i;
  }
}

// No key of one is a key of the other.
void ExpectNothingShared(const std::vector<MaskStream>& a, const std::vector<MaskStream>& b) {
  for (const MaskStream& one : a) {
    for (const MaskStream& other : b) EXPECT_FALSE(one.key == other.key);
  }
}

TEST_F(MasksAheadTest, AreThoseOfU2WhenAllOfU1Come) {
  ASSERT_EQ(federation_.RunUntil(Step::kReady), absl::OkStatus());
  const auto ahead = Expected(3);
  ASSERT_TRUE(ahead.ok()) << ahead.status();
  // It is no step: nothing is written down, and R1 may follow or not.
  EXPECT_EQ(federation_.site(3).slot->state(), SlotState::kShared);
  ASSERT_EQ(federation_.ReadyAll(), absl::OkStatus());
  ASSERT_EQ(IdsOf(federation_.u2), federation_.manifest.members);
  const auto after_ready = Expected(3);
  ASSERT_TRUE(after_ready.ok());
  ExpectSame(after_ready->streams, ahead->streams);
  const auto streams = federation_.site(3).slot->EnterContext(federation_.u2);
  ASSERT_TRUE(streams.ok());
  ExpectSame(*streams, ahead->streams);
  EXPECT_EQ(ahead->context, ContextOf(HashOf(federation_.manifest), IdsOf(federation_.u2)));
}

TEST_F(MasksAheadTest, AreUselessWhenU2IsSmaller) {
  federation_.site(18).drops_at = Step::kReady;
  ASSERT_EQ(federation_.RunUntil(Step::kReady), absl::OkStatus());
  const auto ahead = Expected(3);
  ASSERT_TRUE(ahead.ok());
  ASSERT_EQ(federation_.ReadyAll(), absl::OkStatus());
  ASSERT_EQ(federation_.u2.members.size(), 3u);
  const auto streams = federation_.site(3).slot->EnterContext(federation_.u2);
  ASSERT_TRUE(streams.ok());
  ExpectNothingShared(*streams, ahead->streams);
  // Once U2 is known it is the context that is expected: what a trainer started again prepares.
  const auto known = Expected(3);
  ASSERT_TRUE(known.ok());
  ExpectSame(known->streams, *streams);
  EXPECT_EQ(known->context, ContextOf(HashOf(federation_.manifest), IdsOf(federation_.u2)));
  EXPECT_NE(known->context, ahead->context);
}

TEST_F(MasksAheadTest, OfAnotherManifestAreOthers) {
  ASSERT_EQ(federation_.RunUntil(Step::kReady), absl::OkStatus());
  const auto ahead = Expected(3);
  ASSERT_TRUE(ahead.ok());
  Manifest other = federation_.manifest;
  other.weight_max += 1;  // a field that the slot leaves to the coordinator
  const auto others = Expected(3, other);
  ASSERT_TRUE(others.ok()) << others.status();
  EXPECT_NE(others->context, ahead->context);
  ExpectNothingShared(others->streams, ahead->streams);
  // After R1 there is one manifest only.
  ASSERT_EQ(federation_.ReadyAll(), absl::OkStatus());
  EXPECT_TRUE(absl::IsFailedPrecondition(Expected(3, other).status()));
}

TEST_F(MasksAheadTest, NeedAManifestThatTheSiteWouldSign) {
  ASSERT_EQ(federation_.RunUntil(Step::kReceipt), absl::OkStatus());
  const Manifest draft = federation_.DraftManifest();
  EXPECT_TRUE(absl::IsFailedPrecondition(Expected(3, draft).status())) << "shares not taken yet";
  ASSERT_EQ(federation_.Receipts(), absl::OkStatus());
  EXPECT_TRUE(Expected(3).ok());
  Manifest bad = federation_.manifest;
  bad.threshold -= 1;
  EXPECT_TRUE(absl::IsInvalidArgument(Expected(3, bad).status()));
  bad = federation_.manifest;
  bad.model[0] ^= 1;
  EXPECT_TRUE(absl::IsInvalidArgument(Expected(3, bad).status()));
}

TEST_F(MasksAheadTest, AreNotGivenFromTheCommitOn) {
  ASSERT_EQ(federation_.RunUntil(Step::kCommit), absl::OkStatus());
  SiteSlot& slot = *federation_.site(3).slot;
  ASSERT_TRUE(slot.EnterContext(federation_.u2).ok());
  ASSERT_TRUE(slot.SignCommit(federation_.layout().packed_bytes(), {}).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(Expected(3).status()));
  federation_.Restart(federation_.site(3));
  EXPECT_TRUE(absl::IsFailedPrecondition(Expected(3).status()));
  ASSERT_TRUE(federation_.site(8).slot->Burn().ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(Expected(8).status()));
}

}  // namespace
}  // namespace atl::secagg
