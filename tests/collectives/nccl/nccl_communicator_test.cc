// NcclCommunicator: N ranks as threads, over the fake NCCL and a host communicator of threads.
#include "comms/collectives/nccl/nccl_communicator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "comms/base/status.h"
#include "tests/collectives/nccl/fake_gpu.h"
#include "tests/collectives/nccl/host_ranks.h"

namespace atl {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using testing::FakeGpu;
using ::testing::HasSubstr;
using testing::Host;

void OnRanks(uint32_t ranks, const std::function<void(uint32_t, Host&, FakeGpu&)>& body) {
  testing::OnHostRanks(ranks, [&](uint32_t rank, Host& host) {
    FakeGpu gpu;
    body(rank, host, gpu);
    EXPECT_EQ(gpu.Alive(), 0);
  });
}

TEST(NcclCommunicator, DoesAllOfTheInterface) {
  for (uint32_t ranks : {1, 2, 3}) {
    OnRanks(ranks, [ranks](uint32_t rank, Host& host, FakeGpu&) {
      auto made = CreateNcclCommunicator(FakeGpu::Api(), host, {});
      ASSERT_TRUE(made.ok()) << made.status();
      Communicator& c = **made;
      EXPECT_EQ(c.rank(), rank);
      EXPECT_EQ(c.size(), ranks);
      EXPECT_EQ(c.local_size(), ranks);
      EXPECT_TRUE(c.on_device());
      EXPECT_EQ(c.name(), absl::StrCat("nccl 2.28.9, ", ranks, ranks == 1 ? " rank" : " ranks",
                                       ", Fake GPU"));
      constexpr uint64_t kCount = 1000;  // no multiple of 16 times the ranks
      auto values = c.Allocate(kCount);
      ASSERT_TRUE(values.ok());
      EXPECT_THAT(*values, Each(0.0f));
      const float sum = static_cast<float>(ranks * (ranks + 1)) / 2;

      std::fill(values->begin(), values->end(), static_cast<float>(rank + 1));
      auto work = c.StartAllReduceSum(*values);
      ASSERT_TRUE(work.ok());
      EXPECT_TRUE((*work)->Wait().ok());
      EXPECT_TRUE((*work)->Test());
      EXPECT_TRUE((*work)->Wait().ok()) << "again, with the same answer";
      EXPECT_THAT(*values, Each(sum));

      std::fill(values->begin(), values->end(), static_cast<float>(rank + 1));
      work = c.StartReduceScatterSum(*values);
      ASSERT_TRUE(work.ok());
      EXPECT_TRUE((*work)->Wait().ok());
      const Shard mine = ShardOf(kCount, rank, ranks);
      EXPECT_THAT(values->subspan(mine.first, mine.size()), Each(sum));
      for (uint64_t i = mine.first; i < mine.last; ++i) (*values)[i] = static_cast<float>(i);
      work = c.StartAllGather(*values);
      ASSERT_TRUE(work.ok());
      EXPECT_TRUE((*work)->Wait().ok());
      for (uint64_t i = 0; i < kCount; ++i) ASSERT_EQ((*values)[i], static_cast<float>(i));
      work->reset();

      std::vector<double> doubles{1.0, static_cast<double>(rank)};
      EXPECT_TRUE(c.AllReduceSum(doubles).ok());
      EXPECT_EQ(doubles[0], ranks);
      Bytes bytes(3, static_cast<uint8_t>(rank + 7));
      EXPECT_TRUE(c.Broadcast(bytes).ok());
      EXPECT_THAT(bytes, Each(7));
      auto gathered = c.Gather(Bytes(2, static_cast<uint8_t>(rank)), 100);
      ASSERT_TRUE(gathered.ok());
      EXPECT_EQ(gathered->size(), rank == 0 ? 2 * ranks : 0);
      EXPECT_TRUE(c.Barrier().ok());
      auto none = c.Allocate(0);
      ASSERT_TRUE(none.ok());
      EXPECT_TRUE(none->empty());
    });
  }
}

TEST(NcclCommunicator, OneRanksFailureIsEachRanksAndKeepsNobodyWaiting) {
  for (const char* call : {"cudaSetDevice", "cudaGetDeviceProperties", "ncclGetVersion",
                           "cudaStreamCreateWithPriority", "ncclCommInitRankConfig"}) {
    for (uint32_t bad : {0u, 1u}) {
      OnRanks(2, [&](uint32_t rank, Host& host, FakeGpu& gpu) {
        if (rank == bad) gpu.Fail(call, call[0] == 'c' ? kCudaErrorNoDevice : kNcclSystemError);
        // Short, for the rank that waits in NCCL for the one that could not connect.
        const auto made = CreateNcclCommunicator(FakeGpu::Api(), host, {.timeout_ms = 50});
        ASSERT_FALSE(made.ok()) << call;
        if (rank == bad) {
          EXPECT_THAT(made.status().message(), AllOf(HasSubstr("NCCL: "), HasSubstr(call)));
        } else if (std::strcmp(call, "ncclCommInitRankConfig") == 0) {
          EXPECT_EQ(made.status().code(), absl::StatusCode::kDeadlineExceeded);
        } else {
          EXPECT_EQ(made.status().message(),
                    "preparing NCCL: 1 of 2 ranks could not; this one could");
          EXPECT_EQ(made.status().code(), absl::StatusCode::kUnavailable);
        }
      });
    }
  }
}

TEST(NcclCommunicator, WithoutRoomOnOneRankNoneAllocates) {
  OnRanks(3, [](uint32_t rank, Host& host, FakeGpu& gpu) {
    auto made = CreateNcclCommunicator(FakeGpu::Api(), host, {});
    ASSERT_TRUE(made.ok());
    if (rank == 2) gpu.Fail("cudaMalloc", kCudaErrorMemoryAllocation);
    const auto values = (*made)->Allocate(64);
    EXPECT_EQ(values.status().code(), absl::StatusCode::kResourceExhausted);
    const int alive = gpu.Alive();
    EXPECT_EQ((*made)->Allocate(64).status().code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(gpu.Alive(), alive) << "what the others had taken is given back";
  });
}

TEST(NcclCommunicator, APeerThatHangsIsDeadlineExceeded) {
  OnRanks(2, [](uint32_t rank, Host& host, FakeGpu&) {
    auto made = CreateNcclCommunicator(FakeGpu::Api(), host, {.timeout_ms = 100});
    ASSERT_TRUE(made.ok());
    float value = 0;
    if (rank == 0) {
      auto work = (*made)->StartAllReduceSum(std::span(&value, 1));
      ASSERT_TRUE(work.ok());
      EXPECT_EQ((*work)->Wait().code(), absl::StatusCode::kDeadlineExceeded);
      EXPECT_EQ((*made)->StartAllReduceSum(std::span(&value, 1)).status().code(),
                absl::StatusCode::kDeadlineExceeded);
    }
    EXPECT_TRUE((*made)->Barrier().ok()) << "bytes still move";
  });
}

}  // namespace
}  // namespace atl
