// NcclGroup over a CUDA and an NCCL in memory: results, order, and every way to fail.
#include "comms/collectives/nccl/nccl_group.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <barrier>
#include <thread>

#include "tests/collectives/nccl/fake_gpu.h"

namespace atl {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using testing::FakeGpu;
using testing::FakeTime;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Ticket = NcclGroup::Ticket;

constexpr int64_t kTimeoutMs = 10'000;

// Rank 0 on simulated time.
struct Bench {
  FakeGpu peer, gpu;
  FakeTime time;
  std::unique_ptr<NcclGroup> group;
  NcclId id{};
  void* peer_comm = nullptr;
  bool play_peers = false;  // else rank 1 is there but does nothing

  GpuStatus Prepare() {
    return NcclGroup::Prepare(
        FakeGpu::Api(),
        {.device = 0, .timeout_ms = kTimeoutMs, .now_us = time.Now(), .sleep_us = time.Sleep()},
        group);
  }
  GpuStatus Connect(uint32_t ranks) {
    GpuStatus status = group->NewId(id);
    if (!status.ok()) return status;
    if (ranks == 2 && !play_peers) {
      peer.Use();
      EXPECT_EQ(FakeGpu::Api().comm_init(&peer_comm, 2, id.data(), 1), kNcclInProgress);
      gpu.Use();
    }
    return group->Connect(id, 0, ranks);
  }
  void Open(uint32_t ranks) {
    ASSERT_TRUE(Prepare().ok());
    ASSERT_TRUE(Connect(ranks).ok());
  }
  ~Bench() {
    group.reset();
    EXPECT_EQ(gpu.Alive(), 0) << "something was not given back";
    if (peer_comm == nullptr) return;
    peer.Use();
    (void)FakeGpu::Api().comm_abort(peer_comm);
  }
};

// Runs body(rank, group) on so many connected ranks, a thread each.
void OnRanks(uint32_t ranks, const std::function<void(uint32_t, NcclGroup&, FakeGpu&)>& body) {
  NcclId id;
  std::barrier ready(ranks);
  std::vector<std::thread> threads;
  for (uint32_t rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      FakeGpu gpu;
      gpu.TakeSlowly(static_cast<int>(rank));
      std::unique_ptr<NcclGroup> group;
      EXPECT_TRUE(NcclGroup::Prepare(FakeGpu::Api(), {.timeout_ms = 60'000}, group).ok());
      if (rank == 0) {
        EXPECT_TRUE(group->NewId(id).ok());
      }
      ready.arrive_and_wait();
      const GpuStatus connected = group->Connect(id, rank, ranks);
      EXPECT_TRUE(connected.ok()) << connected.message;
      body(rank, *group, gpu);
      group.reset();
      EXPECT_EQ(gpu.Alive(), 0);
    });
  }
  for (auto& thread : threads) thread.join();
}

std::vector<float> Values(uint32_t rank, uint64_t count) {
  std::vector<float> values(count);
  for (uint64_t i = 0; i < count; ++i) values[i] = static_cast<float>((rank + 1) * (i % 100 + 1));
  return values;
}
float SumAt(uint32_t ranks, uint64_t i) {
  return static_cast<float>(ranks * (ranks + 1) / 2 * (i % 100 + 1));
}
PartEnds Cut(uint64_t count, uint32_t ranks, bool even) {
  PartEnds ends(ranks);
  for (uint32_t r = 0; r < ranks; ++r) {
    ends[r] = even ? count / ranks * (r + 1) : std::min<uint64_t>(count, 400 * (r + 1));
  }
  ends.back() = even ? count / ranks * ranks : count;
  return ends;
}

TEST(NcclGroup, SumsOverRanks) {
  for (uint32_t ranks = 1; ranks <= 5; ++ranks) {
    OnRanks(ranks, [ranks](uint32_t rank, NcclGroup& group, FakeGpu&) {
      for (uint64_t count : {1, 17, 1200}) {
        std::vector<float> values = Values(rank, count);
        Ticket ticket = 0;
        ASSERT_TRUE(group.StartAllReduceSum(values.data(), count, ticket).ok());
        ASSERT_TRUE(group.Wait(ticket).ok());
        for (uint64_t i = 0; i < count; ++i) ASSERT_EQ(values[i], SumAt(ranks, i)) << i;
      }
    });
  }
}

TEST(NcclGroup, ScattersAndGathersPartsOfAnySize) {
  for (bool even : {true, false}) {
    for (uint32_t ranks = 1; ranks <= 4; ++ranks) {
      // Uneven over 4 ranks of 1200: the last part is empty.
      OnRanks(ranks, [&, ranks](uint32_t rank, NcclGroup& group, FakeGpu& gpu) {
        const PartEnds ends = Cut(1200, ranks, even);
        std::vector<float> values = Values(rank, ends.back());
        Ticket ticket = 0;
        ASSERT_TRUE(group.StartReduceScatterSum(values.data(), ends, ticket).ok());
        ASSERT_TRUE(group.Wait(ticket).ok());
        const uint64_t begin = rank == 0 ? 0 : ends[rank - 1];
        for (uint64_t i = 0; i < values.size(); ++i) {
          if (i < begin || i >= ends[rank]) {
            values[i] = -1;
          } else {
            ASSERT_EQ(values[i], SumAt(ranks, i)) << i;
          }
        }
        ASSERT_TRUE(group.StartAllGather(values.data(), ends, ticket).ok());
        ASSERT_TRUE(group.Wait(ticket).ok());
        for (uint64_t i = 0; i < values.size(); ++i) ASSERT_EQ(values[i], SumAt(ranks, i)) << i;
        if (even) {
          EXPECT_EQ(gpu.Calls("ncclReduceScatter"), 1);
          EXPECT_EQ(gpu.Calls("ncclReduce"), 0);
        }
      });
    }
  }
}

TEST(NcclGroup, ManyUnderWayEndInOrder) {
  OnRanks(2, [](uint32_t rank, NcclGroup& group, FakeGpu& gpu) {
    std::vector<std::vector<float>> buffers;
    std::vector<Ticket> tickets(50);
    for (size_t i = 0; i < tickets.size(); ++i) buffers.push_back(Values(rank, i + 1));
    for (size_t i = 0; i < tickets.size(); ++i) {
      ASSERT_TRUE(group.StartAllReduceSum(buffers[i].data(), i + 1, tickets[i]).ok());
    }
    ASSERT_TRUE(group.Wait(tickets.back()).ok());
    for (size_t i = 0; i < tickets.size(); ++i) {
      EXPECT_TRUE(group.Test(tickets[i]));
      EXPECT_EQ(buffers[i][i], SumAt(2, i));
    }
    const int events = gpu.Calls("cudaEventCreateWithFlags");
    ASSERT_TRUE(group.StartAllReduceSum(buffers[0].data(), 1, tickets[0]).ok());
    ASSERT_TRUE(group.Wait(tickets[0]).ok());
    EXPECT_EQ(gpu.Calls("cudaEventCreateWithFlags"), events) << "events are used again";
  });
}

TEST(NcclGroup, StartsBehindTheDefaultStream) {
  Bench b;
  b.Open(1);
  float value = 1;
  Ticket ticket = 0;
  b.gpu.QueueOnDefaultStream();  // what makes the value, still running
  ASSERT_TRUE(b.group->StartAllReduceSum(&value, 1, ticket).ok());
  EXPECT_FALSE(b.group->Test(ticket));
  value = 3;
  b.gpu.FinishDefaultStream();
  EXPECT_TRUE(b.group->Test(ticket));
  EXPECT_EQ(value, 3);
}

TEST(NcclGroup, MemoryIsZeroAndWithoutRoomTheGroupGoesOn) {
  Bench b;
  b.Open(1);
  float* values = nullptr;
  ASSERT_TRUE(b.group->Allocate(1000, &values).ok());
  EXPECT_THAT(std::vector<float>(values, values + 1000), Each(0.0f));
  b.gpu.Fail("cudaMalloc", kCudaErrorMemoryAllocation, 2);
  const GpuStatus status = b.group->Allocate(uint64_t{1} << 40, &values);
  EXPECT_EQ(status.code, GpuCode::kResourceExhausted);
  EXPECT_THAT(status.message, AllOf(StartsWith("cudaMalloc: "), HasSubstr("1099511627776 floats")));
  Ticket ticket = 0;
  ASSERT_TRUE(b.group->StartAllReduceSum(values, 1000, ticket).ok());
  EXPECT_TRUE(b.group->Wait(ticket).ok());
  b.group->ReleaseLast();
  b.group->ReleaseLast();  // nothing left: nothing happens
}

void ExpectBroken(Bench& b, const GpuStatus& why) {
  EXPECT_EQ(b.gpu.Calls("ncclCommAbort"), 1);
  float value = 0;
  float* memory = nullptr;
  Ticket ticket = 0;
  NcclId id;
  for (const GpuStatus& later :
       {b.group->StartAllReduceSum(&value, 1, ticket),
        b.group->StartReduceScatterSum(&value, {1, 1}, ticket),
        b.group->StartAllGather(&value, {1, 1}, ticket), b.group->Allocate(1, &memory),
        b.group->NewId(id), b.group->Connect(id, 0, 2), b.group->Wait(1000)}) {
    EXPECT_EQ(later.code, why.code);
    EXPECT_EQ(later.message, why.message);
  }
  EXPECT_TRUE(b.group->Test(1000)) << "nothing to wait for";
  EXPECT_EQ(b.gpu.Calls("ncclCommAbort"), 1);
}

void ExpectOverdue(Bench& b, const GpuStatus& status, int64_t since_us) {
  EXPECT_EQ(status.code, GpuCode::kDeadlineExceeded);
  EXPECT_THAT(status.message, HasSubstr("no progress for 10000 ms"));
  EXPECT_GE(b.time.now_us - since_us, kTimeoutMs * 1000);
  EXPECT_LE(b.time.now_us - since_us, kTimeoutMs * 1000 + 5000);
  EXPECT_LE(b.time.longest_sleep_us, 5000);
  EXPECT_LT(b.time.sleeps, 10'000u) << "waiting must not burn a core";
}

TEST(NcclGroup, APeerThatHangsIsAnErrorInTime) {
  Bench b;
  b.Open(2);
  float value = 0;
  Ticket ticket = 0;
  ASSERT_TRUE(b.group->StartAllReduceSum(&value, 1, ticket).ok());
  const int64_t start = b.time.now_us;
  const GpuStatus status = b.group->Wait(ticket);
  ExpectOverdue(b, status, start);
  ExpectBroken(b, status);
}

TEST(NcclGroup, APeerThatHangsIsSeenByPollingAlone) {
  Bench b;
  b.Open(2);
  float value = 0;
  Ticket ticket = 0;
  ASSERT_TRUE(b.group->StartAllReduceSum(&value, 1, ticket).ok());
  EXPECT_FALSE(b.group->Test(ticket));
  b.time.now_us += kTimeoutMs * 1000 - 1;
  EXPECT_FALSE(b.group->Test(ticket));
  b.time.now_us += 1;
  EXPECT_TRUE(b.group->Test(ticket));
  EXPECT_EQ(b.group->Wait(ticket).code, GpuCode::kDeadlineExceeded);
}

TEST(NcclGroup, APeerThatNeverComesIsAnErrorInTime) {
  Bench b;
  ASSERT_TRUE(b.Prepare().ok());
  ASSERT_TRUE(b.group->NewId(b.id).ok());
  const GpuStatus status = b.group->Connect(b.id, 0, 2);
  ExpectOverdue(b, status, 0);
  EXPECT_THAT(status.message, StartsWith("ncclCommInitRankConfig"));
  ExpectBroken(b, status);
}

TEST(NcclGroup, ACallThatNcclNeverTakesIsAnErrorInTime) {
  for (bool parts : {false, true}) {
    Bench b;
    b.Open(1);
    b.gpu.NeverTake();
    std::vector<float> values(8);
    Ticket ticket = 0;
    const int64_t start = b.time.now_us;
    const GpuStatus status = parts ? b.group->StartAllGather(values.data(), {3, 8}, ticket)
                                   : b.group->StartAllReduceSum(values.data(), 8, ticket);
    ExpectOverdue(b, status, start);
    EXPECT_THAT(status.message, StartsWith(parts ? "ncclGroupEnd" : "ncclAllReduce"));
    ExpectBroken(b, status);
  }
}

TEST(NcclGroup, TheLimitIsOnProgressNotOnTheWhole) {
  Bench b;
  b.Open(1);
  std::vector<Ticket> tickets(10);
  float value = 0;
  for (Ticket& ticket : tickets) {
    b.gpu.QueueOnDefaultStream();
    ASSERT_TRUE(b.group->StartAllReduceSum(&value, 1, ticket).ok());
  }
  // The first nine end one by one, each shortly before the limit.
  int64_t next = kTimeoutMs * 900;
  int finished = 0;
  b.time.on_sleep = [&] {
    if (finished == 9 || b.time.now_us < next) return;
    b.gpu.FinishOneOfDefaultStream();
    next += kTimeoutMs * 900;
    ++finished;
  };
  EXPECT_TRUE(b.group->Wait(tickets[8]).ok());
  EXPECT_GT(b.time.now_us, 8 * kTimeoutMs * 1000);
  EXPECT_EQ(b.group->Wait(tickets[9]).code, GpuCode::kDeadlineExceeded);
}

TEST(NcclGroup, AnErrorInTheBackgroundIsFound) {
  for (bool by_query : {false, true}) {
    Bench b;
    b.Open(2);
    float value = 0;
    Ticket ticket = 0;
    ASSERT_TRUE(b.group->StartAllReduceSum(&value, 1, ticket).ok());
    EXPECT_FALSE(b.group->Test(ticket));
    if (by_query) {
      b.gpu.Fail("ncclCommGetAsyncError", kNcclInternalError);
    } else {
      b.gpu.BackgroundError(kNcclRemoteError);
    }
    const int64_t start = b.time.now_us;
    const GpuStatus status = b.group->Wait(ticket);
    EXPECT_EQ(status.code, by_query ? GpuCode::kInternal : GpuCode::kUnavailable);
    EXPECT_THAT(status.message,
                StartsWith(by_query ? "ncclCommGetAsyncError: " : "NCCL, in the background: "));
    EXPECT_THAT(status.message, HasSubstr("NCCL's details"));
    EXPECT_EQ(b.time.now_us, start) << "without waiting for the limit";
    ExpectBroken(b, status);
  }
}

TEST(NcclGroup, ARankThatGivesUpEndsTheOthers) {
  std::barrier connected(2);
  OnRanks(2, [&](uint32_t rank, NcclGroup& group, FakeGpu& gpu) {
    connected.arrive_and_wait();
    float value = 0;
    Ticket ticket = 0;
    if (rank == 1) gpu.QueueOnDefaultStream();  // so that its sum is never begun
    EXPECT_TRUE(group.StartAllReduceSum(&value, 1, ticket).ok());
    if (rank == 1) return;  // its group ends with a sum under way
    EXPECT_EQ(group.Wait(ticket).code, GpuCode::kUnavailable);
  });
}

// A run of all that a group does, up to its first error.
GpuStatus RunAll(Bench& b) {
  b.play_peers = true;
  b.gpu.PlayPeers();
  GpuStatus status = b.Prepare();
  if (status.ok()) status = b.Connect(2);
  float* values = nullptr;
  if (status.ok()) status = b.group->Allocate(12, &values);
  Ticket ticket = 0;
  for (int round = 0; round < 3 && status.ok(); ++round) {
    status = b.group->StartAllReduceSum(values, 12, ticket);
    if (status.ok()) status = b.group->StartReduceScatterSum(values, {6, 12}, ticket);
    if (status.ok()) status = b.group->StartAllGather(values, {6, 12}, ticket);
    if (status.ok()) status = b.group->StartReduceScatterSum(values, {4, 12}, ticket);
    if (status.ok()) status = b.group->StartAllGather(values, {4, 12}, ticket);
    if (status.ok()) status = b.group->Wait(ticket);
  }
  return status;
}

TEST(NcclGroup, EveryCallThatFailsIsATypedErrorThatNamesIt) {
  std::set<std::string> calls;
  {
    Bench b;
    ASSERT_TRUE(RunAll(b).ok());
    calls = b.gpu.CallNames();
  }
  // Each is there: a call that this run never made would be tested by nobody.
  EXPECT_THAT(
      calls,
      ::testing::IsSupersetOf(
          {"cudaSetDevice", "cudaStreamCreateWithPriority", "cudaEventCreateWithFlags",
           "cudaEventRecord of the default stream", "cudaEventRecord", "cudaStreamWaitEvent",
           "cudaEventQuery", "cudaMalloc", "cudaMemset", "ncclGetUniqueId",
           "ncclCommInitRankConfig", "ncclCommGetAsyncError", "ncclAllReduce", "ncclReduceScatter",
           "ncclAllGather", "ncclReduce", "ncclBroadcast", "ncclGroupStart", "ncclGroupEnd"}));
  for (const std::string& call : calls) {
    for (int nth = 1; nth <= 6; ++nth) {
      Bench b;
      const bool cuda = call.starts_with("cuda");
      b.gpu.Fail(call, cuda ? kCudaErrorIllegalAddress : kNcclUnhandledCudaError, nth);
      const GpuStatus status = RunAll(b);
      if (b.gpu.Calls(call) < nth) continue;
      SCOPED_TRACE(call + ", call " + std::to_string(nth));
      ASSERT_EQ(status.code, GpuCode::kInternal);
      EXPECT_THAT(status.message, StartsWith(call.substr(0, call.find(' ')) + ": "));
      EXPECT_THAT(status.message,
                  HasSubstr(cuda ? "cudaErrorOfTheTest: as the test wants it" : "NCCL's words"));
      if (b.gpu.Calls("ncclCommInitRankConfig") > 0 && call != "ncclCommInitRankConfig") {
        EXPECT_EQ(b.gpu.Calls("ncclCommAbort"), 1) << "the other ranks would wait for ever";
        EXPECT_EQ(b.gpu.Calls("ncclCommDestroy"), 0);
      }
      EXPECT_EQ(b.gpu.Calls("ncclGroupStart") - (call == "ncclGroupStart" ? 1 : 0),
                b.gpu.Calls("ncclGroupEnd"));
    }
  }
}

TEST(NcclGroup, AnEndIsNeverAHang) {
  {
    Bench b;  // with an operation that will never end
    b.Open(2);
    float value = 0;
    Ticket ticket = 0;
    ASSERT_TRUE(b.group->StartAllReduceSum(&value, 1, ticket).ok());
    const int64_t start = b.time.now_us;
    b.group.reset();
    EXPECT_EQ(b.gpu.Calls("ncclCommAbort"), 1);
    EXPECT_EQ(b.time.now_us, start);
  }
  {
    Bench b;  // NCCL does not finish
    b.Open(1);
    b.gpu.NeverTake();
    b.group.reset();
    EXPECT_EQ(b.gpu.Calls("ncclCommAbort"), 1);
    EXPECT_EQ(b.gpu.Calls("ncclCommDestroy"), 0);
    EXPECT_LE(b.time.now_us, kTimeoutMs * 1000 + 10'000);
  }
  {
    Bench b;  // the usual one
    b.Open(1);
    b.group.reset();
    EXPECT_EQ(b.gpu.Calls("ncclCommFinalize"), 1);
    EXPECT_EQ(b.gpu.Calls("ncclCommDestroy"), 1);
    EXPECT_EQ(b.gpu.Calls("ncclCommAbort"), 0);
  }
}

TEST(NcclGroup, AnAbortThatFailsIsTold) {
  Bench b;
  b.Open(1);
  b.gpu.Fail("ncclCommAbort", kNcclSystemError);
  b.gpu.Fail("ncclAllReduce", kNcclInvalidUsage);
  float value = 0;
  Ticket ticket = 0;
  const GpuStatus status = b.group->StartAllReduceSum(&value, 1, ticket);
  EXPECT_EQ(status.code, GpuCode::kInvalidArgument) << "the first error counts";
  EXPECT_THAT(status.message,
              AllOf(StartsWith("ncclAllReduce: "), HasSubstr("; then ncclCommAbort")));
}

TEST(NcclGroup, TooManyUnderWayAreRefused) {
  Bench b;
  b.Open(2);
  float value = 0;
  Ticket ticket = 0;
  GpuStatus status;
  int started = 0;
  while ((status = b.group->StartAllReduceSum(&value, 1, ticket)).ok()) ++started;
  EXPECT_EQ(started, 4096);
  EXPECT_EQ(status.code, GpuCode::kResourceExhausted);
  ExpectBroken(b, status);
}

TEST(GpuStatus, CodesComeToKinds) {
  const AtollGpuApi& api = FakeGpu::Api();
  const auto cuda = [&](int code) { return CudaStatus(api, code, "cudaCall").code; };
  EXPECT_EQ(cuda(kCudaSuccess), GpuCode::kOk);
  EXPECT_EQ(cuda(kCudaErrorMemoryAllocation), GpuCode::kResourceExhausted);
  EXPECT_EQ(cuda(kCudaErrorInvalidValue), GpuCode::kInvalidArgument);
  EXPECT_EQ(cuda(kCudaErrorInvalidDevice), GpuCode::kInvalidArgument);
  EXPECT_EQ(cuda(kCudaErrorInvalidResourceHandle), GpuCode::kInvalidArgument);
  EXPECT_EQ(cuda(kCudaErrorNoDevice), GpuCode::kFailedPrecondition);
  EXPECT_EQ(cuda(kCudaErrorInsufficientDriver), GpuCode::kFailedPrecondition);
  EXPECT_EQ(cuda(kCudaErrorInitialization), GpuCode::kFailedPrecondition);
  EXPECT_EQ(cuda(kCudaErrorSystemNotReady), GpuCode::kFailedPrecondition);
  EXPECT_EQ(cuda(kCudaErrorSystemDriverMismatch), GpuCode::kFailedPrecondition);
  EXPECT_EQ(cuda(kCudaErrorDevicesUnavailable), GpuCode::kUnavailable);
  EXPECT_EQ(cuda(kCudaErrorIllegalAddress), GpuCode::kInternal);
  EXPECT_EQ(cuda(123456), GpuCode::kInternal);
  const auto nccl = [&](int code) { return NcclStatus(api, code, "ncclCall", nullptr).code; };
  EXPECT_EQ(nccl(kNcclSuccess), GpuCode::kOk);
  EXPECT_EQ(nccl(kNcclRemoteError), GpuCode::kUnavailable);
  EXPECT_EQ(nccl(kNcclSystemError), GpuCode::kUnavailable);
  EXPECT_EQ(nccl(kNcclInvalidArgument), GpuCode::kInvalidArgument);
  EXPECT_EQ(nccl(kNcclInvalidUsage), GpuCode::kInvalidArgument);
  EXPECT_EQ(nccl(kNcclUnhandledCudaError), GpuCode::kInternal);
  EXPECT_EQ(nccl(kNcclInternalError), GpuCode::kInternal);
  EXPECT_EQ(nccl(99), GpuCode::kInternal);
  EXPECT_EQ(NcclStatus(api, kNcclRemoteError, "ncclCall", nullptr).message,
            "ncclCall: NCCL's words (NCCL's details)");
  // A library that says nothing at all.
  AtollGpuApi silent = api;
  silent.cuda_error_name = silent.cuda_error_text =
      silent.nccl_error_text = [](int) -> const char* { return nullptr; };
  silent.nccl_last_error = [](void*) -> const char* { return nullptr; };
  EXPECT_EQ(CudaStatus(silent, 1, "cudaCall").message, "cudaCall: : ");
  EXPECT_EQ(NcclStatus(silent, 1, "ncclCall", nullptr).message, "ncclCall: ");
}

}  // namespace
}  // namespace atl
