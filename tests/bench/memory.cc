#include "tests/bench/memory.h"

#include <malloc.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace atl::bench {
namespace {

double StatusMib(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(name + ":")) return std::stod(line.substr(name.size() + 1)) / 1024;
  }
  return 0;
}

}  // namespace

PeakMemory::PeakMemory() {
  malloc_trim(0);
  std::ofstream("/proc/self/clear_refs") << "5";  // the peak starts again from what is there now
  baseline_mib_ = StatusMib("VmRSS");
}

double PeakMemory::OverBaselineMib() const {
  return std::max(0.0, StatusMib("VmHWM") - baseline_mib_);
}

}  // namespace atl::bench
