// Updates on their way out: the same bytes whatever the number of ranks.
#include "trainer/serve/update.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "comms/base/random.h"
#include "kernels/pack.h"
#include "kernels/quantize.h"

namespace atl::trainer {
namespace {

using ::testing::HasSubstr;

struct Vectors {
  std::vector<float> local, global;
};

Vectors Random(size_t count) {
  SeededRandom random({.seed = 11, .label = "update_test"});
  Vectors v;
  for (size_t i = 0; i < count; ++i) {
    v.local.push_back(static_cast<float>(random.Normal()));
    v.global.push_back(static_cast<float>(random.Normal()));
  }
  return v;
}

std::vector<kernels::MaskKey> Keys() {
  std::vector<kernels::MaskKey> keys(3);
  for (size_t i = 0; i < keys.size(); ++i) keys[i].key = SeededKey({.seed = i, .label = "key"});
  keys[1].subtract = true;
  return keys;
}

UpdateOptions Options(uint64_t length, uint32_t bits) {
  UpdateOptions options;
  options.segment = {length, bits - 2, bits, 100.0};
  options.factor = 0.7;
  options.rounding_key = SeededKey({.seed = 1, .label = "rounding"});
  return options;
}

TEST(UpdateTest, SlicesOfAnyNumberOfRanksJoinToTheSamePackedChunks) {
  const uint64_t length = kernels::kChunkElements + 77'777;
  const Vectors v = Random(length);
  const std::vector<kernels::MaskKey> keys = Keys();
  for (uint32_t bits : {7u, 8u, 12u, 16u, 18u, 33u}) {
    UpdateOptions options = Options(length, bits);
    options.slice = {0, length};
    const UpdateSlice whole = MakeUpdateSlice(v.local, v.global, options, {.keys = keys}, {});
    ASSERT_EQ(whole.packed.size(), options.segment.packed_bytes());
    for (uint32_t ranks : {2u, 3u, 7u}) {
      SCOPED_TRACE(testing::Message() << bits << " bits, " << ranks << " ranks");
      std::vector<UpdateSlice> slices;
      std::vector<Range> ranges;
      uint64_t saturated = 0;
      for (uint32_t rank = 0; rank < ranks; ++rank) {
        options.slice = SliceOf(length, rank, ranks);
        options.threads = 1 + rank % 3;
        ranges.push_back(options.slice);
        slices.push_back(MakeUpdateSlice(v.local, v.global, options, {.keys = keys}, {}));
        saturated += slices.back().saturated;
      }
      options.threads = 1;
      Bytes joined;
      const kernels::VectorLayout layout({options.segment});
      for (uint32_t c = 0; c < layout.chunk_count(); ++c) {
        for (uint32_t rank = 0; rank < ranks; ++rank) {
          ByteView part = PartOfSlice(slices[rank], ranges[rank], bits, layout.chunk(c));
          joined.insert(joined.end(), part.begin(), part.end());
        }
        EXPECT_EQ(joined.size(), layout.chunk(c).byte_offset + layout.chunk(c).bytes);
      }
      EXPECT_TRUE(std::ranges::equal(joined, whole.packed));
      EXPECT_EQ(saturated, whole.saturated);
    }
  }
}

TEST(UpdateTest, MasksExpandedAheadGiveTheSameBytes) {
  const uint64_t length = 3 * kernels::kChunkElements / 4 + 77;
  const Vectors v = Random(length);
  const std::vector<kernels::MaskKey> keys = Keys();
  for (const auto cipher : {kernels::MaskCipher::kAes256Ctr, kernels::MaskCipher::kChaCha20}) {
    for (uint32_t bits : {7u, 8u, 12u, 16u, 18u, 33u}) {
      UpdateOptions options = Options(length, bits);
      options.slice = SliceOf(length, 1, 3);
      const uint32_t lane_bytes = options.segment.lane_bytes();
      const UpdateSlice now =
          MakeUpdateSlice(v.local, v.global, options, {.keys = keys, .cipher = cipher}, {});
      std::vector<uint64_t> store(options.slice.size());  // aligned for every lane width
      const std::span<uint8_t> lanes(reinterpret_cast<uint8_t*>(store.data()),
                                     options.slice.size() * lane_bytes);
      kernels::AddMasks(lanes, lane_bytes, options.slice.first, keys, cipher);
      for (uint64_t ahead : {uint64_t{1}, uint64_t{40'003}, options.slice.size()}) {
        SCOPED_TRACE(testing::Message() << bits << " bits, " << ahead << " coordinates ahead");
        const MaskSource masks{keys, lanes.first(ahead * lane_bytes), cipher};
        for (options.threads = 1; options.threads <= 3; ++options.threads) {
          const UpdateSlice slice = MakeUpdateSlice(v.local, v.global, options, masks, {});
          EXPECT_TRUE(std::ranges::equal(slice.packed, now.packed));
        }
      }
    }
  }
}

TEST(UpdateTest, LanesAreTheWeighedScaledDifference) {
  const uint64_t length = 1000;
  const Vectors v = Random(length);
  UpdateOptions options = Options(length, 18);
  options.slice = {0, length};
  const UpdateSlice slice = MakeUpdateSlice(v.local, v.global, options, {}, {});
  std::vector<uint32_t> store(length);
  std::span<uint8_t> lanes(reinterpret_cast<uint8_t*>(store.data()), length * 4);
  kernels::UnpackLanes(slice.packed, 4, 18, length, lanes);
  for (uint64_t i = 0; i < length; ++i) {
    const double exact = static_cast<double>(v.local[i] - v.global[i]) * 0.7 * 100.0;
    EXPECT_NEAR(static_cast<double>(kernels::SignedLane(lanes, 4, 18, i)), exact, 1.0) << i;
  }
  EXPECT_EQ(slice.saturated, 0u);
}

TEST(UpdateTest, TheNormIsTheWholeDifferences) {
  const Vectors v = Random(100'003);
  double expected = 0;
  for (size_t i = 0; i < v.local.size(); ++i) {
    const double d = v.local[i] - v.global[i];
    expected += d * d;
  }
  const double norm = UpdateSquaredNorm(v.local, v.global);
  EXPECT_NEAR(norm, expected, expected * 1e-9);
  Vectors bad = v;
  bad.local[99'999] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(std::isfinite(UpdateSquaredNorm(bad.local, bad.global)));
}

TEST(UpdateTest, RanksAndThreadsShareTheNorm) {
  const Vectors v = Random(300'003);
  const std::vector<double> whole = UpdateSquares(v.local, v.global, {});
  for (uint32_t ranks : {1u, 2u, 3u, 64u}) {
    for (uint32_t threads : {1u, 2u, 5u}) {
      std::vector<double> sum(whole.size());
      for (uint32_t rank = 0; rank < ranks; ++rank) {
        const std::vector<double> mine =
            UpdateSquares(v.local, v.global, {.rank = rank, .ranks = ranks, .threads = threads});
        for (size_t i = 0; i < sum.size(); ++i) sum[i] += mine[i];
      }
      EXPECT_EQ(sum, whole) << ranks << " ranks, " << threads << " threads";
    }
  }
}

TEST(UpdateTest, SlicesCoverTheSegmentAtMultiplesOf64) {
  for (uint64_t length :
       {uint64_t{1}, uint64_t{7}, uint64_t{8}, uint64_t{9}, uint64_t{1000}, uint64_t{1} << 33}) {
    for (uint32_t ranks : {1u, 2u, 5u, 64u}) {
      uint64_t next = 0;
      for (uint32_t rank = 0; rank < ranks; ++rank) {
        Range slice = SliceOf(length, rank, ranks);
        EXPECT_EQ(slice.first, next);
        EXPECT_TRUE(slice.last % 64 == 0 || slice.last == length);
        next = slice.last;
      }
      EXPECT_EQ(next, length);
    }
  }
}

TEST(UpdateTest, MetricsSaturateInsteadOfWrapping) {
  const kernels::Segment segment{sitelink::kMetricCount, 48, 50, 1.0};
  std::array<int64_t, sitelink::kMetricCount> values = {1, -5, std::numeric_limits<int64_t>::max(),
                                                        0, 42};
  const Bytes packed = MakeMetricsSegment(values, segment, {});
  EXPECT_EQ(packed.size(), segment.packed_bytes());
  std::vector<uint64_t> store(values.size());
  std::span<uint8_t> lanes(reinterpret_cast<uint8_t*>(store.data()), values.size() * 8);
  kernels::UnpackLanes(packed, 8, 50, values.size(), lanes);
  EXPECT_EQ(kernels::SignedLane(lanes, 8, 50, 1), -5);
  EXPECT_EQ(kernels::SignedLane(lanes, 8, 50, 2), (int64_t{1} << 47) - 1);
  EXPECT_EQ(kernels::SignedLane(lanes, 8, 50, 4), 42);
  const std::vector<kernels::MaskKey> keys = Keys();
  EXPECT_NE(MakeMetricsSegment(values, segment, {.keys = keys}), packed);
}

TEST(UpdateTest, ALossThatExplodesIsNamed) {
  const kernels::Segment segment{sitelink::kMetricCount, sitelink::kMetricValueBits, 50, 1.0};
  const auto loss = [&](double sum) {
    Metrics metrics;
    metrics.examples = 300;
    metrics.loss_sum = sum;
    return LossMetric(metrics, segment);
  };
  EXPECT_EQ(loss(0).value(), 0);
  EXPECT_EQ(loss(2.5).value(), 2560);
  EXPECT_EQ(loss(0x1p37 - 1).value(), (int64_t{1} << 47) - 1024);
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const double bad : {0x1p37, 1e300, kInfinity, -kInfinity, -1.0, std::nan("")}) {
    const absl::Status status = loss(bad).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kAborted) << bad;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("the loss over 300 examples"), HasSubstr("train.optimizer.lr")));
  }
}

TEST(UpdateTest, AReleaseMustFitModelAndRecipe) {
  recipes::Recipe recipe;
  sitelink::Release good;
  good.segments = {{sitelink::kMetricCount, sitelink::kMetricValueBits, 50, 1.0},
                   {100, 16, 18, 10.0}};
  EXPECT_TRUE(CheckRelease(good, recipe, 100).ok());
  auto error = [&](auto change) {
    sitelink::Release release = good;
    change(release);
    return std::string(CheckRelease(release, recipe, 100).message());
  };
  EXPECT_THAT(error([](auto& r) { r.masked = false; }), HasSubstr("without masks"));
  EXPECT_THAT(error([](auto& r) { r.segments.pop_back(); }), HasSubstr("1 segments"));
  EXPECT_THAT(error([](auto& r) { r.segments[0].length = 4; }), HasSubstr("metrics segment"));
  EXPECT_THAT(error([](auto& r) { r.segments[0].scale = 2; }), HasSubstr("metrics segment"));
  EXPECT_THAT(error([](auto& r) { r.segments[1].length = 99; }),
              HasSubstr("99 coordinates; the model has 100"));
  recipe.secure_aggregation.enabled = false;
  EXPECT_EQ(error([](auto& r) { r.masked = false; }), "");
}

}  // namespace
}  // namespace atl::trainer
