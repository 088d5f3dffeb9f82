#include "comms/base/crypto/suite.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "comms/base/status.h"

namespace atl {
namespace {

constexpr size_t kTagBytes = 16;
constexpr size_t kNonceBytes = 12;

template <auto free_function>
struct Free {
  template <typename T>
  void operator()(T* pointer) const {
    free_function(pointer);
  }
};
using Key = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;
using KeyContext = std::unique_ptr<EVP_PKEY_CTX, Free<EVP_PKEY_CTX_free>>;
using DigestContext = std::unique_ptr<EVP_MD_CTX, Free<EVP_MD_CTX_free>>;
using CipherContext = std::unique_ptr<EVP_CIPHER_CTX, Free<EVP_CIPHER_CTX_free>>;

// For calls that fail only without memory or with a broken OpenSSL, never because of a peer's
// bytes.
void Require(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "%s failed in OpenSSL: out of memory or a broken installation\n", what);
  std::abort();
}

// OpenSSL takes some null pointers for "nothing was given", also with length 0.
const uint8_t* Pointer(ByteView bytes) {
  static constexpr uint8_t kNothing = 0;
  return bytes.empty() ? &kNothing : bytes.data();
}

Key PrivateKey(int type, const Secret32& secret) {
  Key key(EVP_PKEY_new_raw_private_key(type, nullptr, secret.data(), secret.size()));
  Require(key != nullptr, "reading a private key");
  return key;
}

KeyPair MakeKeyPair(int type, const Secret32& secret) {
  const Key key = PrivateKey(type, secret);
  KeyPair pair{.secret = secret};
  size_t size = pair.public_key.size();
  Require(EVP_PKEY_get_raw_public_key(key.get(), pair.public_key.data(), &size) == 1 &&
              size == pair.public_key.size(),
          "computing a public key");
  return pair;
}

// Whether the little-endian number is below p = 2^255 - 19.
bool IsCanonical(const PublicKey& u) {
  if (u[31] != 0x7f) return u[31] < 0x7f;
  for (int i = 30; i >= 1; --i) {
    if (u[i] != 0xff) return true;
  }
  return u[0] < 0xed;
}

Secret32 HmacSha256(ByteView key, ByteView message) {
  Secret32 out;
  unsigned size = 0;
  Require(HMAC(EVP_sha256(), Pointer(key), static_cast<int>(key.size()), Pointer(message),
               message.size(), out.span().data(), &size) != nullptr &&
              size == out.size(),
          "HMAC-SHA256");
  return out;
}

// Feeds `in` to a cipher in pieces that fit OpenSSL's int. `out` null: associated data.
bool CipherUpdate(EVP_CIPHER_CTX* context, ByteView in, uint8_t* out) {
  constexpr size_t kPiece = size_t{1} << 30;
  while (!in.empty()) {
    const ByteView piece = in.first(std::min(in.size(), kPiece));
    int written = 0;
    if (EVP_CipherUpdate(context, out, &written, piece.data(), static_cast<int>(piece.size())) !=
        1) {
      return false;
    }
    if (out != nullptr) out += written;
    in = in.subspan(piece.size());
  }
  return true;
}

CipherContext StartAead(Aead aead, const Secret32& key, ByteView associated_data, bool encrypt) {
  static constexpr uint8_t kZeroNonce[kNonceBytes] = {};
  CipherContext context(EVP_CIPHER_CTX_new());
  const EVP_CIPHER* const cipher =
      aead == Aead::kChaCha20Poly1305 ? EVP_chacha20_poly1305() : EVP_aes_256_gcm();
  Require(context != nullptr &&
              EVP_CipherInit_ex2(context.get(), cipher, key.data(), kZeroNonce, encrypt ? 1 : 0,
                                 nullptr) == 1 &&
              CipherUpdate(context.get(), associated_data, nullptr),
          "starting an AEAD");
  return context;
}

class Openssl : public CryptoSuite {
 public:
  KeyPair SigningKeyPair(const Secret32& seed) const override {
    return MakeKeyPair(EVP_PKEY_ED25519, seed);
  }

  Signature Sign(const Secret32& seed, ByteView message) const override {
    const Key key = PrivateKey(EVP_PKEY_ED25519, seed);
    const DigestContext context(EVP_MD_CTX_new());
    Signature signature;
    size_t size = signature.size();
    Require(context != nullptr &&
                EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key.get()) == 1 &&
                EVP_DigestSign(context.get(), signature.data(), &size, Pointer(message),
                               message.size()) == 1 &&
                size == signature.size(),
            "signing with Ed25519");
    return signature;
  }

