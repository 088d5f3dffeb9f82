#include "trainer/model/parameter_set.h"

#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>

#include "absl/strings/match.h"
#include "comms/base/status.h"
#include "trainer/model/linear.h"
#include "trainer/model/name_pattern.h"

namespace atl::trainer {

at::Tensor LinearLayer::operator()(const at::Tensor& x) const {
  at::Tensor y = Linear(x, weight, bias);
  if (!lora_a.defined()) return y;
  return y + Linear(Linear(x, lora_a, {}), lora_b, {}) * lora_scale;
}

at::Tensor LayerNorm::operator()(const at::Tensor& x) const {
  return at::layer_norm(x, weight.sizes(), weight, bias, epsilon);
}

ParameterSet::ParameterSet(const recipes::Lora& lora, double normal_std)
    : lora_(lora), normal_std_(normal_std) {}

at::Tensor ParameterSet::Add(const std::string& name, at::Tensor initial, Role role) {
  const bool adapted = lora_.rank > 0;
  NamedTensor parameter;
  parameter.name = name;
  parameter.tensor = initial.detach().requires_grad_(true);
  parameter.trainable = role == Role::kHead || (role == Role::kBase && !adapted);
  parameter.may_be_new = role != Role::kBase;
  tensors_.push_back(parameter);
  return parameter.tensor;
}

LinearLayer ParameterSet::AddLinear(const std::string& name, const LinearOptions& options) {
  linear_names_.push_back(name);
  torch::NoGradGuard no_grad;
  const bool adapter = HasAdapter(name);
  const double bound = 1.0 / std::sqrt(static_cast<double>(options.in));
  auto add = [&](const std::string& part, at::Tensor initial) {
    at::Tensor tensor = Add(name + part, std::move(initial), options.role);
    if (adapter) tensors_.back().trainable = false;
    return tensor;
  };
  LinearLayer layer;
  at::Tensor weight = torch::empty({options.out, options.in});
  layer.weight = add(
      ".weight", normal_std_ > 0 ? weight.normal_(0, normal_std_) : weight.uniform_(-bound, bound));
  if (options.bias) {
    at::Tensor bias = torch::zeros({options.out});
    layer.bias = add(".bias", normal_std_ > 0 ? bias : bias.uniform_(-bound, bound));
  }
  if (adapter) {
    layer.lora_scale = lora_.alpha / lora_.rank;
    layer.lora_a = Add(name + ".lora_A.weight",
                       torch::empty({lora_.rank, options.in}).uniform_(-bound, bound), Role::kHead);
    layer.lora_b =
        Add(name + ".lora_B.weight", torch::zeros({options.out, lora_.rank}), Role::kHead);
    adapted_.emplace_back(name + ".weight", layer);
  }
  return layer;
}

LayerNorm ParameterSet::AddLayerNorm(const std::string& name, int64_t width, double epsilon,
                                     Role role) {
  LayerNorm layer;
  layer.weight = Add(name + ".weight", torch::ones({width}), role);
  layer.bias = Add(name + ".bias", torch::zeros({width}), role);
  layer.epsilon = epsilon;
  return layer;
}

at::Tensor ParameterSet::AddTable(const std::string& name, int64_t rows, int64_t width,
                                  int64_t padding) {
  torch::NoGradGuard no_grad;
  at::Tensor table = torch::empty({rows, width});
  // Narrow enough that a mean of rows is no larger than a row (as fastText begins).
  const double bound = 1.0 / static_cast<double>(width);
  normal_std_ > 0 ? table.normal_(0, normal_std_) : table.uniform_(-bound, bound);
  if (padding >= 0) table[padding].zero_();
  return Add(name + ".weight", table);
}

bool ParameterSet::HasAdapter(const std::string& layer) const {
  return lora_.rank > 0 &&
         std::any_of(lora_.layers.begin(), lora_.layers.end(),
                     [&](const std::string& pattern) { return MatchesPattern(pattern, layer); });
}

absl::Status ParameterSet::CheckAdapters() const {
  if (lora_.rank == 0) return absl::OkStatus();
  const std::vector<std::string> patterns =
      lora_.layers.empty() ? std::vector<std::string>{""} : lora_.layers;
  return MatchNames("model.lora.layers", patterns, linear_names_).status();
}

std::vector<NamedTensor> ParameterSet::Merged() const {
  torch::NoGradGuard no_grad;
  std::vector<NamedTensor> merged;
  for (const NamedTensor& parameter : tensors_) {
    if (absl::EndsWith(parameter.name, ".lora_A.weight") ||
        absl::EndsWith(parameter.name, ".lora_B.weight")) {
      continue;
    }
    merged.push_back(parameter);
    for (const auto& [name, layer] : adapted_) {
      if (name != parameter.name) continue;
      merged.back().tensor = layer.weight + layer.lora_b.matmul(layer.lora_a) * layer.lora_scale;
    }
  }
  return merged;
}

}  // namespace atl::trainer
