// What secure aggregation needs of masks: lanes without bias, sums without masks, no length too
// large.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/cpu/mask_kernels.h"
#include "kernels/masks.h"
#include "kernels/pack.h"
#include "kernels/vector_layout.h"

namespace atl::kernels {
namespace {

using Bytes = std::vector<uint8_t>;
constexpr MaskCipher kCiphers[] = {MaskCipher::kAes256Ctr, MaskCipher::kChaCha20};

MaskKey Key(uint64_t number, bool subtract = false) {
  MaskKey key{.subtract = subtract};
  for (size_t i = 0; i < key.key.size(); ++i) {
    key.key[i] = static_cast<uint8_t>(number * 37 + i * 11 + 1);
  }
  return key;
}

uint64_t Field(const Bytes& lanes, uint32_t lane_bytes, uint64_t index, uint32_t bits) {
  uint64_t lane = 0;
  std::memcpy(&lane, lanes.data() + index * lane_bytes, lane_bytes);
  return bits == 64 ? lane : lane & ((uint64_t{1} << bits) - 1);
}

// Pearson's statistic of counts that should be equal, against both tails of the chi-square
// distribution with k = cells - 1 degrees of freedom: P(X >= k + 2 sqrt(k x) + 2 x) <= e^-x and P(X
// <= k - 2 sqrt(k x)) <= e^-x (Laurent and Massart, Annals of Statistics 28(5), 2000, lemma 1).
// With x = 28, and under 150 tests in this file, a right stream under keys drawn at random would
// fail with a chance of about 300 e^-28 < 1e-9. The keys are fixed: the test has no chance in
// it.
void ExpectUniform(const std::vector<uint64_t>& counts, const std::string& what) {
  constexpr double kX = 28;
  double total = 0, statistic = 0;
  for (const uint64_t count : counts) total += static_cast<double>(count);
  const double expected = total / static_cast<double>(counts.size());
  ASSERT_GE(expected, 60) << "too few samples for the approximation";
  for (const uint64_t count : counts) {
    const double difference = static_cast<double>(count) - expected;
    statistic += difference * difference / expected;
  }
  const double k = static_cast<double>(counts.size() - 1);
  EXPECT_LT(statistic, k + 2 * std::sqrt(k * kX) + 2 * kX) << what;
  EXPECT_GT(statistic, k - 2 * std::sqrt(k * kX)) << what << ": too even";
  EXPECT_GT(counts.back(), 0u) << what << ": the top value never comes";
}

constexpr uint64_t kSampleBytes = uint64_t{1} << 22;

// Every byte of a lane by itself, the lane's low bits at widths of sums, and lanes under many keys,
// some of them subtracted, on top of values that are all alike.
TEST(MaskStatistics, LanesAreUniformTheTopValueIncluded) {
  for (const MaskCipher cipher : kCiphers) {
    for (const uint32_t lane_bytes : {1, 2, 4, 8}) {
      for (const uint64_t keys : {1, 5}) {
        Bytes lanes(kSampleBytes, 0x3f);
        std::vector<MaskKey> streams;
        for (uint64_t k = 0; k < keys; ++k) streams.push_back(Key(k, k % 2 == 1));
        AddMasks(lanes, lane_bytes, 1'000'003, streams, cipher);
        const std::string what = std::string(MaskKernelName(cipher)) + ", lanes of " +
                                 std::to_string(lane_bytes) + ", " + std::to_string(keys) + " keys";
        for (uint32_t byte = 0; byte < lane_bytes; ++byte) {
          std::vector<uint64_t> counts(256);
          for (uint64_t i = byte; i < lanes.size(); i += lane_bytes) ++counts[lanes[i]];
          ExpectUniform(counts, what + ", byte " + std::to_string(byte));
        }
        for (const uint32_t bits : {1u, 2u, 7u, 10u, 12u}) {
          if (bits > 8 * lane_bytes) continue;
          std::vector<uint64_t> counts(uint64_t{1} << bits);
          for (uint64_t i = 0; i < lanes.size() / lane_bytes; ++i) {
            ++counts[Field(lanes, lane_bytes, i, bits)];
          }
          ExpectUniform(counts, what + ", low " + std::to_string(bits) + " bits");
        }
      }
    }
  }
}

// All 2^16 values of 16-bit lanes.
TEST(MaskStatistics, SixteenBitLanesTakeEveryValue) {
  for (const MaskCipher cipher : kCiphers) {
    Bytes lanes(8 * kSampleBytes);
    const MaskKey key = Key(9);
    AddMasks(lanes, 2, 0, {&key, 1}, cipher);
    std::vector<uint64_t> counts(1 << 16);
    for (uint64_t i = 0; i < lanes.size() / 2; ++i) ++counts[Field(lanes, 2, i, 16)];
    ExpectUniform(counts, MaskKernelName(cipher));
  }
}

// Neighbouring lanes, and the same lane under two keys that differ in one bit, tell nothing of each
// other: pairs of 4-bit values.
TEST(MaskStatistics, PairsOfLanesAreUniform) {
  for (const MaskCipher cipher : kCiphers) {
    Bytes lanes(kSampleBytes), others(kSampleBytes);
    const MaskKey key = Key(3);
    MaskKey other = key;
    other.key[31] ^= 0x80;
    AddMasks(lanes, 1, 0, {&key, 1}, cipher);
    AddMasks(others, 1, 0, {&other, 1}, cipher);
    std::vector<uint64_t> neighbours(256), keys(256);
    for (uint64_t i = 0; i + 1 < lanes.size(); i += 2) {
      ++neighbours[(lanes[i] & 15) * 16u + (lanes[i + 1] & 15)];
      ++keys[(lanes[i] & 15) * 16u + (others[i] & 15)];
    }
    ExpectUniform(neighbours, std::string(MaskKernelName(cipher)) + ", neighbours");
    ExpectUniform(keys, std::string(MaskKernelName(cipher)) + ", keys one bit apart");
  }
}

// Three sites, each pair with a stream that one adds and the other subtracts; each site with
// another kernel and other chunks, as another machine would.
TEST(MaskSums, PairsCancelForEveryWidthKernelAndChunking) {
  constexpr uint64_t kElements = 3001, kFirst = 77;
  for (const MaskCipher cipher : kCiphers) {
    std::vector<const cpu::MaskKernel*> kernels;
    for (const cpu::MaskKernel& kernel : cpu::MaskKernels()) {
      if (kernel.cipher == cipher && kernel.supported()) kernels.push_back(&kernel);
    }
    for (uint32_t bits = 2; bits <= 64; ++bits) {
      const uint32_t lane_bytes =
          Segment{.length = 1, .value_bits = 2, .sum_bits = bits}.lane_bytes();
      Bytes sum(kElements * lane_bytes), plain(kElements * lane_bytes);
      for (uint64_t site = 0; site < 3; ++site) {
        Bytes lanes(kElements * lane_bytes);
        for (uint64_t i = 0; i < lanes.size(); ++i) {
          lanes[i] = static_cast<uint8_t>(i * 131 + site * 17 + bits);
        }
        Bytes packed((kElements * bits + 7) / 8);
        PackLanes(lanes, lane_bytes, bits, kElements, packed);
        AddPacked(packed, lane_bytes, bits, kElements, plain);
        for (uint64_t other = 0; other < 3; ++other) {
          if (other == site) continue;
          const MaskKey key = Key(std::min(site, other) * 3 + std::max(site, other), other < site);
          for (uint64_t done = 0; done < kElements;) {
            const uint64_t count = std::min(kElements - done, 500 + 333 * site + done % 7);
            kernels[(site + bits) % kernels.size()]->add(
                key, {lanes.data() + done * lane_bytes, count, kFirst + done, lane_bytes});
            done += count;
          }
        }
        PackLanes(lanes, lane_bytes, bits, kElements, packed);
        AddPacked(packed, lane_bytes, bits, kElements, sum);
      }
      for (uint64_t i = 0; i < kElements; ++i) {
        ASSERT_EQ(Field(sum, lane_bytes, i, bits), Field(plain, lane_bytes, i, bits))
            << bits << " bits, coordinate " << i;
      }
    }
  }
}

// 2^28 + 4099 lanes of 16 bits: more than 2^32 bits, of which the pages that matter are looked at.
TEST(MaskSums, VectorsOfMoreThan32BitsOfBits) {
  constexpr uint64_t kElements = (uint64_t{1} << 28) + 4099;
  const std::unique_ptr<uint8_t, decltype(&std::free)> memory(
      static_cast<uint8_t*>(std::calloc(kElements, 2)), &std::free);
  ASSERT_NE(memory, nullptr);
  const MaskKey key = Key(1);
  AddMasks({memory.get(), kElements * 2}, 2, 0, {&key, 1});
  for (const uint64_t at : {uint64_t{0}, (uint64_t{1} << 27) - 1000, kElements - 6000}) {
    Bytes expected(2 * 6000);
    cpu::AddAesScalar(key, {expected.data(), 6000, at, 2});
    EXPECT_EQ(std::memcmp(memory.get() + 2 * at, expected.data(), expected.size()), 0) << at;
  }
}

}  // namespace
}  // namespace atl::kernels
