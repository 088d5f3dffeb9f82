#include "trainer/data/batch.h"

#include <torch/torch.h>

#include <array>

namespace atl::trainer {

Batch MakeBatch(const ImageSet& set, std::span<const uint32_t> indices) {
  std::array<float, 256> value_of;
  for (int i = 0; i < 256; ++i) {
    value_of[i] =
        (static_cast<float>(i) / 255.0f - set.normalisation.mean) / set.normalisation.stddev;
  }
  const int64_t n = static_cast<int64_t>(indices.size());
  const size_t pixels = size_t{set.channels} * set.height * set.width;
  Batch batch;
  batch.images = torch::empty({n, set.channels, set.height, set.width}, torch::kFloat32);
  batch.labels = torch::empty({n}, torch::kInt64);
  float* out = batch.images.data_ptr<float>();
  int64_t* labels = batch.labels.data_ptr<int64_t>();
  for (uint32_t index : indices) {
    TORCH_CHECK(index < set.count, "example ", index, " of ", set.count);
    const uint8_t* in = set.pixels.data() + index * pixels;
    for (size_t p = 0; p < pixels; ++p) *out++ = value_of[in[p]];
    *labels++ = set.labels[index];
  }
  return batch;
}

}  // namespace atl::trainer
