// Labelled images as they lie on disk: bytes, normalised only when a batch is made.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "absl/status/statusor.h"
#include "comms/base/bytes.h"
#include "recipes/schema/recipe.h"
#include "trainer/data/split.h"
#include "trainer/data/traits.h"

namespace atl::trainer {

struct ImageSet {
  uint32_t count = 0, channels = 1, height = 0, width = 0;
  Bytes pixels;                  // [count, channels, height, width], row-major
  std::vector<uint32_t> labels;  // [count], each < classes
  uint32_t classes = 0;
  Normalisation normalisation;
};

bool IsOfImages(recipes::DatasetKind kind);

// Reads data.dataset from data.folder (or the system's place), the first data.limit (train) or
// data.test_limit (test) examples. NOT_FOUND says what to install or set; INVALID_ARGUMENT for
// files that do not fit together.
absl::StatusOr<ImageSet> LoadImageSet(const recipes::Data& data, Split split);

// What is known of a set of images before its pixels are read; for idx the header of its training
// images is. idx is normalised to [-1, 1] (mean and deviation 0.5): its files do not say better.
absl::StatusOr<ImageShape> ShapeOf(const recipes::Data& data);
absl::StatusOr<Normalisation> NormalisationOf(const recipes::Data& data);

}  // namespace atl::trainer
