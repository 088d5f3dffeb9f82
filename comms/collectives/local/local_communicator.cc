#include "comms/collectives/local/local_communicator.h"

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>

#include "comms/base/status.h"
#include "comms/collectives/shared/group.h"

namespace atl {
namespace {

constexpr uint64_t kMaxGatherBytes = uint64_t{1} << 30;

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};
using Memory = std::unique_ptr<void, Free>;

// Zeroed, aligned to `alignment`; null when there is no room.
Memory Zeros(uint64_t bytes, uint64_t alignment) {
  const uint64_t rounded = (bytes + alignment - 1) / alignment * alignment;
  Memory memory(std::aligned_alloc(alignment, std::max(rounded, alignment)));
  if (memory != nullptr) std::memset(memory.get(), 0, rounded);
  return memory;
}

// Where the threads meet.
class Hub {
 public:
  Hub(uint32_t ranks, std::chrono::milliseconds timeout)
      : timeout_(timeout),
        state_(Zeros(shared::Group::StateBytes(ranks), shared::kApart)),
        brought_(ranks) {
    if (state_ == nullptr) throw std::bad_alloc();
  }
  void* state() const { return state_.get(); }

  // Waits until every rank is here; then all see what each brought, until all meet again in Part.
  absl::Status Meet(uint32_t rank, ByteView mine) {
    std::unique_lock lock(mutex_);
    brought_[rank] = mine;
    return WaitForAll(lock);
  }
  absl::Status Part() {
    std::unique_lock lock(mutex_);
    return WaitForAll(lock);
  }
  ByteView brought(uint32_t rank) const { return brought_[rank]; }

  void Leave() {
    std::lock_guard lock(mutex_);
    gone_ = true;
    changed_.notify_all();
  }

 private:
  absl::Status WaitForAll(std::unique_lock<std::mutex>& lock) {
    const uint64_t meeting = meeting_;
    if (++here_ == brought_.size()) {
      here_ = 0;
      ++meeting_;
      changed_.notify_all();
      return absl::OkStatus();
    }
    const bool in_time =
        changed_.wait_for(lock, timeout_, [&] { return meeting_ != meeting || gone_; });
    if (meeting_ != meeting) return absl::OkStatus();
    // Whoever comes later must not take this rank for present.
    gone_ = true;
    changed_.notify_all();
    if (in_time) return absl::UnavailableError("a rank is gone");
    return absl::DeadlineExceededError(
        absl::StrCat("only ", here_, " of ", brought_.size(), " ranks came within ",
                     std::chrono::duration<double>(timeout_).count(), " s"));
  }

  const std::chrono::milliseconds timeout_;
  const Memory state_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<ByteView> brought_;
  size_t here_ = 0;
  uint64_t meeting_ = 0;
  bool gone_ = false;  // a rank has left, or given up
};

template <typename T>
ByteView AsBytes(std::span<T> values) {
  return {reinterpret_cast<const uint8_t*>(values.data()), values.size_bytes()};
}

class LocalCommunicator : public Communicator {
 public:
  LocalCommunicator(std::shared_ptr<Hub> hub, uint32_t rank, const LocalOptions& options)
      : hub_(std::move(hub)),
        rank_(rank),
        size_(options.ranks),
        group_(hub_->state(), {.rank = rank,
                               .size = options.ranks,
                               .processes = false,
                               .timeout = options.timeout,
                               .resolve = [](uint32_t, uint64_t address) {
                                 return reinterpret_cast<float*>(address);
                               }}) {}
  ~LocalCommunicator() override { hub_->Leave(); }

  uint32_t rank() const override { return rank_; }
  uint32_t size() const override { return size_; }
  uint32_t local_size() const override { return size_; }
  std::string name() const override { return absl::StrCat("local, ", size_, " threads"); }

  absl::StatusOr<std::span<float>> Allocate(uint64_t count) override {
    Memory memory;
    if (count <= UINT64_MAX / 8) memory = Zeros(count * sizeof(float), 64);
    uint8_t mine = memory != nullptr, all = 1;
    ATOLL_RETURN_IF_ERROR(hub_->Meet(rank_, AsBytes(std::span(&mine, 1))));
    for (uint32_t r = 0; r < size_; ++r) all &= hub_->brought(r)[0];
    ATOLL_RETURN_IF_ERROR(hub_->Part());
    if (all == 0) {
      return absl::ResourceExhaustedError(absl::StrCat("no memory for ", count, " floats"));
    }
    buffers_.push_back(std::move(memory));
    return std::span(static_cast<float*>(buffers_.back().get()), count);
  }

