// A dense layer whose weights' gradient is computed where it belongs.
#pragma once

#include <ATen/core/Tensor.h>

namespace atl::trainer {

// x weight^T + bias. x: [..., in], weight: [out, in], bias: [out] or undefined; returns [..., out].
// What torch's linear computes, also under autocast; but where the weight has a GradientPlace, its
// gradient, which for a wide layer is most of what a training step writes, goes there at once.
at::Tensor Linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

}  // namespace atl::trainer
