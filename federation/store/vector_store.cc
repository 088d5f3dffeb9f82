#include "federation/store/vector_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "comms/base/files.h"
#include "comms/base/status.h"

// A vector's file: magic, SHA-256 over the chunks' sizes, one digest a chunk (zero: not stored),
// the chunks. A chunk's bytes and digest are written together and synced once; whichever of them a
// crash loses, the two do not match any more, and the chunk counts as not stored.
namespace atl::store {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMagic = "atollve1";
constexpr uint64_t kDigestsOffset = 8 + sizeof(Digest);
constexpr Digest kAbsent{};

absl::Status CheckSizes(const std::vector<uint32_t>& sizes) {
  if (sizes.empty() || sizes.size() > kMaxChunks) {
    return absl::InvalidArgumentError(
        absl::StrCat("a vector of ", sizes.size(), " chunks must have 1..", kMaxChunks));
  }
  for (size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i] == 0 || sizes[i] > kMaxChunkBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("chunk ", i, " of ", sizes[i], " bytes must have 1..", kMaxChunkBytes));
    }
  }
  return absl::OkStatus();
}

Bytes Header(const std::vector<uint32_t>& sizes) {
  ByteWriter encoded;
  for (uint32_t size : sizes) encoded.U32(size);
  return ByteWriter().Raw(AsBytes(kMagic)).Raw(Sha256::Of(encoded.bytes())).bytes();
}

fs::path RoundFolder(const fs::path& folder, JobId job, RoundId round) {
  return folder / std::to_string(job.value()) / std::to_string(round.value());
}

std::string SlotPrefix(SlotId slot) { return std::to_string(slot.value()) + "-"; }

// Reserves the file's space, so that a full disk shows before anything is uploaded.
absl::Status Reserve(int fd, uint64_t bytes, const fs::path& path) {
  while (fallocate(fd, 0, 0, static_cast<off_t>(bytes)) != 0) {
    if (errno == EINTR) continue;
    if (errno != EOPNOTSUPP && errno != ENOSYS)
      return FileError(errno, path, "cannot reserve space");
    if (ftruncate(fd, static_cast<off_t>(bytes)) != 0)
      return FileError(errno, path, "cannot extend");
    break;
  }
  return absl::OkStatus();
}

absl::Status OtherSizes(const fs::path& path) {
  return absl::InvalidArgumentError(
      absl::StrCat(path.string(), ": was begun with other chunk sizes"));
}

absl::Status RemoveTree(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  return error ? FileError(error.value(), path, "cannot remove") : absl::OkStatus();
}

}  // namespace

std::vector<uint32_t> EvenChunks(uint64_t bytes, uint32_t chunk_bytes) {
  std::vector<uint32_t> sizes;
  for (; bytes > 0; bytes -= sizes.back()) {
    sizes.push_back(static_cast<uint32_t>(std::min<uint64_t>(bytes, chunk_bytes)));
  }
  return sizes;
}

absl::Status StagedVector::WriteChunk(uint32_t index, ByteView bytes) {
  if (index >= sizes_.size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "chunk ", index, " of a vector of ", sizes_.size(), " chunks (", path_.string(), ")"));
  }
  if (bytes.size() != sizes_[index]) {
    return absl::InvalidArgumentError(absl::StrCat("chunk ", index, " has ", bytes.size(),
                                                   " bytes and must have ", sizes_[index], " (",
                                                   path_.string(), ")"));
  }
  const Digest digest = Sha256::Of(bytes);
  std::lock_guard lock(mutex_);
  if (digests_[index] != kAbsent) {
    if (digests_[index] == digest) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("chunk ", index, " came again with other bytes (", path_.string(), ")"));
  }
  if (absl::Status stored = Store(index, bytes, digest); !stored.ok()) {
    *checked_ = false;  // who knows what the file holds now
    return stored;
  }
  digests_[index] = digest;
  ++stored_;
  return absl::OkStatus();
}

absl::Status StagedVector::Store(uint32_t index, ByteView bytes, const Digest& digest) {
  ATOLL_RETURN_IF_ERROR(WriteAt(fd_.get(), offsets_[index], bytes, path_));
  ATOLL_RETURN_IF_ERROR(
      WriteAt(fd_.get(), kDigestsOffset + sizeof(Digest) * uint64_t{index}, digest, path_));
  return SyncData(fd_.get(), path_);
}

