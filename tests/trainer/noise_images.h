// Images for tests that need no real ones.
#pragma once

#include <memory>

#include "comms/base/random.h"
#include "trainer/data/image_dataset.h"

namespace atl::trainer {

// `count` images of 28 x 28 uniform bytes, of ten classes; the same ones each time.
inline std::unique_ptr<Dataset> NoiseImages(uint32_t count) {
  ImageSet set;
  set.count = count;
  set.height = set.width = 28;
  set.classes = 10;
  set.normalisation = {{0.5f}, {0.25f}};
  SeededRandom random({.seed = 4, .label = "noise"});
  for (uint32_t i = 0; i < count * 784; ++i)
    set.pixels.push_back(static_cast<uint8_t>(random.Below(256)));
  for (uint32_t i = 0; i < count; ++i) set.labels.push_back(static_cast<uint8_t>(random.Below(10)));
  return MakeImageDataset(std::move(set));
}

}  // namespace atl::trainer
