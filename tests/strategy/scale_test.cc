// The scale's rule, and that a round's widths hold the largest sums there can be.
#include "federation/strategy/scale.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

#include "federation/strategy/strategy.h"
#include "tests/strategy/pack_values.h"

namespace atl::strategy {
namespace {

using kernels::Segment;

// Sums of n values of v bits, all at +B, all at -B, one short of them, packed and read back.
bool ExtremesSurvive(uint32_t value_bits, uint32_t sum_bits, uint32_t sites) {
  Segment segment{.length = 4, .value_bits = value_bits, .sum_bits = sum_bits};
  const int64_t most = segment.bound() * sites;
  const std::vector<int64_t> sums = {most, -most, most - 1, -most + 1};
  return DecodeIntegers(Pack(segment, sums), segment).value() == sums;
}

TEST(Widths, TheExtremeSumOfAnyNumberOfSitesIsExact) {
  std::set<uint32_t> counts;
  for (uint32_t n = 2; n <= 255; ++n) counts.insert(n);
  for (uint32_t n = 256; n <= 65536; n *= 2) {  // groups
    for (uint32_t near : {n - 1, n, n + 1, n + n / 3}) counts.insert(std::min(near, 65536u));
  }
  for (uint32_t bits = 4; bits <= 32; ++bits) {
    for (uint32_t n : counts) {
      const uint32_t sum_bits = kernels::SumBits(bits, n);
      ASSERT_TRUE(ExtremesSurvive(bits, sum_bits, n)) << bits << " bits, " << n << " sites";
      // No bit of it is spare, but for the few sites over a power of two that B leaves room for.
      if ((n & (n - 1)) == 0) {
        ASSERT_FALSE(ExtremesSurvive(bits, sum_bits - 1, n)) << bits << " bits, " << n << " sites";
      }
    }
  }
}

TEST(SumOfSquares, IsExactHoweverItIsCut) {
  for (uint32_t bits : {2, 7, 8, 13, 16, 17, 26, 27, 32, 33, 40, 48}) {
    const Segment segment{.length = 10'001, .value_bits = 2, .sum_bits = bits};
    const int64_t top = (int64_t{1} << (bits - 1)) - 1;
    std::vector<int64_t> values(segment.length);
    double expected = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = i == 0 ? -top - 1 : i % 3 == 0 ? top : -static_cast<int64_t>(i % 2);
      // Exact in a double up to here: a few bits times a few powers of two.
      expected += std::ldexp(static_cast<double>(values[i]), 0) * static_cast<double>(values[i]);
    }
    SumOfSquares whole;
    ASSERT_EQ(whole.Add(Pack(segment, values), values.size(), segment), absl::OkStatus());
    EXPECT_NEAR(whole.value(), expected, 1e-9 * expected) << bits;
    SumOfSquares cut;
    for (size_t first : {4104, 0, 8, 4096}) {  // in any order
      const size_t last = first == 0 ? 8 : first == 8 ? 4096 : first == 4096 ? 4104 : values.size();
      SumOfSquares part;
      ASSERT_EQ(part.Add(Pack(segment, {values.begin() + first, values.begin() + last}),
                         last - first, segment),
                absl::OkStatus());
      cut.Add(part);
    }
    EXPECT_EQ(cut.value(), whole.value()) << bits;
  }
}

TEST(SumOfSquares, HoldsMoreThan64Bits) {
  const Segment segment{.length = 64, .value_bits = 2, .sum_bits = 48};
  SumOfSquares squares;
  const std::vector<int64_t> values(64, -(int64_t{1} << 47));
  ASSERT_EQ(squares.Add(Pack(segment, values), 64, segment), absl::OkStatus());
  EXPECT_EQ(squares.value(), std::ldexp(1.0, 100));
}

TEST(SumOfSquares, RefusesWhatDoesNotFit) {
  SumOfSquares squares;
  EXPECT_FALSE(squares.Add(std::vector<uint8_t>(3), 2, {.length = 9, .sum_bits = 16}).ok());
  EXPECT_FALSE(squares.Add(std::vector<uint8_t>(14), 2, {.length = 9, .sum_bits = 56}).ok());
  EXPECT_EQ(squares.value(), 0);
}

TEST(Scale, FollowsTheLastAggregateWithinTheClip) {
  Segment segment{.length = 4, .value_bits = 8, .sum_bits = 10};
  segment.scale = ScaleOf(segment, 20);
  EXPECT_EQ(segment.scale, 127.0 / 20);
  SumOfSquares squares;
  ASSERT_EQ(squares.Add(Pack(segment, {3, -3, 3, 3}), 4, segment), absl::OkStatus());
  // Root mean square 3, of three sites' mean 1 / scale.
  const double next = NextRange(squares, segment, 3);
  EXPECT_EQ(next, kRangeFactor * 3 / (segment.scale * 3));
  EXPECT_EQ(RangeOf(ScaleRule::kLastAggregate, 20, next), next);
  EXPECT_EQ(RangeOf(ScaleRule::kClip, 20, next), 20);
  EXPECT_EQ(RangeOf(ScaleRule::kLastAggregate, 5, next), 5);           // never over the clip
  EXPECT_EQ(RangeOf(ScaleRule::kLastAggregate, 20, 0), 20);            // the first round
  EXPECT_EQ(RangeOf(ScaleRule::kLastAggregate, 20, 1e-9), 20 * 1e-6);  // nor next to nothing
  EXPECT_EQ(RangeOf(ScaleRule::kLastAggregate, 20, std::nan("")), 20);
  EXPECT_EQ(NextRange(SumOfSquares(), segment, 3), 0);
}

}  // namespace
}  // namespace atl::strategy
