#include "federation/secagg/group_messages.h"

#include "comms/base/crypto/sha256.h"
#include "federation/secagg/codec.h"

namespace atl::secagg {
namespace {

uint32_t GetAttempt(ByteReader& reader) {
  const uint32_t attempt = reader.U32();
  if (attempt == 0) reader.Fail("attempt 0: they are from 1");
  return attempt;
}

// A message of one site: attempt, id, one field of fixed size.
template <typename M, auto kField>
struct OneCodec {
  static void Put(ByteWriter& writer, const M& m) {
    writer.U32(m.attempt).U32(m.id.value()).Raw(m.*kField);
  }
  static M Get(ByteReader& reader) {
    M m;
    m.attempt = GetAttempt(reader);
    m.id = GetId(reader);
    m.*kField = reader.Array<sizeof(m.*kField)>();
    return m;
  }
};

// A message of many: attempt, then (id, field) strictly ascending by id.
template <typename M, auto kField>
struct ManyCodec {
  static void Put(ByteWriter& writer, const M& m) {
    writer.U32(m.attempt).U32(static_cast<uint32_t>(m.items.size()));
    for (const auto& item : m.items) writer.U32(item.id.value()).Raw(item.*kField);
  }
  static M Get(ByteReader& reader) {
    M m;
    m.attempt = GetAttempt(reader);
    constexpr size_t kBytes = sizeof(std::declval<typename M::Item>().*kField);
    m.items.resize(reader.Count(kRosterSitesMax, 4 + kBytes));
    SiteId last;
    for (auto& item : m.items) {
      item.id = GetNextId(reader, last);
      item.*kField = reader.Array<kBytes>();
    }
    return m;
  }
};

template <typename M>
std::vector<SiteId> Ids(const M& set) {
  std::vector<SiteId> ids;
  ids.reserve(set.items.size());
  for (const auto& item : set.items) ids.push_back(item.id);
  return ids;
}

}  // namespace

template <>
struct Codec<GroupOpen> {
  static constexpr Tag kTag = Tag::kGroupOpen;
  static constexpr std::string_view kName = "group split's attempt";
  static void Put(ByteWriter& writer, const GroupOpen& m) { writer.U32(m.attempt); }
  static GroupOpen Get(ByteReader& reader) { return {GetAttempt(reader)}; }
};

template <>
struct Codec<GroupCommit> : OneCodec<GroupCommit, &GroupCommit::commit> {
  static constexpr Tag kTag = Tag::kGroupCommit;
  static constexpr std::string_view kName = "group commit";
};

template <>
struct Codec<GroupCommitSet> : ManyCodec<GroupCommitSet, &GroupCommitSet::Item::commit> {
  static constexpr Tag kTag = Tag::kGroupCommitSet;
  static constexpr std::string_view kName = "group commits";
};

template <>
struct Codec<GroupSignature> : OneCodec<GroupSignature, &GroupSignature::signature> {
  static constexpr Tag kTag = Tag::kGroupSignature;
  static constexpr std::string_view kName = "signature of the group commits";
};

template <>
struct Codec<GroupSignatureSet>
    : ManyCodec<GroupSignatureSet, &GroupSignatureSet::Item::signature> {
  static constexpr Tag kTag = Tag::kGroupSignatureSet;
  static constexpr std::string_view kName = "signatures of the group commits";
};

template <>
struct Codec<GroupReveal> : OneCodec<GroupReveal, &GroupReveal::nonce> {
  static constexpr Tag kTag = Tag::kGroupReveal;
  static constexpr std::string_view kName = "group reveal";
};

template <>
struct Codec<GroupRevealSet> : ManyCodec<GroupRevealSet, &GroupRevealSet::Item::nonce> {
  static constexpr Tag kTag = Tag::kGroupRevealSet;
  static constexpr std::string_view kName = "group reveals";
};

ATOLL_SECAGG_MESSAGE(GroupOpen);
ATOLL_SECAGG_MESSAGE(GroupCommit);
ATOLL_SECAGG_MESSAGE(GroupCommitSet);
ATOLL_SECAGG_MESSAGE(GroupSignature);
ATOLL_SECAGG_MESSAGE(GroupSignatureSet);
ATOLL_SECAGG_MESSAGE(GroupReveal);
ATOLL_SECAGG_MESSAGE(GroupRevealSet);

Digest HashOf(const GroupCommitSet& set) { return Sha256::Of(Encode(set)); }

Digest GroupCommitment(const RunId& run, uint32_t attempt, SiteId id, const Digest& nonce) {
  ByteWriter writer;
  writer.Raw(AsBytes("group")).Raw(run).U32(attempt).U32(id.value()).Raw(nonce);
  return Sha256::Of(writer.bytes());
}

std::vector<SiteId> IdsOf(const GroupCommitSet& set) { return Ids(set); }
std::vector<SiteId> IdsOf(const GroupSignatureSet& set) { return Ids(set); }
std::vector<SiteId> IdsOf(const GroupRevealSet& set) { return Ids(set); }

}  // namespace atl::secagg
