// resnet18 (He et al., 1512.03385) with group norm in place of batch norm, as federated training
// wants it: no statistics of one site's data are part of the model (Hsieh et al., 1910.00189).
#pragma once

#include "trainer/model/body.h"

namespace atl::trainer {

// Names and layout of torchvision's resnet18 with norm_layer = GroupNorm(32, channels): conv1, bn1,
// layer1.0.conv1, ..., layer4.1.bn2, fc. Images of at most 64 pixels a side have a first
// convolution of 3 x 3 with stride 1 and no pooling after it; larger ones 7 x 7 with stride 2 and 3
// x 3 max pooling. Convolutions begin as torchvision's (Kaiming normal, fan out). INVALID_ARGUMENT
// when the data are no images or an adapter's pattern matches no layer (only fc is linear).
absl::StatusOr<std::unique_ptr<Body>> MakeResnet18(const recipes::Recipe& recipe,
                                                   const DataTraits& traits);

}  // namespace atl::trainer
