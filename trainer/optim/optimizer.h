// The local optimisers, by torch's own implementations.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "recipes/schema/recipe.h"

namespace atl::trainer {

// Steps one flat parameter tensor. Made anew for each round, so that its state starts afresh.
// Throws what torch throws.
class LocalOptimizer {
 public:
  virtual ~LocalOptimizer() = default;
  virtual void Step() = 0;
};

// flat, gradient: float32 [count]; Step() reads the gradient's storage as it is then.
std::unique_ptr<LocalOptimizer> MakeOptimizer(const recipes::Optimizer& options,
                                              const at::Tensor& flat, const at::Tensor& gradient);

}  // namespace atl::trainer
