// SumRound against a sum that is made in memory, number by number.
#include "federation/coordinator/summing.h"

#include <chrono>
#include <cstring>
#include <fstream>
#include <functional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "comms/base/files.h"
#include "comms/base/random.h"
#include "comms/sitelink/messages.h"
#include "federation/secagg/sum.h"
#include "gmock/gmock.h"
#include "kernels/pack.h"
#include "kernels/quantize.h"

namespace atl::coordinator {
namespace {

using kernels::kChunkElements;

constexpr uint64_t kLength = 5 * kChunkElements / 2 + 3;  // three chunks, the last one short
constexpr uint32_t kSites = 5;

uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 31)) * 0x9e3779b97f4a7c15;
  return x ^ (x >> 29);
}

// What site `site` sends for coordinate e of the update, before masks; small enough for `bits`.
int64_t Value(uint32_t site, uint64_t e, uint32_t bits) {
  const int64_t bound = (int64_t{1} << (bits - 1)) - 1;
  return static_cast<int64_t>(Mix(e * 131 + site) % static_cast<uint64_t>(2 * bound + 1)) - bound;
}

Bytes PackedValues(const kernels::Segment& segment, const std::function<int64_t(uint64_t)>& value) {
  Bytes lanes(segment.length * segment.lane_bytes()), packed(segment.packed_bytes());
  for (uint64_t e = 0; e < segment.length; ++e)
    kernels::StoreLane(lanes, segment.lane_bytes(), e, value(e));
  kernels::PackLanes(lanes, segment.lane_bytes(), segment.sum_bits, segment.length, packed);
  return packed;
}

class SummingTest : public testing::TestWithParam<uint32_t> {  // value bits
 protected:
  SummingTest()
      : folder_(TemporaryFolder::Create("summing").value()),
        blobs_(store::BlobStore::Open(folder_.path() / "blobs").value()),
        vectors_(store::VectorStore::Open(folder_.path() / "staged").value()) {
    task_.job = JobId(1);
    task_.round = RoundId(2);
    task_.slot = SlotId(3);
    task_.segments = {{.length = sitelink::kMetricCount,
                       .value_bits = sitelink::kMetricValueBits,
                       .sum_bits = kernels::SumBits(sitelink::kMetricValueBits, kSites)},
                      {.length = kLength,
                       .value_bits = Bits(),
                       .sum_bits = kernels::SumBits(Bits(), kSites),
                       .scale = 128}};
    task_.weight_max = 10;
    task_.server_lr = 0.5;
    task_.groups.resize(1);
    for (uint32_t segment : {0, 1}) {
      secagg::MaskStream stream{.segment = segment, .subtract = segment == 1, .key = {}};
      stream.key.span()[0] = static_cast<uint8_t>(7 + segment);
      task_.groups[0].streams.push_back(stream);
    }
    task_.model = WriteModel(kLength);
    for (uint32_t site = 1; site <= kSites; ++site) Stage(site);
  }

  uint32_t Bits() const { return GetParam(); }
  static float ModelAt(uint64_t e) { return static_cast<float>(e % 1000) / 64; }

  Digest WriteModel(uint64_t length) {
    store::BlobWriter writer = blobs_.NewBlob().value();
    std::vector<float> values(length);
    for (uint64_t e = 0; e < length; ++e) values[e] = ModelAt(e);
    for (uint64_t first = 0; first < length; first += kChunkElements) {
      Bytes chunk(std::min(kChunkElements, length - first) * sizeof(float));
      std::memcpy(chunk.data(), values.data() + first, chunk.size());
      EXPECT_TRUE(writer.AddChunk(chunk).ok());
    }
    return writer.Commit().value();
  }

