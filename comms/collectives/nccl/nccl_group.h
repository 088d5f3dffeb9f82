// Sums of floats over the GPUs of several ranks, by NCCL.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "comms/collectives/nccl/gpu_status.h"

namespace atl {

using NcclId = std::array<uint8_t, ATOLL_NCCL_ID_BYTES>;

struct NcclGroupOptions {
  int device = 0;                // in [0, device_count)
  int64_t timeout_ms = 300'000;  // without any progress, > 0; then a peer is taken to be hung
  std::function<int64_t()> now_us = {};           // monotonic; empty: the system's clock
  std::function<void(int64_t us)> sleep_us = {};  // 0: let others run; empty: the system's
};

// How values are cut into one part a rank: rank r's is [ends[r - 1], ends[r]), the first from 0.
using PartEnds = std::vector<uint64_t>;

// One rank's end of an NCCL communicator, with a stream of its own. Prepare, then (rank 0) NewId,
// then Connect by all ranks with rank 0's id, then sums in the same order on all ranks.
//
// An operation starts behind all that its rank has queued on the default stream. The host learns of
// its end by polling an event, with sleeps that grow, and meanwhile of NCCL's asynchronous errors.
// The first error of any call is the end of the group: NCCL is told to abort, which ends what its
// kernels wait for, and each later call gives the same error. DEADLINE_EXCEEDED is such an error:
// no operation has ended for timeout_ms. So a rank that hangs or dies ends in an error on each of
// the others, never in a hang.
//
// One thread at a time. Standard library only.
class NcclGroup {
 public:
  // An operation: they end in the order in which they started.
  using Ticket = uint64_t;

  // Takes the device, makes stream and events. `api` outlives the group.
  static GpuStatus Prepare(const AtollGpuApi& api, NcclGroupOptions options,
                           std::unique_ptr<NcclGroup>& group);
  ~NcclGroup();
  NcclGroup(const NcclGroup&) = delete;
  NcclGroup& operator=(const NcclGroup&) = delete;

  GpuStatus NewId(NcclId& id);
  // Waits for all ranks, at most timeout_ms.
  GpuStatus Connect(const NcclId& id, uint32_t rank, uint32_t ranks);

  // `count` floats of device memory, zero, that live as long as the group. RESOURCE_EXHAUSTED
  // without room: not the end of the group. Any count but 0.
  GpuStatus Allocate(uint64_t count, float** values);
  // Gives the last allocation back.
  void ReleaseLast();

  // values: device memory, untouched until the operation has ended.
  GpuStatus StartAllReduceSum(float* values, uint64_t count, Ticket& ticket);
  // Part r of the sum goes to rank r; what else there is in `values` is undefined afterwards.
  GpuStatus StartReduceScatterSum(float* values, const PartEnds& ends, Ticket& ticket);
  // Each rank brings its part.
  GpuStatus StartAllGather(float* values, const PartEnds& ends, Ticket& ticket);

  // True when the operation has ended or never will; does not wait.
  bool Test(Ticket ticket);
  // Waits. OK when the operation has ended; else the group's error.
  GpuStatus Wait(Ticket ticket);

 private:
  NcclGroup(const AtollGpuApi& api, NcclGroupOptions options);

  template <typename Calls>
  GpuStatus Start(const char* call, Ticket& ticket, Calls calls);
  template <typename Call>
  GpuStatus StartParts(const char* call, const PartEnds& ends, float* values, Ticket& ticket,
                       Call part);
  GpuStatus Cuda(int error, const char* call);
  GpuStatus Settle(int result, const char* call);
  GpuStatus Break(GpuStatus status);
  GpuStatus Overdue(const char* what);
  void Poll();
  void Pause(int64_t waited_us);

  const AtollGpuApi& api_;
  NcclGroupOptions options_;
  void* stream_ = nullptr;
  void* behind_default_ = nullptr;  // event: all that was queued on the default stream
  void* comm_ = nullptr;
  uint32_t rank_ = 0;
  std::deque<void*> in_flight_;  // events, of operations from ended_ + 1 to started_
  std::vector<void*> spare_;     // events
  std::vector<void*> memory_;
  Ticket started_ = 0, ended_ = 0;
  int64_t last_progress_us_ = 0;
  GpuStatus broken_;
};

}  // namespace atl