  bool Verify(const PublicKey& key_bytes, ByteView message,
              const Signature& signature) const override {
    const Key key(
        EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, key_bytes.data(), key_bytes.size()));
    const DigestContext context(EVP_MD_CTX_new());
    return key != nullptr && context != nullptr &&
           EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, key.get()) == 1 &&
           EVP_DigestVerify(context.get(), signature.data(), signature.size(), Pointer(message),
                            message.size()) == 1;
  }

  KeyPair AgreementKeyPair(const Secret32& scalar) const override {
    return MakeKeyPair(EVP_PKEY_X25519, scalar);
  }

  absl::StatusOr<Secret32> Agree(const Secret32& scalar, const PublicKey& peer) const override {
    if (!IsCanonical(peer)) {
      return absl::InvalidArgumentError(absl::StrCat("X25519: peer's u-coordinate ", Hex(peer),
                                                     " is not canonical: must be < 2^255 - 19"));
    }
    const Key own = PrivateKey(EVP_PKEY_X25519, scalar);
    const Key other(
        EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, nullptr, peer.data(), peer.size()));
    const KeyContext context(EVP_PKEY_CTX_new_from_pkey(nullptr, own.get(), nullptr));
    Require(other != nullptr && context != nullptr && EVP_PKEY_derive_init(context.get()) == 1,
            "starting X25519");
    Secret32 shared;
    size_t size = shared.size();
    // OpenSSL refuses the all-zero result; checked again here, because the protocol rests on it.
    if (EVP_PKEY_derive_set_peer(context.get(), other.get()) != 1 ||
        EVP_PKEY_derive(context.get(), shared.span().data(), &size) != 1 || size != shared.size() ||
        shared == Secret32()) {
      return absl::InvalidArgumentError(absl::StrCat("X25519: peer's u-coordinate ", Hex(peer),
                                                     " is of low order: the result is zero"));
    }
    return shared;
  }

  // One block of output is all there is: OKM = T(1) = HMAC(PRK, info || 0x01).
  Secret32 Hkdf(ByteView key_material, ByteView salt, ByteView info) const override {
    const Secret32 pseudorandom_key = HmacSha256(salt, key_material);
    Bytes message(info.begin(), info.end());
    message.push_back(1);
    return HmacSha256(pseudorandom_key.span(), message);
  }

  Bytes SealOnce(Aead aead, const Secret32& key, ByteView associated_data,
                 ByteView plaintext) const override {
    const CipherContext context = StartAead(aead, key, associated_data, /*encrypt=*/true);
    Bytes sealed(plaintext.size() + kTagBytes);
    uint8_t* const tag = sealed.data() + plaintext.size();
    int written = 0;
    Require(CipherUpdate(context.get(), plaintext, sealed.data()) &&
                EVP_CipherFinal_ex(context.get(), tag, &written) == 1 &&
                EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_GET_TAG, kTagBytes, tag) == 1,
            "sealing with an AEAD");
    return sealed;
  }

  absl::StatusOr<Bytes> OpenOnce(Aead aead, const Secret32& key, ByteView associated_data,
                                 ByteView ciphertext) const override {
    if (ciphertext.size() < kTagBytes) {
      return absl::InvalidArgumentError(absl::StrCat(
          NameOf(aead), ": ciphertext of ", ciphertext.size(), " bytes, must be >= ", kTagBytes));
    }
    const ByteView body = ciphertext.first(ciphertext.size() - kTagBytes);
    std::array<uint8_t, kTagBytes> tag;
    std::copy_n(ciphertext.end() - kTagBytes, kTagBytes, tag.begin());
    const CipherContext context = StartAead(aead, key, associated_data, /*encrypt=*/false);
    Bytes plaintext(body.size());
    uint8_t rest[kTagBytes];
    int written = 0;
    if (!CipherUpdate(context.get(), body, plaintext.data()) ||
        EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_SET_TAG, kTagBytes, tag.data()) != 1 ||
        EVP_CipherFinal_ex(context.get(), rest, &written) != 1) {
      Wipe(plaintext);
      return absl::UnauthenticatedError(absl::StrCat(NameOf(aead), ": the tag of a ciphertext of ",
                                                     ciphertext.size(), " bytes does not match"));
    }
    return plaintext;
  }
};

}  // namespace

const char* NameOf(Aead aead) {
  return aead == Aead::kChaCha20Poly1305 ? "ChaCha20-Poly1305" : "AES-256-GCM";
}

const CryptoSuite& OpensslSuite() {
  static const Openssl* const suite = new Openssl;
  return *suite;
}

}  // namespace atl