  // Site 1 has the task's streams taken off, so that they cancel in the sum.
  void Stage(
      uint32_t site, const std::function<int64_t(uint64_t)>& metric = [](uint64_t) { return 2; }) {
    task_.survivors.push_back(SiteId(site));
    task_.groups[0].survivors.push_back(SiteId(site));
    const kernels::VectorLayout layout(task_.segments);
    Bytes packed = PackedValues(task_.segments[0], metric);
    const Bytes update =
        PackedValues(task_.segments[1], [&](uint64_t e) { return Value(site, e, Bits()); });
    packed.insert(packed.end(), update.begin(), update.end());
    std::vector<uint32_t> sizes;
    for (uint32_t i = 0; i < layout.chunk_count(); ++i)
      sizes.push_back(static_cast<uint32_t>(layout.chunk(i).bytes));
    const auto vector =
        vectors_->OpenVector({task_.job, task_.round, task_.slot, SiteId(site)}, sizes).value();
    for (uint32_t i = 0; i < layout.chunk_count(); ++i) {
      const kernels::Chunk chunk = layout.chunk(i);
      Bytes bytes(packed.begin() + chunk.byte_offset,
                  packed.begin() + chunk.byte_offset + chunk.bytes);
      if (site == 1) {
        auto streams = task_.groups[0].streams;
        for (secagg::MaskStream& stream : streams) stream.subtract = !stream.subtract;
        secagg::ChunkSummer masked = secagg::ChunkSummer::Create(layout, i).value();
        EXPECT_TRUE(masked.Add(bytes).ok());
        masked.AddStreams(streams, task_.cipher);
        bytes = masked.Finish();
      }
      EXPECT_TRUE(vector->WriteChunk(i, bytes).ok());
    }
    held_.push_back(vector);
  }

  absl::StatusOr<SumOutcome> Sum(uint32_t threads, const PartialSums& early = {}) {
    return SumRound(task_, early, blobs_, *vectors_, threads, stopped_);
  }

  std::vector<SiteVector> VectorsOf(const std::vector<SiteId>& sites) {
    return OpenVectors({task_.job, task_.round, task_.slot, SiteId(0)}, sites,
                       kernels::VectorLayout(task_.segments), *vectors_)
        .value();
  }
  SumEarly Early(uint32_t site, uint32_t group = 0) const {
    return {{task_.job, task_.round, task_.slot, SiteId(site)}, group, task_.segments};
  }
  // Zeros in place of what a site has sent, unseen by this process: who adds it up gets another
  // sum.
  void Blank(uint32_t site) {
    const auto path = folder_.path() / "staged/1/2" / absl::StrCat("3-", site);
    const uint64_t bytes = kernels::VectorLayout(task_.segments).packed_bytes();
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(std::filesystem::file_size(path) - bytes));
    const std::string zeros(bytes, 0);
    file.write(zeros.data(), static_cast<std::streamsize>(zeros.size()));
    ASSERT_TRUE(file.good());
  }

  Bytes ReadAll(const Digest& root) {
    Bytes all;
    const store::BlobReader blob = blobs_.OpenBlob(root).value();
    for (uint32_t i = 0; i < blob.chunk_count(); ++i) {
      const Bytes chunk = blob.ReadChunk(i).value();
      all.insert(all.end(), chunk.begin(), chunk.end());
    }
    return all;
  }

  TemporaryFolder folder_;
  store::BlobStore blobs_;
  std::unique_ptr<store::VectorStore> vectors_;
  StartSum task_;
  std::vector<std::shared_ptr<store::StagedVector>> held_;
  std::atomic<bool> stopped_ = false;
};

TEST_P(SummingTest, IsTheSumForAnyNumberOfThreads) {
  const SumOutcome one = Sum(1).value();
  EXPECT_EQ(one.weight, 2 * kSites);
  const Bytes sum = ReadAll(one.sum);
  const kernels::Segment& segment = task_.segments[1];
  Bytes expected = PackedValues(task_.segments[0], [](uint64_t) { return 2 * kSites; });
  const auto total = [&](uint64_t e) {
    int64_t value = 0;
    for (uint32_t site = 1; site <= kSites; ++site) value += Value(site, e, Bits());
    return value;
  };
  const Bytes update = PackedValues(segment, total);
  expected.insert(expected.end(), update.begin(), update.end());
  EXPECT_TRUE(sum == expected);

  // Weights 2 of 10 each: the average is over kSites * 0.2.
  const Bytes next = ReadAll(one.next_model);
  ASSERT_EQ(next.size(), kLength * sizeof(float));
  for (uint64_t e = 0; e < kLength; e += 1001) {
    float value = 0;
    std::memcpy(&value, next.data() + e * sizeof(float), sizeof(float));
    EXPECT_FLOAT_EQ(value, ModelAt(e) + 0.5 * static_cast<double>(total(e)) / (128 * 0.2 * kSites));
  }
  for (uint32_t threads : {2u, 3u, 16u}) {
    const SumOutcome more = Sum(threads).value();
    EXPECT_EQ(more.sum, one.sum) << threads;
    EXPECT_EQ(more.next_model, one.next_model) << threads;
  }
}

