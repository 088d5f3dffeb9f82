#include "trainer/model/network.h"

#include <torch/types.h>
#include <torch/utils.h>

#include "comms/base/status.h"
#include "kernels/vector_layout.h"
#include "trainer/model/name_pattern.h"
#include "trainer/model/weights.h"
#include "trainer/torch_status.h"

namespace atl::trainer {
namespace {

absl::Status Freeze(const std::vector<std::string>& patterns,
                    std::vector<NamedTensor>& parameters) {
  std::vector<std::string> names;
  for (const NamedTensor& parameter : parameters) names.push_back(parameter.name);
  ATOLL_ASSIGN_OR_RETURN(std::vector<bool> frozen, MatchNames("model.frozen", patterns, names));
  for (size_t i = 0; i < parameters.size(); ++i) parameters[i].trainable &= !frozen[i];
  return absl::OkStatus();
}

}  // namespace

Network::Network(std::unique_ptr<Body> body, std::vector<NamedTensor> trainable,
                 std::vector<NamedTensor> frozen)
    : body_(std::move(body)), frozen_(std::move(frozen)) {
  uint64_t offset = 0;
  for (const NamedTensor& parameter : trainable) {
    const uint64_t elements = static_cast<uint64_t>(parameter.tensor.numel());
    tensors_.push_back({parameter.name, parameter.tensor.sizes().vec(), offset, elements});
    offset += elements;
  }
  torch::NoGradGuard no_grad;
  flat_ = torch::empty({static_cast<int64_t>(offset)}, torch::kFloat32);
  for (size_t i = 0; i < trainable.size(); ++i) {
    at::Tensor& parameter = trainable[i].tensor;
    at::Tensor view = flat_
                          .narrow(0, static_cast<int64_t>(tensors_[i].offset),
                                  static_cast<int64_t>(tensors_[i].elements))
                          .view(tensors_[i].shape);
    view.copy_(parameter);
    parameter.set_data(view);
    parameters_.push_back(parameter.requires_grad_(true));
  }
  for (const NamedTensor& parameter : frozen_) {
    at::Tensor tensor = parameter.tensor;
    tensor.requires_grad_(false);
  }
}

absl::StatusOr<std::unique_ptr<Network>> Network::Create(const recipes::Recipe& recipe,
                                                         const DataTraits& traits) {
  return CatchTorch("making the model", [&]() -> absl::StatusOr<std::unique_ptr<Network>> {
    torch::manual_seed(recipe.train.seed);
    ATOLL_ASSIGN_OR_RETURN(std::unique_ptr<Body> body, MakeBody(recipe, traits));
    std::vector<NamedTensor> parameters = body->Parameters(), trainable, frozen;
    std::string loaded_text;
    if (!recipe.model.weights.empty()) {
      ATOLL_ASSIGN_OR_RETURN(LoadedWeights loaded, LoadWeights(recipe.model.weights, parameters));
      loaded_text = loaded.Text();
    }
    ATOLL_RETURN_IF_ERROR(Freeze(recipe.model.frozen, parameters));
    uint64_t elements = 0;
    for (NamedTensor& parameter : parameters) {
      if (parameter.trainable) elements += static_cast<uint64_t>(parameter.tensor.numel());
      (parameter.trainable ? trainable : frozen).push_back(std::move(parameter));
    }
    if (trainable.empty())
      return absl::InvalidArgumentError("model.frozen: nothing of the model is left to train");
    if (elements > kernels::kMaxElements) {
      return absl::InvalidArgumentError(
          absl::StrCat("model: ", elements, " parameters; at most ", kernels::kMaxElements));
    }
    std::unique_ptr<Network> network(
        new Network(std::move(body), std::move(trainable), std::move(frozen)));
    network->loaded_text_ = std::move(loaded_text);
    return network;
  });
}

void Network::ComputeOn(const at::Tensor& flat) {
  torch::NoGradGuard no_grad;
  device_ = flat.device();
  for (size_t i = 0; i < parameters_.size(); ++i) {
    parameters_[i].mutable_grad().reset();
    parameters_[i].set_data(flat.narrow(0, static_cast<int64_t>(tensors_[i].offset),
                                        static_cast<int64_t>(tensors_[i].elements))
                                .view(tensors_[i].shape));
  }
  for (const NamedTensor& parameter : frozen_) {
    at::Tensor tensor = parameter.tensor;
    tensor.set_data(tensor.to(device_));
  }
}

void Network::ComputeOnHost() { ComputeOn(flat_); }

Batch Network::Here(const Batch& batch) const {
  if (device_.is_cpu()) return batch;
  Batch here = batch;
  for (at::Tensor* tensor : {&here.inputs, &here.offsets, &here.mask, &here.labels,
                             &here.pair_inputs, &here.pair_mask}) {
    if (tensor->defined()) *tensor = tensor->to(device_);
  }
  return here;
}

std::span<float> Network::values() {
  return {flat_.data_ptr<float>(), static_cast<size_t>(flat_.numel())};
}
std::span<const float> Network::values() const {
  return {flat_.data_ptr<float>(), static_cast<size_t>(flat_.numel())};
}

}  // namespace atl::trainer
