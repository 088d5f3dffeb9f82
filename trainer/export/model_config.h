// config.json of models that are Atoll's own: what a program needs to use the weights.
#pragma once

#include <string>

#include "nlohmann/json_fwd.hpp"
#include "trainer/model/architecture.h"

namespace atl::trainer {

// model_type, architecture (kind, channels, kernel, padding, pool, hidden, activation),
// num_classes, input_shape [channels, height, width].
nlohmann::ordered_json ImageNetConfig(const Architecture& architecture);

// Adds what the data say: normalisation (what is done to pixels in [0, 1]) of images, class_names
// where there are any, and the data set's kind.
void AddData(nlohmann::ordered_json& config, const DataTraits& traits,
             recipes::DatasetKind dataset);

}  // namespace atl::trainer