TEST_P(SummingTest, OfGroupsIsTheSameTotalAndTheirOwnSums) {
  const SumOutcome whole = Sum(2).value();
  EXPECT_TRUE(whole.group_sums.empty());
  SumGroup& first = task_.groups[0];
  first.number = 1;
  // The only group that is left of a split run.
  EXPECT_EQ(Sum(1).value().group_sums, std::vector<Digest>{whole.sum});
  SumGroup second{2, {first.survivors.begin() + 2, first.survivors.end()}, {}};
  first.survivors.resize(2);
  task_.groups.push_back(second);
  const SumOutcome outcome = Sum(2).value();
  EXPECT_EQ(outcome.sum, whole.sum);
  EXPECT_EQ(outcome.next_model, whole.next_model);
  EXPECT_EQ(outcome.weight, whole.weight);
  ASSERT_EQ(outcome.group_sums.size(), 2u);
  uint32_t from = 1;
  for (uint32_t group : {0, 1}) {
    const uint32_t to = group == 0 ? 2 : kSites;
    Bytes expected = PackedValues(
        task_.segments[0], [&](uint64_t) { return 2 * static_cast<int64_t>(to + 1 - from); });
    const Bytes update = PackedValues(task_.segments[1], [&](uint64_t e) {
      int64_t value = 0;
      for (uint32_t site = from; site <= to; ++site) value += Value(site, e, Bits());
      return value;
    });
    expected.insert(expected.end(), update.begin(), update.end());
    EXPECT_TRUE(ReadAll(outcome.group_sums[group]) == expected) << group;
    from = to + 1;
  }
}

bool Never() { return false; }

TEST_P(SummingTest, ReadsAPartialSumInPlaceOfTheVectorsThatItHolds) {
  const SumOutcome whole = Sum(1).value();
  const std::shared_ptr<PartialSum> early = PartialSum::Create(task_.segments, *vectors_).value();
  EXPECT_FALSE(early->Has(0));
  ASSERT_EQ(early->Add(VectorsOf({SiteId(4), SiteId(2)}), Never), absl::OkStatus());
  ASSERT_EQ(early->Add(VectorsOf({SiteId(5)}), Never), absl::OkStatus());
  EXPECT_TRUE(early->Has(3));
  EXPECT_TRUE(early->Holds(3, SiteId(5)));
  EXPECT_FALSE(early->Holds(3, SiteId(1)));
  EXPECT_TRUE(early->IsWithin({SiteId(2), SiteId(4), SiteId(5)}));
  EXPECT_FALSE(early->IsWithin({SiteId(1), SiteId(2), SiteId(5)}));
  EXPECT_EQ(early->Add(VectorsOf({SiteId(2)}), Never).code(), absl::StatusCode::kInvalidArgument);
  for (uint32_t site : {2u, 4u, 5u}) Blank(site);
  EXPECT_EQ(Sum(2, {early}).value().sum, whole.sum);
  EXPECT_EQ(Sum(2, {early}).value().next_model, whole.next_model);
  EXPECT_NE(Sum(2).value().sum, whole.sum);
}

