// SHA-256 (FIPS 180-4), HMAC-free; and Merkle roots over chunk digests.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "comms/base/bytes.h"

namespace atl {

// Incremental SHA-256. Finish() may be called once.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  Sha256& Update(ByteView bytes);
  Digest Finish();
  static Digest Of(ByteView bytes) { return std::move(Sha256().Update(bytes)).Finish(); }

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Merkle tree hash of RFC 6962, section 2.1, over the chunks' digests: leaf = SHA-256(0x00 || chunk
// digest), node = SHA-256(0x01 || left || right). No chunks: SHA-256 of nothing.
Digest MerkleRoot(const std::vector<Digest>& chunk_digests);
// The audit path of chunk `index` (RFC 6962, 2.1.1), leaf to root. index < chunk_digests.size().
std::vector<Digest> MerklePath(const std::vector<Digest>& chunk_digests, size_t index);
// INVALID_ARGUMENT unless `path` leads from the chunk to `root` in a tree of `count` chunks.
absl::Status VerifyMerklePath(const Digest& chunk_digest, size_t index, size_t count,
                              const std::vector<Digest>& path, const Digest& root);

}  // namespace atl
