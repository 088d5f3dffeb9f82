// Collectives among ranks that see each other's buffers: processes with a shared window, or
// threads.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "comms/collectives/communicator.h"
#include "comms/collectives/shared/peers.h"

namespace atl::shared {

enum class Kind : uint64_t { kAllReduce = 0, kReduceScatter = 1, kAllGather = 2 };

// One rank's end of a group. Operations are cut into pieces, numbered alike on all ranks. When all
// ranks have started an operation, its pieces are done by whoever comes first: a rank that waits
// does the work of one that still computes. A piece is summed in the order of ranks and written to
// every rank that wants it, so the bits are the same everywhere, whoever did it.
//
// Memory moved by an all-reduce of S bytes over n ranks: n S read, n S written, in all; no copies.
// Used by one thread.
class Group {
 public:
  struct Options {
    uint32_t rank = 0, size = 1;
    bool processes = true;  // each rank is a process; else they are threads of this one
    std::chrono::milliseconds timeout{300'000};
    // Where the buffer is that `rank` called `address` in Start: readable and writable by this one.
    std::function<float*(uint32_t rank, uint64_t address)> resolve;
  };
  // Bytes of `state`, which starts as zeros, is aligned to kApart, and outlives all ranks' groups.
  static uint64_t StateBytes(uint32_t size);

  Group(void* state, Options options);
  ~Group();  // the others get UNAVAILABLE for what this rank has not started
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  // Once, when every rank has constructed its group, before the first operation.
  void Confirm() { peers_.Confirm(); }

  // `address` names this rank's buffer of `count` floats; it may differ between ranks. The Work's
  // errors: UNAVAILABLE and DEADLINE_EXCEEDED as Watch says, FAILED_PRECONDITION when ranks called
  // different operations. After an error every further operation has the same.
  absl::StatusOr<std::unique_ptr<Work>> Start(Kind kind, uint64_t address, uint64_t count);

  const Peers& peers() const { return peers_; }
  std::chrono::milliseconds timeout() const { return options_.timeout; }

 private:
  friend class GroupWork;
  struct Operation {
    Kind kind;
    uint64_t number, count;
    uint64_t first_piece, pieces, pieces_a_shard;
    uint64_t last_piece() const { return first_piece + pieces - 1; }
  };

  void Progress();  // does what can be done now
  bool AllStarted(uint64_t number);
  void Do(const Operation& operation, uint64_t piece);
  bool HasEnded(uint64_t last_piece) const;
  bool Blocks(uint32_t rank, uint64_t number, uint64_t last_piece) const;
  absl::Status WaitFor(Kind kind, uint64_t number, uint64_t last_piece);
  absl::Status Failure();

  const Options options_;
  GroupState* const state_;
  Peers peers_;
  std::deque<Operation> under_way_;
  uint64_t started_ = 0, pieces_ = 0;  // so far
  uint64_t all_started_ = 0;           // operations that all ranks are known to have started
  std::vector<float*> buffers_;        // scratch
  absl::Status failure_;
};

}  // namespace atl::shared
