#include "comms/collectives/shared/group.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "comms/base/status.h"
#include "comms/collectives/shared/pause.h"
#include "comms/collectives/shared/sum.h"

namespace atl::shared {
namespace {

// Small enough that ranks end together, large enough that claiming costs nothing beside it (128
// KiB; see docs/adr/0015).
constexpr uint64_t kPieceValues = 32 * 1024;

const char* Name(Kind kind) {
  switch (kind) {
    case Kind::kAllReduce:
      return "all-reduce";
    case Kind::kReduceScatter:
      return "reduce-scatter";
    case Kind::kAllGather:
      return "all-gather";
  }
  return "collective";
}

uint64_t Pieces(uint64_t count) { return (count + kPieceValues - 1) / kPieceValues; }

}  // namespace

class GroupWork : public Work {
 public:
  GroupWork(Group& group, Kind kind, uint64_t number, uint64_t last_piece)
      : group_(group), kind_(kind), number_(number), last_piece_(last_piece) {}
  ~GroupWork() override { (void)Wait(); }

  bool Test() override {
    if (done_) return true;
    if (group_.Failure().ok()) group_.Progress();
    done_ = group_.HasEnded(last_piece_) || !group_.Failure().ok();
    if (done_) status_ = group_.Failure();
    return done_;
  }

  absl::Status Wait() override {
    if (!done_) status_ = group_.WaitFor(kind_, number_, last_piece_);
    done_ = true;
    return status_;
  }

