// How many groups a large federation may be dealt into, and how likely a split is to go wrong.
// Pure.
//
// Sites are dealt into groups at random; c of them may be corrupt, nobody knows which. A group of
// n_g sites with threshold t_g (ThresholdFor) fails when c_g, its share of the corrupt, is too
// large: c_g >= 2 t_g - n_g (two sets of signers could be made to reveal both halves) or t_g - c_g
// < 2 (a sum over one honest site). c_g is hypergeometric.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"

namespace atl::secagg {

inline constexpr uint32_t kGroupSizeMin = 3;
inline constexpr uint32_t kSplitAttemptsMax = 8;  // whose outcome anybody may see, of one run
inline constexpr double kSplitFailureMax = 0x1p-40;

// What the run states of its groups.
struct GroupTerms {
  uint32_t size_max = 255;   // sites in a group, 3..255
  uint32_t corrupt_max = 0;  // c; 0: none was stated, and nothing is split
};

// Whether `sites` sites with threshold `threshold` stand `corrupt` of them that collude with the
// coordinator: corrupt < 2 t - n and t - corrupt >= 2.
bool Withstands(uint32_t sites, uint32_t threshold, uint32_t corrupt);

// Chance that any group of any of kSplitAttemptsMax splits fails, by the union bound: the sum of
// the groups' exact hypergeometric tails, rounded up by less than one part in 10^6; in [0, 1].
// Exactly 0 when no group can fail. INVALID_ARGUMENT for a group of under kGroupSizeMin or over 255
// sites, over 2^16 sites, or more corrupt sites than sites.
absl::StatusOr<double> SplitFailure(std::span<const uint32_t> sizes, uint32_t corrupt_max);

// The sizes to deal `sites` sites into: as equal as possible (larger ones first), each at most
// terms.size_max, the fewest groups whose SplitFailure is at most kSplitFailureMax.
// INVALID_ARGUMENT for terms out of their range; FAILED_PRECONDITION saying what was tried and what
// would help when no number of groups will do.
absl::StatusOr<std::vector<uint32_t>> PickGroupSizes(uint32_t sites, const GroupTerms& terms);

}  // namespace atl::secagg
