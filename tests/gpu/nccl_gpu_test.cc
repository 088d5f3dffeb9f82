// NcclGroup over NCCL itself, on all GPUs of this machine (a thread each) and on one.
#include <algorithm>
#include <barrier>
#include <chrono>
#include <memory>
#include <thread>

#include "comms/collectives/nccl/nccl_group.h"
#include "tests/gpu/check.h"

namespace atl::gpu {
namespace {

using Ticket = NcclGroup::Ticket;

void CheckOk(const GpuStatus& status, const char* what) {
  CHECK_THAT(status.ok(), what << ": " << status.message);
}

// body(rank, group) on connected ranks, one for each GPU from the first.
void OnRanks(int ranks, const std::function<void(int, NcclGroup&)>& body) {
  NcclId id{};
  std::barrier ready(ranks);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      std::unique_ptr<NcclGroup> group;
      const NcclGroupOptions options{.device = rank, .timeout_ms = 60'000};
      CheckOk(NcclGroup::Prepare(Api(), options, group), "Prepare");
      if (rank == 0) CheckOk(group->NewId(id), "NewId");
      ready.arrive_and_wait();
      CheckOk(group->Connect(id, static_cast<uint32_t>(rank), static_cast<uint32_t>(ranks)),
              "Connect");
      body(rank, *group);
    });
  }
  for (auto& thread : threads) thread.join();
}

std::vector<float> Values(int rank, uint64_t count) {
  std::vector<float> values(count);
  for (uint64_t i = 0; i < count; ++i) {
    values[i] = static_cast<float>(static_cast<uint64_t>(rank + 1) * (i % 100 + 1));
  }
  return values;
}
float SumAt(int ranks, uint64_t i) {
  return static_cast<float>(static_cast<uint64_t>(ranks * (ranks + 1) / 2) * (i % 100 + 1));
}

void Write(float* to, const std::vector<float>& from) {
  CheckOk(CudaStatus(Api(), Api().copy(to, from.data(), 4 * from.size()), "copy"), "to the GPU");
}
std::vector<float> Read(const float* from, uint64_t count) {
  std::vector<float> values(count);
  CheckOk(CudaStatus(Api(), Api().copy(values.data(), from, 4 * count), "copy"), "from the GPU");
  return values;
}

void ExpectSums(const std::vector<float>& values, int ranks, uint64_t first, uint64_t last) {
  for (uint64_t i = first; i < last; ++i) {
    if (values[i] == SumAt(ranks, i)) continue;
    CHECK_THAT(values[i] == SumAt(ranks, i), "at " << i << " of " << values.size() << ": "
                                                   << values[i] << ", not " << SumAt(ranks, i));
    return;
  }
}

void SumsScattersGathers() {
  for (int ranks = 1; ranks <= Gpus(); ++ranks) {
    OnRanks(ranks, [ranks](int rank, NcclGroup& group) {
      for (uint64_t count : {uint64_t{1}, uint64_t{1000}, uint64_t{3'000'011}}) {
        float* memory = nullptr;
        CheckOk(group.Allocate(count, &memory), "Allocate");
        CHECK_THAT(Read(memory, count) == std::vector<float>(count), "memory is zero at first");
        Write(memory, Values(rank, count));
        Ticket ticket = 0;
        CheckOk(group.StartAllReduceSum(memory, count, ticket), "StartAllReduceSum");
        CheckOk(group.Wait(ticket), "Wait");
        ExpectSums(Read(memory, count), ranks, 0, count);

        // Even parts, then parts that differ, some of them empty.
        for (const bool even : {true, false}) {
          PartEnds ends(static_cast<size_t>(ranks));
          const uint64_t each = count / static_cast<uint64_t>(ranks);
          for (int r = 0; r < ranks; ++r) {
            ends[r] = even ? each * (r + 1) : std::min<uint64_t>(count, (each + 700) * (r + 1));
          }
          if (!even) ends.back() = count;
          if (ends.back() == 0) continue;
          const uint64_t first = rank == 0 ? 0 : ends[rank - 1], last = ends[rank];
          Write(memory, Values(rank, count));
          CheckOk(group.StartReduceScatterSum(memory, ends, ticket), "StartReduceScatterSum");
          CheckOk(group.Wait(ticket), "Wait");
          std::vector<float> values = Read(memory, count);
          ExpectSums(values, ranks, first, last);
          for (uint64_t i = 0; i < count; ++i) {
            if (i < first || i >= last) values[i] = -1;
          }
          Write(memory, values);
          CheckOk(group.StartAllGather(memory, ends, ticket), "StartAllGather");
          CheckOk(group.Wait(ticket), "Wait");
          ExpectSums(Read(memory, count), ranks, 0, ends.back());
        }
      }
    });
  }
}

