// Published vectors for every algorithm that the protocol uses.
#include <vector>

#include "comms/base/crypto/sha256.h"
#include "comms/base/crypto/suite.h"
#include "gmock/gmock.h"

namespace atl {
namespace {

const CryptoSuite& Suite() { return OpensslSuite(); }

Bytes FromHexOrDie(std::string_view hex) { return FromHex(hex).value(); }

Secret32 SecretFromHex(std::string_view hex) {
  const Bytes bytes = FromHexOrDie(hex);
  return Secret32(std::span<const uint8_t, 32>(bytes.data(), 32));
}

PublicKey PublicFromHex(std::string_view hex) { return DigestFromHex(hex).value(); }

std::string HexOf(const Secret32& secret) { return Hex(secret.span()); }

// FIPS 180-4, examples of the Secure Hash Standard.
TEST(Sha256, Fips180Vectors) {
  EXPECT_EQ(Hex(Sha256::Of({})),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Hex(Sha256::Of(AsBytes("abc"))),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Hex(Sha256::Of(AsBytes("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"))),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(Hex(Sha256::Of(Bytes(1'000'000, 'a'))),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, PiecesAndMovesDoNotMatter) {
  Sha256 pieces;
  for (int i = 0; i < 100; ++i) pieces.Update(Bytes(10'000, 'a')).Update({});
  Sha256 moved = std::move(pieces);
  EXPECT_EQ(moved.Finish(), Sha256::Of(Bytes(1'000'000, 'a')));
}

std::vector<Digest> Chunks(size_t count) {
  std::vector<Digest> chunks;
  for (size_t i = 0; i < count; ++i) {
    chunks.push_back(Sha256::Of(ByteWriter().U8(static_cast<uint8_t>(i)).bytes()));
  }
  return chunks;
}

// RFC 6962, 2.1, written as it reads.
Digest NaiveRoot(const std::vector<Digest>& chunks) {
  if (chunks.size() == 1) return Sha256::Of(ByteWriter().U8(0).Raw(chunks[0]).bytes());
  size_t k = 1;
  while (2 * k < chunks.size()) k *= 2;
  const Digest left = NaiveRoot({chunks.begin(), chunks.begin() + k});
  const Digest right = NaiveRoot({chunks.begin() + k, chunks.end()});
  return Sha256::Of(ByteWriter().U8(1).Raw(left).Raw(right).bytes());
}

TEST(Merkle, RootOfNoChunksIsTheHashOfNothing) { EXPECT_EQ(MerkleRoot({}), Sha256::Of({})); }

// Computed with Python's hashlib: chunk i is the byte i.
TEST(Merkle, KnownRoots) {
  EXPECT_EQ(Hex(MerkleRoot(Chunks(1))),
            "d9de27625445003d8a9739a851e3ff8d41c0683630b4d63a88327a6aaa37c409");
  EXPECT_EQ(Hex(MerkleRoot(Chunks(3))),
            "d1f13800048f5909d4043fc0c152f6643280cba608b672715e56ce159a20629f");
  EXPECT_EQ(Hex(MerkleRoot(Chunks(7))),
            "bee2275db16667589a4515f63e0d053a2fa602c1d9f9703e98920a5bdad59baf");
}

TEST(Merkle, EveryPathOfEveryTreeVerifiesAndNoOtherDoes) {
  for (size_t count = 1; count <= 17; ++count) {
    const std::vector<Digest> chunks = Chunks(count);
    const Digest root = MerkleRoot(chunks);
    EXPECT_EQ(root, NaiveRoot(chunks)) << count;
    for (size_t index = 0; index < count; ++index) {
      SCOPED_TRACE(testing::Message() << "chunk " << index << " of " << count);
      const std::vector<Digest> path = MerklePath(chunks, index);
      ASSERT_TRUE(VerifyMerklePath(chunks[index], index, count, path, root).ok());
      for (size_t other = 0; other < count + 2; ++other) {
        if (other == index) continue;
        EXPECT_FALSE(VerifyMerklePath(chunks[index], other, count, path, root).ok()) << other;
      }
      Digest wrong = chunks[index];
      wrong[0] ^= 1;
      EXPECT_FALSE(VerifyMerklePath(wrong, index, count, path, root).ok());
      Digest wrong_root = root;
      wrong_root[31] ^= 0x80;
      EXPECT_FALSE(VerifyMerklePath(chunks[index], index, count, path, wrong_root).ok());
      for (size_t step = 0; step < path.size(); ++step) {
        std::vector<Digest> changed = path;
        changed[step][16] ^= 4;
        EXPECT_FALSE(VerifyMerklePath(chunks[index], index, count, changed, root).ok()) << step;
      }
      std::vector<Digest> longer = path;
      longer.push_back(root);
      EXPECT_FALSE(VerifyMerklePath(chunks[index], index, count, longer, root).ok());
      if (!path.empty()) {
        const std::vector<Digest> shorter(path.begin(), path.end() - 1);
        EXPECT_FALSE(VerifyMerklePath(chunks[index], index, count, shorter, root).ok());
      }
    }
  }
  EXPECT_FALSE(VerifyMerklePath({}, 0, 0, {}, Sha256::Of({})).ok());
}

// RFC 7748, 5.2. The second vector's u has the top bit set, which the RFC masks and Agree refuses.
TEST(X25519, Rfc7748Vectors) {
  EXPECT_EQ(HexOf(*Suite().Agree(
                SecretFromHex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"),
                PublicFromHex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c"))),
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552");
  const Secret32 scalar =
      SecretFromHex("4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d");
  EXPECT_EQ(
      Suite()
          .Agree(scalar,
                 PublicFromHex("e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493"))
          .status()
          .code(),
      absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(HexOf(*Suite().Agree(
                scalar,
                PublicFromHex("e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a413"))),
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957");
}

TEST(X25519, Rfc7748Iterated) {
  Bytes k = FromHexOrDie("0900000000000000000000000000000000000000000000000000000000000000");
  PublicKey u;
  std::copy(k.begin(), k.end(), u.begin());
  for (int i = 1; i <= 1000; ++i) {
    const Secret32 result =
        Suite().Agree(Secret32(std::span<const uint8_t, 32>(k.data(), 32)), u).value();
    std::copy(k.begin(), k.end(), u.begin());
    std::copy(result.span().begin(), result.span().end(), k.begin());
    if (i == 1) {
      EXPECT_EQ(Hex(k), "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079");
    }
  }
  EXPECT_EQ(Hex(k), "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51");
}

// RFC 7748, 6.1.
TEST(X25519, Rfc7748DiffieHellman) {
  const KeyPair alice = Suite().AgreementKeyPair(
      SecretFromHex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"));
  const KeyPair bob = Suite().AgreementKeyPair(
      SecretFromHex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"));
  EXPECT_EQ(Hex(alice.public_key),
            "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
  EXPECT_EQ(Hex(bob.public_key),
            "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
  const std::string shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742";
  EXPECT_EQ(HexOf(*Suite().Agree(alice.secret, bob.public_key)), shared);
  EXPECT_EQ(HexOf(*Suite().Agree(bob.secret, alice.public_key)), shared);
}

TEST(X25519, RefusesLowOrderAndNonCanonicalPoints) {
  const Secret32 scalar = SystemRandom().Draw32();
  const std::string middle(60, 'f');
  for (const std::string& hex : {
           // Low order: 0, 1, two points of order 8, p - 1.
           std::string(64, '0'),
           "01" + std::string(62, '0'),
           std::string("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
           std::string("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
           "ec" + middle + "7f",
           // Not canonical: p, p + 1, p + 9 (9 is the base point), 2^255 - 1, 2^255, 2^255 + 9,
           // 2^256 - 1.
           "ed" + middle + "7f",
           "ee" + middle + "7f",
           "f6" + middle + "7f",
           "ff" + middle + "7f",
           std::string(62, '0') + "80",
           "09" + std::string(60, '0') + "80",
           std::string(64, 'f'),
       }) {
    EXPECT_EQ(Suite().Agree(scalar, PublicFromHex(hex)).status().code(),
              absl::StatusCode::kInvalidArgument)
        << hex;
  }
  // The neighbours below are taken: p - 2, and a number that differs from p in a middle byte only.
  EXPECT_TRUE(Suite().Agree(scalar, PublicFromHex("eb" + middle + "7f")).ok());
  EXPECT_TRUE(Suite()
                  .Agree(scalar, PublicFromHex("ff" + std::string(30, 'f') + "fe" +
                                               std::string(28, 'f') + "7f"))
                  .ok());
}

struct Ed25519Vector {
  const char *secret, *public_key, *message, *signature;
};

// RFC 8032, 7.1, tests 1 to 3.
constexpr Ed25519Vector kEd25519Vectors[] = {
    {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
     "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9"
     "b46bd25bf5f0595bbe24655141438e7a100b"},
    {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
     "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f1"
     "1d8c387b2eaeb4302aeeb00d291612bb0c00"},
    {"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
     "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
     "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984d"
     "c6594a7c15e9716ed28dc027beceea1ec40a"},
};

TEST(Ed25519, Rfc8032Vectors) {
  for (const Ed25519Vector& vector : kEd25519Vectors) {
    SCOPED_TRACE(vector.secret);
    const KeyPair pair = Suite().SigningKeyPair(SecretFromHex(vector.secret));
    const Bytes message = FromHexOrDie(vector.message);
    EXPECT_EQ(Hex(pair.public_key), vector.public_key);
    const Signature signature = Suite().Sign(pair.secret, message);
    EXPECT_EQ(Hex(signature), vector.signature);
    EXPECT_TRUE(Suite().Verify(pair.public_key, message, signature));
    for (size_t byte : {0, 31, 32, 63}) {
      Signature wrong = signature;
      wrong[byte] ^= 1;
      EXPECT_FALSE(Suite().Verify(pair.public_key, message, wrong)) << byte;
    }
    Bytes longer = message;
    longer.push_back(0);
    EXPECT_FALSE(Suite().Verify(pair.public_key, longer, signature));
  }
}

// RFC 8032, 5.1.7: S must be below the group's order, or anybody could make a second signature from
// one.
TEST(Ed25519, RefusesASignatureWithTheOrderAdded) {
  const Bytes order =
      FromHexOrDie("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
  const Ed25519Vector& vector = kEd25519Vectors[0];
  Signature signature;
  const Bytes bytes = FromHexOrDie(vector.signature);
  std::copy(bytes.begin(), bytes.end(), signature.begin());
  int carry = 0;
  for (size_t i = 0; i < 32; ++i) {
    carry += signature[32 + i] + order[i];
    signature[32 + i] = static_cast<uint8_t>(carry);
    carry >>= 8;
  }
  EXPECT_FALSE(Suite().Verify(PublicFromHex(vector.public_key), {}, signature));
}

// RFC 5869, A.1 to A.3, the first 32 bytes of output.
TEST(Hkdf, Rfc5869Vectors) {
  const auto range = [](int from, int to) {
    Bytes bytes;
    for (int i = from; i <= to; ++i) bytes.push_back(static_cast<uint8_t>(i));
    return bytes;
  };
  EXPECT_EQ(HexOf(Suite().Hkdf(Bytes(22, 0x0b), range(0x00, 0x0c), range(0xf0, 0xf9))),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf");
  EXPECT_EQ(HexOf(Suite().Hkdf(range(0x00, 0x4f), range(0x60, 0xaf), range(0xb0, 0xff))),
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c");
  EXPECT_EQ(HexOf(Suite().Hkdf(Bytes(22, 0x0b), {}, {})),
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d");
}

// Test cases 13 and 14 of the GCM submission to NIST (AES-256, 96-bit zero nonce).
TEST(Aes256Gcm, NistVectors) {
  EXPECT_EQ(Hex(Suite().SealOnce(Aead::kAes256Gcm, Secret32(), {}, {})),
            "530f8afbc74536b9a963b4f1c4cb738b");
  EXPECT_EQ(Hex(Suite().SealOnce(Aead::kAes256Gcm, Secret32(), {}, Bytes(16, 0))),
            "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919");
}

// RFC 8439's own vectors have other nonces: these values are Python's `cryptography`'s.
TEST(ChaCha20Poly1305, ValuesOfAnotherImplementation) {
  EXPECT_EQ(Hex(Suite().SealOnce(Aead::kChaCha20Poly1305, Secret32(), {}, {})),
            "4eb972c9a8fb3a1b382bb4d36f5ffad1");
  const Bytes data = {0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7};
  EXPECT_EQ(Hex(Suite().SealOnce(Aead::kChaCha20Poly1305, Secret32(), data, Bytes(16, 0))),
            "9f07e7be5551387a98ba977c732d080d76f61b39fc05f081f1afc3074a81ec6b");
}

class AnyAead : public testing::TestWithParam<Aead> {};
INSTANTIATE_TEST_SUITE_P(Both, AnyAead, testing::Values(Aead::kAes256Gcm, Aead::kChaCha20Poly1305));

TEST_P(AnyAead, OpensWhatItSealedAndNothingElse) {
  const Aead aead = GetParam();
  const Aead other = aead == Aead::kAes256Gcm ? Aead::kChaCha20Poly1305 : Aead::kAes256Gcm;
  const Secret32 key = SystemRandom().Draw32();
  const Bytes data = {1, 2, 3};
  for (size_t size : {0, 1, 15, 16, 17, 100, 5000}) {
    const Bytes plaintext(size, 0x5a);
    const Bytes sealed = Suite().SealOnce(aead, key, data, plaintext);
    ASSERT_EQ(sealed.size(), size + 16);
    EXPECT_EQ(*Suite().OpenOnce(aead, key, data, sealed), plaintext);
    for (size_t byte : {size_t{0}, size / 2, size, size + 15}) {
      Bytes wrong = sealed;
      wrong[byte] ^= 1;
      EXPECT_EQ(Suite().OpenOnce(aead, key, data, wrong).status().code(),
                absl::StatusCode::kUnauthenticated);
    }
    EXPECT_EQ(Suite().OpenOnce(aead, key, {}, sealed).status().code(),
              absl::StatusCode::kUnauthenticated);
    EXPECT_EQ(Suite().OpenOnce(aead, Secret32(), data, sealed).status().code(),
              absl::StatusCode::kUnauthenticated);
    EXPECT_EQ(Suite().OpenOnce(other, key, data, sealed).status().code(),
              absl::StatusCode::kUnauthenticated);
    const ByteView cut = ByteView(sealed).first(sealed.size() - 1);
    EXPECT_EQ(Suite().OpenOnce(aead, key, data, cut).status().code(),
              size == 0 ? absl::StatusCode::kInvalidArgument : absl::StatusCode::kUnauthenticated);
  }
  EXPECT_EQ(Suite().OpenOnce(aead, key, data, {}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace atl
