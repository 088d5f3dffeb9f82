// What R4 reveals, as both sides use it: the coordinator to unmask the sum, a site to check that.
#pragma once

#include <vector>

#include "federation/secagg/messages.h"
#include "federation/secagg/site_slot.h"

namespace atl::secagg {

// Whether it is the secret that the owner's record commits to: b_commit, or mask_pk.
bool IsSecretOf(const CryptoSuite& suite, const Session& session, const PreKeyRecord& owner,
                const RevealedSecret& revealed);

// The streams to add to the sum of y_i to be left with the sum of x_i: the self masks of U3, and
// for every member of U2 without U3 its pair masks with U3. `secrets` are of U2 and were checked
// with IsSecretOf. INVALID_ARGUMENT when two keys do not agree.
absl::StatusOr<std::vector<MaskStream>> RevealedStreams(
    const CryptoSuite& suite, const Digest& context, const std::vector<kernels::Segment>& segments,
    const PreKeySet& u0, const std::vector<SiteId>& u3, const std::vector<RevealedSecret>& secrets);

}  // namespace atl::secagg
