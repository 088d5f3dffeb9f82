#include "tests/collectives/nccl/fake_gpu.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>

namespace atl::testing {
namespace {

enum class Op { kAllReduce, kReduce, kBroadcast, kReduceScatter, kAllGather };

struct Entry {  // of one rank in one operation
  const float* from = nullptr;
  float* to = nullptr;
};

struct Operation {
  Op op;
  size_t count;
  int root;
  std::vector<Entry> ranks;
  int arrived = 0;
  bool done = false;
};

// The ranks of one id.
struct Clique {
  std::mutex mutex;
  int ranks = 0, joined = 0;
  bool aborted = false, mismatch = false;
  std::deque<Operation> operations;
};

struct Comm {
  std::shared_ptr<Clique> clique;
  int rank = 0;
  size_t submitted = 0;
  int slow_left = 0;
  bool joining = true;
};

struct Pending {
  Op op;
  Entry entry;
  size_t count;
  int root;
  int64_t mark;  // of the default stream
};

struct Stream {
  int64_t mark = 0;
  std::deque<Pending> waiting;
  Comm* comm = nullptr;  // of the operations so far
  size_t queued = 0;
};

struct Event {
  int64_t mark = 0;
  Stream* stream = nullptr;  // null: of the default stream, or never recorded
  size_t queued = 0;         // operations before it on its stream
};

std::mutex registry_mutex;
std::map<std::string, std::weak_ptr<Clique>>& Registry() {
  static auto* const registry = new std::map<std::string, std::weak_ptr<Clique>>;
  return *registry;
}

thread_local FakeGpu* current = nullptr;
std::atomic<bool> one_for_each_thread = false;

void Perform(Operation& operation) {
  const size_t ranks = operation.ranks.size(), n = operation.count;
  const bool scatter = operation.op == Op::kReduceScatter;
  const bool sums = scatter || operation.op == Op::kAllReduce || operation.op == Op::kReduce;
  std::vector<float> result(scatter || operation.op == Op::kAllGather ? n * ranks : n);
  if (sums) {
    for (const Entry& entry : operation.ranks) {
      for (size_t i = 0; i < result.size(); ++i) result[i] += entry.from[i];
    }
  } else if (operation.op == Op::kBroadcast) {
    const float* from = operation.ranks[static_cast<size_t>(operation.root)].from;
    std::copy(from, from + n, result.begin());
  } else {
    for (size_t r = 0; r < ranks; ++r) {
      std::copy(operation.ranks[r].from, operation.ranks[r].from + n, result.begin() + r * n);
    }
  }
  for (size_t r = 0; r < ranks; ++r) {
    const Entry& entry = operation.ranks[r];
    if (operation.op == Op::kReduce && r != static_cast<size_t>(operation.root)) continue;
    if (scatter) {
      std::copy_n(result.begin() + r * n, n, entry.to);
    } else {
      std::copy(result.begin(), result.end(), entry.to);
    }
  }
  operation.done = true;
}

}  // namespace

// The table's functions.
struct FakeCalls {
  static FakeGpu& Gpu() {
    if (current != nullptr) return *current;
    if (!one_for_each_thread) std::abort();  // a test forgot Use()
    static thread_local FakeGpu own;
    own.Use();
    return own;
  }

  static void Submit(Comm& comm, const Pending& pending) {
    std::lock_guard lock(comm.clique->mutex);
    auto& operations = comm.clique->operations;
    const size_t index = comm.submitted++;
    if (index == operations.size()) {
      operations.push_back({pending.op, pending.count, pending.root,
                            std::vector<Entry>(static_cast<size_t>(comm.clique->ranks))});
    }
    Operation& operation = operations[index];
    if (operation.op != pending.op || operation.count != pending.count ||
        operation.root != pending.root) {
      comm.clique->mismatch = true;  // on real GPUs: a hang or rubbish
      return;
    }
    operation.ranks[static_cast<size_t>(comm.rank)] = pending.entry;
    ++operation.arrived;
    if (Gpu().play_peers_) {
      std::fill(operation.ranks.begin(), operation.ranks.end(), pending.entry);
      operation.arrived = comm.clique->ranks;
    }
    if (operation.arrived == comm.clique->ranks) Perform(operation);
  }

