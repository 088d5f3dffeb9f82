// Encodings of E1 and E2, what all messages share, and the threshold.
#include <algorithm>

#include "comms/base/crypto/sha256.h"
#include "federation/secagg/codec.h"
#include "federation/secagg/slot_scope.h"

namespace atl::secagg {

void PutIds(ByteWriter& writer, const std::vector<SiteId>& ids) {
  writer.U32(static_cast<uint32_t>(ids.size()));
  for (SiteId id : ids) writer.U32(id.value());
}

SiteId GetId(ByteReader& reader) {
  const SiteId id(reader.U32());
  if (id.value() == 0) reader.Fail("site id 0");
  return id;
}

SiteId GetNextId(ByteReader& reader, SiteId& last) {
  const SiteId id(reader.U32());
  if (id <= last) reader.Fail("site ids are not strictly ascending from 1");
  last = id;
  return id;
}

std::vector<SiteId> GetIds(ByteReader& reader, uint32_t max) {
  std::vector<SiteId> ids(reader.Count(max, 4));
  SiteId last;
  for (SiteId& id : ids) id = GetNextId(reader, last);
  return ids;
}

void PutDigests(ByteWriter& writer, const std::vector<Digest>& digests) {
  writer.U32(static_cast<uint32_t>(digests.size()));
  for (const Digest& digest : digests) writer.Raw(digest);
}

std::vector<Digest> GetDigests(ByteReader& reader, uint32_t max) {
  std::vector<Digest> digests(reader.Count(max, 32));
  for (Digest& digest : digests) digest = reader.Array<32>();
  return digests;
}

template <>
struct Codec<PreKeyRecord> {
  static constexpr Tag kTag = Tag::kPreKeyRecord;
  static constexpr std::string_view kName = "pre-key record";
  static constexpr uint64_t kBytes = 4 + 3 * 32 + 64;
  static void Put(ByteWriter& writer, const PreKeyRecord& m) {
    writer.U32(m.id.value()).Raw(m.enc_key).Raw(m.mask_key).Raw(m.b_commit).Raw(m.signature);
  }
  static PreKeyRecord Get(ByteReader& reader) {
    PreKeyRecord m;
    m.id = GetId(reader);
    m.enc_key = reader.Array<32>();
    m.mask_key = reader.Array<32>();
    m.b_commit = reader.Array<32>();
    m.signature = reader.Array<64>();
    return m;
  }
};

template <>
struct Codec<PreKeySet> {
  static constexpr Tag kTag = Tag::kPreKeySet;
  static constexpr std::string_view kName = "pre-key set";
  static void Put(ByteWriter& writer, const PreKeySet& m) {
    writer.U32(static_cast<uint32_t>(m.records.size()));
    for (const PreKeyRecord& record : m.records) Codec<PreKeyRecord>::Put(writer, record);
  }
  static PreKeySet Get(ByteReader& reader) {
    PreKeySet m;
    m.records.resize(reader.Count(kMaxSites, Codec<PreKeyRecord>::kBytes));
    SiteId last;
    for (PreKeyRecord& record : m.records) {
      record = Codec<PreKeyRecord>::Get(reader);
      if (record.id <= last) reader.Fail("records are not strictly ascending by site id");
      last = record.id;
    }
    return m;
  }
};

template <>
struct Codec<ShareBundle> {
  static constexpr Tag kTag = Tag::kShareBundle;
  static constexpr std::string_view kName = "share bundle";
  static void Put(ByteWriter& writer, const ShareBundle& m) {
    writer.U32(m.dealer.value());
    PutDigests(writer, m.mask_share_hashes);
    PutDigests(writer, m.b_share_hashes);
    writer.Raw(m.signature);
    writer.U32(static_cast<uint32_t>(m.envelopes.size()));
    for (const Bytes& envelope : m.envelopes) writer.Sized(envelope);
  }
  static ShareBundle Get(ByteReader& reader) {
    ShareBundle m;
    m.dealer = GetId(reader);
    m.mask_share_hashes = GetDigests(reader, kMaxSites);
    m.b_share_hashes = GetDigests(reader, kMaxSites);
    m.signature = reader.Array<64>();
    m.envelopes.resize(reader.Count(kMaxSites, 8));
    for (Bytes& envelope : m.envelopes) envelope = reader.Sized(kEnvelopeBytes);
    if (m.b_share_hashes.size() != m.mask_share_hashes.size() ||
        m.envelopes.size() != m.mask_share_hashes.size()) {
      reader.Fail("hashes and envelopes of different counts");
    }
    return m;
  }
};

template <>
struct Codec<ShareDelivery> {
  static constexpr Tag kTag = Tag::kShareDelivery;
  static constexpr std::string_view kName = "share delivery";
  static void Put(ByteWriter& writer, const ShareDelivery& m) {
    writer.U32(static_cast<uint32_t>(m.items.size()));
    for (const ShareDelivery::Item& item : m.items) {
      writer.U32(item.dealer.value());
      PutDigests(writer, item.mask_share_hashes);
      PutDigests(writer, item.b_share_hashes);
      writer.Raw(item.signature).Sized(item.envelope);
    }
  }
  static ShareDelivery Get(ByteReader& reader) {
    ShareDelivery m;
    m.items.resize(reader.Count(kMaxSites, 4 + 4 + 4 + 64 + 8));
    SiteId last;
    for (ShareDelivery::Item& item : m.items) {
      item.dealer = GetNextId(reader, last);
      item.mask_share_hashes = GetDigests(reader, kMaxSites);
      item.b_share_hashes = GetDigests(reader, kMaxSites);
      item.signature = reader.Array<64>();
      item.envelope = reader.Sized(kEnvelopeBytes);
      if (item.b_share_hashes.size() != item.mask_share_hashes.size()) {
        reader.Fail("hashes of different counts");
      }
      if (!reader.ok()) break;  // each item may be large: stop at the first error
    }
    return m;
  }
};

template <>
struct Codec<ShareReceipt> {
  static constexpr Tag kTag = Tag::kShareReceipt;
  static constexpr std::string_view kName = "share receipt";
  static void Put(ByteWriter& writer, const ShareReceipt& m) {
    writer.U32(m.holder.value());
    PutIds(writer, m.complaints);
    writer.Raw(m.signature);
  }
  static ShareReceipt Get(ByteReader& reader) {
    ShareReceipt m;
    m.holder = GetId(reader);
    m.complaints = GetIds(reader, kMaxSites);
    m.signature = reader.Array<64>();
    return m;
  }
};

ATOLL_SECAGG_MESSAGE(PreKeyRecord);
ATOLL_SECAGG_MESSAGE(PreKeySet);
ATOLL_SECAGG_MESSAGE(ShareBundle);
ATOLL_SECAGG_MESSAGE(ShareDelivery);
ATOLL_SECAGG_MESSAGE(ShareReceipt);

Digest HashOf(const PreKeySet& set) { return Sha256::Of(Encode(set)); }

uint32_t ThresholdFor(uint32_t n0, bool two_of_three) {
  if (n0 == 3 && two_of_three) return 2;
  return static_cast<uint32_t>(2 * uint64_t{n0} / 3 + 1);
}

uint32_t ThresholdOf(const SlotScope& scope, uint32_t n0, bool two_of_three) {
  if (scope.members.empty()) return ThresholdFor(n0, two_of_three);
  return ThresholdFor(static_cast<uint32_t>(scope.members.size()));
}

}  // namespace atl::secagg