// lanes +-= many streams, queued on the default stream.
void QueueMasks(float* memory, uint64_t count, bool subtract) {
  std::vector<AtollGpuMaskKey> keys(16);
  for (size_t k = 0; k < keys.size(); ++k) {
    std::fill(std::begin(keys[k].key), std::end(keys[k].key), static_cast<uint8_t>(k + 1));
    keys[k].subtract = subtract;
  }
  char problem[256] = "";
  const int failed = Api().add_masks(reinterpret_cast<uint8_t*>(memory), count, 4, 0, keys.data(),
                                     16, /*cipher=*/2, nullptr, problem, sizeof problem);
  CHECK_THAT(failed == 0, problem);
}

void SumsWaitForTheDefaultStream() {
  // Values are rubbish until the second of the queued kernels has run: a sum that started before
  // would show it (with one GPU there is nothing to sum, and only the calls are tried).
  OnRanks(Gpus(), [](int rank, NcclGroup& group) {
    constexpr uint64_t kCount = 4'000'000;
    float* memory = nullptr;
    CheckOk(group.Allocate(kCount, &memory), "Allocate");
    for (int round = 0; round < 5; ++round) {
      Write(memory, Values(rank, kCount));
      QueueMasks(memory, kCount, false);
      QueueMasks(memory, kCount, true);
      Ticket ticket = 0;
      CheckOk(group.StartAllReduceSum(memory, kCount, ticket), "StartAllReduceSum");
      CheckOk(group.Wait(ticket), "Wait");
      ExpectSums(Read(memory, kCount), Gpus(), 0, kCount);
    }
  });
}

void APeerThatNeverComesIsAnErrorInTime() {
  const auto start = std::chrono::steady_clock::now();
  {
    std::unique_ptr<NcclGroup> group;
    CheckOk(NcclGroup::Prepare(Api(), {.device = 0, .timeout_ms = 2000}, group), "Prepare");
    NcclId id{};
    CheckOk(group->NewId(id), "NewId");
    const GpuStatus status = group->Connect(id, 0, 2);
    CHECK_THAT(status.code == GpuCode::kDeadlineExceeded, status.message);
    float* memory = nullptr;
    CHECK_THAT(group->Allocate(1, &memory).code == GpuCode::kDeadlineExceeded, "the group is over");
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  CHECK_THAT(took.count() < 30, "took " << took.count() << " s, with an abort and an end");
}

void APeerThatHangsIsAnErrorInTime() {
  if (Gpus() < 2) {
    std::printf("       (needs two GPUs)\n");
    return;
  }
  std::barrier done(2);
  NcclId id{};
  std::barrier ready(2);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 2; ++rank) {
    threads.emplace_back([&, rank] {
      std::unique_ptr<NcclGroup> group;
      const NcclGroupOptions options{.device = rank, .timeout_ms = 5000};
      CheckOk(NcclGroup::Prepare(Api(), options, group), "Prepare");
      if (rank == 0) CheckOk(group->NewId(id), "NewId");
      ready.arrive_and_wait();
      CheckOk(group->Connect(id, static_cast<uint32_t>(rank), 2), "Connect");
      float* memory = nullptr;
      CheckOk(group->Allocate(1000, &memory), "Allocate");
      Ticket ticket = 0;
      CheckOk(group->StartAllReduceSum(memory, 1000, ticket), "the first sum, of both");
      CheckOk(group->Wait(ticket), "Wait");
      if (rank == 0) {  // rank 1 hangs
        GpuStatus status = group->StartAllReduceSum(memory, 1000, ticket);
        if (status.ok()) status = group->Wait(ticket);
        CHECK_THAT(status.code == GpuCode::kDeadlineExceeded, status.message);
      }
      done.arrive_and_wait();
    });
  }
  for (auto& thread : threads) thread.join();
}

void WrongCallsAreTypedErrors() {
  std::unique_ptr<NcclGroup> group;
  GpuStatus status = NcclGroup::Prepare(Api(), {.device = 9999}, group);
  CHECK_THAT(status.code == GpuCode::kInvalidArgument, status.message);
  CHECK_THAT(status.message.starts_with("cudaSetDevice: cudaErrorInvalidDevice"), status.message);
  OnRanks(1, [](int, NcclGroup& one) {
    float* memory = nullptr;
    const GpuStatus none = one.Allocate(uint64_t{1} << 44, &memory);
    CHECK_THAT(none.code == GpuCode::kResourceExhausted, none.message);
    CheckOk(one.Allocate(10, &memory), "the group goes on");
  });
}

}  // namespace
}  // namespace atl::gpu

int main() {
  using namespace atl::gpu;
  std::printf("%d GPUs\n", Gpus());
  return Run({{"Nccl.SumsScattersGathers", SumsScattersGathers},
              {"Nccl.SumsWaitForTheDefaultStream", SumsWaitForTheDefaultStream},
              {"Nccl.APeerThatNeverComesIsAnErrorInTime", APeerThatNeverComesIsAnErrorInTime},
              {"Nccl.APeerThatHangsIsAnErrorInTime", APeerThatHangsIsAnErrorInTime},
              {"Nccl.WrongCallsAreTypedErrors", WrongCallsAreTypedErrors}});
}
