// The masks: cancel to the bit for every width, chunking and order; bound to the context; no stream
// used twice.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>
#include <thread>

#include "comms/base/crypto/sha256.h"
#include "comms/base/status.h"
#include "federation/secagg/mask_keys.h"
#include "federation/secagg/signed_bodies.h"
#include "federation/secagg/site_record.h"
#include "kernels/pack.h"
#include "tests/secagg/harness.h"

namespace atl::secagg {
namespace {

using Key = std::array<uint8_t, 32>;

Key Plain(const Secret32& secret) {
  Key key;
  std::copy(secret.span().begin(), secret.span().end(), key.begin());
  return key;
}

// The streams of all sites of a slot, by site.
std::map<SiteId, std::vector<MaskStream>> AllStreams(Federation& federation) {
  std::map<SiteId, std::vector<MaskStream>> streams;
  EXPECT_EQ(federation.RunUntil(Step::kCommit), absl::OkStatus());
  for (auto& [id, site] : federation.sites()) {
    streams[id] = *site->slot->EnterContext(federation.u2);
  }
  return streams;
}

TEST(Masks, ChunkingAndOrderOfKeysGiveTheSameBytesForEveryLane) {
  for (kernels::MaskCipher cipher :
       {kernels::MaskCipher::kAes256Ctr, kernels::MaskCipher::kChaCha20}) {
    Federation federation({.sites = 4, .seed = 2, .cipher = cipher});
    auto streams = AllStreams(federation);
    const TestSite& site = federation.site(8);
    const Bytes whole = MaskVector(federation.segments(), site.values, streams[SiteId(8)], cipher);
    for (uint64_t range : {1, 2, 3, 5, 7, 16, 31}) {
      EXPECT_EQ(MaskVector(federation.segments(), site.values, streams[SiteId(8)], cipher, range),
                whole)
          << range;
    }
    std::reverse(streams[SiteId(8)].begin(), streams[SiteId(8)].end());
    EXPECT_EQ(MaskVector(federation.segments(), site.values, streams[SiteId(8)], cipher, 4), whole);
  }
}

TEST(Masks, RangesAcrossChunkBordersGiveTheSameBytes) {
  FederationOptions options{.sites = 3, .seed = 3};
  options.segments = {{kernels::kChunkElements + 777, 12, 14, 1.0}};
  Federation federation(options);
  auto streams = AllStreams(federation);
  const TestSite& site = federation.site(3);
  const auto mask = [&](uint64_t range) {
    return MaskVector(federation.segments(), site.values, streams[SiteId(3)],
                      kernels::MaskCipher::kAes256Ctr, range);
  };
  const Bytes whole = mask(0);
  for (uint64_t range : {999, 4096, 65536, 100001}) EXPECT_EQ(mask(range), whole) << range;
}

TEST(Masks, EveryWidthFromTwoTo64CancelsExactly) {
  for (uint32_t sum_bits = 5; sum_bits <= 64; ++sum_bits) {
    FederationOptions options{.sites = 3, .seed = sum_bits};
    options.segments = {{41, std::min(sum_bits - 2, 62u), sum_bits, 1.0}};
    Federation federation(options);
    ASSERT_EQ(federation.RunAll(), absl::OkStatus()) << sum_bits;
    EXPECT_EQ(*federation.Sum(), federation.ExpectedSum()) << sum_bits;
  }
}

TEST(Masks, ThreadsSumChunksAsOneDoes) {
  FederationOptions options{.sites = 3, .seed = 4};
  options.segments = {{5, 48, 50, 1.0}, {5 * kernels::kChunkElements - 3, 14, 16, 1.0}};
  Federation federation(options);
  ASSERT_EQ(federation.RunAll(), absl::OkStatus());
  const auto streams = *federation.coordinator->StreamsToRemove();
  const kernels::VectorLayout layout = federation.layout();
  const auto sum_of = [&](uint32_t k) {
    ChunkSummer summer = *ChunkSummer::Create(layout, k);
    for (auto& [id, site] : federation.sites()) {
      EXPECT_EQ(
          summer.Add(
              ByteView(site->upload).subspan(summer.chunk().byte_offset, summer.chunk().bytes)),
          absl::OkStatus());
    }
    summer.AddStreams(streams, options.cipher);
    return summer.Finish();
  };
  std::vector<Bytes> parallel(layout.chunk_count());
  std::vector<std::thread> threads;
  for (uint32_t worker = 0; worker < 3; ++worker) {
    threads.emplace_back([&, worker] {
      for (uint32_t k = worker; k < layout.chunk_count(); k += 3) parallel[k] = sum_of(k);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (uint32_t k = 0; k < layout.chunk_count(); ++k) EXPECT_EQ(parallel[k], sum_of(k)) << k;
}

TEST(Masks, SumRefusesAChunkOfAnotherSizeOrIndex) {
  const kernels::VectorLayout layout(AllWidths(4));
  EXPECT_TRUE(absl::IsInvalidArgument(ChunkSummer::Create(layout, layout.chunk_count()).status()));
  ChunkSummer summer = *ChunkSummer::Create(layout, 1);
  Bytes chunk(summer.chunk().bytes + 1);
  EXPECT_TRUE(absl::IsInvalidArgument(summer.Add(chunk)));
  chunk.resize(summer.chunk().bytes - 1);
  EXPECT_TRUE(absl::IsInvalidArgument(summer.Add(chunk)));
  EXPECT_TRUE(absl::IsInvalidArgument(summer.Begin(layout, layout.chunk_count())));
}

TEST(Masks, VectorsAndStreamsTogetherAreWhatTheyAreOneByOne) {
  FederationOptions options{.sites = 4, .seed = 6};
  options.segments = {{5, 48, 50, 1.0}, {kernels::kChunkElements + 11, 12, 14, 1.0}};
  Federation federation(options);
  ASSERT_EQ(federation.RunAll(), absl::OkStatus());
  const auto streams = *federation.coordinator->StreamsToRemove();
  const kernels::VectorLayout layout = federation.layout();
  for (uint32_t k = 0; k < layout.chunk_count(); ++k) {
    ChunkSummer one_by_one = *ChunkSummer::Create(layout, k);
    ChunkSummer together = *ChunkSummer::Create(layout, k);
    std::vector<ByteView> packed;
    for (auto& [id, site] : federation.sites()) {
      const kernels::Chunk& chunk = together.chunk();
      packed.push_back(ByteView(site->upload).subspan(chunk.byte_offset, chunk.bytes));
      ASSERT_EQ(one_by_one.Add(packed.back()), absl::OkStatus());
    }
    ASSERT_EQ(together.Add(packed, streams, options.cipher), absl::OkStatus());
    one_by_one.AddStreams(streams, options.cipher);
    EXPECT_EQ(together.Finish(), one_by_one.Finish());
    // Nothing is added when one of them does not fit.
    packed.back() = packed.back().first(packed.back().size() - 1);
    EXPECT_TRUE(absl::IsInvalidArgument(together.Add(packed, streams, options.cipher)));
  }
}

TEST(Masks, EachPairCancelsAndNoStreamIsUsedTwice) {
  Federation federation({.sites = 5, .seed = 5});
  std::map<Key, std::vector<MaskStream>> uses;
  size_t total = 0;
  for (auto& [id, streams] : AllStreams(federation)) {
    EXPECT_EQ(streams.size(), 5 * federation.segments().size());
    for (const MaskStream& stream : streams) {
      uses[Plain(stream.key)].push_back(stream);
      ++total;
    }
  }
  size_t selves = 0, pairs = 0;
  for (const auto& [key, streams] : uses) {
    if (streams.size() == 1) {
      ++selves;
      EXPECT_FALSE(streams[0].subtract);
    } else {
      ++pairs;
      ASSERT_EQ(streams.size(), 2u) << "a key in more than two places";
      EXPECT_EQ(streams[0].segment, streams[1].segment) << "one key for two segments";
      EXPECT_NE(streams[0].subtract, streams[1].subtract) << "a pair that does not cancel";
    }
  }
  EXPECT_EQ(selves, 5 * federation.segments().size());
  EXPECT_EQ(pairs, 10 * federation.segments().size());
  EXPECT_EQ(total, selves + 2 * pairs);
}

TEST(Masks, NoKeyComesAgainInAnotherSlotRunOrRound) {
  std::set<Key> keys;
  size_t count = 0;
  for (uint64_t slot : {7, 8, 9}) {
    for (uint8_t run : {1, 2}) {
      // The same seed: even pre-keys that came out the same would give other streams.
      FederationOptions options{.sites = 3, .seed = 6};
      options.slot = SlotId(slot);
      options.run = {run};
      Federation federation(options);
      for (auto& [id, streams] : AllStreams(federation)) {
        for (const MaskStream& stream : streams) {
          keys.insert(Plain(stream.key));
          ++count;
        }
      }
    }
  }
  // Of each slot: 3 self streams and 3 pairs (seen twice) for each of 4 segments.
  EXPECT_EQ(count, 6u * 4 * 9);
  EXPECT_EQ(keys.size(), 6u * 4 * 6);
}

TEST(MaskKeys, DependOnEveryInput) {
  const CryptoSuite& suite = OpensslSuite();
  TestRandom random(7);
  const Secret32 agreed = random.Draw32();
  Digest ctx{};
  random.Fill(ctx);
  PairEnd one{SiteId(3), {}}, other{SiteId(8), {}};
  random.Fill(one.mask_key);
  random.Fill(other.mask_key);
  std::set<Key> keys;
  const auto add = [&](const Secret32& key) {
    EXPECT_TRUE(keys.insert(Plain(key)).second) << "the key of other inputs";
  };
  const auto pair = [&](const Digest& c, const PairEnd& a, const PairEnd& b, uint32_t segment,
                        uint32_t lanes) {
    return PairStreamKey(suite, agreed, c, a, b, segment, lanes);
  };
  add(pair(ctx, one, other, 0, 16));
  EXPECT_EQ(pair(ctx, other, one, 0, 16), pair(ctx, one, other, 0, 16)) << "whichever end asks";
  for (uint32_t bit = 0; bit < 256; ++bit) {
    Digest changed = ctx;
    changed[bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
    add(pair(changed, one, other, 0, 16));
    add(SelfStreamKey(suite, agreed, changed, SiteId(3), 0, 16));
  }
  for (uint32_t segment = 0; segment < 16; ++segment) {
    for (uint32_t lanes : {8, 16, 32, 64}) {
      if (segment != 0 || lanes != 16) add(pair(ctx, one, other, segment, lanes));
      add(SelfStreamKey(suite, agreed, ctx, SiteId(3), segment, lanes));
    }
  }
  PairEnd changed = one;
  changed.mask_key[4] ^= 1;
  add(pair(ctx, changed, other, 0, 16));
  changed = one;
  changed.id = SiteId(4);
  add(pair(ctx, changed, other, 0, 16));
  add(SelfStreamKey(suite, agreed, ctx, SiteId(4), 0, 16));
  add(PairStreamKey(suite, random.Draw32(), ctx, one, other, 0, 16));
  for (Aead aead : {Aead::kAes256Gcm, Aead::kChaCha20Poly1305}) {
    add(EnvelopeKey(suite, aead, agreed, ctx, SiteId(3), SiteId(8)));
    add(EnvelopeKey(suite, aead, agreed, ctx, SiteId(8), SiteId(3)));  // each direction has its own
  }
}

TEST(MaskKeys, HashesDependOnEveryInput) {
  TestRandom random(8);
  const Secret32 share = random.Draw32();
  Session session{.roster = {}, .run = {1}, .slot = SlotId(2)};
  std::set<Digest> hashes;
  const auto add = [&](const Digest& digest) { EXPECT_TRUE(hashes.insert(digest).second); };
  add(ShareHash(session, ShareKind::kSelf, SiteId(1), SiteId(2), share));
  add(ShareHash(session, ShareKind::kMaskKey, SiteId(1), SiteId(2), share));
  add(ShareHash(session, ShareKind::kSelf, SiteId(2), SiteId(1), share));
  add(ShareHash(session, ShareKind::kSelf, SiteId(1), SiteId(3), share));
  add(ShareHash(session, ShareKind::kSelf, SiteId(1), SiteId(2), random.Draw32()));
  add(SelfCommitment(session, SiteId(1), share));
  add(SelfCommitment(session, SiteId(2), share));
  Session changed = session;
  changed.run[9] ^= 1;
  add(ShareHash(changed, ShareKind::kSelf, SiteId(1), SiteId(2), share));
  add(SelfCommitment(changed, SiteId(1), share));
  changed = session;
  changed.slot = SlotId(3);
  add(ShareHash(changed, ShareKind::kSelf, SiteId(1), SiteId(2), share));
  add(SelfCommitment(changed, SiteId(1), share));
}

TEST(Binding, EveryBitOfTheManifestIsRefusedOrGivesOtherMasks) {
  Federation federation({.sites = 4, .seed = 9});
  ASSERT_EQ(federation.RunUntil(Step::kReady), absl::OkStatus());
  TestSite& site = federation.site(3);
  const Bytes record = *site.journal.durable();
  std::vector<Ready> others;
  for (uint32_t id : {8, 13, 18}) {
    others.push_back(
        *federation.site(id).slot->SignReady(federation.manifest, federation.expected));
  }
  const Bytes encoded = Encode(federation.manifest);
  int refused = 0, outvoted = 0;
  for (size_t bit = 0; bit < encoded.size() * 8; ++bit) {
    Bytes bytes = encoded;
    bytes[bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
    const auto manifest = Decode<Manifest>(bytes);
    MemoryJournal journal;
    SiteSlot slot = *SiteSlot::Restore(site.identity, record, journal);
    const auto ready =
        manifest.ok() ? slot.SignReady(*manifest, federation.expected) : manifest.status();
    if (!ready.ok()) {
      ++refused;
      continue;
    }
    // A field that the site leaves to the coordinator. Its word counts nowhere, and the others' not
    // with it.
    EXPECT_TRUE(absl::IsUnauthenticated(federation.coordinator->AddReady(*ready))) << bit;
    CohortSet u2{{*ready, others[0], others[1], others[2]}};
    EXPECT_TRUE(absl::IsUnauthenticated(slot.EnterContext(u2).status())) << bit;
    EXPECT_NE(ContextOf(HashOf(*manifest), IdsOf(u2)),
              ContextOf(HashOf(federation.manifest), IdsOf(u2)));
    ++outvoted;
  }
  EXPECT_GT(refused, 1000);
  EXPECT_GT(outvoted, 100);  // scales, clip and weight within the floors
}

TEST(Binding, OneSiteInAnotherContextLeavesNoise) {
  // What the signatures forbid, done by force: site 3 masks under a context with one site fewer in
  // U2.
  Federation federation({.sites = 4, .seed = 10});
  ASSERT_EQ(federation.RunUntil(Step::kCommit), absl::OkStatus());
  MemoryJournal journal;
  TestSite& site = federation.site(3);
  SiteSlot fooled = *SiteSlot::Restore(site.identity, *site.journal.durable(), journal);
  CohortSet smaller = federation.u2;
  smaller.members.pop_back();
  const auto streams = *fooled.EnterContext(smaller);
  ASSERT_EQ(federation.Commits(), absl::OkStatus());
  ASSERT_EQ(federation.Survivors(), absl::OkStatus());
  ASSERT_EQ(federation.Answers(), absl::OkStatus());
  EXPECT_EQ(*federation.Sum(), federation.ExpectedSum());
  site.upload = MaskVector(federation.segments(), site.values, streams, federation.options_.cipher);
  const auto noise = *federation.Sum();
  const auto expected = federation.ExpectedSum();
  for (size_t s = 0; s < noise.size(); ++s) {
    if (federation.segments()[s].sum_bits < 16) continue;
    for (size_t e = 0; e < noise[s].size(); ++e)
      EXPECT_NE(noise[s][e], expected[s][e]) << s << " " << e;
  }
}

// What site 3 masks with in another context than the others, which no honest site would: from its
// own secrets, as they stand in its record.
std::vector<MaskStream> StreamsUnder(Federation& federation, const Bytes& record_bytes,
                                     const Digest& context, const std::vector<SiteId>& cohort) {
  const CryptoSuite& suite = *federation.options_.suite;
  const SiteRecord record = *DecodeRecord(record_bytes);
  const std::vector<SiteId> u0 = IdsOf(record.u0);
  std::vector<MaskStream> streams;
  for (uint32_t s = 0; s < federation.segments().size(); ++s) {
    const uint32_t bits = 8 * federation.segments()[s].lane_bytes();
    streams.push_back({s, false, SelfStreamKey(suite, *record.b, context, record.id, s, bits)});
    for (SiteId id : cohort) {
      if (id == record.id) continue;
      const PublicKey& key = record.u0.records[RankOf(u0, id)].mask_key;
      const Secret32 agreed = *suite.Agree(*record.mask_secret, key);
      streams.push_back({s, id < record.id,
                         PairStreamKey(suite, agreed, context,
                                       {record.id, record.pre_keys.mask_key}, {id, key}, s, bits)});
    }
  }
  return streams;
}

TEST(Binding, AnyBitOfManifestRunSlotOrU2LeavesNoise) {
  Federation federation({.sites = 4, .seed = 13});
  ASSERT_EQ(federation.RunUntil(Step::kCommit), absl::OkStatus());
  TestSite& site = federation.site(3);
  const Bytes record = *site.journal.durable();
  ASSERT_EQ(federation.Commits(), absl::OkStatus());
  ASSERT_EQ(federation.Survivors(), absl::OkStatus());
  ASSERT_EQ(federation.Answers(), absl::OkStatus());
  const std::vector<SiteId> cohort = IdsOf(federation.u2);
  const auto to_remove = *federation.coordinator->StreamsToRemove();
  const auto expected = federation.ExpectedSum();
  const auto sum_under = [&](const Digest& context, const std::vector<SiteId>& ids) {
    site.upload =
        MaskVector(federation.segments(), site.values,
                   StreamsUnder(federation, record, context, ids), federation.options_.cipher);
    return *federation.SumWith(to_remove);
  };
  ASSERT_EQ(sum_under(ContextOf(HashOf(federation.manifest), cohort), cohort), expected);
  const auto expect_noise = [&](const Digest& context, const std::vector<SiteId>& ids) {
    const auto noise = sum_under(context, ids);
    for (size_t s = 0; s < noise.size(); ++s) {
      size_t same = 0;
      for (size_t e = 0; e < noise[s].size(); ++e) same += noise[s][e] == expected[s][e];
      // By chance one element in 2^sum_bits is right; the narrowest segment has 6 bits, 21
      // elements.
      EXPECT_LE(same, federation.segments()[s].sum_bits < 16 ? 6u : 0u) << "segment " << s;
    }
  };
  const Bytes encoded = Encode(federation.manifest);
  int changed = 0;
  for (size_t bit = 0; bit < encoded.size() * 8; ++bit) {
    Bytes bytes = encoded;
    bytes[bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
    const auto manifest = Decode<Manifest>(bytes);
    if (!manifest.ok()) continue;
    SCOPED_TRACE(absl::StrCat("manifest, bit ", bit));
    expect_noise(ContextOf(HashOf(*manifest), cohort), cohort);
    ++changed;
  }
  EXPECT_GT(changed, 8 * (32 + 8));  // run, slot and more
  // Each U2 that lacks one of the others, and one with a site that is not of it.
  for (size_t left_out = 1; left_out < cohort.size(); ++left_out) {
    std::vector<SiteId> ids = cohort;
    ids.erase(ids.begin() + static_cast<long>(left_out));
    expect_noise(ContextOf(HashOf(federation.manifest), ids), ids);
    // The same pairs, only another context.
    expect_noise(ContextOf(HashOf(federation.manifest), ids), cohort);
  }
  std::vector<SiteId> more = cohort;
  more.push_back(SiteId(99));
  expect_noise(ContextOf(HashOf(federation.manifest), more), cohort);
}

TEST(Binding, AMissingSelfOrPairMaskLeavesNoise) {
  Federation federation({.sites = 4, .seed = 11});
  federation.site(13).drops_at = Step::kUpload;
  ASSERT_EQ(federation.RunAll(), absl::OkStatus());
  const auto streams = *federation.coordinator->StreamsToRemove();
  const auto expected = federation.ExpectedSum();
  EXPECT_EQ(*federation.SumWith(streams), expected);
  for (size_t i = 0; i < streams.size(); ++i) {
    auto fewer = streams;
    const uint32_t segment = fewer[i].segment;
    fewer.erase(fewer.begin() + static_cast<long>(i));
    const auto sum = *federation.SumWith(fewer);
    EXPECT_NE(sum[segment], expected[segment]) << i;
    for (size_t s = 0; s < sum.size(); ++s) {
      if (s == segment) continue;
      EXPECT_EQ(sum[s], expected[s]) << "a stream of another segment";
    }
  }
}

TEST(Masks, WhatASiteSendsIsUniform) {
  // Chi-square over the bytes of packed vectors whose values are all equal; fixed seeds. 255
  // degrees of freedom: mean 255, standard deviation 22.6; p < 1e-9 lies beyond 410.
  for (uint32_t bits : {8, 16, 32, 64}) {
    FederationOptions options{.sites = 3, .seed = 12};
    options.segments = {{1 << 15, bits - 2, bits, 1.0}};
    Federation federation(options);
    auto streams = AllStreams(federation);
    for (auto& [id, site] : federation.sites()) {
      std::fill(site->values[0].begin(), site->values[0].end(), 1);
      const Bytes y = MaskVector(federation.segments(), site->values, streams[id], options.cipher);
      std::array<double, 256> counts{};
      for (uint8_t byte : y) ++counts[byte];
      const double expected = static_cast<double>(y.size()) / 256;
      double chi_square = 0;
      for (double count : counts) chi_square += (count - expected) * (count - expected) / expected;
      EXPECT_LT(chi_square, 410) << bits << " bits, site " << id;
      EXPECT_GT(chi_square, 140) << "too even to be a key stream";
      EXPECT_GT(counts[255], 0) << "the top value occurs";
    }
  }
}

}  // namespace
}  // namespace atl::secagg
