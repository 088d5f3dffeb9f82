// Sums of vectors that have arrived whole, made while others are still on their way.
#pragma once

#include <memory>
#include <set>
#include <span>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "comms/base/bytes.h"
#include "comms/base/ids.h"
#include "federation/secagg/sum.h"
#include "federation/store/vector_store.h"
#include "kernels/vector_layout.h"

namespace atl::coordinator {

struct SiteVector {
  SiteId site;
  std::shared_ptr<store::StagedVector> vector;
};

// Bytes of the chunks of a vector of this layout.
std::vector<uint32_t> ChunkSizes(const kernels::VectorLayout& layout);

// Opens what these sites have uploaded. The errors of VectorStore::OpenVector.
absl::StatusOr<std::vector<SiteVector>> OpenVectors(const store::VectorId& slot,
                                                    const std::vector<SiteId>& sites,
                                                    const kernels::VectorLayout& layout,
                                                    store::VectorStore& vectors);

// Adds the packed chunks that `view` gives, of `count` vectors, and the streams to the one that
// `summer` is at, a few vectors with their share of the streams at a time. The errors of `view`.
using ViewOfSource = absl::FunctionRef<absl::StatusOr<store::FileView>(size_t source)>;
absl::Status AddChunks(ViewOfSource view, size_t count, secagg::ChunkSummer& summer,
                       std::span<const secagg::MaskStream> streams = {},
                       kernels::MaskCipher cipher = kernels::MaskCipher::kAes256Ctr);

// The sum of some sites' vectors, in a file without a name, packed as each of them is: whoever has
// it reads it in their place. It goes with its owner, or with the process, and can be made again.
// Add by one thread at a time; when it is over, the rest by any number of them. Memory is one
// chunk.
class PartialSum {
 public:
  // Of nothing. Reserves its space: RESOURCE_EXHAUSTED when there is none.
  static absl::StatusOr<std::unique_ptr<PartialSum>> Create(
      const std::vector<kernels::Segment>& segments, store::VectorStore& vectors);

  // Adds the vectors, which are whole and not held yet, chunk after chunk. CANCELLED when `stopped`
  // says so, within the time of one chunk: the chunks before it hold these vectors then, the
  // others do not, and the sum is good as Holds says, but nothing can be added to it any more
  // (FAILED_PRECONDITION). After any other error (the stores') it is good for nothing.
  absl::Status Add(const std::vector<SiteVector>& vectors, absl::FunctionRef<bool()> stopped);

  // Whether anything has been added to the chunk, and whether the site's vector has.
  bool Has(uint32_t chunk) const { return !whole_.empty() || chunk < begun_chunks_; }
  bool Holds(uint32_t chunk, SiteId site) const {
    return whole_.contains(site) || (chunk < begun_chunks_ && begun_.contains(site));
  }
  // Whether all sites that any chunk holds are among these, sorted.
  bool IsWithin(const std::vector<SiteId>& sites) const;
  // Of a chunk that it Has, as StagedVector::ViewChunk.
  absl::StatusOr<store::FileView> ViewChunk(uint32_t chunk) const;

 private:
  PartialSum(const std::vector<kernels::Segment>& segments, store::OwnedFd fd);

  kernels::VectorLayout layout_;
  store::OwnedFd fd_;
  std::set<SiteId> whole_;  // in every chunk
  // In the first begun_chunks_ of them, while adding and after an Add that came to no end.
  std::set<SiteId> begun_;
  uint32_t begun_chunks_ = 0;
};

}  // namespace atl::coordinator
