#include "federation/secagg/site_record.h"

#include "comms/base/crypto/sha256.h"
#include "comms/base/status.h"
#include "federation/secagg/fields.h"
#include "federation/secagg/signed_bodies.h"
#include "kernels/vector_layout.h"

namespace atl::secagg {
namespace {

constexpr uint32_t kVersion = 2;
constexpr uint64_t kPartBytesMax = 1 << 20;  // any one message of a slot

void PutSecret(ByteWriter& writer, const std::optional<Secret32>& secret) {
  writer.U8(secret.has_value() ? 1 : 0);
  if (secret) writer.Raw(secret->span());
}

bool GetFlag(ByteReader& reader) {
  const uint8_t flag = reader.U8();
  if (flag > 1) reader.Fail("a flag is neither 0 nor 1");
  return flag == 1;
}

Secret32 GetBare(ByteReader& reader) {
  const ByteView bytes = reader.Raw(32);
  return bytes.size() == 32 ? Secret32(bytes.first<32>()) : Secret32();
}

std::optional<Secret32> GetSecret(ByteReader& reader) {
  if (!GetFlag(reader)) return std::nullopt;
  return GetBare(reader);
}

template <typename M>
void PutPart(ByteWriter& writer, const std::optional<M>& part) {
  writer.U8(part.has_value() ? 1 : 0);
  if (!part) return;
  Bytes bytes = Encode(*part);
  writer.Sized(bytes);
  Wipe(bytes);
}

template <typename M>
std::optional<M> GetPart(ByteReader& reader) {
  if (!GetFlag(reader)) return std::nullopt;
  auto part = Decode<M>(reader.SizedView(kPartBytesMax));
  if (!part.ok()) {
    if (reader.ok()) reader.Fail(std::string(part.status().message()));
    return std::nullopt;
  }
  return *std::move(part);
}

// Every state stands on what the steps before it made.
bool IsComplete(const SiteRecord& record) {
  const SlotState state = record.state;
  if (state == SlotState::kErased || state == SlotState::kBurnt) return true;
  const size_t n0 = record.u0.records.size();
  const bool opened = record.receipt.has_value() && record.delivery.has_value();
  if (record.pre_keys.id != record.id) return false;
  if (state == SlotState::kFresh) return record.enc_secret && record.mask_secret && record.b;
  if (!record.bundle || n0 == 0 || record.threshold < 1 || record.threshold > n0) return false;
  if (RankOf(IdsOf(record.u0), record.id) < 0) return false;
  if (record.held.size() != (state >= SlotState::kAnswered ? 0 : n0)) return false;
  if (!opened && (state > SlotState::kShared || !record.enc_secret)) return false;
  if (state < SlotState::kCommitted && !(record.mask_secret && record.b)) return false;
  if (state >= SlotState::kReady && !(record.manifest && record.ready)) return false;
  if (record.manifest && !kernels::VectorLayout::Problem(record.manifest->segments).empty()) {
    return false;
  }
  if (state >= SlotState::kContext && !Contains(record.cohort, record.id)) return false;
  const std::vector<SiteId> u0 = IdsOf(record.u0);
  for (SiteId id : record.cohort) {
    const int rank = RankOf(u0, id);
    if (rank < 0 || (state < SlotState::kAnswered && !record.held[rank])) return false;
  }
  for (SiteId id : record.survivors) {
    if (!Contains(record.cohort, id)) return false;
  }
  if (state >= SlotState::kCommitted && !record.commit) return false;
  if (state >= SlotState::kSigned && !(record.signature && Contains(record.survivors, record.id))) {
    return false;
  }
  return state < SlotState::kAnswered || record.answer.has_value();
}

}  // namespace

Bytes EncodeRecord(const SiteRecord& record) {
  ByteWriter writer;
  // U0, bundle, manifest and sets, generously: the buffer must not move.
  writer.Reserve(10240 + record.u0.records.size() * 1024);
  writer.U32(kVersion).U8(static_cast<uint8_t>(record.state));
  writer.Raw(record.session.roster).Raw(record.session.run);
  writer.U64(record.session.slot.value()).U32(record.session.group);
  writer.U8(static_cast<uint8_t>(record.session.aead)).U32(record.id.value());
  if (record.state != SlotState::kErased && record.state != SlotState::kBurnt) {
    PutIds(writer, record.scope.members);
    writer.U32(record.scope.total).U32(record.scope.corrupt_max);
    PutSecret(writer, record.enc_secret);
    PutSecret(writer, record.mask_secret);
    PutSecret(writer, record.b);
    writer.Sized(Encode(record.pre_keys)).Sized(Encode(record.u0)).U32(record.threshold);
    PutPart(writer, record.bundle);
    writer.U32(static_cast<uint32_t>(record.held.size()));
    for (const auto& held : record.held) {
      writer.U8(held.has_value() ? 1 : 0);
      if (held) writer.Raw(held->mask_key.span()).Raw(held->b.span());
    }
    writer.U8(record.delivery.has_value() ? 1 : 0);
    if (record.delivery) writer.Raw(*record.delivery);
    PutPart(writer, record.receipt);
    PutPart(writer, record.manifest);
    PutPart(writer, record.ready);
    PutIds(writer, record.cohort);
    PutPart(writer, record.commit);
    PutIds(writer, record.survivors);
    PutPart(writer, record.signature);
    PutPart(writer, record.answer);
  }
  writer.Raw(Sha256::Of(writer.bytes()));
  return std::move(writer).Take();
}

absl::StatusOr<SiteRecord> DecodeRecord(ByteView bytes) {
  const auto lost = [](std::string_view why) {
    return absl::DataLossError(absl::StrCat("slot record: ", std::string(why)));
  };
  if (bytes.size() < 32) return lost("too short");
  const ByteView body = bytes.first(bytes.size() - 32);
  const Digest sum = Sha256::Of(body);
  if (!std::equal(sum.begin(), sum.end(), bytes.end() - 32)) return lost("its digest differs");

  ByteReader reader(body);
  SiteRecord record;
  if (reader.U32() != kVersion) reader.Fail("another version");
  const uint8_t state = reader.U8();
  if (state < static_cast<uint8_t>(SlotState::kFresh) ||
      state > static_cast<uint8_t>(SlotState::kBurnt)) {
    return lost("unknown state");
  }
  record.state = static_cast<SlotState>(state);
  record.session.roster = reader.Array<32>();
  record.session.run = reader.Array<32>();
  record.session.slot = SlotId(reader.U64());
  record.session.group = reader.U32();
  const uint8_t aead = reader.U8();
  if (aead < 1 || aead > 2) reader.Fail("unknown AEAD");
  record.session.aead = static_cast<Aead>(aead);
  record.id = GetId(reader);
  if (record.state != SlotState::kErased && record.state != SlotState::kBurnt) {
    record.scope.members = GetIds(reader, kMaxSites);
    record.scope.total = reader.U32();
    record.scope.corrupt_max = reader.U32();
    record.enc_secret = GetSecret(reader);
    record.mask_secret = GetSecret(reader);
    record.b = GetSecret(reader);
    auto pre_keys = Decode<PreKeyRecord>(reader.SizedView(kPartBytesMax));
    auto u0 = Decode<PreKeySet>(reader.SizedView(kPartBytesMax));
    if (!pre_keys.ok() || !u0.ok()) return lost("its pre-keys do not parse");
    record.pre_keys = *std::move(pre_keys);
    record.u0 = *std::move(u0);
    record.threshold = reader.U32();
    record.bundle = GetPart<ShareBundle>(reader);
    record.held.resize(reader.Count(kMaxSites, 1));
    for (auto& held : record.held) {
      if (!GetFlag(reader)) continue;
      held.emplace();
      held->mask_key = GetBare(reader);
      held->b = GetBare(reader);
    }
    if (GetFlag(reader)) record.delivery = reader.Array<32>();
    record.receipt = GetPart<ShareReceipt>(reader);
    record.manifest = GetPart<Manifest>(reader);
    record.ready = GetPart<Ready>(reader);
    record.cohort = GetIds(reader, kMaxSites);
    record.commit = GetPart<Commit>(reader);
    record.survivors = GetIds(reader, kMaxSites);
    record.signature = GetPart<SurvivorSignature>(reader);
    record.answer = GetPart<UnmaskAnswer>(reader);
  }
  const absl::Status status = reader.Finish("slot record");
  if (!status.ok()) return absl::DataLossError(std::string(status.message()));
  if (!IsComplete(record)) return lost("its state lacks what it stands on");
  return record;
}

}  // namespace atl::secagg
