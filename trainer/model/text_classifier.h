// text-classifier: a bag of hashed n-grams (Joulin et al., 1607.01759, "fastText").
#pragma once

#include "trainer/model/body.h"

namespace atl::trainer {

// The mean of the rows of embedding.weight [model.buckets, model.width] that a text's n-grams name,
// then a linear layer fc. A text without n-grams has a mean of 0. Rows begin as fastText's do,
// uniform in +-1 / width. INVALID_ARGUMENT when the data are no n-grams, or an adapter's pattern
// matches no layer (only fc is linear).
absl::StatusOr<std::unique_ptr<Body>> MakeTextClassifier(const recipes::Recipe& recipe,
                                                         const DataTraits& traits);

}  // namespace atl::trainer
