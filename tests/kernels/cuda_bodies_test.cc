// What GPUs run, thread by thread on the host, against the CPU's reference: the same bytes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/cpu/mask_kernels.h"
#include "kernels/cpu/pack_kernels.h"
#include "kernels/cpu/quantize_kernels.h"
#include "kernels/cuda/tasks.h"
#include "kernels/masks.h"

namespace atl::kernels::cuda {
namespace {

constexpr uint32_t kLaneBytes[] = {1, 2, 4, 8};
constexpr uint64_t kThreads[] = {1, 3, 256};

// Noise, `offset` bytes into memory that starts at a word's border and ends with it.
class Memory {
 public:
  Memory(size_t size, uint64_t seed, size_t offset = 0) : store_(offset + size), offset_(offset) {
    uint64_t state = seed * 0x9e3779b97f4a7c15 + 1;
    for (uint8_t& byte : store_) {
      state = state * 6364136223846793005 + 1442695040888963407;
      byte = static_cast<uint8_t>(state >> 56);
    }
  }
  uint8_t* data() { return store_.data() + offset_; }
  bool operator==(const Memory& other) const { return store_ == other.store_; }

 private:
  std::vector<uint8_t> store_;
  size_t offset_;
};

std::vector<MaskKey> Keys(size_t count) {
  std::vector<MaskKey> keys(count);
  for (size_t k = 0; k < count; ++k) {
    for (size_t i = 0; i < 32; ++i) keys[k].key[i] = static_cast<uint8_t>(31 * k + 7 * i + 5);
    keys[k].subtract = k % 3 == 1;
  }
  return keys;
}

template <typename Cipher>
void AddScalar(const MaskKey& key, const cpu::MaskRange& range);
template <>
void AddScalar<Aes256Ctr>(const MaskKey& key, const cpu::MaskRange& range) {
  cpu::AddAesScalar(key, range);
}
template <>
void AddScalar<ChaCha20>(const MaskKey& key, const cpu::MaskRange& range) {
  cpu::AddChaCha20Scalar(key, range);
}

struct MaskCase {
  uint32_t lane_bytes = 4;
  uint64_t first_element = 0;
  uint64_t elements = 0;
  size_t keys = 1;
  uint64_t threads = 1;
  size_t offset = 0;  // of the lanes from a word's border: a multiple of lane_bytes
};

template <typename Cipher>
void ExpectTheReferencesLanes(const MaskCase& c) {
  const std::vector<MaskKey> keys = Keys(c.keys);
  Memory lanes(c.elements * c.lane_bytes, 7, c.offset), expected = lanes;
  for (const MaskKey& key : keys) {
    AddScalar<Cipher>(key, {expected.data(), c.elements, c.first_element, c.lane_bytes});
  }
  const HostKeys<Cipher> host(keys);
  const auto task = MakeMaskTask<Cipher>(
      {.data = lanes.data(), .elements = c.elements, .lane_bytes = c.lane_bytes}, c.first_element,
      host.data(), host.size());
  for (uint64_t thread = 0; thread < c.threads; ++thread) AddMasksThread(task, thread, c.threads);
  ASSERT_TRUE(lanes == expected) << "lanes of " << c.lane_bytes << " bytes, first "
                                 << c.first_element << ", " << c.elements << " elements, " << c.keys
                                 << " keys, " << c.threads << " threads, offset " << c.offset;
}

template <typename Cipher>
class Masks : public ::testing::Test {};
using Ciphers = ::testing::Types<Aes256Ctr, ChaCha20>;
TYPED_TEST_SUITE(Masks, Ciphers);

// Heads and tails inside a unit, on and off a word's border, in ranges of up to three units.
TYPED_TEST(Masks, EqualTheReferenceForEveryHeadAndTail) {
  for (const uint32_t lane_bytes : kLaneBytes) {
    const uint64_t unit = 8 * TypeParam::kWords / lane_bytes;
    for (uint64_t skip = 0; skip <= unit; ++skip) {
      for (uint64_t count = 0; count <= 3 * unit + 1; count += count < 5 ? 1 : unit / 2 + 1) {
        MaskCase c{.lane_bytes = lane_bytes, .first_element = 10 * unit + skip, .elements = count};
        c.offset = (skip + count) * lane_bytes % 8;
        c.threads = kThreads[(skip + count) % 3];
        ExpectTheReferencesLanes<TypeParam>(c);
        ASSERT_FALSE(this->HasFatalFailure());
      }
    }
  }
}

TYPED_TEST(Masks, EqualTheReferenceForManyKeysAndAnyNumberOfThreads) {
  for (const uint32_t lane_bytes : kLaneBytes) {
    for (const size_t keys : {size_t{1}, size_t{2}, size_t{9}}) {
      for (const uint64_t threads : {1, 2, 31, 32, 1000}) {
        ExpectTheReferencesLanes<TypeParam>({.lane_bytes = lane_bytes,
                                             .first_element = 12'345,
                                             .elements = 997,
                                             .keys = keys,
                                             .threads = threads});
        ASSERT_FALSE(this->HasFatalFailure());
      }
    }
  }
}

// Block counters that cross 2^32, byte offsets that do, and ones that 64 bits cannot hold.
TYPED_TEST(Masks, EqualTheReferenceAroundLargeCounters) {
  for (const uint32_t lane_bytes : kLaneBytes) {
    const uint64_t block_elements = TypeParam::kBlockBytes / lane_bytes;
    for (const uint64_t first : {(uint64_t{1} << 32) / lane_bytes - 50, (uint64_t{1} << 32) - 50,
                                 (uint64_t{1} << 32) * block_elements - 50,
                                 (uint64_t{1} << 40) * block_elements - 50, ~uint64_t{0} - 300}) {
      ExpectTheReferencesLanes<TypeParam>({.lane_bytes = lane_bytes,
                                           .first_element = first,
                                           .elements = 250,
                                           .keys = 2,
                                           .threads = 3});
      ASSERT_FALSE(this->HasFatalFailure());
    }
  }
}

// The CPU's portable code.
template <typename Kernels>
const auto& Portable(const Kernels& kernels) {
  return kernels.back();
}

TEST(Quantize, EqualsTheReferenceWithTheSameBits) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::vector<float> special = {kInfinity, -kInfinity, std::nanf(""), 0.0f, -0.0f, 1e30f, -1e30f};
  for (const uint32_t lane_bytes : kLaneBytes) {
    for (const int64_t bound : {int64_t{1}, int64_t{63}, int64_t{127}, (int64_t{1} << 62) - 1}) {
      for (const uint64_t count : {0, 1, 7, 8, 9, 100, 1003}) {
        for (const uint64_t first : {uint64_t{0}, uint64_t{5}, (uint64_t{1} << 34) - 9}) {
          std::vector<float> values(count), origin(count);
          for (uint64_t i = 0; i < count; ++i) {
            values[i] = i % 10 == 9 ? special[i / 10 % special.size()]
                                    : std::sin(static_cast<float>(i)) * 3.0f;
            origin[i] = std::cos(static_cast<float>(3 * i));
          }
          QuantizeOptions options{.factor = bound < 1000 ? 30.0 : 1e17,
                                  .bound = bound,
                                  .lane_bytes = lane_bytes,
                                  .rounding_key = Keys(1)[0].key,
                                  .first_element = first};
          std::vector<uint32_t> random(count);
          cpu::AddAesScalar(
              {.key = options.rounding_key},
              {reinterpret_cast<uint8_t*>(random.data()), count, first, sizeof(uint32_t)});
          Memory lanes(count * lane_bytes, 3), expected = lanes;
          const uint64_t expected_saturated = Portable(cpu::QuantizeKernels())
                                                  .quantize({.values = values.data(),
                                                             .origin = origin.data(),
                                                             .random = random.data(),
                                                             .count = count,
                                                             .factor = options.factor,
                                                             .bound = bound,
                                                             .lane_bytes = lane_bytes,
                                                             .lanes = expected.data()});
          const HostKeys<Aes256Ctr> key(Keys(1));
          const QuantizeTask task =
              MakeQuantizeTask({values.data(), origin.data()}, options, key.data(),
                               {.data = lanes.data(), .elements = count, .lane_bytes = lane_bytes});
          const uint64_t threads = kThreads[count % 3];
          uint64_t saturated = 0;
          for (uint64_t t = 0; t < threads; ++t) saturated += QuantizeThread(task, t, threads);
          EXPECT_EQ(saturated, expected_saturated);
          ASSERT_TRUE(lanes == expected) << "lanes of " << lane_bytes << ", bound " << bound << ", "
                                         << count << " values, first " << first;
        }
      }
    }
  }
}

TEST(Pack, EqualsTheReferenceForEveryWidth) {
  for (uint32_t bits = 1; bits <= 64; ++bits) {
    for (const uint32_t lane_bytes : kLaneBytes) {
      if (bits > 8 * lane_bytes) continue;
      for (const uint64_t count : {1, 2, 7, 8, 9, 63, 64, 65, 129, 1001}) {
        const cpu::PackShape shape{.lane_bytes = lane_bytes, .bits = bits, .elements = count};
        const uint64_t threads = kThreads[(bits + count) % 3];
        // Lanes off a word's border where they may be, packed bytes on it and off.
        const size_t offset = count % 2 == 0 ? 0 : lane_bytes, packed_offset = count % 3;
        Memory lanes(count * lane_bytes, bits * 1000 + count, offset), expected_lanes = lanes;
        Memory packed(shape.packed_bytes(), 1, packed_offset), expected = packed;
        const auto& portable = Portable(cpu::PackKernels());
        portable.pack(shape, lanes.data(), expected.data());
        const PackTask task{lanes.data(), packed.data(), count, lane_bytes, bits};
        for (uint64_t t = 0; t < threads; ++t) PackThread(task, t, threads);
        ASSERT_TRUE(packed == expected)
            << bits << " bits, lanes of " << lane_bytes << ", " << count;
        portable.unpack(shape, packed.data(), true, expected_lanes.data());
        for (uint64_t t = 0; t < threads; ++t) AddPackedThread(task, t, threads);
        ASSERT_TRUE(lanes == expected_lanes)
            << bits << " bits, lanes of " << lane_bytes << ", " << count << " added";
      }
    }
  }
}

// Fields beyond bit 2^32 of the packed vector: the threads that have them, on a window of it.
TEST(Pack, IndexesMoreThan32BitsOfBits) {
  constexpr uint32_t kBits = 19;
  constexpr uint64_t kWindow = uint64_t{1} << 30;  // a multiple of 64 elements: whole words
  constexpr uint64_t kCount = 200;
  Memory lanes(kCount * 4, 9);
  Memory packed((kCount * kBits + 7) / 8, 1), expected = packed;
  Portable(cpu::PackKernels())
      .pack({.lane_bytes = 4, .bits = kBits, .elements = kCount}, lanes.data(), expected.data());
  // The window's memory is all there is: no other thread is called.
  const uintptr_t lanes_at = reinterpret_cast<uintptr_t>(lanes.data()) - kWindow * 4;
  const uintptr_t packed_at = reinterpret_cast<uintptr_t>(packed.data()) - kWindow / 8 * kBits;
  const PackTask task{reinterpret_cast<uint8_t*>(lanes_at), reinterpret_cast<uint8_t*>(packed_at),
                      kWindow + kCount, 4, kBits};
  const uint64_t words = task.packed_words();
  for (uint64_t w = kWindow * kBits / 64; w < words; ++w) PackThread(task, w, words);
  EXPECT_TRUE(packed == expected);
  Memory sums = lanes, expected_sums = lanes;
  Portable(cpu::PackKernels())
      .unpack({.lane_bytes = 4, .bits = kBits, .elements = kCount}, packed.data(), true,
              expected_sums.data());
  PackTask back = task;
  back.lanes = reinterpret_cast<uint8_t*>(reinterpret_cast<uintptr_t>(sums.data()) - kWindow * 4);
  for (uint64_t e = kWindow; e < back.elements; ++e) AddPackedThread(back, e, back.elements);
  EXPECT_TRUE(sums == expected_sums);
}

TEST(Grid, CoversEveryItemOnce) {
  for (const uint64_t items :
       {uint64_t{0}, uint64_t{1}, uint64_t{127}, uint64_t{128}, uint64_t{129}, uint64_t{100'000},
        uint64_t{kBlockThreads} * kMaxBlocks, uint64_t{kBlockThreads} * kMaxBlocks + 1,
        uint64_t{1} << 24}) {
    const Grid grid = GridFor(items);
    EXPECT_EQ(grid.blocks == 0, items == 0);
    EXPECT_LE(grid.blocks, kMaxBlocks);
    EXPECT_TRUE(grid.total() >= items || grid.blocks == kMaxBlocks);
    EXPECT_LT(grid.total(), items + kBlockThreads);  // no block without work
    std::vector<uint8_t> visits(items);
    for (uint64_t thread = 0; thread < grid.total(); ++thread) {
      for (uint64_t item = thread; item < items; item += grid.total()) ++visits[item];
    }
    EXPECT_EQ(std::count(visits.begin(), visits.end(), 1), static_cast<int64_t>(items));
  }
  for (const uint64_t items : {uint64_t{1} << 40, ~uint64_t{0}}) {
    EXPECT_EQ(GridFor(items).total(), uint64_t{kBlockThreads} * kMaxBlocks);
  }
}

}  // namespace
}  // namespace atl::kernels::cuda
