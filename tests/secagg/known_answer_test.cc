// Pins the encodings, derivations and signatures of a whole slot, so that they cannot drift: two
// versions of Atoll in one federation must mean the same bytes. The values come from a second
// implementation, known_answers.py beside this file, not from the code under test.
#include <gtest/gtest.h>

#include <map>

#include "comms/base/crypto/sha256.h"
#include "federation/secagg/mask_keys.h"
#include "federation/secagg/signed_bodies.h"
#include "tests/secagg/harness.h"

namespace atl::secagg {
namespace {

// As known_answers.py prints them.
const std::map<std::string, std::string>& AesAnswers() {
  static const auto* const answers = new std::map<std::string, std::string>{
      {"roster", "05f0fb686d14016558e5fa0e67ba7cefc337fb699cd0128b16ae50c3b1d729bf"},
      {"seed3", "8b63194d1382b9c9929293ba149c7f9b1bf81a2833ba26859b3317bf7e66edb0"},
      {"record3", "5df3efd81b391f98b57bc0d275d585f858e3312e12a857c4b114b919bbe13549"},
      {"b_commit8", "7949ea67201e8f745e5c9035309ab7348fc87ce85f22c262d607353f2a2d82d0"},
      {"u0", "8ed3dd6c99261efc8a0ad0aa148c0d8ad1b138c03726575064ff38cbd9f77815"},
      {"bundle3", "9958a44a560b82143a68c5472e6566360bf12b2725a49190adf0d721a63d7e36"},
      {"delivery8", "e5e110d2fa15690b7c065d807ddb86639f0dc3564d5e998e19fb31e80bd631f2"},
      {"manifest", "3aee3582a60ecdadf03c99f05e1469e32ccc862af4cc54fda3e56f93736af216"},
      {"u2", "edc6d39b90afd0cb7027390888df8e7914a5d3b011a08235843c761cc64dbe6f"},
      {"ctx", "3e951b33b387af4b97fcdcae0a2e446f2cf5314f67d54b7f8f5989e599c6d0a8"},
      {"self8_0", "3f79ec981c4c87e05416e5bdc59863a0895da0ba26bdda235f68021501cff65b"},
      {"pair3_8_0", "85cdfa664da9d5dfeb79d95292fb6473024dfefe40d5eafd38a9167e46415e54"},
      {"pair8_13_1", "faa247621a9c505618a35228e68d54f88960acd632ae6e46d109ffa4a54537e6"},
      {"pair8_18_2", "c5f393e869c29456160bd4152af6de16c3aca43fa43895d7d43b3f1b5f57f598"},
      {"upload8", "da0cd8dbe30218e9bafab4052e4871431967f49ed69103733b65237a7e89569b"},
      {"u3", "c6c6fc816f0c965b7ba9c5cf4f305f804f23afdabde31c5cf474a76be6c3b397"},
      {"request", "30a0d28523dd68c9dca02e65deb943ca7a224b96eaed4d094e560c8166b3b8a1"},
      {"answer13", "c216ca876d19f32db7910e6a04d4af0d133db596d49754dfae1de001e924be48"},
  };
  return *answers;
}

const std::map<std::string, std::string>& ChaCha20Answers() {
  static const auto* const answers = new std::map<std::string, std::string>{
      {"roster", "05f0fb686d14016558e5fa0e67ba7cefc337fb699cd0128b16ae50c3b1d729bf"},
      {"seed3", "8b63194d1382b9c9929293ba149c7f9b1bf81a2833ba26859b3317bf7e66edb0"},
      {"record3", "5df3efd81b391f98b57bc0d275d585f858e3312e12a857c4b114b919bbe13549"},
      {"b_commit8", "7949ea67201e8f745e5c9035309ab7348fc87ce85f22c262d607353f2a2d82d0"},
      {"u0", "8ed3dd6c99261efc8a0ad0aa148c0d8ad1b138c03726575064ff38cbd9f77815"},
      {"bundle3", "232008d49312d915d40a59b2c3fdd60a71c17d88ca6eb1121d0915bc52bd04e2"},
      {"delivery8", "ae433d9a6ddc8c0965e892e0cce9621d1488033075f0a6cecd8698b2f3715895"},
      {"manifest", "b73f82482989cbcec20badce4e6029df6c40e699c015d84a4d56682fee72892c"},
      {"u2", "2fd6f60a3a7f83613c84169230807e2eb85c80fed1d93ac63c0bdd469e77e6a9"},
      {"ctx", "9b5650cd9ef87dc5d58c3be44eb752f4e6a7fde5da4563903f0e19e51697d353"},
      {"self8_0", "5a8d427d1eea75ab5477f3a9bf5038069a20923fa9943e84a93d8ce9cac34b13"},
      {"pair3_8_0", "8922fa1387c2281a5043d7bda523f7e197d55b4d7f2d1b7c16899a5c81c98198"},
      {"pair8_13_1", "7d7aab483bb1a72c7e446e7ab97bfb990db657e581f6f8e029420736257cf058"},
      {"pair8_18_2", "dad47be7fdacd29ccfd12f587f77baf09451657eee732b16049a44dc46a5665d"},
      {"upload8", "61271f99fab6fc2aec7b978dc4f6dacc18dae2e11595ee859ffd49730866c262"},
      {"u3", "d86450fd717a6fe97a2df1e74d80352eaf65c8f999ba98625567480d56ff58d9"},
      {"request", "cb7aa4f77a0a00a8228f12da7631d87290d3d29c0f53018b102f37f8ef47e0f7"},
      {"answer13", "d82d78fb19226b93934862f886db7086a801589f60f72fb6582ee9ac7b3f464f"},
  };
  return *answers;
}

struct Suite {
  const char* name;
  kernels::MaskCipher cipher;
  Aead aead;
  const std::map<std::string, std::string>& (*answers)();
};
constexpr Suite kSuites[] = {
    {"Aes", kernels::MaskCipher::kAes256Ctr, Aead::kAes256Gcm, AesAnswers},
    {"ChaCha20", kernels::MaskCipher::kChaCha20, Aead::kChaCha20Poly1305, ChaCha20Answers},
};

template <typename M>
std::string HashHex(const M& message) {
  return Hex(Sha256::Of(Encode(message)));
}

class KnownAnswers : public ::testing::TestWithParam<Suite> {
 protected:
  static FederationOptions Options() {
    FederationOptions options{.sites = 4, .seed = 1234, .suite = &OpensslSuite()};
    options.segments = {{5, 48, 50, 1.0}, {21, 6, 8, 16.0}, {300, 14, 16, 512.0}};
    options.cipher = GetParam().cipher;
    options.aead = GetParam().aead;
    return options;
  }
  KnownAnswers() : federation_(Options()) { federation_.site(18).drops_at = Step::kUpload; }
  static const std::string& Answer(const std::string& name) {
    return GetParam().answers().at(name);
  }
  Federation federation_;
};

INSTANTIATE_TEST_SUITE_P(Suites, KnownAnswers, ::testing::ValuesIn(kSuites),
                         [](const auto& suite) { return suite.param.name; });

TEST_P(KnownAnswers, RosterAndSession) {
  EXPECT_EQ(Hex(federation_.roster.digest()), Answer("roster"));
  EXPECT_EQ(Hex(federation_.site(3).identity.seed.span()), Answer("seed3"));
}

TEST_P(KnownAnswers, SetUp) {
  ASSERT_EQ(federation_.RunUntil(Step::kReceipt), absl::OkStatus());
  EXPECT_EQ(HashHex(federation_.u0.records[0]), Answer("record3"));
  EXPECT_EQ(Hex(federation_.u0.records[1].b_commit), Answer("b_commit8"));
  EXPECT_EQ(Hex(HashOf(federation_.u0)), Answer("u0"));
  EXPECT_EQ(HashHex(*federation_.site(3).slot->DealShares(federation_.u0)), Answer("bundle3"));
  EXPECT_EQ(HashHex(*federation_.coordinator->DeliveryFor(SiteId(8))), Answer("delivery8"));
}

TEST_P(KnownAnswers, Round) {
  ASSERT_EQ(federation_.RunAll(), absl::OkStatus());
  EXPECT_EQ(Hex(HashOf(federation_.manifest)), Answer("manifest"));
  EXPECT_EQ(HashHex(federation_.u2), Answer("u2"));
  EXPECT_EQ(Hex(ContextOf(HashOf(federation_.manifest), IdsOf(federation_.u2))), Answer("ctx"));
  EXPECT_EQ(Hex(Sha256::Of(federation_.site(8).upload)), Answer("upload8"));
  EXPECT_EQ(HashHex(federation_.u3), Answer("u3"));
  EXPECT_EQ(HashHex(federation_.request), Answer("request"));
  EXPECT_EQ(HashHex(*federation_.site(13).slot->Unmask(federation_.request)), Answer("answer13"));
}

TEST_P(KnownAnswers, Streams) {
  ASSERT_EQ(federation_.RunUntil(Step::kCommit), absl::OkStatus());
  const auto streams = *federation_.site(8).slot->EnterContext(federation_.u2);
  ASSERT_EQ(streams.size(), 12u);  // of each segment: self, then the pairs with 3, 13 and 18
  EXPECT_EQ(Hex(streams[0].key.span()), Answer("self8_0"));
  EXPECT_EQ(Hex(streams[1].key.span()), Answer("pair3_8_0"));
  EXPECT_TRUE(streams[1].subtract);
  EXPECT_EQ(Hex(streams[6].key.span()), Answer("pair8_13_1"));
  EXPECT_FALSE(streams[6].subtract);
  EXPECT_EQ(Hex(streams[11].key.span()), Answer("pair8_18_2"));
  EXPECT_FALSE(streams[11].subtract);
}

}  // namespace
}  // namespace atl::secagg
