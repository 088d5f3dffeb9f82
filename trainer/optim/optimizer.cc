#include "trainer/optim/optimizer.h"

#include <torch/torch.h>

#include <tuple>
#include <vector>

namespace atl::trainer {
namespace {

// All the optimisers work element by element, so one flat tensor gives what a list of parameters
// would, in one pass.
class TorchOptimizer : public LocalOptimizer {
 public:
  TorchOptimizer(at::Tensor flat, std::unique_ptr<torch::optim::Optimizer> inner)
      : flat_(std::move(flat)), inner_(std::move(inner)) {}
  void Step() override { inner_->step(); }

 private:
  at::Tensor flat_;
  std::unique_ptr<torch::optim::Optimizer> inner_;
};

std::unique_ptr<torch::optim::Optimizer> Make(const recipes::Optimizer& options,
                                              std::vector<at::Tensor> parameters) {
  switch (options.kind) {
    case recipes::OptimizerKind::kSgd:
      return std::make_unique<torch::optim::SGD>(parameters,
                                                 torch::optim::SGDOptions(options.lr)
                                                     .momentum(options.momentum)
                                                     .weight_decay(options.weight_decay));
    case recipes::OptimizerKind::kAdam:
      return std::make_unique<torch::optim::Adam>(
          parameters, torch::optim::AdamOptions(options.lr)
                          .betas(std::make_tuple(options.beta1, options.beta2))
                          .eps(options.epsilon)
                          .weight_decay(options.weight_decay));
    case recipes::OptimizerKind::kAdamW:
      return std::make_unique<torch::optim::AdamW>(
          parameters, torch::optim::AdamWOptions(options.lr)
                          .betas(std::make_tuple(options.beta1, options.beta2))
                          .eps(options.epsilon)
                          .weight_decay(options.weight_decay));
  }
  TORCH_CHECK(false, "train.optimizer.kind: unknown");
}

}  // namespace

std::unique_ptr<LocalOptimizer> MakeOptimizer(const recipes::Optimizer& options,
                                              const at::Tensor& flat, const at::Tensor& gradient) {
  // A leaf of its own over the same storage, whose gradient is the flat one.
  at::Tensor leaf = flat.detach().requires_grad_(true);
  leaf.mutable_grad() = gradient;
  return std::make_unique<TorchOptimizer>(leaf, Make(options, {leaf}));
}

}  // namespace atl::trainer
