#include "trainer/model/linear.h"

#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>

#include <optional>

#include "trainer/model/gradient_place.h"

namespace atl::trainer {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// outputs [n, out], inputs [n, in] -> [out, in].
at::Tensor WeightGradient(const at::Tensor& weight, const at::Tensor& outputs,
                          const at::Tensor& inputs) {
  const PlacedGradient placed = TakePlace(weight);
  if (!placed.place.defined()) return outputs.t().mm(inputs).to(weight.scalar_type());
  at::Tensor place = placed.place;
  if (outputs.scalar_type() != place.scalar_type()) {
    const at::Tensor gradient = outputs.t().mm(inputs);
    placed.add ? place.add_(gradient) : place.copy_(gradient);
  } else if (placed.add) {
    place.addmm_(outputs.t(), inputs);
  } else {
    at::mm_out(place, outputs.t(), inputs);
  }
  return TensorAt(place);
}

class LinearFunction : public torch::autograd::Function<LinearFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias) {
    // In the precision of x.
    const at::Tensor used = weight.to(x.scalar_type());
    context->save_for_backward({x, weight, used});
    context->saved_data["bias"] = bias.has_value();
    return at::linear(x, used, bias ? std::optional(bias->to(x.scalar_type())) : std::nullopt);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &used = saved[2];
    const at::Tensor outputs = gradients[0].reshape({-1, weight.size(0)});
    variable_list result(3);
    if (context->needs_input_grad(1)) {
      result[1] = WeightGradient(weight, outputs, x.reshape({-1, weight.size(1)}));
    }
    if (context->saved_data["bias"].toBool() && context->needs_input_grad(2))
      result[2] = outputs.sum(0, false, weight.scalar_type());
    if (context->needs_input_grad(0)) result[0] = outputs.mm(used).view(x.sizes());
    return result;
  }
};

}  // namespace

at::Tensor Linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const std::optional<at::Tensor> given = bias.defined() ? std::optional(bias) : std::nullopt;
  const at::DeviceType device = x.device().type();
  if (!at::autocast::is_autocast_enabled(device)) return LinearFunction::apply(x, weight, given);
  return LinearFunction::apply(x.to(at::autocast::get_autocast_dtype(device)), weight, given);
}

}  // namespace atl::trainer