TEST_P(SummingTest, APartialSumThatWasStoppedHoldsWhatItSays) {
  const SumOutcome whole = Sum(1).value();
  for (const int chunks : {0, 1, 3}) {
    const std::shared_ptr<PartialSum> early = PartialSum::Create(task_.segments, *vectors_).value();
    if (chunks > 0) {
      ASSERT_EQ(early->Add(VectorsOf({SiteId(3)}), Never), absl::OkStatus());
    }
    int left = chunks;
    const auto stopped = [&left] { return left-- == 0; };
    EXPECT_EQ(early->Add(VectorsOf({SiteId(1), SiteId(4)}), stopped).code(),
              absl::StatusCode::kCancelled);
    for (int index = 0; index < 4; ++index) {
      EXPECT_EQ(early->Holds(static_cast<uint32_t>(index), SiteId(4)), index < chunks);
      EXPECT_EQ(early->Has(static_cast<uint32_t>(index)), chunks > 0);
    }
    EXPECT_EQ(early->IsWithin({SiteId(3)}), chunks == 0);
    EXPECT_EQ(Sum(2, {early}).value().sum, whole.sum) << chunks;
    EXPECT_EQ(early->Add(VectorsOf({SiteId(5)}), Never).code(),
              absl::StatusCode::kFailedPrecondition);
  }
}

TEST_P(SummingTest, AddsUpVectorsWhileOthersCome) {
  const SumOutcome whole = Sum(1).value();
  EarlySums early_sums(*vectors_, 2);
  for (uint32_t site : {3u, 1u, 3u, 5u}) early_sums.Add(Early(site));
  early_sums.WaitUntilIdle();
  const PartialSums early = early_sums.Take(task_);
  ASSERT_EQ(early.size(), 1u);
  ASSERT_NE(early[0], nullptr);
  EXPECT_TRUE(early[0]->Holds(0, SiteId(1)));
  EXPECT_TRUE(early[0]->Holds(3, SiteId(3)));
  EXPECT_FALSE(early[0]->Holds(0, SiteId(2)));
  for (uint32_t site : {1u, 3u}) Blank(site);
  EXPECT_EQ(Sum(2, early).value().sum, whole.sum);
  EXPECT_EQ(early_sums.Take(task_)[0], nullptr);  // given away
}

TEST_P(SummingTest, AddsUpEachGroupsVectors) {
  SumGroup& first = task_.groups[0];
  first.number = 1;
  SumGroup second{2, {first.survivors.begin() + 2, first.survivors.end()}, {}};
  first.survivors.resize(2);
  task_.groups.push_back(second);
  const SumOutcome whole = Sum(2).value();
  EarlySums early_sums(*vectors_, 1);
  early_sums.Add(Early(2, 1));
  early_sums.Add(Early(3, 2));
  early_sums.Add(Early(4, 2));
  early_sums.WaitUntilIdle();
  const PartialSums early = early_sums.Take(task_);
  ASSERT_EQ(early.size(), 2u);
  EXPECT_TRUE(early[0]->IsWithin({SiteId(2)}));
  EXPECT_TRUE(early[1]->IsWithin({SiteId(3), SiteId(4)}));
  for (uint32_t site : {2u, 3u, 4u}) Blank(site);
  const SumOutcome outcome = Sum(2, early).value();
  EXPECT_EQ(outcome.sum, whole.sum);
  EXPECT_EQ(outcome.group_sums, whole.group_sums);
}

INSTANTIATE_TEST_SUITE_P(Widths, SummingTest, testing::Values(5, 10, 13, 20, 40),
                         [](const auto& info) { return std::to_string(info.param) + "Bits"; });

using SummingFailures = SummingTest;
INSTANTIATE_TEST_SUITE_P(Widths, SummingFailures, testing::Values(13));

TEST_P(SummingFailures, NothingDependsOnWhenTheEarlySumEnds) {
  const SumOutcome whole = Sum(1).value();
  for (int i = 0; i < 20; ++i) {
    EarlySums early_sums(*vectors_, 2);
    for (uint32_t site = 1; site <= kSites; ++site) early_sums.Add(Early(site));
    std::this_thread::sleep_for(std::chrono::microseconds(200 * i));
    EXPECT_EQ(Sum(2, early_sums.Take(task_)).value().sum, whole.sum);
  }
}

