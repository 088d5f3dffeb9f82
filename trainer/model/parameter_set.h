// The parameters of a model under construction, and the layers that are made of them.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "recipes/schema/recipe.h"
#include "trainer/model/body.h"

namespace atl::trainer {

// What a parameter is to training, and to a weights file that lacks it.
enum class Role {
  kBase,   // trained, or kept as it is where the model has adapters; a weights file must have it
  kHead,   // of the task: trained beside adapters too; begins anew where a file lacks it
  kSpare,  // no output depends on it: written for other programs, never trained
};

// Tensors of a layer share their storage with the set's: copies of a layer are the same layer.
struct LinearLayer {
  at::Tensor weight;          // [out, in]
  at::Tensor bias;            // [out], or undefined
  at::Tensor lora_a, lora_b;  // adapter, [rank, in] and [out, rank], or undefined
  double lora_scale = 0;      // alpha / rank

  // x [..., in] -> [..., out]: x W' + b + scale * (x A') B' (Hu et al., 2106.09685).
  at::Tensor operator()(const at::Tensor& x) const;
};

struct LayerNorm {
  at::Tensor weight, bias;  // [width]
  double epsilon = 1e-5;
  at::Tensor operator()(const at::Tensor& x) const;  // over the last dimension
};

// Makes parameters from torch's default generator, in the order of use. The methods throw what
// torch throws.
class ParameterSet {
 public:
  // normal_std > 0: weights of linear layers and tables are drawn from N(0, normal_std^2), biases
  // are 0, as BERT and Llama do; 0: as PyTorch's modules do (Kaiming uniform).
  ParameterSet(const recipes::Lora& lora, double normal_std);

  at::Tensor Add(const std::string& name, at::Tensor initial, Role role = Role::kBase);

  struct LinearOptions {
    int64_t in = 0, out = 0;
    bool bias = true;
    Role role = Role::kBase;
  };
  // name.weight, name.bias and, where a pattern of the recipe matches `name`, the adapter
  // name.lora_A.weight and name.lora_B.weight (names of PEFT; B is 0, so that training begins with
  // the layer as it is). A layer with an adapter is itself not trained.
  LinearLayer AddLinear(const std::string& name, const LinearOptions& options);
  LayerNorm AddLayerNorm(const std::string& name, int64_t width, double epsilon,
                         Role role = Role::kBase);
  // name.weight [rows, width]; the row `padding` is 0, unless it is negative.
  at::Tensor AddTable(const std::string& name, int64_t rows, int64_t width, int64_t padding = -1);

  // INVALID_ARGUMENT when a pattern of model.lora.layers matches no linear layer, or there is none.
  absl::Status CheckAdapters() const;

  const std::vector<NamedTensor>& tensors() const { return tensors_; }
  // As a program without adapters needs them: each adapter is added to its layer's weight.
  std::vector<NamedTensor> Merged() const;

 private:
  bool HasAdapter(const std::string& layer) const;

  const recipes::Lora lora_;
  const double normal_std_;
  std::vector<NamedTensor> tensors_;
  std::vector<std::string> linear_names_;
  std::vector<std::pair<std::string, LinearLayer>> adapted_;  // by the name of the weight
};

}  // namespace atl::trainer
