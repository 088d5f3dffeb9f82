// Labelled images as they lie on disk: bytes, normalised only when a batch is made.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <vector>

#include "absl/status/statusor.h"
#include "comms/base/bytes.h"
#include "recipes/schema/recipe.h"

namespace atl::trainer {

// What a network is fed: (pixel / 255 - mean) / stddev.
struct Normalisation {
  float mean = 0.0f;
  float stddev = 1.0f;
};

struct ImageSet {
  uint32_t count = 0, channels = 1, height = 0, width = 0;
  Bytes pixels;                 // [count, channels, height, width], row-major
  std::vector<uint8_t> labels;  // [count], each < classes
  uint32_t classes = 0;
  Normalisation normalisation;
};

enum class Split { kTrain, kTest };

// A property of the data set that models need before any file is read.
struct ImageShape {
  uint32_t channels = 1, height = 28, width = 28;
  bool operator==(const ImageShape&) const = default;
};
absl::StatusOr<ImageShape> ShapeOf(const recipes::Data& data);
absl::StatusOr<Normalisation> NormalisationOf(const recipes::Data& data);

// Reads data.dataset from data.folder (or the system's place), the first data.limit (train) or
// data.test_limit (test) examples. NOT_FOUND says what to install or set; INVALID_ARGUMENT for
// files that do not fit together.
absl::StatusOr<ImageSet> LoadImageSet(const recipes::Data& data, Split split);

}  // namespace atl::trainer
