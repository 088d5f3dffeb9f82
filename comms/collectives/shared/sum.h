// Sums over buffers that lie in memory: what a collective over shared memory comes down to.
#pragma once

#include <cstdint>
#include <span>

namespace atl::shared {

// targets[t][i] := ((sources[0][i] + sources[1][i]) + sources[2][i]) + ... for i in [first, last),
// for every t. A target may be a source; otherwise they do not overlap. At least one source. The
// bits do not depend on the CPU or on how a range is cut.
void SumRange(std::span<float* const> sources, std::span<float* const> targets, uint64_t first,
              uint64_t last);

}  // namespace atl::shared