std::vector<uint32_t> StagedVector::StoredChunks() const {
  std::lock_guard lock(mutex_);
  std::vector<uint32_t> stored;
  for (uint32_t i = 0; i < digests_.size(); ++i) {
    if (digests_[i] != kAbsent) stored.push_back(i);
  }
  return stored;
}

bool StagedVector::HasAll() const {
  std::lock_guard lock(mutex_);
  return stored_ == sizes_.size();
}

absl::StatusOr<std::vector<Digest>> StagedVector::ChunkDigests() const {
  std::lock_guard lock(mutex_);
  if (stored_ != sizes_.size()) {
    return absl::FailedPreconditionError(
        absl::StrCat(path_.string(), ": ", stored_, " of ", sizes_.size(), " chunks are there"));
  }
  return digests_;
}

absl::Status StagedVector::Complete(const Digest& root) const {
  ATOLL_ASSIGN_OR_RETURN(const std::vector<Digest> digests, ChunkDigests());
  const Digest actual = MerkleRoot(digests);
  if (actual == root) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(path_.string(), ": the chunks' Merkle root is ",
                                                 Hex(actual), ", committed was ", Hex(root)));
}

absl::StatusOr<Digest> StagedVector::DigestOf(uint32_t index) const {
  if (index < sizes_.size()) {
    std::lock_guard lock(mutex_);
    if (digests_[index] != kAbsent) return digests_[index];
  }
  return absl::NotFoundError(absl::StrCat(path_.string(), ": chunk ", index, " is not stored"));
}

absl::StatusOr<Bytes> StagedVector::ReadChunk(uint32_t index) const {
  ATOLL_ASSIGN_OR_RETURN(const Digest digest, DigestOf(index));
  Bytes bytes(sizes_[index]);
  ATOLL_RETURN_IF_ERROR(ReadAt(fd_.get(), offsets_[index], bytes, path_));
  if (Sha256::Of(bytes) != digest) {
    return absl::DataLossError(absl::StrCat(path_.string(), ": chunk ", index, " is damaged"));
  }
  return bytes;
}

absl::StatusOr<FileView> StagedVector::ViewChunk(uint32_t index) const {
  ATOLL_RETURN_IF_ERROR(DigestOf(index).status());
  return FileView::Of(fd_.get(), offsets_[index], sizes_[index], path_);
}

absl::StatusOr<std::unique_ptr<VectorStore>> VectorStore::Open(const fs::path& folder) {
  ATOLL_RETURN_IF_ERROR(MakeFolder(folder));
  ATOLL_ASSIGN_OR_RETURN(FileLock lock, FileLock::Take(folder / "lock", "coordinator"));
  return std::unique_ptr<VectorStore>(new VectorStore(folder, std::move(lock)));
}

absl::StatusOr<std::shared_ptr<StagedVector>> VectorStore::OpenVector(
    const VectorId& id, const std::vector<uint32_t>& chunk_bytes) {
  ATOLL_RETURN_IF_ERROR(CheckSizes(chunk_bytes));
  // Held while a restarted coordinator reads a vector back: a file is opened by one at a time.
  std::lock_guard lock(mutex_);
  const fs::path folder = RoundFolder(folder_, id.job, id.round);
  const fs::path path = folder / absl::StrCat(SlotPrefix(id.slot), id.site.value());
  if (const auto known = entries_.find(id); known != entries_.end()) {
    if (std::shared_ptr<StagedVector> vector = known->second.open.lock()) {
      if (vector->sizes_ != chunk_bytes) return OtherSizes(path);
      return vector;
    }
  }

  std::shared_ptr<StagedVector> vector(new StagedVector());
  vector->path_ = path;
  vector->sizes_ = chunk_bytes;
  const auto known = entries_.find(id);
  vector->checked_ = known != entries_.end() ? known->second.checked : Entry().checked;
  uint64_t end = kDigestsOffset + sizeof(Digest) * chunk_bytes.size();
  for (uint32_t size : chunk_bytes) {
    vector->offsets_.push_back(end);
    end += size;
  }
  ATOLL_RETURN_IF_ERROR(MakeFolder(folder));
  const bool is_new = !fs::exists(path);
  vector->fd_ = OwnedFd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!vector->fd_.valid()) return FileError(errno, path, "cannot open");
  absl::Status loaded = vector->Load(end, *vector->checked_);
  const bool is_known = *vector->checked_;
  for (const fs::path& synced : {folder, folder.parent_path(), folder_}) {
    if (loaded.ok() && !is_known) loaded = SyncFolder(synced);
  }
  if (!loaded.ok()) {
    // Nothing of a vector that could not begin stays; what was stored before is kept for another
    // try.
    if (is_new) unlink(path.c_str());
    return loaded;
  }
  *vector->checked_ = true;
  entries_[id] = {vector, vector->checked_};
  return vector;
}

