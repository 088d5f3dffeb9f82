// A trainer without training: speaks the site link, and its update is known.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "comms/base/bytes.h"
#include "federation/site/launcher.h"
#include "kernels/vector_layout.h"

namespace atl::site {

enum class Behaviour {
  kGood,
  kNoHello,        // connects, and says nothing
  kDiesTraining,   // its link closes without a word
  kFailsTraining,  // says "out of data"
  kFailsBabbling,  // says 100 kB that are no text
  kHangsTraining,
  kDiesMasking,  // after the first masked chunk
};

struct FakeTrainerOptions {
  std::string link;
  uint32_t ranks = 1;
  uint32_t pid = 0;  // of rank 0; the others' are said to be some that no process has
  Behaviour behaviour = Behaviour::kGood;
};

// What was asked of a trainer, over all launches.
struct FakeTrainerLog {
  std::mutex mutex;
  std::vector<std::string> asked;  // "train 1", "release 1", "evaluate 2", "stop"
  Bytes model;                     // the last one that was sent
  // "prepare 1", "train 1", "as prepared 1" or "afresh 1": what came of masks ahead.
  std::vector<std::string> masks;
};

// Serves until Stop or the link's end; the exit code.
int RunFakeTrainer(const FakeTrainerOptions& options, FakeTrainerLog* log);

// The integer that the fake trainer's vector has at a place, before masks.
int64_t FakeValue(uint32_t segment, uint64_t element);

// Runs fake trainers in threads of this process.
class FakeLauncher : public Launcher {
 public:
  absl::Status Check(const std::filesystem::path& trainer) const override { return check; }
  absl::StatusOr<std::unique_ptr<RunningTrainer>> Launch(const LaunchSpec& spec) override;

  absl::Status check;                              // what Check says
  std::function<Behaviour(int launch)> behaviour;  // from 1; null: kGood
  FakeTrainerLog log;
  std::atomic<int> launches = 0;
  uint32_t ranks = 0;  // of the last launch
};

}  // namespace atl::site