TEST_P(SummingFailures, AnEarlySumOfOthersThanTheSurvivorsIsLeft) {
  EarlySums early_sums(*vectors_, 2);
  for (uint32_t site : {1u, 2u}) early_sums.Add(Early(site));
  early_sums.WaitUntilIdle();
  task_.groups[0].survivors.erase(task_.groups[0].survivors.begin());
  EXPECT_EQ(early_sums.Take(task_)[0], nullptr);
}

TEST_P(SummingFailures, AnEarlySumThatIsForgotten) {
  EarlySums early_sums(*vectors_, 2);
  for (uint32_t site : {1u, 2u}) early_sums.Add(Early(site));
  early_sums.Forget(task_.job, task_.round, SlotId(task_.slot.value() + 1));  // another's
  early_sums.WaitUntilIdle();
  early_sums.Forget(task_.job, task_.round, task_.slot);
  EXPECT_EQ(early_sums.Take(task_)[0], nullptr);
}

TEST_P(SummingFailures, AnEarlySumThatFailsIsGivenUp) {
  const SumOutcome whole = Sum(1).value();
  EarlySums early_sums(*vectors_, 2);
  for (uint32_t site : {1u, kSites + 1})
    early_sums.Add(Early(site));  // the latter has sent nothing
  early_sums.WaitUntilIdle();
  early_sums.Add(Early(2));
  early_sums.Add(Early(3));
  early_sums.WaitUntilIdle();
  const PartialSums early = early_sums.Take(task_);
  EXPECT_EQ(early[0], nullptr);
  EXPECT_EQ(Sum(2, early).value().sum, whole.sum);
}

TEST_P(SummingFailures, Stops) {
  stopped_ = true;
  EXPECT_EQ(Sum(2).status().code(), absl::StatusCode::kCancelled);
}

TEST_P(SummingFailures, AVectorThatIsNotWhole) {
  task_.groups[0].survivors.push_back(SiteId(kSites + 1));
  EXPECT_EQ(Sum(2).status().code(), absl::StatusCode::kNotFound);
}

TEST_P(SummingFailures, MetricsThatAreNoCountsAreNamed) {
  const auto sum_with = [&](uint32_t site, uint32_t wrong) {
    Stage(site, [&](uint64_t e) { return e == wrong ? -100 : 2; });
    const absl::Status status = Sum(2).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    for (auto* survivors : {&task_.survivors, &task_.groups[0].survivors}) survivors->pop_back();
    return std::string(status.message());
  };
  EXPECT_THAT(sum_with(kSites + 1, sitelink::kCorrect),
              testing::HasSubstr("the sites' correct answers add up to -90"));
  EXPECT_THAT(sum_with(kSites + 2, sitelink::kLossSum),
              AllOf(testing::HasSubstr("the sites' losses (in 1/1024) add up to -90"),
                    testing::HasSubstr("train.optimizer.lr")));
}

TEST_P(SummingFailures, AModelOfAnotherSize) {
  task_.model = WriteModel(kLength - 1);
  EXPECT_EQ(Sum(2).status().code(), absl::StatusCode::kInvalidArgument);
  task_.model = WriteModel(kChunkElements);
  EXPECT_EQ(Sum(2).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_P(SummingFailures, ADamagedModel) {
  const std::string name = Hex(task_.model);
  const auto path = folder_.path() / "blobs" / name.substr(0, 2) / name.substr(2);
  Bytes file = ReadFile(path, 1 << 30).value();
  file[file.size() / 2] ^= 1;
  ASSERT_TRUE(WriteFileAtomic(path, file).ok());
  EXPECT_EQ(Sum(2).status().code(), absl::StatusCode::kDataLoss);
  // Nothing half made stays.
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path() / "blobs/temporary"));
}

TEST(SumThreads, AreBounded) {
  EXPECT_GE(SumThreads(0), 1u);
  EXPECT_LE(SumThreads(0), kSumThreadsMax);
  EXPECT_EQ(SumThreads(3), 3u);
  EXPECT_EQ(SumThreads(1000), kSumThreadsMax);
}

}  // namespace
}  // namespace atl::coordinator