  static int Made(const char* call, int* alive) {
    const int code = Gpu().Enter(call);
    if (code == 0) ++*alive;
    return code;
  }

  static int DeviceCount(int* count) {
    *count = 1;
    return Gpu().Enter("cudaGetDeviceCount");
  }
  static int SetDevice(int) { return Gpu().Enter("cudaSetDevice"); }
  static int DeviceName(int, char* name, size_t bytes) {
    std::snprintf(name, bytes, "Fake GPU");
    return Gpu().Enter("cudaGetDeviceProperties");
  }
  static int DeviceUuid(int device, uint8_t* uuid) {
    std::memset(uuid, device + 1, 16);
    return Gpu().Enter("cudaGetDeviceProperties");
  }
  static constexpr size_t kMemoryBytes = size_t{1} << 32;  // a small device
  static int Allocate(void** data, size_t bytes) {
    *data = bytes <= kMemoryBytes ? std::malloc(bytes) : nullptr;
    if (*data == nullptr) return kCudaErrorMemoryAllocation;
    const int code = Made("cudaMalloc", &Gpu().alive_);
    if (code == 0) {
      std::memset(*data, 0xff, bytes);
    } else {
      std::free(*data);
    }
    return code;
  }
  static int Release(void* data) {
    std::free(data);
    --Gpu().alive_;
    return Gpu().Enter("cudaFree");
  }
  static int Zero(void* data, size_t bytes) {
    std::memset(data, 0, bytes);
    return Gpu().Enter("cudaMemset");
  }
  static int Copy(void* to, const void* from, size_t bytes) {
    std::memcpy(to, from, bytes);
    return Gpu().Enter("cudaMemcpy");
  }
  static int StreamCreate(void** stream) {
    const int code = Made("cudaStreamCreateWithPriority", &Gpu().alive_);
    if (code == 0) *stream = new Stream;
    return code;
  }
  static int StreamDestroy(void* stream) {
    delete static_cast<Stream*>(stream);
    --Gpu().alive_;
    return Gpu().Enter("cudaStreamDestroy");
  }
  static int StreamWaitEvent(void* stream, void* event) {
    static_cast<Stream*>(stream)->mark = static_cast<Event*>(event)->mark;
    return Gpu().Enter("cudaStreamWaitEvent");
  }
  static int EventCreate(void** event) {
    const int code = Made("cudaEventCreateWithFlags", &Gpu().alive_);
    if (code == 0) *event = new Event;
    return code;
  }
  static int EventDestroy(void* event) {
    delete static_cast<Event*>(event);
    --Gpu().alive_;
    return Gpu().Enter("cudaEventDestroy");
  }
  static int EventRecord(void* event, void* stream) {
    Event& e = *static_cast<Event*>(event);
    e.stream = static_cast<Stream*>(stream);
    e.mark = Gpu().default_queued_;
    e.queued = stream == nullptr ? 0 : e.stream->queued;
    return Gpu().Enter(stream == nullptr ? "cudaEventRecord of the default stream"
                                         : "cudaEventRecord");
  }
  static int EventQuery(void* event) {
    if (int code = Gpu().Enter("cudaEventQuery")) return code;
    const Event& e = *static_cast<Event*>(event);
    if (e.stream == nullptr || e.queued == 0) return kCudaSuccess;
    Stream& stream = *e.stream;
    while (!stream.waiting.empty() && stream.waiting.front().mark <= Gpu().default_done_) {
      Submit(*stream.comm, stream.waiting.front());
      stream.waiting.pop_front();
    }
    std::lock_guard lock(stream.comm->clique->mutex);
    const auto& operations = stream.comm->clique->operations;
    const bool done = operations.size() >= e.queued && operations[e.queued - 1].done;
    return done ? kCudaSuccess : kCudaErrorNotReady;
  }

