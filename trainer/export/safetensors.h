// Models on disk: safetensors (https://github.com/huggingface/safetensors), float32 only.
//
// A file is u64 header length (little-endian), the header (JSON: for each tensor dtype, shape and
// data_offsets), then the data. Atoll writes tensors in the order of the flat parameter buffer
// without gaps, so that the data is that buffer.
#pragma once

#include <filesystem>
#include <span>
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
  std::vector<TensorInfo> tensors;  // in order of their offsets
  std::vector<float> values;
};

// INVALID_ARGUMENT, naming the path and what is wrong, unless every byte of the data belongs to
// exactly one float32 tensor whose shape fits its bytes.
absl::StatusOr<TensorFile> ReadSafetensors(const std::filesystem::path& path);
absl::StatusOr<TensorFile> ParseSafetensors(ByteView file);

}  // namespace atl::trainer
