#include "federation/store/blob_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <string>

#include "comms/base/files.h"
#include "comms/base/status.h"

// A blob's file: magic, the chunks, the index (u32 size and 32 digest bytes a chunk), u32 chunk
// count, end magic. The index follows the data because a writer does not know the number of chunks.
// The blob's name covers the digests, and they cover the data; a wrong size gives a wrong digest.
namespace atl::store {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMagic = "atollbl1";
constexpr std::string_view kEndMagic = "1lblotta";
constexpr uint64_t kTailBytes = 4 + 8;
constexpr uint64_t kIndexEntryBytes = 4 + sizeof(Digest);
constexpr std::string_view kTemporaryFolder = "temporary";

// Opens a temporary file and locks it, so that a sweep in another process sees that its writer
// lives. A sweep between the two steps may take the file away: then a new one is made.
absl::StatusOr<OwnedFd> CreateTemporary(const fs::path& folder, fs::path& path) {
  static std::atomic<uint64_t> counter{0};
  for (int attempt = 0; attempt < 100; ++attempt) {
    path = folder / kTemporaryFolder / absl::StrCat(getpid(), "-", counter.fetch_add(1));
    OwnedFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    if (!fd.valid()) {
      if (errno == EEXIST) continue;  // of a dead process with our id
      return FileError(errno, path, "cannot create");
    }
    struct stat info;
    if (flock(fd.get(), LOCK_EX | LOCK_NB) == 0 && fstat(fd.get(), &info) == 0 &&
        info.st_nlink > 0) {
      return fd;
    }
  }
  return absl::UnavailableError(absl::StrCat(path.string(), ": cannot lock a temporary file"));
}

// Removes temporary files that nobody holds a lock on.
void Sweep(const fs::path& folder) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const OwnedFd fd(open(entry.path().c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (fd.valid() && flock(fd.get(), LOCK_EX | LOCK_NB) == 0) unlink(entry.path().c_str());
  }
}

}  // namespace

BlobWriter::~BlobWriter() {
  if (fd_.valid()) unlink(temporary_.c_str());
}

absl::Status BlobWriter::AddChunk(ByteView bytes) {
  return AddHashedChunk(bytes, Sha256::Of(bytes));
}

absl::Status BlobWriter::AddHashedChunk(ByteView bytes, const Digest& digest) {
  if (!fd_.valid()) return absl::FailedPreconditionError("the blob is committed already");
  ATOLL_RETURN_IF_ERROR(failed_);
  if (bytes.empty() || bytes.size() > kMaxChunkBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a chunk of ", bytes.size(), " bytes must have 1..", kMaxChunkBytes));
  }
  if (digests_.size() == kMaxChunks) {
    return absl::InvalidArgumentError(absl::StrCat("a blob has at most ", kMaxChunks, " chunks"));
  }
  failed_ = WriteAt(fd_.get(), kMagic.size() + bytes_, bytes, temporary_);
  ATOLL_RETURN_IF_ERROR(failed_);
  digests_.push_back(digest);
  sizes_.push_back(static_cast<uint32_t>(bytes.size()));
  bytes_ += bytes.size();
  return absl::OkStatus();
}

absl::StatusOr<Digest> BlobWriter::Commit() {
  if (!fd_.valid()) return absl::FailedPreconditionError("the blob is committed already");
  ATOLL_RETURN_IF_ERROR(failed_);
  if (digests_.empty()) return absl::InvalidArgumentError("a blob has at least one chunk");
  ByteWriter index;
  for (size_t i = 0; i < digests_.size(); ++i) index.U32(sizes_[i]).Raw(digests_[i]);
  index.U32(static_cast<uint32_t>(digests_.size())).Raw(AsBytes(kEndMagic));
  const Digest root = MerkleRoot(digests_);
  const std::string name = Hex(root);
  const fs::path parent = folder_ / name.substr(0, 2);
  const auto finish = [&]() -> absl::Status {
    ATOLL_RETURN_IF_ERROR(WriteAt(fd_.get(), 0, AsBytes(kMagic), temporary_));
    ATOLL_RETURN_IF_ERROR(WriteAt(fd_.get(), kMagic.size() + bytes_, index.bytes(), temporary_));
    if (fsync(fd_.get()) != 0) return FileError(errno, temporary_, "cannot sync");
    std::error_code error;
    if (fs::create_directory(parent, error)) ATOLL_RETURN_IF_ERROR(SyncFolder(folder_));
    if (error) return FileError(error.value(), parent, "cannot make the folder");
    // Another writer of the same blob has put the same bytes there: replacing them changes nothing.
    if (rename(temporary_.c_str(), (parent / name.substr(2)).c_str()) != 0) {
      return FileError(errno, parent / name.substr(2), "cannot name the blob");
    }
    return absl::OkStatus();
  };
  failed_ = finish();
  ATOLL_RETURN_IF_ERROR(failed_);
  fd_ = OwnedFd();
  ATOLL_RETURN_IF_ERROR(SyncFolder(parent));
  return root;
}

