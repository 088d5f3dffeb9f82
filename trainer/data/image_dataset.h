// Labelled images as a data set.
#pragma once

#include <memory>

#include "trainer/data/dataset.h"
#include "trainer/data/image_set.h"

namespace atl::trainer {

std::unique_ptr<Dataset> MakeImageDataset(ImageSet images);

}  // namespace atl::trainer
