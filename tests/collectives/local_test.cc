// Ranks as threads. Also what all backends share: shards and sums.
#include "comms/collectives/local/local_communicator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <thread>

#include "comms/base/status.h"
#include "comms/collectives/shared/sum.h"
#include "tests/collectives/properties.h"

namespace atl {
namespace {

using ::testing::HasSubstr;

// Runs `body` once a rank, each on a thread of its own with its communicator, which ends with it.
void OnRanks(const LocalOptions& options, const std::function<void(Communicator&)>& body) {
  auto communicators = MakeLocalCommunicators(options);
  std::vector<std::thread> threads;
  for (auto& communicator : communicators) {
    threads.emplace_back([&body, mine = std::move(communicator)] { body(*mine); });
  }
  for (auto& thread : threads) thread.join();
}

TEST(ShardTest, ShardsCoverAllInOrderOnLinesAndAreEven) {
  for (uint32_t ranks : {1u, 2u, 3u, 4u, 7u, 8u, 64u}) {
    for (uint64_t count = 0; count < 1200; ++count) {
      uint64_t next = 0, least = UINT64_MAX, most = 0;
      for (uint32_t r = 0; r < ranks; ++r) {
        const Shard shard = ShardOf(count, r, ranks);
        ASSERT_EQ(shard.first, next) << count << " over " << ranks;
        ASSERT_GE(shard.last, shard.first);
        if (shard.last != count) {
          ASSERT_EQ(shard.last % kShardValues, 0u);
        }
        next = shard.last;
        least = std::min(least, shard.size());
        most = std::max(most, shard.size());
      }
      ASSERT_EQ(next, count) << "over " << ranks;
      ASSERT_LE(most - least, kShardValues) << count << " over " << ranks;
    }
  }
  EXPECT_EQ(ShardOf(uint64_t{1} << 60, 63, 64).last, uint64_t{1} << 60);
}

TEST(SumTest, AnyRangeOfAnyNumberOfSourcesIsTheSumInOrder) {
  std::vector<std::vector<float>> values(5, std::vector<float>(200));
  for (size_t s = 0; s < values.size(); ++s) {
    for (size_t i = 0; i < 200; ++i) {
      values[s][i] = 1.0f / static_cast<float>(1 + i * 7 + s * 13) * (s % 2 == 1 ? -3e5f : 1.0f);
    }
  }
  for (size_t sources = 1; sources <= values.size(); ++sources) {
    for (uint64_t first : {0, 1, 5, 16}) {
      for (uint64_t last = first; last <= 120; ++last) {
        auto copy = values;
        std::vector<float> other(200, 7.0f);
        std::vector<float*> from, to = {other.data()};
        for (size_t s = 0; s < sources; ++s) from.push_back(copy[s].data());
        to.insert(to.end(), from.begin(), from.end());
        shared::SumRange(from, to, first, last);
        for (uint64_t i = 0; i < 200; ++i) {
          float sum = values[0][i];
          for (size_t s = 1; s < sources; ++s) sum += values[s][i];
          const bool inside = i >= first && i < last;
          ASSERT_EQ(other[i], inside ? sum : 7.0f);
          for (size_t s = 0; s < sources; ++s) {
            ASSERT_EQ(copy[s][i], inside ? sum : values[s][i]) << sources << " " << i;
          }
        }
      }
    }
  }
}

TEST(LocalTest, EveryOperationIsRight) {
  const uint64_t seed = TestSeed();
  for (uint32_t ranks : {1u, 2u, 3u, 5u}) {
    OnRanks({.ranks = ranks}, [&](Communicator& communicator) {
      EXPECT_EQ(communicator.size(), ranks);
      EXPECT_EQ(communicator.local_size(), ranks);
      EXPECT_EQ(CheckCollectives(communicator, seed), "");
    });
  }
}

TEST(LocalTest, ARankThatLeavesIsUnavailable) {
  OnRanks({.ranks = 3, .timeout = std::chrono::seconds(60)}, [](Communicator& communicator) {
    std::vector<float> values(100'000, 1.0f);
    {
      auto work = communicator.StartAllReduceSum(values);
      ASSERT_TRUE(work.ok());
      EXPECT_TRUE((*work)->Wait().ok());
      EXPECT_EQ(values.back(), 3.0f);
    }
    if (communicator.rank() == 1) return;
    auto work = communicator.StartAllReduceSum(values);
    ASSERT_TRUE(work.ok());
    const absl::Status status = (*work)->Wait();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
    EXPECT_EQ((*work)->Wait(), status) << "the same answer again";
    EXPECT_EQ(communicator.StartAllGather(values).status(), status);
    EXPECT_EQ(communicator.Barrier().code(), absl::StatusCode::kUnavailable);
  });
}

TEST(LocalTest, ARankThatNeverComesEndsTheWait) {
  std::atomic<int> waiting = 1;
  OnRanks({.ranks = 2, .timeout = std::chrono::milliseconds(150)}, [&](Communicator& communicator) {
    if (communicator.rank() == 1) {
      while (waiting != 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
      return;
    }
    std::vector<float> values(10);
    const auto begin = std::chrono::steady_clock::now();
    auto work = communicator.StartReduceScatterSum(values);
    ASSERT_TRUE(work.ok());
    const absl::Status status = (*work)->Wait();
    EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded) << status;
    EXPECT_THAT(ToString(status), HasSubstr("rank 1"));
    EXPECT_EQ(communicator.Barrier().code(), absl::StatusCode::kDeadlineExceeded);
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
    waiting = 0;
  });
}

TEST(LocalTest, DifferentCallsAreToldApart) {
  for (bool other_length : {true, false}) {
    OnRanks({.ranks = 2}, [&](Communicator& communicator) {
      std::vector<float> values(100'000);
      std::span<float> mine(values);
      absl::StatusOr<std::unique_ptr<Work>> work;
      if (communicator.rank() == 1 && !other_length) {
        work = communicator.StartAllGather(mine);
      } else {
        work = communicator.StartAllReduceSum(communicator.rank() == 1 ? mine.first(7) : mine);
      }
      ASSERT_TRUE(work.ok());
      EXPECT_EQ((*work)->Wait().code(), absl::StatusCode::kFailedPrecondition);
    });
  }
}

TEST(LocalTest, NoRoomOnOneRankIsNoRoomOnAll) {
  OnRanks({.ranks = 2}, [](Communicator& communicator) {
    EXPECT_EQ(communicator.Allocate(UINT64_MAX).status().code(),
              absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(communicator.Allocate(communicator.rank() == 0 ? 10 : UINT64_MAX).status().code(),
              absl::StatusCode::kResourceExhausted);
    EXPECT_TRUE(communicator.Allocate(10).ok());
  });
}

}  // namespace
}  // namespace atl
