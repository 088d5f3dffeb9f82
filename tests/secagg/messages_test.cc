// The canonical encoding: what is written is read back, what is not canonical is refused, and no
// bytes do harm.
#include "federation/secagg/messages.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <map>
#include <set>

#include "comms/base/crypto/sha256.h"
#include "federation/secagg/group_messages.h"
#include "tests/secagg/harness.h"

namespace atl::secagg {
namespace {

template <size_t N>
std::array<uint8_t, N> Some(TestRandom& random) {
  std::array<uint8_t, N> out;
  random.Fill(out);
  return out;
}

std::vector<SiteId> SomeIds(TestRandom& random, uint64_t max) {
  std::vector<SiteId> ids;
  uint32_t last = 0;
  for (uint64_t i = random.Below(max + 1); i > 0; --i) {
    last += 1 + static_cast<uint32_t>(random.Below(1000));
    ids.push_back(SiteId(last));
  }
  return ids;
}

PreKeyRecord SomeRecord(TestRandom& random, SiteId id) {
  return {id, Some<32>(random), Some<32>(random), Some<32>(random), Some<64>(random)};
}

void Make(TestRandom& random, PreKeyRecord& m) {
  m = SomeRecord(random, SiteId(1 + random.Below(99)));
}
void Make(TestRandom& random, PreKeySet& m) {
  for (SiteId id : SomeIds(random, 6)) m.records.push_back(SomeRecord(random, id));
}
void Make(TestRandom& random, ShareBundle& m) {
  m.dealer = SiteId(1 + random.Below(99));
  for (uint64_t i = random.Below(6); i > 0; --i) {
    m.mask_share_hashes.push_back(Some<32>(random));
    m.b_share_hashes.push_back(Some<32>(random));
    m.envelopes.emplace_back(random.Below(2) * 80, uint8_t{7});
  }
  m.signature = Some<64>(random);
}
void Make(TestRandom& random, ShareDelivery& m) {
  for (SiteId dealer : SomeIds(random, 5)) {
    m.items.push_back(
        {dealer, {Some<32>(random)}, {Some<32>(random)}, Some<64>(random), Bytes(80)});
  }
}
void Make(TestRandom& random, ShareReceipt& m) {
  m = {SiteId(4), SomeIds(random, 5), Some<64>(random)};
}
void Make(TestRandom& random, Manifest& m) {
  m.run = Some<32>(random);
  m.slot = SlotId(random.Below(1000));
  m.round = RoundId(static_cast<uint32_t>(random.Below(1000)));
  m.group = static_cast<uint32_t>(random.Below(10));
  m.masked = random.Below(2) == 1;
  m.pre_keys = Some<32>(random);
  m.members = SomeIds(random, 9);
  m.model = Some<32>(random);
  m.recipe = Some<32>(random);
  for (uint64_t i = random.Below(4); i > 0; --i) {
    m.segments.push_back({random.Below(1 << 20), 16, 20, 0.25 * static_cast<double>(i)});
  }
  m.clip_norm_l2 = 3.5;
  m.weight_rule = random.Below(2) == 1 ? WeightRule::kExamples : WeightRule::kUniform;
  m.weight_max = random.Below(1 << 30);
  m.cipher =
      random.Below(2) == 1 ? kernels::MaskCipher::kChaCha20 : kernels::MaskCipher::kAes256Ctr;
  m.threshold = 5;
}
void Make(TestRandom& random, Ready& m) { m = {SiteId(9), Some<64>(random)}; }
void Make(TestRandom& random, CohortSet& m) {
  for (SiteId id : SomeIds(random, 6)) m.members.push_back({id, Some<64>(random)});
}
void Make(TestRandom& random, Commit& m) {
  m = {SiteId(9), random.Below(1 << 30), Some<32>(random), Some<64>(random)};
}
void Make(TestRandom& random, SurvivorSet& m) {
  for (SiteId id : SomeIds(random, 6)) {
    m.members.push_back({id, random.Below(1 << 30), Some<32>(random), Some<64>(random)});
  }
}
void Make(TestRandom& random, SurvivorSignature& m) { m = {SiteId(2), Some<64>(random)}; }
void Make(TestRandom& random, UnmaskRequest& m) {
  for (SiteId id : SomeIds(random, 6)) m.signatures.push_back({id, Some<64>(random)});
}
void Make(TestRandom& random, UnmaskAnswer& m) {
  m.id = SiteId(3);
  for (SiteId id : SomeIds(random, 6)) {
    m.items.push_back(
        {id, random.Below(2) == 1 ? ShareKind::kSelf : ShareKind::kMaskKey, random.Draw32()});
  }
  m.signature = Some<64>(random);
}
void Make(TestRandom& random, Result& m) {
  m.round = RoundId(3);
  m.sites = static_cast<uint32_t>(random.Below(1000));
  Make(random, m.survivors);
  for (SiteId id : SomeIds(random, 6)) m.signatures.push_back({id, Some<64>(random)});
  for (SiteId id : SomeIds(random, 6)) {
    m.secrets.push_back(
        {id, random.Below(2) == 1 ? ShareKind::kSelf : ShareKind::kMaskKey, random.Draw32()});
  }
  for (uint64_t i = random.Below(4); i > 0; --i) m.group_sums.push_back(Some<32>(random));
  m.sum = Some<32>(random);
  m.next_model = Some<32>(random);
}
void Make(TestRandom& random, GroupOpen& m) { m = {static_cast<uint32_t>(1 + random.Below(9))}; }
void Make(TestRandom& random, GroupCommit& m) { m = {2, SiteId(9), Some<32>(random)}; }
void Make(TestRandom& random, GroupSignature& m) { m = {2, SiteId(9), Some<64>(random)}; }
void Make(TestRandom& random, GroupReveal& m) { m = {2, SiteId(9), Some<32>(random)}; }
void Make(TestRandom& random, GroupCommitSet& m) {
  m.attempt = 3;
  for (SiteId id : SomeIds(random, 6)) m.items.push_back({id, Some<32>(random)});
}
void Make(TestRandom& random, GroupSignatureSet& m) {
  m.attempt = 3;
  for (SiteId id : SomeIds(random, 6)) m.items.push_back({id, Some<64>(random)});
}
void Make(TestRandom& random, GroupRevealSet& m) {
  m.attempt = 3;
  for (SiteId id : SomeIds(random, 6)) m.items.push_back({id, Some<32>(random)});
}

template <typename M>
class EveryMessage : public ::testing::Test {};
using Messages =
    ::testing::Types<PreKeyRecord, PreKeySet, ShareBundle, ShareDelivery, ShareReceipt, Manifest,
                     Ready, CohortSet, Commit, SurvivorSet, SurvivorSignature, UnmaskRequest,
                     UnmaskAnswer, Result, GroupOpen, GroupCommit, GroupCommitSet, GroupSignature,
                     GroupSignatureSet, GroupReveal, GroupRevealSet>;
TYPED_TEST_SUITE(EveryMessage, Messages);

TYPED_TEST(EveryMessage, IsReadBackAsItWasWritten) {
  const uint64_t seed = TestSeed(20261122);
  SCOPED_TRACE(SeedTrace(seed));
  TestRandom random(seed);
  for (int i = 0; i < 50; ++i) {
    TypeParam message;
    Make(random, message);
    const Bytes bytes = Encode(message);
    const auto again = Decode<TypeParam>(bytes);
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(Encode(*again), bytes);
  }
}

TYPED_TEST(EveryMessage, TruncatedOrLongerIsRefused) {
  TestRandom random(5);
  for (int i = 0; i < 5; ++i) {
    TypeParam message;
    Make(random, message);
    Bytes bytes = Encode(message);
    for (size_t size = 0; size < bytes.size(); ++size) {
      const auto decoded = Decode<TypeParam>(ByteView(bytes).first(size));
      ASSERT_TRUE(absl::IsInvalidArgument(decoded.status())) << size << " of " << bytes.size();
    }
    bytes.push_back(0);
    EXPECT_TRUE(absl::IsInvalidArgument(Decode<TypeParam>(bytes).status()));
  }
}

TYPED_TEST(EveryMessage, MutatedIsRefusedOrIsAnotherCanonicalMessage) {
  const uint64_t seed = TestSeed(99);
  SCOPED_TRACE(SeedTrace(seed));
  TestRandom random(seed);
  for (int i = 0; i < 2000; ++i) {
    TypeParam message;
    Make(random, message);
    Bytes bytes = Encode(message);
    for (uint64_t flips = 1 + random.Below(4); flips > 0; --flips) {
      const uint64_t at = random.Below(bytes.size());
      switch (random.Below(4)) {
        case 0:
          bytes[at] ^= static_cast<uint8_t>(1u << random.Below(8));
          break;
        case 1:
          bytes[at] = 0xff;
          break;
        case 2:
          bytes.erase(bytes.begin() + static_cast<long>(at));
          break;
        default:
          bytes.insert(bytes.begin() + static_cast<long>(at), uint8_t{1});
      }
      if (bytes.empty()) bytes.push_back(0);
    }
    const auto decoded = Decode<TypeParam>(bytes);
    if (decoded.ok()) {
      EXPECT_EQ(Encode(*decoded), bytes) << "two encodings of one message";
    } else {
      EXPECT_TRUE(absl::IsInvalidArgument(decoded.status())) << decoded.status();
    }
  }
}

TYPED_TEST(EveryMessage, NoiseIsRefusedOrCanonical) {
  const uint64_t seed = TestSeed(4);
  SCOPED_TRACE(SeedTrace(seed));
  TestRandom random(seed);
  TypeParam message;
  Make(random, message);
  const uint8_t tag = Encode(message)[0];
  for (int i = 0; i < 2000; ++i) {
    Bytes bytes(1 + random.Below(300));
    random.Fill(bytes);
    bytes[0] = tag;
    const auto decoded = Decode<TypeParam>(bytes);
    if (decoded.ok()) {
      EXPECT_EQ(Encode(*decoded), bytes);
    }
  }
}

TYPED_TEST(EveryMessage, IsNoOtherMessage) {
  TestRandom random(6);
  TypeParam message;
  Make(random, message);
  const Bytes bytes = Encode(message);
  int read = 0;
  read += Decode<PreKeyRecord>(bytes).ok();
  read += Decode<PreKeySet>(bytes).ok();
  read += Decode<ShareBundle>(bytes).ok();
  read += Decode<ShareDelivery>(bytes).ok();
  read += Decode<ShareReceipt>(bytes).ok();
  read += Decode<Manifest>(bytes).ok();
  read += Decode<Ready>(bytes).ok();
  read += Decode<CohortSet>(bytes).ok();
  read += Decode<Commit>(bytes).ok();
  read += Decode<SurvivorSet>(bytes).ok();
  read += Decode<SurvivorSignature>(bytes).ok();
  read += Decode<UnmaskRequest>(bytes).ok();
  read += Decode<UnmaskAnswer>(bytes).ok();
  read += Decode<Result>(bytes).ok();
  read += Decode<GroupOpen>(bytes).ok();
  read += Decode<GroupCommit>(bytes).ok();
  read += Decode<GroupCommitSet>(bytes).ok();
  read += Decode<GroupSignature>(bytes).ok();
  read += Decode<GroupSignatureSet>(bytes).ok();
  read += Decode<GroupReveal>(bytes).ok();
  read += Decode<GroupRevealSet>(bytes).ok();
  EXPECT_EQ(read, 1);
}

// Every list of sites: strictly ascending, from 1.
template <typename M>
void ExpectRefused(const M& message, std::string_view why) {
  const auto decoded = Decode<M>(Encode(message));
  ASSERT_TRUE(absl::IsInvalidArgument(decoded.status())) << why;
  EXPECT_NE(std::string(decoded.status().message()).find(why), std::string::npos)
      << decoded.status();
}

TEST(Encoding, UnsortedAndDuplicateSitesAreRefused) {
  TestRandom random(1);
  const PreKeyRecord two = SomeRecord(random, SiteId(2)), five = SomeRecord(random, SiteId(5));
  ExpectRefused(PreKeySet{{five, two}}, "ascending");
  ExpectRefused(PreKeySet{{two, two}}, "ascending");
  ExpectRefused(ShareReceipt{SiteId(1), {SiteId(3), SiteId(3)}, {}}, "ascending");
  ExpectRefused(CohortSet{{{SiteId(3), {}}, {SiteId(2), {}}}}, "ascending");
  ExpectRefused(CohortSet{{{SiteId(3), {}}, {SiteId(3), {}}}}, "ascending");
  ExpectRefused(SurvivorSet{{Commit{.id = SiteId(3)}, Commit{.id = SiteId(3)}}}, "ascending");
  ExpectRefused(UnmaskRequest{{{SiteId(4), {}}, {SiteId(4), {}}}}, "ascending");
  Result result;
  result.survivors = {{Commit{.id = SiteId(4)}, Commit{.id = SiteId(2)}}};
  ExpectRefused(result, "ascending");
  result.survivors = {};
  result.signatures = {{SiteId(4), {}}, {SiteId(4), {}}};
  ExpectRefused(result, "ascending");
  result.signatures = {};
  result.secrets = {{SiteId(4), ShareKind::kSelf, {}}, {SiteId(4), ShareKind::kMaskKey, {}}};
  ExpectRefused(result, "ascending");
  UnmaskAnswer answer;
  answer.id = SiteId(1);
  answer.items = {{SiteId(2), ShareKind::kSelf, {}}, {SiteId(2), ShareKind::kMaskKey, {}}};
  ExpectRefused(answer, "ascending");
  ShareDelivery delivery;
  delivery.items.resize(2);
  delivery.items[0].dealer = delivery.items[1].dealer = SiteId(2);
  ExpectRefused(delivery, "ascending");
  Manifest manifest;
  manifest.members = {SiteId(9), SiteId(9)};
  ExpectRefused(manifest, "ascending");
}

TEST(Encoding, SiteZeroIsRefused) {
  ExpectRefused(Ready{}, "site id 0");
  ExpectRefused(Commit{}, "site id 0");
  ExpectRefused(PreKeyRecord{}, "site id 0");
  ExpectRefused(ShareBundle{}, "site id 0");
  ExpectRefused(ShareReceipt{}, "site id 0");
  ExpectRefused(SurvivorSignature{}, "site id 0");
  ExpectRefused(UnmaskAnswer{}, "site id 0");
  Result result;
  result.secrets = {{SiteId(0), ShareKind::kSelf, {}}};
  ExpectRefused(result, "from 1");
}

TEST(Encoding, ManifestFieldsOutOfRangeAreRefused) {
  Manifest manifest;
  manifest.clip_norm_l2 = std::numeric_limits<double>::quiet_NaN();
  ExpectRefused(manifest, "clip_norm_l2 is not finite");
  manifest.clip_norm_l2 = 1;
  manifest.segments = {{10, 8, 10, std::numeric_limits<double>::infinity()}};
  ExpectRefused(manifest, "scale is not finite");
  manifest.segments = {};
  manifest.weight_rule = static_cast<WeightRule>(2);
  ExpectRefused(manifest, "unknown weight rule");
  manifest.weight_rule = WeightRule::kUniform;
  manifest.cipher = static_cast<kernels::MaskCipher>(0);
  ExpectRefused(manifest, "unknown mask cipher");
  manifest.cipher = static_cast<kernels::MaskCipher>(3);
  ExpectRefused(manifest, "unknown mask cipher");
  manifest.cipher = kernels::MaskCipher::kChaCha20;
  manifest.aead = static_cast<Aead>(3);
  ExpectRefused(manifest, "unknown AEAD");
  manifest.aead = Aead::kChaCha20Poly1305;
  manifest.noise_stddev = std::numeric_limits<double>::quiet_NaN();
  ExpectRefused(manifest, "noise_stddev is not finite");
  manifest.noise_stddev = 0;
  manifest.segments.resize(kernels::kMaxSegments);
  EXPECT_TRUE(Decode<Manifest>(Encode(manifest)).ok());
  manifest.segments.resize(kernels::kMaxSegments + 1);
  EXPECT_FALSE(Decode<Manifest>(Encode(manifest)).ok());
}

TEST(Encoding, UnknownKindOfShareIsRefused) {
  UnmaskAnswer answer;
  answer.id = SiteId(1);
  answer.items = {{SiteId(2), static_cast<ShareKind>(3), {}}};
  ExpectRefused(answer, "unknown kind of share");
}

TEST(Encoding, CountsOfHashesAndEnvelopesMustAgree) {
  ShareBundle bundle;
  bundle.dealer = SiteId(1);
  bundle.mask_share_hashes.resize(3);
  bundle.b_share_hashes.resize(3);
  bundle.envelopes.resize(2);
  ExpectRefused(bundle, "different counts");
  bundle.envelopes.resize(3);
  EXPECT_TRUE(Decode<ShareBundle>(Encode(bundle)).ok());
  bundle.envelopes[0].resize(81);  // over an envelope
  EXPECT_FALSE(Decode<ShareBundle>(Encode(bundle)).ok());
}

TEST(Encoding, MoreThan255SitesAreRefused) {
  CohortSet set;
  for (uint32_t i = 1; i <= 255; ++i) set.members.push_back({SiteId(i), {}});
  EXPECT_TRUE(Decode<CohortSet>(Encode(set)).ok());
  set.members.push_back({SiteId(256), {}});
  EXPECT_FALSE(Decode<CohortSet>(Encode(set)).ok());
}

TEST(Encoding, LyingCountsDoNotAllocate) {
  // A count of 2^32 - 1 with nothing behind it: refused at once, for every message that begins with
  // a list.
  const Bytes lie = {0xff, 0xff, 0xff, 0xff};
  for (uint8_t tag = 0; tag < 32; ++tag) {
    Bytes bytes = {tag};
    bytes.insert(bytes.end(), lie.begin(), lie.end());
    EXPECT_FALSE(Decode<PreKeySet>(bytes).ok());
    EXPECT_FALSE(Decode<ShareDelivery>(bytes).ok());
    EXPECT_FALSE(Decode<CohortSet>(bytes).ok());
    EXPECT_FALSE(Decode<SurvivorSet>(bytes).ok());
    EXPECT_FALSE(Decode<UnmaskRequest>(bytes).ok());
  }
}

TEST(Hashes, CoverEveryFieldOfTheManifest) {
  TestRandom random(8);
  Manifest base;
  do {
    base = {};
    Make(random, base);
  } while (base.members.size() < 2 || base.segments.empty());
  const std::vector<std::function<void(Manifest&)>> changes = {
      [](Manifest& m) { m.run[31] ^= 1; },
      [](Manifest& m) { m.slot = SlotId(m.slot.value() + 1); },
      [](Manifest& m) { m.round = RoundId(m.round.value() + 1); },
      [](Manifest& m) { m.group ^= 1; },
      [](Manifest& m) { m.masked = !m.masked; },
      [](Manifest& m) { m.pre_keys[0] ^= 1; },
      [](Manifest& m) { m.members.pop_back(); },
      [](Manifest& m) { m.model[5] ^= 1; },
      [](Manifest& m) { m.recipe[5] ^= 1; },
      [](Manifest& m) { m.segments[0].length += 1; },
      [](Manifest& m) { m.segments[0].value_bits += 1; },
      [](Manifest& m) { m.segments[0].sum_bits += 1; },
      [](Manifest& m) { m.segments[0].scale *= 2; },
      [](Manifest& m) { m.segments.pop_back(); },
      [](Manifest& m) { m.clip_norm_l2 *= 2; },
      [](Manifest& m) {
        m.weight_rule =
            m.weight_rule == WeightRule::kUniform ? WeightRule::kExamples : WeightRule::kUniform;
      },
      [](Manifest& m) { m.weight_max += 1; },
      [](Manifest& m) {
        m.cipher = m.cipher == kernels::MaskCipher::kChaCha20 ? kernels::MaskCipher::kAes256Ctr
                                                              : kernels::MaskCipher::kChaCha20;
      },
      [](Manifest& m) { m.noise_stddev += 1; },
      [](Manifest& m) {
        m.aead = m.aead == Aead::kAes256Gcm ? Aead::kChaCha20Poly1305 : Aead::kAes256Gcm;
      },
      [](Manifest& m) { m.threshold += 1; },
  };
  std::set<Digest> hashes = {HashOf(base)};
  for (const auto& change : changes) {
    Manifest changed = base;
    change(changed);
    hashes.insert(HashOf(changed));
  }
  EXPECT_EQ(hashes.size(), changes.size() + 1);
}

TEST(Hashes, ContextIsAsWritten) {
  Digest manifest{};
  manifest[0] = 9;
  ByteWriter by_hand;
  by_hand.Raw(AsBytes("ctx")).Raw(manifest).U32(2).U32(3).U32(300);
  EXPECT_EQ(ContextOf(manifest, {SiteId(3), SiteId(300)}), Sha256::Of(by_hand.bytes()));
}

TEST(Threshold, TwoThirdsAndOne) {
  const std::map<uint32_t, uint32_t> expected = {
      {1, 1}, {2, 2}, {3, 3},  {4, 3},   {5, 4},    {6, 5},     {7, 5},
      {8, 6}, {9, 7}, {10, 7}, {64, 43}, {100, 67}, {254, 170}, {255, 171}};
  for (const auto& [n0, t] : expected) EXPECT_EQ(ThresholdFor(n0), t) << n0;
  EXPECT_EQ(ThresholdFor(3, true), 2u);
  for (uint32_t n0 = 4; n0 <= 255; ++n0) {
    EXPECT_EQ(ThresholdFor(n0, true), ThresholdFor(n0));
    // More than n0 / 2, so that two disjoint sets of sites never both reach it; and c < 2t - n0
    // holds for c < n0 / 3.
    EXPECT_GT(2 * ThresholdFor(n0), n0);
    EXPECT_GE(3 * (2 * ThresholdFor(n0) - n0), n0);
  }
}

}  // namespace
}  // namespace atl::secagg
