#include "trainer/data/token_shards.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <system_error>
#include <utility>

#include "comms/base/files.h"
#include "comms/base/status.h"

namespace atl::trainer {
namespace {

namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "shards are read as they lie on disk");

constexpr std::string_view kMagic = "ATOLTOK1";
constexpr uint64_t kReservedBytes = 24;

absl::Status Errno(int code, const std::string& name, const char* doing) {
  const std::string text =
      absl::StrCat(name, ": cannot ", doing, ": ", std::generic_category().message(code));
  return code == ENOENT ? absl::NotFoundError(text) : absl::InvalidArgumentError(text);
}

bool IsSpecial(int32_t id, uint32_t vocabulary) {
  return id == -1 || (id >= 0 && static_cast<uint32_t>(id) < vocabulary);
}

bool IsShard(const fs::path& path, const std::string& prefix) {
  const std::string name = path.filename().string();
  return path.extension() == ".tokens" && name.substr(0, prefix.size() + 1) == prefix + "-";
}

absl::StatusOr<std::vector<fs::path>> ListShards(const fs::path& folder,
                                                 const std::string& prefix) {
  std::vector<fs::path> paths;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    if (IsShard(entry->path(), prefix)) paths.push_back(entry->path());
    if (paths.size() > kMaxShards) {
      return absl::InvalidArgumentError(
          absl::StrCat(folder.string(), ": over ", kMaxShards, " files ", prefix, "-*.tokens"));
    }
  }
  if (paths.empty()) {
    return absl::NotFoundError(absl::StrCat("no file ", (folder / prefix).string(),
                                            "-*.tokens; make it with atoll-trainer tokenize"));
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

// Examples in a file: whole blocks, and what is left where it has two ids.
uint64_t ExamplesOf(uint64_t count, uint32_t block) {
  return count / block + (count % block >= 2 ? 1 : 0);
}

}  // namespace

absl::StatusOr<ShardHeader> ParseShardHeader(ByteView bytes, uint64_t file_bytes) {
  ByteReader in(bytes.first(std::min<size_t>(bytes.size(), kShardHeaderBytes)));
  const ByteView magic = in.Raw(kMagic.size());
  if (!in.ok() || AsText(magic) != kMagic) {
    return absl::InvalidArgumentError("not a token shard: it does not start with ATOLTOK1");
  }
  ShardHeader header;
  header.id_bytes = in.U32();
  header.vocabulary = in.U32();
  for (int32_t* id : {&header.padding_id, &header.begin_id, &header.end_id, &header.mask_id}) {
    *id = static_cast<int32_t>(in.U32());
  }
  header.count = in.U64();
  const ByteView reserved = in.Raw(kReservedBytes);
  ATOLL_RETURN_IF_ERROR(in.Finish("header of a token shard"));
  if (header.id_bytes != 2 && header.id_bytes != 4) {
    return absl::InvalidArgumentError(
        absl::StrCat("ids of ", header.id_bytes, " bytes; 2 and 4 are read"));
  }
  const uint64_t most = header.id_bytes == 2 ? 1 << 16 : uint64_t{1} << 31;
  if (header.vocabulary == 0 || header.vocabulary > most) {
    return absl::InvalidArgumentError(absl::StrCat("a vocabulary of ", header.vocabulary,
                                                   " with ids of ", header.id_bytes, " bytes"));
  }
  for (int32_t id : {header.padding_id, header.begin_id, header.end_id, header.mask_id}) {
    if (!IsSpecial(id, header.vocabulary)) {
      return absl::InvalidArgumentError(
          absl::StrCat("special id ", id, " must be -1 or < ", header.vocabulary));
    }
  }
  if (std::any_of(reserved.begin(), reserved.end(), [](uint8_t b) { return b != 0; })) {
    return absl::InvalidArgumentError("bytes 40 to 63 of the header are not zero");
  }
  if (header.count > kMaxShardTokens ||
      kShardHeaderBytes + header.count * header.id_bytes != file_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("its header promises ", header.count,
                                                   " ids, but the file has ", file_bytes,
                                                   " bytes (cut off?)"));
  }
  return header;
}

Bytes EncodeShardHeader(const ShardHeader& header) {
  ByteWriter out;
  out.Raw(AsBytes(kMagic)).U32(header.id_bytes).U32(header.vocabulary);
  for (int32_t id : {header.padding_id, header.begin_id, header.end_id, header.mask_id}) {
    out.U32(static_cast<uint32_t>(id));
  }
  out.U64(header.count).Raw(Bytes(kReservedBytes, 0));
  return std::move(out).Take();
}

