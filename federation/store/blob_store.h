// Content-addressed blobs: models and packed sums.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "comms/base/bytes.h"
#include "comms/base/crypto/sha256.h"
#include "federation/store/file.h"

namespace atl::store {

// A blob being written, chunk by chunk, to a temporary file; dropped without Commit it leaves
// nothing. Memory is one digest a chunk. Not thread-safe; several may write the same blob at once.
class BlobWriter {
 public:
  BlobWriter(BlobWriter&&) noexcept = default;
  BlobWriter& operator=(BlobWriter&&) = delete;
  ~BlobWriter();

  // 1..kMaxChunkBytes bytes; sizes may differ. INVALID_ARGUMENT for another size or more than
  // kMaxChunks, RESOURCE_EXHAUSTED when the disk is full, UNAVAILABLE for other trouble with it.
  // After an error the blob is lost.
  absl::Status AddChunk(ByteView bytes);
  // For a caller that has hashed the chunk already, in another thread: digest = SHA-256(bytes).
  absl::Status AddHashedChunk(ByteView bytes, const Digest& digest);
  // Syncs, gives the blob its name and syncs the folder; once. Its name: MerkleRoot of the chunks'
  // SHA-256. At least one chunk. Errors as AddChunk.
  absl::StatusOr<Digest> Commit();

  uint64_t bytes() const { return bytes_; }

 private:
  friend class BlobStore;
  BlobWriter() = default;
  std::filesystem::path folder_, temporary_;
  OwnedFd fd_;
  std::vector<Digest> digests_;
  std::vector<uint32_t> sizes_;
  uint64_t bytes_ = 0;
  absl::Status failed_;
};

// A blob that is there. Stays readable when the blob is removed. Thread-safe for reading.
class BlobReader {
 public:
  BlobReader(BlobReader&&) noexcept = default;
  BlobReader& operator=(BlobReader&&) noexcept = default;

  uint32_t chunk_count() const { return static_cast<uint32_t>(digests_.size()); }
  const std::vector<Digest>& chunk_digests() const { return digests_; }
  uint32_t chunk_bytes(uint32_t index) const { return sizes_[index]; }
  uint64_t bytes() const { return bytes_; }  // of all chunks
  // OUT_OF_RANGE for index >= chunk_count(), DATA_LOSS when the bytes are not those of the chunk's
  // digest.
  absl::StatusOr<Bytes> ReadChunk(uint32_t index) const;
  // The same into memory of chunk_bytes(index) bytes; INVALID_ARGUMENT for another size.
  absl::Status ReadChunk(uint32_t index, std::span<uint8_t> out) const;

 private:
  friend class BlobStore;
  BlobReader() = default;
  std::filesystem::path path_;
  OwnedFd fd_;
  std::vector<Digest> digests_;
  std::vector<uint32_t> sizes_;
  std::vector<uint64_t> offsets_;  // in the file
  uint64_t bytes_ = 0;
};

// A folder of blobs, `ab/cdef...` by the root's hex digits. Thread-safe; several processes may
// share a folder.
class BlobStore {
 public:
  // Makes the folder if need be, and removes temporary files whose writer has died.
  static absl::StatusOr<BlobStore> Open(const std::filesystem::path& folder);

  absl::StatusOr<BlobWriter> NewBlob() const;
  // NOT_FOUND; DATA_LOSS when the file's index is damaged or is not that of `root`.
  absl::StatusOr<BlobReader> OpenBlob(const Digest& root) const;
  bool Has(const Digest& root) const;
  // OK also when there is none.
  absl::Status Remove(const Digest& root) const;

 private:
  explicit BlobStore(std::filesystem::path folder) : folder_(std::move(folder)) {}
  std::filesystem::path PathOf(const Digest& root) const;
  std::filesystem::path folder_;
};

}  // namespace atl::store
