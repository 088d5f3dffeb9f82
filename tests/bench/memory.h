// How much memory this process has taken at most.
#pragma once

namespace atl::bench {

// Counts from its construction on, which is the baseline. Linux: /proc/self/status and clear_refs.
class PeakMemory {
 public:
  PeakMemory();
  // The most that was resident since, less what was resident then.
  double OverBaselineMib() const;

 private:
  double baseline_mib_;
};

}  // namespace atl::bench
