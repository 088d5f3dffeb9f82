#include "comms/collectives/nccl/nccl_group.h"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

namespace atl {
namespace {

constexpr size_t kMaxInFlight = 4096;
// As for MPI: yield at first, then sleep a sixteenth of the time waited so far.
constexpr int64_t kYieldForUs = 200, kSleepMinUs = 50, kSleepMaxUs = 5000;

int64_t SteadyUs() {
  using std::chrono::steady_clock;
  return std::chrono::duration_cast<std::chrono::microseconds>(
             steady_clock::now().time_since_epoch())
      .count();
}

void SystemSleep(int64_t us) {
  if (us == 0) {
    sched_yield();
  } else {
    std::this_thread::sleep_for(std::chrono::microseconds(us));
  }
}

// The size of each part where all have the same, else 0.
uint64_t EvenPart(const PartEnds& ends) {
  for (size_t r = 0; r < ends.size(); ++r) {
    if (ends[r] != (r + 1) * ends[0]) return 0;
  }
  return ends.empty() ? 0 : ends[0];
}

}  // namespace

NcclGroup::NcclGroup(const AtollGpuApi& api, NcclGroupOptions options)
    : api_(api), options_(std::move(options)) {
  if (!options_.now_us) options_.now_us = SteadyUs;
  if (!options_.sleep_us) options_.sleep_us = SystemSleep;
}

GpuStatus NcclGroup::Prepare(const AtollGpuApi& api, NcclGroupOptions options,
                             std::unique_ptr<NcclGroup>& group) {
  std::unique_ptr<NcclGroup> made(new NcclGroup(api, std::move(options)));
  GpuStatus status = made->Cuda(api.set_device(made->options_.device), "cudaSetDevice");
  if (status.ok()) {
    status = made->Cuda(api.stream_create(&made->stream_), "cudaStreamCreateWithPriority");
  }
  if (status.ok()) {
    status = made->Cuda(api.event_create(&made->behind_default_), "cudaEventCreateWithFlags");
  }
  if (status.ok()) group = std::move(made);
  return status;
}

NcclGroup::~NcclGroup() {
  (void)api_.set_device(options_.device);
  if (comm_ != nullptr && !in_flight_.empty()) {
    (void)Break({GpuCode::kUnavailable, "given up with operations under way"});
  }
  if (comm_ != nullptr && Settle(api_.comm_finalize(comm_), "ncclCommFinalize").ok()) {
    (void)api_.comm_destroy(comm_);
  }
  // What these could still say, nobody would hear.
  for (void* event : in_flight_) (void)api_.event_destroy(event);
  for (void* event : spare_) (void)api_.event_destroy(event);
  if (behind_default_ != nullptr) (void)api_.event_destroy(behind_default_);
  if (stream_ != nullptr) (void)api_.stream_destroy(stream_);
  for (void* data : memory_) (void)api_.release(data);
}

GpuStatus NcclGroup::NewId(NcclId& id) {
  if (!broken_.ok()) return broken_;
  return Settle(api_.unique_id(id.data()), "ncclGetUniqueId");
}

GpuStatus NcclGroup::Connect(const NcclId& id, uint32_t rank, uint32_t ranks) {
  if (!broken_.ok()) return broken_;
  GpuStatus status = Cuda(api_.set_device(options_.device), "cudaSetDevice");
  if (!status.ok()) return status;
  rank_ = rank;
  return Settle(api_.comm_init(&comm_, static_cast<int>(ranks), id.data(), static_cast<int>(rank)),
                "ncclCommInitRankConfig");
}

GpuStatus NcclGroup::Allocate(uint64_t count, float** values) {
  if (!broken_.ok()) return broken_;
  GpuStatus status = Cuda(api_.set_device(options_.device), "cudaSetDevice");
  if (!status.ok()) return status;
  void* data = nullptr;
  if (int error = api_.allocate(&data, count * sizeof(float)); error != kCudaSuccess) {
    status = CudaStatus(api_, error, "cudaMalloc");
    status.message +=
        ": " + std::to_string(count) + " floats on device " + std::to_string(options_.device);
    return error == kCudaErrorMemoryAllocation ? status : Break(status);
  }
  memory_.push_back(data);
  status = Cuda(api_.zero(data, count * sizeof(float)), "cudaMemset");
  if (status.ok()) *values = static_cast<float*>(data);
  return status;
}

void NcclGroup::ReleaseLast() {
  if (memory_.empty()) return;
  (void)api_.release(memory_.back());
  memory_.pop_back();
}

template <typename Calls>
GpuStatus NcclGroup::Start(const char* call, Ticket& ticket, Calls calls) {
  Poll();
  if (!broken_.ok()) return broken_;
  if (in_flight_.size() >= kMaxInFlight) {
    return Break({GpuCode::kResourceExhausted, std::string(call).append(": ") +
                                                   std::to_string(kMaxInFlight) +
                                                   " operations are under way already"});
  }
  // A rank that fails here leaves the others waiting: so every failure is the end.
  GpuStatus status = Cuda(api_.set_device(options_.device), "cudaSetDevice");
  if (!status.ok()) return status;
  status = Cuda(api_.event_record(behind_default_, nullptr), "cudaEventRecord");
  if (!status.ok()) return status;
  status = Cuda(api_.stream_wait_event(stream_, behind_default_), "cudaStreamWaitEvent");
  if (!status.ok()) return status;
  void* event = nullptr;
  if (spare_.empty()) {
    status = Cuda(api_.event_create(&event), "cudaEventCreateWithFlags");
    if (!status.ok()) return status;
  } else {
    event = spare_.back();
    spare_.pop_back();
  }
  if (in_flight_.empty()) last_progress_us_ = options_.now_us();
  in_flight_.push_back(event);
  status = calls();
  if (!status.ok()) return status;
  status = Cuda(api_.event_record(event, stream_), "cudaEventRecord");
  if (!status.ok()) return status;
  ticket = ++started_;
  return {};
}

GpuStatus NcclGroup::StartAllReduceSum(float* values, uint64_t count, Ticket& ticket) {
  return Start("ncclAllReduce", ticket, [&] {
    return Settle(api_.all_reduce_sum(values, count, comm_, stream_), "ncclAllReduce");
  });
}

template <typename Call>
GpuStatus NcclGroup::StartParts(const char* call, const PartEnds& ends, float* values,
                                Ticket& ticket, Call part) {
  return Start(call, ticket, [&] {
    // Parts of different sizes, which NCCL's own calls do not know; in a group they run as one.
    GpuStatus status = Settle(api_.group_start(), "ncclGroupStart");
    if (!status.ok()) return status;
    int result = kNcclSuccess;
    uint64_t begin = 0;
    for (size_t r = 0; r < ends.size() && result == kNcclSuccess; ++r) {
      if (ends[r] > begin) result = part(values + begin, ends[r] - begin, static_cast<int>(r));
      // Within a group a call is only noted down.
      if (result == kNcclInProgress) result = kNcclSuccess;
      begin = ends[r];
    }
    // A group that is open must end before anything else, an abort too.
    const int end = api_.group_end();
    return result != kNcclSuccess ? Settle(result, call) : Settle(end, "ncclGroupEnd");
  });
}

GpuStatus NcclGroup::StartReduceScatterSum(float* values, const PartEnds& ends, Ticket& ticket) {
  if (const uint64_t even = EvenPart(ends); even != 0) {
    return Start("ncclReduceScatter", ticket, [&] {
      return Settle(api_.reduce_scatter_sum(values, values + rank_ * even, even, comm_, stream_),
                    "ncclReduceScatter");
    });
  }
  return StartParts("ncclReduce", ends, values, ticket, [&](float* part, uint64_t count, int root) {
    return api_.reduce_sum(part, count, root, comm_, stream_);
  });
}

GpuStatus NcclGroup::StartAllGather(float* values, const PartEnds& ends, Ticket& ticket) {
  if (const uint64_t even = EvenPart(ends); even != 0) {
    return Start("ncclAllGather", ticket, [&] {
      return Settle(api_.all_gather(values + rank_ * even, values, even, comm_, stream_),
                    "ncclAllGather");
    });
  }
  return StartParts("ncclBroadcast", ends, values, ticket,
                    [&](float* part, uint64_t count, int root) {
                      return api_.broadcast(part, count, root, comm_, stream_);
                    });
}

bool NcclGroup::Test(Ticket ticket) {
  if (ticket > ended_) Poll();
  return ticket <= ended_ || !broken_.ok();
}

GpuStatus NcclGroup::Wait(Ticket ticket) {
  const int64_t start = options_.now_us();
  while (!Test(ticket)) Pause(options_.now_us() - start);
  return ticket <= ended_ ? GpuStatus{} : broken_;
}

// Takes note of what has ended, of errors, and of the time without any end.
void NcclGroup::Poll() {
  while (!in_flight_.empty() && broken_.ok()) {
    const int error = api_.event_query(in_flight_.front());
    if (error == kCudaSuccess) {
      spare_.push_back(in_flight_.front());
      in_flight_.pop_front();
      ++ended_;
      last_progress_us_ = options_.now_us();
      continue;
    }
    if (error != kCudaErrorNotReady) {
      (void)Cuda(error, "cudaEventQuery");
      return;
    }
    int state = kNcclSuccess;
    if (int result = api_.comm_async_error(comm_, &state); result != kNcclSuccess) {
      (void)Break(NcclStatus(api_, result, "ncclCommGetAsyncError", comm_));
    } else if (state != kNcclSuccess && state != kNcclInProgress) {
      (void)Break(NcclStatus(api_, state, "NCCL, in the background", comm_));
    } else if (options_.now_us() - last_progress_us_ >= options_.timeout_ms * 1000) {
      (void)Break(Overdue("a sum over ranks"));
    }
    return;
  }
}

GpuStatus NcclGroup::Cuda(int error, const char* call) {
  return error == kCudaSuccess ? GpuStatus{} : Break(CudaStatus(api_, error, call));
}

// Waits until NCCL has taken a call, which can mean until the peers have come.
GpuStatus NcclGroup::Settle(int result, const char* call) {
  const int64_t start = options_.now_us();
  while (result == kNcclInProgress && comm_ != nullptr) {
    if (int query = api_.comm_async_error(comm_, &result); query != kNcclSuccess) {
      return Break(NcclStatus(api_, query, "ncclCommGetAsyncError", comm_));
    }
    if (result != kNcclInProgress) break;
    const int64_t waited = options_.now_us() - start;
    if (waited >= options_.timeout_ms * 1000) return Break(Overdue(call));
    Pause(waited);
  }
  return result == kNcclSuccess ? GpuStatus{} : Break(NcclStatus(api_, result, call, comm_));
}

GpuStatus NcclGroup::Overdue(const char* what) {
  return {GpuCode::kDeadlineExceeded, std::string(what) + " has made no progress for " +
                                          std::to_string(options_.timeout_ms) +
                                          " ms: another rank hangs, or the way to it is broken"};
}

GpuStatus NcclGroup::Break(GpuStatus status) {
  if (!broken_.ok()) return broken_;
  broken_ = std::move(status);
  if (comm_ != nullptr) {
    const int result = api_.comm_abort(std::exchange(comm_, nullptr));
    if (result != kNcclSuccess && result != kNcclInProgress) {
      broken_.message += "; then " + NcclStatus(api_, result, "ncclCommAbort", nullptr).message;
    }
  }
  return broken_;
}

void NcclGroup::Pause(int64_t waited_us) {
  options_.sleep_us(waited_us < kYieldForUs ? 0
                                            : std::clamp(waited_us / 16, kSleepMinUs, kSleepMaxUs));
}

}  // namespace atl
