// Checkpoints that are written while the training goes on.
#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/checkpoint/folder.h"

namespace atl::trainer {

// One thread that writes one checkpoint at a time. Memory: the one that is written; its buffers are
// used again for the next. The methods are for one other thread, the one that trains. Destruction
// waits for the write under way.
class CheckpointWriter {
 public:
  explicit CheckpointWriter(CheckpointFolder folder);
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  // Waits for the write under way, if any, and gives out what it wrote, to be filled anew: its
  // values are those of an older checkpoint. The error of that write, or of an earlier one: after
  // one that failed nothing is written any more.
  absl::StatusOr<Checkpoint> Take();
  // Starts to write. After an OK Take() only.
  void Start(Checkpoint checkpoint);
  // Waits for the write under way; its error, or that of an earlier one.
  absl::Status Wait();
  // The newest checkpoint that is on disk, of those that this writer wrote; empty: none.
  std::string last_good() const;

 private:
  void Run();

  const CheckpointFolder folder_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Checkpoint checkpoint_;  // the thread's while busy_
  bool busy_ = false, stopping_ = false;
  absl::Status status_;
  std::string last_good_;
  std::thread thread_;
};

}  // namespace atl::trainer
