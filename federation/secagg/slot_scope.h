// Which sites a slot is for. Both sides of a slot are made with one.
#pragma once

#include <cstdint>
#include <vector>

#include "comms/base/ids.h"

namespace atl::secagg {

// Of a run that is not split into groups: no members, and t is of U0. Of a group: U0 is of its
// members only, and t that of all its members, also where some are not in U0: what the split's
// bound says of the group then holds for every U0.
struct SlotScope {
  std::vector<SiteId> members;  // of the group, sorted; empty: anybody in the roster
  uint32_t total = 0;           // sites in all groups, whose sum must fit; 0: those of U0
  uint32_t corrupt_max = 0;     // c that the run states; 0: none
};

// t: of U0's n0 sites (ThresholdFor, `two_of_three` with it), or of a group's members.
uint32_t ThresholdOf(const SlotScope& scope, uint32_t n0, bool two_of_three);

}  // namespace atl::secagg