  static int NcclVersion(int* version) {
    *version = 22809;
    return Gpu().Enter("ncclGetVersion");
  }
  static int UniqueId(uint8_t* id) {
    static uint64_t next = 0;
    std::lock_guard lock(registry_mutex);
    ++next;
    std::memcpy(id, &next, sizeof next);
    return Gpu().Enter("ncclGetUniqueId");
  }
  static int CommInit(void** comm, int ranks, const uint8_t* id, int rank) {
    const int code = Made("ncclCommInitRankConfig", &Gpu().alive_);
    if (code != 0 && code != kNcclInProgress) return code;
    std::shared_ptr<Clique> clique;
    {
      std::lock_guard lock(registry_mutex);
      auto& entry = Registry()[std::string(id, id + ATOLL_NCCL_ID_BYTES)];
      clique = entry.lock();
      if (clique == nullptr) entry = clique = std::make_shared<Clique>();
    }
    std::lock_guard lock(clique->mutex);
    clique->ranks = ranks;
    clique->joined += Gpu().play_peers_ ? ranks : 1;
    *comm = new Comm{.clique = clique, .rank = rank, .slow_left = Gpu().slow_polls_};
    return kNcclInProgress;
  }
  static int AsyncError(void* handle, int* state) {
    if (int code = Gpu().Enter("ncclCommGetAsyncError")) return code;
    Comm& comm = *static_cast<Comm*>(handle);
    std::lock_guard lock(comm.clique->mutex);
    if (comm.joining && comm.clique->joined == comm.clique->ranks && comm.slow_left == 0) {
      comm.joining = false;
    }
    if (Gpu().background_error_ != 0) {
      *state = Gpu().background_error_;
    } else if (comm.clique->aborted) {
      *state = kNcclRemoteError;
    } else if (comm.clique->mismatch) {
      *state = kNcclInternalError;
    } else if (comm.joining || Gpu().never_take_ || comm.slow_left > 0) {
      *state = kNcclInProgress;
      comm.slow_left = std::max(0, comm.slow_left - 1);
    } else {
      *state = kNcclSuccess;
    }
    return kNcclSuccess;
  }
  static int CommFinalize(void* handle) { return Taken("ncclCommFinalize", handle); }
  static int CommDestroy(void* handle) {
    delete static_cast<Comm*>(handle);
    --Gpu().alive_;
    return Gpu().Enter("ncclCommDestroy");
  }
  static int CommAbort(void* handle) {
    if (Gpu().group_depth_ != 0) std::abort();  // NCCL would put it off until the group ends
    Comm* comm = static_cast<Comm*>(handle);
    {
      std::lock_guard lock(comm->clique->mutex);
      comm->clique->aborted = true;
    }
    delete comm;
    --Gpu().alive_;
    return Gpu().Enter("ncclCommAbort");
  }
  static int GroupStart() {
    const int code = Gpu().Enter("ncclGroupStart");
    if (code == 0) ++Gpu().group_depth_;
    return code;
  }
  static int GroupEnd() {
    --Gpu().group_depth_;
    if (int code = Gpu().Enter("ncclGroupEnd")) return code;
    return Gpu().never_take_ ? kNcclInProgress : kNcclSuccess;
  }

