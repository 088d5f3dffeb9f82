// Every message: there and back, cut off at every byte, with bytes behind it, and with values that
// must not be.
#include "comms/sitelink/messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "comms/base/random.h"

namespace atl::sitelink {
namespace {

using ::testing::HasSubstr;

// Encode(Decode(Encode(m))) == Encode(m), and no proper prefix or extension decodes.
template <typename M>
M RoundTrip(const M& message) {
  Bytes bytes = Encode(message);
  auto decoded = Decode<M>(bytes);
  EXPECT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(Encode(*decoded), bytes);
  for (size_t size = 0; size < bytes.size(); ++size) {
    auto cut = Decode<M>(ByteView(bytes).first(size));
    EXPECT_TRUE(absl::IsInvalidArgument(cut.status()))
        << "decodes from " << size << " of " << bytes.size() << " bytes";
  }
  Bytes longer = bytes;
  longer.push_back(0);
  EXPECT_FALSE(Decode<M>(longer).ok());
  return *decoded;
}

template <typename M>
std::string ErrorOf(const M& message) {
  return std::string(Decode<M>(Encode(message)).status().message());
}

PublicKey Key(uint8_t fill) {
  PublicKey key;
  key.fill(fill);
  return key;
}

Release SomeRelease() {
  Release release;
  release.round = 3;
  release.clip_norm_l2 = 20;
  release.weight_max = 20000;
  release.context.fill(8);
  release.segments = {{kMetricCount, kMetricValueBits, 50, 1.0}, {1000, 16, 18, 1638.35}};
  release.sealed_keys = Bytes(77, 5);
  return release;
}

Prepare SomePrepare() {
  Prepare prepare;
  prepare.round = 3;
  prepare.context.fill(9);
  prepare.cipher = kernels::MaskCipher::kChaCha20;
  prepare.segments = SomeRelease().segments;
  prepare.sealed_keys = Bytes(77, 5);
  return prepare;
}

TEST(MessagesTest, AllGoThereAndBack) {
  Hello hello = RoundTrip(Hello{.ranks = 3, .launch_key = Key(7), .pids = {10, 20, 30}});
  EXPECT_EQ(hello.pids, (std::vector<uint32_t>{10, 20, 30}));
  EXPECT_EQ(hello.launch_key, Key(7));
  sitelink::Setup setup = RoundTrip(sitelink::Setup{"name: x\n", 2, 4, 44426});
  EXPECT_EQ(setup.recipe_yaml, "name: x\n");
  EXPECT_EQ(setup.site_index, 2u);
  EXPECT_EQ(setup.parameters, 44426u);
  EXPECT_EQ(RoundTrip(ModelChunk{9, Bytes(16, 1)}).values.size(), 16u);
  EXPECT_EQ(RoundTrip(Train{12}).round, 12u);
  Progress progress = RoundTrip(Progress{1, "train", 5, 9, 123.5});
  EXPECT_EQ(progress.phase, "train");
  EXPECT_EQ(progress.examples_per_s, 123.5);
  RoundTrip(Trained{12});
  Release release = RoundTrip(SomeRelease());
  EXPECT_EQ(release.segments, SomeRelease().segments);
  EXPECT_EQ(release.sealed_keys, Bytes(77, 5));
  EXPECT_EQ(release.context, SomeRelease().context);
  EXPECT_EQ(release.cipher, kernels::MaskCipher::kAes256Ctr);
  const Prepare prepare = RoundTrip(SomePrepare());
  EXPECT_EQ(prepare.round, 3u);
  EXPECT_EQ(prepare.context, SomePrepare().context);
  EXPECT_EQ(prepare.cipher, kernels::MaskCipher::kChaCha20);
  EXPECT_EQ(prepare.segments, SomeRelease().segments);
  EXPECT_EQ(prepare.sealed_keys, Bytes(77, 5));
  RoundTrip(MaskedChunk{4, Bytes(100, 3)});
  const Masked masked = RoundTrip(Masked{12, 1.5, 0.25});
  EXPECT_EQ(masked.mask_hidden_s, 1.5);
  EXPECT_EQ(masked.mask_paid_s, 0.25);
  RoundTrip(Evaluate{12});
  EXPECT_EQ(RoundTrip(Evaluated{12, 10000, 8000, 5012.25}).loss_sum, 5012.25);
  RoundTrip(Failure{"out of luck"});
  EXPECT_TRUE(Encode(Stop{}).empty());
  EXPECT_TRUE(Decode<Stop>({}).ok());
  EXPECT_FALSE(Decode<Stop>(Bytes{1}).ok());
}

TEST(MessagesTest, WhatIsTooLongToSendIsCutNotRefused) {
  EXPECT_EQ(Decode<Failure>(Encode(Failure{std::string(1 << 20, 'x')}))->message.size(),
            size_t{64 << 10});
  EXPECT_EQ(Decode<Progress>(Encode(Progress{1, std::string(100, 'p'), 0, 0, 0}))->phase.size(),
            32u);
}

TEST(MessagesTest, ValuesThatMustNotBe) {
  EXPECT_THAT(ErrorOf(Hello{.version = 1, .ranks = 1, .pids = {1}}),
              HasSubstr("protocol version 1"));
  EXPECT_THAT(ErrorOf(Hello{.ranks = 2, .pids = {1}}), HasSubstr("1 process ids for 2 ranks"));
  EXPECT_THAT(ErrorOf(Hello{.ranks = 0, .pids = {}}), HasSubstr("0 ranks"));
  EXPECT_THAT(ErrorOf(sitelink::Setup{"r", 4, 4, 1}), HasSubstr("site_index 4"));
  EXPECT_THAT(ErrorOf(sitelink::Setup{"r", 0, 1, 0}), HasSubstr("parameters 0"));
  EXPECT_THAT(ErrorOf(sitelink::Setup{std::string((1 << 20) + 1, 'x'), 0, 1, 1}),
              HasSubstr("Setup"));
  EXPECT_THAT(ErrorOf(ModelChunk{0, Bytes(7)}), HasSubstr("float32"));
  EXPECT_FALSE(
      Decode<ModelChunk>(Encode(ModelChunk{0, Bytes(kernels::kChunkElements * 4 + 4)})).ok());
  EXPECT_THAT(ErrorOf(Evaluated{1, 5, 6, 0}), HasSubstr("6 correct of 5"));
  EXPECT_THAT(ErrorOf(Evaluated{1, 5, 5, std::numeric_limits<double>::quiet_NaN()}),
              HasSubstr("not finite"));
  EXPECT_FALSE(Decode<MaskedChunk>(Encode(MaskedChunk{0, {}})).ok());
  EXPECT_FALSE(
      Decode<MaskedChunk>(Encode(MaskedChunk{0, Bytes(kernels::kChunkElements * 8 + 1)})).ok());
}

TEST(MessagesTest, MasksAheadAreCheckedWhole) {
  auto with = [](auto change) {
    Prepare prepare = SomePrepare();
    change(prepare);
    return ErrorOf(prepare);
  };
  EXPECT_THAT(with([](Prepare& p) { p.sealed_keys.clear(); }), HasSubstr("without keys"));
  EXPECT_THAT(with([](Prepare& p) { p.cipher = static_cast<kernels::MaskCipher>(3); }),
              HasSubstr("mask cipher 3"));
  EXPECT_THAT(with([](Prepare& p) { p.segments[1].scale = 0; }), HasSubstr("scale"));
  EXPECT_THAT(with([](Prepare& p) { p.segments[1].sum_bits = 65; }), HasSubstr("65"));
  EXPECT_THAT(with([](Prepare& p) { p.segments.clear(); }), HasSubstr("segment"));
  EXPECT_THAT(ErrorOf(Masked{1, -1, 0}), HasSubstr("mask_hidden_s is negative"));
  EXPECT_THAT(ErrorOf(Masked{1, 0, std::numeric_limits<double>::quiet_NaN()}),
              HasSubstr("mask_paid_s is not finite"));
}

TEST(MessagesTest, AReleaseIsCheckedWhole) {
  auto with = [](auto change) {
    Release release = SomeRelease();
    change(release);
    return ErrorOf(release);
  };
  EXPECT_THAT(with([](Release& r) { r.clip_norm_l2 = 0; }), HasSubstr("clip_norm_l2"));
  EXPECT_THAT(with([](Release& r) { r.clip_norm_l2 = std::numeric_limits<double>::infinity(); }),
              HasSubstr("finite"));
  EXPECT_THAT(with([](Release& r) { r.weight_max = 0; }), HasSubstr("weight_max"));
  EXPECT_THAT(with([](Release& r) { r.cipher = static_cast<kernels::MaskCipher>(0); }),
              HasSubstr("mask cipher 0"));
  EXPECT_THAT(with([](Release& r) { r.segments[1].scale = -1; }), HasSubstr("scale"));
  EXPECT_FALSE(with([](Release& r) { r.segments[1].sum_bits = 65; }).empty());
  EXPECT_FALSE(with([](Release& r) { r.segments[1].value_bits = 19; }).empty());
  EXPECT_FALSE(with([](Release& r) { r.segments[0].length = 0; }).empty());
  EXPECT_FALSE(with([](Release& r) { r.segments.resize(17, r.segments[0]); }).empty());
  EXPECT_THAT(with([](Release& r) { r.sealed_keys.clear(); }), HasSubstr("without keys"));
  EXPECT_THAT(with([](Release& r) { r.masked = false; }), HasSubstr("with keys"));
  Bytes bytes = Encode(SomeRelease());
  bytes[4] = 2;  // masked
  EXPECT_THAT(std::string(Decode<Release>(bytes).status().message()), HasSubstr("not 0 or 1"));
}

TEST(MessagesTest, RandomBytesNeverDoMoreThanFail) {
  const uint64_t seed = 20261122;
  SeededRandom random({.seed = seed, .label = "messages_test"});
  for (int i = 0; i < 20000; ++i) {
    Bytes bytes(random.Below(200));
    for (uint8_t& byte : bytes)
      byte = static_cast<uint8_t>(random.Below(4) == 0 ? random.Next() : 0);
    (void)Decode<Hello>(bytes);
    (void)Decode<sitelink::Setup>(bytes);
    (void)Decode<ModelChunk>(bytes);
    (void)Decode<Release>(bytes);
    (void)Decode<MaskedChunk>(bytes);
    // One changed byte in a good message: decodes to something or fails.
    Bytes good = Encode(SomeRelease());
    good[random.Below(good.size())] ^= static_cast<uint8_t>(1 + random.Below(255));
    auto decoded = Decode<Release>(good);
    if (decoded.ok()) {
      ASSERT_EQ(kernels::VectorLayout::Problem(decoded->segments), "")
          << "seed " << seed << " case " << i;
    }
  }
}

class SealedKeysTest : public ::testing::Test {
 protected:
  const CryptoSuite& suite_ = OpensslSuite();
  KeyPair launch_ = suite_.AgreementKeyPair(SystemRandom().Draw32());
  std::vector<StreamKey> keys_ = {{kMetricsSegment, false, SystemRandom().Draw32()},
                                  {kUpdateSegment, true, SystemRandom().Draw32()}};
};

TEST_F(SealedKeysTest, OnlyTheLaunchKeyOfTheRightRoundOpensThem) {
  Bytes sealed = SealKeys(keys_, launch_.public_key, 5, suite_, SystemRandom());
  auto opened = OpenKeys(sealed, launch_, 5, suite_);
  ASSERT_TRUE(opened.ok()) << opened.status();
  ASSERT_EQ(opened->size(), 2u);
  EXPECT_EQ((*opened)[1].segment, kUpdateSegment);
  EXPECT_TRUE((*opened)[1].subtract);
  EXPECT_TRUE((*opened)[1].key == keys_[1].key);
  EXPECT_FALSE((*opened)[0].subtract);
  EXPECT_FALSE(OpenKeys(sealed, launch_, 6, suite_).ok());
  KeyPair other = suite_.AgreementKeyPair(SystemRandom().Draw32());
  EXPECT_FALSE(OpenKeys(sealed, other, 5, suite_).ok());
  EXPECT_NE(SealKeys(keys_, launch_.public_key, 5, suite_, SystemRandom()), sealed);
}

TEST_F(SealedKeysTest, AnyChangedOrMissingByteIsNoticed) {
  const Bytes sealed = SealKeys(keys_, launch_.public_key, 5, suite_, SystemRandom());
  for (size_t i = 0; i < sealed.size(); ++i) {
    EXPECT_FALSE(OpenKeys(ByteView(sealed).first(i), launch_, 5, suite_).ok()) << i;
    Bytes changed = sealed;
    changed[i] ^= 0x40;
    EXPECT_FALSE(OpenKeys(changed, launch_, 5, suite_).ok()) << i;
  }
}

TEST_F(SealedKeysTest, AnImpossibleLaunchKeyGetsNothing) {
  EXPECT_TRUE(SealKeys(keys_, PublicKey{}, 5, suite_, SystemRandom()).empty());
}

}  // namespace
}  // namespace atl::sitelink
