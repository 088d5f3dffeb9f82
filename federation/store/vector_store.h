// Masked vectors that sites upload, staged on disk until their round's sum is made.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <tuple>
#include <vector>

#include "absl/status/statusor.h"
#include "comms/base/bytes.h"
#include "comms/base/crypto/sha256.h"
#include "comms/base/ids.h"
#include "federation/store/file.h"

namespace atl::store {

// One site's vector in one attempt at one round.
struct VectorId {
  JobId job;
  RoundId round;
  SlotId slot;
  SiteId site;
  auto operator<=>(const VectorId&) const = default;
};

// One vector: a file whose chunks' sizes are known from the start, written in any order.
// Thread-safe. Memory is one digest a chunk. Kept alive by whoever holds it; stays usable when its
// round is removed meanwhile.
class StagedVector {
 public:
  uint32_t chunk_count() const { return static_cast<uint32_t>(sizes_.size()); }
  uint32_t chunk_bytes(uint32_t index) const { return sizes_[index]; }
  // Durable when it returns OK. A chunk that is there already must come with the same bytes, else
  // INVALID_ARGUMENT, as for a wrong size or index. RESOURCE_EXHAUSTED when the disk is full,
  // UNAVAILABLE for other trouble with it.
  absl::Status WriteChunk(uint32_t index, ByteView bytes);
  // Indices of the chunks that are stored, ascending; also what a process before this one stored.
  std::vector<uint32_t> StoredChunks() const;
  bool HasAll() const;
  // OK when all chunks are there and their Merkle root is `root`: hashes no data, only digests.
  // FAILED_PRECONDITION when chunks are missing, INVALID_ARGUMENT for another root.
  absl::Status Complete(const Digest& root) const;
  // NOT_FOUND for a chunk that is not stored, DATA_LOSS when its bytes are not those that were
  // written.
  absl::StatusOr<Bytes> ReadChunk(uint32_t index) const;
  // A chunk where it lies, not hashed again: this process checked the chunk when it came, or when
  // it opened the file (DATA_LOSS only when the file is shorter now).
  // What stays unseen is a disk that gives back other bytes than it was given while the round runs;
  // ReadChunk sees that too, at the price of SHA-256 over everything. NOT_FOUND as ReadChunk.
  absl::StatusOr<FileView> ViewChunk(uint32_t index) const;
  // The digests of a complete vector (FAILED_PRECONDITION otherwise), for audit paths.
  absl::StatusOr<std::vector<Digest>> ChunkDigests() const;

 private:
  friend class VectorStore;
  StagedVector() = default;
  absl::Status Store(uint32_t index, ByteView bytes, const Digest& digest);
  // Begins the file, or reads what is stored; chunks' bytes are hashed unless they are trusted.
  absl::Status Load(uint64_t file_bytes, bool trusted);
  absl::StatusOr<Digest> DigestOf(uint32_t index) const;  // NOT_FOUND
  std::filesystem::path path_;
  OwnedFd fd_;
  std::vector<uint32_t> sizes_;
  std::vector<uint64_t> offsets_;               // of the chunks in the file
  std::shared_ptr<std::atomic<bool>> checked_;  // shared with the store's entry of this vector
  mutable std::mutex mutex_;                    // guards what follows
  std::vector<Digest> digests_;                 // all zero: not stored
  uint32_t stored_ = 0;
};

// A folder `<job>/<round>/<slot>-<site>`. One process at a time (FAILED_PRECONDITION otherwise).
// Thread-safe.
class VectorStore {
 public:
  static absl::StatusOr<std::unique_ptr<VectorStore>> Open(const std::filesystem::path& folder);

  // Begins the vector, or goes on with it; while somebody holds it, the same object. `chunk_bytes`
  // are the chunks' sizes, each 1..kMaxChunkBytes. Space for all of it is reserved at once:
  // RESOURCE_EXHAUSTED when there is none. INVALID_ARGUMENT for bad sizes, or others than the
  // vector was begun with. The first time in a process the stored chunks are read and checked; a
  // damaged one counts as not stored, so its site sends it again.
  absl::StatusOr<std::shared_ptr<StagedVector>> OpenVector(
      const VectorId& id, const std::vector<uint32_t>& chunk_bytes);

  // A file without a name for what can be made again, its space reserved: it goes with its
  // descriptor, or with the process. RESOURCE_EXHAUSTED when there is no space, UNAVAILABLE where
  // the file system has no such files.
  absl::StatusOr<OwnedFd> NewScratch(uint64_t bytes);

  // OK also when there is nothing.
  absl::Status RemoveSlot(JobId job, RoundId round, SlotId slot);
  absl::Status RemoveRound(JobId job, RoundId round);
  absl::Status RemoveJob(JobId job);

 private:
  VectorStore(std::filesystem::path folder, FileLock lock)
      : folder_(std::move(folder)), lock_(std::move(lock)) {}
  std::filesystem::path folder_;
  FileLock lock_;
  std::mutex mutex_;
  struct Entry {
    std::weak_ptr<StagedVector> open;
    // This process has checked every chunk of the file that counts as stored, and no write failed
    // since: a vector that is opened again need not be read and hashed whole.
    std::shared_ptr<std::atomic<bool>> checked = std::make_shared<std::atomic<bool>>(false);
  };
  void Forget(const std::function<bool(const VectorId&)>& which);
  std::map<VectorId, Entry> entries_;  // until they are removed
};

// Sizes of the chunks that `bytes` fall into: all of chunk_bytes but the last.
std::vector<uint32_t> EvenChunks(uint64_t bytes, uint32_t chunk_bytes);

}  // namespace atl::store
