// What every backend's Communicator must do, checked by all ranks together.
#pragma once

#include <cstdint>
#include <string>

#include "comms/collectives/communicator.h"

namespace atl {

// Called by all ranks with the same arguments. Empty when everything is right; else what was wrong
// first on this rank. Sums of floats in buffers from Allocate must have the bits of a sum in the
// order of ranks; others must be close, and the same on every rank.
std::string CheckCollectives(Communicator& communicator, uint64_t seed);

// From ATOLL_TEST_SEED, or a new one.
uint64_t TestSeed();

}  // namespace atl
