// A federation's split into groups, from what all its sites reveal: what both sides compute.
//
//   1. every site commits to a nonce;
//   2. it is shown all commits, and signs H(all commits);
//   3. shown everybody's signature of the same H, it reveals its nonce;
//   4. shown all nonces, it computes the groups itself.
//
// A nonce that does not come ends the attempt: its site is left out of the next, which begins with
// fresh commits. Whoever reveals last has seen the groups and may so have them dealt again; a site
// reveals at most kSplitAttemptsMax times in a run, over which SplitFailure sums up.
#pragma once

#include <vector>

#include "federation/secagg/group_bound.h"
#include "federation/secagg/group_messages.h"
#include "federation/secagg/slot_scope.h"

namespace atl::secagg {

inline constexpr std::string_view kGroupCommitsLabel = "group-commits";

// Who is in which group, each sorted; group number g (in sessions and manifests) is groups[g - 1].
using Groups = std::vector<std::vector<SiteId>>;

// seed = HKDF(ikm = all nonces by id, salt = H(all commits), info = "group-split" || run ||
// attempt). Block i of its stream is HKDF(ikm = seed, salt = "", info = "group-shuffle" || u64 i),
// read as four u64, little-endian; a number below n is the first u64 under the largest multiple of
// n, mod n. The sorted ids are shuffled (Fisher and Yates, from the last down) and dealt in runs of
// `sizes`. The sizes add up to the number of sites; the nonces are those committed to.
Groups AssignGroups(const CryptoSuite& suite, const RunId& run, const GroupCommitSet& commits,
                    const GroupRevealSet& reveals, const std::vector<uint32_t>& sizes);

// INVALID_ARGUMENT unless these are exactly the nonces that were committed to.
absl::Status CheckReveals(const RunId& run, const GroupCommitSet& commits,
                          const GroupRevealSet& reveals);

// The scope of slots of `number` (from 1).
SlotScope ScopeOf(const Groups& groups, uint32_t number, const GroupTerms& terms);

}  // namespace atl::secagg
