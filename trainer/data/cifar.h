// CIFAR-10 in its binary version (https://www.cs.toronto.edu/~kriz/cifar.html): records of a label
// and 3 x 32 x 32 bytes, red, green and blue one after the other.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "comms/base/bytes.h"

namespace atl::trainer {

inline constexpr uint32_t kCifarPixels = 3 * 32 * 32;
inline constexpr uint32_t kCifarClasses = 10;

struct CifarImages {
  Bytes pixels;                 // [count, 3, 32, 32], row-major
  std::vector<uint8_t> labels;  // [count], each < 10
};

// Appends a file's records. INVALID_ARGUMENT when it is not whole records, or a label is too large.
absl::Status ParseCifar(ByteView file, CifarImages& out);

// data_batch_1.bin to data_batch_5.bin (train) or test_batch.bin in the folder, or in its
// cifar-10-batches-bin, where the archive unpacks to. NOT_FOUND for a file that is not there;
// messages name the file.
absl::StatusOr<CifarImages> ReadCifar(const std::filesystem::path& folder, bool train);

}  // namespace atl::trainer
