// Where the gradient of a parameter belongs, for operations that can write it there themselves.
#pragma once

#include <ATen/core/Tensor.h>

namespace atl::trainer {

struct PlacedGradient {
  at::Tensor place;  // of the parameter's shape, contiguous float32; undefined: nowhere
  bool add = false;  // what stands there counts and is added to; else it is overwritten
};

// What a parameter's hook implements when somebody keeps gradients in one buffer.
class GradientPlace {
 public:
  virtual ~GradientPlace() = default;
  // Once in a backward pass; the second call (a parameter that is used twice) gets nothing.
  virtual PlacedGradient Take() = 0;
};

// For the backward of an operation: the place that `parameter` has in the pass that runs now. Who
// gets one writes there and returns TensorAt(place) as the gradient, which costs no copy.
PlacedGradient TakePlace(const at::Tensor& parameter);

// Another tensor over the same memory, which autograd may keep as a gradient.
at::Tensor TensorAt(const at::Tensor& place);

}  // namespace atl::trainer