absl::StatusOr<std::unique_ptr<TokenShard>> TokenShard::Open(const fs::path& path) {
  std::unique_ptr<TokenShard> shard(new TokenShard());
  shard->name_ = path.string();
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return Errno(errno, shard->name_, "open");
  struct stat info;
  const bool known = fstat(fd, &info) == 0;
  if (known && S_ISREG(info.st_mode) && info.st_size >= static_cast<off_t>(kShardHeaderBytes)) {
    void* map = mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
    const int code = errno;
    close(fd);
    if (map == MAP_FAILED) return Errno(code, shard->name_, "map");
    shard->map_ = static_cast<const uint8_t*>(map);
    shard->map_bytes_ = static_cast<uint64_t>(info.st_size);
  } else {
    close(fd);
    return absl::InvalidArgumentError(
        absl::StrCat(shard->name_, ": no file, or too short for a token shard"));
  }
  auto header = ParseShardHeader(ByteView(shard->map_, kShardHeaderBytes), shard->map_bytes_);
  if (!header.ok()) return Annotate(header.status(), shard->name_);
  shard->header_ = *header;
  return shard;
}

TokenShard::~TokenShard() {
  if (map_ != nullptr) munmap(const_cast<uint8_t*>(map_), map_bytes_);
}

absl::Status TokenShard::Read(uint64_t first, std::span<int32_t> out) const {
  const uint8_t* in = map_ + kShardHeaderBytes + first * header_.id_bytes;
  for (size_t i = 0; i < out.size(); ++i) {
    uint32_t id = 0;
    std::memcpy(&id, in + i * header_.id_bytes, header_.id_bytes);
    if (id >= header_.vocabulary) {
      return absl::InvalidArgumentError(absl::StrCat(name_, ": id ", id, " at place ", first + i,
                                                     " must be < ", header_.vocabulary));
    }
    out[i] = static_cast<int32_t>(id);
  }
  return absl::OkStatus();
}

absl::StatusOr<TokenShards> TokenShards::Open(const fs::path& folder, const std::string& prefix,
                                              uint32_t block, uint32_t limit) {
  ATOLL_ASSIGN_OR_RETURN(const std::vector<fs::path> paths, ListShards(folder, prefix));
  TokenShards out;
  out.block_ = block;
  out.first_.push_back(0);
  for (const fs::path& path : paths) {
    ATOLL_ASSIGN_OR_RETURN(auto shard, TokenShard::Open(path));
    ShardHeader header = shard->header();
    out.first_.push_back(out.first_.back() + ExamplesOf(header.count, block));
    out.shards_.push_back(std::move(shard));
    header.count = out.header().count;
    if (header != out.header()) {
      return absl::InvalidArgumentError(absl::StrCat(
          path.string(), ": another vocabulary or other special ids than ", paths[0].string()));
    }
  }
  const uint64_t most = limit == 0 ? uint64_t{UINT32_MAX} : limit;
  out.size_ = static_cast<uint32_t>(std::min(out.first_.back(), most));
  return out;
}

absl::StatusOr<std::vector<int32_t>> TokenShards::Read(uint32_t index, bool next) const {
  const size_t file = static_cast<size_t>(
      std::upper_bound(first_.begin(), first_.end(), uint64_t{index}) - first_.begin() - 1);
  const TokenShard& shard = *shards_[file];
  const uint64_t first = (index - first_[file]) * block_;
  const uint64_t left = shard.header().count - first;
  std::vector<int32_t> ids(std::min<uint64_t>(left, block_ + (next ? 1 : 0)));
  ATOLL_RETURN_IF_ERROR(shard.Read(first, ids));
  return ids;
}

TokenShardWriter::TokenShardWriter(fs::path folder, std::string prefix, ShardHeader header,
                                   uint64_t shard_tokens)
    : folder_(std::move(folder)),
      prefix_(std::move(prefix)),
      header_(header),
      shard_tokens_(shard_tokens) {
  header_.id_bytes = header.vocabulary <= 1 << 16 ? 2 : 4;
}

absl::Status TokenShardWriter::Add(std::span<const int32_t> text) {
  if (in_file_ != 0 && in_file_ + text.size() > shard_tokens_) ATOLL_RETURN_IF_ERROR(Finish());
  for (int32_t id : text) {
    if (header_.id_bytes == 2) {
      ids_.U16(static_cast<uint16_t>(id));
    } else {
      ids_.U32(static_cast<uint32_t>(id));
    }
  }
  in_file_ += text.size();
  tokens_ += text.size();
  return absl::OkStatus();
}

absl::Status TokenShardWriter::Finish() {
  if (in_file_ == 0) return absl::OkStatus();
  if (files_ == kMaxShards) {
    return absl::ResourceExhaustedError(absl::StrCat("over ", kMaxShards, " shards"));
  }
  header_.count = in_file_;
  char number[16];
  std::snprintf(number, sizeof(number), "-%03u", files_);
  ATOLL_ASSIGN_OR_RETURN(StagedFile file,
                         StagedFile::Create(folder_ / (prefix_ + number + ".tokens")));
  ATOLL_RETURN_IF_ERROR(file.Append(EncodeShardHeader(header_)));
  ATOLL_RETURN_IF_ERROR(file.Append(ids_.bytes()));
  ATOLL_RETURN_IF_ERROR(file.Commit());
  ++files_;
  in_file_ = 0;
  ids_ = ByteWriter();
  return absl::OkStatus();
}

}  // namespace atl::trainer
