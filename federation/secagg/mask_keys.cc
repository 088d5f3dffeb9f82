#include "federation/secagg/mask_keys.h"

#include "comms/base/crypto/sha256.h"

namespace atl::secagg {
namespace {

Digest HashAndWipe(ByteWriter writer) {
  Bytes bytes = std::move(writer).Take();
  const Digest digest = Sha256::Of(bytes);
  Wipe(bytes);
  return digest;
}

}  // namespace

Digest SelfCommitment(const Session& session, SiteId id, const Secret32& b) {
  ByteWriter writer;
  writer.Reserve(128);
  writer.Raw(AsBytes("b")).Raw(session.run).U64(session.slot.value()).U32(id.value()).Raw(b.span());
  return HashAndWipe(std::move(writer));
}

Digest ShareHash(const Session& session, ShareKind kind, SiteId dealer, SiteId holder,
                 const Secret32& share) {
  ByteWriter writer;
  writer.Reserve(128);
  writer.Raw(AsBytes("share")).U8(static_cast<uint8_t>(kind));
  writer.U32(dealer.value()).U32(holder.value());
  writer.Raw(session.run).U64(session.slot.value()).Raw(share.span());
  return HashAndWipe(std::move(writer));
}

Secret32 EnvelopeKey(const CryptoSuite& suite, Aead aead, const Secret32& agreed,
                     const Digest& pre_keys, SiteId dealer, SiteId holder) {
  ByteWriter info;
  info.Raw(AsBytes(aead == Aead::kChaCha20Poly1305 ? "share/chacha20-poly1305" : "share"));
  info.U32(dealer.value()).U32(holder.value());
  return suite.Hkdf(agreed.span(), pre_keys, info.bytes());
}

Bytes EnvelopeBinding(const Session& session, SiteId dealer, SiteId holder, uint32_t threshold,
                      const Digest& pre_keys) {
  ByteWriter writer;
  writer.Raw(session.run).U64(session.slot.value());
  writer.U32(dealer.value()).U32(holder.value()).U32(threshold).Raw(pre_keys);
  return std::move(writer).Take();
}

Secret32 PairStreamKey(const CryptoSuite& suite, const Secret32& agreed, const Digest& context,
                       const PairEnd& one, const PairEnd& other, uint32_t segment,
                       uint32_t lane_bits) {
  const PairEnd& low = one.id < other.id ? one : other;
  const PairEnd& high = one.id < other.id ? other : one;
  ByteWriter info;
  info.Raw(AsBytes("pair")).U32(low.id.value()).U32(high.id.value());
  info.Raw(low.mask_key).Raw(high.mask_key).U32(segment).U32(lane_bits);
  return suite.Hkdf(agreed.span(), context, info.bytes());
}

Secret32 SelfStreamKey(const CryptoSuite& suite, const Secret32& b, const Digest& context,
                       SiteId id, uint32_t segment, uint32_t lane_bits) {
  ByteWriter info;
  info.Raw(AsBytes("self")).U32(id.value()).U32(segment).U32(lane_bits);
  return suite.Hkdf(b.span(), context, info.bytes());
}

}  // namespace atl::secagg
