// A network whose parameters are one flat float32 buffer.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/model/architecture.h"

namespace atl::trainer {

// One replica. Every parameter tensor is a view into the flat buffer, so that what is written there
// is what the network computes with. Not thread-safe; owns its buffer. The methods throw what torch
// throws (see CatchTorch), Create does not.
class Network {
 public:
  // Initialised as PyTorch does by default (Kaiming uniform), from `seed`: the same bits every
  // time.
  static absl::StatusOr<std::unique_ptr<Network>> Create(const Architecture& architecture,
                                                         uint64_t seed);

  // images: float32 [n, channels, height, width]; returns logits [n, classes].
  at::Tensor Forward(const at::Tensor& images) const;

  const Architecture& architecture() const { return architecture_; }
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  const std::vector<at::Tensor>& parameters() const { return parameters_; }  // leaves, as tensors()
  const at::Tensor& flat() const { return flat_; }                           // float32 [count]
  std::span<float> values();
  std::span<const float> values() const;

 private:
  Network(const Architecture& architecture, std::vector<TensorInfo> tensors);

  const Architecture architecture_;
  const std::vector<TensorInfo> tensors_;
  at::Tensor flat_;
  std::vector<at::Tensor> parameters_;
};

}  // namespace atl::trainer