absl::StatusOr<Bytes> BlobReader::ReadChunk(uint32_t index) const {
  Bytes bytes(index < sizes_.size() ? sizes_[index] : 0);
  ATOLL_RETURN_IF_ERROR(ReadChunk(index, bytes));
  return bytes;
}

absl::Status BlobReader::ReadChunk(uint32_t index, std::span<uint8_t> out) const {
  if (index >= digests_.size()) {
    return absl::OutOfRangeError(absl::StrCat("chunk ", index, " of a blob of ", digests_.size()));
  }
  if (out.size() != sizes_[index]) {
    return absl::InvalidArgumentError(absl::StrCat(path_.string(), ": chunk ", index, " has ",
                                                   sizes_[index], " bytes, not ", out.size()));
  }
  ATOLL_RETURN_IF_ERROR(ReadAt(fd_.get(), offsets_[index], out, path_));
  if (Sha256::Of(out) != digests_[index]) {
    return absl::DataLossError(absl::StrCat(path_.string(), ": chunk ", index, " is damaged"));
  }
  return absl::OkStatus();
}

absl::StatusOr<BlobStore> BlobStore::Open(const fs::path& folder) {
  ATOLL_RETURN_IF_ERROR(MakeFolder(folder / kTemporaryFolder));
  Sweep(folder / kTemporaryFolder);
  return BlobStore(folder);
}

absl::StatusOr<BlobWriter> BlobStore::NewBlob() const {
  BlobWriter writer;
  writer.folder_ = folder_;
  ATOLL_ASSIGN_OR_RETURN(writer.fd_, CreateTemporary(folder_, writer.temporary_));
  return writer;
}

absl::StatusOr<BlobReader> BlobStore::OpenBlob(const Digest& root) const {
  BlobReader reader;
  reader.path_ = PathOf(root);
  reader.fd_ = OwnedFd(open(reader.path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!reader.fd_.valid()) {
    if (errno == ENOENT) {
      return absl::NotFoundError(absl::StrCat("no blob ", Hex(root), " in ", folder_.string()));
    }
    return FileError(errno, reader.path_, "cannot open");
  }
  struct stat info;
  if (fstat(reader.fd_.get(), &info) != 0) return FileError(errno, reader.path_, "cannot look up");
  const auto damaged = [&](std::string_view why) {
    return absl::DataLossError(absl::StrCat(reader.path_.string(), ": ", std::string(why)));
  };
  const uint64_t file_bytes = static_cast<uint64_t>(info.st_size);
  if (!S_ISREG(info.st_mode) || file_bytes < kMagic.size() + kTailBytes) {
    return damaged("is no blob");
  }
  Bytes tail(kTailBytes);
  ATOLL_RETURN_IF_ERROR(ReadAt(reader.fd_.get(), file_bytes - kTailBytes, tail, reader.path_));
  ByteReader tail_reader(tail);
  const uint64_t count = tail_reader.U32();
  if (AsText(tail_reader.rest()) != kEndMagic || count == 0 || count > kMaxChunks ||
      count * kIndexEntryBytes > file_bytes - kMagic.size() - kTailBytes) {
    return damaged("has no index at its end");
  }
  const uint64_t index_offset = file_bytes - kTailBytes - count * kIndexEntryBytes;
  Bytes index(count * kIndexEntryBytes);
  ATOLL_RETURN_IF_ERROR(ReadAt(reader.fd_.get(), index_offset, index, reader.path_));
  ByteReader entries(index);
  for (uint64_t i = 0; i < count; ++i) {
    reader.sizes_.push_back(entries.U32());
    reader.digests_.push_back(entries.Array<sizeof(Digest)>());
    reader.offsets_.push_back(kMagic.size() + reader.bytes_);
    if (reader.sizes_[i] == 0 || reader.sizes_[i] > kMaxChunkBytes) {
      return damaged(absl::StrCat("chunk ", i, " has a size of ", reader.sizes_[i], " bytes"));
    }
    reader.bytes_ += reader.sizes_[i];
  }
  if (kMagic.size() + reader.bytes_ != index_offset) {
    return damaged("its chunks' sizes do not add up to the file's");
  }
  if (MerkleRoot(reader.digests_) != root) return damaged("its index is not that of its name");
  return reader;
}

bool BlobStore::Has(const Digest& root) const {
  struct stat info;
  return stat(PathOf(root).c_str(), &info) == 0 && S_ISREG(info.st_mode);
}

absl::Status BlobStore::Remove(const Digest& root) const {
  const fs::path path = PathOf(root);
  if (unlink(path.c_str()) == 0) return SyncFolder(path.parent_path());
  return errno == ENOENT ? absl::OkStatus() : FileError(errno, path, "cannot remove");
}

fs::path BlobStore::PathOf(const Digest& root) const {
  const std::string name = Hex(root);
  return folder_ / name.substr(0, 2) / name.substr(2);
}

}  // namespace atl::store
