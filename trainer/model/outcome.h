// Losses that kinds of models share.
#pragma once

#include "trainer/model/body.h"

namespace atl::trainer {

// Cross entropy of logits [n, classes] against labels int64 [n]; a prediction an example.
Outcome ClassOutcome(const at::Tensor& logits, const at::Tensor& labels);

// Cross entropy of logits [n, length, vocabulary] against labels int64 [n, length]; a prediction
// each position that is not kNotCounted. An example's loss is the mean over its positions, 0 where
// it has none.
Outcome TokenOutcome(const at::Tensor& logits, const at::Tensor& labels);

}  // namespace atl::trainer
