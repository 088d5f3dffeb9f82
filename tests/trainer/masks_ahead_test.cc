// Masks that are expanded in the background are the masks, and leave nothing behind.
#include "trainer/serve/masks_ahead.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <fstream>
#include <sstream>
#include <thread>

#include "comms/base/random.h"

namespace atl::trainer {
namespace {

constexpr uint64_t kLength = 100'003;

std::vector<sitelink::StreamKey> Keys(uint64_t seed) {
  std::vector<sitelink::StreamKey> keys;
  for (uint32_t i = 0; i < 5; ++i) {
    const uint32_t segment = i < 4 ? sitelink::kUpdateSegment : sitelink::kMetricsSegment;
    Digest key = SeededKey({.seed = seed + i, .label = "key"});
    keys.push_back({segment, i % 2 == 1, Secret32(std::span<const uint8_t, 32>(key))});
    Wipe(key);
  }
  return keys;
}

std::unique_ptr<SegmentKeys> UpdateKeys(uint64_t seed) {
  return std::make_unique<SegmentKeys>(Keys(seed), sitelink::kUpdateSegment);
}

MaskContext Context(uint32_t bits = 18, uint8_t context = 1) {
  MaskContext of;
  of.context.fill(context);
  of.segments = {{sitelink::kMetricCount, sitelink::kMetricValueBits, 50, 1.0},
                 {kLength, bits - 2, bits, 10.0}};
  return of;
}

Bytes Masks(const MaskContext& of, const SegmentKeys& keys, const Range& slice) {
  const uint32_t lane_bytes = of.segments[sitelink::kUpdateSegment].lane_bytes();
  std::vector<uint64_t> store(slice.size());
  const std::span<uint8_t> lanes(reinterpret_cast<uint8_t*>(store.data()),
                                 slice.size() * lane_bytes);
  kernels::AddMasks(lanes, lane_bytes, slice.first, keys.keys(), of.cipher);
  return Bytes(lanes.begin(), lanes.end());
}

Bytes Copy(std::span<const uint8_t> lanes) { return Bytes(lanes.begin(), lanes.end()); }

// All of them, however long the thread, which has the lowest priority there is, has to wait.
std::shared_ptr<const ExpandedMasks> Whole(MasksAhead& ahead, const Range& slice, uint64_t bytes) {
  for (int ms = 1; ms < 60'000; ms *= 2) {
    ahead.Start(Context(), UpdateKeys(1), slice, 1 << 30);
    std::this_thread::sleep_for(std::chrono::milliseconds(ms));
    auto masks = ahead.Take(Context(), *UpdateKeys(1));
    if (masks != nullptr && masks->done().size() == bytes) return masks;
  }
  return nullptr;
}

TEST(MasksAheadTest, AreTheMasksOfTheSlice) {
  for (const auto cipher : {kernels::MaskCipher::kAes256Ctr, kernels::MaskCipher::kChaCha20}) {
    for (uint32_t bits : {7u, 12u, 18u, 33u}) {
      for (uint32_t ranks : {1u, 3u}) {
        const Range slice = SliceOf(kLength, ranks - 1, ranks);
        MaskContext of = Context(bits);
        of.cipher = cipher;
        const Bytes expected = Masks(of, *UpdateKeys(1), slice);
        ExpandedMasks whole(of, UpdateKeys(1), slice, 1 << 30);
        EXPECT_TRUE(whole.done().empty());
        whole.Expand();
        EXPECT_EQ(Copy(whole.done()), expected);
        // A limit that ends inside a lane: whole lanes, and no more memory than allowed.
        const uint64_t limit = 65'539;
        ExpandedMasks part(of, UpdateKeys(1), slice, limit);
        part.Expand();
        const uint64_t lane_bytes = of.segments[sitelink::kUpdateSegment].lane_bytes();
        const uint64_t bytes = std::min<uint64_t>(expected.size(), limit / lane_bytes * lane_bytes);
        EXPECT_EQ(Copy(part.done()), Bytes(expected.begin(), expected.begin() + bytes));
      }
    }
  }
}

TEST(MasksAheadTest, WhatIsTakenInTheMiddleIsABeginning) {
  const Range slice{0, 40'000'000};
  const Bytes expected = Masks(Context(), *UpdateKeys(1), {0, 1'000'000});
  std::shared_ptr<const ExpandedMasks> masks;
  // On a busy machine an idle-class thread may have made nothing yet.
  for (int rest_ms = 5; rest_ms < 20'000 && (!masks || masks->done().empty()); rest_ms *= 2) {
    MasksAhead ahead;
    ahead.Start(Context(), UpdateKeys(1), slice, 1 << 30);
    std::this_thread::sleep_for(std::chrono::milliseconds(rest_ms));
    masks = ahead.Take(Context(), *UpdateKeys(1));
    ASSERT_NE(masks, nullptr);
  }
  const std::span<const uint8_t> done = masks->done();
  ASSERT_FALSE(done.empty());
  EXPECT_EQ(done.size() % (1 << 18), 0u);  // whole blocks
  const size_t compared = std::min(done.size(), expected.size());
  EXPECT_EQ(Copy(done.first(compared)), Bytes(expected.begin(), expected.begin() + compared));
}

TEST(MasksAheadTest, AreGivenOnceAndForTheSameContextAndKeysOnly) {
  const Range slice{0, kLength};
  MasksAhead ahead;
  const auto masks = Whole(ahead, slice, kLength * 4);
  ASSERT_NE(masks, nullptr);
  EXPECT_EQ(Copy(masks->done()), Masks(Context(), *UpdateKeys(1), slice));
  EXPECT_GT(masks->cpu_s(), 0);
  EXPECT_EQ(ahead.Take(Context(), *UpdateKeys(1)), nullptr) << "twice";

  const auto take = [&](const MaskContext& of, const SegmentKeys& keys) {
    ahead.Start(Context(), UpdateKeys(1), slice, 1 << 30);
    const bool given = ahead.Take(of, keys) != nullptr;
    if (!given) {
      EXPECT_EQ(ahead.Take(Context(), *UpdateKeys(1)), nullptr) << "thrown away";
    }
    return given;
  };
  EXPECT_TRUE(take(Context(), *UpdateKeys(1)));
  EXPECT_FALSE(take(Context(18, 2), *UpdateKeys(1)));
  EXPECT_FALSE(take(Context(19), *UpdateKeys(1)));
  EXPECT_FALSE(take(Context(), *UpdateKeys(2)));
  MaskContext other = Context();
  other.cipher = kernels::MaskCipher::kChaCha20;
  EXPECT_FALSE(take(other, *UpdateKeys(1)));
  auto keys = Keys(1);
  keys[0].subtract = !keys[0].subtract;
  EXPECT_FALSE(take(Context(), SegmentKeys(keys, sitelink::kUpdateSegment)));
  keys = Keys(1);
  keys.erase(keys.begin());
  EXPECT_FALSE(take(Context(), SegmentKeys(keys, sitelink::kUpdateSegment)));

  ahead.Start(Context(), UpdateKeys(1), slice, 1 << 30);
  ahead.Discard();
  EXPECT_EQ(ahead.Take(Context(), *UpdateKeys(1)), nullptr);
  ahead.Start(Context(), UpdateKeys(1), slice, 0);
  EXPECT_EQ(ahead.Take(Context(), *UpdateKeys(1)), nullptr) << "switched off";
}

// How often a secret stands in this process's memory. It is kept inverted, so as not to be found
// itself.
int InMemory(const Bytes& inverted) {
  std::ifstream maps("/proc/self/maps");
  const int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
  EXPECT_GE(memory, 0);
  int found = 0;
  std::array<uint8_t, 1 << 16> window;
  for (std::string line; std::getline(maps, line);) {
    std::istringstream in(line);
    uint64_t first = 0, last = 0;
    char dash = 0;
    std::string mode;
    in >> std::hex >> first >> dash >> last >> mode;
    // A sanitizer's shadow memory is larger, and holds no bytes of ours.
    if (mode.substr(0, 2) != "rw" || last - first > (uint64_t{1} << 28)) continue;
    while (first < last) {
      const auto got = pread(memory, window.data(), std::min<uint64_t>(window.size(), last - first),
                             static_cast<off_t>(first));
      if (got <= 0) break;
      const auto same = [](uint8_t a, uint8_t b) { return a == static_cast<uint8_t>(~b); };
      const auto end = window.begin() + got;
      for (auto at = window.begin();
           (at = std::search(at, end, inverted.begin(), inverted.end(), same)) != end; ++at) {
        ++found;
      }
      Wipe(window);  // else the next look finds what this one has read
      // Windows overlap, so that nothing lies between two of them.
      first += first + static_cast<uint64_t>(got) < last ? got - inverted.size() : got;
    }
  }
  close(memory);
  return found;
}

Bytes Inverted(std::span<const uint8_t> bytes) {
  Bytes out;
  for (uint8_t byte : bytes) out.push_back(static_cast<uint8_t>(~byte));
  return out;
}

TEST(MasksAheadTest, LeaveNothingInMemory) {
  // Small enough that the memory stays with the process when it is freed.
  const Range slice{0, 16'000};
  Bytes stream, key;
  {
    ExpandedMasks masks(Context(), UpdateKeys(7), slice, 1 << 30);
    masks.Expand();
    stream = Inverted(masks.done().subspan(40'000, 64));
    key = Inverted(UpdateKeys(7)->keys()[1].key);
    EXPECT_GT(InMemory(stream), 0);
    EXPECT_GT(InMemory(key), 0);
  }
  EXPECT_EQ(InMemory(stream), 0);
  EXPECT_EQ(InMemory(key), 0);

  MasksAhead ahead;
  for (int ms : {0, 1, 5, 50}) {
    ahead.Start(Context(), UpdateKeys(7), slice, 1 << 30);
    std::this_thread::sleep_for(std::chrono::milliseconds(ms));
    if (ms != 1) ahead.Discard();
    if (ms == 1) (void)ahead.Take(Context(18, 2), *UpdateKeys(7));
    ahead.Start(Context(18, 3), UpdateKeys(70), slice, 1 << 30);  // the thread before has ended
    EXPECT_EQ(InMemory(stream), 0) << ms;
    EXPECT_EQ(InMemory(key), 0) << ms;
  }
}

}  // namespace
}  // namespace atl::trainer
