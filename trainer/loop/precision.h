// In which precision a forward pass computes.
#pragma once

#include "recipes/schema/recipe.h"

namespace atl::trainer {

// While it lives, on this thread: bf16 makes torch compute matrix products and convolutions in
// bfloat16 (autocast), on the CPU and on a GPU; parameters, gradients and sums over ranks stay
// float32. fp32 changes nothing. Backward passes run outside. At its end the copies of parameters
// that autocast keeps are dropped: the next step has other values.
class PrecisionScope {
 public:
  explicit PrecisionScope(recipes::Precision precision);
  ~PrecisionScope();
  PrecisionScope(const PrecisionScope&) = delete;
  PrecisionScope& operator=(const PrecisionScope&) = delete;

 private:
  const bool bf16_;
};

}  // namespace atl::trainer
