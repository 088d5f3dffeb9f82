#include "comms/collectives/mpi/mpi_world.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "comms/base/status.h"
#include "comms/collectives/mpi/mpi_error.h"
#include "comms/collectives/mpi/node_window.h"
#include "comms/collectives/shared/group.h"
#include "comms/collectives/shared/pause.h"

namespace atl {
namespace {

using shared::Kind;

constexpr uint64_t kPieceBytes = uint64_t{1} << 28;  // MPI counts are int
constexpr uint64_t kMaxGatherBytes = uint64_t{1} << 30;
constexpr int kOffsetBits = 48;  // an address of a group: block << kOffsetBits | offset in floats

// How an operation of MPI itself is waited for.
struct Waiting {
  const shared::Peers* peers = nullptr;  // of this machine; null: not to be seen
  bool all_here = false;                 // no rank is on another machine
  std::chrono::milliseconds timeout{};
};

class MpiWork : public Work {
 public:
  MpiWork(const char* operation, const Waiting& waiting, bool may_idle = false)
      : operation_(operation), waiting_(waiting), may_idle_(may_idle) {}
  ~MpiWork() override { (void)Wait(); }

  MPI_Request* request() { return &request_; }
  // Called once when the operation has ended well.
  void OnEnd(std::function<void()> action) { on_end_ = std::move(action); }

  bool Test() override {
    if (done_) return true;
    int done = 0;
    const int code = MPI_Test(&request_, &done, MPI_STATUS_IGNORE);
    if (code != MPI_SUCCESS) status_ = MpiStatus(code, operation_);
    done_ = done != 0 || code != MPI_SUCCESS;
    if (done_ && status_.ok() && on_end_) on_end_();
    return done_;
  }

  absl::Status Wait() override {
    if (Test()) return status_;
    std::optional<shared::Watch> watch;
    if (waiting_.peers != nullptr) {
      watch.emplace(*waiting_.peers,
                    shared::Patience{.timeout = waiting_.timeout,
                                     .signs_needed = waiting_.all_here && !may_idle_});
    }
    const auto begin = std::chrono::steady_clock::now();
    while (!Test()) {
      const auto waited = std::chrono::steady_clock::now() - begin;
      shared::Pause(waited);
      absl::Status status;
      if (watch) status = watch->Check([](uint32_t) { return true; }, operation_);
      if (!waiting_.all_here && !may_idle_ && waited >= waiting_.timeout) {
        status.Update(absl::DeadlineExceededError(
            absl::StrCat(operation_, ": not done by all ranks within ",
                         std::chrono::duration<double>(waiting_.timeout).count(), " s")));
      }
      if (status.ok() || Test()) continue;
      // MPI may still write to the buffers; there is no way to take a collective back. The caller
      // ends the process.
      status_ = status;
      done_ = true;
    }
    return status_;
  }

 private:
  const char* const operation_;
  const Waiting waiting_;
  const bool may_idle_;
  MPI_Request request_ = MPI_REQUEST_NULL;
  std::function<void()> on_end_;
  absl::Status status_;
  bool done_ = false;
};

class DoneWork : public Work {
 public:
  bool Test() override { return true; }
  absl::Status Wait() override { return absl::OkStatus(); }
};

struct Free {
  void operator()(float* memory) const { std::free(memory); }
};

// What Allocate has given out: a window's part, or memory of this process alone.
struct Block {
  std::unique_ptr<NodeWindow> window;
  std::unique_ptr<float, Free> memory;
  std::span<float> mine;
};

class MpiCommunicator : public Communicator {
 public:
  MpiCommunicator(MPI_Comm world, MPI_Comm node, std::chrono::milliseconds timeout)
      : comm_(world), node_(node), timeout_(timeout) {}
  ~MpiCommunicator() override { group_.reset(); }  // before the window it lives in

  absl::Status Open() {
    int rank = 0, size = 1, local_rank = 0, local_size = 1;
    ATOLL_RETURN_IF_ERROR(MpiStatus(MPI_Comm_rank(comm_, &rank), "MPI_Comm_rank"));
    ATOLL_RETURN_IF_ERROR(MpiStatus(MPI_Comm_size(comm_, &size), "MPI_Comm_size"));
    ATOLL_RETURN_IF_ERROR(MpiStatus(MPI_Comm_rank(node_, &local_rank), "MPI_Comm_rank"));
    ATOLL_RETURN_IF_ERROR(MpiStatus(MPI_Comm_size(node_, &local_size), "MPI_Comm_size"));
    rank_ = static_cast<uint32_t>(rank);
    size_ = static_cast<uint32_t>(size);
    local_size_ = static_cast<uint32_t>(local_size);
    if (local_size_ == 1) return absl::OkStatus();
    auto state = NodeWindow::Create(
        node_, local_rank == 0 ? shared::Group::StateBytes(local_size_) : uint64_t{0});
    if (!state.ok()) {
      no_window_ = state.status();
      return absl::OkStatus();
    }
    state_ = *std::move(state);
    group_ = std::make_unique<shared::Group>(
        state_->part(0), shared::Group::Options{.rank = static_cast<uint32_t>(local_rank),
                                                .size = local_size_,
                                                .processes = true,
                                                .timeout = timeout_,
                                                .resolve = [this](uint32_t rank, uint64_t address) {
                                                  return Resolve(rank, address);
                                                }});
    ATOLL_RETURN_IF_ERROR(MpiStatus(MPI_Barrier(node_), "MPI_Barrier"));
    group_->Confirm();
    return absl::OkStatus();
  }

