// E0: who takes part. A file signed by an operator, exchanged out of band, pinned by every site;
// the coordinator is not its authority.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "comms/base/crypto/suite.h"
#include "comms/base/ids.h"

namespace atl::secagg {

struct RosterEntry {
  std::string name;      // for people
  PublicKey identity{};  // Ed25519
};

class Roster {
 public:
  // INVALID_ARGUMENT: id 0, no sites, over 2^16, two sites with one identity.
  static absl::StatusOr<Roster> Create(std::map<SiteId, RosterEntry> sites,
                                       const Secret32& operator_seed, const CryptoSuite& suite);
  // JSON: {"atoll_roster": 1, "operator": hex, "sites": [{"id", "name", "identity": hex}],
  // "signature": hex}. `pinned_operator` (when not null) must be the signer. UNAUTHENTICATED when
  // the signature does not verify.
  static absl::StatusOr<Roster> FromJson(std::string_view text, const PublicKey* pinned_operator,
                                         const CryptoSuite& suite);
  static absl::StatusOr<Roster> Load(const std::filesystem::path& path,
                                     const PublicKey* pinned_operator, const CryptoSuite& suite);
  std::string ToJson() const;

  const std::map<SiteId, RosterEntry>& sites() const { return sites_; }
  const RosterEntry* Find(SiteId id) const;  // null when not in the roster
  const PublicKey& operator_key() const { return operator_key_; }
  const Digest& digest() const { return digest_; }  // SHA-256 of the signed canonical body

 private:
  std::map<SiteId, RosterEntry> sites_;
  PublicKey operator_key_{};
  Signature signature_{};
  Digest digest_{};
};

}  // namespace atl::secagg
