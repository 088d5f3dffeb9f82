// Collective operations over the ranks of one site. Every rank calls the same operations in the
// same order.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

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
  // Waits for the end. UNAVAILABLE when another rank is gone. May be called again, with the same
  // answer.
  virtual absl::Status Wait() = 0;
};

// A fixed group of ranks. All waiting sleeps (longer the longer it lasts), so that ranks that have
// nothing to do leave the processor to others. Used by one thread, the one that made it; outlives
// its Work.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual uint32_t rank() const = 0;  // in [0, size())
  virtual uint32_t size() const = 0;
  virtual uint32_t local_size() const = 0;  // ranks on this machine

  // values := sum over ranks, in place; the same bits on every rank. Same length on all ranks.
  virtual absl::StatusOr<std::unique_ptr<Work>> StartAllReduceSum(std::span<float> values) = 0;
  virtual absl::Status AllReduceSum(std::span<double> values) = 0;

  // Rank 0's bytes to all; same length on all ranks.
  virtual absl::Status Broadcast(std::span<uint8_t> bytes) = 0;

  // All ranks' bytes (their number may differ) one after the other, in order of rank, to rank 0;
  // empty on the others. INVALID_ARGUMENT on rank 0 when they are over max_total_bytes, at most 1
  // GiB.
  virtual absl::StatusOr<Bytes> Gather(ByteView mine, uint64_t max_total_bytes) = 0;

  virtual absl::Status Barrier() = 0;
};

}  // namespace atl
