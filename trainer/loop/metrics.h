// What training and evaluation count.
#pragma once

#include <cstdint>
#include <functional>

#include "absl/status/status.h"

namespace atl::trainer {

// Summed over all ranks.
struct Metrics {
  // Predictions that were judged: one an example, or one a counted token of a language model.
  uint64_t examples = 0, correct = 0;
  double loss_sum = 0;  // of their cross entropies, nats
  bool operator==(const Metrics&) const = default;

  double accuracy() const {
    return examples == 0 ? 0 : static_cast<double>(correct) / static_cast<double>(examples);
  }
  double loss() const { return examples == 0 ? 0 : loss_sum / static_cast<double>(examples); }
};

struct StepProgress {
  uint32_t step = 0, steps = 0;  // over all epochs
  double examples_per_s = 0;     // of all ranks
};

// What a loop tells and asks its caller, on each rank. Empty functions are not called.
struct LoopHooks {
  std::function<void(const StepProgress&)> progress;  // at most five times a second
  std::function<bool()> stop;  // asked in each step; true on any rank ends the loop: CANCELLED
  // After each epoch, on all ranks alike; an error ends the training.
  std::function<absl::Status(uint32_t epoch, const Metrics&)> epoch_done;
};

}  // namespace atl::trainer
