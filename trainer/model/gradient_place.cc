#include "trainer/model/gradient_place.h"

#include <torch/types.h>

namespace atl::trainer {

PlacedGradient TakePlace(const at::Tensor& parameter) {
  auto* place =
      dynamic_cast<GradientPlace*>(torch::autograd::impl::post_acc_grad_hooks(parameter).get());
  return place != nullptr ? place->Take() : PlacedGradient{};
}

at::Tensor TensorAt(const at::Tensor& place) { return place.alias(); }

}  // namespace atl::trainer
