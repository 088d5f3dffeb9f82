// Models on disk: safetensors (https://github.com/huggingface/safetensors). Written in float32;
// read from any float type of 2 to 8 bytes.
//
// A file is u64 header length (little-endian), the header (JSON: for each tensor dtype, shape and
// data_offsets), then the data. Atoll writes tensors in the order of the flat parameter buffer
// without gaps, so that the data is that buffer.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "comms/base/bytes.h"
#include "trainer/model/tensor_info.h"

namespace atl::trainer {

inline constexpr uint64_t kMaxSafetensorsHeader = 16 << 20;

// tensors cover values without gaps, in order. Errors name the path.
absl::Status WriteSafetensors(const std::filesystem::path& path,
                              const std::vector<TensorInfo>& tensors,
                              std::span<const float> values);

struct TensorFile {
  std::vector<TensorInfo> tensors;   // of floats, in order of their places in the file
  std::vector<float> values;         // theirs, without gaps
  std::vector<std::string> skipped;  // names of tensors of integers or booleans
};

// F64, F16 and BF16 become float32 (F64 rounded, beyond its range infinite). INVALID_ARGUMENT,
// naming the path and what is wrong, unless every byte of the data belongs to exactly one tensor
// whose shape and type fit its bytes.
absl::StatusOr<TensorFile> ReadSafetensors(const std::filesystem::path& path);
absl::StatusOr<TensorFile> ParseSafetensors(ByteView file);

}  // namespace atl::trainer