  absl::StatusOr<std::unique_ptr<Work>> StartAllReduceSum(std::span<float> values) override {
    return Start(shared::Kind::kAllReduce, values);
  }
  absl::StatusOr<std::unique_ptr<Work>> StartReduceScatterSum(std::span<float> values) override {
    return Start(shared::Kind::kReduceScatter, values);
  }
  absl::StatusOr<std::unique_ptr<Work>> StartAllGather(std::span<float> values) override {
    return Start(shared::Kind::kAllGather, values);
  }

  absl::Status AllReduceSum(std::span<double> values) override {
    ATOLL_RETURN_IF_ERROR(Meet(AsBytes(values)));
    absl::Status status;
    std::vector<double> sum(values.size()), theirs(values.size());
    for (uint32_t r = 0; r < size_; ++r) {
      ByteView bytes = hub_->brought(r);
      if (bytes.size() != values.size_bytes()) {
        status = absl::FailedPreconditionError(absl::StrCat(
            "sum: rank ", r, " brings ", bytes.size(), " bytes, not ", values.size_bytes()));
        break;
      }
      if (!bytes.empty()) std::memcpy(theirs.data(), bytes.data(), bytes.size());
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += theirs[i];
    }
    ATOLL_RETURN_IF_ERROR(hub_->Part());
    ATOLL_RETURN_IF_ERROR(status);
    std::copy(sum.begin(), sum.end(), values.begin());
    return absl::OkStatus();
  }

  absl::Status Broadcast(std::span<uint8_t> bytes) override {
    ATOLL_RETURN_IF_ERROR(Meet(bytes));
    ByteView first = hub_->brought(0);
    const bool fits = first.size() == bytes.size();
    if (fits && rank_ != 0) std::copy(first.begin(), first.end(), bytes.begin());
    const uint64_t length = first.size();
    ATOLL_RETURN_IF_ERROR(hub_->Part());
    if (fits) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat("broadcast: rank 0 sends ", length, " bytes, not ", bytes.size()));
  }

  absl::StatusOr<Bytes> Gather(ByteView mine, uint64_t max_total_bytes) override {
    const uint64_t limit = std::min(max_total_bytes, kMaxGatherBytes);
    ATOLL_RETURN_IF_ERROR(Meet(mine));
    uint64_t total = 0;
    for (uint32_t r = 0; r < size_; ++r) total += hub_->brought(r).size();
    Bytes all;
    for (uint32_t r = 0; rank_ == 0 && total <= limit && r < size_; ++r) {
      ByteView theirs = hub_->brought(r);
      all.insert(all.end(), theirs.begin(), theirs.end());
    }
    ATOLL_RETURN_IF_ERROR(hub_->Part());
    // Every rank sees the same sizes, so every rank refuses.
    if (total > limit) {
      return absl::InvalidArgumentError(
          absl::StrCat("gather: ", total, " bytes are over the limit of ", limit));
    }
    return all;
  }

  absl::Status Barrier() override { return hub_->Part(); }

 private:
  absl::StatusOr<std::unique_ptr<Work>> Start(shared::Kind kind, std::span<float> values) {
    return group_.Start(kind, reinterpret_cast<uint64_t>(values.data()), values.size());
  }
  absl::Status Meet(ByteView mine) { return hub_->Meet(rank_, mine); }

  const std::shared_ptr<Hub> hub_;
  const uint32_t rank_, size_;
  std::vector<Memory> buffers_;
  shared::Group group_;  // leaves first
};

}  // namespace

std::vector<std::unique_ptr<Communicator>> MakeLocalCommunicators(const LocalOptions& options) {
  auto hub = std::make_shared<Hub>(options.ranks, options.timeout);
  std::vector<std::unique_ptr<Communicator>> out;
  for (uint32_t r = 0; r < options.ranks; ++r) {
    out.push_back(std::make_unique<LocalCommunicator>(hub, r, options));
  }
  return out;
}

}  // namespace atl
