// A site's spot checks of a round's sum, against the coordinator that published it.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "comms/base/bytes.h"
#include "comms/base/ids.h"
#include "federation/secagg/spot_check.h"
#include "federation/site/worker.h"
#include "federation/store/blob_store.h"
#include "grpcpp/grpcpp.h"

namespace atl::site {

struct SpotCheck {
  JobId job;
  RoundId round;
  SlotId slot;
  secagg::ResultClaim claim;     // from a result that was checked
  std::vector<uint32_t> chunks;  // to check, ascending
};

// Asks the coordinator for what each chunk is made of and adds it up again; the published sum is in
// `blobs`. One chunk after another: memory is that of a few chunks. A coordinator that is away is
// waited for, as by downloads, and the check goes on with the chunk that it broke off at.
// INVALID_ARGUMENT when what comes is not what the sites committed to, does not add up, or is not
// all; what the coordinator says when it refuses kCheckRefusals times in a row; CANCELLED; the
// store's errors.
absl::Status CheckChunks(const std::shared_ptr<grpc::Channel>& channel, const SpotCheck& check,
                         const secagg::SiteIdentity& identity, const store::BlobStore& blobs,
                         Cancellation& cancellation);

inline constexpr int kCheckRefusals = 5;

}  // namespace atl::site
