// Who this site is: its key file and its roster.
#pragma once

#include "absl/status/statusor.h"
#include "federation/secagg/roster.h"
#include "federation/secagg/site_slot.h"
#include "federation/site/site_main.h"

namespace atl::site {

// The 32-byte Ed25519 seed that a file holds in hex. PERMISSION_DENIED when others than its owner,
// who must be this user, may read the file; INVALID_ARGUMENT when it holds anything else.
absl::StatusOr<Secret32> ReadIdentityFile(const std::filesystem::path& path);

// The roster of options.roster_file, signed by options.operator_key if that is given.
absl::StatusOr<secagg::Roster> LoadRoster(const SiteOptions& options, const CryptoSuite& suite);

// FAILED_PRECONDITION when the roster does not have this site, or has it with another key. `suite`
// and `random` outlive what is returned.
absl::StatusOr<secagg::SiteIdentity> LoadIdentity(const SiteOptions& options, secagg::Roster roster,
                                                  const CryptoSuite& suite, SecretRandom& random);

}  // namespace atl::site
