// A site's vector of one round, on its way to the coordinator.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "comms/base/bytes.h"
#include "comms/base/crypto/suite.h"
#include "comms/base/ids.h"
#include "federation/site/worker.h"
#include "federation/store/vector_store.h"

namespace atl::site {

struct Upload {
  store::VectorId id;
  std::shared_ptr<const store::StagedVector> vector;  // complete
  Signature token{};                                  // UploadToken()
};

// The site's signature over "atoll/upload/v1" || u64 job || u32 round || u64 slot || root: who may
// send this vector.
Signature UploadToken(const CryptoSuite& suite, const Secret32& identity_seed,
                      const store::VectorId& id, const Digest& root);

// Sends the chunks that the coordinator does not have, at most rpc::kMaxUnacknowledgedChunks of
// them unacknowledged, until it says that the vector is complete; a broken connection goes on with
// what is missing, as often as it takes. `acknowledged` (may be null) is called with how many
// chunks are durable there. CANCELLED; DATA_LOSS when the staged file is damaged; what the
// coordinator says when it refuses kRefusalLimit times in a row.
absl::Status UploadVector(const std::shared_ptr<grpc::Channel>& channel, const Upload& upload,
                          Cancellation& cancellation,
                          const std::function<void(uint32_t)>& acknowledged = nullptr);

inline constexpr int kRefusalLimit = 30;

}  // namespace atl::site
