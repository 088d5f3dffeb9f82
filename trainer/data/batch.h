// Examples as tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "trainer/data/image_set.h"

namespace atl::trainer {

struct Batch {
  at::Tensor images;  // float32 [n, channels, height, width], normalised
  at::Tensor labels;  // int64 [n]
};

// indices: of examples, each < set.count. Throws what torch throws.
Batch MakeBatch(const ImageSet& set, std::span<const uint32_t> indices);

}  // namespace atl::trainer
