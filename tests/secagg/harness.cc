#include "tests/secagg/harness.h"

#include <cstdlib>
#include <cstring>

#include "comms/base/crypto/sha256.h"
#include "comms/base/status.h"
#include "kernels/pack.h"
#include "kernels/quantize.h"

namespace atl::secagg {
namespace {

Digest Hash(std::string_view label, std::initializer_list<ByteView> parts) {
  Sha256 hash;
  hash.Update(AsBytes(label));
  for (ByteView part : parts) {
    hash.Update(ByteWriter().U64(part.size()).bytes());
    hash.Update(part);
  }
  return hash.Finish();
}

// Diffie and Hellman in the multiplicative group mod 2^61 - 1.
class Cheap : public CryptoSuite {
 public:
  KeyPair SigningKeyPair(const Secret32& seed) const override {
    return {seed, Hash("signer", {seed.span()})};
  }
  Signature Sign(const Secret32& seed, ByteView message) const override {
    return SignatureOf(SigningKeyPair(seed).public_key, message);
  }
  bool Verify(const PublicKey& key, ByteView message, const Signature& signature) const override {
    return SignatureOf(key, message) == signature;
  }
  KeyPair AgreementKeyPair(const Secret32& scalar) const override {
    return {scalar, Point(Power(3, Exponent(scalar)))};
  }
  absl::StatusOr<Secret32> Agree(const Secret32& scalar, const PublicKey& peer) const override {
    uint64_t base = 0;
    std::memcpy(&base, peer.data(), 8);
    if (base < 2 || base >= kPrime || Point(base) != peer) {
      return absl::InvalidArgumentError("not a point");
    }
    const PublicKey shared = Point(Power(base, Exponent(scalar)));
    return Secret32(Hash("agreed", {shared}));
  }
  Secret32 Hkdf(ByteView key_material, ByteView salt, ByteView info) const override {
    return Secret32(Hash("hkdf", {key_material, salt, info}));
  }
  Bytes SealOnce(Aead aead, const Secret32& key, ByteView data, ByteView plaintext) const override {
    Bytes out = Crypt(key, plaintext);
    const Digest tag = Hash(NameOf(aead), {key.span(), data, out});
    out.insert(out.end(), tag.begin(), tag.begin() + 16);
    return out;
  }
  absl::StatusOr<Bytes> OpenOnce(Aead aead, const Secret32& key, ByteView data,
                                 ByteView sealed) const override {
    if (sealed.size() < 16) return absl::InvalidArgumentError("shorter than a tag");
    const ByteView text = sealed.first(sealed.size() - 16);
    const Digest tag = Hash(NameOf(aead), {key.span(), data, text});
    if (!std::equal(tag.begin(), tag.begin() + 16, sealed.end() - 16)) {
      return absl::UnauthenticatedError("tag");
    }
    return Crypt(key, text);
  }

