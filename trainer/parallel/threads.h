// How torch computes in this process: threads and determinism.
#pragma once

#include <cstdint>

namespace atl::trainer {

// Cores that this process may run on.
uint32_t UsableCores();

// Threads for one of `local_ranks` ranks that share `cores`: at least 1. OMP_NUM_THREADS, where
// set, wins.
uint32_t ThreadsPerRank(uint32_t cores, uint32_t local_ranks);

// Sets torch's threads for the whole process, and asks it for algorithms that give the same bits
// each time.
void ConfigureTorch(uint32_t threads);

}  // namespace atl::trainer
