// Collective operations over the ranks of one site. Every rank calls the same operations in the
// same order.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "comms/base/bytes.h"

namespace atl {

// An operation that is under way. Its buffers stay untouched until Wait() has returned; destruction
// waits.
class Work {
 public:
  virtual ~Work() = default;
  // Moves the operation on without waiting; true when it has ended. An error shows in Wait().
  virtual bool Test() = 0;
  // Waits for the end. UNAVAILABLE when another rank is gone, DEADLINE_EXCEEDED when it has shown
  // no sign of life for the communicator's timeout. May be called again, with the same answer.
  virtual absl::Status Wait() = 0;
};

// A fixed group of ranks. All waiting sleeps (longer the longer it lasts), so that ranks that have
// nothing to do leave the processor to others. Used by one thread, the one that made it; outlives
// its Work.
//
// Spans of float lie where the backend computes: in the host's memory, or the GPU's where
// on_device(). Everything else lies in the host's.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual uint32_t rank() const = 0;  // in [0, size())
  virtual uint32_t size() const = 0;
  virtual uint32_t local_size() const = 0;  // ranks on this machine
  virtual bool on_device() const { return false; }
  virtual std::string name() const = 0;  // "mpi, 2 ranks, shared memory": for people

  // `count` floats, zero at first, aligned to 64 bytes, where sums over ranks are fastest (for MPI
  // a window that all ranks of one machine share). Called by all ranks with the same count. Lives
  // as long as the communicator. RESOURCE_EXHAUSTED when there is no room on any one rank.
  virtual absl::StatusOr<std::span<float>> Allocate(uint64_t count) = 0;
  // The same for a while, whatever it held last: a buffer of this length that was given back, else
  // a new one. For those that come again and again; by all ranks in the same order, too.
  absl::StatusOr<std::span<float>> Borrow(uint64_t count);
  void GiveBack(std::span<float> buffer) { given_back_.push_back(buffer); }

  // values := sum over ranks, in place; the same bits on every rank. Same length on all ranks.
  virtual absl::StatusOr<std::unique_ptr<Work>> StartAllReduceSum(std::span<float> values) = 0;
  // The first half of it: of `values` (same length on all ranks), cut by ShardOf (below), rank
  // r gets shard r of the sum, in place; the rest of values is undefined afterwards.
  virtual absl::StatusOr<std::unique_ptr<Work>> StartReduceScatterSum(std::span<float> values) = 0;
  // The second: every rank brings shard r of `values` and gets the others', in place.
  virtual absl::StatusOr<std::unique_ptr<Work>> StartAllGather(std::span<float> values) = 0;
  virtual absl::Status AllReduceSum(std::span<double> values) = 0;

  // Rank 0's bytes to all; same length on all ranks.
  virtual absl::Status Broadcast(std::span<uint8_t> bytes) = 0;

  // All ranks' bytes (their number may differ) one after the other, in order of rank, to rank 0;
  // empty on the others. INVALID_ARGUMENT on rank 0 when they are over max_total_bytes, at most 1
  // GiB.
  virtual absl::StatusOr<Bytes> Gather(ByteView mine, uint64_t max_total_bytes) = 0;

  virtual absl::Status Barrier() = 0;

 private:
  std::vector<std::span<float>> given_back_;
};

// Rank's shard of `count` values: [first, last). Borders are multiples of 16 values (a cache line)
// from the start; shards differ by at most 16 values, and some are empty when there are fewer lines
// than ranks. rank < ranks.
inline constexpr uint64_t kShardValues = 16;
struct Shard {
  uint64_t first = 0, last = 0;
  uint64_t size() const { return last - first; }
  bool operator==(const Shard&) const = default;
};
Shard ShardOf(uint64_t count, uint32_t rank, uint32_t ranks);

}  // namespace atl
