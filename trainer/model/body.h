// One kind of model: its parameters by name, and what it makes of a batch.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "nlohmann/json_fwd.hpp"
#include "recipes/schema/recipe.h"
#include "trainer/data/dataset.h"

namespace atl::trainer {

struct NamedTensor {
  std::string name;       // as it stands in model.safetensors
  at::Tensor tensor;      // float32, a leaf
  bool trainable = true;  // false: the kind of model itself keeps it as it is (what adapters adapt)
  bool may_be_new = false;  // model.weights need not have it: a head, an adapter
};

// What a model made of a batch.
struct Outcome {
  // Scalar, with gradient: sum over the batch's examples of each example's loss (of a language
  // model, the mean over the example's counted tokens). Divided by the examples of the global batch
  // it is what training minimises.
  at::Tensor objective;
  // Of the predictions that were judged (one an example, or one a counted token).
  uint64_t counted = 0, correct = 0;
  double loss_sum = 0;  // nats
};

// Made by MakeBody, on the CPU, initialised from torch's default generator. Used by one thread at a
// time. All methods throw what torch throws.
class Body {
 public:
  virtual ~Body() = default;
  // In the order of use. Stays the same; callers may replace the tensors' storage (set_data).
  virtual std::vector<NamedTensor> Parameters() const = 0;
  // Logits: [n, classes], or [n, length, vocabulary]; embeddings [n, width] of a contrastive model.
  virtual at::Tensor Forward(const Batch& batch) = 0;
  virtual Outcome Run(const Batch& batch) = 0;  // forward and loss
  virtual void SetTraining(bool training) {}    // whether dropout and the like act
  // What model.safetensors holds: the parameters, adapters added to the layers that they adapt.
  virtual std::vector<NamedTensor> Export() const { return Parameters(); }
  // config.json: of encoder and decoder as transformers writes it, of the others with model_type
  // "atoll". The caller adds what the data set knows.
  virtual nlohmann::ordered_json Config() const = 0;
};

// The recipe's kind of model, with adapters where the recipe asks for them, not yet with the
// weights of model.weights. INVALID_ARGUMENT names the key that does not fit the data or the other
// keys.
absl::StatusOr<std::unique_ptr<Body>> MakeBody(const recipes::Recipe& recipe,
                                               const DataTraits& traits);

}  // namespace atl::trainer
