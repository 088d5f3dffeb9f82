#include "trainer/data/prefetch.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>

namespace atl::trainer {
namespace {

TEST(PrefetcherTest, GivesEachStepInOrder) {
  for (size_t ahead : {1, 2, 4}) {
    Prefetcher<std::unique_ptr<uint32_t>> batches(
        [](uint32_t step) { return std::make_unique<uint32_t>(step * step); }, 500, ahead);
    for (uint32_t step = 0; step < 500; ++step) {
      const auto batch = batches.Next();
      ASSERT_TRUE(batch.ok()) << batch.status();
      ASSERT_EQ(**batch, step * step);
    }
    EXPECT_TRUE(absl::IsOutOfRange(batches.Next().status()));
    EXPECT_TRUE(absl::IsOutOfRange(batches.Next().status()));
  }
}

TEST(PrefetcherTest, MakesNoMoreAheadThanItMay) {
  std::atomic<uint32_t> made = 0;
  Prefetcher<uint32_t> batches([&](uint32_t step) { return ++made, step; }, 100, 3);
  for (uint32_t step = 0; step < 100; ++step) {
    ASSERT_TRUE(batches.Next().ok());
    // Those that were taken, those that wait, and one that is made meanwhile.
    EXPECT_LE(made.load(), step + 1 + 3 + 1);
  }
}

TEST(PrefetcherTest, IsAhead) {
  std::atomic<uint32_t> made = 0;
  Prefetcher<uint32_t> batches([&](uint32_t step) { return ++made, step; }, 100, 3);
  for (int i = 0; i < 10'000 && made < 3; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(made, 3u);
}

TEST(PrefetcherTest, AnErrorComesInItsTurnAndStays) {
  std::atomic<uint32_t> made = 0;
  Prefetcher<uint32_t> batches(
      [&](uint32_t step) -> absl::StatusOr<uint32_t> {
        ++made;
        if (step == 2) return absl::DataLossError("step 2");
        return step;
      },
      100, 4);
  EXPECT_EQ(*batches.Next(), 0u);
  EXPECT_EQ(*batches.Next(), 1u);
  EXPECT_TRUE(absl::IsDataLoss(batches.Next().status()));
  EXPECT_TRUE(absl::IsDataLoss(batches.Next().status()));
  EXPECT_EQ(made, 3u);
}

TEST(PrefetcherTest, AnExceptionIsAnError) {
  Prefetcher<uint32_t> batches(
      [](uint32_t) -> absl::StatusOr<uint32_t> { throw std::runtime_error("no memory"); }, 3, 2);
  const absl::Status status = batches.Next().status();
  EXPECT_TRUE(absl::IsInternal(status)) << status;
  EXPECT_EQ(status.message(), "making a batch: no memory");
}

TEST(PrefetcherTest, EndsAtAnyMoment) {
  for (uint32_t taken = 0; taken < 20; ++taken) {
    Prefetcher<uint32_t> batches([](uint32_t step) { return step; }, 10, 2);
    for (uint32_t i = 0; i < taken; ++i) (void)batches.Next();
  }
  Prefetcher<uint32_t> none([](uint32_t step) { return step; }, 0, 2);
  EXPECT_TRUE(absl::IsOutOfRange(none.Next().status()));
}

}  // namespace
}  // namespace atl::trainer
