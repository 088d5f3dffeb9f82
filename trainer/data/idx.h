// IDX files (http://yann.lecun.com/exdb/mnist): unsigned bytes in up to four dimensions, gzip or
// plain.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "absl/status/statusor.h"
#include "comms/base/bytes.h"

namespace atl::trainer {

inline constexpr uint64_t kMaxIdxBytes = uint64_t{1} << 31;  // after decompression

struct IdxArray {
  std::vector<uint32_t> shape;  // each > 0
  Bytes values;                 // row-major, product of shape bytes
};

// NOT_FOUND or PERMISSION_DENIED for the file; INVALID_ARGUMENT when it is not gzip or IDX of
// unsigned bytes, is cut off, has bytes behind its end, fails gzip's checksum, or holds over
// kMaxIdxBytes. Messages name the file.
absl::StatusOr<IdxArray> ReadIdx(const std::filesystem::path& path);
// The same of bytes that were read before; `path` is what messages call them.
absl::StatusOr<IdxArray> ParseIdx(Bytes bytes, const std::filesystem::path& path);

// The header alone, with the same errors for what is wrong in it.
absl::StatusOr<std::vector<uint32_t>> ReadIdxShape(const std::filesystem::path& path);

}  // namespace atl::trainer
