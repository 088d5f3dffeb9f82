// Texts that are ids already: NAME.tokens files, mapped into memory.
//
// A file is a header of 64 bytes, then `count` ids, all little-endian:
//   0  8 bytes  "ATOLTOK1"
//   8  u32      bytes of an id: 2 or 4
//  12  u32      vocabulary: ids are below it
//  16  i32 x 4  ids of padding, begin, end and mask, or -1 where there is none
//  32  u64      count
//  40  24 zeros
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "comms/base/bytes.h"

namespace atl::trainer {

inline constexpr uint64_t kShardHeaderBytes = 64;
inline constexpr uint64_t kMaxShardTokens = uint64_t{1} << 40;
inline constexpr size_t kMaxShards = 1000;

struct ShardHeader {
  uint32_t id_bytes = 2;
  uint32_t vocabulary = 0;
  int32_t padding_id = -1, begin_id = -1, end_id = -1, mask_id = -1;
  uint64_t count = 0;  // ids in the file
  bool operator==(const ShardHeader&) const = default;
};

// INVALID_ARGUMENT when the bytes are no header, or `file_bytes` is not what it promises.
absl::StatusOr<ShardHeader> ParseShardHeader(ByteView bytes, uint64_t file_bytes);
Bytes EncodeShardHeader(const ShardHeader& header);

// Ids of one file. Immutable. The file must not be cut off while it is mapped.
class TokenShard {
 public:
  // NOT_FOUND, or INVALID_ARGUMENT; messages name the file.
  static absl::StatusOr<std::unique_ptr<TokenShard>> Open(const std::filesystem::path& path);
  ~TokenShard();
  TokenShard(const TokenShard&) = delete;
  TokenShard& operator=(const TokenShard&) = delete;

  const ShardHeader& header() const { return header_; }
  // Copies ids [first, first + out.size()), which must be within count. INVALID_ARGUMENT, with the
  // place, for an id that is not below the vocabulary.
  absl::Status Read(uint64_t first, std::span<int32_t> out) const;

 private:
  TokenShard() = default;
  std::string name_;
  ShardHeader header_;
  const uint8_t* map_ = nullptr;
  uint64_t map_bytes_ = 0;
};

// All files PREFIX-*.tokens of a folder, in the order of their names, as examples: consecutive
// blocks of `block` ids of each file. What is left at a file's end is an example where it has at
// least two ids.
class TokenShards {
 public:
  // NOT_FOUND when there is no such file; INVALID_ARGUMENT where one is not a shard or another
  // header than the first's. block > 1. limit: the first so many examples only; 0: all.
  static absl::StatusOr<TokenShards> Open(const std::filesystem::path& folder,
                                          const std::string& prefix, uint32_t block,
                                          uint32_t limit);

  // Of the first file; its count is that file's.
  const ShardHeader& header() const { return shards_[0]->header(); }
  uint32_t size() const { return size_; }
  // The ids of example `index` < size(), at most `block`. With `next`, one more where the text goes
  // on in the file: what a language model should say at its end.
  absl::StatusOr<std::vector<int32_t>> Read(uint32_t index, bool next) const;

 private:
  std::vector<std::unique_ptr<TokenShard>> shards_;
  std::vector<uint64_t> first_;  // number of the first example of each file, and of all
  uint32_t block_ = 0, size_ = 0;
};

// Writes PREFIX-000.tokens and so on, of at most shard_tokens ids each; each text is kept whole.
class TokenShardWriter {
 public:
  // header.count is not looked at; id_bytes is chosen from the vocabulary.
  TokenShardWriter(std::filesystem::path folder, std::string prefix, ShardHeader header,
                   uint64_t shard_tokens);
  absl::Status Add(std::span<const int32_t> text);
  absl::Status Finish();  // writes what is left
  uint64_t tokens() const { return tokens_; }

 private:
  std::filesystem::path folder_;
  std::string prefix_;
  ShardHeader header_;
  uint64_t shard_tokens_;
  uint64_t tokens_ = 0;
  uint32_t files_ = 0;
  ByteWriter ids_;
  uint64_t in_file_ = 0;
};

}  // namespace atl::trainer
