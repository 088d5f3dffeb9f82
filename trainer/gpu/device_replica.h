// A network and its optimiser on a GPU, for the time of one training.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <vector>

#include "recipes/schema/recipe.h"
#include "trainer/model/network.h"
#include "trainer/optim/optimizer.h"

namespace atl::trainer {

// While it lives the network computes on `device`, with parameters of the replica's; the network's
// own values and the optimiser's state lie on the host as before, and are behind until Download.
// Network and optimizer outlive it. Used by one thread at a time. Methods throw what torch throws.
class DeviceReplica {
 public:
  // options: the optimizer's. Uploads.
  DeviceReplica(Network& network, const recipes::Optimizer& options, LocalOptimizer& optimizer,
                at::Device device);
  ~DeviceReplica();  // the network computes on the host again, with what was downloaded last
  DeviceReplica(const DeviceReplica&) = delete;
  DeviceReplica& operator=(const DeviceReplica&) = delete;

  void Upload();    // host to device: after a checkpoint was read
  void Download();  // device to host: before one is written, and at the end

  // As LocalOptimizer::Step, in the same float32 operations; gradient: [count] on the device.
  void Step(const StepOptions& step, const at::Tensor& gradient);
  // Of the gradient's elements that the optimiser owns, in double.
  double SumOfSquares(const at::Tensor& gradient) const;
  std::span<float> values();  // the parameters, on the device

 private:
  Network& network_;
  const recipes::Optimizer options_;
  LocalOptimizer& optimizer_;
  at::Tensor parameters_;          // [count]
  std::vector<at::Tensor> state_;  // as the optimizer's: [owned]
};

}  // namespace atl::trainer
