// The checkpoints of one run: FOLDER/checkpoints/step-00000123.ckpt, the last two of them.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/checkpoint/checkpoint.h"

namespace atl::trainer {

// Used by one thread at a time, of one process.
class CheckpointFolder {
 public:
  static constexpr size_t kKept = 2;

  explicit CheckpointFolder(const std::filesystem::path& run_folder)
      : folder_(run_folder / "checkpoints") {}

  // Writes one, durably, and then removes all but it and the newest before it: what is newer comes
  // from a run that was ahead and could not be read. On an error, which names the path and the
  // system's reason, all that were there stay.
  absl::StatusOr<std::filesystem::path> Write(const Checkpoint& checkpoint) const;

  struct Found {
    Checkpoint checkpoint;
    std::filesystem::path path;
    std::vector<std::string> passed_over;  // newer ones: "PATH: why it is no good"
  };
  // The newest that is whole; nothing where no checkpoint is (or no folder). DATA_LOSS, with the
  // reason of each, when there are some and none is good. Removes what a process that was killed
  // left half-written.
  absl::StatusOr<std::optional<Found>> Newest(uint64_t max_parameters) const;

  bool empty() const { return NewestFirst().empty(); }
  std::filesystem::path PathOf(const Position& position) const;

 private:
  std::vector<std::filesystem::path> NewestFirst() const;
  std::filesystem::path folder_;
};

}  // namespace atl::trainer
