// Pins the encodings, derivations and signatures of a whole slot, so that they cannot drift: two
// versions of Atoll in one federation must mean the same bytes. The values come from a second
// implementation, known_answers.py beside this file, not from the code under test.
#include <gtest/gtest.h>

#include "comms/base/crypto/sha256.h"
#include "federation/secagg/mask_keys.h"
#include "federation/secagg/signed_bodies.h"
#include "tests/secagg/harness.h"

namespace atl::secagg {
namespace {

template <typename M>
std::string HashHex(const M& message) {
  return Hex(Sha256::Of(Encode(message)));
}

class KnownAnswers : public ::testing::Test {
 protected:
  static FederationOptions Options() {
    FederationOptions options{.sites = 4, .seed = 1234, .suite = &OpensslSuite()};
    options.segments = {{5, 48, 50, 1.0}, {21, 6, 8, 16.0}, {300, 14, 16, 512.0}};
    return options;
  }
  KnownAnswers() : federation_(Options()) { federation_.site(18).drops_at = Step::kUpload; }
  Federation federation_;
};

TEST_F(KnownAnswers, RosterAndSession) {
  EXPECT_EQ(Hex(federation_.roster.digest()),
            "05f0fb686d14016558e5fa0e67ba7cefc337fb699cd0128b16ae50c3b1d729bf");
  EXPECT_EQ(Hex(federation_.site(3).identity.seed.span()),
            "8b63194d1382b9c9929293ba149c7f9b1bf81a2833ba26859b3317bf7e66edb0");
}

TEST_F(KnownAnswers, SetUp) {
  ASSERT_EQ(federation_.RunUntil(Step::kReceipt), absl::OkStatus());
  EXPECT_EQ(HashHex(federation_.u0.records[0]),
            "5df3efd81b391f98b57bc0d275d585f858e3312e12a857c4b114b919bbe13549");
  EXPECT_EQ(Hex(federation_.u0.records[1].b_commit),
            "7949ea67201e8f745e5c9035309ab7348fc87ce85f22c262d607353f2a2d82d0");
  EXPECT_EQ(Hex(HashOf(federation_.u0)),
            "8ed3dd6c99261efc8a0ad0aa148c0d8ad1b138c03726575064ff38cbd9f77815");
  EXPECT_EQ(HashHex(*federation_.site(3).slot->DealShares(federation_.u0)),
            "9958a44a560b82143a68c5472e6566360bf12b2725a49190adf0d721a63d7e36");
  EXPECT_EQ(HashHex(*federation_.coordinator->DeliveryFor(SiteId(8))),
            "e5e110d2fa15690b7c065d807ddb86639f0dc3564d5e998e19fb31e80bd631f2");
}

TEST_F(KnownAnswers, Round) {
  ASSERT_EQ(federation_.RunAll(), absl::OkStatus());
  EXPECT_EQ(Hex(HashOf(federation_.manifest)),
            "b4ff5e36467aee06431f65d2008cd0b6532ac4f2282ba17686b59dc6d573a0f0");
  EXPECT_EQ(HashHex(federation_.u2),
            "a38e6d54f143b9e2df28c4537b84afad2e4687943905aaa431366ec12945c139");
  EXPECT_EQ(Hex(ContextOf(HashOf(federation_.manifest), IdsOf(federation_.u2))),
            "36b5e6982965df61f62ab31d2db8b21bf1e9543f70c1f20464cba61aeb16b58d");
  EXPECT_EQ(Hex(Sha256::Of(federation_.site(8).upload)),
            "785c683ecaffd4bc9b718938fe03d32286d8bb3d625771499451ebfcc56da0d9");
  EXPECT_EQ(HashHex(federation_.u3),
            "c599b73e3de16d1d1e6e37fad561119337fd5af0a300257ebd40f0f75cd5795e");
  EXPECT_EQ(HashHex(federation_.request),
            "d5ed28e886d3e206cddcd3b564380bc74e2f67b4c5027543622e886321fc647f");
  EXPECT_EQ(HashHex(*federation_.site(13).slot->Unmask(federation_.request)),
            "3d76ed0441d4a16185f8c8e6f98a58a17044ac956a18937765f6c08fa383fd63");
}

TEST_F(KnownAnswers, Streams) {
  ASSERT_EQ(federation_.RunUntil(Step::kCommit), absl::OkStatus());
  const auto streams = *federation_.site(8).slot->EnterContext(federation_.u2);
  ASSERT_EQ(streams.size(), 12u);  // of each segment: self, then the pairs with 3, 13 and 18
  EXPECT_EQ(Hex(streams[0].key.span()),
            "08e4b99455e84c5eaadaea26fb1edadc3dca2808f4b8cbf7fb63c8a8fcba5507");
  EXPECT_EQ(Hex(streams[1].key.span()),
            "00043e4c5d3c92b588de04c867b80e7e695483ab04ee64f47534580e065ef86f");
  EXPECT_TRUE(streams[1].subtract);
  EXPECT_EQ(Hex(streams[6].key.span()),
            "4879cf5c667abf6644ada6f3cda603fb4256ff6976ed0c315d62ab5e565ea552");
  EXPECT_FALSE(streams[6].subtract);
  EXPECT_EQ(Hex(streams[11].key.span()),
            "4f24481b8e23e0af2be032078af67ceee74430ad1ddc709142bb4f0fe0faa2f8");
  EXPECT_FALSE(streams[11].subtract);
}

}  // namespace
}  // namespace atl::secagg
