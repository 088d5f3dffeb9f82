#include "comms/collectives/mpi/mpi_communicator.h"

#include <mpi.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <deque>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "comms/base/status.h"
#include "comms/collectives/mpi/mpi_error.h"

namespace atl {
namespace {

using SteadyClock = std::chrono::steady_clock;
using std::chrono::microseconds;

constexpr uint64_t kPieceBytes = uint64_t{1} << 28;  // MPI counts are int
constexpr uint64_t kMaxGatherBytes = uint64_t{1} << 30;
// A collective within a training step ends in microseconds to milliseconds: yield at first. Then
// sleep a sixteenth of the time waited so far, which costs at most 6 % of latency and next to no
// processor time.
constexpr microseconds kYieldFor{200};
constexpr microseconds kSleepMin{50};
constexpr microseconds kSleepMax{5000};

void Pause(SteadyClock::duration waited) {
  if (waited < kYieldFor) {
    sched_yield();
    return;
  }
  auto sleep = std::chrono::duration_cast<microseconds>(waited / 16);
  std::this_thread::sleep_for(std::clamp(sleep, kSleepMin, kSleepMax));
}

class MpiWork : public Work {
 public:
  explicit MpiWork(const char* operation) : operation_(operation) {}
  ~MpiWork() override { (void)Wait(); }

  MPI_Request* request() { return &request_; }

  bool Test() override {
    if (done_) return true;
    int done = 0;
    int code = MPI_Test(&request_, &done, MPI_STATUS_IGNORE);
    if (code != MPI_SUCCESS) status_ = MpiStatus(code, operation_);
    done_ = done != 0 || code != MPI_SUCCESS;
    return done_;
  }

  absl::Status Wait() override {
    auto start = SteadyClock::now();
    while (!Test()) Pause(SteadyClock::now() - start);
    return status_;
  }

 private:
  const char* const operation_;
  MPI_Request request_ = MPI_REQUEST_NULL;
  absl::Status status_;
  bool done_ = false;
};

class MpiCommunicator : public Communicator {
 public:
  MpiCommunicator(MPI_Comm comm, uint32_t rank, uint32_t size, uint32_t local_size)
      : comm_(comm), rank_(rank), size_(size), local_size_(local_size) {}

  uint32_t rank() const override { return rank_; }
  uint32_t size() const override { return size_; }
  uint32_t local_size() const override { return local_size_; }

  absl::StatusOr<std::unique_ptr<Work>> StartAllReduceSum(std::span<float> values) override {
    if (values.size() > static_cast<size_t>(std::numeric_limits<int>::max())) {
      return absl::InvalidArgumentError(absl::StrCat("MPI_Iallreduce: ", values.size(),
                                                     " values are too many for one operation"));
    }
    auto work = std::make_unique<MpiWork>("MPI_Iallreduce");
    ATOLL_RETURN_IF_ERROR(
        MpiStatus(MPI_Iallreduce(MPI_IN_PLACE, values.data(), static_cast<int>(values.size()),
                                 MPI_FLOAT, MPI_SUM, comm_, work->request()),
                  "MPI_Iallreduce"));
    return work;
  }

  std::string name() const override { return absl::StrCat("mpi, ", size_, " ranks"); }

  absl::StatusOr<std::span<float>> Allocate(uint64_t count) override {
    constexpr uint64_t kLine = 64 / sizeof(float);
    auto& buffer = buffers_.emplace_back(count + kLine, 0.0f);
    auto address = reinterpret_cast<uintptr_t>(buffer.data());
    return std::span(buffer.data() + (64 - address % 64) % 64 / sizeof(float), count);
  }

  // Every shard of a sum is its own.
  absl::StatusOr<std::unique_ptr<Work>> StartReduceScatterSum(std::span<float> values) override {
    return StartAllReduceSum(values);
  }

  absl::StatusOr<std::unique_ptr<Work>> StartAllGather(std::span<float> values) override {
    const Shard mine = ShardOf(values.size(), rank_, size_);
    std::fill(values.begin(), values.begin() + static_cast<ptrdiff_t>(mine.first), 0.0f);
    std::fill(values.begin() + static_cast<ptrdiff_t>(mine.last), values.end(), 0.0f);
    return StartAllReduceSum(values);
  }

  absl::Status AllReduceSum(std::span<double> values) override {
    MpiWork work("MPI_Iallreduce");
    ATOLL_RETURN_IF_ERROR(
        MpiStatus(MPI_Iallreduce(MPI_IN_PLACE, values.data(), static_cast<int>(values.size()),
                                 MPI_DOUBLE, MPI_SUM, comm_, work.request()),
                  "MPI_Iallreduce"));
    return work.Wait();
  }

