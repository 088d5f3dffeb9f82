// Stream keys on their way through the link: ephemeral public key (32 bytes), then AES-256-GCM of
// u32 count and, for each key, u32 segment, u8 subtract, 32 key bytes.
#include "comms/base/status.h"
#include "comms/sitelink/messages.h"

namespace atl::sitelink {
namespace {

constexpr size_t kKeyBytes = 4 + 1 + 32;
constexpr uint32_t kMaxKeys = 1 << 20;
constexpr std::string_view kLabel = "atoll/sitelink/v1/stream-keys";

// The one-time sealing key; every party to it and the round go into it.
absl::StatusOr<Secret32> SealingKey(const Secret32& own_secret, const PublicKey& peer,
                                    const PublicKey& ephemeral, const PublicKey& launch,
                                    uint32_t round, const CryptoSuite& suite) {
  ATOLL_ASSIGN_OR_RETURN(Secret32 shared, suite.Agree(own_secret, peer));
  ByteWriter salt, info;
  salt.Raw(ephemeral).Raw(launch);
  info.Sized(kLabel).U32(round);
  return suite.Hkdf(shared.span(), salt.bytes(), info.bytes());
}

Bytes AssociatedData(uint32_t round) {
  ByteWriter out;
  out.Sized(kLabel).U32(round);
  return std::move(out).Take();
}

void StoreU32(uint8_t* at, uint32_t value) {
  for (int i = 0; i < 4; ++i) at[i] = static_cast<uint8_t>(value >> (8 * i));
}

}  // namespace

Bytes SealKeys(const std::vector<StreamKey>& keys, const PublicKey& launch_key, uint32_t round,
               const CryptoSuite& suite, SecretRandom& random) {
  KeyPair ephemeral = suite.AgreementKeyPair(random.Draw32());
  auto key =
      SealingKey(ephemeral.secret, launch_key, ephemeral.public_key, launch_key, round, suite);
  if (!key.ok() || keys.size() > kMaxKeys) return {};
  // Sized once: a buffer that grew would leave copies of keys behind.
  Bytes plaintext(4 + keys.size() * kKeyBytes);
  StoreU32(plaintext.data(), static_cast<uint32_t>(keys.size()));
  uint8_t* at = plaintext.data() + 4;
  for (const StreamKey& entry : keys) {
    StoreU32(at, entry.segment);
    at[4] = entry.subtract ? 1 : 0;
    std::copy_n(entry.key.data(), 32, at + 5);
    at += kKeyBytes;
  }
  Bytes ciphertext = suite.SealOnce(Aead::kAes256Gcm, *key, AssociatedData(round), plaintext);
  Wipe(plaintext);
  ByteWriter out;
  out.Raw(ephemeral.public_key).Raw(ciphertext);
  return std::move(out).Take();
}

absl::StatusOr<std::vector<StreamKey>> OpenKeys(ByteView sealed, const KeyPair& launch_key,
                                                uint32_t round, const CryptoSuite& suite) {
  if (sealed.size() < 32)
    return absl::InvalidArgumentError("sealed stream keys: shorter than a public key");
  PublicKey ephemeral;
  std::copy_n(sealed.begin(), 32, ephemeral.begin());
  auto key =
      SealingKey(launch_key.secret, ephemeral, ephemeral, launch_key.public_key, round, suite);
  if (!key.ok()) return Annotate(key.status(), "sealed stream keys");
  auto opened = suite.OpenOnce(Aead::kAes256Gcm, *key, AssociatedData(round), sealed.subspan(32));
  if (!opened.ok()) return Annotate(opened.status(), "sealed stream keys");
  Bytes plaintext = *std::move(opened);
  ByteReader in(plaintext);
  std::vector<StreamKey> keys(in.Count(kMaxKeys, kKeyBytes));
  for (StreamKey& entry : keys) {
    entry.segment = in.U32();
    uint8_t subtract = in.U8();
    if (entry.segment >= kernels::kMaxSegments)
      in.Fail(absl::StrCat("segment ", entry.segment, " is too large"));
    if (subtract > 1) in.Fail(absl::StrCat("subtract is ", subtract, ", not 0 or 1"));
    entry.subtract = subtract == 1;
    ByteView bytes = in.Raw(32);
    if (bytes.size() == 32) std::copy(bytes.begin(), bytes.end(), entry.key.span().begin());
  }
  absl::Status status = in.Finish("sealed stream keys");
  Wipe(plaintext);
  if (!status.ok()) return status;
  return keys;
}

}  // namespace atl::sitelink
