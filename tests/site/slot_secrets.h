// The secrets that a site's slots hold on disk, read from outside while the agent runs: what tests
// look for where it must not be.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "comms/base/bytes.h"
#include "comms/base/ids.h"
#include "comms/base/secret.h"
#include "federation/secagg/site_slot.h"

namespace atl::site {

struct SlotSecrets {
  secagg::SlotState state = secagg::SlotState::kFresh;
  // enc_sk, mask_sk, b, as far as the slot still has them, and the stream keys of its context (of
  // all of U1 before there is one).
  std::map<std::string, Secret32> keys;
  // By dealer, of mask_sk and of b; empty once answered.
  std::map<SiteId, Secret32> mask_key_shares, b_shares;
};

// All slots of all runs in `data_folder`/site.db that are not over, by number. The files are copied
// by another process first: a second connection in the agent's own would end its lock. A slot has
// no more mask_sk and b once it has committed; streams are made from those that were read
// `earlier`. An error for a copy that was torn by a write: try again.
absl::StatusOr<std::map<uint64_t, SlotSecrets>> ReadSlotSecrets(
    const std::filesystem::path& data_folder, const std::map<uint64_t, SlotSecrets>& earlier = {});

}  // namespace atl::site
