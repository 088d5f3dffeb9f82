// Blobs from the coordinator: models and packed sums.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "comms/base/bytes.h"
#include "federation/site/worker.h"
#include "federation/store/blob_store.h"

namespace atl::site {

struct Download {
  Digest root{};                      // the blob's name
  std::vector<uint32_t> chunk_bytes;  // sizes that its chunks must have
};

// Makes the blob present in `blobs`. Each chunk is checked against its digest, and the digests
// against the name, before anything is kept; a broken connection goes on with the next missing
// chunk, as often as it takes. `downloaded` (may be null) is called with the bytes after each
// chunk. CANCELLED; NOT_FOUND when the coordinator has no such blob; INVALID_ARGUMENT when what it
// sends is not the blob; the store's errors.
absl::Status DownloadBlob(const std::shared_ptr<grpc::Channel>& channel, const Download& what,
                          const store::BlobStore& blobs, Cancellation& cancellation,
                          const std::function<void(uint64_t)>& downloaded = nullptr);

// Sizes of the chunks of a model with so many coordinates.
std::vector<uint32_t> ModelChunkBytes(uint64_t parameters);

}  // namespace atl::site
