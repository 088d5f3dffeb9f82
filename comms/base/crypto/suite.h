// The cryptography that protocol code uses, behind an interface: a simulator may run with a cheap
// one.
#pragma once

#include <array>
#include <string_view>

#include "absl/status/statusor.h"
#include "comms/base/bytes.h"
#include "comms/base/random.h"
#include "comms/base/secret.h"

namespace atl {

using PublicKey = std::array<uint8_t, 32>;  // X25519 u-coordinate or Ed25519 point, as in the RFCs
using Signature = std::array<uint8_t, 64>;

enum class Aead : uint8_t { kAes256Gcm = 1, kChaCha20Poly1305 = 2 };
const char* NameOf(Aead aead);  // "AES-256-GCM"

struct KeyPair {
  Secret32 secret;
  PublicKey public_key{};
};

// Stateless and thread-safe.
class CryptoSuite {
 public:
  virtual ~CryptoSuite() = default;

  // Ed25519, RFC 8032. The secret is the 32-byte seed.
  virtual KeyPair SigningKeyPair(const Secret32& seed) const = 0;
  virtual Signature Sign(const Secret32& seed, ByteView message) const = 0;
  virtual bool Verify(const PublicKey& key, ByteView message, const Signature& signature) const = 0;

  // X25519, RFC 7748.
  virtual KeyPair AgreementKeyPair(const Secret32& scalar) const = 0;
  // INVALID_ARGUMENT when `peer` is not a canonical u-coordinate (>= 2^255 - 19) or the result is
  // all zeros.
  virtual absl::StatusOr<Secret32> Agree(const Secret32& scalar, const PublicKey& peer) const = 0;

  // HKDF-SHA256, RFC 5869, 32 bytes of output.
  virtual Secret32 Hkdf(ByteView key_material, ByteView salt, ByteView info) const = 0;

  // AES-256-GCM or ChaCha20-Poly1305 (RFC 8439), with a 96-bit zero nonce: a key must be used for
  // one message, under one of the two. Seal gives ciphertext || 16-byte tag.
  virtual Bytes SealOnce(Aead aead, const Secret32& key, ByteView associated_data,
                         ByteView plaintext) const = 0;
  // UNAUTHENTICATED when the tag does not match; INVALID_ARGUMENT when shorter than a tag.
  virtual absl::StatusOr<Bytes> OpenOnce(Aead aead, const Secret32& key, ByteView associated_data,
                                         ByteView ciphertext) const = 0;
};

// RFC algorithms over OpenSSL 3. Never destroyed.
const CryptoSuite& OpensslSuite();

}  // namespace atl
