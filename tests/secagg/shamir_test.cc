// Shamir's sharing over GF(2^8): the field against a naive one, the scheme against its definition.
#include "federation/secagg/shamir.h"

#include <gtest/gtest.h>

#include <array>
#include <set>

#include "tests/secagg/harness.h"

namespace atl::secagg {
namespace {

// Long multiplication and division by x^8 + x^4 + x^3 + x + 1.
uint8_t NaiveMultiply(uint8_t a, uint8_t b) {
  uint32_t product = 0;
  for (int i = 0; i < 8; ++i) {
    if ((b >> i) & 1) product ^= uint32_t{a} << i;
  }
  for (int i = 15; i >= 8; --i) {
    if ((product >> i) & 1) product ^= 0x11bu << (i - 8);
  }
  return static_cast<uint8_t>(product);
}

// Gives out bytes that the test chose.
class Scripted : public SecretRandom {
 public:
  void Fill(std::span<uint8_t> out) override {
    ASSERT_LT(next, draws.size());
    std::copy(draws[next].begin(), draws[next].end(), out.begin());
    ++next;
  }
  std::vector<std::array<uint8_t, 32>> draws;
  size_t next = 0;
};

Secret32 Filled(uint8_t byte) {
  Secret32 secret;
  std::fill(secret.span().begin(), secret.span().end(), byte);
  return secret;
}

TEST(Field, ProductsOfAllPairsEqualTheNaiveOnes) {
  for (int a = 0; a < 256; ++a) {
    for (int b = 0; b < 256; ++b) ASSERT_EQ(GfMultiply(a, b), NaiveMultiply(a, b)) << a << " " << b;
  }
}

TEST(Field, ExamplesOfFips197) {
  EXPECT_EQ(GfMultiply(0x57, 0x83), 0xc1);
  EXPECT_EQ(GfMultiply(0x57, 0x13), 0xfe);
}

TEST(Field, InversesOfAll) {
  EXPECT_EQ(GfInverse(0), 0);
  for (int a = 1; a < 256; ++a) EXPECT_EQ(GfMultiply(a, GfInverse(a)), 1) << a;
}

TEST(Shamir, SharesAreThePolynomialsValues) {
  Scripted random;
  random.draws.resize(2);
  for (int i = 0; i < 32; ++i) {
    random.draws[0][i] = static_cast<uint8_t>(17 * i + 3);
    random.draws[1][i] = static_cast<uint8_t>(99 - 5 * i);
  }
  Secret32 secret;
  for (int i = 0; i < 32; ++i) secret.span()[i] = static_cast<uint8_t>(200 + i);
  const auto shares = *SplitSecret(secret, 3, 255, random);
  ASSERT_EQ(shares.size(), 255u);
  for (int x = 1; x <= 255; ++x) {
    const uint8_t square = NaiveMultiply(x, x);
    for (int i = 0; i < 32; ++i) {
      const uint8_t expected = secret.span()[i] ^ NaiveMultiply(random.draws[0][i], x) ^
                               NaiveMultiply(random.draws[1][i], square);
      ASSERT_EQ(shares[x - 1].span()[i], expected) << x << " " << i;
    }
  }
}

TEST(Shamir, EverySubsetOfThresholdSizeGivesTheSecretBack) {
  TestRandom random(1);
  for (uint32_t n = 1; n <= 8; ++n) {
    for (uint32_t t = 1; t <= n; ++t) {
      const Secret32 secret = random.Draw32();
      const auto shares = *SplitSecret(secret, t, n, random);
      for (uint32_t subset = 0; subset < (1u << n); ++subset) {
        if (static_cast<uint32_t>(__builtin_popcount(subset)) != t) continue;
        std::vector<ShamirShare> chosen;
        for (uint32_t j = 0; j < n; ++j) {
          if ((subset >> j) & 1) chosen.push_back({static_cast<uint8_t>(j + 1), shares[j]});
        }
        EXPECT_EQ(*CombineShares(chosen), secret) << n << " " << t << " " << subset;
        std::reverse(chosen.begin(), chosen.end());
        EXPECT_EQ(*CombineShares(chosen), secret) << "in another order";
      }
    }
  }
}

TEST(Shamir, TheLargestSharing) {
  TestRandom random(2);
  const Secret32 secret = random.Draw32();
  const auto shares = *SplitSecret(secret, 171, 255, random);
  std::vector<ShamirShare> last;
  for (int x = 255 - 171 + 1; x <= 255; ++x)
    last.push_back({static_cast<uint8_t>(x), shares[x - 1]});
  EXPECT_EQ(*CombineShares(last), secret);
  last.pop_back();
  EXPECT_FALSE(*CombineShares(last) == secret);
}

TEST(Shamir, OneShareOfTwoIsIndependentOfTheSecret) {
  // Whatever the secret, each value of a share belongs to exactly one coefficient. Byte i of the
  // draws differs, so one sharing tries 32 coefficients.
  for (int secret = 0; secret < 256; ++secret) {
    std::array<std::array<int, 256>, 3> seen{};  // by holder and value
    for (int base = 0; base < 256; base += 32) {
      Scripted random;
      random.draws.resize(1);
      for (int i = 0; i < 32; ++i) random.draws[0][i] = static_cast<uint8_t>(base + i);
      const auto shares = *SplitSecret(Filled(secret), 2, 3, random);
      for (int holder = 0; holder < 3; ++holder) {
        for (uint8_t value : shares[holder].span()) ++seen[holder][value];
      }
    }
    for (const auto& values : seen) {
      for (int count : values) ASSERT_EQ(count, 1) << "secret " << secret;
    }
  }
}

TEST(Shamir, TwoSharesOfThreeAreIndependentOfTheSecret) {
  // All 65536 pairs of coefficients: each pair of shares' values occurs exactly once, for every
  // secret tried and every pair of holders.
  for (int secret = 0; secret < 256; ++secret) {
    std::array<std::vector<uint8_t>, 3> seen;
    for (auto& pairs : seen) pairs.assign(65536, 0);
    for (int first = 0; first < 256; ++first) {
      for (int base = 0; base < 256; base += 32) {
        Scripted random;
        random.draws.resize(2);
        for (int i = 0; i < 32; ++i) {
          random.draws[0][i] = static_cast<uint8_t>(first);
          random.draws[1][i] = static_cast<uint8_t>(base + i);
        }
        const auto shares = *SplitSecret(Filled(secret), 3, 3, random);
        for (int i = 0; i < 32; ++i) {
          const uint8_t y[] = {shares[0].span()[i], shares[1].span()[i], shares[2].span()[i]};
          ++seen[0][y[0] * 256 + y[1]];
          ++seen[1][y[0] * 256 + y[2]];
          ++seen[2][y[1] * 256 + y[2]];
        }
      }
    }
    for (const auto& pairs : seen) {
      for (int count : pairs) ASSERT_EQ(count, 1) << "secret " << secret;
    }
  }
}

TEST(Shamir, TooFewSharesFitEverySecret) {
  // For t - 1 shares and any wanted secret there is a last share that gives it: so the t - 1 rule
  // none out.
  TestRandom random(3);
  const auto shares = *SplitSecret(random.Draw32(), 3, 5, random);
  std::set<uint8_t> secrets;
  for (int value = 0; value < 256; ++value) {
    const std::vector<ShamirShare> tried = {{1, shares[0]}, {4, shares[3]}, {5, Filled(value)}};
    secrets.insert(CombineShares(tried)->span()[0]);
  }
  EXPECT_EQ(secrets.size(), 256u);
}

TEST(Shamir, FreshCoefficientsEachTime) {
  TestRandom random(4);
  const Secret32 secret = random.Draw32();
  const auto one = *SplitSecret(secret, 2, 3, random);
  const auto other = *SplitSecret(secret, 2, 3, random);
  EXPECT_FALSE(one[0] == other[0]);
}

TEST(Shamir, RefusesImpossibleSharings) {
  TestRandom random(5);
  for (const auto& [t, n] : {std::pair{0u, 3u}, std::pair{4u, 3u}, std::pair{2u, 256u},
                             std::pair{1u, 0u}, std::pair{0u, 0u}}) {
    EXPECT_TRUE(absl::IsInvalidArgument(SplitSecret(Secret32(), t, n, random).status()))
        << t << " of " << n;
  }
  const Secret32 y = random.Draw32();
  EXPECT_TRUE(absl::IsInvalidArgument(CombineShares({}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(CombineShares(std::vector<ShamirShare>{{0, y}}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(
      CombineShares(std::vector<ShamirShare>{{2, y}, {3, y}, {2, y}}).status()));
}

}  // namespace
}  // namespace atl::secagg
