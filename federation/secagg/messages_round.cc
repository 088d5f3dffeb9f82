// Encodings of R0 to R5.
#include <cmath>

#include "comms/base/crypto/sha256.h"
#include "federation/secagg/codec.h"

namespace atl::secagg {
namespace {

// A flag or enumeration of one byte; fails outside [min, max].
uint8_t GetSmall(ByteReader& reader, uint8_t min, uint8_t max, std::string_view what) {
  const uint8_t value = reader.U8();
  if (value < min || value > max) {
    reader.Fail(what);
    return min;
  }
  return value;
}

double GetFinite(ByteReader& reader, std::string_view what) {
  const double value = reader.F64();
  if (!std::isfinite(value)) {
    reader.Fail(what);
    return 0;
  }
  return value;
}

}  // namespace

template <>
struct Codec<Manifest> {
  static constexpr Tag kTag = Tag::kManifest;
  static constexpr std::string_view kName = "manifest";
  static void Put(ByteWriter& writer, const Manifest& m) {
    writer.Raw(m.run).U64(m.slot.value()).U32(m.round.value()).U32(m.group);
    writer.U8(m.masked ? 1 : 0).Raw(m.pre_keys);
    PutIds(writer, m.members);
    writer.Raw(m.model).Raw(m.recipe).U32(static_cast<uint32_t>(m.segments.size()));
    for (const kernels::Segment& segment : m.segments) {
      writer.U64(segment.length).U32(segment.value_bits).U32(segment.sum_bits).F64(segment.scale);
    }
    writer.F64(m.clip_norm_l2).U8(static_cast<uint8_t>(m.weight_rule)).U64(m.weight_max);
    writer.F64(m.noise_stddev);
    writer.U8(static_cast<uint8_t>(m.cipher)).U8(static_cast<uint8_t>(m.aead)).U32(m.threshold);
  }
  static Manifest Get(ByteReader& reader) {
    Manifest m;
    m.run = reader.Array<32>();
    m.slot = SlotId(reader.U64());
    m.round = RoundId(reader.U32());
    m.group = reader.U32();
    m.masked = GetSmall(reader, 0, 1, "masked is neither 0 nor 1") == 1;
    m.pre_keys = reader.Array<32>();
    m.members = GetIds(reader, kRosterSitesMax);
    m.model = reader.Array<32>();
    m.recipe = reader.Array<32>();
    m.segments.resize(reader.Count(kernels::kMaxSegments, 24));
    for (kernels::Segment& segment : m.segments) {
      segment.length = reader.U64();
      segment.value_bits = reader.U32();
      segment.sum_bits = reader.U32();
      segment.scale = GetFinite(reader, "a segment's scale is not finite");
    }
    m.clip_norm_l2 = GetFinite(reader, "clip_norm_l2 is not finite");
    m.weight_rule = static_cast<WeightRule>(GetSmall(reader, 0, 1, "unknown weight rule"));
    m.weight_max = reader.U64();
    m.noise_stddev = GetFinite(reader, "noise_stddev is not finite");
    m.cipher = static_cast<kernels::MaskCipher>(GetSmall(reader, 1, 2, "unknown mask cipher"));
    m.aead = static_cast<Aead>(GetSmall(reader, 1, 2, "unknown AEAD"));
    m.threshold = reader.U32();
    return m;
  }
};

template <>
struct Codec<Ready> {
  static constexpr Tag kTag = Tag::kReady;
  static constexpr std::string_view kName = "ready";
  static void Put(ByteWriter& writer, const Ready& m) { writer.U32(m.id.value()).Raw(m.signature); }
  static Ready Get(ByteReader& reader) {
    Ready m;
    m.id = GetId(reader);
    m.signature = reader.Array<64>();
    return m;
  }
};

template <>
struct Codec<Commit> {
  static constexpr Tag kTag = Tag::kCommit;
  static constexpr std::string_view kName = "commit";
  static void Put(ByteWriter& writer, const Commit& m) {
    writer.U32(m.id.value()).U64(m.bytes).Raw(m.root).Raw(m.signature);
  }
  static Commit Get(ByteReader& reader) {
    Commit m;
    m.id = GetId(reader);
    m.bytes = reader.U64();
    m.root = reader.Array<32>();
    m.signature = reader.Array<64>();
    return m;
  }
};

template <>
struct Codec<SurvivorSignature> {
  static constexpr Tag kTag = Tag::kSurvivorSignature;
  static constexpr std::string_view kName = "survivor signature";
  static void Put(ByteWriter& writer, const SurvivorSignature& m) {
    writer.U32(m.id.value()).Raw(m.signature);
  }
  static SurvivorSignature Get(ByteReader& reader) {
    SurvivorSignature m;
    m.id = GetId(reader);
    m.signature = reader.Array<64>();
    return m;
  }
};

namespace {

// A list of signed statements, strictly ascending by id.
template <typename Member>
void PutMembers(ByteWriter& writer, const std::vector<Member>& members) {
  writer.U32(static_cast<uint32_t>(members.size()));
  for (const Member& member : members) Codec<Member>::Put(writer, member);
}

template <typename Member>
std::vector<Member> GetMembers(ByteReader& reader, uint64_t member_bytes,
                               uint32_t max = kMaxSites) {
  std::vector<Member> members(reader.Count(max, member_bytes));
  SiteId last;
  for (Member& member : members) {
    member = Codec<Member>::Get(reader);
    if (member.id <= last) reader.Fail("members are not strictly ascending by site id");
    last = member.id;
  }
  return members;
}

}  // namespace

template <>
struct Codec<CohortSet> {
  static constexpr Tag kTag = Tag::kCohortSet;
  static constexpr std::string_view kName = "cohort set (U2)";
  static void Put(ByteWriter& writer, const CohortSet& m) { PutMembers(writer, m.members); }
  static CohortSet Get(ByteReader& reader) { return {GetMembers<Ready>(reader, 4 + 64)}; }
};

template <>
struct Codec<SurvivorSet> {
  static constexpr Tag kTag = Tag::kSurvivorSet;
  static constexpr std::string_view kName = "survivor set (U3)";
  static void Put(ByteWriter& writer, const SurvivorSet& m) { PutMembers(writer, m.members); }
  static SurvivorSet Get(ByteReader& reader) {
    return {GetMembers<Commit>(reader, 4 + 8 + 32 + 64)};
  }
};

template <>
struct Codec<UnmaskRequest> {
  static constexpr Tag kTag = Tag::kUnmaskRequest;
  static constexpr std::string_view kName = "unmask request";
  static void Put(ByteWriter& writer, const UnmaskRequest& m) { PutMembers(writer, m.signatures); }
  static UnmaskRequest Get(ByteReader& reader) {
    return {GetMembers<SurvivorSignature>(reader, 4 + 64)};
  }
};

template <>
struct Codec<UnmaskAnswer> {
  static constexpr Tag kTag = Tag::kUnmaskAnswer;
  static constexpr std::string_view kName = "unmask answer";
  static void Put(ByteWriter& writer, const UnmaskAnswer& m) {
    writer.Reserve(4 + 4 + m.items.size() * 37 + 64);
    writer.U32(m.id.value()).U32(static_cast<uint32_t>(m.items.size()));
    for (const UnmaskAnswer::Item& item : m.items) {
      writer.U32(item.owner.value()).U8(static_cast<uint8_t>(item.kind)).Raw(item.share.span());
    }
    writer.Raw(m.signature);
  }
  static UnmaskAnswer Get(ByteReader& reader) {
    UnmaskAnswer m;
    m.id = GetId(reader);
    m.items.resize(reader.Count(kMaxSites, 4 + 1 + 32));
    SiteId last;
    for (UnmaskAnswer::Item& item : m.items) {
      item.owner = GetNextId(reader, last);
      item.kind = static_cast<ShareKind>(GetSmall(reader, 1, 2, "unknown kind of share"));
      const ByteView share = reader.Raw(32);
      if (share.size() == 32) item.share = Secret32(share.first<32>());
    }
    m.signature = reader.Array<64>();
    return m;
  }
};

template <>
struct Codec<Result> {
  static constexpr Tag kTag = Tag::kResult;
  static constexpr std::string_view kName = "result";
  static void Put(ByteWriter& writer, const Result& m) {
    writer.Reserve(128 + m.survivors.members.size() * 108 + m.signatures.size() * 68 +
                   m.secrets.size() * 37 + m.group_sums.size() * 32);
    writer.U32(m.round.value()).U32(m.sites);
    PutMembers(writer, m.survivors.members);
    PutMembers(writer, m.signatures);
    writer.U32(static_cast<uint32_t>(m.secrets.size()));
    for (const RevealedSecret& secret : m.secrets) {
      writer.U32(secret.owner.value()).U8(static_cast<uint8_t>(secret.kind));
      writer.Raw(secret.secret.span());
    }
    PutDigests(writer, m.group_sums);
    writer.Raw(m.sum).Raw(m.next_model);
  }
  static Result Get(ByteReader& reader) {
    Result m;
    m.round = RoundId(reader.U32());
    m.sites = reader.U32();
    // Without secure aggregation there may be more than a slot holds.
    m.survivors = {GetMembers<Commit>(reader, 4 + 8 + 32 + 64, kRosterSitesMax)};
    m.signatures = GetMembers<SurvivorSignature>(reader, 4 + 64);
    m.secrets.resize(reader.Count(kMaxSites, 4 + 1 + 32));
    SiteId last;
    for (RevealedSecret& secret : m.secrets) {
      secret.owner = GetNextId(reader, last);
      secret.kind = static_cast<ShareKind>(GetSmall(reader, 1, 2, "unknown kind of secret"));
      const ByteView bytes = reader.Raw(32);
      if (bytes.size() == 32) secret.secret = Secret32(bytes.first<32>());
    }
    m.group_sums = GetDigests(reader, kMaxGroups);
    m.sum = reader.Array<32>();
    m.next_model = reader.Array<32>();
    return m;
  }
};

ATOLL_SECAGG_MESSAGE(Manifest);
ATOLL_SECAGG_MESSAGE(Ready);
ATOLL_SECAGG_MESSAGE(CohortSet);
ATOLL_SECAGG_MESSAGE(Commit);
ATOLL_SECAGG_MESSAGE(SurvivorSet);
ATOLL_SECAGG_MESSAGE(SurvivorSignature);
ATOLL_SECAGG_MESSAGE(UnmaskRequest);
ATOLL_SECAGG_MESSAGE(UnmaskAnswer);
ATOLL_SECAGG_MESSAGE(Result);

Digest HashOf(const Manifest& manifest) { return Sha256::Of(Encode(manifest)); }

Digest ContextOf(const Digest& manifest_hash, const std::vector<SiteId>& cohort) {
  ByteWriter writer;
  writer.Raw(AsBytes("ctx")).Raw(manifest_hash);
  PutIds(writer, cohort);
  return Sha256::Of(writer.bytes());
}

}  // namespace atl::secagg