  // A call that NCCL may take later.
  static int Taken(const char* call, void* handle) {
    if (int code = Gpu().Enter(call)) return code;
    Comm& comm = *static_cast<Comm*>(handle);
    comm.slow_left = Gpu().slow_polls_;
    return Gpu().never_take_ || comm.slow_left > 0 ? kNcclInProgress : kNcclSuccess;
  }
  static int Queue(const char* call, const Pending& pending, void* handle, void* stream) {
    const int code = Taken(call, handle);
    if (code != kNcclSuccess && code != kNcclInProgress) return code;
    Stream& s = *static_cast<Stream*>(stream);
    s.comm = static_cast<Comm*>(handle);
    s.waiting.push_back(pending);
    s.waiting.back().mark = s.mark;
    ++s.queued;
    return code;
  }
  static int AllReduce(float* v, size_t n, void* comm, void* stream) {
    return Queue("ncclAllReduce", {Op::kAllReduce, {v, v}, n, 0, 0}, comm, stream);
  }
  static int Reduce(float* v, size_t n, int root, void* comm, void* stream) {
    return Queue("ncclReduce", {Op::kReduce, {v, v}, n, root, 0}, comm, stream);
  }
  static int Broadcast(float* v, size_t n, int root, void* comm, void* stream) {
    return Queue("ncclBroadcast", {Op::kBroadcast, {v, v}, n, root, 0}, comm, stream);
  }
  static int ReduceScatter(const float* v, float* part, size_t n, void* comm, void* stream) {
    return Queue("ncclReduceScatter", {Op::kReduceScatter, {v, part}, n, 0, 0}, comm, stream);
  }
  static int AllGather(const float* part, float* v, size_t n, void* comm, void* stream) {
    return Queue("ncclAllGather", {Op::kAllGather, {part, v}, n, 0, 0}, comm, stream);
  }
};

FakeGpu::FakeGpu() { Use(); }
FakeGpu::~FakeGpu() {
  if (current == this) current = nullptr;
}

void FakeGpu::Use() { current = this; }
void FakeGpu::OneForEachThread() { one_for_each_thread = true; }

void FakeGpu::Fail(const std::string& call, int code, int nth) { faults_[call] = {nth, code}; }

int FakeGpu::Enter(const char* call) {
  const int number = ++calls_[call];
  const auto fault = faults_.find(call);
  return fault != faults_.end() && number >= fault->second.first ? fault->second.second : 0;
}

int FakeGpu::Calls(const std::string& call) const {
  const auto found = calls_.find(call);
  return found == calls_.end() ? 0 : found->second;
}

std::set<std::string> FakeGpu::CallNames() const {
  std::set<std::string> names;
  for (const auto& [name, count] : calls_) names.insert(name);
  return names;
}

const AtollGpuApi& FakeGpu::Api() {
  static const AtollGpuApi api = {
      .version = ATOLL_GPU_API_VERSION,
      .device_count = FakeCalls::DeviceCount,
      .set_device = FakeCalls::SetDevice,
      .device_name = FakeCalls::DeviceName,
      .device_uuid = FakeCalls::DeviceUuid,
      .allocate = FakeCalls::Allocate,
      .release = FakeCalls::Release,
      .zero = FakeCalls::Zero,
      .copy = FakeCalls::Copy,
      .copy_on_device = FakeCalls::Copy,
      .stream_create = FakeCalls::StreamCreate,
      .stream_destroy = FakeCalls::StreamDestroy,
      .stream_wait_event = FakeCalls::StreamWaitEvent,
      .event_create = FakeCalls::EventCreate,
      .event_destroy = FakeCalls::EventDestroy,
      .event_record = FakeCalls::EventRecord,
      .event_query = FakeCalls::EventQuery,
      .cuda_error_name = [](int) { return "cudaErrorOfTheTest"; },
      .cuda_error_text = [](int) { return "as the test wants it"; },
      .nccl_version = FakeCalls::NcclVersion,
      .unique_id = FakeCalls::UniqueId,
      .comm_init = FakeCalls::CommInit,
      .comm_async_error = FakeCalls::AsyncError,
      .comm_finalize = FakeCalls::CommFinalize,
      .comm_destroy = FakeCalls::CommDestroy,
      .comm_abort = FakeCalls::CommAbort,
      .group_start = FakeCalls::GroupStart,
      .group_end = FakeCalls::GroupEnd,
      .all_reduce_sum = FakeCalls::AllReduce,
      .reduce_sum = FakeCalls::Reduce,
      .broadcast = FakeCalls::Broadcast,
      .reduce_scatter_sum = FakeCalls::ReduceScatter,
      .all_gather = FakeCalls::AllGather,
      .nccl_error_text = [](int) { return "NCCL's words"; },
      .nccl_last_error = [](void*) { return "NCCL's details"; },
      // The kernels' own tests are elsewhere.
      .add_masks = nullptr,
      .quantize = nullptr,
      .pack_lanes = nullptr,
      .add_packed = nullptr,
  };
  return api;
}

std::function<void(int64_t)> FakeTime::Sleep() {
  return [this](int64_t us) {
    ++sleeps;
    longest_sleep_us = std::max(longest_sleep_us, us);
    now_us += std::max<int64_t>(us, 1);
    if (on_sleep) on_sleep();
  };
}

}  // namespace atl::testing
