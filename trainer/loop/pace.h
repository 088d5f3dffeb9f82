// Progress, not too often.
#pragma once

#include <chrono>

#include "trainer/loop/metrics.h"

namespace atl::trainer {

class Pace {
 public:
  explicit Pace(const std::function<void(const StepProgress&)>& report)
      : report_(report), start_(Clock::now()) {}

  // After each step: `examples` were done in it.
  void Step(uint32_t step, uint32_t steps, uint64_t examples) {
    examples_ += examples;
    if (!report_) return;
    auto now = Clock::now();
    if (now - reported_ < std::chrono::milliseconds(200)) return;
    reported_ = now;
    double seconds = std::chrono::duration<double>(now - start_).count();
    report_({step, steps, seconds > 0 ? static_cast<double>(examples_) / seconds : 0});
  }

 private:
  using Clock = std::chrono::steady_clock;
  const std::function<void(const StepProgress&)>& report_;
  const Clock::time_point start_;
  Clock::time_point reported_{};
  uint64_t examples_ = 0;
};

}  // namespace atl::trainer
