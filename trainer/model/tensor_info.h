// A tensor within a flat buffer.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace atl::trainer {

struct TensorInfo {
  std::string name;            // "conv1.weight"
  std::vector<int64_t> shape;  // row-major
  uint64_t offset = 0;         // in elements
  uint64_t elements = 0;
  bool operator==(const TensorInfo&) const = default;
};

}  // namespace atl::trainer
