#include "kernels/quantize.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cpu/quantize_kernels.h"
#include "kernels/masks.h"

namespace atl::kernels {
namespace {

using Bytes = std::vector<uint8_t>;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr uint32_t kLaneBytes[] = {1, 2, 4, 8};

std::vector<float> Values(size_t count, double spread) {
  std::vector<float> out(count);
  uint64_t state = 12345;
  for (float& value : out) {
    state = state * 6364136223846793005 + 1442695040888963407;
    value = static_cast<float>((static_cast<double>(state >> 11) * 0x1p-53 - 0.5) * 2 * spread);
  }
  return out;
}

QuantizeOptions Options(uint32_t lane_bytes, double factor, int64_t bound) {
  QuantizeOptions options{.factor = factor, .bound = bound, .lane_bytes = lane_bytes};
  for (size_t i = 0; i < options.rounding_key.size(); ++i) {
    options.rounding_key[i] = static_cast<uint8_t>(i * 3 + 1);
  }
  return options;
}

// As the header defines it, one value at a time.
uint64_t PlainQuantize(const std::vector<float>& values, const std::vector<float>& origin,
                       const QuantizeOptions& options, Bytes& lanes) {
  lanes.assign(values.size() * options.lane_bytes, 0);
  uint64_t saturated = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    uint32_t bits = 0;
    const MaskKey key{.key = options.rounding_key};
    AddMasks({reinterpret_cast<uint8_t*>(&bits), 4}, 4, options.first_element + i, {&key, 1});
    const double u = static_cast<double>(bits) / 4294967296.0;
    const double q = std::floor(static_cast<double>(values[i] - origin[i]) * options.factor + u);
    // Comparisons in long double, whose 64 bits hold every int64_t.
    const long double bound = static_cast<long double>(options.bound);
    int64_t integer = 0;
    if (std::isnan(q)) {
      ++saturated;
    } else if (q > bound || q < -bound) {
      ++saturated;
      integer = q > 0 ? options.bound : -options.bound;
    } else {
      integer = static_cast<int64_t>(q);
    }
    for (uint32_t k = 0; k < options.lane_bytes; ++k) {
      lanes[i * options.lane_bytes + k] = static_cast<uint8_t>(integer >> (8 * k));
    }
  }
  return saturated;
}

// The whole function, and each kernel by itself, on memory that ends where the lanes end.
void ExpectAsDefined(const std::vector<float>& values, const std::vector<float>& origin,
                     const QuantizeOptions& options) {
  Bytes expected;
  const uint64_t saturated = PlainQuantize(values, origin, options, expected);
  const auto describe = [&] {
    return std::to_string(values.size()) + " values, lanes of " +
           std::to_string(options.lane_bytes) + ", bound " + std::to_string(options.bound) +
           ", factor " + std::to_string(options.factor);
  };
  const std::unique_ptr<uint8_t[]> lanes(new uint8_t[expected.size()]);
  const auto result = [&] { return Bytes(lanes.get(), lanes.get() + expected.size()); };
  EXPECT_EQ(QuantizeStochastic(values, origin, options, {lanes.get(), expected.size()}), saturated);
  ASSERT_EQ(result(), expected) << describe();

  std::vector<uint32_t> random(values.size());
  const MaskKey key{.key = options.rounding_key};
  AddMasks({reinterpret_cast<uint8_t*>(random.data()), 4 * random.size()}, 4, options.first_element,
           {&key, 1});
  for (const cpu::QuantizeKernel& kernel : cpu::QuantizeKernels()) {
    if (!kernel.supported()) continue;
    std::fill_n(lanes.get(), expected.size(), uint8_t{0x77});
    EXPECT_EQ(kernel.quantize({.values = values.data(),
                               .origin = origin.data(),
                               .random = random.data(),
                               .count = values.size(),
                               .factor = options.factor,
                               .bound = options.bound,
                               .lane_bytes = options.lane_bytes,
                               .lanes = lanes.get()}),
              saturated);
    ASSERT_EQ(result(), expected) << kernel.name << ": " << describe();
  }
}

void ExpectAsDefined(const std::vector<float>& values, const QuantizeOptions& options) {
  ExpectAsDefined(values, std::vector<float>(values.size()), options);
}

uint64_t QuantizeFromZero(std::span<const float> values, const QuantizeOptions& options,
                          std::span<uint8_t> lanes) {
  return QuantizeStochastic(values, std::vector<float>(values.size()), options, lanes);
}

TEST(Quantize, IsAsDefinedForAllCountsAndLanes) {
  for (const uint32_t lane_bytes : kLaneBytes) {
    for (size_t count = 0; count <= 70; ++count) {
      QuantizeOptions options = Options(lane_bytes, 50.0, 100);
      options.first_element = 1000 + count;
      std::vector<float> values = Values(2 * count, 2.5);  // one in five saturates
      ExpectAsDefined({values.begin(), values.begin() + count}, options);
      ExpectAsDefined({values.begin(), values.begin() + count},
                      {values.begin() + count, values.end()}, options);
    }
  }
  ExpectAsDefined(Values(9001, 1.0), Options(4, 32767.0, 32767));  // more than a batch
}

TEST(Quantize, IsAsDefinedForExtremeValues) {
  std::vector<float> values = {0.0f,
                               -0.0f,
                               0.5f,
                               -0.5f,
                               1.0f,
                               -1.0f,
                               kInfinity,
                               -kInfinity,
                               kNaN,
                               -kNaN,
                               std::numeric_limits<float>::denorm_min(),
                               -std::numeric_limits<float>::denorm_min(),
                               std::numeric_limits<float>::max(),
                               std::numeric_limits<float>::lowest(),
                               0.99999994f,
                               -0.99999994f,
                               127.0f,
                               -127.0f,
                               128.0f,
                               -128.0f};
  for (int i = 0; i < 64; ++i) {  // around powers of two
    for (const float sign : {1.0f, -1.0f}) {
      values.push_back(sign * std::ldexp(1.0f, i));
      values.push_back(sign * std::nextafter(std::ldexp(1.0f, i), 0.0f));
      values.push_back(sign * std::nextafter(std::ldexp(1.0f, i), kInfinity));
    }
  }
  for (const double factor : {1.0, 0.0, 1e-30, 1e300, 3.0}) {
    for (const int bits : {2, 8, 16, 32, 33, 34, 41, 53, 54, 55, 56, 62, 63}) {
      const int64_t bound = (int64_t{1} << (bits - 1)) - 1;
      const uint32_t lane_bytes = bits <= 8 ? 1 : bits <= 16 ? 2 : bits <= 32 ? 4 : 8;
      ExpectAsDefined(values, Options(lane_bytes, factor, bound));
      ExpectAsDefined(values, Options(8, factor, bound));
    }
  }
}

TEST(Quantize, CountsAndSaturates) {
  const std::vector<float> values = {3.0f,       100.0f, -100.0f, kInfinity,
                                     -kInfinity, kNaN,   -7.0f,   7.0f};
  Bytes lanes(values.size() * 2);
  EXPECT_EQ(QuantizeFromZero(values, Options(2, 1.0, 7), lanes), 5u);
  std::vector<int64_t> out;
  for (size_t i = 0; i < values.size(); ++i) out.push_back(SignedLane(lanes, 2, 16, i));
  EXPECT_EQ(out, (std::vector<int64_t>{3, 7, -7, 7, -7, 0, -7, 7}));
}

TEST(Quantize, AnySplitRoundsTheSame) {
  const std::vector<float> values = Values(10'000, 1.0);
  QuantizeOptions options = Options(4, 1000.0, 1 << 20);
  options.first_element = (uint64_t{1} << 33) + 3;
  Bytes whole(values.size() * 4), pieces(whole.size());
  QuantizeFromZero(values, options, whole);
  size_t done = 0;
  for (size_t size = 1; done < values.size(); size = size * 2 + 1) {
    const size_t count = std::min(size, values.size() - done);
    QuantizeOptions part = options;
    part.first_element += done;
    QuantizeFromZero(std::span(values).subspan(done, count), part,
                     std::span(pieces).subspan(done * 4, count * 4));
    done += count;
  }
  EXPECT_TRUE(whole == pieces);
}

TEST(Quantize, RoundsToANeighbourAndWithoutBias) {
  constexpr size_t kCount = 200'000;
  for (const double x : {0.25, -0.25, 0.999, -3.1, 7.5}) {
    const std::vector<float> values(kCount, static_cast<float>(x));
    Bytes lanes(kCount * 4);
    EXPECT_EQ(QuantizeFromZero(values, Options(4, 1.0, 1000), lanes), 0u);
    double sum = 0;
    for (size_t i = 0; i < kCount; ++i) {
      const double q = static_cast<double>(SignedLane(lanes, 4, 32, i));
      ASSERT_TRUE(q == std::floor(x) || q == std::floor(x) + 1) << q;
      sum += q;
    }
    const double fraction = x - std::floor(x);
    const double deviation = std::sqrt(fraction * (1 - fraction) / kCount);
    EXPECT_NEAR(sum / kCount, x, 5 * deviation + 1e-7) << x;  // the key is fixed: no chance in it
  }
}

TEST(Quantize, IntegersStayAsTheyAre) {
  std::vector<float> values;
  for (int i = -500; i <= 500; ++i) values.push_back(static_cast<float>(i));
  Bytes lanes(values.size() * 2);
  EXPECT_EQ(QuantizeFromZero(values, Options(2, 1.0, 500), lanes), 0u);
  for (size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(SignedLane(lanes, 2, 16, i), static_cast<int64_t>(i) - 500);
  }
}

TEST(Dequantize, IsWithinOneStep) {
  const std::vector<float> values = Values(5000, 1.0);
  const double scale = 1000.0;
  for (const uint32_t lane_bytes : {2, 4, 8}) {
    Bytes lanes(values.size() * lane_bytes);
    ASSERT_EQ(QuantizeFromZero(values, Options(lane_bytes, scale, 2000), lanes), 0u);
    std::vector<float> back(values.size());
    Dequantize(lanes, lane_bytes, 12, 1 / scale, back);
    for (size_t i = 0; i < values.size(); ++i) {
      ASSERT_LE(std::abs(back[i] - values[i]), 1 / scale + 1e-6) << i;
    }
  }
}

TEST(Dequantize, ExtendsTheSignFromEveryWidth) {
  for (const uint32_t lane_bytes : kLaneBytes) {
    for (uint32_t bits = 1; bits <= 8 * lane_bytes; ++bits) {
      // Counts that are no multiple of a vector.
      const int64_t least =
          bits == 64 ? std::numeric_limits<int64_t>::min() : -(int64_t{1} << (bits - 1));
      const int64_t most = -(least + 1);
      std::vector<int64_t> integers;
      for (int i = 0; i < 37; ++i)
        integers.push_back(i % 3 == 0 ? least : i % 3 == 1 ? most : most / (i + 1));
      Bytes lanes(integers.size() * lane_bytes, 0xa5);
      for (size_t i = 0; i < integers.size(); ++i) {
        StoreLane(lanes, lane_bytes, i, integers[i]);
        EXPECT_EQ(SignedLane(lanes, lane_bytes, bits, i), integers[i]);
        if (bits < 64) {  // bits above the width do not matter
          StoreLane(lanes, lane_bytes, i, integers[i] ^ (int64_t{i % 2 == 0} << bits));
        }
        EXPECT_EQ(SignedLane(lanes, lane_bytes, bits, i), integers[i]);
      }
      std::vector<float> out(integers.size());
      Dequantize(lanes, lane_bytes, bits, 0.37, out);
      for (size_t i = 0; i < integers.size(); ++i) {
        ASSERT_EQ(out[i], static_cast<float>(static_cast<double>(integers[i]) * 0.37))
            << bits << " bits in lanes of " << lane_bytes;
      }
    }
  }
}

TEST(SignedLane, StoreWritesItsLaneOnly) {
  for (const uint32_t lane_bytes : kLaneBytes) {
    Bytes lanes(5 * lane_bytes, 0x11);
    StoreLane(lanes, lane_bytes, 2, -2);
    for (size_t i = 0; i < lanes.size(); ++i) {
      const bool inside = i / lane_bytes == 2;
      EXPECT_EQ(lanes[i], !inside ? 0x11 : i % lane_bytes == 0 ? 0xfe : 0xff);
    }
  }
}

TEST(SquaredDistance, AddsInTheFixedOrderInEveryKernel) {
  for (size_t count = 0; count <= 100; ++count) {
    const std::vector<float> both = Values(2 * count, 3.0);
    const std::span<const float> a = std::span(both).first(count), b = std::span(both).last(count);
    double lane[16] = {};
    for (size_t i = 0; i < count; ++i) {
      const float difference = a[i] - b[i];
      lane[i % 16] += static_cast<double>(difference) * difference;
    }
    for (size_t half : {8, 4, 2, 1}) {
      for (size_t i = 0; i < half; ++i) lane[i] += lane[i + half];
    }
    EXPECT_EQ(SquaredDistance(a, b), lane[0]) << count;
    for (const cpu::QuantizeKernel& kernel : cpu::QuantizeKernels()) {
      if (!kernel.supported()) continue;
      EXPECT_EQ(kernel.squared_distance(a.data(), b.data(), count), lane[0])
          << kernel.name << ": " << count;
    }
  }
}

TEST(SquaredDistance, OfEdgeCases) {
  constexpr float kMax = std::numeric_limits<float>::max();
  const auto of = [](const cpu::QuantizeKernel& kernel, const std::vector<float>& values) {
    const std::vector<float> zeros(values.size());
    return kernel.squared_distance(values.data(), zeros.data(), values.size());
  };
  for (const cpu::QuantizeKernel& kernel : cpu::QuantizeKernels()) {
    if (!kernel.supported()) continue;
    SCOPED_TRACE(kernel.name);
    EXPECT_EQ(of(kernel, {}), 0.0);
    EXPECT_EQ(of(kernel, {3.0f, 4.0f}), 25.0);
    std::vector<float> values(40, 1.0f);
    for (const size_t at : {3, 20, 39}) {
      values[at] = kInfinity;
      EXPECT_EQ(of(kernel, values), static_cast<double>(kInfinity));
      values[at] = kNaN;
      EXPECT_TRUE(std::isnan(of(kernel, values)));
      values[at] = 1.0f;
    }
    // The squares of float's largest numbers do not overflow, nor do the smallest vanish.
    EXPECT_TRUE(std::isfinite(of(kernel, std::vector<float>(1000, kMax))));
    EXPECT_GT(of(kernel, {std::numeric_limits<float>::denorm_min()}), 0.0);
  }
}

TEST(ClipFactor, BringsTheNormDownAndNeverUp) {
  EXPECT_EQ(ClipFactor(25.0, 10.0), 1.0);
  EXPECT_EQ(ClipFactor(25.0, 5.0), 1.0);
  EXPECT_EQ(ClipFactor(25.0, 2.5), 0.5);
  EXPECT_EQ(ClipFactor(0.0, 1.0), 1.0);
  EXPECT_EQ(ClipFactor(25.0, 0.0), 0.0);
}

TEST(ClipFactor, OfAVectorThatIsNotFiniteIsZero) {
  EXPECT_EQ(ClipFactor(static_cast<double>(kInfinity), 1.0), 0.0);
  EXPECT_EQ(ClipFactor(static_cast<double>(kNaN), 1.0), 0.0);
}

}  // namespace
}  // namespace atl::kernels