absl::Status StagedVector::Load(uint64_t file_bytes, bool trusted) {
  digests_.assign(sizes_.size(), kAbsent);
  const Bytes header = Header(sizes_);
  Bytes found(header.size());
  struct stat info;
  if (fstat(fd_.get(), &info) != 0) return FileError(errno, path_, "cannot look up");
  // The header is written last: a file that is empty or begins with zeros is one that nobody was
  // told of.
  const bool begun = info.st_size >= static_cast<off_t>(header.size()) &&
                     ReadAt(fd_.get(), 0, found, path_).ok() && found != Bytes(header.size(), 0);
  if (!begun) {
    ATOLL_RETURN_IF_ERROR(Reserve(fd_.get(), file_bytes, path_));
    ATOLL_RETURN_IF_ERROR(WriteAt(fd_.get(), 0, header, path_));
    if (fsync(fd_.get()) != 0) return FileError(errno, path_, "cannot sync");
    return absl::OkStatus();
  }
  if (!std::equal(kMagic.begin(), kMagic.end(), found.begin())) {
    return absl::DataLossError(absl::StrCat(path_.string(), ": is no staged vector"));
  }
  if (found != header) return OtherSizes(path_);
  // Only a damaged file is shorter; its lost chunks will not match their digests.
  ATOLL_RETURN_IF_ERROR(Reserve(fd_.get(), file_bytes, path_));
  for (uint32_t i = 0; i < digests_.size(); ++i) {
    ATOLL_RETURN_IF_ERROR(
        ReadAt(fd_.get(), kDigestsOffset + sizeof(Digest) * uint64_t{i}, digests_[i], path_));
    if (digests_[i] == kAbsent) continue;
    if (trusted) {
      ++stored_;
      continue;
    }
    Bytes bytes(sizes_[i]);
    ATOLL_RETURN_IF_ERROR(ReadAt(fd_.get(), offsets_[i], bytes, path_));
    if (Sha256::Of(bytes) == digests_[i]) {
      ++stored_;
    } else {
      digests_[i] = kAbsent;
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<OwnedFd> VectorStore::NewScratch(uint64_t bytes) {
  OwnedFd fd(open(folder_.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!fd.valid()) return FileError(errno, folder_, "cannot open a file without a name");
  ATOLL_RETURN_IF_ERROR(Reserve(fd.get(), bytes, folder_));
  return fd;
}

void VectorStore::Forget(const std::function<bool(const VectorId&)>& which) {
  std::erase_if(entries_, [&](const auto& entry) { return which(entry.first); });
}

absl::Status VectorStore::RemoveSlot(JobId job, RoundId round, SlotId slot) {
  std::lock_guard lock(mutex_);
  Forget([&](const VectorId& id) { return id.job == job && id.round == round && id.slot == slot; });
  std::error_code error;
  std::vector<fs::path> doomed;
  for (const fs::directory_entry& entry :
       fs::directory_iterator(RoundFolder(folder_, job, round), error)) {
    if (entry.path().filename().string().starts_with(SlotPrefix(slot))) {
      doomed.push_back(entry.path());
    }
  }
  for (const fs::path& path : doomed) ATOLL_RETURN_IF_ERROR(RemoveTree(path));
  return absl::OkStatus();
}

absl::Status VectorStore::RemoveRound(JobId job, RoundId round) {
  std::lock_guard lock(mutex_);
  Forget([&](const VectorId& id) { return id.job == job && id.round == round; });
  return RemoveTree(RoundFolder(folder_, job, round));
}

absl::Status VectorStore::RemoveJob(JobId job) {
  std::lock_guard lock(mutex_);
  Forget([&](const VectorId& id) { return id.job == job; });
  return RemoveTree(folder_ / std::to_string(job.value()));
}

}  // namespace atl::store
