// Examples to train or judge a model on, whatever they are made of.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "recipes/schema/recipe.h"
#include "trainer/data/split.h"
#include "trainer/data/traits.h"

namespace atl::trainer {

// What one step of one rank is fed. A tensor that a data set has no use for is undefined.
struct Batch {
  uint32_t examples = 0;
  // Images: float32 [n, channels, height, width], normalised. Tokens: int64 [n, length], rows
  // padded at their end. Bag of n-grams: int64 [total], rows one after the other.
  at::Tensor inputs{};
  at::Tensor offsets{};  // bag: int64 [n], where each row begins in inputs
  at::Tensor mask{};     // tokens: float32 [n, length], 1 where there is a token, 0 where padding is
  // Classes: int64 [n]. Language models: int64 [n, length], the token that position should give, or
  // kNotCounted.
  at::Tensor labels{};
  // Pairs (contrastive): the second text of each example, as inputs and mask; undefined otherwise.
  at::Tensor pair_inputs{}, pair_mask{};
};

inline constexpr int64_t kNotCounted = -100;  // as torch's cross_entropy ignores by default

// Names one use of an example, so that what is random in it (which tokens are masked) is the same
// for every number of ranks and after a restart.
struct Draw {
  uint64_t seed = 0;
  uint32_t round = 0, epoch = 0;
};

// One split of one data set. Immutable after loading; all methods may be called by several threads.
class Dataset {
 public:
  virtual ~Dataset() = default;

  virtual uint32_t size() const = 0;  // examples
  virtual const DataTraits& traits() const = 0;
  // indices: each < size(). Throws what torch throws.
  virtual Batch MakeBatch(std::span<const uint32_t> indices, const Draw& draw) const = 0;
  // For partitions. [size()], or empty where examples have none.
  virtual std::span<const uint32_t> labels() const = 0;  // class of each example
  virtual std::span<const uint32_t> sites() const = 0;   // which of site_names() each is from
  virtual std::span<const std::string> site_names() const { return {}; }
};

// Reads the split that the recipe names; the first data.limit (train) or data.test_limit (test)
// examples of it. NOT_FOUND says what to install, make or set; INVALID_ARGUMENT names file and line
// (or byte) of what does not fit.
absl::StatusOr<std::unique_ptr<Dataset>> LoadDataset(const recipes::Recipe& recipe, Split split);

}  // namespace atl::trainer
