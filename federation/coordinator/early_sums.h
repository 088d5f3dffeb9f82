// Adds up, while vectors come, those that are whole already.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "federation/coordinator/events.h"
#include "federation/coordinator/partial_sum.h"

namespace atl::coordinator {

// By group of a task; null: there is none.
using PartialSums = std::vector<std::shared_ptr<const PartialSum>>;

inline constexpr uint32_t kEarlyPassVectors = 8;

// A thread of its own, which adds the vectors of a group in passes: one pass reads and writes the
// partial sum once, so it waits until `pass_vectors` are there. Whoever comes back for the sum is
// never made to wait for more than a chunk, and what was not added yet it adds itself: so nothing
// depends on this thread, and where it fails (a full disk) it only gives up. Nothing of it outlives
// the process. Thread-safe. Memory is one chunk and the digests of a pass's vectors.
class EarlySums {
 public:
  EarlySums(store::VectorStore& vectors, uint32_t pass_vectors);
  ~EarlySums();

  // The vector is whole and durable. Again for the same site: nothing changes.
  void Add(const SumEarly& vector);
  // Ends the adding in this slot and gives what there is, good for this task's survivors.
  PartialSums Take(const StartSum& task);
  // Ends it, and forgets what there is.
  void Forget(JobId job, RoundId round, SlotId slot);
  // Waits until nothing is left to be done with what has been added so far. For tests.
  void WaitUntilIdle();

 private:
  struct Key {
    JobId job;
    RoundId round;
    SlotId slot;
    uint32_t group = 0;
    auto operator<=>(const Key&) const = default;
  };
  struct Group {
    std::vector<kernels::Segment> segments;
    std::set<SiteId> known;
    std::vector<SiteId> waiting;
    std::shared_ptr<PartialSum> sum;  // the thread's while it is busy
    bool busy = false, failed = false;
    std::atomic<bool> stopped = false;
  };

  void Run();
  bool IsDue(const Group& group) const {
    return !group.failed && group.waiting.size() >= pass_vectors_;
  }
  absl::Status AddPass(const Key& key, const std::vector<SiteId>& sites, Group& group);

  store::VectorStore& vectors_;
  const uint32_t pass_vectors_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  bool stopping_ = false, busy_ = false;
  std::map<Key, std::shared_ptr<Group>> groups_;
  std::thread thread_;
};

}  // namespace atl::coordinator
