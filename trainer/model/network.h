// A model whose trainable parameters are one flat float32 buffer.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/model/body.h"
#include "trainer/model/tensor_info.h"

namespace atl::trainer {

// One replica. Every trainable parameter is a view into the flat buffer, so that what is written
// there is what the model computes with: this buffer is what ranks average, what rounds sum and
// what the optimiser steps. Parameters that are frozen lie outside and are the same on every rank
// and site. Not thread-safe; owns its buffers. The methods throw what torch throws (see
// CatchTorch), Create does not.
class Network {
 public:
  // Initialised from recipe.train.seed: the same bits every time; then model.weights are loaded and
  // what model.frozen matches is set apart. INVALID_ARGUMENT naming the key when the model does not
  // fit the data, a pattern matches nothing, or nothing of the model is left to train; errors of
  // LoadWeights.
  static absl::StatusOr<std::unique_ptr<Network>> Create(const recipes::Recipe& recipe,
                                                         const DataTraits& traits);

  // Batches are brought to where the network computes.
  at::Tensor Forward(const Batch& batch) { return body_->Forward(Here(batch)); }
  Outcome Run(const Batch& batch) { return body_->Run(Here(batch)); }
  void SetTraining(bool training) { body_->SetTraining(training); }
  const Body& body() const { return *body_; }

  // The trainable parameters, in order of use.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  const std::vector<at::Tensor>& parameters() const { return parameters_; }  // leaves, as tensors()
  const at::Tensor& flat() const { return flat_; }                           // float32 [count]
  std::span<float> values();
  std::span<const float> values() const;
  const std::vector<NamedTensor>& frozen() const { return frozen_; }
  // What model.weights lacked or held besides, in words; empty when all of it is in use.
  const std::string& loaded_text() const { return loaded_text_; }

  // From now on parameters() are views of `flat`, float32 [count] on any device, and the network
  // computes there; flat() and values() stay what they are. Gradients are dropped.
  void ComputeOn(const at::Tensor& flat);
  void ComputeOnHost();  // with values() again

 private:
  Network(std::unique_ptr<Body> body, std::vector<NamedTensor> trainable,
          std::vector<NamedTensor> frozen);
  Batch Here(const Batch& batch) const;

  const std::unique_ptr<Body> body_;
  std::vector<TensorInfo> tensors_;
  at::Tensor flat_;
  std::vector<at::Tensor> parameters_;
  const std::vector<NamedTensor> frozen_;
  std::string loaded_text_;
  at::Device device_ = at::kCPU;
};

}  // namespace atl::trainer
