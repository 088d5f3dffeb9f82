#include "trainer/data/image_dataset.h"

#include <torch/types.h>

#include <array>

namespace atl::trainer {
namespace {

class ImageDataset : public Dataset {
 public:
  explicit ImageDataset(ImageSet images) : images_(std::move(images)) {
    traits_.image = {images_.channels, images_.height, images_.width};
    traits_.normalisation = images_.normalisation;
    for (uint32_t channel = 0; channel < images_.channels; ++channel) {
      auto& values = value_of_.emplace_back();
      for (int i = 0; i < 256; ++i) {
        values[i] = (static_cast<float>(i) / 255.0f - traits_.normalisation.mean[channel]) /
                    traits_.normalisation.stddev[channel];
      }
    }
  }

  uint32_t size() const override { return images_.count; }
  const DataTraits& traits() const override { return traits_; }
  std::span<const uint32_t> labels() const override { return images_.labels; }
  std::span<const uint32_t> sites() const override { return {}; }

  Batch MakeBatch(std::span<const uint32_t> indices, const Draw&) const override {
    const int64_t n = static_cast<int64_t>(indices.size());
    const size_t plane = size_t{images_.height} * images_.width;
    Batch batch;
    batch.examples = static_cast<uint32_t>(indices.size());
    batch.inputs =
        torch::empty({n, images_.channels, images_.height, images_.width}, torch::kFloat32);
    batch.labels = torch::empty({n}, torch::kInt64);
    float* out = batch.inputs.data_ptr<float>();
    int64_t* labels = batch.labels.data_ptr<int64_t>();
    for (uint32_t index : indices) {
      TORCH_CHECK(index < images_.count, "example ", index, " of ", images_.count);
      const uint8_t* in = images_.pixels.data() + index * images_.channels * plane;
      for (const auto& values : value_of_) {
        for (size_t p = 0; p < plane; ++p) *out++ = values[*in++];
      }
      *labels++ = images_.labels[index];
    }
    return batch;
  }

 private:
  const ImageSet images_;
  DataTraits traits_;
  std::vector<std::array<float, 256>> value_of_;  // of a pixel, for each channel
};

}  // namespace

std::unique_ptr<Dataset> MakeImageDataset(ImageSet images) {
  return std::make_unique<ImageDataset>(std::move(images));
}

}  // namespace atl::trainer
