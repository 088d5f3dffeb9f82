// mlp and cnn.
#pragma once

#include "trainer/model/body.h"

namespace atl::trainer {

// What architecture.h says; initialised as PyTorch does by default (Kaiming uniform).
absl::StatusOr<std::unique_ptr<Body>> MakeImageNet(const recipes::Recipe& recipe,
                                                   const DataTraits& traits);

}  // namespace atl::trainer
