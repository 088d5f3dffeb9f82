#include "federation/secagg/signed_bodies.h"

#include <algorithm>

#include "comms/base/status.h"
#include "federation/secagg/signing.h"

namespace atl::secagg {
namespace {

void PutSet(ByteWriter& writer, const std::vector<SiteId>& ids) {
  writer.U32(static_cast<uint32_t>(ids.size()));
  for (SiteId id : ids) writer.U32(id.value());
}

template <typename Members>
std::vector<SiteId> Collect(const Members& members) {
  std::vector<SiteId> ids;
  ids.reserve(members.size());
  for (const auto& member : members) ids.push_back(member.id);
  return ids;
}

}  // namespace

Bytes PreKeyBody(const PreKeyRecord& record) {
  ByteWriter writer;
  writer.U32(record.id.value()).Raw(record.enc_key).Raw(record.mask_key).Raw(record.b_commit);
  return std::move(writer).Take();
}

Bytes SharesBody(SiteId dealer, uint32_t threshold, const Digest& pre_keys,
                 const std::vector<Digest>& mask_share_hashes,
                 const std::vector<Digest>& b_share_hashes) {
  ByteWriter writer;
  writer.U32(dealer.value()).U32(threshold).Raw(pre_keys);
  writer.U32(static_cast<uint32_t>(mask_share_hashes.size()));
  for (const Digest& hash : mask_share_hashes) writer.Raw(hash);
  for (const Digest& hash : b_share_hashes) writer.Raw(hash);
  return std::move(writer).Take();
}

Bytes ReceiptBody(SiteId holder, const Digest& pre_keys, const std::vector<SiteId>& complaints) {
  ByteWriter writer;
  writer.U32(holder.value()).Raw(pre_keys);
  PutSet(writer, complaints);
  return std::move(writer).Take();
}

Bytes ReadyBody(const Digest& manifest_hash) {
  return Bytes(manifest_hash.begin(), manifest_hash.end());
}

Bytes CommitBody(const Digest& context, uint64_t bytes, const Digest& root) {
  ByteWriter writer;
  writer.Raw(context).U64(bytes).Raw(root);
  return std::move(writer).Take();
}

Bytes SurvivorsBody(const Digest& context, const std::vector<SiteId>& survivors) {
  ByteWriter writer;
  writer.Raw(context);
  PutSet(writer, survivors);
  return std::move(writer).Take();
}

Bytes UnmaskBody(const Digest& context, const std::vector<UnmaskAnswer::Item>& items) {
  ByteWriter writer;
  writer.Reserve(36 + items.size() * 37);
  writer.Raw(context).U32(static_cast<uint32_t>(items.size()));
  for (const UnmaskAnswer::Item& item : items) {
    writer.U32(item.owner.value()).U8(static_cast<uint8_t>(item.kind)).Raw(item.share.span());
  }
  return std::move(writer).Take();
}

absl::Status VerifySite(const CryptoSuite& suite, const Roster& roster, const Session& session,
                        SiteId id, std::string_view label, ByteView body,
                        const Signature& signature) {
  const RosterEntry* entry = roster.Find(id);
  if (entry == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(std::string(label), ": ", Name(id), " is not in the roster"));
  }
  if (!VerifyBody(suite, entry->identity, session, label, body, signature)) {
    return absl::UnauthenticatedError(absl::StrCat(std::string(label), ": ", Name(id),
                                                   "'s signature does not verify for this run, "
                                                   "slot and group (slot ",
                                                   session.slot.value(), ")"));
  }
  return absl::OkStatus();
}

int RankOf(const std::vector<SiteId>& set, SiteId id) {
  const auto found = std::lower_bound(set.begin(), set.end(), id);
  return found != set.end() && *found == id ? static_cast<int>(found - set.begin()) : -1;
}

bool IsSortedSet(const std::vector<SiteId>& set) {
  return std::adjacent_find(set.begin(), set.end(), [](SiteId a, SiteId b) { return a >= b; }) ==
         set.end();
}

std::vector<SiteId> IdsOf(const PreKeySet& set) { return Collect(set.records); }
std::vector<SiteId> IdsOf(const CohortSet& set) { return Collect(set.members); }
std::vector<SiteId> IdsOf(const SurvivorSet& set) { return Collect(set.members); }

std::string Name(SiteId id) { return absl::StrCat("site ", id.value()); }

}  // namespace atl::secagg