 private:
  Group& group_;
  const Kind kind_;
  const uint64_t number_, last_piece_;
  bool done_ = false;
  absl::Status status_;
};

uint64_t Group::StateBytes(uint32_t size) { return sizeof(GroupState) + size * sizeof(RankState); }

Group::Group(void* state, Options options)
    : options_(std::move(options)),
      state_(static_cast<GroupState*>(state)),
      peers_(state_, options_.rank, options_.size, options_.processes),
      buffers_(options_.size) {}

Group::~Group() { Store(peers_.state(options_.rank).left, 1); }

absl::StatusOr<std::unique_ptr<Work>> Group::Start(Kind kind, uint64_t address, uint64_t count) {
  ATOLL_RETURN_IF_ERROR(Failure());
  while (!under_way_.empty() && started_ - under_way_.front().number >= kMaxUnderWay) {
    const Operation oldest = under_way_.front();
    ATOLL_RETURN_IF_ERROR(WaitFor(oldest.kind, oldest.number, oldest.last_piece()));
    if (under_way_.front().number == oldest.number) under_way_.pop_front();
  }
  Operation operation{.kind = kind,
                      .number = started_,
                      .count = count,
                      .first_piece = pieces_ + 1,
                      .pieces = Pieces(count),
                      .pieces_a_shard = 0};
  if (kind != Kind::kAllReduce) {
    // The same for every shard, so that a piece's number tells its shard; ShardOf's longest has
    // this many lines at most.
    const uint64_t lines = (count + kShardValues - 1) / kShardValues;
    operation.pieces_a_shard = Pieces(kShardValues * ((lines + options_.size - 1) / options_.size));
    operation.pieces = operation.pieces_a_shard * options_.size;
  }
  RankState& mine = peers_.state(options_.rank);
  OperationState& entry = mine.operations[started_ % kMaxUnderWay];
  Store(entry.address, address);
  Store(entry.description, count * 4 + static_cast<uint64_t>(kind));
  pieces_ += operation.pieces;
  if (operation.pieces > 0) under_way_.push_back(operation);
  Store(mine.started, ++started_);
  return std::make_unique<GroupWork>(*this, kind, operation.number, operation.last_piece());
}

bool Group::AllStarted(uint64_t number) {
  if (all_started_ > number) return true;
  uint64_t least = started_;
  for (uint32_t r = 0; r < options_.size; ++r)
    least = std::min(least, Load(peers_.state(r).started));
  all_started_ = least;
  return all_started_ > number;
}

void Group::Progress() {
  uint64_t& busy = peers_.state(options_.rank).busy;
  std::atomic_ref<uint64_t> claimed(state_->claimed);
  bool claiming = false;
  for (;;) {
    uint64_t before = claimed.load(std::memory_order_acquire);
    const uint64_t piece = before + 1;
    while (!under_way_.empty() && under_way_.front().last_piece() < piece &&
           HasEnded(under_way_.front().last_piece())) {
      under_way_.pop_front();
    }
    auto operation =
        std::find_if(under_way_.begin(), under_way_.end(),
                     [&](const Operation& candidate) { return piece <= candidate.last_piece(); });
    if (operation == under_way_.end() || !AllStarted(operation->number)) break;
    // Said before it is true: whoever then sees the piece claimed also sees who has it.
    Store(busy, piece);
    claiming = true;
    if (claimed.compare_exchange_strong(before, piece, std::memory_order_acq_rel)) {
      Do(*operation, piece);
      Store(busy, 0);
      claiming = false;
      if (!Failure().ok()) break;
    }
  }
  if (claiming) Store(busy, 0);
}

void Group::Do(const Operation& operation, uint64_t piece) {
  for (uint32_t r = 0; r < options_.size; ++r) {
    OperationState& entry = peers_.state(r).operations[operation.number % kMaxUnderWay];
    if (Load(entry.description) != operation.count * 4 + static_cast<uint64_t>(operation.kind)) {
      Store(state_->broken, 1);
      return;
    }
    buffers_[r] = options_.resolve(r, Load(entry.address));
  }
  uint64_t index = piece - operation.first_piece;
  uint32_t owner = 0;
  Shard range{0, operation.count};
  if (operation.kind != Kind::kAllReduce) {
    owner = static_cast<uint32_t>(index / operation.pieces_a_shard);
    range = ShardOf(operation.count, owner, options_.size);
    index %= operation.pieces_a_shard;
  }
  const uint64_t first = std::min(range.last, range.first + index * kPieceValues);
  const uint64_t last = std::min(range.last, first + kPieceValues);
  std::span<float* const> all(buffers_);
  switch (operation.kind) {
    case Kind::kAllReduce:
      SumRange(all, all, first, last);
      break;
    case Kind::kReduceScatter:
      SumRange(all, all.subspan(owner, 1), first, last);
      break;
    case Kind::kAllGather:
      for (uint32_t r = 0; r < options_.size; ++r) {
        if (r == owner || buffers_[r] == buffers_[owner]) continue;
        std::memcpy(buffers_[r] + first, buffers_[owner] + first, (last - first) * sizeof(float));
      }
      break;
  }
}

bool Group::HasEnded(uint64_t last_piece) const {
  // In this order: a piece is claimed after its rank said that it is busy with it.
  if (Load(state_->claimed) < last_piece) return false;
  for (uint32_t r = 0; r < options_.size; ++r) {
    const uint64_t busy = Load(peers_.state(r).busy);
    if (busy != 0 && busy <= last_piece) return false;
  }
  return true;
}

bool Group::Blocks(uint32_t rank, uint64_t number, uint64_t last_piece) const {
  RankState& state = peers_.state(rank);
  const uint64_t busy = Load(state.busy);
  return Load(state.started) <= number || (busy != 0 && busy <= last_piece);
}

absl::Status Group::WaitFor(Kind kind, uint64_t number, uint64_t last_piece) {
  Watch watch(peers_, {.timeout = options_.timeout});
  for (;;) {
    ATOLL_RETURN_IF_ERROR(Failure());
    Progress();
    if (HasEnded(last_piece)) return Failure();
    Pause(watch.waited());
    absl::Status status =
        watch.Check([&](uint32_t r) { return Blocks(r, number, last_piece); }, Name(kind));
    if (!status.ok() && !HasEnded(last_piece)) failure_ = status;
  }
}

absl::Status Group::Failure() {
  if (failure_.ok() && Load(state_->broken) != 0) {
    failure_ = absl::FailedPreconditionError(
        "ranks have called different collectives, or with different lengths");
  }
  return failure_;
}

}  // namespace atl::shared
