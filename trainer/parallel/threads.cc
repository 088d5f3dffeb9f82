#include "trainer/parallel/threads.h"

#include <sched.h>
#include <torch/types.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <string_view>
#include <thread>

namespace atl::trainer {

uint32_t UsableCores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0)
    return static_cast<uint32_t>(std::max(1, CPU_COUNT(&set)));
  return std::max(1u, std::thread::hardware_concurrency());
}

uint32_t ThreadsPerRank(uint32_t cores, uint32_t local_ranks) {
  if (const char* text = std::getenv("OMP_NUM_THREADS")) {
    std::string_view view(text);
    uint32_t threads = 0;
    auto [end, error] = std::from_chars(view.data(), view.data() + view.size(), threads);
    if (error == std::errc() && end == view.data() + view.size() && threads > 0) return threads;
  }
  // mpirun may have bound each rank to cores of its own; then they need not be shared.
  if (cores < std::thread::hardware_concurrency()) local_ranks = 1;
  return std::max(1u, cores / std::max(1u, local_ranks));
}

void ConfigureTorch(uint32_t threads) {
  at::set_num_threads(static_cast<int>(threads));
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
  // With them comes a pass over every new tensor, to fill it with NaN in case it is read before it
  // is written: a help to find mistakes, not to compute.
  at::globalContext().setDeterministicFillUninitializedMemory(false);
}

}  // namespace atl::trainer