  uint32_t rank() const override { return rank_; }
  uint32_t size() const override { return size_; }
  uint32_t local_size() const override { return local_size_; }

  std::string name() const override {
    if (size_ == 1) return "mpi, 1 rank";
    std::string text = absl::StrCat("mpi, ", size_, " ranks, ");
    if (local_size_ != size_) return text + "several machines";
    if (no_window_.ok()) return text + "shared memory";
    return absl::StrCat(text, "no shared memory: ", no_window_.message());
  }

  absl::StatusOr<std::span<float>> Allocate(uint64_t count) override {
    if (count >= uint64_t{1} << kOffsetBits) {
      return absl::ResourceExhaustedError(absl::StrCat("no memory for ", count, " floats"));
    }
    Block block;
    if (SharesAll() && count > 0) {
      // Making a window waits for all ranks, and has no timeout: see first that they are there.
      ATOLL_RETURN_IF_ERROR(Barrier());
      auto window = NodeWindow::Create(node_, count * sizeof(float));
      if (window.ok()) {
        block.window = *std::move(window);
        block.mine = {reinterpret_cast<float*>(block.window->part(rank_)), count};
      } else {
        no_window_ = window.status();  // on every rank; slower, but it works
      }
    }
    if (block.window == nullptr) {
      const uint64_t bytes = std::max<uint64_t>(64, (count * sizeof(float) + 63) / 64 * 64);
      block.memory.reset(static_cast<float*>(std::aligned_alloc(64, bytes)));
      double missing = block.memory == nullptr ? 1 : 0;
      if (missing == 0) std::memset(block.memory.get(), 0, bytes);
      ATOLL_RETURN_IF_ERROR(AllReduceSum(std::span(&missing, 1)));
      if (missing != 0) {
        return absl::ResourceExhaustedError(absl::StrCat("no memory for ", count, " floats"));
      }
      block.mine = {block.memory.get(), count};
    }
    blocks_.push_back(std::move(block));
    return blocks_.back().mine;
  }

  absl::StatusOr<std::unique_ptr<Work>> StartAllReduceSum(std::span<float> values) override {
    if (size_ == 1 || values.empty()) return std::make_unique<DoneWork>();
    if (auto address = AddressOf(values)) {
      return group_->Start(Kind::kAllReduce, *address, values.size());
    }
    ATOLL_RETURN_IF_ERROR(CheckLength(values.size()));
    auto work = std::make_unique<MpiWork>("MPI_Iallreduce", waiting());
    ATOLL_RETURN_IF_ERROR(
        MpiStatus(MPI_Iallreduce(MPI_IN_PLACE, values.data(), static_cast<int>(values.size()),
                                 MPI_FLOAT, MPI_SUM, comm_, work->request()),
                  "MPI_Iallreduce"));
    return work;
  }

  absl::StatusOr<std::unique_ptr<Work>> StartReduceScatterSum(std::span<float> values) override {
    if (size_ == 1 || values.empty()) return std::make_unique<DoneWork>();
    if (auto address = AddressOf(values)) {
      return group_->Start(Kind::kReduceScatter, *address, values.size());
    }
    ATOLL_RETURN_IF_ERROR(CheckLength(values.size()));
    auto shards = std::make_shared<Shards>(values.size(), size_);
    const Shard mine = ShardOf(values.size(), rank_, size_);
    shards->received.resize(mine.size());
    auto work = std::make_unique<MpiWork>("MPI_Ireduce_scatter", waiting());
    work->OnEnd([shards, target = values.data() + mine.first] {
      std::copy(shards->received.begin(), shards->received.end(), target);
    });
    ATOLL_RETURN_IF_ERROR(
        MpiStatus(MPI_Ireduce_scatter(values.data(), shards->received.data(), shards->counts.data(),
                                      MPI_FLOAT, MPI_SUM, comm_, work->request()),
                  "MPI_Ireduce_scatter"));
    return work;
  }

