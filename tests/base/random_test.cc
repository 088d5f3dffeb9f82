#include "comms/base/random.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "gmock/gmock.h"

namespace atl {
namespace {

SeededRandom Stream(uint64_t seed) { return SeededRandom({.seed = seed, .label = "test"}); }

// The values of these tests come from an independent implementation in Python.
TEST(SeededKey, KnownValues) {
  EXPECT_EQ(Hex(SeededKey({.seed = 42, .label = "test", .round = 1, .site = 2, .rank = 3})),
            "07ae6408016b8a7914e349273d4d049688c8f65c16d19f43a10abaeab1f40bc5");
}

TEST(SeededKey, DependsOnEveryField) {
  std::set<Digest> keys;
  keys.insert(SeededKey({.seed = 1, .label = "a", .round = 1, .site = 1, .rank = 1}));
  keys.insert(SeededKey({.seed = 2, .label = "a", .round = 1, .site = 1, .rank = 1}));
  keys.insert(SeededKey({.seed = 1, .label = "b", .round = 1, .site = 1, .rank = 1}));
  keys.insert(SeededKey({.seed = 1, .label = "a", .round = 2, .site = 1, .rank = 1}));
  keys.insert(SeededKey({.seed = 1, .label = "a", .round = 1, .site = 2, .rank = 1}));
  keys.insert(SeededKey({.seed = 1, .label = "a", .round = 1, .site = 1, .rank = 2}));
  EXPECT_EQ(keys.size(), 6u);
}

TEST(SeededRandom, KnownValues) {
  SeededRandom random({.seed = 42, .label = "test", .round = 1, .site = 2, .rank = 3});
  for (uint64_t expected : {uint64_t{0x60c9dff3fe75462f}, uint64_t{0x94393b2ecb3e211e},
                            uint64_t{0x21e196bfad789a69}, uint64_t{0xdb81848f3b8410d0}})
    EXPECT_EQ(random.Next(), expected);
}

// Exact to the last bit: a partition must be the same on every machine.
TEST(SeededRandom, KnownVariates) {
  SeededRandom random = Stream(7);
  for (double expected :
       {-0x1.50e5aa138b549p+0, -0x1.3b8eb62b42898p+0, 0x1.2302d468e6e5ap-1, 0x1.3e252e89da28bp-3})
    EXPECT_EQ(random.Normal(), expected);
  for (double expected :
       {0x1.51551cc7fd098p+1, 0x1.c3c07b12e9530p+1, 0x1.b89d3b0520003p-1, 0x1.6da640a5fea06p+1})
    EXPECT_EQ(random.Gamma(2.5), expected);
  for (double expected :
       {0x1.091f47c9b16d5p-8, 0x1.807a9d88a7cd2p-10, 0x1.baea028b99039p-2, 0x1.5395597113f3ap+1})
    EXPECT_EQ(random.Gamma(0.3), expected);
  EXPECT_THAT(random.Dirichlet(0.5, 4),
              testing::ElementsAre(0x1.be07f27f0e814p-6, 0x1.05537365e88f5p-2, 0x1.32738a71e1bbfp-1,
                                   0x1.e793e2398c426p-4));
  for (uint64_t expected :
       {uint64_t{597}, uint64_t{257}, uint64_t{179}, uint64_t{276}, uint64_t{610}})
    EXPECT_EQ(random.Below(1000), expected);
}

struct Moments {
  double mean = 0, variance = 0;
};

template <typename Draw>
Moments MomentsOf(Draw draw) {
  constexpr int kDraws = 200'000;
  double sum = 0, squares = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double x = draw();
    sum += x;
    squares += x * x;
  }
  const double mean = sum / kDraws;
  return {mean, squares / kDraws - mean * mean};
}

// Tolerances are more than five standard errors; the seeds are fixed.
TEST(SeededRandom, UniformIsInRangeAndHasItsMoments) {
  SeededRandom random = Stream(1);
  double low = 1, high = 0;
  const Moments moments = MomentsOf([&] {
    const double x = random.Uniform();
    low = std::min(low, x);
    high = std::max(high, x);
    return x;
  });
  EXPECT_GE(low, 0);
  EXPECT_LT(high, 1);
  EXPECT_NEAR(moments.mean, 0.5, 0.004);
  EXPECT_NEAR(moments.variance, 1.0 / 12, 0.002);
}

TEST(SeededRandom, NormalHasItsMomentsAndTails) {
  SeededRandom random = Stream(2);
  int beyond_two = 0;
  const Moments moments = MomentsOf([&] {
    const double x = random.Normal();
    beyond_two += std::abs(x) > 2;
    return x;
  });
  EXPECT_NEAR(moments.mean, 0, 0.012);
  EXPECT_NEAR(moments.variance, 1, 0.02);
  EXPECT_NEAR(beyond_two / 200'000.0, 0.0455, 0.0025);
}

TEST(SeededRandom, GammaHasItsMoments) {
  for (double shape : {0.05, 0.3, 0.5, 1.0, 1.5, 4.0, 100.0}) {
    SCOPED_TRACE(shape);
    SeededRandom random = Stream(3);
    const Moments moments = MomentsOf([&] { return random.Gamma(shape); });
    EXPECT_NEAR(moments.mean, shape, 6 * std::sqrt(shape / 200'000));
    EXPECT_NEAR(moments.variance, shape, 0.08 * shape + 0.005);
  }
}

TEST(SeededRandom, DirichletSumsToOneAlsoForTinyAlpha) {
  SeededRandom random = Stream(4);
  for (double alpha : {1e-4, 0.01, 0.1, 0.5, 1.0, 100.0}) {
    for (size_t count : {1, 2, 10}) {
      for (int repeat = 0; repeat < 100; ++repeat) {
        const std::vector<double> parts = random.Dirichlet(alpha, count);
        ASSERT_EQ(parts.size(), count);
        ASSERT_NEAR(std::accumulate(parts.begin(), parts.end(), 0.0), 1, 1e-12) << alpha;
        for (double part : parts) ASSERT_GE(part, 0);
      }
    }
  }
  EXPECT_TRUE(random.Dirichlet(1, 0).empty());
}

TEST(SeededRandom, DirichletHasItsMoments) {
  constexpr double kAlpha = 0.5;
  constexpr int kParts = 4;
  SeededRandom random = Stream(5);
  const Moments moments = MomentsOf([&] { return random.Dirichlet(kAlpha, kParts)[2]; });
  EXPECT_NEAR(moments.mean, 1.0 / kParts, 0.004);
  const double variance = (1.0 / kParts) * (1 - 1.0 / kParts) / (kParts * kAlpha + 1);
  EXPECT_NEAR(moments.variance, variance, 0.002);
}

TEST(SeededRandom, BelowIsUniform) {
  SeededRandom random = Stream(6);
  std::vector<int> counts(7);
  for (int i = 0; i < 70'000; ++i) ++counts[random.Below(7)];
  double chi_square = 0;
  for (int count : counts) chi_square += (count - 10'000.0) * (count - 10'000.0) / 10'000.0;
  EXPECT_LT(chi_square, 35);  // 6 degrees of freedom: p < 1e-5
  for (int i = 0; i < 100; ++i) EXPECT_EQ(random.Below(1), 0u);
  // Without rejection, values below 2^62 would come twice as often for this bound.
  const uint64_t bound = uint64_t{3} << 62;
  int low = 0;
  for (int i = 0; i < 30'000; ++i) {
    const uint64_t x = random.Below(bound);
    ASSERT_LT(x, bound);
    low += x < uint64_t{1} << 62;
  }
  EXPECT_NEAR(low, 10'000, 500);
}

TEST(SeededRandom, ShuffleIsAUniformPermutation) {
  SeededRandom random = Stream(8);
  std::vector<int> first_at(4);
  for (int i = 0; i < 40'000; ++i) {
    std::vector<int> items = {0, 1, 2, 3};
    random.Shuffle(std::span(items));
    ++first_at[std::find(items.begin(), items.end(), 0) - items.begin()];
    std::sort(items.begin(), items.end());
    ASSERT_THAT(items, testing::ElementsAre(0, 1, 2, 3));
  }
  for (int count : first_at) EXPECT_NEAR(count, 10'000, 500);
}

TEST(SystemRandom, FillsEverythingAndNeverTwiceTheSame) {
  const Secret32 a = SystemRandom().Draw32();
  const Secret32 b = SystemRandom().Draw32();
  EXPECT_FALSE(a == b);
  EXPECT_FALSE(a == Secret32());
  SystemRandom().Fill({});
  // More than getrandom gives in one uninterrupted call; the last bytes must be filled too.
  Bytes many(1 << 20);
  SystemRandom().Fill(many);
  EXPECT_TRUE(std::any_of(many.end() - 32, many.end(), [](uint8_t x) { return x != 0; }));
  std::vector<int> counts(256);
  for (uint8_t byte : many) ++counts[byte];
  const double expected = many.size() / 256.0;
  double chi_square = 0;
  for (int count : counts) chi_square += (count - expected) * (count - expected) / expected;
  EXPECT_LT(chi_square, 430);  // 255 degrees of freedom: p < 1e-9
}

static_assert(!std::is_base_of_v<SecretRandom, SeededRandom>, "a key must not come from a seed");

}  // namespace
}  // namespace atl
