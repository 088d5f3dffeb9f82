// R5 at a site: whether a result is what its cohort signed and what R4 revealed. What the sum is
// made of is for spot_check.h.
#pragma once

#include <vector>

#include "federation/secagg/messages.h"
#include "federation/secagg/roster.h"
#include "federation/secagg/site_slot.h"

namespace atl::secagg {

// Round; U3 within U2, of at least max(t, m) sites and the one that this site signed; every
// member's commit under this site's ctx, its own one as it was made; at least t signatures of U3;
// the secrets of all of U2, the right one of each, against the pre-keys that this site holds; the
// groups' sums. The streams to add to the survivors' sum. Pure. INVALID_ARGUMENT, UNAUTHENTICATED
// (a signature), PERMISSION_DENIED (the site's own floor).
absl::StatusOr<std::vector<MaskStream>> CheckResult(const SlotFacts& facts, const Roster& roster,
                                                    const CryptoSuite& suite, const Result& result);

// The same for a round without secure aggregation: round, commits of participants, groups' sums.
// `own` is this site's commit; null before it has one.
absl::Status CheckPlainResult(const Session& session, const Manifest& manifest, const Commit* own,
                              const Roster& roster, const CryptoSuite& suite, const Result& result);

}  // namespace atl::secagg