  absl::Status Broadcast(std::span<uint8_t> bytes) override {
    while (!bytes.empty()) {
      auto piece = bytes.first(std::min<uint64_t>(bytes.size(), kPieceBytes));
      MpiWork work("MPI_Ibcast");
      ATOLL_RETURN_IF_ERROR(MpiStatus(MPI_Ibcast(piece.data(), static_cast<int>(piece.size()),
                                                 MPI_BYTE, 0, comm_, work.request()),
                                      "MPI_Ibcast"));
      ATOLL_RETURN_IF_ERROR(work.Wait());
      bytes = bytes.subspan(piece.size());
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Bytes> Gather(ByteView mine, uint64_t max_total_bytes) override {
    uint64_t limit = std::min(max_total_bytes, kMaxGatherBytes);
    std::vector<uint64_t> sizes(size_);
    uint64_t my_size = mine.size();
    MpiWork count_work("MPI_Iallgather");
    ATOLL_RETURN_IF_ERROR(MpiStatus(MPI_Iallgather(&my_size, 1, MPI_UINT64_T, sizes.data(), 1,
                                                   MPI_UINT64_T, comm_, count_work.request()),
                                    "MPI_Iallgather"));
    ATOLL_RETURN_IF_ERROR(count_work.Wait());
    std::vector<int> counts(size_), offsets(size_);
    uint64_t total = 0;
    for (uint32_t i = 0; i < size_; ++i) {
      // Every rank sees the same sizes, so every rank refuses.
      if (sizes[i] > limit || total + sizes[i] > limit) {
        return absl::InvalidArgumentError(
            absl::StrCat("gather: more than ", limit, " bytes at rank ", i));
      }
      counts[i] = static_cast<int>(sizes[i]);
      offsets[i] = static_cast<int>(total);
      total += sizes[i];
    }
    Bytes all(rank_ == 0 ? total : 0);
    MpiWork work("MPI_Igatherv");
    ATOLL_RETURN_IF_ERROR(
        MpiStatus(MPI_Igatherv(mine.data(), static_cast<int>(mine.size()), MPI_BYTE, all.data(),
                               counts.data(), offsets.data(), MPI_BYTE, 0, comm_, work.request()),
                  "MPI_Igatherv"));
    ATOLL_RETURN_IF_ERROR(work.Wait());
    return all;
  }

  absl::Status Barrier() override {
    MpiWork work("MPI_Ibarrier");
    ATOLL_RETURN_IF_ERROR(MpiStatus(MPI_Ibarrier(comm_, work.request()), "MPI_Ibarrier"));
    return work.Wait();
  }

 private:
  const MPI_Comm comm_;
  const uint32_t rank_, size_, local_size_;
  std::deque<std::vector<float>> buffers_;
};

absl::StatusOr<uint32_t> LocalSize() {
  MPI_Comm local;
  ATOLL_RETURN_IF_ERROR(
      MpiStatus(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &local),
                "MPI_Comm_split_type"));
  int size = 1;
  absl::Status status = MpiStatus(MPI_Comm_size(local, &size), "MPI_Comm_size");
  MPI_Comm_free(&local);
  ATOLL_RETURN_IF_ERROR(status);
  return static_cast<uint32_t>(size);
}

}  // namespace

absl::StatusOr<std::unique_ptr<MpiSession>> MpiSession::Start() {
  int provided = MPI_THREAD_SINGLE;
  // Other threads (the site link's reader) run beside, but none of them calls MPI.
  ATOLL_RETURN_IF_ERROR(MpiStatus(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided),
                                  "MPI_Init_thread"));
  std::unique_ptr<MpiSession> session(new MpiSession);
  ATOLL_RETURN_IF_ERROR(MpiStatus(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN),
                                  "MPI_Comm_set_errhandler"));
  if (provided < MPI_THREAD_FUNNELED) {
    return absl::FailedPreconditionError(
        "MPI was built without support for threads (MPI_THREAD_FUNNELED)");
  }
  int rank = 0, size = 1;
  ATOLL_RETURN_IF_ERROR(MpiStatus(MPI_Comm_rank(MPI_COMM_WORLD, &rank), "MPI_Comm_rank"));
  ATOLL_RETURN_IF_ERROR(MpiStatus(MPI_Comm_size(MPI_COMM_WORLD, &size), "MPI_Comm_size"));
  ATOLL_ASSIGN_OR_RETURN(uint32_t local_size, LocalSize());
  session->world_ = std::make_unique<MpiCommunicator>(MPI_COMM_WORLD, static_cast<uint32_t>(rank),
                                                      static_cast<uint32_t>(size), local_size);
  return session;
}

MpiSession::~MpiSession() {
  // MPI_Finalize spins while it waits for slower ranks; this does not.
  if (world_ != nullptr) (void)world_->Barrier();
  MPI_Finalize();
}

void MpiSession::Abort(int exit_code) {
  MPI_Abort(MPI_COMM_WORLD, exit_code);
  std::_Exit(exit_code);
}

}  // namespace atl
