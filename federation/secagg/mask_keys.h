// Every key and hash that the protocol derives from a secret, in one place. All integers
// little-endian, ids u32, labels plain ASCII without a terminator; lane bits are the width of a
// lane in memory: 8, 16, 32 or 64.
#pragma once

#include "federation/secagg/messages.h"

namespace atl::secagg {

// b_commit = SHA-256("b" || run || slot || id || b).
Digest SelfCommitment(const Session& session, SiteId id, const Secret32& b);

// SHA-256("share" || u8 kind || dealer || holder || run || slot || share). A share has 256 bits of
// entropy, so its hash hides it.
Digest ShareHash(const Session& session, ShareKind kind, SiteId dealer, SiteId holder,
                 const Secret32& share);

// Key of the envelope from dealer to holder: HKDF(ikm = X25519(enc keys), salt = H(U0), info =
// "share" || dealer || holder), with "share/chacha20-poly1305" in place of "share" under that AEAD,
// so that no key serves two; and what the envelope is bound to: run || slot || dealer || holder ||
// t || H(U0).
Secret32 EnvelopeKey(const CryptoSuite& suite, Aead aead, const Secret32& agreed,
                     const Digest& pre_keys, SiteId dealer, SiteId holder);
Bytes EnvelopeBinding(const Session& session, SiteId dealer, SiteId holder, uint32_t threshold,
                      const Digest& pre_keys);

// One end of a pair: who, and its mask_pk.
struct PairEnd {
  SiteId id;
  PublicKey mask_key{};
};

// Key of the stream between two sites, the same whichever comes first: HKDF(ikm = X25519(mask
// keys), salt = ctx, info = "pair" || min || max || mask_pk of min || mask_pk of max || segment ||
// lane bits).
Secret32 PairStreamKey(const CryptoSuite& suite, const Secret32& agreed, const Digest& context,
                       const PairEnd& one, const PairEnd& other, uint32_t segment,
                       uint32_t lane_bits);

// HKDF(ikm = b, salt = ctx, info = "self" || id || segment || lane bits).
Secret32 SelfStreamKey(const CryptoSuite& suite, const Secret32& b, const Digest& context,
                       SiteId id, uint32_t segment, uint32_t lane_bits);

}  // namespace atl::secagg
