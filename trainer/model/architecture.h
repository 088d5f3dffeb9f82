// What an mlp or a cnn comes to: every number that its shape depends on, without torch.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "recipes/schema/recipe.h"
#include "trainer/data/traits.h"
#include "trainer/model/tensor_info.h"

namespace atl::trainer {

struct Architecture {
  recipes::ModelKind kind = recipes::ModelKind::kCnn;
  ImageShape input;
  std::vector<int64_t> channels;  // cnn: of the convolutions
  int64_t kernel = 5;             // cnn: convolutions are kernel x kernel, stride 1
  int64_t padding = 0;            // cnn: zeros around each side of a convolution's input
  std::vector<int64_t> hidden;    // widths of the dense hidden layers
  int64_t classes = 10;
};

// cnn: each convolution is followed by ReLU and 2x2 max pooling, then dense layers with ReLU
// between.
//   First convolution narrower than 32 channels: no padding, dense layers 120 and 84, as LeNet-5
//   and NIID-Bench (2102.02079). 32 or wider: padding 2, so that images keep their size, dense
//   layer 512, as FedAvg's CNN (1602.05629).
// mlp: dense layers with ReLU between, 200 hidden units by default, as FedAvg's.
// INVALID_ARGUMENT when nothing of the image is left after the convolutions, or a width is not
// positive.
absl::StatusOr<Architecture> ResolveArchitecture(const recipes::Model& model,
                                                 const ImageShape& input);

// Inputs of the first dense layer.
int64_t FlatFeatures(const Architecture& architecture);

// All parameters in the order of use: conv1, conv2, ..., fc1, ..., each weight then bias. Dense
// weights are [out, in], convolutions [out, in, kernel, kernel], as in PyTorch.
std::vector<TensorInfo> ParametersOf(const Architecture& architecture);

}  // namespace atl::trainer
