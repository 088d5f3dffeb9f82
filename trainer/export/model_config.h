// config.json: what a program needs to use a model's weights.
#pragma once

#include <string>

#include "trainer/data/image_set.h"
#include "trainer/model/architecture.h"

namespace atl::trainer {

// A JSON object: model_type, architecture (kind, channels, kernel, padding, pool, hidden,
// activation), num_classes, input_shape [channels, height, width], normalisation (what is done to
// pixels in [0, 1]), dataset.
std::string ModelConfigJson(const Architecture& architecture, const Normalisation& normalisation,
                            const std::string& dataset);

}  // namespace atl::trainer
