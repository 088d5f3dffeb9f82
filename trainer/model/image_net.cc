#include "trainer/model/image_net.h"

#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>

#include "comms/base/status.h"
#include "nlohmann/json.hpp"
#include "trainer/export/model_config.h"
#include "trainer/model/architecture.h"
#include "trainer/model/linear.h"
#include "trainer/model/outcome.h"

namespace atl::trainer {
namespace {

// In the order in which convolutions compute fastest; what follows keeps it. Of one channel both
// orders are the same bytes, and only the strides tell them apart.
at::Tensor ChannelsLast(const at::Tensor& images) {
  if (images.size(1) != 1) return images.contiguous(at::MemoryFormat::ChannelsLast);
  const int64_t height = images.size(2), width = images.size(3);
  return images.contiguous().as_strided(images.sizes(), {height * width, 1, width, 1});
}

class ImageNet : public Body {
 public:
  explicit ImageNet(const Architecture& architecture) : architecture_(architecture) {
    torch::NoGradGuard no_grad;
    double bound = 0;  // 1 / sqrt(fan in): what PyTorch's Linear and Conv2d use for weights (a =
                       // sqrt 5) and biases
    for (const TensorInfo& info : ParametersOf(architecture)) {
      at::Tensor parameter = torch::empty(info.shape, torch::kFloat32);
      if (parameter.dim() > 1) bound = 1.0 / std::sqrt(static_cast<double>(parameter[0].numel()));
      parameter.uniform_(-bound, bound);
      parameters_.push_back({info.name, parameter.requires_grad_(true)});
    }
  }

  std::vector<NamedTensor> Parameters() const override { return parameters_; }

  at::Tensor Forward(const Batch& batch) override {
    at::Tensor x = ChannelsLast(batch.inputs);
    size_t next = 0;  // parameter
    for (size_t i = 0; i < architecture_.channels.size(); ++i, next += 2) {
      x = torch::conv2d(x, At(next), At(next + 1), 1, architecture_.padding);
      // The same values and gradients as with ReLU first, on a quarter of the numbers.
      x = torch::relu(torch::max_pool2d(x, 2));
    }
    x = x.flatten(1);
    for (; next < parameters_.size(); next += 2) {
      x = Linear(x, At(next), At(next + 1));
      if (next + 2 < parameters_.size()) x = torch::relu(x);
    }
    return x;
  }

  Outcome Run(const Batch& batch) override { return ClassOutcome(Forward(batch), batch.labels); }

  nlohmann::ordered_json Config() const override { return ImageNetConfig(architecture_); }

 private:
  const at::Tensor& At(size_t i) const { return parameters_[i].tensor; }

  const Architecture architecture_;
  std::vector<NamedTensor> parameters_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Body>> MakeImageNet(const recipes::Recipe& recipe,
                                                   const DataTraits& traits) {
  ATOLL_ASSIGN_OR_RETURN(Architecture architecture,
                         ResolveArchitecture(recipe.model, traits.image));
  return std::make_unique<ImageNet>(architecture);
}

}  // namespace atl::trainer
