// What a model has to know of its data before any example is read.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "recipes/schema/recipe.h"

namespace atl::trainer {

// What a network is fed: (pixel / 255 - mean) / stddev, a number for each channel.
struct Normalisation {
  std::vector<float> mean = {0.0f};
  std::vector<float> stddev = {1.0f};
  bool operator==(const Normalisation&) const = default;
};

struct ImageShape {
  uint32_t channels = 1, height = 28, width = 28;
  bool operator==(const ImageShape&) const = default;
};

enum class InputKind { kImages, kNgrams, kTokens };

struct DataTraits {
  InputKind input = InputKind::kImages;
  ImageShape image = {};                      // images
  Normalisation normalisation = {};           // images
  uint32_t vocabulary = 0;                    // tokens: ids are below it
  uint32_t padding_id = 0;                    // tokens: the id that stands where no token is
  std::vector<std::string> class_names = {};  // where the data set names them
};

// From the recipe, and small files only (a vocabulary, the header of a data file): cheap to call.
// The same on every site that has the same recipe and files.
absl::StatusOr<DataTraits> TraitsOf(const recipes::Recipe& recipe);

}  // namespace atl::trainer