  absl::StatusOr<std::unique_ptr<Work>> StartAllGather(std::span<float> values) override {
    if (size_ == 1 || values.empty()) return std::make_unique<DoneWork>();
    if (auto address = AddressOf(values)) {
      return group_->Start(Kind::kAllGather, *address, values.size());
    }
    ATOLL_RETURN_IF_ERROR(CheckLength(values.size()));
    auto shards = std::make_shared<Shards>(values.size(), size_);
    auto work = std::make_unique<MpiWork>("MPI_Iallgatherv", waiting());
    work->OnEnd([shards] {});  // MPI reads the counts until the end
    ATOLL_RETURN_IF_ERROR(MpiStatus(
        MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, values.data(), shards->counts.data(),
                        shards->offsets.data(), MPI_FLOAT, comm_, work->request()),
        "MPI_Iallgatherv"));
    return work;
  }

  absl::Status AllReduceSum(std::span<double> values) override {
    ATOLL_RETURN_IF_ERROR(CheckLength(values.size()));
    MpiWork work("MPI_Iallreduce", waiting());
    ATOLL_RETURN_IF_ERROR(
        MpiStatus(MPI_Iallreduce(MPI_IN_PLACE, values.data(), static_cast<int>(values.size()),
                                 MPI_DOUBLE, MPI_SUM, comm_, work.request()),
                  "MPI_Iallreduce"));
    return work.Wait();
  }

  absl::Status Broadcast(std::span<uint8_t> bytes) override {
    while (!bytes.empty()) {
      auto piece = bytes.first(std::min<uint64_t>(bytes.size(), kPieceBytes));
      MpiWork work("MPI_Ibcast", waiting(), /*may_idle=*/true);
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
    MpiWork count_work("MPI_Iallgather", waiting());
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
    MpiWork work("MPI_Igatherv", waiting());
    ATOLL_RETURN_IF_ERROR(
        MpiStatus(MPI_Igatherv(mine.data(), static_cast<int>(mine.size()), MPI_BYTE, all.data(),
                               counts.data(), offsets.data(), MPI_BYTE, 0, comm_, work.request()),
                  "MPI_Igatherv"));
    ATOLL_RETURN_IF_ERROR(work.Wait());
    return all;
  }

  absl::Status Barrier() override {
    MpiWork work("MPI_Ibarrier", waiting());
    ATOLL_RETURN_IF_ERROR(MpiStatus(MPI_Ibarrier(comm_, work.request()), "MPI_Ibarrier"));
    return work.Wait();
  }

 private:
  // ShardOf in MPI's terms, and room for this rank's shard.
  struct Shards {
    Shards(uint64_t count, uint32_t ranks) : counts(ranks), offsets(ranks) {
      for (uint32_t r = 0; r < ranks; ++r) {
        const Shard shard = ShardOf(count, r, ranks);
        counts[r] = static_cast<int>(shard.size());
        offsets[r] = static_cast<int>(shard.first);
      }
    }
    std::vector<int> counts, offsets;
    std::vector<float> received;
  };

  bool SharesAll() const { return group_ != nullptr && local_size_ == size_; }

  Waiting waiting() const {
    return {.peers = group_ != nullptr ? &group_->peers() : nullptr,
            .all_here = SharesAll(),
            .timeout = timeout_};
  }

  static absl::Status CheckLength(uint64_t count) {
    if (count <= static_cast<uint64_t>(std::numeric_limits<int>::max())) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("MPI: ", count, " values are too many for one operation"));
  }

  std::optional<uint64_t> AddressOf(std::span<float> values) const {
    for (size_t i = 0; i < blocks_.size(); ++i) {
      const Block& block = blocks_[i];
      if (block.window == nullptr || values.data() < block.mine.data()) continue;
      const auto offset = static_cast<uint64_t>(values.data() - block.mine.data());
      if (offset + values.size() > block.mine.size()) continue;
      return uint64_t{i} << kOffsetBits | offset;
    }
    return std::nullopt;
  }

  float* Resolve(uint32_t rank, uint64_t address) const {
    const Block& block = blocks_[address >> kOffsetBits];
    return reinterpret_cast<float*>(block.window->part(rank)) +
           (address & ((uint64_t{1} << kOffsetBits) - 1));
  }

  const MPI_Comm comm_, node_;
  const std::chrono::milliseconds timeout_;
  uint32_t rank_ = 0, size_ = 1, local_size_ = 1;
  absl::Status no_window_;  // why not, where there is none
  std::vector<Block> blocks_;
  std::unique_ptr<NodeWindow> state_;
  std::unique_ptr<shared::Group> group_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Communicator>> MakeMpiCommunicator(
    MPI_Comm world, MPI_Comm node, std::chrono::milliseconds timeout) {
  auto communicator = std::make_unique<MpiCommunicator>(world, node, timeout);
  ATOLL_RETURN_IF_ERROR(communicator->Open());
  return communicator;
}

}  // namespace atl