 private:
  static constexpr uint64_t kPrime = (uint64_t{1} << 61) - 1;
  static uint64_t Power(uint64_t base, uint64_t exponent) {
    unsigned __int128 result = 1, square = base;
    for (; exponent != 0; exponent >>= 1) {
      if (exponent & 1) result = result * square % kPrime;
      square = square * square % kPrime;
    }
    return static_cast<uint64_t>(result);
  }
  static uint64_t Exponent(const Secret32& scalar) {
    const Digest digest = Hash("exponent", {scalar.span()});
    uint64_t exponent;
    std::memcpy(&exponent, digest.data(), 8);
    return (exponent >> 4) | 2;
  }
  static PublicKey Point(uint64_t value) {
    PublicKey key{};
    std::memcpy(key.data(), &value, 8);
    return key;
  }
  static Signature SignatureOf(const PublicKey& key, ByteView message) {
    const Digest digest = Hash("signature", {key, message});
    Signature signature{};
    std::copy(digest.begin(), digest.end(), signature.begin());
    return signature;
  }
  static Bytes Crypt(const Secret32& key, ByteView text) {
    Digest block{};
    Bytes out(text.begin(), text.end());
    for (size_t i = 0; i < out.size(); ++i) {
      if (i % 32 == 0) block = Hash("stream", {key.span(), ByteWriter().U64(i).bytes()});
      out[i] ^= block[i % 32];
    }
    return out;
  }
};

}  // namespace

const CryptoSuite& CheapSuite() {
  static const Cheap suite;
  return suite;
}

void TestRandom::Fill(std::span<uint8_t> out) {
  for (size_t i = 0; i < out.size(); i += 32) {
    const Digest block = Sha256::Of(ByteWriter().U64(seed_).U64(block_++).bytes());
    std::copy_n(block.begin(), std::min<size_t>(32, out.size() - i), out.begin() + i);
  }
}

uint64_t TestRandom::Below(uint64_t bound) {
  uint64_t value;
  Fill({reinterpret_cast<uint8_t*>(&value), sizeof(value)});
  return static_cast<uint64_t>(static_cast<unsigned __int128>(value) * bound >> 64);
}

uint64_t TestSeed(uint64_t otherwise) {
  const char* seed = std::getenv("ATOLL_TEST_SEED");
  return seed == nullptr ? otherwise : std::strtoull(seed, nullptr, 10);
}

std::string SeedTrace(uint64_t seed) { return absl::StrCat("replay with ATOLL_TEST_SEED=", seed); }

absl::Status MemoryJournal::Save(SlotId, SlotState state, ByteView record) {
  if (crashed_) return absl::UnavailableError("the site is down");
  const bool crash = crash_in_ == 0;
  if (crash_in_ >= 0) --crash_in_;
  if (!crash || crash_durable_) {
    durable_ = Bytes(record.begin(), record.end());
    states.push_back(state);
  }
  crashed_ = crash;
  return crash ? absl::UnavailableError("the site crashed") : absl::OkStatus();
}

absl::StatusOr<std::vector<SignedCohort>> MemoryJournal::SignedCohorts(
    const std::optional<Digest>& model) {
  std::vector<SignedCohort> kept = cohorts;
  std::erase_if(kept, [&](const SignedCohort& c) { return model && c.model != *model; });
  return kept;
}

absl::Status MemoryJournal::KeepCohort(const SignedCohort& cohort) {
  if (crashed_) return absl::UnavailableError("the site is down");
  for (const SignedCohort& c : cohorts) {
    if (c.model == cohort.model && c.survivors == cohort.survivors) return absl::OkStatus();
  }
  cohorts.push_back(cohort);
  return absl::OkStatus();
}

void MemoryJournal::CrashAt(int saves_from_now, bool durable) {
  crash_in_ = saves_from_now;
  crash_durable_ = durable;
}

const char* NameOf(Step step) {
  static constexpr const char* kNames[] = {"pre-keys", "shares",    "receipt", "ready", "commit",
                                           "upload",   "survivors", "answer",  "never"};
  return kNames[static_cast<size_t>(step)];
}

std::vector<kernels::Segment> AllWidths(uint32_t sites) {
  std::vector<kernels::Segment> segments;
  for (const auto& [length, bits] :
       {std::pair{5, 48}, std::pair{21, 4}, std::pair{33, 11}, std::pair{17, 24}}) {
    kernels::Segment segment;
    segment.length = length;
    segment.value_bits = bits;
    segment.sum_bits = kernels::SumBits(segment.value_bits, sites);
    segment.scale = 16.0;
    segments.push_back(segment);
  }
  return segments;
}

Federation::Federation(const FederationOptions& options) : options_(options) {
  if (options_.segments.empty()) options_.segments = AllWidths(options_.sites);
  TestRandom setup(options_.seed);
  const Secret32 operator_seed = setup.Draw32();
  std::map<SiteId, RosterEntry> entries;
  for (uint32_t i = 0; i < options_.sites; ++i) {
    const SiteId id(3 + 5 * i);  // ids are not ranks
    auto site = std::make_unique<TestSite>();
    site->identity.id = id;
    site->identity.seed = setup.Draw32();
    site->identity.floors = options_.floors;
    site->identity.suite = options_.suite;
    site->random = std::make_unique<TestRandom>(options_.seed * 1000 + id.value());
    site->identity.random = site->random.get();
    entries[id] = {absl::StrCat("site-", id.value()),
                   options_.suite->SigningKeyPair(site->identity.seed).public_key};
    for (const kernels::Segment& segment : options_.segments) {
      std::vector<int64_t>& values = site->values.emplace_back();
      for (uint64_t e = 0; e < segment.length; ++e) {
        // The extremes first, so that the largest sums occur.
        const uint64_t range = 2 * static_cast<uint64_t>(segment.bound()) + 1;
        const int64_t drawn = static_cast<int64_t>(setup.Below(range)) - segment.bound();
        values.push_back(e == 0 ? segment.bound() : e == 1 ? -segment.bound() : drawn);
      }
    }
    sites_[id] = std::move(site);
  }
  roster = *Roster::Create(entries, operator_seed, *options_.suite);
  session = {roster.digest(), options_.run, options_.slot, 0, options_.aead};
  coordinator.emplace(session, roster, *options_.suite, options_.floors.allow_two_of_three);
  for (auto& [id, site] : sites_) {
    site->identity.roster = roster;
    site->slot = *SiteSlot::Create(site->identity, session, site->journal);
  }
  expected = {Sha256::Of(AsBytes("model")), Sha256::Of(AsBytes("recipe")), RoundId(4)};
}

void Federation::Restart(TestSite& site) {
  site.journal.Reboot();
  site.slot.reset();
  auto slot = site.journal.durable()
                  ? SiteSlot::Restore(site.identity, *site.journal.durable(), site.journal)
                  : SiteSlot::Create(site.identity, session, site.journal);
  site.slot = *std::move(slot);
}

Manifest Federation::DraftManifest() const {
  Manifest draft;
  draft.round = expected.round;
  draft.model = expected.model;
  draft.recipe = expected.recipe;
  draft.segments = options_.segments;
  draft.clip_norm_l2 = 20;
  draft.weight_max = 1000;
  draft.cipher = options_.cipher;
  return draft;
}

absl::Status Federation::PreKeys() {
  for (auto& [id, site] : sites_) {
    if (site->drops_at <= Step::kPreKeys) continue;
    ATOLL_ASSIGN_OR_RETURN(const PreKeyRecord record,
                           Ask(*site, [](SiteSlot& slot) { return slot.PreKeys(); }));
    ATOLL_RETURN_IF_ERROR(coordinator->AddPreKeys(record));
  }
  ATOLL_ASSIGN_OR_RETURN(u0, coordinator->ClosePreKeys(options_.cohort_min));
  return absl::OkStatus();
}

absl::Status Federation::Shares() {
  for (auto& [id, site] : sites_) {
    if (site->drops_at <= Step::kShares) continue;
    ATOLL_ASSIGN_OR_RETURN(const ShareBundle bundle,
                           Ask(*site, [&](SiteSlot& slot) { return slot.DealShares(u0); }));
    ATOLL_RETURN_IF_ERROR(coordinator->AddShares(bundle));
  }
  return absl::OkStatus();
}

absl::Status Federation::Receipts() {
  for (auto& [id, site] : sites_) {
    if (site->drops_at <= Step::kReceipt) continue;
    ATOLL_ASSIGN_OR_RETURN(const ShareDelivery delivery, coordinator->DeliveryFor(id));
    ATOLL_ASSIGN_OR_RETURN(const ShareReceipt receipt,
                           Ask(*site, [&](SiteSlot& slot) { return slot.TakeShares(delivery); }));
    ATOLL_RETURN_IF_ERROR(coordinator->AddReceipt(receipt));
  }
  ATOLL_RETURN_IF_ERROR(coordinator->CloseShares(options_.cohort_min).status());
  ATOLL_ASSIGN_OR_RETURN(manifest, coordinator->OpenRound(DraftManifest()));
  return absl::OkStatus();
}

absl::Status Federation::ReadyAll() {
  for (auto& [id, site] : sites_) {
    if (site->drops_at <= Step::kReady) continue;
    ATOLL_RETURN_IF_ERROR(site->slot->CheckManifest(manifest, expected));
    ATOLL_ASSIGN_OR_RETURN(const Ready ready, Ask(*site, [&](SiteSlot& slot) {
                             return slot.SignReady(manifest, expected);
                           }));
    ATOLL_RETURN_IF_ERROR(coordinator->AddReady(ready));
  }
  ATOLL_ASSIGN_OR_RETURN(u2, coordinator->CloseReady(options_.cohort_min));
  return absl::OkStatus();
}

absl::Status Federation::Commits() {
  for (auto& [id, site] : sites_) {
    if (site->drops_at <= Step::kCommit) continue;
    ATOLL_ASSIGN_OR_RETURN(const std::vector<MaskStream> streams,
                           Ask(*site, [&](SiteSlot& slot) { return slot.EnterContext(u2); }));
    site->upload = MaskVector(segments(), site->values, streams, options_.cipher);
    const Digest root = RootOf(layout(), site->upload);
    const uint64_t bytes = site->upload.size();
    ATOLL_ASSIGN_OR_RETURN(const Commit commit, Ask(*site, [&](SiteSlot& slot) {
                             return slot.SignCommit(bytes, root);
                           }));
    ATOLL_RETURN_IF_ERROR(coordinator->AddCommit(commit));
    if (site->drops_at <= Step::kUpload) continue;
    ATOLL_RETURN_IF_ERROR(coordinator->AddUploaded(id));
  }
  ATOLL_ASSIGN_OR_RETURN(u3, coordinator->CloseUploads(options_.cohort_min));
  return absl::OkStatus();
}

absl::Status Federation::Survivors() {
  for (auto& [id, site] : sites_) {
    if (site->drops_at <= Step::kSurvivors) continue;
    ATOLL_ASSIGN_OR_RETURN(const SurvivorSignature signature,
                           Ask(*site, [&](SiteSlot& slot) { return slot.SignSurvivors(u3); }));
    ATOLL_RETURN_IF_ERROR(coordinator->AddSurvivorSignature(signature));
  }
  ATOLL_ASSIGN_OR_RETURN(request, coordinator->CloseSurvivors());
  return absl::OkStatus();
}

absl::Status Federation::Answers() {
  for (auto& [id, site] : sites_) {
    if (site->drops_at <= Step::kAnswer) continue;
    ATOLL_ASSIGN_OR_RETURN(const UnmaskAnswer answer,
                           Ask(*site, [&](SiteSlot& slot) { return slot.Unmask(request); }));
    ATOLL_RETURN_IF_ERROR(coordinator->AddAnswer(answer));
  }
  return absl::OkStatus();
}

absl::Status Federation::RunUntil(Step step) {
  ATOLL_RETURN_IF_ERROR(step > Step::kPreKeys ? PreKeys() : absl::OkStatus());
  ATOLL_RETURN_IF_ERROR(step > Step::kShares ? Shares() : absl::OkStatus());
  ATOLL_RETURN_IF_ERROR(step > Step::kReceipt ? Receipts() : absl::OkStatus());
  ATOLL_RETURN_IF_ERROR(step > Step::kReady ? ReadyAll() : absl::OkStatus());
  ATOLL_RETURN_IF_ERROR(step > Step::kUpload ? Commits() : absl::OkStatus());
  ATOLL_RETURN_IF_ERROR(step > Step::kSurvivors ? Survivors() : absl::OkStatus());
  return step > Step::kAnswer ? Answers() : absl::OkStatus();
}

absl::Status Federation::RunAll() { return RunUntil(Step::kNever); }

absl::StatusOr<std::vector<std::vector<int64_t>>> Federation::Sum() const {
  ATOLL_ASSIGN_OR_RETURN(const std::vector<MaskStream> streams, coordinator->StreamsToRemove());
  return SumWith(streams);
}

absl::StatusOr<std::vector<std::vector<int64_t>>> Federation::SumWith(
    const std::vector<MaskStream>& streams) const {
  const kernels::VectorLayout vector = layout();
  std::vector<std::vector<int64_t>> sums(segments().size());
  for (uint32_t k = 0; k < vector.chunk_count(); ++k) {
    ATOLL_ASSIGN_OR_RETURN(ChunkSummer summer, ChunkSummer::Create(vector, k));
    const kernels::Chunk chunk = summer.chunk();
    for (SiteId id : coordinator->u3()) {
      const Bytes& upload = sites_.at(id)->upload;
      ATOLL_RETURN_IF_ERROR(summer.Add(ByteView(upload).subspan(chunk.byte_offset, chunk.bytes)));
    }
    summer.AddStreams(streams, options_.cipher);
    const Bytes packed = summer.Finish();
    const kernels::Segment& segment = segments()[chunk.segment];
    std::vector<uint8_t> lanes(chunk.elements * segment.lane_bytes());
    kernels::UnpackLanes(packed, segment.lane_bytes(), segment.sum_bits, chunk.elements, lanes);
    for (uint64_t e = 0; e < chunk.elements; ++e) {
      sums[chunk.segment].push_back(
          kernels::SignedLane(lanes, segment.lane_bytes(), segment.sum_bits, e));
    }
  }
  return sums;
}

std::vector<std::vector<int64_t>> Federation::ExpectedSum() const {
  std::vector<std::vector<int64_t>> sums;
  for (size_t s = 0; s < segments().size(); ++s) {
    std::vector<int64_t>& sum = sums.emplace_back(segments()[s].length, 0);
    for (SiteId id : coordinator->u3()) {
      for (size_t e = 0; e < sum.size(); ++e) sum[e] += sites_.at(id)->values[s][e];
    }
  }
  return sums;
}

Bytes MaskVector(const std::vector<kernels::Segment>& segments,
                 const std::vector<std::vector<int64_t>>& values,
                 const std::vector<MaskStream>& streams, kernels::MaskCipher cipher,
                 uint64_t range) {
  const kernels::VectorLayout layout(segments);
  Bytes vector(layout.packed_bytes());
  for (uint32_t k = 0; k < layout.chunk_count(); ++k) {
    const kernels::Chunk chunk = layout.chunk(k);
    const kernels::Segment& segment = segments[chunk.segment];
    const uint32_t bytes = segment.lane_bytes();
    std::vector<uint8_t> lanes(chunk.elements * bytes);
    for (uint64_t e = 0; e < chunk.elements; ++e) {
      kernels::StoreLane(lanes, bytes, e, values[chunk.segment][chunk.first_element + e]);
    }
    const std::vector<kernels::MaskKey> keys = MaskKeysOf(streams, chunk.segment);
    const uint64_t step = range == 0 ? chunk.elements : range;
    for (uint64_t e = 0; e < chunk.elements; e += step) {
      const uint64_t count = std::min(step, chunk.elements - e);
      kernels::AddMasks(std::span(lanes).subspan(e * bytes, count * bytes), bytes,
                        chunk.first_element + e, keys, cipher);
    }
    kernels::PackLanes(lanes, bytes, segment.sum_bits, chunk.elements,
                       std::span(vector).subspan(chunk.byte_offset, chunk.bytes));
  }
  return vector;
}

Digest RootOf(const kernels::VectorLayout& layout, const Bytes& vector) {
  std::vector<Digest> digests;
  for (uint32_t k = 0; k < layout.chunk_count(); ++k) {
    const kernels::Chunk chunk = layout.chunk(k);
    digests.push_back(Sha256::Of(ByteView(vector).subspan(chunk.byte_offset, chunk.bytes)));
  }
  return MerkleRoot(digests);
}

}  // namespace atl::secagg
