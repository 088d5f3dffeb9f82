#include "trainer/model/network.h"

#include <torch/torch.h>

#include <cmath>

#include "trainer/torch_status.h"

namespace atl::trainer {

Network::Network(const Architecture& architecture, std::vector<TensorInfo> tensors)
    : architecture_(architecture), tensors_(std::move(tensors)) {
  int64_t count = static_cast<int64_t>(tensors_.back().offset + tensors_.back().elements);
  flat_ = torch::empty({count}, torch::kFloat32);
  for (const TensorInfo& info : tensors_) {
    at::Tensor view =
        flat_.narrow(0, static_cast<int64_t>(info.offset), static_cast<int64_t>(info.elements));
    parameters_.push_back(view.view(info.shape).detach().requires_grad_(true));
  }
}

absl::StatusOr<std::unique_ptr<Network>> Network::Create(const Architecture& architecture,
                                                         uint64_t seed) {
  return CatchTorch("making the model", [&]() -> absl::StatusOr<std::unique_ptr<Network>> {
    std::unique_ptr<Network> network(new Network(architecture, ParametersOf(architecture)));
    torch::NoGradGuard no_grad;
    torch::manual_seed(seed);
    double bound = 0;  // 1 / sqrt(fan in): what PyTorch's Linear and Conv2d use for weights (a =
                       // sqrt 5) and biases
    for (at::Tensor& parameter : network->parameters_) {
      if (parameter.dim() > 1) bound = 1.0 / std::sqrt(static_cast<double>(parameter[0].numel()));
      parameter.uniform_(-bound, bound);
    }
    return network;
  });
}

at::Tensor Network::Forward(const at::Tensor& images) const {
  at::Tensor x = images;
  size_t next = 0;  // parameter
  for (size_t i = 0; i < architecture_.channels.size(); ++i, next += 2) {
    x = torch::conv2d(x, parameters_[next], parameters_[next + 1], 1, architecture_.padding);
    x = torch::max_pool2d(torch::relu(x), 2);
  }
  x = x.flatten(1);
  for (; next < parameters_.size(); next += 2) {
    x = torch::linear(x, parameters_[next], parameters_[next + 1]);
    if (next + 2 < parameters_.size()) x = torch::relu(x);
  }
  return x;
}

std::span<float> Network::values() {
  return {flat_.data_ptr<float>(), static_cast<size_t>(flat_.numel())};
}
std::span<const float> Network::values() const {
  return {flat_.data_ptr<float>(), static_cast<size_t>(flat_.numel())};
}

}  // namespace atl::trainer
