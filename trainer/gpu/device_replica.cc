#include "trainer/gpu/device_replica.h"

#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>

namespace atl::trainer {
namespace {

at::Tensor OnHost(std::span<float> values) {
  return torch::from_blob(values.data(), {static_cast<int64_t>(values.size())}, torch::kFloat32);
}

at::Tensor Part(const at::Tensor& flat, const Shard& part) {
  return flat.narrow(0, static_cast<int64_t>(part.first), static_cast<int64_t>(part.size()));
}

// One range of parameters, with its gradient (already decayed) and its state.
void StepSgd(at::Tensor& parameters, at::Tensor gradient, at::Tensor* velocity, float momentum,
             float lr) {
  if (velocity != nullptr) gradient = velocity->mul_(momentum).add_(gradient);
  parameters.add_(gradient, -lr);
}

void StepAdam(at::Tensor& parameters, const at::Tensor& gradient, at::Tensor& mean,
              at::Tensor& square, const recipes::Optimizer& options, double lr, double steps) {
  mean.mul_(options.beta1).add_(gradient, 1.0 - options.beta1);
  square.mul_(options.beta2).addcmul_(gradient, gradient, 1.0 - options.beta2);
  const double root = std::sqrt(1.0 - std::pow(options.beta2, steps));
  const at::Tensor divisor = square.sqrt().div_(root).add_(options.epsilon);
  parameters.addcdiv_(mean, divisor, -lr / (1.0 - std::pow(options.beta1, steps)));
}

}  // namespace

DeviceReplica::DeviceReplica(Network& network, const recipes::Optimizer& options,
                             LocalOptimizer& optimizer, at::Device device)
    : network_(network), options_(options), optimizer_(optimizer) {
  const auto floats = torch::TensorOptions().dtype(torch::kFloat32).device(device);
  parameters_ = torch::empty({static_cast<int64_t>(network.values().size())}, floats);
  for (const auto& state : optimizer.state()) {
    state_.push_back(torch::empty({static_cast<int64_t>(state.values.size())}, floats));
  }
  Upload();
  network_.ComputeOn(parameters_);
}

DeviceReplica::~DeviceReplica() { network_.ComputeOnHost(); }

void DeviceReplica::Upload() {
  torch::NoGradGuard no_grad;
  parameters_.copy_(OnHost(network_.values()));
  for (size_t i = 0; i < state_.size(); ++i) {
    state_[i].copy_(OnHost(optimizer_.state()[i].values));
  }
}

void DeviceReplica::Download() {
  torch::NoGradGuard no_grad;
  OnHost(network_.values()).copy_(parameters_);
  for (size_t i = 0; i < state_.size(); ++i) {
    OnHost(optimizer_.state()[i].values).copy_(state_[i]);
  }
}

void DeviceReplica::Step(const StepOptions& step, const at::Tensor& gradient) {
  torch::NoGradGuard no_grad;
  optimizer_.set_steps(optimizer_.steps() + 1);
  const bool decoupled = options_.kind == recipes::OptimizerKind::kAdamW;
  int64_t done = 0;  // values of the ranges before
  for (const Shard& part : optimizer_.owned()) {
    if (part.size() == 0) continue;
    const int64_t count = static_cast<int64_t>(part.size());
    at::Tensor parameters = Part(parameters_, part);
    at::Tensor scaled = Part(gradient, part).mul(step.gradient_scale);
    if (options_.weight_decay != 0 && decoupled) {
      parameters.mul_(1.0 - step.lr * options_.weight_decay);
    } else if (options_.weight_decay != 0) {
      scaled.add_(parameters, options_.weight_decay);
    }
    std::vector<at::Tensor> state;
    for (const at::Tensor& all : state_) state.push_back(all.narrow(0, done, count));
    if (options_.kind != recipes::OptimizerKind::kSgd) {
      StepAdam(parameters, scaled, state[0], state[1], options_, step.lr,
               static_cast<double>(optimizer_.steps()));
    } else {
      StepSgd(parameters, scaled, state.empty() ? nullptr : &state[0],
              static_cast<float>(options_.momentum), static_cast<float>(step.lr));
    }
    done += count;
  }
}

double DeviceReplica::SumOfSquares(const at::Tensor& gradient) const {
  double sum = 0;
  for (const Shard& part : optimizer_.owned()) {
    sum += Part(gradient, part).to(torch::kFloat64).square().sum().item<double>();
  }
  return sum;
}

std::span<float> DeviceReplica::values() {
  return {parameters_.data_ptr<float>(), static_cast<size_t>(parameters_.numel())};
}

}  // namespace atl::trainer
