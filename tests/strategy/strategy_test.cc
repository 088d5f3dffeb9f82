// The server's step against arithmetic done by hand, and the same bits however it is cut.
#include "federation/strategy/strategy.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "tests/strategy/pack_values.h"

namespace atl::strategy {
namespace {

using kernels::Segment;

// splitmix64: enough for test data.
struct Random {
  uint64_t state;
  uint64_t Next() {
    uint64_t z = (state += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
};

TEST(FedAvg, IsTheWeightedMeanAddedToTheModel) {
  const Segment segment{.length = 4, .value_bits = 14, .sum_bits = 16, .scale = 100};
  // Two sites with weights 1 and 0.5: sums of the weighted updates 0.75, -1.5, 0 and 3.
  const auto packed = Pack(segment, {75, -150, 0, 300});
  const std::vector<float> model = {1, 2, 3, -4};
  std::vector<float> next(4);
  ASSERT_EQ(ApplyFedAvg(model, packed, {.segment = segment, .total_weight = 1.5}, next),
            absl::OkStatus());
  EXPECT_EQ(next, (std::vector<float>{1.5f, 1, 3, -2}));
  ASSERT_EQ(
      ApplyFedAvg(model, packed, {.segment = segment, .total_weight = 1.5, .server_lr = 0.5}, next),
      absl::OkStatus());
  EXPECT_EQ(next, (std::vector<float>{1.25f, 1.5f, 3, -3}));
}

TEST(FedAvg, UniformWeightsGiveThePlainMean) {
  const Segment segment{.length = 3, .value_bits = 8, .sum_bits = 10, .scale = 1};
  std::vector<float> next(3);
  ASSERT_EQ(ApplyFedAvg(std::vector<float>{0, 0, 0}, Pack(segment, {4, -8, 508}),
                        {.segment = segment, .total_weight = 4}, next),
            absl::OkStatus());
  EXPECT_EQ(next, (std::vector<float>{1, -2, 127}));
}

TEST(FedAvg, EveryWidthIsSignExtended) {
  for (uint32_t bits = 2; bits <= 64; ++bits) {
    const Segment segment{.length = 4, .value_bits = 2, .sum_bits = bits, .scale = 1};
    const int64_t top =
        bits == 64 ? std::numeric_limits<int64_t>::max() : (int64_t{1} << (bits - 1)) - 1;
    std::vector<float> next(4);
    ASSERT_EQ(ApplyFedAvg(std::vector<float>(4), Pack(segment, {top, -top - 1, -1, 1}),
                          {.segment = segment, .total_weight = 1}, next),
              absl::OkStatus());
    EXPECT_EQ(next[0], static_cast<float>(top)) << bits;
    EXPECT_EQ(next[1], static_cast<float>(-top - 1)) << bits;
    EXPECT_EQ(next[2], -1) << bits;
    EXPECT_EQ(next[3], 1) << bits;
  }
}

TEST(FedAvg, ChunksGiveTheSameBitsAsTheWhole) {
  for (uint32_t bits : {7, 13, 16, 20, 33}) {
    const Segment segment{.length = 100000, .value_bits = 7, .sum_bits = bits, .scale = 317.5};
    Random random{bits};
    std::vector<int64_t> sums;
    std::vector<float> model;
    const int64_t range = int64_t{1} << bits;
    for (uint64_t i = 0; i < segment.length; ++i) {
      sums.push_back(static_cast<int64_t>(random.Next() % static_cast<uint64_t>(range)) -
                     range / 2);
      model.push_back(
          static_cast<float>(static_cast<double>(random.Next() >> 40) / 8388608.0 - 1.0));
    }
    const auto packed = Pack(segment, sums);
    const FedAvgOptions options{.segment = segment, .total_weight = 2.7182, .server_lr = 0.9};
    std::vector<float> whole(segment.length);
    ASSERT_EQ(ApplyFedAvg(model, packed, options, whole), absl::OkStatus());
    for (uint64_t chunk : {8u, 4096u, 12344u, 65536u}) {
      std::vector<float> cut(segment.length);
      for (uint64_t first = 0; first < segment.length; first += chunk) {
        const uint64_t count = std::min<uint64_t>(chunk, segment.length - first);
        ASSERT_EQ(ApplyFedAvg(std::span(model).subspan(first, count),
                              std::span(packed).subspan(first / 8 * bits, (count * bits + 7) / 8),
                              options, std::span(cut).subspan(first, count)),
                  absl::OkStatus());
      }
      for (uint64_t i = 0; i < segment.length; ++i) {
        ASSERT_EQ(std::bit_cast<uint32_t>(cut[i]), std::bit_cast<uint32_t>(whole[i])) << i;
      }
    }
    // And each coordinate is what the formula says, rounded once to the step and once to the sum.
    const double one = 0.9 / (317.5 * 2.7182);
    for (uint64_t i = 0; i < segment.length; i += 97) {
      const float step = static_cast<float>(static_cast<double>(sums[i]) * one);
      ASSERT_EQ(whole[i], model[i] + step) << i;
    }
  }
}

TEST(FedAvg, MayWriteOverTheModel) {
  const Segment segment{.length = 9000, .value_bits = 8, .sum_bits = 11, .scale = 3};
  std::vector<int64_t> sums(9000);
  for (int i = 0; i < 9000; ++i) sums[i] = i % 2000 - 1000;
  const auto packed = Pack(segment, sums);
  const FedAvgOptions options{.segment = segment, .total_weight = 3};
  std::vector<float> model(9000, 0.125f), next(9000);
  ASSERT_EQ(ApplyFedAvg(model, packed, options, next), absl::OkStatus());
  ASSERT_EQ(ApplyFedAvg(model, packed, options, model), absl::OkStatus());
  EXPECT_EQ(model, next);
}

TEST(FedAvg, RefusesWhatDoesNotFit) {
  const Segment good{.length = 8, .value_bits = 8, .sum_bits = 10, .scale = 1};
  std::vector<float> model(8), next(8), short_next(7), long_model(9), long_next(9);
  const std::vector<uint8_t> packed(10), short_packed(9), long_packed(12);
  const FedAvgOptions options{.segment = good, .total_weight = 1};
  EXPECT_EQ(ApplyFedAvg(model, packed, options, next), absl::OkStatus());
  EXPECT_TRUE(absl::IsInvalidArgument(ApplyFedAvg(model, packed, options, short_next)));
  EXPECT_TRUE(absl::IsInvalidArgument(ApplyFedAvg(model, short_packed, options, next)));
  EXPECT_TRUE(absl::IsInvalidArgument(ApplyFedAvg(long_model, long_packed, options, long_next)));
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinite = std::numeric_limits<double>::infinity();
  for (double weight : {0.0, -1.0, nan, infinite}) {
    FedAvgOptions bad = options;
    bad.total_weight = weight;
    EXPECT_TRUE(absl::IsInvalidArgument(ApplyFedAvg(model, packed, bad, next))) << weight;
  }
  for (double rate : {nan, infinite}) {
    FedAvgOptions bad = options;
    bad.server_lr = rate;
    EXPECT_TRUE(absl::IsInvalidArgument(ApplyFedAvg(model, packed, bad, next))) << rate;
  }
  for (double scale : {0.0, -1.0, nan, infinite}) {
    FedAvgOptions bad = options;
    bad.segment.scale = scale;
    EXPECT_TRUE(absl::IsInvalidArgument(ApplyFedAvg(model, packed, bad, next))) << scale;
  }
  FedAvgOptions bad = options;
  bad.segment.sum_bits = 65;
  EXPECT_TRUE(absl::IsInvalidArgument(ApplyFedAvg(model, packed, bad, next)));
  bad.segment.sum_bits = 0;
  EXPECT_TRUE(absl::IsInvalidArgument(ApplyFedAvg(model, {}, bad, next)));
}

TEST(Metrics, AreReadBackSigned) {
  const Segment segment{.length = 5, .value_bits = 48, .sum_bits = 51, .scale = 1};
  const std::vector<int64_t> values = {12345678901234, -1, 0, (int64_t{1} << 50) - 1,
                                       -(int64_t{1} << 50)};
  const auto decoded = DecodeIntegers(Pack(segment, values), segment);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(*decoded, values);
}

TEST(Metrics, RefuseAnotherSize) {
  const Segment segment{.length = 5, .value_bits = 48, .sum_bits = 51, .scale = 1};
  EXPECT_TRUE(absl::IsInvalidArgument(DecodeIntegers(std::vector<uint8_t>(31), segment).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(DecodeIntegers(std::vector<uint8_t>(33), segment).status()));
  EXPECT_TRUE(DecodeIntegers(std::vector<uint8_t>(32), segment).ok());
  Segment large = segment;
  large.length = (1 << 16) + 1;
  EXPECT_TRUE(absl::IsInvalidArgument(
      DecodeIntegers(std::vector<uint8_t>(large.packed_bytes()), large).status()));
}

TEST(Weights, AreTheSumOfTheRatios) {
  EXPECT_EQ(*TotalWeight(1500, 1000, 2), 1.5);
  EXPECT_EQ(*TotalWeight(2000, 1000, 2), 2.0);
  EXPECT_EQ(*TotalWeight(3, 1, 3), 3.0);
}

TEST(Weights, RefuseWhatTheSitesCannotHaveSent) {
  EXPECT_TRUE(absl::IsInvalidArgument(TotalWeight(0, 1000, 2).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(TotalWeight(-1, 1000, 2).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(TotalWeight(2001, 1000, 2).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(TotalWeight(1, 0, 2).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(TotalWeight(1, 1, 0).status()));
}

}  // namespace
}  // namespace atl::strategy
